import type { Account, Evictable } from './account.ts'
import { Expiry, unrefTimer } from './expiry.ts'
import { hashOf, KeyIndex } from './key-index.ts'
import { type RemovalListener, type RemovalReason, tellLater, tellListeners } from './notices.ts'
import { type PressureEvent, PressureGauge } from './pressure.ts'
import { ENTRY_OVERHEAD_BYTES, estimateBytes, KEY_BYTES, withoutPinning } from './size.ts'
import {
  CHARGE,
  DUE_TICK,
  freeOwner,
  freeSlot,
  getExpiresAt,
  getField,
  keyAt,
  LAST_USE,
  NEWER,
  NONE,
  OLDER,
  ownerAt,
  setExpiresAt,
  setField,
  takeOwner,
  takeSlot,
  useSlot,
  valueAt,
} from './slab.ts'

export interface BoundedCacheOptions<Value> {
  /** Shown in statistics, events and logs. */
  readonly name: string
  /** Most entries at any moment; the least recently used one gives way. An integer of at least 1. */
  readonly maxEntries: number
  /** Life of an entry from its last `set`, in milliseconds, above 0; `Infinity` for none. */
  readonly ttlMs: number
  /** Whether a read starts the life anew. Default false. */
  readonly extendOnGet?: boolean
  /** Most bytes charged at any moment. Default: what the owner allows, else no bound but `maxEntries`. */
  readonly maxBytes?: number
  /** Bytes of a value, the key not counted. Default `estimateBytes`. A result that is negative or no number is refused. */
  readonly sizeOf?: (value: Value, key: string) => number
  /** Whose share of a `CacheBudget` the bytes come out of; made by `budget.owner(name)`. */
  readonly owner?: Account
  /**
   * For what is state more than cache: an entry used within the last so many milliseconds is not evicted. Meanwhile
   * the cache may hold a tenth more than `maxEntries` (at least 64 more); beyond that, or when the budget finds nothing
   * else, it goes all the same.
   */
  readonly minResidencyMs?: number
  /** How much dearer a lost entry is than one of other caches of the budget: idle time is divided by it. Default 1. */
  readonly worth?: number
  /** Epoch milliseconds. Default: the owner's, else `Date.now`. Given, nothing is freed but on touch or by `sweep`. */
  readonly now?: () => number
  /** Called for each entry that left, after the operation that removed it is complete. It may use the cache. */
  readonly onRemove?: RemovalListener<Value>
  readonly onPressure?: (event: PressureEvent) => void
}

export interface SetOptions {
  /** Life of this entry instead of the cache's. */
  readonly ttlMs?: number
  /** Bytes of the value where the caller knows them. */
  readonly bytes?: number
}

export interface CacheStats {
  readonly name: string
  readonly entries: number
  readonly maxEntries: number
  /** Charged: values, keys and 88 bytes for each entry. */
  readonly bytes: number
  readonly maxBytes: number
  /** Of entries or bytes, whichever is fuller. */
  readonly utilizationPct: number
  readonly hits: number
  readonly misses: number
  readonly sets: number
  /** By a cap, the owner's ceiling or the budget. */
  readonly evictions: number
  /** Because the process had to give memory back. */
  readonly shed: number
  readonly expirations: number
  /** Entries too large to be kept. */
  readonly refused: number
  /** Entries kept above the cap because nothing was old enough to go. */
  readonly overflows: number
}

/** A charge is kept in 32 bits. */
const MAX_CHARGE = 2 ** 31 - 1
const OVERFLOW_SHARE = 0.1
/**
 * An end so far away is held against the time of the last tick, a second ago. Only a loop that was held up for longer
 * than this shows an entry after its end, and only until it goes on.
 */
const FAR_END_MS = 10_000
/** The same for who knows the second after the end, and that of the last tick. */
const FAR_END_SECONDS: number = FAR_END_MS / 1_000 + 1
const MIN_OVERFLOW = 64

let machineExpiry: Expiry | undefined

