import type { Account, Evictable } from './account.ts'
import { BoundedCache, type BoundedCacheOptions, expireSlot } from './bounded-cache.ts'
import { Expiry, type SetTimer, unrefTimer } from './expiry.ts'
import { tellLater, tellListeners } from './notices.ts'
import { PressureGauge } from './pressure.ts'

export interface CacheBudgetOptions {
  /** All bytes of all caches together, keys and 88 bytes an entry included. Above 0. */
  readonly maxBytes: number
  /** Part of its equal share that an owner never loses to others. 0 to 0.9, default 0.5. */
  readonly floorShare?: number
  /** Part of `maxBytes` that one owner may use while others need less. Above 0 to 1, default 0.25. */
  readonly ceilingShare?: number
  /** Largest entry. Default 1 MiB; never above a quarter of `maxBytes` or the owner's ceiling. */
  readonly maxEntryBytes?: number
  /** Epoch milliseconds. Default `Date.now`. */
  readonly now?: () => number
  /** What frees ended entries without a touch. Default: timers that keep no process alive; with `now` alone none. */
  readonly setTimer?: SetTimer
  readonly onEvent?: (event: BudgetEvent) => void
}

/** The budget as a whole is used to 80 % (`warned`) or 100 % (`full`); never a flood, as with a cache's own events. */
export interface BudgetEvent {
  readonly kind: 'warned' | 'full'
  readonly usedBytes: number
  readonly maxBytes: number
  readonly utilizationPct: number
}

export interface OwnerOptions {
  /** Its share beside those of others. Above 0, default 1. */
  readonly weight?: number
  /** Instead of `floorShare` of its equal share. All floors together never exceed the budget: they shrink alike. */
  readonly floorBytes?: number
  /** Instead of `ceilingShare` of the budget. */
  readonly ceilingBytes?: number
}

export interface OwnerStats {
  readonly name: string
  readonly usedBytes: number
  /** What it would have if all took what they may. */
  readonly shareBytes: number
  readonly floorBytes: number
  readonly ceilingBytes: number
  readonly caches: number
  readonly evictions: number
  readonly refused: number
}

export interface BudgetStats {
  readonly maxBytes: number
  readonly usedBytes: number
  /** Most bytes ever in use. */
  readonly peakBytes: number
  readonly owners: number
  readonly evictions: number
  readonly shed: number
  readonly refused: number
}

const DEFAULT_FLOOR_SHARE = 0.5
const DEFAULT_CEILING_SHARE = 0.25
const DEFAULT_MAX_ENTRY_BYTES = 1_048_576
/**
 * Owners and caches looked at for one eviction. Against looking at all of 100 tenants, eight cost 0.3 points of hits and
 * a fifth of the time.
 */
const SAMPLE_OWNERS = 8
const SAMPLE_CACHES = 4

/**
 * One ceiling for the caches of a process, shared by owners (tenants).
 *
 * An owner below its floor loses nothing to others. Above it, whoever is furthest above its fair share gives way first:
 * of a few owners drawn at random, the one whose next entry to go has the greatest idle time × √(used / fair share),
 * which is its least recently used one. So a share that lies idle is lent out, and comes back as soon as its owner uses
 * it. Room is made before an entry is kept: `usedBytes` never exceeds `maxBytes`, also for a listener that looks.
 */
export class CacheBudget {
  readonly #options: CacheBudgetOptions
  readonly #now: () => number
  readonly #expiry: Expiry
  readonly #gauge = new PressureGauge()
  // bounded by: owners that are open; closing one takes it out
  readonly #owners: CacheOwner[] = []
  // bounded by: as #owners
  readonly #byName = new Map<string, CacheOwner>()
  readonly #pool: Pool
  #maxBytes: number
  #evictions = 0
  #shed = 0
  #random = 0x2545f491

