import { deflateSync } from 'node:zlib'
import { EclusaError, systemClock } from '@eclusa/kernel'
import { announcePresence, sendChatState } from './announcements.ts'
import type { AppStateChange } from './app-state.ts'
import { type Account, addressOf, type Device } from './directory.ts'
import type { Sender } from './fan-out.ts'
import type { Group } from './groups.ts'
import { type HistoryOptions, makeHistory, type SentHistory } from './history.ts'
import { type Addressing, isGroup, isLid, normaliseNumber } from './jid.ts'
import {
  type MediaReference,
  type MessageKind,
  openMedia,
  readContent,
  sealMedia,
  textMessage,
} from './message-content.ts'
import { PhoneCipher } from './phone-cipher.ts'
import { Ring } from './ring.ts'
import type { KeyBundle, SignalFailure } from './signal-endpoint.ts'
import { simulatorErrors } from './simulator-errors.ts'
import { child, el, proto, type Stanza } from './wire.ts'
import { makeId, stamp, type World } from './world.ts'

/** A message as it lies in a contact's (or phone's) inbox. */
export interface ReceivedMessage {
  readonly waMessageId: string
  /** Number of the author. */
  readonly from: string
  /** Number of the other side, or group JID. */
  readonly chat: string
  /** How the author addressed it; receipts answer in kind. */
  readonly addressing: Addressing
  /** True for copies of what the account's own linked devices sent. */
  readonly fromMe: boolean
  readonly kind: MessageKind
  readonly text: string
  readonly media: MediaReference | undefined
  /** When it was first decrypted, epoch ms by the simulator's clock. */
  readonly at: number
  /** How often the same id came again; the official apps drop those. */
  repeats: number
  /** Place in this inbox, from 1. */
  readonly order: number
}

/** A receipt for something this phone sent. */
export interface SeenReceipt {
  readonly waMessageId: string
  /** Number of who sent the receipt, and which of its devices (0: its phone). */
  readonly from: string
  readonly deviceId: number
  /** `delivered`, `read`, `played`, `inactive`, `retry` … */
  readonly type: string
  readonly at: number
}

export interface SeenPresence {
  readonly number: string
  /** Number of the chat's other side, or group JID. */
  readonly chat: string
  readonly state: 'composing' | 'recording' | 'paused' | 'available' | 'unavailable'
  readonly at: number
}

export interface PhoneOptions {
  /** Sends a delivery receipt for each message. */
  readonly autoReceipt: boolean
  /** Sends a read receipt too. */
  readonly autoRead: boolean
  /** What it answers; undefined for nothing. */
  readonly replyWith:
    | ((message: ReceivedMessage) => string | undefined | Promise<string | undefined>)
    | undefined
  /** How long it types before an answer, ms. */
  readonly replyDelayMs: number
}

export interface SendOptions {
  /** The WhatsApp id; a new one when left out. The same id again makes a duplicate, as broken clients do. */
  readonly id?: string
  readonly addressing?: Addressing
  /**
   * Linked devices get the message without its content, as WhatsApp delivers those that began at an advertisement; they
   * ask their phone for it; with `lost` it has none either. To numbers only.
   */
  readonly withoutContent?: boolean | 'lost'
  /** By LID, and without the number beside it, as WhatsApp delivers who hides theirs. To numbers only. */
  readonly withoutNumber?: boolean
}

interface SentMessage {
  readonly content: Buffer
  readonly chat: string
  readonly addressing: Addressing
}

interface Waiter {
  readonly fits: (message: ReceivedMessage) => boolean
  readonly done: (message: ReceivedMessage) => void
  readonly giveUp: () => void
}

const MAX_SENT = 2000
const MAX_SEEN_RECEIPTS = 20_000
const MAX_SEEN_PRESENCE = 10_000
const MAX_CHANGES = 1000
const MAX_WAITERS = 1000
/** As the official apps: after five failures a message is given up. */
const MAX_RETRIES = 5
const MAX_RETRIED = 2000
/** Messages that linked devices got without content. */
const MAX_KEPT = 1000
const MAX_HELD = 10_000

/**
 * A scripted phone: device 0 of an account. Contacts are such phones; the phone of a number also links devices
 * (pairing.ts), shares keys and history with them, and receives a copy of everything.
 */
