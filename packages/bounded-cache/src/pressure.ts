/** A cache, or the whole budget, nears its bound, has reached it, or gave entries up. */
export interface PressureEvent {
  /**
   * `warned` at 80 % of entries or bytes, `full` at 100 %: once, and again only after it fell below 70 % or 95 %, and
   * at most once a minute each. `evicted` sums up evictions, at most once a minute.
   */
  readonly kind: 'warned' | 'full' | 'evicted'
  readonly cache: string
  /** Null for a cache outside of any budget. */
  readonly owner: string | null
  readonly size: number
  readonly maxEntries: number
  readonly bytes: number
  readonly maxBytes: number
  /** Of entries or bytes, whichever is fuller. */
  readonly utilizationPct: number
  /** Evicted since the last event that told of evictions. */
  readonly evicted: number
  readonly remaining: number
}

const WARN_AT = 0.8
const WARN_AGAIN_BELOW = 0.7
const FULL_AGAIN_BELOW = 0.95
const QUIET_MS = 60_000

/** Decides when there is something to tell. */
export class PressureGauge {
  #warned = false
  #full = false
  #warnedAt = -Infinity
  #fullAt = -Infinity
  #evictedAt = -Infinity
  #evicted = 0

  countEviction(): void {
    this.#evicted++
  }

  /** What to tell at this utilisation (0 to 1 and above), or null. */
  read(
    utilization: number,
    now: number,
  ): { readonly kind: PressureEvent['kind']; readonly evicted: number } | null {
    if (utilization < WARN_AGAIN_BELOW) this.#warned = false
    if (utilization < FULL_AGAIN_BELOW) this.#full = false
    if (utilization >= 1 && !this.#full && now - this.#fullAt >= QUIET_MS) {
      this.#full = true
      this.#warned = true
      this.#fullAt = now
      return this.#tell('full')
    }
    if (utilization >= WARN_AT && !this.#warned && now - this.#warnedAt >= QUIET_MS) {
      this.#warned = true
      this.#warnedAt = now
      return this.#tell('warned')
    }
    if (this.#evicted > 0 && now - this.#evictedAt >= QUIET_MS) {
      this.#evictedAt = now
      return this.#tell('evicted')
    }
    return null
  }

  #tell(kind: PressureEvent['kind']): { readonly kind: PressureEvent['kind']; readonly evicted: number } {
    const evicted = this.#evicted
    if (kind === 'evicted') this.#evicted = 0
    return { kind, evicted }
  }
}

/** What a utilisation means to an operator. */
export function utilizationAdvice(pct: number): string {
  if (pct < 20) return 'far too large for what it holds: the cap can be lowered'
  if (pct < 70) return 'healthy'
  if (pct <= 90) return 'well used: watch the evictions'
  return 'nearly full: raise the cap, or accept that the least recently used entries go'
}
