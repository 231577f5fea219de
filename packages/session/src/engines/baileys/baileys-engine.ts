import { AsyncLocalStorage } from 'node:async_hooks'
import {
  areJidsSameUser,
  type AuthenticationCreds,
  type BinaryNode,
  type BoundedSocket,
  type CacheLimitsOptions,
  Browsers,
  BufferJSON,
  closeSocket,
  type ConnectionState,
  DEFAULT_CONNECTION_CONFIG,
  initAuthCreds,
  jidDecode,
  jidNormalizedUser,
  makeWASocket,
  type proto,
  resolveLimits,
  type SignalKeyStoreWithTransaction,
} from '@eclusa/baileys'
import { BoundedCache, type CacheStats } from '@eclusa/bounded-cache'
import {
  type ChatId,
  type Clock,
  EclusaError,
  type InboundMessage,
  MINUTE,
  SECOND,
  type Timer,
} from '@eclusa/kernel'
import type { Statement } from '@eclusa/storage'
import type { AuthStore } from '../../auth-store.ts'
import type { Engine, EngineConnection, EngineMessage, EngineOptions, MissingMessage } from '../../engine.ts'
import { sessionErrors } from '../../errors.ts'
import { readCloseReason, readErrorCode } from './close-reason.ts'
import { engineLogger } from './engine-log.ts'
import { guardRepository, type Opened } from './guarded-repository.ts'
import { DeviceLists, usersOf } from './device-lists.ts'
import {
  byNumbers,
  type Inbound,
  lidsIn,
  nothingPadded,
  type OwnJids,
  readEnvelope,
  translateHandedOver,
  translateInbound,
  translateMissing,
} from './inbound.ts'
import { messageId } from './inbound-content.ts'
import { toChat } from './jid.ts'
import { cameWithoutContent, ContentRequests } from './missing-content.ts'
import { toWhatsApp } from './outbound.ts'
import { openVote } from './poll-votes.ts'
import { readReceipt } from './receipts.ts'
import { EVENT_BUFFER } from '../../memory.ts'
import { SignalKeys } from './signal-keys.ts'
import { gateStanzas } from './stanza-gate.ts'
import { type SendTurn, SendTurns } from './send-turns.ts'
import { leaveInTurn, mendTransactions } from './transactions.ts'

/** Baileys' own: the first code lives 60 s, the others 20 s. */
const FIRST_QR_MS: number = 60 * SECOND
const NEXT_QR_MS: number = 20 * SECOND
/** A query without an answer fails after this; never without a limit (research: unanswered ones block all sends). */
const QUERY_TIMEOUT_MS: number = 20 * SECOND
/** How often caches free what is past its life. */
const CACHE_SWEEP_EVERY_MS: number = 5 * MINUTE
/** How long the peer may take to close a connection that we end. */
const CLOSE_GRACE_MS: number = 2 * SECOND
/** Messages remembered as journalled a moment ago, against a copy of one that is still being opened. */
const RECENTLY_JOURNALLED = 1_000

/** Baileys 7.0.0-rc14 behind our port. One object serves all instances. */
export class BaileysEngine implements Engine {
  readonly name = 'baileys'
  readonly #store: AuthStore
  readonly #clock: Clock
  readonly #keepAliveMs: number
  readonly #cacheLimits: CacheLimitsOptions | undefined
  readonly #maxHistoryBytes: number | undefined

  /** `keepAliveMs`: between two pings; a server silent for 5 s more is given up (408). Default 30,000, Baileys' own. */
  constructor(options: {
    readonly store: AuthStore
    readonly clock: Clock
    readonly keepAliveMs?: number
    /** Other limits than Baileys' caches have by default, for each connection. */
    readonly cacheLimits?: CacheLimitsOptions
    /** Largest history that is read, inflated. Default 64 MiB. */
    readonly maxHistoryBytes?: number
  }) {
    this.#maxHistoryBytes = options.maxHistoryBytes
    this.#cacheLimits = options.cacheLimits
    this.#store = options.store
    this.#clock = options.clock
    this.#keepAliveMs = options.keepAliveMs ?? 30 * SECOND
  }

