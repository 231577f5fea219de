import type { Rate } from './care.ts'
import { Rates } from './rates.ts'

/**
 * Whose turn it is at a rate: each message that has to wait is given a time of its own, so that they do not all wake for
 * the one place that is free. In memory: after a restart those that wait come as they were told, and others between
 * them.
 */
export class Places<Key extends string> {
  readonly #maxPlaces: number
  readonly #keptForMs: number
  readonly #rates: Rates
  // By seq, the first given first. bounded by: maxPlaces
  readonly #places = new Map<number, { readonly key: Key; readonly at: number }>()

  /** @param keptForMs who comes later than that to their place has lost it */
  constructor(maxPlaces: number, keptForMs: number) {
    this.#maxPlaces = maxPlaces
    this.#keptForMs = keptForMs
    this.#rates = new Rates(maxPlaces)
  }

  get size(): number {
    return this.#places.size
  }

  /**
   * When the message may go: `now`, or the time that is its own from now on. Where that would be `within` or later, or
   * there are too many, none is given, and it asks again then.
   */
  of(
    key: Key,
    seq: number,
    o: { readonly rate: Rate; readonly now: number; readonly within: number },
  ): number {
    const { rate, now, within } = o
    if (rate.everyMs === 0) return now
    const own = this.#places.get(seq)
    if (own !== undefined && own.at > now - this.#keptForMs) return Math.max(own.at, now)
    this.#places.delete(seq)
    const at = this.#rates.freeAt(key, rate, now)
    if (at > now) {
      this.#forget(now)
      if (at >= within || this.#places.size >= this.#maxPlaces) return at
      this.#places.set(seq, { key, at })
    }
    return this.#rates.take(key, rate, now)
  }

  /** The message goes, and needs its place no more. */
  done(seq: number): void {
    this.#places.delete(seq)
  }

  /** How many of each key wait for a time of their own. */
  counts(now: number): ReadonlyMap<Key, number> {
    const counts = new Map<Key, number>()
    for (const { key, at } of this.#places.values()) if (at > now) counts.set(key, (counts.get(key) ?? 0) + 1)
    return counts
  }

  /** All times of the key are to be given anew. */
  free(key: Key): void {
    this.#rates.forget(key)
    for (const [seq, place] of this.#places) if (place.key === key) this.#places.delete(seq)
  }

  /** Those that nobody came for. */
  #forget(now: number): void {
    for (const [seq, { at }] of this.#places) {
      if (at > now - this.#keptForMs) return
      this.#places.delete(seq)
    }
  }
}
