import { type Clock, MINUTE } from '@eclusa/kernel'

/** Wrong tries within `WINDOW_MS` after which a user from an address must wait. */
export const MAX_ATTEMPTS = 10
/** The same over all addresses of a user, and over all users of an address: many machines, many names. */
const MAX_ATTEMPTS_OF_ONE = 50
const WINDOW_MS = 15 * MINUTE
/** Names and addresses remembered; past it the one whose first try is oldest is forgotten. */
export const MAX_REMEMBERED = 2000

interface Count {
  count: number
  /** Of the first wrong try. */
  readonly since: number
}

/** Who tried wrong passwords how often. Keys to the API are not part of this: nobody locks them out. */
export class Attempts {
  readonly #clock: Clock
  // bounded by: MAX_REMEMBERED
  readonly #counts = new Map<string, Count>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#counts.size
  }

  /** How long they must wait, in ms; 0: they may try. */
  waitMs(user: string, address: string): number {
    return Math.max(...keysOf(user, address).map(([key, max]) => this.#waitOf(key, max)))
  }

  failed(user: string, address: string): void {
    const now = this.#clock.now()
    for (const [key] of keysOf(user, address)) {
      const known = this.#counts.get(key)
      if (known !== undefined && now - known.since < WINDOW_MS) {
        known.count++
        continue
      }
      this.#counts.delete(key)
      this.#counts.set(key, { count: 1, since: now })
      if (this.#counts.size > MAX_REMEMBERED) {
        this.#counts.delete(this.#counts.keys().next().value as string)
      }
    }
  }

  /** The last try was none: the password was right, and half of the way. */
  forgive(user: string, address: string): void {
    for (const [key] of keysOf(user, address)) {
      const known = this.#counts.get(key)
      if (known !== undefined) known.count = Math.max(0, known.count - 1)
    }
  }

  succeeded(user: string, address: string): void {
    this.forgive(user, address)
    this.#counts.delete(pairKey(user, address))
  }

  #waitOf(key: string, max: number): number {
    const known = this.#counts.get(key)
    if (known === undefined || known.count < max) return 0
    return Math.max(0, known.since + WINDOW_MS - this.#clock.now())
  }
}

function keysOf(user: string, address: string): readonly (readonly [key: string, max: number])[] {
  return [
    [pairKey(user, address), MAX_ATTEMPTS],
    [`user ${user}`, MAX_ATTEMPTS_OF_ONE],
    [`address ${address}`, MAX_ATTEMPTS_OF_ONE],
  ]
}

function pairKey(user: string, address: string): string {
  return `both ${user} ${address}`
}