  async connect(options: EngineOptions): Promise<EngineConnection> {
    const saved = await this.#store.loadCredentials(options.instance)
    const known =
      saved === undefined ? undefined : (JSON.parse(saved, BufferJSON.reviver) as AuthenticationCreds)
    // A pairing code that was never typed leaves a number without an account, which WhatsApp refuses as unlinked.
    const creds = known?.account === undefined ? initAuthCreds() : known
    return new BaileysConnection({
      ...options,
      creds,
      store: this.#store,
      clock: this.#clock,
      keepAliveMs: this.#keepAliveMs,
      cacheLimits: this.#cacheLimits,
      maxHistoryBytes: this.#maxHistoryBytes,
    })
  }
}

interface ConnectionOptions extends EngineOptions {
  readonly creds: AuthenticationCreds
  readonly store: AuthStore
  readonly clock: Clock
  readonly keepAliveMs: number
  readonly cacheLimits: CacheLimitsOptions | undefined
  readonly maxHistoryBytes: number | undefined
}

type FoundMessage = Extract<Inbound, { readonly is: 'message' | 'unreadable' }>

interface AckWaiter {
  resolve(stanza: BinaryNode): void
  reject(error: EclusaError): void
}

class BaileysConnection implements EngineConnection {
  readonly #options: ConnectionOptions
  readonly #clock: Clock
  readonly #keys: SignalKeys
  readonly #socket: BoundedSocket
  /** The stanza that carries a ciphertext, so that what decrypts it knows whose message it is. */
  readonly #stanzas = new WeakMap<Uint8Array, BinaryNode>()
  // bounded by: the sends in flight, one per lane of the queue
  readonly #acks = new Map<string, AckWaiter>()
  readonly #journalled: BoundedCache<true>
  readonly #devices: DeviceLists | undefined
  /** The message that is being sent: its chat, and its place among the others. */
  readonly #sending = new AsyncLocalStorage<{ readonly chat: ChatId; readonly turn: SendTurn }>()
  readonly #turns = new SendTurns()
  readonly #contentRequests: ContentRequests
  /** Credentials are saved one after another; a new connection must find the last of them. */
  #saving: Promise<void> = Promise.resolve()
  #qrCount = 0
  #over = false
  #closing: Promise<void> | undefined
  #sweepTimer: Timer | undefined

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#clock = options.clock
    this.#keys = new SignalKeys({
      instance: options.instance,
      store: options.store,
      clock: options.clock,
      cacheOwner: options.cacheOwner,
      onFailure: (error) => this.#cut('the database failed', error),
    })
    this.#journalled = new BoundedCache({
      name: 'recentlyJournalled',
      maxEntries: RECENTLY_JOURNALLED,
      ttlMs: 5 * MINUTE,
      now: () => options.clock.now(),
      // State more than cache: while two copies are on their way, the second must find the first.
      minResidencyMs: MINUTE,
      worth: 8,
      ...(options.cacheOwner === undefined ? {} : { owner: options.cacheOwner }),
    })
    this.#devices = this.#makeDeviceLists(options)
    this.#contentRequests = new ContentRequests({
      store: options.handlers.missing,
      clock: options.clock,
      log: options.log,
      emptyOf: (missing) => this.#emptyOf(missing),
      journalled: ({ chat }) => options.handlers.journalled(chat),
      ask: (request) => this.#socket.sendPeerDataOperationMessage(request),
      failed: (error) => this.#cut('what came without content could not be looked up', error),
    })
    const logger = engineLogger(options.log)
    this.#socket = makeWASocket({
      auth: { creds: options.creds, keys: this.#keys },
      waWebSocketUrl: options.url,
      browser: Browsers.ubuntu('Chrome'),
      logger,
      emitOwnEvents: false,
      markOnlineOnConnect: false,
      syncFullHistory: false,
      // Nobody here listens to old messages; LIDs and trusted-contact tokens are taken from them.
      history: { maxInflatedBytes: options.maxHistoryBytes, rows: false },
      keepAliveIntervalMs: options.keepAliveMs,
      eventBuffer: EVENT_BUFFER,
      defaultQueryTimeoutMs: QUERY_TIMEOUT_MS,
      // Upstream's ten tries three seconds apart would hold up every message of the instance for half a minute.
      transactionOpts: { maxCommitRetries: 1, delayBetweenTriesMs: 200 },
      getMessage: (key) => this.#contentForRetry(key.id ?? ''),
      makeSignalRepository: (auth, repositoryLogger, pnToLid) =>
        guardRepository({
          scope: options.instance,
          repository: DEFAULT_CONNECTION_CONFIG.makeSignalRepository(auth, repositoryLogger, pnToLid),
          // makeSocket wraps the store in its transactions before it hands it on.
          transactions: auth.keys as SignalKeyStoreWithTransaction,
          keys: this.#keys,
          journal: (ciphertext, plaintext) => this.#journal(ciphertext, plaintext),
          onEncrypt: (jid) => {
            const turn = this.#sending.getStore()?.turn
            return turn !== undefined && this.#isOwn(jid) ? () => turn.take() : undefined
          },
        }),
      cacheOwner: options.cacheOwner,
      cacheLimits: options.cacheLimits,
      ...(this.#devices === undefined ? {} : { userDevicesCache: this.#devices }),
      now: () => options.clock.now(),
    })
    // Our lanes keep the order inside a chat and the guarded repository keeps ratchets apart, so the chats of an account
    // need not wait for each other: waits for the disk overlap and share commits.
    mendTransactions(this.#socket.authState.keys, (key) => {
      const chat = this.#sending.getStore()?.chat
      return chat !== undefined && key === options.creds.me?.id ? `${key} ${chat}` : key
    })
    leaveInTurn(this.#socket.authState.keys, () => this.#sending.getStore()?.turn)
    gateStanzas(this.#socket, this.#clock, {
      message: (stanza) => this.#admitMessage(stanza),
      receipt: (stanza) => this.#admitReceipt(stanza),
      failed: (error) => this.#cut('a stanza could not be recorded', error),
    })
    this.#socket.ws.on('CB:ack,class:message', (stanza: BinaryNode) => {
      this.#acks.get(stanza.attrs['id'] ?? '')?.resolve(stanza)
    })
    // Before Baileys sees it: it would add to a list, or take from one, that goes by only one of a user's two names.
    this.#socket.ws.on('CB:notification,type:devices', (stanza: BinaryNode) => {
      void this.#forgetDevices(usersOf(stanza), 'changed')
    })
    // ws leaves the rest to whoever listens to this, and Baileys does nothing: the socket would stay as it is for ever.
    this.#socket.ws.on(
      'unexpected-response',
      () => void this.#socket.end(new Error('the server refused the connection')),
    )
    this.#boundClosing()
    this.#socket.ev.on('creds.update', () => this.#saveCredentials())
    this.#socket.ev.on('connection.update', (update) => this.#onUpdate(update))
    this.#armSweep()
  }

  #makeDeviceLists(options: ConnectionOptions): DeviceLists | undefined {
    if (options.facts === undefined) return undefined
    return new DeviceLists({
      store: options.facts.of(options.instance),
      registrationId: options.creds.registrationId,
      limit: resolveLimits(options.cacheLimits).limits.userDevices,
      cacheOwner: options.cacheOwner,
      clock: options.clock,
      onError: (error) => {
        options.log.debug({ instance: options.instance, error: String(error) }, 'device lists are not shared')
      },
    })
  }

  async send(message: EngineMessage): Promise<{ readonly ackedAt: number }> {
    this.#assertOpen()
    await this.#assertReachable(message.chat)
    const { promise: acked, resolve, reject } = Promise.withResolvers<BinaryNode>()
    acked.catch(() => {}) // awaited below, or overtaken by an error of the send itself
    const timer = this.#clock.setTimer(this.#options.ackTimeoutMs, () => {
      reject(new EclusaError(sessionErrors.ACK_TIMEOUT))
    })
    const waiter: AckWaiter = { resolve, reject }
    this.#acks.set(message.waMessageId, waiter)
    const turn = this.#turns.begin()
    try {
      // The deadline holds for the send, too: a lock that is never given back inside Baileys looks like this.
      await Promise.race([this.#relay(message, turn), acked])
      // A tight row of sends would starve the process: Baileys' send path yields no macrotask of its own.
      await new Promise((yielded) => setImmediate(yielded))
      const stanza = await acked
      const code = stanza.attrs['error']
      if (code !== undefined) {
        // 479 means that our list of the contact's devices was out of date: the next try must find a fresh one.
        if (code === '479') await this.#socket.getUSyncDevices([message.chat], false, false).catch(() => {})
        throw ackError(code)
      }
      return { ackedAt: this.#clock.now() }
    } finally {
      timer.cancel()
      // Of a send that hangs, nobody waits for longer than its deadline.
      turn.end()
      if (this.#acks.get(message.waMessageId) === waiter) this.#acks.delete(message.waMessageId)
    }
  }

  async #relay({ chat, content, waMessageId }: EngineMessage, turn: SendTurn): Promise<void> {
    try {
      await this.#sending.run({ chat, turn }, () =>
        this.#socket.relayMessage(chat, toWhatsApp(content), { messageId: waMessageId }),
      )
    } catch (error) {
      throw this.#sendError(error)
    } finally {
      turn.end()
    }
  }

  #isOwn(jid: string): boolean {
    const { id, lid } = this.#options.creds.me ?? {}
    return areJidsSameUser(jid, id) || areJidsSameUser(jid, lid)
  }

  async markRead(
    messages: readonly {
      readonly addressedAs: string
      readonly waMessageId: string
      readonly author: string
    }[],
  ): Promise<void> {
    this.#assertOpen()
    await this.#socket.readMessages(
      messages.map(({ addressedAs, waMessageId, author }) => ({
        remoteJid: addressedAs,
        id: waMessageId,
        fromMe: false,
        ...(addressedAs.endsWith('@g.us') ? { participant: author } : {}),
      })),
    )
  }

  async setPresence(chat: ChatId, presence: 'composing' | 'paused'): Promise<void> {
    this.#assertOpen()
    await this.#socket.sendPresenceUpdate(presence, chat)
  }

  async requestPairingCode(number: string): Promise<string> {
    this.#assertOpen()
    if (this.#qrCount === 0) throw new EclusaError(sessionErrors.NOT_WAITING_FOR_CODE)
    return this.#socket.requestPairingCode(number)
  }

  async logout(): Promise<void> {
    if (!this.#over) await this.#socket.logout().catch(() => {})
    await this.close()
  }

  cacheStats(): readonly CacheStats[] {
    const own = [this.#keys.stats(), this.#journalled.stats()]
    const devices = this.#devices?.stats()
    const sockets = this.#socket.cacheStats()
    if (devices === undefined) return [...sockets, ...own]
    return [...sockets.filter(({ name }) => name !== devices.name), devices, ...own]
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeOnce(false)
    return this.#closing
  }

  async #closeOnce(ended: boolean): Promise<void> {
    this.#over = true
    this.#sweepTimer?.cancel()
    this.#contentRequests.stop()
    this.#rejectAcks()
    this.#keys.retire()
    this.#journalled.dispose()
    this.#devices?.dispose()
    await closeSocket(this.#socket, { ended })
    await this.#saving
  }

  #onUpdate(update: Partial<ConnectionState>): void {
    if (update.qr !== undefined && !this.#over) {
      const lifeMs = this.#qrCount++ === 0 ? FIRST_QR_MS : NEXT_QR_MS
      this.#options.handlers.qr(update.qr, this.#clock.now() + lifeMs)
    }
    if (update.isNewLogin === true) void this.#saving.then(() => this.#options.handlers.paired())
    if (update.connection === 'open') {
      const number = jidDecode(this.#options.creds.me?.id)?.user ?? ''
      void this.#saving.then(() => {
        if (this.#over) return
        this.#options.handlers.online(number)
        this.#contentRequests.start()
      })
    }
    if (update.connection === 'close') void this.#ended(update.lastDisconnect?.error)
  }

  /** The connection ended by itself: tells the session once, when nothing of it is left. */
  async #ended(error: unknown): Promise<void> {
    if (this.#over) return
    this.#closing = this.#closeOnce(true)
    await this.#closing.catch((cause: unknown) =>
      this.#options.log.warn({ cause: String(cause) }, 'closing a socket failed'),
    )
    this.#options.handlers.closed(readCloseReason(error, this.#clock.now()))
  }

  /** Baileys tells of an end only when the peer has closed too, for which ws waits 30 s: not here. */
  #boundClosing(): void {
    const { ws } = this.#socket
    const close = ws.close.bind(ws)
    ws.close = async () => {
      const transport = Reflect.get(ws, 'socket') as { terminate(): void } | null
      const cut = this.#clock.setTimer(CLOSE_GRACE_MS, () => transport?.terminate())
      try {
        await close()
      } finally {
        cut.cancel()
      }
    }
  }

  /** Ends the connection so that nothing more is acknowledged; the session connects anew. */
  #cut(why: string, error: unknown): void {
    if (this.#over) return
    const message = error instanceof Error ? error.message : String(error)
    this.#options.log.warn({ instance: this.#options.instance, error: message }, `connection cut: ${why}`)
    const transport = Reflect.get(this.#socket.ws, 'socket') as { terminate(): void } | null
    transport?.terminate()
  }

  /** Rejects a message that nobody would get: Baileys resolves a send even when it addressed no device at all. */
  async #assertReachable(chat: ChatId): Promise<void> {
    if (chat.endsWith('@g.us')) return
    let devices: readonly unknown[]
    try {
      devices = await this.#socket.getUSyncDevices([chat], true, false)
      if (devices.length > 0) return
    } catch (error) {
      throw this.#queryError(error)
    }
    const number = /^(\d+)@s\.whatsapp\.net$/.exec(chat)?.[1]
    if (number === undefined) throw new EclusaError(sessionErrors.RECIPIENT_UNAVAILABLE)
    let answer: readonly unknown[] | undefined
    try {
      answer = await this.#socket.onWhatsApp(number)
    } catch (error) {
      throw this.#queryError(error)
    }
    // It lists the numbers that exist; a query that was not answered gives undefined.
    throw new EclusaError(
      answer?.length === 0 ? sessionErrors.NUMBER_UNKNOWN : sessionErrors.RECIPIENT_UNAVAILABLE,
    )
  }

  #queryError(cause: unknown): EclusaError {
    const code = readErrorCode(cause)
    if (this.#over || code === 428) return new EclusaError(sessionErrors.OFFLINE, { cause })
    return new EclusaError(code === 429 ? sessionErrors.RATE_LIMITED : sessionErrors.RECIPIENT_UNAVAILABLE, {
      cause,
    })
  }

  /** The frame may have been written before it failed. */
  #sendError(cause: unknown): EclusaError {
    const code = readErrorCode(cause)
    if (this.#over || code === 428)
      return new EclusaError({ ...sessionErrors.OFFLINE, delivered: 'unknown' }, { cause })
    if (code === 429) return new EclusaError(sessionErrors.RATE_LIMITED, { cause })
    return new EclusaError(sessionErrors.SEND_FAILED, { cause })
  }

  /** A redelivery of what is journalled gets its receipt from us; everything else goes on to be decrypted. */
  async #admitMessage(stanza: BinaryNode): Promise<boolean> {
    const { id, from, category } = stanza.attrs
    if (id === undefined || from === undefined) return true
    for (const child of Array.isArray(stanza.content) ? stanza.content : []) {
      if (child.tag === 'enc' && child.content instanceof Uint8Array) this.#stanzas.set(child.content, stanza)
    }
    if (category === 'peer') return true
    const envelope = await this.#envelope(stanza)
    if (envelope === undefined) return true
    const isEmpty = cameWithoutContent(stanza)
    if (envelope.fromMe && !isEmpty) return true
    const { handlers } = this.#options
    if (!(await handlers.isJournalled(envelope.chat, envelope.author, messageId(id)))) {
      if (isEmpty) await this.#contentRequests.came(stanza, envelope)
      return true
    }
    if (envelope.fromMe) return true
    await this.#socket.sendReceipt(from, stanza.attrs['participant'], [id], 'inactive')
    return false
  }

  async #admitReceipt(stanza: BinaryNode): Promise<boolean> {
    // Who could not decrypt may have changed devices; Baileys asks WhatsApp before it sends again.
    const asker = stanza.attrs['participant'] ?? stanza.attrs['from']
    const user = stanza.attrs['type'] === 'retry' ? jidDecode(asker)?.user : undefined
    if (user !== undefined) await this.#forgetDevices([user], 'doubted')
    const receipt = readReceipt(stanza, this.#own(), this.#clock.now())
    if (receipt !== undefined) await this.#options.handlers.receipt(receipt)
    return true
  }

  /** From both tiers and under both names of each user. Never rejects. */
  async #forgetDevices(users: readonly string[], why: 'changed' | 'doubted'): Promise<void> {
    const devices = this.#devices
    if (devices === undefined || users.length === 0) return
    const forget = (names: readonly string[]): Promise<void> =>
      why === 'changed' ? devices.changed(names) : devices.doubt(names)
    const forgotten = forget(users)
    const others = await this.#otherNames(users)
    await Promise.all([forgotten, others.length === 0 ? undefined : forget(others)])
  }

  /** The LIDs of numbers and the numbers of LIDs, as far as the store knows them; asks nobody. */
  async #otherNames(users: readonly string[]): Promise<readonly string[]> {
    const ids = users.flatMap((user) => [user, `${user}_reverse`])
    // A database that cannot be read has cut the connection.
    const known = await this.#keys.get('lid-mapping', ids).catch(() => ({}))
    return Object.values(known)
  }

  /** Called between decryption and commit. What is thrown here leaves the message undelivered, and it comes again. */
  async #journal(ciphertext: Uint8Array, plaintext: Uint8Array): Promise<Opened> {
    const nothing = { statements: [], plaintext }
    const stanza = this.#stanzas.get(ciphertext)
    if (stanza === undefined) return nothing
    const envelope = await this.#envelope(stanza)
    if (envelope === undefined) return nothing
    const { handlers } = this.#options
    const inbound = translateInbound(stanza, envelope, this.#own(), plaintext)
    if (inbound.is === 'arrangement') return nothing
    if (inbound.is === 'spoofed') {
      const waMessageId = messageId(stanza.attrs['id'] ?? '')
      const statements = handlers.spoofed(envelope.author, waMessageId, inbound.name)
      // Not for Baileys' own guard to see: it would already have let the state of its history move.
      return { statements, plaintext: nothingPadded() }
    }
    // Between the account's own devices there are no messages to a person, but those handed over later.
    const isPeer = stanza.attrs['category'] === 'peer' && envelope.fromMe
    const found =
      inbound.is === 'handed_over' ? await this.#handedOver(inbound.messages) : isPeer ? [] : [inbound]
    const fresh = found.filter(({ message }) => this.#isFirst(message))
    const statements: Statement[] = []
    for (const each of fresh) {
      statements.push(...handlers.journal(await this.#complete(each), each.pollSecret))
    }
    const onWritten = (): void => fresh.forEach(({ message }) => handlers.journalled(message.chat))
    return { statements, plaintext: inbound.is === 'unreadable' ? nothingPadded() : plaintext, onWritten }
  }

  /** Of two copies on their way at once only one is journalled. A failed commit ends the connection, and this memory. */
  #isFirst({ chat, author, waMessageId }: InboundMessage): boolean {
    const key = `${chat} ${author} ${waMessageId}`
    if (this.#journalled.has(key)) return false
    this.#journalled.set(key, true)
    return true
  }

  /** What came without its content and the phone handed over; some may have come by themselves meanwhile. */
  async #handedOver(infos: readonly proto.IWebMessageInfo[]): Promise<readonly FoundMessage[]> {
    const found: FoundMessage[] = []
    for (const info of infos) {
      const inbound = await translateHandedOver(info, this.#own(), (lid) => this.#numberOfLid(lid))
      if (inbound?.is !== 'message') continue
      const { chat, author, waMessageId } = inbound.message
      if (!(await this.#options.handlers.isJournalled(chat, author, waMessageId))) found.push(inbound)
    }
    return found
  }

  /** What stands for a message whose content nobody hands over; undefined when it has come. */
  async #emptyOf(missing: MissingMessage): Promise<InboundMessage | undefined> {
    const empty = await translateMissing(missing, this.#own(), (lid) => this.#numberOfLid(lid))
    if (empty === undefined) return undefined
    const { chat, author, waMessageId } = empty
    return (await this.#options.handlers.isJournalled(chat, author, waMessageId)) ? undefined : empty
  }

  /** The message with all that needs what we know: numbers for LIDs, and what a vote says. */
  async #complete({ message, vote }: FoundMessage): Promise<InboundMessage> {
    const lids = lidsIn(message)
    const complete = lids.length === 0 ? message : byNumbers(message, await this.#numbersOf(lids))
    const { content, chat, author, alias } = complete
    if (content.kind !== 'poll_vote' || vote === null) return complete
    const poll = await this.#options.handlers.poll(chat, content.target)
    if (poll === undefined) return complete
    const { number, lid } = this.#own()
    const aliases = new Map([
      [author, alias],
      [toChat(number), lid === undefined ? null : toChat(lid)],
    ])
    const namesOf = (person: ChatId): readonly ChatId[] => {
      const other = aliases.get(person) ?? lids.find((each) => each !== person)
      return other === undefined ? [person] : [person, other]
    }
    const { author: creator, waMessageId: pollId } = content.target
    const names = { pollId, creators: namesOf(creator), voters: namesOf(author) }
    return { ...complete, content: { ...content, choices: openVote(vote, poll, names) } }
  }

  /** The numbers of LIDs, as far as the store knows them; asks nobody. */
  async #numbersOf(lids: readonly ChatId[]): Promise<ReadonlyMap<ChatId, ChatId>> {
    const { number, lid: ownLid } = this.#own()
    const ids = new Map(lids.map((lid) => [lid, `${lid.split('@')[0]}_reverse`]))
    const known = await this.#keys.get('lid-mapping', [...ids.values()])
    const numbers = new Map<ChatId, ChatId>()
    for (const [lid, id] of ids) {
      const user = lid === ownLid ? number.split('@')[0] : known[id]
      if (user !== undefined) numbers.set(lid, toChat(`${user}@s.whatsapp.net`))
    }
    return numbers
  }

  /** A retry request that we could not look up must not be acknowledged: it comes again. */
  async #contentForRetry(waMessageId: string): Promise<ReturnType<typeof toWhatsApp> | undefined> {
    try {
      const content = await this.#options.handlers.contentForRetry(waMessageId)
      return content === undefined ? undefined : toWhatsApp(content)
    } catch (error) {
      this.#cut('the content of a message could not be read', error)
      throw error
    }
  }

  #envelope(stanza: BinaryNode): ReturnType<typeof readEnvelope> {
    return readEnvelope(stanza, this.#own(), (lid) => this.#numberOfLid(lid))
  }

  #numberOfLid(lid: string): Promise<string | null> {
    return this.#socket.signalRepository.lidMapping.getPNForLID(lid)
  }

  #own(): OwnJids {
    const { me } = this.#options.creds
    return {
      number: jidNormalizedUser(me?.id),
      lid: me?.lid === undefined ? undefined : jidNormalizedUser(me.lid),
    }
  }

  #saveCredentials(): void {
    const json = JSON.stringify(this.#options.creds, BufferJSON.replacer)
    this.#saving = this.#saving
      .then(() => this.#options.store.saveCredentials(this.#options.instance, json))
      .catch((error: unknown) => this.#cut('credentials could not be saved', error))
  }

  #rejectAcks(): void {
    for (const waiter of this.#acks.values()) {
      waiter.reject(new EclusaError({ ...sessionErrors.OFFLINE, delivered: 'unknown' }))
    }
  }

  #assertOpen(): void {
    if (this.#over) throw new EclusaError(sessionErrors.OFFLINE)
  }

  #armSweep(): void {
    this.#sweepTimer = this.#clock.setTimer(CACHE_SWEEP_EVERY_MS, () => {
      this.#socket.sweepCaches()
      this.#keys.sweep()
      this.#journalled.sweep()
      this.#devices?.sweep()
      this.#options.facts?.sweep().catch((error: unknown) => {
        this.#options.log.warn(
          { error: String(error) },
          'old facts were not deleted; the next sweep comes in 5 min',
        )
      })
      if (!this.#over) this.#armSweep()
    })
  }
}

/** WhatsApp's error codes in an acknowledgement; the meaning of 463 and 479 as Baileys records it. */
function ackError(code: string): EclusaError {
  const options = { details: { whatsappCode: code } }
  switch (code) {
    case '429':
      return new EclusaError(sessionErrors.RATE_LIMITED, options)
    case '463':
      return new EclusaError(sessionErrors.ACCOUNT_RESTRICTED, options)
    case '479':
      return new EclusaError(sessionErrors.STALE_DEVICES, options)
    default:
      return new EclusaError(sessionErrors.REFUSED, options)
  }
}
