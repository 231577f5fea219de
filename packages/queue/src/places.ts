import { MINUTE, type TenantId } from '@eclusa/kernel'
import type { Rate } from './care.ts'
import { Rates } from './rates.ts'

/** Who comes later than that to their place has lost it. */
const KEPT_FOR_MS = MINUTE

/**
 * Whose turn it is at the rate of a tenant: each message that has to wait is given a time of its own, so that they do
 * not all wake for the one place that is free. In memory: after a restart those that wait come as they were told, and
 * others between them.
 */
export class Places {
  readonly #maxPlaces: number
  readonly #rates: Rates
  // By seq, the first given first. bounded by: maxPlaces
  readonly #places = new Map<number, { readonly tenant: TenantId; readonly at: number }>()

  constructor(maxPlaces: number) {
    this.#maxPlaces = maxPlaces
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
    message: { readonly tenant: TenantId; readonly seq: number },
    rate: Rate,
    now: number,
    within: number,
  ): number {
    const { tenant, seq } = message
    const own = this.#places.get(seq)
    if (own !== undefined && own.at > now) return own.at
    this.#places.delete(seq)
    if (own !== undefined && own.at > now - KEPT_FOR_MS) return now
    const at = this.#rates.freeAt(tenant, rate, now)
    if (at > now) {
      this.#forget(now)
      if (at >= within || this.#places.size >= this.#maxPlaces) return at
      this.#places.set(seq, { tenant, at })
    }
    return this.#rates.take(tenant, rate, now)
  }

  /** How many of each tenant wait for a time of their own. */
  counts(now: number): ReadonlyMap<TenantId, number> {
    const counts = new Map<TenantId, number>()
    for (const { tenant, at } of this.#places.values()) {
      if (at > now) counts.set(tenant, (counts.get(tenant) ?? 0) + 1)
    }
    return counts
  }

  /** All its times are to be given anew. */
  free(tenant: TenantId): void {
    this.#rates.forget(tenant)
    for (const [seq, place] of this.#places) if (place.tenant === tenant) this.#places.delete(seq)
  }

  /** Those that nobody came for. */
  #forget(now: number): void {
    for (const [seq, { at }] of this.#places) {
      if (at > now - KEPT_FOR_MS) return
      this.#places.delete(seq)
    }
  }
}