  /** @throws RangeError naming the option that is out of its range */
  constructor(options: CacheBudgetOptions) {
    checkBytes('maxBytes', options.maxBytes)
    checkRange('floorShare', options.floorShare, 0, 0.9)
    checkRange('ceilingShare', options.ceilingShare, Number.MIN_VALUE, 1)
    if (options.maxEntryBytes !== undefined) checkBytes('maxEntryBytes', options.maxEntryBytes)
    this.#options = options
    this.#maxBytes = options.maxBytes
    this.#now = options.now ?? Date.now
    this.#expiry = new Expiry({
      now: this.#now,
      setTimer: options.setTimer ?? (options.now === undefined ? unrefTimer : null),
      expire: expireSlot,
    })
    this.#pool = {
      now: this.#now,
      expiry: this.#expiry,
      usedBytes: 0,
      peakBytes: 0,
      refused: 0,
      totalWeight: 0,
      floorScale: 1,
      maxBytes: () => this.#maxBytes,
      floorShare: options.floorShare ?? DEFAULT_FLOOR_SHARE,
      ceilingShare: options.ceilingShare ?? DEFAULT_CEILING_SHARE,
      maxEntryBytes: options.maxEntryBytes ?? DEFAULT_MAX_ENTRY_BYTES,
      makeRoom: (bytes) => this.#makeRoom(bytes),
      close: (owner) => this.#close(owner),
    }
  }

  get maxBytes(): number {
    return this.#maxBytes
  }

  get usedBytes(): number {
    return this.#pool.usedBytes
  }

  /** The owner of that name; made on first use, with its options then. It lasts until it is closed. */
  owner(name: string, options: OwnerOptions = {}): CacheOwner {
    const known = this.#byName.get(name)
    if (known !== undefined) return known
    checkRange(`${name}: weight`, options.weight, Number.MIN_VALUE, Number.MAX_VALUE)
    checkRange(`${name}: floorBytes`, options.floorBytes, 0, Number.MAX_VALUE)
    if (options.ceilingBytes !== undefined) checkBytes(`${name}: ceilingBytes`, options.ceilingBytes)
    const owner = new CacheOwner(name, options, this.#pool)
    owner.index = this.#owners.push(owner) - 1
    this.#byName.set(name, owner)
    this.#rebalance()
    return owner
  }

  /** Another bound from now on; what is above it is shed at once. @throws RangeError unless above 0 */
  resize(maxBytes: number): void {
    checkBytes('maxBytes', maxBytes)
    this.#maxBytes = maxBytes
    this.#rebalance()
    this.shed(maxBytes)
  }

  /** Gives memory back until at most `toBytes` are used, in the order of eviction; returns the bytes freed. */
  shed(toBytes: number): number {
    const before = this.#pool.usedBytes
    while (this.#pool.usedBytes > Math.max(0, toBytes)) if (!this.#evictOne('shed')) break
    tellListeners()
    return before - this.#pool.usedBytes
  }

  /** Frees what is past its life, for at most `maxMs`; returns whether something due is left. */
  sweep(maxMs = Infinity): boolean {
    return this.#expiry.run(maxMs)
  }

  stats(): BudgetStats {
    return {
      maxBytes: this.#maxBytes,
      usedBytes: this.#pool.usedBytes,
      peakBytes: this.#pool.peakBytes,
      owners: this.#owners.length,
      evictions: this.#evictions,
      shed: this.#shed,
      refused: this.#pool.refused,
    }
  }

  /** Of the `limit` owners that use most. */
  topOwners(limit: number): readonly OwnerStats[] {
    return this.#owners
      .map((owner) => owner.stats())
      .sort((a, b) => b.usedBytes - a.usedBytes)
      .slice(0, limit)
  }

  /** Closes all owners and ends the timer. Idempotent. */
  dispose(): void {
    for (const owner of this.#owners.toReversed()) owner.close()
    this.#expiry.dispose()
  }

  #makeRoom(bytes: number): boolean {
    while (this.#pool.usedBytes + bytes > this.#maxBytes) if (!this.#evictOne('evicted')) return false
    this.#tell((this.#pool.usedBytes + bytes) / this.#maxBytes)
    return true
  }

  #evictOne(reason: 'evicted' | 'shed'): boolean {
    const nowSeconds = Math.floor(this.#now() / 1_000)
    const victim =
      this.#sample(nowSeconds) ??
      this.#scan(nowSeconds, { belowFloor: false, evenResident: false }) ??
      this.#scan(nowSeconds, { belowFloor: true, evenResident: false }) ??
      this.#scan(nowSeconds, { belowFloor: true, evenResident: true })
    if (victim === null) return false
    victim.evictOldest(reason)
    if (reason === 'shed') this.#shed++
    else this.#evictions++
    return true
  }

  #sample(nowSeconds: number): Evictable | null {
    const count = this.#owners.length
    let best: Evictable | null = null
    let bestScore = -1
    for (let i = 0; i < Math.min(SAMPLE_OWNERS, count); i++) {
      const owner = this.#owners[count <= SAMPLE_OWNERS ? i : this.#draw(count)] as CacheOwner
      if (owner.usedBytes <= owner.floorBytes) continue
      const candidate = owner.candidate(nowSeconds, (n) => this.#draw(n))
      if (candidate === null) continue
      const score = (candidate.idle + 1) * Math.sqrt(owner.usedBytes / owner.shareBytes)
      if (score <= bestScore) continue
      bestScore = score
      best = candidate.cache
    }
    return best
  }

  /** Everybody, when the draw found nobody: the one furthest above its floor. */
  #scan(nowSeconds: number, rule: { belowFloor: boolean; evenResident: boolean }): Evictable | null {
    let best: Evictable | null = null
    let bestExcess = -Infinity
    for (const owner of this.#owners) {
      const excess = owner.usedBytes - owner.floorBytes
      if (owner.usedBytes === 0 || (!rule.belowFloor && excess <= 0) || excess <= bestExcess) continue
      const cache = owner.oldest(nowSeconds, rule.evenResident)
      if (cache === null) continue
      bestExcess = excess
      best = cache
    }
    return best
  }

  /** In [0, count): xorshift, since the draw need not be unguessable but must cost nothing. */
  #draw(count: number): number {
    let x = this.#random
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#random = x
    return (x >>> 0) % count
  }

  #close(owner: CacheOwner): void {
    const last = this.#owners.pop()
    if (last !== undefined && last !== owner) {
      this.#owners[owner.index] = last
      last.index = owner.index
    }
    this.#byName.delete(owner.name)
    this.#rebalance()
  }

  #rebalance(): void {
    const pool = this.#pool
    pool.totalWeight = this.#owners.reduce((sum, { weight }) => sum + weight, 0)
    pool.floorScale = 1
    const floors = this.#owners.reduce((sum, { floorBytes }) => sum + floorBytes, 0)
    if (floors > this.#maxBytes * MAX_FLOORS) pool.floorScale = (this.#maxBytes * MAX_FLOORS) / floors
  }

  #tell(utilization: number): void {
    const { onEvent } = this.#options
    if (onEvent === undefined) return
    const told = this.#gauge.read(utilization, this.#now())
    if (told === null || told.kind === 'evicted') return
    const event: BudgetEvent = {
      kind: told.kind,
      usedBytes: this.#pool.usedBytes,
      maxBytes: this.#maxBytes,
      utilizationPct: Math.round(utilization * 1000) / 10,
    }
    tellLater(() => onEvent(event))
  }
}

