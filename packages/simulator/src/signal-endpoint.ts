import { randomBytes } from 'node:crypto'
import {
  agree,
  bareKey,
  decryptCbc,
  encryptCbc,
  generateKeyPair,
  hkdf,
  hmac,
  type KeyPair,
  sign,
  typedKey,
  verify,
} from './curve.ts'
import {
  encodeFields,
  parseFields,
  parsePreKey,
  parseSenderKeyMessage,
  parseWhisper,
  type PreKeyMessage,
  VERSION,
  type WhisperMessage,
} from './signal-message.ts'

export type CipherKind = 'pkmsg' | 'msg'

/** What a device publishes so that others can begin a session with it. Keys are 32 bytes. */
export interface KeyBundle {
  readonly registrationId: number
  readonly identity: Buffer
  readonly signedPreKey: { readonly id: number; readonly public: Buffer; readonly signature: Buffer }
  readonly preKey: { readonly id: number; readonly public: Buffer } | undefined
}

/**
 * Why a ciphertext could not be opened. `used-key`: its message key was spent before. `bad-mac`: no session with
 * that device gives its MAC. `no-session`: there is no session with that device. `no-key`: it names a pre-key or sender key we never had.
 */
export type SignalReason = 'used-key' | 'bad-mac' | 'no-session' | 'no-key' | 'malformed'

export class SignalFailure extends Error {
  override readonly name = 'SignalFailure'
  readonly reason: SignalReason

  constructor(reason: SignalReason, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.reason = reason
  }
}

interface Chain {
  key: Buffer
  /** The next message's counter. */
  next: number
}

interface ReceivingChain extends Chain {
  readonly ratchetKey: string
  /** Keys of messages jumped over, by counter. bounded by: MAX_SKIPPED */
  readonly skipped: Map<number, Buffer>
}

interface Session {
  readonly baseKey: string
  readonly remoteIdentity: Buffer
  rootKey: Buffer
  ratchet: KeyPair
  sending: Chain | undefined
  previousCounter: number
  /** newest first. bounded by: MAX_CHAINS */
  receiving: ReceivingChain[]
  /** Until the other side has answered, every message carries what it needs to build the session. */
  pending:
    | { readonly preKeyId: number | undefined; readonly signedPreKeyId: number; readonly baseKey: Buffer }
    | undefined
}

interface SenderKey extends Chain {
  readonly keyId: number
  readonly signingPublic: Buffer
  readonly signingPrivate: Buffer | undefined
  /** bounded by: MAX_SKIPPED */
  readonly skipped: Map<number, Buffer>
}

/** Signal's own limit on how far a message may run ahead. */
const MAX_SKIPPED = 2000
const MAX_CHAINS = 5
/** Signal archives 40; a scripted contact never needs more than the last few. */
const MAX_SESSIONS_OF_A_DEVICE = 5
const MAX_REMOTE_DEVICES = 5000
const MAX_ONE_TIME_KEYS = 2000
const MAX_SENDER_KEYS = 2000
const MAX_SENDER_KEY_STATES = 5

/**
 * One device's side of the Signal protocol: X3DH, double ratchet and sender keys, version 3, written apart from
 * libsignal so that it checks clients instead of agreeing with them. Synchronous; a message costs a fraction of a
 * millisecond. Keys are made on demand, so an idle contact costs nothing.
 */
export class SignalEndpoint {
  readonly identity: KeyPair = generateKeyPair()
  readonly registrationId: number = 1 + (randomBytes(2).readUInt16BE(0) & 16383)
  #signedPreKey: { readonly pair: KeyPair; readonly signature: Buffer } | undefined
  // bounded by: MAX_ONE_TIME_KEYS, oldest out
  readonly #oneTimeKeys = new Map<number, KeyPair>()
  #nextOneTimeKey = 1
  // bounded by: MAX_REMOTE_DEVICES × MAX_SESSIONS_OF_A_DEVICE, least recently used out
  readonly #sessions = new Map<string, Session[]>()
  // bounded by: MAX_SENDER_KEYS × MAX_SENDER_KEY_STATES, oldest out
  readonly #senderKeys = new Map<string, SenderKey[]>()

