import { type Device } from './directory.ts'
import type { Sender } from './fan-out.ts'
import type { Group } from './groups.ts'
import { pad, unpad } from './message-content.ts'
import { type CipherKind, type KeyBundle, SignalEndpoint, SignalFailure } from './signal-endpoint.ts'
import { bytesOf, child, children, el, proto, type Stanza, uintBytes, uintOf } from './wire.ts'

/** What came out of a message's `<enc>` nodes: the message, or why there is none. */
export interface Opened {
  readonly message: proto.IMessage | undefined
  readonly failure: SignalFailure | undefined
}

/** A phone's keys and sessions: turns messages into `<enc>` nodes and back. Made of nothing until first used. */
export class PhoneCipher {
  #signal: SignalEndpoint | undefined
  /** Devices whose sessions were lost on purpose: not reading them is no fault of theirs. bounded by: the linked devices there were */
  readonly #lost = new Set<string>()
  /** Devices that have this phone's sender key, per group. bounded by: the groups and their devices */
  readonly #keyedDevices = new Map<string, Set<Device>>()

  get identity(): { readonly private: Buffer; readonly public: Buffer } {
    return this.#endpoint().identity
  }

  /** Published keys, with a one-time key of its own. */
  takeBundle(): KeyBundle {
    return this.#endpoint().bundle()
  }

  /** A new identity; the sessions with `devices` are gone. */
  reset(devices: Iterable<Device>): void {
    this.#signal = undefined
    this.#keyedDevices.clear()
    for (const device of devices) this.#lost.add(device.address)
  }

  /** Forgets a device that was unlinked. */
  forget(device: Device): void {
    this.#signal?.forgetSession(device.address)
    for (const devices of this.#keyedDevices.values()) devices.delete(device)
  }

  /** Whether messages of this sender may be unreadable since `reset`. */
  hasLost(sender: Sender): boolean {
    return this.#lost.has(addressOfSender(sender))
  }

  /** For one device; `count` marks a resend. */
  encrypt(device: Device, content: Uint8Array, count?: number): Stanza {
    const signal = this.#endpoint()
    if (!signal.hasSession(device.address)) signal.startSession(device.address, device.takeBundle())
    const { kind, bytes } = signal.encrypt(device.address, pad(content))
    return el('enc', { v: '2', type: kind, count }, bytes)
  }

  /** Once for all; returns what each device gets, the sender key included where it is missing. */
  encryptForGroup(group: Group, content: Uint8Array): (device: Device) => Stanza[] {
    // In this order: the distribution begins at the message that follows it.
    const distribution = this.#distribution(group)
    const bytes = this.#endpoint().encryptGroup(group.jid, pad(content))
    let keyed = this.#keyedDevices.get(group.jid)
    if (keyed === undefined) this.#keyedDevices.set(group.jid, (keyed = new Set()))
    const holders = keyed
    return (device) => {
      const message = el('enc', { v: '2', type: 'skmsg' }, bytes)
      if (holders.has(device)) return [message]
      holders.add(device)
      const key = { senderKeyDistributionMessage: distribution }
      return [this.encrypt(device, proto.Message.encode(key).finish()), message]
    }
  }

  /** A group message for one device alone, with the sender key it lacked. */
  encryptGroupRetry(group: Group, device: Device, content: Uint8Array, count: number): Stanza {
    const message = proto.Message.decode(content)
    message.senderKeyDistributionMessage = this.#distribution(group)
    return this.encrypt(device, proto.Message.encode(message).finish(), count)
  }

  /**
   * Prepares to send again to a device that could not read a message. The first time the session may be sound and
   * only that message unreadable; keys come with the second receipt.
   */
  prepareRetry(device: Device, receipt: Stanza, count: number): void {
    const bundle = bundleOf(receipt)
    if (count <= 1 && bundle === undefined) return
    this.#endpoint().forgetSession(device.address)
    this.#endpoint().startSession(device.address, bundle ?? device.takeBundle())
  }

  /** What a retry receipt of this phone carries besides `<retry>`: keys from the second on. */
  retryKeys(count: number): Stanza[] {
    const registration = el('registration', {}, uintBytes(this.#endpoint().registrationId, 4))
    if (count <= 1) return [registration]
    const bundle = this.#endpoint().bundle()
    const keys = [
      el('type', {}, Buffer.from([5])),
      el('identity', {}, bundle.identity),
      ...bundleNodes(bundle),
    ]
    return [registration, el('keys', {}, keys)]
  }

  /** Decrypts every `<enc>` of a message; learns the sender keys in it. */
  open(sender: Sender, node: Stanza, group: string | undefined): Opened {
    const address = addressOfSender(sender)
    let message: proto.IMessage | undefined
    let failure: SignalFailure | undefined
    for (const enc of children(node, 'enc')) {
      const bytes = bytesOf(enc)
      if (bytes === undefined) continue
      try {
        const padded = this.#decrypt(address, enc.attrs['type'] ?? '', bytes, group)
        const decoded = proto.Message.decode(unpad(padded))
        const inner = decoded.deviceSentMessage?.message ?? decoded
        this.#learnSenderKey(inner, address)
        message = { ...message, ...definedFields(inner) }
        this.#lost.delete(address)
      } catch (error) {
        failure ??=
          error instanceof SignalFailure ? error : new SignalFailure('malformed', String(error), error)
      }
    }
    return { message, failure: message !== undefined && hasContent(message) ? undefined : failure }
  }

  #endpoint(): SignalEndpoint {
    this.#signal ??= new SignalEndpoint()
    return this.#signal
  }

  #decrypt(address: string, kind: string, bytes: Buffer, group: string | undefined): Buffer {
    if (kind === 'skmsg') return this.#endpoint().decryptGroup(group ?? '', address, bytes)
    return this.#endpoint().decrypt(address, kind as CipherKind, bytes)
  }

  #distribution(group: Group): proto.Message.ISenderKeyDistributionMessage {
    const axolotlSenderKeyDistributionMessage = this.#endpoint().senderKeyDistribution(group.jid)
    return { groupId: group.jid, axolotlSenderKeyDistributionMessage }
  }