/** Shared by all caches that stand alone and go by the machine's clock. */
function expiryOfMachine(): Expiry {
  machineExpiry ??= new Expiry({ now: Date.now, setTimer: unrefTimer, expire: expireSlot })
  return machineExpiry
}

/** What an Expiry does with a slot that is due. */
export function expireSlot(slot: number): void {
  ;(ownerAt(slot) as Evictable).expireSlot(slot)
}

/**
 * A map bounded by entries, life and bytes: least recently used out first, ended entries absent at once and freed
 * within two seconds. Never throws when full, arms no timer of its own, allocates nothing ahead.
 */
export class BoundedCache<Value> {
  readonly #options: BoundedCacheOptions<Value>
  readonly #now: () => number
  readonly #account: Account | undefined
  readonly #expiry: Expiry
  readonly #maxBytes: number
  readonly #maxEntryBytes: number
  readonly #residencyMs: number
  readonly #extendOnGet: boolean
  /** No read changes an entry's life, and none needs the second of its use exactly. */
  readonly #isPlain: boolean
  readonly #handle: Evictable
  readonly #gauge: PressureGauge | undefined
  // bounded by: maxEntries, and a tenth more while entries are resident
  readonly #index = new KeyIndex()
  /** This cache's number in the slab while it holds entries. */
  #number = NONE
  #oldest = NONE
  #newest = NONE
  #bytes = 0
  #disposed = false
  #hits = 0
  #misses = 0
  #sets = 0
  #evictions = 0
  #shed = 0
  #expirations = 0
  #refused = 0
  #overflows = 0

