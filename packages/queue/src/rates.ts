import type { Rate } from './care.ts'

/**
 * When the next one may go, for many at once: one number each, the time at which the burst would be whole again
 * (the generic cell rate algorithm). No timer, nothing to fill up.
 */
export class Rates {
  readonly #maxRates: number
  // A Map keeps insertion order: its first is the longest unused. bounded by: maxRates
  readonly #wholeAt = new Map<string, number>()

  /** More than `maxRates` are forgotten, the longest unused first: their next message is not held up. */
  constructor(maxRates: number) {
    this.#maxRates = maxRates
  }

  get size(): number {
    return this.#wholeAt.size
  }

  /** When one more may go: `now` or later. */
  freeAt(key: string, rate: Rate, now: number): number {
    const wholeAt = this.#wholeAt.get(key)
    if (wholeAt === undefined) return now
    return Math.max(now, wholeAt - (rate.burst - 1) * rate.everyMs)
  }

  /** One goes; when it may, which is later than now when too many went before. */
  take(key: string, rate: Rate, now: number): number {
    const at = this.freeAt(key, rate, now)
    const wholeAt = Math.max(this.#wholeAt.get(key) ?? now, now) + rate.everyMs
    this.#wholeAt.delete(key)
    if (rate.everyMs > 0) this.#wholeAt.set(key, wholeAt)
    this.#forget(now)
    return at
  }

  /** Whole again at once. */
  forget(key: string): void {
    this.#wholeAt.delete(key)
  }

  /** Those that are whole again at the front, and the first when there are too many. */
  #forget(now: number): void {
    for (const [key, wholeAt] of this.#wholeAt) {
      if (wholeAt > now && this.#wholeAt.size <= this.#maxRates) return
      this.#wholeAt.delete(key)
    }
  }
}