/** Floors leave something to move, else two owners at theirs could not write at all. */
const MAX_FLOORS = 0.9

/** What owners share with their budget. */
interface Pool {
  readonly now: () => number
  readonly expiry: Expiry
  readonly floorShare: number
  readonly ceilingShare: number
  readonly maxEntryBytes: number
  usedBytes: number
  peakBytes: number
  refused: number
  totalWeight: number
  floorScale: number
  maxBytes(): number
  makeRoom(bytes: number): boolean
  close(owner: CacheOwner): void
}

/** One owner's account in a budget. Made by `CacheBudget.owner`. */
export class CacheOwner implements Account {
  readonly name: string
  readonly weight: number
  /** Its place in the budget's list; the budget's business. */
  index = 0
  readonly #options: OwnerOptions
  readonly #pool: Pool
  // bounded by: caches of this owner that are not disposed
  readonly #caches: Evictable[] = []
  // bounded by: as #caches; what `close` disposes
  readonly #made = new Map<Evictable, BoundedCache<never>>()
  #usedBytes = 0
  #evictions = 0
  #refused = 0
  #closed = false

  constructor(name: string, options: OwnerOptions, pool: Pool) {
    this.name = name
    this.weight = options.weight ?? 1
    this.#options = options
    this.#pool = pool
  }

  get now(): () => number {
    return this.#pool.now
  }