  #learnSenderKey(message: proto.IMessage, address: string): void {
    const { groupId, axolotlSenderKeyDistributionMessage: key } = message.senderKeyDistributionMessage ?? {}
    if (groupId && key) this.#endpoint().learnSenderKey(groupId, address, Buffer.from(key))
  }
}

function addressOfSender(sender: Sender): string {
  return `${sender.account.lid}.${sender.deviceId}`
}

/** `<skey>` and `<key>` as bundles carry them. */
export function bundleNodes(bundle: KeyBundle): Stanza[] {
  const { signedPreKey, preKey } = bundle
  const nodes = [
    el('skey', {}, [
      el('id', {}, uintBytes(signedPreKey.id, 3)),
      el('value', {}, signedPreKey.public),
      el('signature', {}, signedPreKey.signature),
    ]),
  ]
  if (preKey !== undefined)
    nodes.push(el('key', {}, [el('id', {}, uintBytes(preKey.id, 3)), el('value', {}, preKey.public)]))
  return nodes
}

/** The key bundle inside a retry receipt. */
function bundleOf(receipt: Stanza): KeyBundle | undefined {
  const keys = child(receipt, 'keys')
  const skey = child(keys, 'skey')
  const identity = bytesOf(keys, 'identity')
  const value = bytesOf(skey, 'value')
  const signature = bytesOf(skey, 'signature')
  if (identity === undefined || value === undefined || signature === undefined) return undefined
  const key = child(keys, 'key')
  const preKey = bytesOf(key, 'value')
  return {
    registrationId: uintOf(receipt, 'registration') ?? 0,
    identity,
    signedPreKey: { id: uintOf(skey, 'id') ?? 0, public: value, signature },
    preKey: preKey === undefined ? undefined : { id: uintOf(key, 'id') ?? 0, public: preKey },
  }
}

/** Own enumerable fields only: a decoded protobuf also inherits nulls from its prototype. */
function definedFields(message: proto.IMessage): proto.IMessage {
  return Object.fromEntries(
    Object.entries(message).filter(([, value]) => value !== null && value !== undefined),
  )
}

function hasContent(message: proto.IMessage): boolean {
  return Object.keys(message).some(
    (name) => name !== 'senderKeyDistributionMessage' && name !== 'messageContextInfo',
  )
}
