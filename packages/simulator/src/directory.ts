import { EclusaError } from '@eclusa/kernel'
import type { Connection } from './connection.ts'
import { typedKey, verify } from './curve.ts'
import { type Addressing, makeJid, parseJid } from './jid.ts'
import { Mailbox } from './mailbox.ts'
import type { Phone } from './phone.ts'
import type { KeyBundle } from './signal-endpoint.ts'
import { simulatorErrors } from './simulator-errors.ts'
import { Transcript } from './transcript.ts'
import type { proto } from './wire.ts'

/** A WhatsApp account: a phone number, its LID, its phone (device 0) and the devices linked to it. */
export interface Account {
  /** Digits only. */
  readonly number: string
  /** The user part of its LID. */
  readonly lid: string
  readonly kind: 'number' | 'contact'
  pushName: string
  /** Verified business name, sent at pairing. */
  readonly biz: string | undefined
  readonly phone: Phone
  // bounded by: maxDevices
  readonly devices: Map<number, Device>
  nextDeviceId: number
  nextKeyIndex: number
  /** Accounts that asked for this one's devices and are told when they change. bounded by: maxAccounts */
  readonly watchers: Set<Account>
  /** Devices told when this account comes online or goes. bounded by: maxAccounts × maxDevices */
  readonly presenceWatchers: Set<Device>
  /** Accounts whose scripted phone watches it. bounded by: maxAccounts */
  readonly presencePhones: Set<Account>
}

export interface DeviceKeys {
  readonly identity: Buffer
  readonly registrationId: number
  readonly signedPreKey: { readonly id: number; readonly public: Buffer; readonly signature: Buffer }
}

/** One linked device (companion) of an account; device 0 is the phone and not one of these. */
export class Device {
  readonly account: Account
  /** 1 … */
  readonly id: number
  readonly keyIndex: number
  /** Base64 of its Noise static key: what a login is recognised by. */
  readonly noiseKey: string
  keys: DeviceKeys
  readonly preKeys: PreKeyStock = new PreKeyStock()
  readonly mailbox: Mailbox = new Mailbox()
  readonly transcript: Transcript
  /** The signed device identity, as the server hands it out with bundles. */
  signedIdentity: Buffer
  connection: Connection | undefined
  /** `offline` → `login` → (`preview`) → `open`; stanzas flow only in `open`. */
  state: 'offline' | 'login' | 'preview' | 'open' = 'offline'
  available = false
  /** Answer to the next logins instead of success. */
  refusal: LoginRefusal | undefined
  bootstrapped = false
  /** What the phone sends it after its first login; false: nothing. */
  history: proto.IHistorySync | false | undefined
  acceptedCount = 0
  acknowledgedCount = 0

  constructor(o: {
    readonly account: Account
    readonly id: number
    readonly keyIndex: number
    readonly noiseKey: string
    readonly keys: DeviceKeys
    readonly signedIdentity: Buffer
    readonly maxTranscript: number
  }) {
    this.account = o.account
    this.id = o.id
    this.keyIndex = o.keyIndex
    this.noiseKey = o.noiseKey
    this.keys = o.keys
    this.signedIdentity = o.signedIdentity
    this.transcript = new Transcript(o.maxTranscript)
  }

  /** Its phone-number address, `5511…:1@s.whatsapp.net`. */
  get jid(): string {
    return makeJid(this.account.number, 's.whatsapp.net', this.id)
  }

  /** Its address for Signal: sessions are kept by LID whatever the stanza says. */
  get address(): string {
    return `${this.account.lid}.${this.id}`
  }

  /** Connected, logged in and answering. */
  get live(): boolean {
    return this.state === 'open' && this.connection !== undefined && this.connection.answers
  }

  /** Takes a one-time key out of the stock. */
  takeBundle(): KeyBundle {
    return { ...this.keys, preKey: this.preKeys.take() }
  }
}

export interface LoginRefusal {
  /** 401, 402, 403, 405, 406, 409, 429, 503 … */
  readonly reason: number
  readonly attrs: Readonly<Record<string, string>>
  /** How many logins are refused; undefined: until lifted. */
  timesLeft: number | undefined
}

/** @throws SIMULATOR_BAD_INPUT when the identity did not sign the pre-key */
export function checkKeys(keys: DeviceKeys): DeviceKeys {
  const { identity, signedPreKey } = keys
  if (!verify(identity, typedKey(signedPreKey.public), signedPreKey.signature)) {
    throw new EclusaError(simulatorErrors.BAD_INPUT, {
      message: 'the signed pre-key is not signed by the identity',
      details: { field: 'skey' },
    })
  }
  return keys
}