export class Phone {
  readonly account: Account
  readonly #world: World
  #options: PhoneOptions
  readonly #cipher: PhoneCipher = new PhoneCipher()
  #online = true
  // bounded by: settings.maxInbox, oldest out
  readonly #inbox = new Map<string, ReceivedMessage>()
  #received = 0
  readonly #receipts = new Ring<SeenReceipt>(MAX_SEEN_RECEIPTS)
  readonly #presence = new Ring<SeenPresence>(MAX_SEEN_PRESENCE)
  readonly #changes = new Ring<AppStateChange>(MAX_CHANGES)
  // bounded by: MAX_SENT, oldest out
  readonly #sent = new Map<string, SentMessage>()
  // bounded by: MAX_KEPT, oldest out
  readonly #kept = new Map<string, proto.IWebMessageInfo>()
  // bounded by: MAX_RETRIED, oldest out
  readonly #retries = new Map<string, number>()
  // bounded by: MAX_WAITERS
  readonly #waiters = new Set<Waiter>()
  /** What arrived while it was offline. bounded by: MAX_HELD, oldest out */
  readonly #held: (() => void)[] = []

  constructor(o: { readonly account: Account; readonly world: World; readonly options: PhoneOptions }) {
    this.account = o.account
    this.#world = o.world
    this.#options = o.options
  }

  // ---- what tests and people use

  /** Digits. */
  get number(): string {
    return this.account.number
  }

  /** Its phone-number address. */
  get jid(): string {
    return addressOf(this.account, 'pn')
  }

  get lid(): string {
    return addressOf(this.account, 'lid')
  }

  get online(): boolean {
    return this.#online
  }