  /** A bundle with a one-time key of its own. */
  bundle(): KeyBundle {
    const signed = this.#signed()
    const pair = generateKeyPair()
    const id = this.#nextOneTimeKey
    this.#nextOneTimeKey = id >= 0xff_fffe ? 1 : id + 1
    this.#oneTimeKeys.set(id, pair)
    evictOldest(this.#oneTimeKeys, MAX_ONE_TIME_KEYS)
    return {
      registrationId: this.registrationId,
      identity: this.identity.public,
      signedPreKey: { id: 1, public: signed.pair.public, signature: signed.signature },
      preKey: { id, public: pair.public },
    }
  }

  hasSession(address: string): boolean {
    return this.#sessions.has(address)
  }

  forgetSession(address: string): void {
    this.#sessions.delete(address)
  }

  /** Begins a session with the device behind `bundle`; older ones stay for messages under way. */
  startSession(address: string, bundle: KeyBundle): void {
    const { signedPreKey, preKey } = bundle
    if (!verify(bundle.identity, typedKey(signedPreKey.public), signedPreKey.signature)) {
      throw new SignalFailure('malformed', 'the signed pre-key is not signed by the identity')
    }
    const base = generateKeyPair()
    const rootKey = agreeSecret([
      agree(this.identity.private, signedPreKey.public),
      agree(base.private, bundle.identity),
      agree(base.private, signedPreKey.public),
      ...(preKey === undefined ? [] : [agree(base.private, preKey.public)]),
    ])
    const ratchet = generateKeyPair()
    const step = stepRoot(rootKey, agree(ratchet.private, signedPreKey.public))
    this.#remember(address, {
      baseKey: base.public.toString('base64'),
      remoteIdentity: typedKey(bundle.identity),
      rootKey: step.rootKey,
      ratchet,
      sending: { key: step.chainKey, next: 0 },
      previousCounter: 0,
      receiving: [],
      pending: { preKeyId: preKey?.id, signedPreKeyId: signedPreKey.id, baseKey: typedKey(base.public) },
    })
  }

  /** @throws SignalFailure `no-session` */
  encrypt(address: string, plain: Uint8Array): { readonly kind: CipherKind; readonly bytes: Buffer } {
    const session = this.#sessions.get(address)?.[0]
    if (session?.sending === undefined) throw new SignalFailure('no-session', 'no session to encrypt with')
    const chain = session.sending
    const keys = messageKeys(hmac(chain.key, ONE))
    const counter = chain.next
    const signed = Buffer.concat([
      Buffer.from([VERSION]),
      encodeFields([
        [1, typedKey(session.ratchet.public)],
        [2, counter],
        [3, session.previousCounter],
        [4, encryptCbc(keys.cipherKey, keys.iv, plain)],
      ]),
    ])
    const mac = hmac(keys.macKey, typedKey(this.identity.public), session.remoteIdentity, signed)
    chain.key = hmac(chain.key, TWO)
    chain.next = counter + 1
    const message = Buffer.concat([signed, mac.subarray(0, 8)])
    if (session.pending === undefined) return { kind: 'msg', bytes: message }
    const { preKeyId, signedPreKeyId, baseKey } = session.pending
    const fields = encodeFields([
      [1, preKeyId],
      [2, baseKey],
      [3, typedKey(this.identity.public)],
      [4, message],
      [5, this.registrationId],
      [6, signedPreKeyId],
    ])
    return { kind: 'pkmsg', bytes: Buffer.concat([Buffer.from([VERSION]), fields]) }
  }

  /** @throws SignalFailure; then nothing has changed */
  decrypt(address: string, kind: CipherKind, bytes: Buffer): Buffer {
    try {
      return kind === 'pkmsg'
        ? this.#decryptPreKey(address, parsePreKey(bytes))
        : this.#decryptAny(address, parseWhisper(bytes))
    } catch (error) {
      if (error instanceof SignalFailure) throw error
      throw new SignalFailure('malformed', 'the ciphertext is malformed', error)
    }
  }

  /** What members of `group` need to read our messages from here on. */
  senderKeyDistribution(group: string): Buffer {
    const key = this.#ownSenderKey(group)
    const fields = encodeFields([
      [1, key.keyId],
      [2, key.next],
      [3, key.key],
      [4, typedKey(key.signingPublic)],
    ])
    return Buffer.concat([Buffer.from([VERSION]), fields])
  }

  encryptGroup(group: string, plain: Uint8Array): Buffer {
    const key = this.#ownSenderKey(group)
    const { iv, cipherKey } = groupKeys(hmac(key.key, ONE))
    const signed = Buffer.concat([
      Buffer.from([VERSION]),
      encodeFields([
        [1, key.keyId],
        [2, key.next],
        [3, encryptCbc(cipherKey, iv, plain)],
      ]),
    ])
    key.key = hmac(key.key, TWO)
    key.next += 1
    if (key.signingPrivate === undefined) throw new SignalFailure('no-key', 'not our own sender key')
    return Buffer.concat([signed, sign(key.signingPrivate, signed)])
  }

  /** @throws RangeError when it is malformed */
  learnSenderKey(group: string, author: string, distribution: Buffer): void {
    const fields = parseFields(distribution.subarray(1))
    const keyId = fields.get(1) ?? 0
    const next = fields.get(2) ?? 0
    const key = fields.get(3)
    const signing = fields.get(4)
    if (
      typeof keyId !== 'number' ||
      typeof next !== 'number' ||
      !Buffer.isBuffer(key) ||
      !Buffer.isBuffer(signing)
    ) {
      throw new RangeError('a malformed sender key distribution')
    }
    const name = senderKeyName(group, author)
    const known = (this.#senderKeys.get(name) ?? []).filter((state) => state.keyId !== keyId)
    known.unshift({
      keyId,
      next,
      key: Buffer.from(key),
      signingPublic: bareKey(signing),
      signingPrivate: undefined,
      skipped: new Map(),
    })
    this.#senderKeys.delete(name)
    this.#senderKeys.set(name, known.slice(0, MAX_SENDER_KEY_STATES))
    evictOldest(this.#senderKeys, MAX_SENDER_KEYS)
  }

  /** @throws SignalFailure; then nothing has changed */
  decryptGroup(group: string, author: string, bytes: Buffer): Buffer {
    let message
    try {
      message = parseSenderKeyMessage(bytes)
    } catch (error) {
      throw new SignalFailure('malformed', 'the group ciphertext is malformed', error)
    }
    const state = this.#senderKeys
      .get(senderKeyName(group, author))
      ?.find((key) => key.keyId === message.keyId)
    if (state === undefined) throw new SignalFailure('no-key', 'no sender key of this author')
    if (!verify(state.signingPublic, message.signed, message.signature)) {
      throw new SignalFailure('bad-mac', 'the signature of the group message is wrong')
    }
    const found = findKey(state, message.iteration)
    const { iv, cipherKey } = groupKeys(found.seed)
    const plain = decryptCbc(cipherKey, iv, message.ciphertext)
    found.commit()
    return plain
  }

  #decryptPreKey(address: string, message: PreKeyMessage): Buffer {
    const baseKey = bareKey(message.baseKey).toString('base64')
    const known = this.#sessions.get(address)?.find((session) => session.baseKey === baseKey)
    if (known !== undefined) {
      const plain = this.#decryptWith(known, message.message)
      this.#promote(address, known)
      return plain
    }
    const oneTime = message.preKeyId === undefined ? undefined : this.#oneTimeKeys.get(message.preKeyId)
    if (message.preKeyId !== undefined && oneTime === undefined) {
      throw new SignalFailure('no-key', 'the one-time key was used before or never ours')
    }
    const signed = this.#signed().pair
    const rootKey = agreeSecret([
      agree(signed.private, message.identityKey),
      agree(this.identity.private, message.baseKey),
      agree(signed.private, message.baseKey),
      ...(oneTime === undefined ? [] : [agree(oneTime.private, message.baseKey)]),
    ])
    const session: Session = {
      baseKey,
      remoteIdentity: typedKey(message.identityKey),
      rootKey,
      ratchet: signed,
      sending: undefined,
      previousCounter: 0,
      receiving: [],
      pending: undefined,
    }
    const plain = this.#decryptWith(session, message.message)
    if (message.preKeyId !== undefined) this.#oneTimeKeys.delete(message.preKeyId)
    this.#remember(address, session)
    return plain
  }

  #decryptAny(address: string, message: WhisperMessage): Buffer {
    const sessions = this.#sessions.get(address)
    if (sessions === undefined) throw new SignalFailure('no-session', 'no session with this device')
    const ratchetKey = message.ratchetKey.toString('base64')
    const owner = sessions.find((session) =>
      session.receiving.some((chain) => chain.ratchetKey === ratchetKey),
    )
    if (owner !== undefined) {
      const plain = this.#decryptWith(owner, message)
      this.#promote(address, owner)
      return plain
    }
    for (const session of sessions) {
      try {
        const plain = this.#decryptWith(session, message)
        this.#promote(address, session)
        return plain
      } catch (error) {
        if (!(error instanceof SignalFailure)) throw error
      }
    }
    // The other side has no session that this side has not seen begin, so it is the message that is wrong.
    throw new SignalFailure(
      'bad-mac',
      `the MAC is wrong under each of the ${sessions.length} sessions with this device`,
    )
  }

  /** Changes `session` only when the MAC is right. */
  #decryptWith(session: Session, message: WhisperMessage): Buffer {
    const ratchetKey = message.ratchetKey.toString('base64')
    const known = session.receiving.find((chain) => chain.ratchetKey === ratchetKey)
    if (known !== undefined) {
      const found = findKey(known, message.counter)
      const plain = this.#openWith(session, found.seed, message)
      found.commit()
      session.pending = undefined
      return plain
    }
    const received = stepRoot(session.rootKey, agree(session.ratchet.private, message.ratchetKey))
    const chain: ReceivingChain = { ratchetKey, key: received.chainKey, next: 0, skipped: new Map() }
    const found = findKey(chain, message.counter)
    const plain = this.#openWith(session, found.seed, message)
    found.commit()
    const ratchet = generateKeyPair()
    const sent = stepRoot(received.rootKey, agree(ratchet.private, message.ratchetKey))
    if (session.sending !== undefined) session.previousCounter = Math.max(0, session.sending.next - 1)
    session.receiving = [chain, ...session.receiving].slice(0, MAX_CHAINS)
    session.rootKey = sent.rootKey
    session.ratchet = ratchet
    session.sending = { key: sent.chainKey, next: 0 }
    session.pending = undefined
    return plain
  }

  #openWith(session: Session, seed: Buffer, message: WhisperMessage): Buffer {
    const keys = messageKeys(seed)
    const mac = hmac(keys.macKey, session.remoteIdentity, typedKey(this.identity.public), message.signed)
    if (!mac.subarray(0, 8).equals(message.mac)) throw new SignalFailure('bad-mac', 'the MAC is wrong')
    return decryptCbc(keys.cipherKey, keys.iv, message.ciphertext)
  }

  #remember(address: string, session: Session): void {
    const sessions = [session, ...(this.#sessions.get(address) ?? [])].slice(0, MAX_SESSIONS_OF_A_DEVICE)
    this.#sessions.delete(address)
    this.#sessions.set(address, sessions)
    evictOldest(this.#sessions, MAX_REMOTE_DEVICES)
  }

  #promote(address: string, session: Session): void {
    const sessions = this.#sessions.get(address)
    if (sessions === undefined || sessions[0] === session) return
    this.#sessions.set(address, [session, ...sessions.filter((other) => other !== session)])
  }

  #signed(): { readonly pair: KeyPair; readonly signature: Buffer } {
    if (this.#signedPreKey === undefined) {
      const pair = generateKeyPair()
      this.#signedPreKey = { pair, signature: sign(this.identity.private, typedKey(pair.public)) }
    }
    return this.#signedPreKey
  }

  #ownSenderKey(group: string): SenderKey {
    const name = senderKeyName(group, 'own')
    let key = this.#senderKeys.get(name)?.[0]
    if (key === undefined) {
      const signing = generateKeyPair()
      key = {
        keyId: randomBytes(4).readUInt32BE(0) & 0x7fff_ffff,
        next: 0,
        key: randomBytes(32),
        signingPublic: signing.public,
        signingPrivate: signing.private,
        skipped: new Map(),
      }
      this.#senderKeys.set(name, [key])
      evictOldest(this.#senderKeys, MAX_SENDER_KEYS)
    }
    return key
  }
}