/** One-time keys as they lie in memory: 3 bytes id and 32 bytes key each; 812 of them are 28 kB. */
export class PreKeyStock {
  /** bounded by: MAX_PRE_KEYS × 35 bytes */
  #packed: Buffer = Buffer.alloc(0)

  get count(): number {
    return this.#packed.length / PRE_KEY_BYTES
  }

  add(keys: readonly { readonly id: number; readonly public: Buffer }[]): void {
    const added = Buffer.alloc(keys.length * PRE_KEY_BYTES)
    for (const [index, key] of keys.entries()) {
      added.writeUIntBE(key.id, index * PRE_KEY_BYTES, 3)
      key.public.copy(added, index * PRE_KEY_BYTES + 3)
    }
    this.#packed = Buffer.concat([this.#packed, added]).subarray(0, MAX_PRE_KEYS * PRE_KEY_BYTES)
  }

  take(): { readonly id: number; readonly public: Buffer } | undefined {
    if (this.#packed.length === 0) return undefined
    const first = this.#packed.subarray(0, PRE_KEY_BYTES)
    this.#packed = this.#packed.subarray(PRE_KEY_BYTES)
    return { id: first.readUIntBE(0, 3), public: Buffer.from(first.subarray(3)) }
  }
}

const PRE_KEY_BYTES = 35
const MAX_PRE_KEYS = 4096

/** Who exists, by phone number and by LID. */
export class Directory {
  readonly #random: () => number
  readonly #maxAccounts: number
  // bounded by: #maxAccounts
  readonly #byNumber = new Map<string, Account>()
  // bounded by: #maxAccounts
  readonly #byLid = new Map<string, Account>()

  constructor(o: { readonly random: () => number; readonly maxAccounts: number }) {
    this.#random = o.random
    this.#maxAccounts = o.maxAccounts
  }

  /** @throws SIMULATOR_NUMBER_TAKEN, SIMULATOR_TOO_MANY */
  add(o: {
    readonly number: string
    readonly kind: Account['kind']
    readonly pushName: string
    readonly biz: string | undefined
    readonly makePhone: (account: Account) => Phone
  }): Account {
    if (this.#byNumber.has(o.number))
      throw new EclusaError(simulatorErrors.NUMBER_TAKEN, { details: { field: 'number' } })
    if (this.#byNumber.size >= this.#maxAccounts) throw new EclusaError(simulatorErrors.TOO_MANY)
    const draft: Omit<Account, 'phone'> = {
      number: o.number,
      lid: this.#makeLid(),
      kind: o.kind,
      pushName: o.pushName,
      biz: o.biz,
      devices: new Map(),
      nextDeviceId: 1,
      nextKeyIndex: 1,
      watchers: new Set(),
      presenceWatchers: new Set(),
      presencePhones: new Set(),
    }
    const account = draft as Account
    ;(account as { phone: Phone }).phone = o.makePhone(account)
    this.#byNumber.set(account.number, account)
    this.#byLid.set(account.lid, account)
    return account
  }

  accounts(): Iterable<Account> {
    return this.#byNumber.values()
  }

  byNumber(number: string): Account | undefined {
    return this.#byNumber.get(number)
  }

  /** By phone-number or LID address, whatever its device part. */
  account(jid: string): Account | undefined {
    const parsed = parseJid(jid)
    if (parsed === undefined) return undefined
    if (parsed.server === 'lid') return this.#byLid.get(parsed.user)
    return parsed.server === 's.whatsapp.net' || parsed.server === 'c.us'
      ? this.#byNumber.get(parsed.user)
      : undefined
  }

  /** A linked device; undefined for a phone (device 0) and for strangers. */
  device(jid: string): Device | undefined {
    return this.account(jid)?.devices.get(parseJid(jid)?.device ?? 0)
  }

  *devices(): Iterable<Device> {
    for (const account of this.#byNumber.values()) yield* account.devices.values()
  }

  #makeLid(): string {
    for (;;) {
      const lid = `2${Math.floor(this.#random() * 1e14)
        .toString()
        .padStart(14, '0')}`
      if (!this.#byLid.has(lid)) return lid
    }
  }
}

/** An account's address in the addressing wanted, with a device part when `device` is not 0. */
export function addressOf(account: Account, addressing: Addressing, device = 0): string {
  return addressing === 'lid'
    ? makeJid(account.lid, 'lid', device)
    : makeJid(account.number, 's.whatsapp.net', device)
}