  /** In order of arrival, copies of the account's own messages included for numbers. */
  get inbox(): readonly ReceivedMessage[] {
    return [...this.#inbox.values()]
  }

  /** Receipts for what it sent, in order of arrival; the last 20,000. */
  get receipts(): readonly SeenReceipt[] {
    return this.#receipts.items
  }

  /** Chat states and (when subscribed) presence it saw, in order; the last 10,000. */
  get presence(): readonly SeenPresence[] {
    return this.#presence.items
  }

  /** App-state changes its linked devices made; the last 1,000. */
  get appStateChanges(): readonly AppStateChange[] {
    return this.#changes.items
  }

  /** Changes how it behaves from now on. */
  behave(options: Partial<PhoneOptions>): void {
    this.#options = { ...this.#options, ...options }
  }

  /**
   * Sends a text (or any message, or bytes that are none, to linked devices alone) to a number, a phone or a group,
   * encrypted for each linked device.
   * @throws SIMULATOR_UNKNOWN_NUMBER, SIMULATOR_UNKNOWN_GROUP, SIMULATOR_MAILBOX_FULL
   */
  send(
    to: string | { readonly jid: string },
    content: string | proto.IMessage | Uint8Array,
    options: SendOptions = {},
  ): { readonly waMessageId: string } {
    const waMessageId = options.id ?? makeId(this.#world)
    const isAlone = options.withoutNumber === true
    const addressing = isAlone ? 'lid' : (options.addressing ?? this.#world.settings.addressing)
    const message = typeof content === 'string' ? textMessage(content) : content
    const isRaw = message instanceof Uint8Array
    const bytes = Buffer.from(isRaw ? message : proto.Message.encode(message).finish())
    const address = typeof to === 'string' ? to : to.jid
    if (isGroup(address)) {
      const group = this.#world.groups.find(address)
      if (group === undefined) throw new EclusaError(simulatorErrors.UNKNOWN_GROUP)
      this.#rememberSent(waMessageId, { content: bytes, chat: address, addressing: 'lid' })
      this.#sendToGroup(group, waMessageId, bytes)
    } else {
      const account = this.#find(address)
      this.#rememberSent(waMessageId, { content: bytes, chat: account.number, addressing })
      for (const device of account.devices.values()) {
        if (options.withoutContent) {
          this.#world.router.sendFromPhone(device, this.#envelopeTo(addressing, waMessageId, []))
        } else {
          const enc = this.#cipher.encrypt(device, bytes)
          const envelope = this.#envelopeTo(addressing, waMessageId, [enc], isAlone)
          this.#world.router.sendFromPhone(device, envelope)
        }
      }
      // Phones here are not what is tested.
      if (isRaw) return { waMessageId }
      if (options.withoutContent === true) account.phone.keepForDevices(waMessageId, message, this)
      this.#copyToPhone(account, waMessageId, bytes, account.number)
    }
    return { waMessageId }
  }

  /** Sends a file: puts it on the media host and its key into the message. */
  sendFile(
    to: string | { readonly jid: string },
    file: {
      readonly kind: 'image' | 'document' | 'audio' | 'video'
      readonly bytes: Uint8Array
      readonly mimetype: string
      readonly fileName?: string
    },
    options: SendOptions = {},
  ): Promise<{ readonly waMessageId: string }> {
    const { mediaKey, sealed, fileSha256, fileEncSha256 } = sealMedia(file.kind, file.bytes)
    const directPath = this.#world.media.put(file.kind, fileEncSha256.toString('base64url'), sealed)
    return this.#world.media.host().then((host) => {
      const fields = {
        url: `https://${host}${directPath}`,
        directPath,
        mediaKey,
        mimetype: file.mimetype,
        fileSha256,
        fileEncSha256,
        fileLength: file.bytes.length,
        mediaKeyTimestamp: Number(stamp(this.#world)),
        ...(file.fileName === undefined ? {} : { fileName: file.fileName }),
      }
      return this.send(to, { [`${file.kind}Message`]: fields }, options)
    })
  }

  /** The file of a message it received, fetched from the media host and decrypted. @throws RangeError when it is not there or altered */
  openFile(message: ReceivedMessage): Buffer {
    const { media } = message
    const sealed = media === undefined ? undefined : this.#world.media.get(media.path.split('?')[0] ?? '')
    if (media === undefined || sealed === undefined)
      throw new RangeError('the message has no file on the media host')
    return openMedia(message.kind, media.mediaKey, sealed)
  }

  /** Shows `state` in the chat with `to`. */
  typing(
    to: string | { readonly jid: string },
    state: 'composing' | 'recording' | 'paused' = 'composing',
    addressing?: Addressing,
  ): void {
    const address = typeof to === 'string' ? to : to.jid
    const chat = isGroup(address)
      ? address
      : addressOf(this.#find(address), addressing ?? this.#world.settings.addressing)
    const content = state === 'recording' ? el('composing', { media: 'audio' }) : el(state)
    sendChatState(this.#world, { account: this.account, deviceId: 0 }, chat, [content])
  }

  /** Sends read receipts for messages of its inbox. */
  read(messages: readonly ReceivedMessage[], type: 'read' | 'played' = 'read'): void {
    for (const message of messages) {
      this.#receipt(this.#find(message.from), message, type)
    }
  }

  /** From now on sees when `number` comes online and goes. */
  watchPresence(number: string | { readonly jid: string }): void {
    this.#find(typeof number === 'string' ? number : number.jid).presencePhones.add(this.account)
  }

  /** Messages wait, no receipts are sent. */
  goOffline(): void {
    this.#online = false
    announcePresence(this.#world, this.account)
  }

  goOnline(): void {
    this.#online = true
    for (const step of this.#held.splice(0)) this.#world.tasks.add(step)
    announcePresence(this.#world, this.account)
  }

  /** A new installation: new identity, all sessions gone. With `announce`, those who asked for its devices are told. */
  reinstall(options: { readonly announce?: boolean } = {}): void {
    this.#cipher.reset(this.#world.directory.devices())
    if (options.announce !== true) return
    for (const watcher of this.account.watchers) {
      for (const device of watcher.devices.values()) {
        const attrs = { from: this.jid, type: 'encrypt', id: makeId(this.#world, ''), t: stamp(this.#world) }
        this.#world.router.deliver(device, 'notification', el('notification', attrs, [el('identity')]))
      }
    }
  }

  /** The first message of the inbox that fits, now or within `withinMs` of real time. @throws SIMULATOR_NOT_WITHIN */
  waitFor(fits: (message: ReceivedMessage) => boolean, withinMs = 20_000): Promise<ReceivedMessage> {
    for (const message of this.#inbox.values()) if (fits(message)) return Promise.resolve(message)
    if (this.#waiters.size >= MAX_WAITERS) throw new EclusaError(simulatorErrors.TOO_MANY)
    const { promise, resolve, reject } = Promise.withResolvers<ReceivedMessage>()
    // Real time: it waits for real sockets, whatever clock the simulator tells.
    const timer = systemClock.setTimer(withinMs, () => waiter.giveUp())
    const waiter: Waiter = {
      fits,
      done: (message) => {
        timer.cancel()
        this.#waiters.delete(waiter)
        resolve(message)
      },
      giveUp: () => {
        timer.cancel()
        this.#waiters.delete(waiter)
        reject(new EclusaError(simulatorErrors.NOT_WITHIN, { details: { withinMs } }))
      },
    }
    this.#waiters.add(waiter)
    // A test that failed elsewhere never looks at it; stopping must not become a second failure.
    promise.catch(() => {})
    return promise
  }

  /** The account's own name, as its linked devices learn it. */
  async rename(name: string): Promise<void> {
    this.account.pushName = name
    await this.#changeAppState('critical_block', ['setting_pushName'], { pushNameSetting: { name } }, 1)
  }

  /** Saves a contact in the phone's address book; linked devices learn it. */
  async setContact(number: string, fullName: string): Promise<void> {
    const jid = addressOf(this.#find(number), 'pn')
    await this.#changeAppState(
      'critical_unblock_low',
      ['contact', jid],
      { contactAction: { fullName, saveOnPrimaryAddressbook: true } },
      2,
    )
  }

  /**
   * Sends every linked device a made-up history, as the phone does after linking and on demand.
   * @throws SIMULATOR_BAD_INPUT naming the field, SIMULATOR_MAILBOX_FULL
   */
  async sendHistory(options: HistoryOptions = {}): Promise<SentHistory> {
    const { notifications, sent } = await makeHistory(this.#world, options)
    for (const device of this.account.devices.values()) {
      for (const historySyncNotification of notifications) this.#sendHistory(device, historySyncNotification)
    }
    return sent
  }

  // ---- what the server uses

  /** Published keys, with a one-time key of its own. */
  takeBundle(): KeyBundle {
    return this.#cipher.takeBundle()
  }

  get identity(): { readonly private: Buffer; readonly public: Buffer } {
    return this.#cipher.identity
  }

  /** A message stanza meant for this phone. */
  receive(sender: Sender, node: Stanza): void {
    if (!this.#online) {
      this.#held.push(() => this.receive(sender, node))
      if (this.#held.length > MAX_HELD) this.#held.shift()
      return
    }
    const id = node.attrs['id'] ?? ''
    const from = node.attrs['from'] ?? ''
    const inGroup = isGroup(from)
    const chat = inGroup ? from : this.#chatOf(sender, node)
    const key = `${sender.account.number} ${chat} ${id}`
    const seen = this.#inbox.get(key)
    // Before decrypting, as the official apps do: a client that sends an id again after a crash may have lost the
    // newest state of its ratchet.
    if (seen !== undefined) {
      seen.repeats += 1
      this.#world.statistics.repeatsDropped += 1
      if (inGroup) this.#cipher.open(sender, node, from)
      this.#acknowledge(sender, seen)
      return
    }
    const opened = this.#cipher.open(sender, node, inGroup ? from : undefined)
    if (opened.failure !== undefined) {
      this.#fail(sender, node, id, opened.failure)
      return
    }
    const content = opened.message
    if (node.attrs['category'] === 'peer') {
      if (content !== undefined) this.#answerDevice(sender, id, content)
      return
    }
    if (content === undefined) return
    this.#retries.delete(`${sender.account.number}.${sender.deviceId} ${id}`)
    const message = this.#remember(key, sender, id, chat, isLid(from) || inGroup ? 'lid' : 'pn', content)
    if (message === undefined) return
    this.#acknowledge(sender, message)
    this.#answer(message)
  }

  /** Another phone of this simulator wrote; there is nothing to prove by encrypting that. */
  receivePlain(sender: Sender, id: string, chat: string, content: Buffer): void {
    const key = `${sender.account.number} ${chat} ${id}`
    const seen = this.#inbox.get(key)
    if (seen !== undefined) {
      seen.repeats += 1
      return
    }
    const message = this.#remember(
      key,
      sender,
      id,
      chat,
      this.#world.settings.addressing,
      proto.Message.decode(content),
    )
    if (message === undefined) return
    this.#acknowledge(sender, message)
    this.#answer(message)
  }

  noteReceipt(from: Sender, ids: readonly string[], type: string, _content: readonly Stanza[]): void {
    for (const waMessageId of ids) {
      this.#receipts.push({
        waMessageId,
        from: from.account.number,
        deviceId: from.deviceId,
        type,
        at: this.#world.clock.now(),
      })
    }
  }

  noteChatState(from: Account, to: string, content: readonly Stanza[]): void {
    const first = content[0]
    if (first === undefined) return
    const state =
      first.tag === 'paused' ? 'paused' : first.attrs['media'] === 'audio' ? 'recording' : 'composing'
    this.#presence.push({
      number: from.number,
      chat: isGroup(to) ? to : from.number,
      state,
      at: this.#world.clock.now(),
    })
  }

  notePresence(from: Account, online: boolean): void {
    const state = online ? 'available' : 'unavailable'
    this.#presence.push({ number: from.number, chat: from.number, state, at: this.#world.clock.now() })
  }

  noteAppStateChange(change: AppStateChange): void {
    this.#changes.push(change)
  }

  /** A linked device could not decrypt `id`: encrypt it once more, for that device. */
  resend(device: Device, id: string, receipt: Stanza): void {
    const sent = this.#sent.get(id)
    const retry = child(receipt, 'retry')
    const count = Number(retry?.attrs['count'] ?? 1)
    if (sent === undefined || count > MAX_RETRIES) return
    this.#cipher.prepareRetry(device, receipt, count)
    if (isGroup(sent.chat)) {
      const group = this.#world.groups.find(sent.chat)
      if (group === undefined) return
      const enc = this.#cipher.encryptGroupRetry(group, device, sent.content, count)
      this.#world.router.sendFromPhone(device, this.#groupEnvelope(group, id, [enc]))
      return
    }
    this.#sendTo(device, id, sent.content, sent.addressing, count)
  }

  /** What a phone sends a device it has just linked: the app-state key, and history as one inline message. */
  bootstrap(device: Device, history: proto.IHistorySync | undefined): void {
    const key = this.#world.appStates.keyOf(this.account)
    this.#sendPeer(device, {
      protocolMessage: {
        type: proto.Message.ProtocolMessage.Type.APP_STATE_SYNC_KEY_SHARE,
        appStateSyncKeyShare: {
          keys: [
            {
              keyId: { keyId: key.keyId },
              keyData: {
                keyData: key.keyData,
                fingerprint: { rawId: 1, currentIndex: 0, deviceIndexes: [0, device.keyIndex] },
                timestamp: this.#world.clock.now(),
              },
            },
          ],
        },
      },
    })
    const { HistorySyncType } = proto.HistorySync
    const payload = proto.HistorySync.encode(
      proto.HistorySync.fromObject({
        conversations: [],
        ...history,
        syncType: HistorySyncType.INITIAL_BOOTSTRAP,
        progress: 100,
      }),
    ).finish()
    this.#sendHistory(device, {
      syncType: proto.Message.HistorySyncType.INITIAL_BOOTSTRAP,
      progress: 100,
      initialHistBootstrapInlinePayload: deflateSync(payload),
    })
  }

  /** A message that the devices of this phone's account got without its content. */
  keepForDevices(id: string, message: proto.IMessage, author: Phone): void {
    const key = { remoteJid: author.jid, fromMe: false, id }
    const { pushName } = author.account
    this.#kept.set(id, { key, message, messageTimestamp: Number(stamp(this.#world)), pushName })
    evictOldest(this.#kept, MAX_KEPT)
  }

  /** Forgets the session with a device that was unlinked. */
  forget(device: Device): void {
    this.#cipher.forget(device)
  }

  /** Ends what waits. */
  stop(): void {
    for (const waiter of this.#waiters) waiter.giveUp()
    this.#held.length = 0
  }

  // ---- inside

  /** A linked device asks for what it got without content. */
  #answerDevice(sender: Sender, stanzaId: string, { protocolMessage }: proto.IMessage): void {
    const device = this.account.devices.get(sender.deviceId)
    const asked = protocolMessage?.peerDataOperationRequestMessage?.placeholderMessageResendRequest ?? []
    if (device === undefined || asked.length === 0) return
    this.#world.statistics.contentsAsked += asked.length
    const peerDataOperationResult = asked.flatMap(({ messageKey }) => {
      const kept = this.#kept.get(messageKey?.id ?? '')
      if (kept === undefined) return []
      const webMessageInfoBytes = proto.WebMessageInfo.encode(kept).finish()
      return [{ placeholderMessageResendResponse: { webMessageInfoBytes } }]
    })
    this.#sendPeer(device, {
      protocolMessage: {
        type: proto.Message.ProtocolMessage.Type.PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE,
        peerDataOperationRequestResponseMessage: {
          peerDataOperationRequestType: proto.Message.PeerDataOperationRequestType.PLACEHOLDER_MESSAGE_RESEND,
          stanzaId,
          peerDataOperationResult,
        },
      },
    })
  }

  #find(address: string): Account {
    const account = address.includes('@')
      ? this.#world.directory.account(address)
      : this.#world.directory.byNumber(normaliseNumber(address, 'to'))
    if (account === undefined)
      throw new EclusaError(simulatorErrors.UNKNOWN_NUMBER, { details: { field: 'to' } })
    return account
  }

  #rememberSent(id: string, sent: SentMessage): void {
    this.#sent.set(id, sent)
    evictOldest(this.#sent, MAX_SENT)
  }

  #envelopeTo(addressing: Addressing, id: string, content: readonly Stanza[], isAlone = false): Stanza {
    const from = addressOf(this.account, addressing)
    const other = isAlone ? {} : addressing === 'pn' ? { sender_lid: this.lid } : { sender_pn: this.jid }
    return el(
      'message',
      { id, type: 'text', t: stamp(this.#world), notify: this.account.pushName, from, ...other },
      [...content],
    )
  }

  #sendTo(device: Device, id: string, content: Buffer, addressing: Addressing, count?: number): void {
    const enc = this.#cipher.encrypt(device, content, count)
    this.#world.router.sendFromPhone(device, this.#envelopeTo(addressing, id, [enc]))
  }

  #sendPeer(device: Device, message: proto.IMessage): void {
    const enc = this.#cipher.encrypt(device, proto.Message.encode(message).finish())
    const attrs = {
      id: makeId(this.#world),
      from: this.jid,
      category: 'peer',
      type: 'text',
      t: stamp(this.#world),
      notify: this.account.pushName,
    }
    this.#world.router.sendFromPhone(device, el('message', attrs, [enc]))
  }

  #sendHistory(device: Device, historySyncNotification: proto.Message.IHistorySyncNotification): void {
    const type = proto.Message.ProtocolMessage.Type.HISTORY_SYNC_NOTIFICATION
    this.#sendPeer(device, { protocolMessage: { type, historySyncNotification } })
  }

  #copyToPhone(account: Account, id: string, content: Buffer, chat: string): void {
    const sender = { account: this.account, deviceId: 0 }
    const chatForThem = isGroup(chat) ? chat : this.account.number
    this.#world.tasks.add(() => account.phone.receivePlain(sender, id, chatForThem, content))
  }

  #sendToGroup(group: Group, id: string, content: Buffer): void {
    const encsFor = this.#cipher.encryptForGroup(group, content)
    for (const account of group.members.keys()) {
      for (const device of account.devices.values()) {
        this.#world.router.sendFromPhone(device, this.#groupEnvelope(group, id, encsFor(device)))
      }
      if (account !== this.account) this.#copyToPhone(account, id, content, group.jid)
    }
  }

  #groupEnvelope(group: Group, id: string, content: readonly Stanza[]): Stanza {
    const attrs = {
      id,
      type: 'text',
      t: stamp(this.#world),
      notify: this.account.pushName,
      from: group.jid,
      participant: this.lid,
      participant_pn: this.jid,
      addressing_mode: 'lid',
    }
    return el('message', attrs, [...content])
  }

  /** Number of the other side: for a copy of an own message the recipient, else the author. */
  #chatOf(sender: Sender, node: Stanza): string {
    const { recipient } = node.attrs
    if (sender.account !== this.account || recipient === undefined) return sender.account.number
    return this.#world.directory.account(recipient)?.number ?? recipient
  }

