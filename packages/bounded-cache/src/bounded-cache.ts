/** Why an entry left a cache. */
export type RemovalReason = 'evicted' | 'expired' | 'deleted' | 'replaced'

export interface BoundedCacheOptions<Value> {
  /** Shown in statistics and logs. */
  readonly name: string
  /** Most entries at any moment; the least recently used one gives way. At least 1. */
  readonly maxEntries: number
  /** Life of an entry from its last `set`, in milliseconds; `Infinity` for none. */
  readonly ttlMs: number
  /** Whether a read starts the life anew. Default false. */
  readonly extendOnGet?: boolean
  /** Epoch milliseconds. Default `Date.now`. */
  readonly now?: () => number
  /** Called once for each entry that leaves, after it has left. Must not throw. */
  readonly onRemove?: (key: string, value: Value, reason: RemovalReason) => void
}

export interface CacheStats {
  readonly name: string
  readonly entries: number
  readonly maxEntries: number
  readonly hits: number
  readonly misses: number
  readonly evictions: number
  readonly expirations: number
}

interface Entry<Value> {
  readonly value: Value
  expiresAt: number
}

/**
 * A map of at most `maxEntries` entries: least recently used out first, expired ones are absent and freed on touch or
 * by `sweep`. Never throws when full, arms no timer, allocates nothing ahead (an empty one costs about 0.5 KB).
 */
export class BoundedCache<Value> {
  readonly #options: BoundedCacheOptions<Value>
  readonly #now: () => number
  // bounded by: maxEntries; insertion order is order of use
  readonly #entries = new Map<string, Entry<Value>>()
  #hits = 0
  #misses = 0
  #evictions = 0
  #expirations = 0

  /** @throws RangeError for a cap below 1 or a life that is not above 0 */
  constructor(options: BoundedCacheOptions<Value>) {
    if (!(options.maxEntries >= 1)) throw new RangeError(`${options.name}: maxEntries must be at least 1`)
    if (!(options.ttlMs > 0)) throw new RangeError(`${options.name}: ttlMs must be above 0`)
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  get(key: string): Value | undefined {
    const entry = this.#fresh(key)
    if (entry === undefined) {
      this.#misses++
      return undefined
    }
    this.#hits++
    if (this.#options.extendOnGet === true) entry.expiresAt = this.#now() + this.#options.ttlMs
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.value
  }

  /** As `get`, without counting as a use. */
  peek(key: string): Value | undefined {
    return this.#fresh(key)?.value
  }

  has(key: string): boolean {
    return this.#fresh(key) !== undefined
  }

  set(key: string, value: Value): void {
    const old = this.#entries.get(key)
    if (old !== undefined) {
      this.#entries.delete(key)
      this.#options.onRemove?.(key, old.value, 'replaced')
    }
    this.#entries.set(key, { value, expiresAt: this.#now() + this.#options.ttlMs })
    if (this.#entries.size > this.#options.maxEntries) this.#evictOldest()
  }

  delete(key: string): boolean {
    return this.#remove(key, 'deleted')
  }

  clear(): void {
    for (const key of this.#entries.keys()) this.#remove(key, 'deleted')
  }

  /** Frees everything whose life is over; returns how many. O(entries). */
  sweep(): number {
    const now = this.#now()
    let freed = 0
    for (const [key, entry] of this.#entries) {
      if (entry.expiresAt > now) continue
      this.#expire(key)
      freed++
    }
    return freed
  }

  /** The keys in order of use, least recent first; those whose life is over included until they are touched. */
  keys(): IterableIterator<string> {
    return this.#entries.keys()
  }

  get size(): number {
    return this.#entries.size
  }

  stats(): CacheStats {
    return {
      name: this.#options.name,
      entries: this.#entries.size,
      maxEntries: this.#options.maxEntries,
      hits: this.#hits,
      misses: this.#misses,
      evictions: this.#evictions,
      expirations: this.#expirations,
    }
  }

  #fresh(key: string): Entry<Value> | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.expiresAt > this.#now()) return entry
    this.#expire(key)
    return undefined
  }

  #expire(key: string): void {
    this.#expirations++
    this.#remove(key, 'expired')
  }

  #evictOldest(): void {
    const oldest = this.#entries.keys().next()
    if (oldest.done === true) return
    this.#evictions++
    this.#remove(oldest.value, 'evicted')
  }

  #remove(key: string, reason: RemovalReason): boolean {
    const entry = this.#entries.get(key)
    if (entry === undefined) return false
    this.#entries.delete(key)
    this.#options.onRemove?.(key, entry.value, reason)
    return true
  }
}