  /** @throws RangeError naming the option that is out of its range */
  constructor(options: BoundedCacheOptions<Value>) {
    check(options)
    this.#options = options
    this.#account = options.owner
    this.#now = options.owner?.now ?? options.now ?? Date.now
    this.#expiry = options.owner?.expiry ?? expiryFor(options.now)
    this.#maxBytes = options.maxBytes ?? Infinity
    this.#maxEntryBytes = Math.min(this.#maxBytes, MAX_CHARGE)
    this.#residencyMs = options.minResidencyMs ?? 0
    this.#extendOnGet = options.extendOnGet === true
    this.#isPlain = !this.#extendOnGet && this.#residencyMs === 0
    this.#gauge = options.onPressure === undefined ? undefined : new PressureGauge()
    const worth = options.worth ?? 1
    this.#handle = {
      index: NONE,
      idleSeconds: (nowSeconds, evenResident) => this.#idleSeconds(nowSeconds, evenResident) / worth,
      evictOldest: (reason) => this.#evictOldest(reason),
      expireSlot: (slot) => this.#expire(slot),
    }
    this.#account?.enlist(this.#handle)
  }

  get(key: string): Value | undefined {
    const slot = this.#index.find(key, hashOf(key))
    if (slot === NONE) {
      this.#misses++
      return undefined
    }
    // Most reads: an end so far away that it need not be read, nor the clock.
    const second = this.#expiry.latelySecond
    if (this.#isPlain && second !== NONE && getField(slot, DUE_TICK) >>> 0 > second + FAR_END_SECONDS) {
      this.#hits++
      this.#use(slot, second)
      return valueAt(slot) as Value
    }
    return this.#getTimed(slot)
  }

  /** Of an entry whose end is near, or must be set anew, or where the second of its use must be right. */
  #getTimed(slot: number): Value | undefined {
    const expiresAt = getExpiresAt(slot)
    const now = this.#nowFor(expiresAt)
    if (expiresAt <= now) {
      this.#misses++
      this.#expire(slot)
      return undefined
    }
    this.#hits++
    this.#use(slot, seconds(now))
    if (this.#extendOnGet && expiresAt !== Infinity) {
      this.#schedule(slot, now + this.#options.ttlMs)
    }
    return valueAt(slot) as Value
  }

  #use(slot: number, second: number): void {
    const oldest = useSlot(slot, this.#newest, second)
    if (oldest !== NONE) this.#oldest = oldest
    this.#newest = slot
  }

  /** As `get`, without counting as a use. */
  peek(key: string): Value | undefined {
    const slot = this.#live(key)
    return slot === NONE ? undefined : (valueAt(slot) as Value)
  }

  has(key: string): boolean {
    return this.#live(key) !== NONE
  }

  /** When an entry ends, epoch milliseconds; `Infinity` for never, undefined for absent. */
  expiresAt(key: string): number | undefined {
    const slot = this.#live(key)
    return slot === NONE ? undefined : getExpiresAt(slot)
  }

  /** Gives an entry another life from now on; false when it is absent. @throws RangeError unless `ttlMs` is above 0 */
  setTtl(key: string, ttlMs: number): boolean {
    checkTtl(this.#options.name, ttlMs)
    const slot = this.#live(key)
    if (slot === NONE) return false
    this.#schedule(slot, this.#now() + ttlMs)
    return true
  }

  /**
   * Keeps `value`, making room first: no bound is passed at any moment. A small view of a large buffer is copied.
   * False when the entry is too large for the cache, its owner or the budget; an older value of the key is gone then.
   * @throws TypeError for a key that is no text, RangeError for a size that is negative or not finite or a life that is
   * not above 0; nothing has changed
   */
  set(key: string, value: Value, options?: SetOptions): boolean {
    if (typeof key !== 'string') {
      throw new TypeError(`${this.#options.name}: a key must be a text, not of type ${typeof key}`)
    }
    const ttlMs = options?.ttlMs ?? this.#options.ttlMs
    if (options?.ttlMs !== undefined) checkTtl(this.#options.name, ttlMs)
    const kept = withoutPinning(value)
    const charge = this.#chargeOf(key, kept, options?.bytes)
    if (this.#disposed) return false
    const isKept = this.#insert(key, kept, charge, this.#now(), ttlMs)
    this.#tell()
    return isKept
  }

  delete(key: string): boolean {
    const slot = this.#index.find(key, hashOf(key))
    if (slot === NONE) return false
    const wasLive = getExpiresAt(slot) > this.#now()
    if (!wasLive) this.#expirations++
    this.#remove(slot, wasLive ? 'deleted' : 'expired')
    tellListeners()
    return wasLive
  }

  clear(): void {
    for (let slot = this.#oldest; slot !== NONE; slot = this.#oldest) this.#remove(slot, 'deleted')
    tellListeners()
  }

  /** Frees everything whose life is over; returns how many. O(entries). */
  sweep(): number {
    const now = this.#now()
    let freed = 0
    let slot = this.#oldest
    while (slot !== NONE) {
      const next = getField(slot, NEWER)
      if (getExpiresAt(slot) <= now) {
        this.#expirations++
        this.#remove(slot, 'expired')
        freed++
      }
      slot = next
    }
    tellListeners()
    return freed
  }

  /** The keys alive now in order of use, least recent first: a copy. O(entries). */
  keys(): string[] {
    const now = this.#now()
    const keys: string[] = []
    for (let slot = this.#oldest; slot !== NONE; slot = getField(slot, NEWER)) {
      if (getExpiresAt(slot) > now) keys.push(keyAt(slot))
    }
    return keys
  }

  /** Entries held, those included whose life is over and that are not freed yet. */
  get size(): number {
    return this.#index.size
  }

  /** Bytes charged for them. */
  get bytes(): number {
    return this.#bytes
  }

  get name(): string {
    return this.#options.name
  }

  stats(): CacheStats {
    return {
      name: this.#options.name,
      entries: this.#index.size,
      maxEntries: this.#options.maxEntries,
      bytes: this.#bytes,
      maxBytes: this.#maxBytes,
      utilizationPct: Math.round(this.#utilization() * 1000) / 10,
      hits: this.#hits,
      misses: this.#misses,
      sets: this.#sets,
      evictions: this.#evictions,
      shed: this.#shed,
      expirations: this.#expirations,
      refused: this.#refused,
      overflows: this.#overflows,
    }
  }

  /** Sets the counters to nought. */
  resetStats(): void {
    this.#hits = this.#misses = this.#sets = this.#evictions = this.#shed = 0
    this.#expirations = this.#refused = this.#overflows = 0
  }

  /** Frees everything and keeps nothing from now on. Idempotent. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.clear()
    this.#account?.delist(this.#handle)
  }

  #insert(key: string, value: Value, charge: number, now: number, ttlMs: number): boolean {
    const hash = hashOf(key)
    const old = this.#index.find(key, hash)
    if (old !== NONE) {
      const isOver = getExpiresAt(old) <= now
      if (isOver) this.#expirations++
      this.#remove(old, isOver ? 'expired' : 'replaced')
    }
    const limit = Math.min(this.#maxEntryBytes, this.#account?.maxEntryBytes ?? Infinity)
    if (charge > limit || !this.#makeRoom(charge, now)) {
      this.#refused++
      this.#account?.refused()
      return false
    }
    if (this.#number === NONE) this.#number = takeOwner(this.#handle)
    const slot = takeSlot(key, value, this.#number)
    this.#index.add(slot, hash)
    setField(slot, CHARGE, charge)
    setField(slot, LAST_USE, seconds(now))
    const expiresAt = now + ttlMs
    setExpiresAt(slot, expiresAt)
    this.#expiry.add(slot, expiresAt)
    this.#linkNewest(slot)
    this.#bytes += charge
    this.#account?.charge(charge)
    this.#sets++
    return true
  }

  /** Room for one more entry of `charge` bytes in this cache, its owner and the budget. */
  #makeRoom(charge: number, now: number): boolean {
    const { maxEntries } = this.#options
    while (this.#index.size >= maxEntries) {
      if (
        this.#residencyMs > 0 &&
        this.#isResident(this.#oldest, seconds(now)) &&
        this.#index.size < this.#overflowCap()
      ) {
        this.#overflows++
        break
      }
      this.#evictOldest('evicted')
    }
    while (this.#bytes + charge > this.#maxBytes) this.#evictOldest('evicted')
    return this.#account === undefined || this.#account.makeRoom(charge)
  }

  #overflowCap(): number {
    const { maxEntries } = this.#options
    return maxEntries + Math.max(MIN_OVERFLOW, Math.ceil(maxEntries * OVERFLOW_SHARE))
  }

  /** Within a second, on the side of keeping. */
  #isResident(slot: number, nowSeconds: number): boolean {
    return (nowSeconds - getField(slot, LAST_USE) - 1) * 1_000 < this.#residencyMs
  }

  #idleSeconds(nowSeconds: number, evenResident: boolean): number {
    const slot = this.#oldest
    if (slot === NONE) return -1
    if (!evenResident && this.#residencyMs > 0 && this.#isResident(slot, nowSeconds)) return -1
    return Math.max(0, nowSeconds - getField(slot, LAST_USE))
  }

  #evictOldest(reason: 'evicted' | 'shed'): number {
    const slot = this.#oldest
    if (slot === NONE) return 0
    if (reason === 'shed') this.#shed++
    else this.#evictions++
    this.#gauge?.countEviction()
    return this.#remove(slot, reason)
  }

  #expire(slot: number): void {
    this.#expirations++
    this.#remove(slot, 'expired')
    tellListeners()
  }

  /** Takes an entry out of all books; the bytes freed. */
  #remove(slot: number, reason: RemovalReason): number {
    const charge = getField(slot, CHARGE)
    const key = keyAt(slot)
    const { onRemove } = this.#options
    if (onRemove !== undefined) {
      const value = valueAt(slot) as Value
      tellLater(() => onRemove(key, value, reason))
    }
    this.#unlink(slot)
    this.#expiry.remove(slot)
    this.#index.remove(slot)
    freeSlot(slot)
    if (this.#index.size === 0) {
      freeOwner(this.#number)
      this.#number = NONE
    }
    this.#bytes -= charge
    this.#account?.charge(-charge)
    return charge
  }

  #live(key: string): number {
    const slot = this.#index.find(key, hashOf(key))
    if (slot === NONE) return NONE
    if (getExpiresAt(slot) > this.#now()) return slot
    this.#expire(slot)
    return NONE
  }

  /** The time, as exact as a read of an entry with this end needs it. */
  #nowFor(expiresAt: number): number {
    const { lately } = this.#expiry
    return expiresAt - lately > FAR_END_MS && this.#residencyMs === 0 ? lately : this.#now()
  }

  #schedule(slot: number, expiresAt: number): void {
    this.#expiry.remove(slot)
    setExpiresAt(slot, expiresAt)
    this.#expiry.add(slot, expiresAt)
  }

  #unlink(slot: number): void {
    const older = getField(slot, OLDER)
    const newer = getField(slot, NEWER)
    if (older === NONE) this.#oldest = newer
    else setField(older, NEWER, newer)
    if (newer === NONE) this.#newest = older
    else setField(newer, OLDER, older)
  }

  #linkNewest(slot: number): void {
    setField(slot, OLDER, this.#newest)
    setField(slot, NEWER, NONE)
    if (this.#newest === NONE) this.#oldest = slot
    else setField(this.#newest, NEWER, slot)
    this.#newest = slot
  }

  #chargeOf(key: string, value: Value, declared: number | undefined): number {
    const size = declared ?? this.#options.sizeOf?.(value, key) ?? estimateBytes(value)
    if (!Number.isFinite(size) || size < 0) {
      throw new RangeError(
        `${this.#options.name}: the bytes of an entry must be a number of at least 0, not ${size}`,
      )
    }
    return Math.ceil(size) + key.length + KEY_BYTES + ENTRY_OVERHEAD_BYTES
  }

  #utilization(): number {
    const byBytes = this.#maxBytes === Infinity ? 0 : this.#bytes / this.#maxBytes
    return Math.max(this.#index.size / this.#options.maxEntries, byBytes)
  }

  #tell(): void {
    tellListeners()
    const gauge = this.#gauge
    if (gauge === undefined) return
    const utilization = this.#utilization()
    const told = gauge.read(utilization, this.#now())
    if (told === null) return
    const { onPressure, maxEntries, name } = this.#options
    const event: PressureEvent = {
      ...told,
      cache: name,
      owner: this.#account?.name ?? null,
      size: this.#index.size,
      maxEntries,
      bytes: this.#bytes,
      maxBytes: this.#maxBytes,
      utilizationPct: Math.round(utilization * 1000) / 10,
      remaining: this.#index.size,
    }
    tellLater(() => onPressure?.(event))
    tellListeners()
  }
}