  #fail(sender: Sender, node: Stanza, id: string, failure: SignalFailure): void {
    const { statistics, violations } = this.#world
    const device = sender.account.devices.get(sender.deviceId)?.jid ?? sender.account.number
    const excused = this.#cipher.hasLost(sender)
    const key = `${sender.account.number}.${sender.deviceId} ${id}`
    const count = (this.#retries.get(key) ?? 0) + 1
    if (!excused && failure.reason === 'bad-mac') {
      violations.add('wrong-mac', device, id, failure.message)
    } else if (!excused && failure.reason !== 'used-key' && count === 1) {
      violations.add('undecryptable', device, id, failure.message)
    }
    if (count > MAX_RETRIES) {
      violations.add('undecryptable', device, id, `given up after ${MAX_RETRIES} retries: ${failure.message}`)
      return
    }
    this.#retries.set(key, count)
    evictOldest(this.#retries, MAX_RETRIED)
    statistics.retriesAskedByPhones += 1
    const retry = el('retry', { count, id, t: node.attrs['t'], v: 1, error: 0 })
    const from = node.attrs['from'] ?? ''
    this.#world.router.sendReceipt({
      from: { account: this.account, deviceId: 0 },
      author: sender.account,
      onlyTo: sender.deviceId,
      ids: [id],
      type: 'retry',
      addressing: isLid(from) ? 'lid' : 'pn',
      content: [retry, ...this.#cipher.retryKeys(count)],
      ...(isGroup(from) ? { group: from } : {}),
    })
  }