const ONE = Buffer.from([1])
const TWO = Buffer.from([2])
const PADDING = Buffer.alloc(32, 0xff)

function agreeSecret(agreements: readonly Buffer[]): Buffer {
  return hkdf(Buffer.concat([PADDING, ...agreements]), 32, { info: 'WhisperText' })
}

function stepRoot(rootKey: Buffer, secret: Buffer): { readonly rootKey: Buffer; readonly chainKey: Buffer } {
  const keys = hkdf(secret, 64, { salt: rootKey, info: 'WhisperRatchet' })
  return { rootKey: keys.subarray(0, 32), chainKey: keys.subarray(32) }
}

function messageKeys(seed: Buffer): {
  readonly cipherKey: Buffer
  readonly macKey: Buffer
  readonly iv: Buffer
} {
  const keys = hkdf(seed, 80, { info: 'WhisperMessageKeys' })
  return { cipherKey: keys.subarray(0, 32), macKey: keys.subarray(32, 64), iv: keys.subarray(64) }
}

function groupKeys(seed: Buffer): { readonly iv: Buffer; readonly cipherKey: Buffer } {
  const keys = hkdf(seed, 48, { info: 'WhisperGroup' })
  return { iv: keys.subarray(0, 16), cipherKey: keys.subarray(16) }
}

