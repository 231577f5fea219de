import { BoundedCache, type CacheOwner } from '@eclusa/bounded-cache'

/** Repeated resends a peer may cause in a minute; each costs a query for its session. */
const MAX_REPEATS = 10
const WINDOW_MS = 60_000
/** A request for the same message within this is a repetition. */
const REMEMBER_MS = 600_000
const MAX_PEERS = 1_000
const MAX_MESSAGES = 5_000

/**
 * How often a peer may ask for a message again. The first request for each message always passes: a contact with a new
 * phone asks for everything that waited for it, once. Only repetitions count, which is what a loop consists of.
 */
export class ResendLimit {
  // bounded by: MAX_MESSAGES
  readonly #asked: BoundedCache<true>
  // bounded by: MAX_PEERS
  readonly #repeats: BoundedCache<{ count: number }>
  #refused = 0

  /** `owner` pays for what is remembered. */
  constructor(now: (() => number) | undefined, owner: CacheOwner | undefined) {
    const clocked = { ...(now === undefined ? {} : { now }), ...(owner === undefined ? {} : { owner }) }
    this.#asked = new BoundedCache({
      name: 'resendsAsked',
      maxEntries: MAX_MESSAGES,
      ttlMs: REMEMBER_MS,
      ...clocked,
    })
    this.#repeats = new BoundedCache({
      name: 'resendRepeats',
      maxEntries: MAX_PEERS,
      ttlMs: WINDOW_MS,
      ...clocked,
    })
  }

  get refused(): number {
    return this.#refused
  }

  /** Whether `peer` may have message `id` (again); counts it. */
  admit(peer: string, id: string): boolean {
    const key = `${peer} ${id}`
    if (!this.#asked.has(key)) {
      this.#asked.set(key, true)
      return true
    }
    const repeats = this.#repeats.get(peer)
    if (repeats === undefined) {
      this.#repeats.set(peer, { count: 1 })
      return true
    }
    if (repeats.count >= MAX_REPEATS) {
      this.#refused += 1
      return false
    }
    repeats.count += 1
    return true
  }

  clear(): void {
    this.#asked.dispose()
    this.#repeats.dispose()
  }
}