  #remember(
    key: string,
    sender: Sender,
    id: string,
    chat: string,
    addressing: Addressing,
    content: proto.IMessage,
  ): ReceivedMessage | undefined {
    const { kind, text, media } = readContent(content)
    if (kind === 'protocol' || (kind === 'other' && content.senderKeyDistributionMessage)) return undefined
    const message: ReceivedMessage = {
      waMessageId: id,
      from: sender.account.number,
      chat,
      addressing,
      fromMe: sender.account === this.account,
      kind,
      text,
      media,
      at: this.#world.clock.now(),
      repeats: 0,
      order: ++this.#received,
    }
    this.#inbox.set(key, message)
    evictOldest(this.#inbox, this.#world.settings.maxInbox)
    for (const waiter of this.#waiters) if (waiter.fits(message)) waiter.done(message)
    return message
  }

  #acknowledge(sender: Sender, message: ReceivedMessage): void {
    if (sender.account === this.account) return
    if (this.#options.autoReceipt) this.#receipt(sender.account, message, undefined)
    if (this.#options.autoRead) this.#receipt(sender.account, message, 'read')
  }

  #receipt(author: Account, message: ReceivedMessage, type: string | undefined): void {
    this.#world.router.sendReceipt({
      from: { account: this.account, deviceId: 0 },
      author,
      ids: [message.waMessageId],
      type,
      addressing: message.addressing,
      ...(isGroup(message.chat) ? { group: message.chat } : {}),
    })
  }

  #answer(message: ReceivedMessage): void {
    const { replyWith, replyDelayMs } = this.#options
    if (replyWith === undefined || message.fromMe) return
    const chat = isGroup(message.chat) ? message.chat : addressOf(this.#find(message.from), 'pn')
    this.#world.tasks.add(async () => {
      const text = await replyWith(message)
      if (text === undefined) return
      this.typing(chat, 'composing')
      this.#world.tasks.later(replyDelayMs, () => {
        this.send(chat, text)
      })
    })
  }

  async #changeAppState(
    type: 'critical_block' | 'critical_unblock_low' | 'regular_low',
    index: readonly string[],
    syncAction: proto.ISyncActionValue,
    apiVersion: number,
  ): Promise<void> {
    await this.#world.appStates.change(this.#world, this.account, {
      type,
      index: [...index],
      syncAction: { ...syncAction, timestamp: this.#world.clock.now() },
      apiVersion,
      operation: proto.SyncdMutation.SyncdOperation.SET,
    })
  }
}

function evictOldest(map: Map<unknown, unknown>, max: number): void {
  for (const key of map.keys()) {
    if (map.size <= max) return
    map.delete(key)
  }
}