/** The message key at `counter`, and what to do once it has proved right. */
function findKey(
  chain: Chain & { readonly skipped: Map<number, Buffer> },
  counter: number,
): { readonly seed: Buffer; readonly commit: () => void } {
  if (counter < chain.next) {
    const seed = chain.skipped.get(counter)
    if (seed === undefined) throw new SignalFailure('used-key', `message key ${counter} was used before`)
    return { seed, commit: () => chain.skipped.delete(counter) }
  }
  if (counter - chain.next > MAX_SKIPPED) throw new SignalFailure('malformed', 'over 2000 messages ahead')
  const jumped: (readonly [number, Buffer])[] = []
  let key = chain.key
  for (let at = chain.next; at < counter; at++) {
    jumped.push([at, hmac(key, ONE)])
    key = hmac(key, TWO)
  }
  const after = key
  return {
    seed: hmac(after, ONE),
    commit: () => {
      for (const [at, seed] of jumped) chain.skipped.set(at, seed)
      evictOldest(chain.skipped, MAX_SKIPPED)
      chain.key = hmac(after, TWO)
      chain.next = counter + 1
    },
  }
}

function senderKeyName(group: string, author: string): string {
  return `${group}|${author}`
}

function evictOldest(map: Map<unknown, unknown>, max: number): void {
  for (const key of map.keys()) {
    if (map.size <= max) return
    map.delete(key)
  }
}
