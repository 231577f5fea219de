import { Ring } from './ring.ts'
import { parsePreKey, parseSenderKeyMessage, parseWhisper } from './signal-message.ts'
import { bytesOf, type Stanza } from './wire.ts'

/**
 * What a correct client never does.
 * - `wrong-order`: a Signal counter arrives after a higher one of its chain, not having been used.
 * - `reused-message-key`: one Signal message key (device, ratchet key, counter) under two message ids.
 * - `duplicate`: one message id sent twice over one connection without a retry receipt asking for it.
 * - `wrong-mac`: a ciphertext whose MAC (or sender-key signature) is wrong under every session its recipient has with the device.
 * - `undecryptable`: any other ciphertext its recipient cannot open, with no simulated cause.
 * - `missing-receipt`: a message delivered to a connected device that it neither received nor refused.
 * - `refused`: a message acknowledged with an error although it was not asked for again: lost.
 * - `missing-ack`: the same for a receipt or notification.
 * - `missing-identity`: a `pkmsg` without the device identity others check it by.
 * - `bad-stanza`, `bad-frame`: what a server could not read.
 * - `app-state-mac`: an app-state patch whose MACs are wrong.
 */
export type ViolationKind =
  | 'wrong-order'
  | 'reused-message-key'
  | 'duplicate'
  | 'wrong-mac'
  | 'undecryptable'
  | 'refused'
  | 'missing-receipt'
  | 'missing-ack'
  | 'missing-identity'
  | 'bad-stanza'
  | 'bad-frame'
  | 'app-state-mac'

export interface Violation {
  readonly kind: ViolationKind
  /** Epoch ms by the simulator's clock. */
  readonly at: number
  /** JID of the device that did it. */
  readonly device: string
  readonly id: string | undefined
  readonly explanation: string
}

interface ChainRecord {
  highest: number
  /** Counters jumped over. bounded by: MAX_MISSING */
  readonly missing: Set<number>
  /** Message ids of the last counters. bounded by: MAX_REMEMBERED_COUNTERS */
  readonly ids: Map<number, string>
}

const MAX_VIOLATIONS = 1000
const MAX_CHAINS_OF_A_DEVICE = 5000
const MAX_MISSING = 2000
const MAX_REMEMBERED_COUNTERS = 64

/** Collects violations; the first `MAX_VIOLATIONS` explain themselves, the rest are counted. */
export class Violations {
  readonly #now: () => number
  // bounded by: MAX_VIOLATIONS
  readonly #list = new Ring<Violation>(MAX_VIOLATIONS)

  constructor(now: () => number) {
    this.#now = now
  }

  get list(): readonly Violation[] {
    return this.#list.items
  }

  add(kind: ViolationKind, device: string, id: string | undefined, explanation: string): void {
    this.#list.push({ kind, at: this.#now(), device, id, explanation })
  }
}

/** Watches the message keys one device uses, over all its connections. */
export class KeyWatch {
  readonly #device: string
  readonly #violations: Violations
  // bounded by: MAX_CHAINS_OF_A_DEVICE, least recently used out
  readonly #chains = new Map<string, ChainRecord>()

  constructor(device: string, violations: Violations) {
    this.#device = device
    this.#violations = violations
  }

  /** Looks at one `<enc>` of message `id`, meant for `recipient`. */
  check(enc: Stanza, id: string, recipient: string): void {
    const bytes = bytesOf(enc)
    if (bytes === undefined) {
      this.#violations.add('bad-stanza', this.#device, id, 'an <enc> without content')
      return
    }
    let chain: string
    let counter: number
    try {
      if (enc.attrs['type'] === 'skmsg') {
        const message = parseSenderKeyMessage(bytes)
        chain = `${recipient} ${message.keyId}`
        counter = message.iteration
      } else {
        const message = enc.attrs['type'] === 'pkmsg' ? parsePreKey(bytes).message : parseWhisper(bytes)
        chain = message.ratchetKey.toString('base64')
        counter = message.counter
      }
    } catch (error) {
      this.#violations.add(
        'bad-stanza',
        this.#device,
        id,
        `an <enc> that is no Signal message: ${String(error)}`,
      )
      return
    }
    this.#use(chain, counter, id, recipient)
  }

  #use(name: string, counter: number, id: string, recipient: string): void {
    const chain = this.#touch(name)
    if (counter > chain.highest) {
      for (let at = Math.max(chain.highest + 1, counter - MAX_MISSING); at < counter; at++)
        chain.missing.add(at)
      chain.highest = counter
    } else if (chain.missing.delete(counter)) {
      this.#violations.add(
        'wrong-order',
        this.#device,
        id,
        `message key ${counter} for ${recipient} came after ${chain.highest} of the same chain`,
      )
    } else {
      const before = chain.ids.get(counter)
      // The same id again is a resend after a crash, which the official apps drop by its id.
      if (before === id) return
      this.#violations.add(
        'reused-message-key',
        this.#device,
        id,
        `message key ${counter} for ${recipient} was used before by ${before ?? 'an older message'}`,
      )
    }
    chain.ids.set(counter, id)
    trim(chain.ids, MAX_REMEMBERED_COUNTERS)
    trim(chain.missing, MAX_MISSING)
  }

  #touch(name: string): ChainRecord {
    let chain = this.#chains.get(name)
    if (chain === undefined) chain = { highest: -1, missing: new Set(), ids: new Map() }
    else this.#chains.delete(name)
    this.#chains.set(name, chain)
    trim(this.#chains, MAX_CHAINS_OF_A_DEVICE)
    return chain
  }
}

const MAX_SENT_IDS = 5000

/** Message ids one connection has sent, and how many more times a retry receipt allows each. */
export class SentIds {
  // bounded by: MAX_SENT_IDS, oldest out
  readonly #sent = new Map<string, number>()

  /** True when this id was sent before and nobody asked for it again. */
  isDuplicate(id: string): boolean {
    const allowed = this.#sent.get(id)
    this.#sent.set(id, Math.max(0, (allowed ?? 0) - 1))
    trim(this.#sent, MAX_SENT_IDS)
    return allowed === 0
  }

  /** A retry receipt for this id goes to the client. */
  allowAgain(id: string): void {
    const allowed = this.#sent.get(id)
    if (allowed !== undefined) this.#sent.set(id, allowed + 1)
  }
}

function trim(collection: Map<unknown, unknown> | Set<unknown>, max: number): void {
  for (const key of collection.keys()) {
    if (collection.size <= max) return
    collection.delete(key)
  }
}