/** A clock of the caller's own tells nothing of when it moves: then entries are freed on touch or by `sweep`. */
function expiryFor(now: (() => number) | undefined): Expiry {
  if (now === undefined || now === Date.now) return expiryOfMachine()
  return new Expiry({ now, setTimer: null, expire: expireSlot })
}

function seconds(ms: number): number {
  return Math.floor(ms / 1_000)
}

function check({
  name,
  maxEntries,
  ttlMs,
  maxBytes,
  minResidencyMs,
  worth,
}: BoundedCacheOptions<never>): void {
  if (!Number.isInteger(maxEntries) || maxEntries < 1) {
    throw new RangeError(`${name}: maxEntries must be an integer of at least 1, not ${maxEntries}`)
  }
  checkTtl(name, ttlMs)
  if (maxBytes !== undefined && !(maxBytes > 0)) {
    throw new RangeError(`${name}: maxBytes must be above 0, not ${maxBytes}`)
  }
  if (minResidencyMs !== undefined && !(minResidencyMs >= 0 && minResidencyMs < Infinity)) {
    throw new RangeError(`${name}: minResidencyMs must be at least 0 and finite, not ${minResidencyMs}`)
  }
  if (worth !== undefined && !(worth > 0 && worth < Infinity)) {
    throw new RangeError(`${name}: worth must be above 0 and finite, not ${worth}`)
  }
}

function checkTtl(name: string, ttlMs: number): void {
  if (!(ttlMs > 0)) throw new RangeError(`${name}: ttlMs must be above 0, not ${ttlMs}`)
}