  get expiry(): Expiry {
    return this.#pool.expiry
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get shareBytes(): number {
    return (this.#pool.maxBytes() * this.weight) / this.#pool.totalWeight
  }

  get floorBytes(): number {
    return (this.#options.floorBytes ?? this.#pool.floorShare * this.shareBytes) * this.#pool.floorScale
  }

  /** Never below its share, so that the owners together can use the whole budget. */
  get ceilingBytes(): number {
    const maxBytes = this.#pool.maxBytes()
    const ceiling =
      this.#options.ceilingBytes ?? Math.max(this.#pool.ceilingShare * maxBytes, this.shareBytes)
    return Math.min(ceiling, maxBytes)
  }

  get maxEntryBytes(): number {
    return Math.min(this.#pool.maxEntryBytes, this.#pool.maxBytes() / 4, this.ceilingBytes)
  }

  /** A cache whose bytes this owner pays. */
  cache<Value>(options: Omit<BoundedCacheOptions<Value>, 'owner' | 'now'>): BoundedCache<Value> {
    const cache = new BoundedCache<Value>({ ...options, owner: this })
    const handle = this.#caches.at(-1)
    if (handle !== undefined) this.#made.set(handle, cache as unknown as BoundedCache<never>)
    return cache
  }

  stats(): OwnerStats {
    return {
      name: this.name,
      usedBytes: this.#usedBytes,
      shareBytes: Math.round(this.shareBytes),
      floorBytes: Math.round(this.floorBytes),
      ceilingBytes: Math.round(this.ceilingBytes),
      caches: this.#caches.length,
      evictions: this.#evictions,
      refused: this.#refused,
    }
  }

  /** Frees all of its caches; they keep nothing from now on. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const cache of this.#made.values()) cache.dispose()
    this.#pool.close(this)
  }

  enlist(cache: Evictable): void {
    if (this.#closed) throw new Error(`${this.name} is closed; ask the budget for its owner again`)
    cache.index = this.#caches.push(cache) - 1
  }

  delist(cache: Evictable): void {
    this.#made.delete(cache)
    const last = this.#caches.pop()
    if (last === undefined || last === cache) return
    this.#caches[cache.index] = last
    last.index = cache.index
  }

  makeRoom(bytes: number): boolean {
    const ceiling = this.ceilingBytes
    while (this.#usedBytes + bytes > ceiling) {
      const cache = this.oldest(Math.floor(this.#pool.now() / 1_000), true)
      if (cache === null) return false
      this.#evictions++
      cache.evictOldest('evicted')
    }
    return this.#pool.makeRoom(bytes)
  }

  charge(bytes: number): void {
    this.#usedBytes += bytes
    this.#pool.usedBytes += bytes
    if (this.#pool.usedBytes > this.#pool.peakBytes) this.#pool.peakBytes = this.#pool.usedBytes
  }

  refused(): void {
    this.#refused++
    this.#pool.refused++
  }

  /** Of a few of its caches, the one whose next entry to go is idle longest. */
  candidate(
    nowSeconds: number,
    draw: (count: number) => number,
  ): { readonly cache: Evictable; readonly idle: number } | null {
    const count = this.#caches.length
    let best: Evictable | null = null
    let bestIdle = -1
    const looks = count <= SAMPLE_CACHES * 2 ? count : SAMPLE_CACHES
    for (let i = 0; i < looks; i++) {
      const cache = this.#caches[looks === count ? i : draw(count)] as Evictable
      const idle = cache.idleSeconds(nowSeconds, false)
      if (idle <= bestIdle) continue
      bestIdle = idle
      best = cache
    }
    return best === null ? null : { cache: best, idle: bestIdle }
  }

  /** As `candidate`, of all its caches. */
  oldest(nowSeconds: number, evenResident: boolean): Evictable | null {
    let best: Evictable | null = null
    let bestIdle = -1
    for (const cache of this.#caches) {
      const idle = cache.idleSeconds(nowSeconds, evenResident)
      if (idle <= bestIdle) continue
      bestIdle = idle
      best = cache
    }
    return best
  }
}

function checkBytes(what: string, bytes: number): void {
  if (!(bytes > 0 && bytes < Infinity))
    throw new RangeError(`${what} must be a number of bytes above 0, not ${bytes}`)
}

function checkRange(what: string, value: number | undefined, min: number, max: number): void {
  if (value !== undefined && !(value >= min && value <= max)) {
    throw new RangeError(`${what} must be from ${min} to ${max}, not ${value}`)
  }
}
