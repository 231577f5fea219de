import { EventEmitter } from 'node:events'
import { BoundedCache, type BoundedCacheOptions } from './bounded-cache.ts'
import { clone } from './clone.ts'
import type { RemovalReason } from './notices.ts'
import { ENTRY_OVERHEAD_BYTES, KEY_BYTES } from './size.ts'

export type NodeCacheKey = string | number

/** Options of `node-cache` 5 and `@cacheable/node-cache`, then ours. */
export interface NodeCacheOptions {
  /** Life of an entry: seconds, or a text such as `'1h'`. 0 or nothing: no end. */
  readonly stdTTL?: number | string
  /** Accepted and without effect: ended entries are freed within two seconds, by one timer for the process. */
  readonly checkperiod?: number
  /** Whether values are copied on the way in and out. Default true, as there. */
  readonly useClones?: boolean
  /** False keeps an ended entry, without an end, until it is deleted or evicted; a warning says so. Default true. */
  readonly deleteOnExpire?: boolean
  /**
   * Most entries; the least recently used one gives way. There is no "unlimited": 0, −1, nothing or what is no number
   * of at least 1 means `DEFAULT_MAX_KEYS`.
   */
  readonly maxKeys?: number
  /** Why more than 50,000 keys are wanted; without it such a cap warns. */
  readonly maxKeysReason?: string
  /** Shown in warnings, events and statistics. Default 'node-cache'. */
  readonly name?: string
  /** Where warnings about options go. Default `process.emitWarning`. */
  readonly onWarning?: (message: string) => void
  readonly owner?: BoundedCacheOptions<unknown>['owner']
  readonly maxBytes?: number
  readonly sizeOf?: (value: unknown, key: string) => number
  readonly minResidencyMs?: number
  readonly worth?: number
  readonly now?: () => number
  readonly onPressure?: BoundedCacheOptions<unknown>['onPressure']
}

/** An entry of `mset`: `val` as `node-cache` has it, `value` as `@cacheable/node-cache` and Baileys. */
export type NodeCacheItem<Value> =
  | { readonly key: NodeCacheKey; readonly value: Value; readonly ttl?: number | string }
  | { readonly key: NodeCacheKey; readonly val: Value; readonly ttl?: number | string }

export interface NodeCacheStats {
  keys: number
  hits: number
  misses: number
  /** Units of all keys. */
  ksize: number
  /** Bytes of all values, as charged. */
  vsize: number
}

export interface NodeCacheEvents<Value> {
  /** With the moment of its end, epoch milliseconds, or 0. */
  set: [key: string, value: Value, expiresAt: number]
  /** Deleted, expired or evicted; not flushed or overwritten. */
  del: [key: string, value: Value]
  expired: [key: string, value: Value]
  /** Ours: left because of a cap, the budget or pressure. */
  evicted: [key: string, value: Value, reason: RemovalReason]
  flush: []
  flush_stats: []
  /** A listener threw, or a value could not be copied. */
  error: [error: unknown]
}

/** What a cache holds at most when nobody says; the largest of the caps for one WhatsApp socket. */
export const DEFAULT_MAX_KEYS = 10_000
const WARN_ABOVE_KEYS = 50_000

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  hr: 3_600_000,
  d: 86_400_000,
}

/**
 * The face of `node-cache` 5 and `@cacheable/node-cache` over a BoundedCache: same calls, same events. The intended
 * difference: at `maxKeys` the least recently used entry leaves (`del`, then `evicted`), where the originals throw.
 * What else differs follows from it and stands in the README.
 */
export class NodeCache<Value = unknown> extends EventEmitter<NodeCacheEvents<Value>> {
  readonly options: Readonly<NodeCacheOptions> & {
    readonly stdTTL: number | string
    readonly checkperiod: number
    readonly useClones: boolean
    readonly deleteOnExpire: boolean
    readonly maxKeys: number
  }
  readonly #cache: BoundedCache<Value>

  /** @throws Error `ETTLTYPE` for a `stdTTL` that is neither seconds nor a text such as `'1h'` */
  constructor(options: NodeCacheOptions = {}) {
    super()
    const maxKeys = capOf(options.maxKeys)
    this.options = {
      ...options,
      stdTTL: options.stdTTL ?? 0,
      checkperiod: options.checkperiod ?? 600,
      useClones: options.useClones ?? true,
      deleteOnExpire: options.deleteOnExpire ?? true,
      maxKeys,
    }
    const { name = 'node-cache', owner, maxBytes, sizeOf, minResidencyMs, worth, now, onPressure } = options
    warnOfOptions(name, this.options)
    this.#cache = new BoundedCache<Value>({
      name,
      maxEntries: maxKeys,
      ttlMs: millisecondsOf(this.options.stdTTL) || Infinity,
      ...(owner === undefined ? {} : { owner }),
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(sizeOf === undefined ? {} : { sizeOf }),
      ...(minResidencyMs === undefined ? {} : { minResidencyMs }),
      ...(worth === undefined ? {} : { worth }),
      ...(now === undefined ? {} : { now }),
      ...(onPressure === undefined ? {} : { onPressure }),
      onRemove: (key, value, reason) => this.#left(key, value, reason),
    })
  }

  /** Undefined for absent. @throws Error `EKEYTYPE` for a key that is neither text nor number, as everywhere here */
  get<T = Value>(key: NodeCacheKey): T | undefined {
    return this.#out(this.#read(keyOf(key))) as T | undefined
  }

  /** What was found, by key. @throws Error `EKEYSTYPE` for what is no array */
  mget<T = Value>(keys: readonly NodeCacheKey[]): Record<string, T | undefined>
  /** The same for who awaits it, such as Baileys. */
  mget<T = Value>(keys: string[]): Promise<Record<string, T | undefined>>
  mget<T = Value>(keys: readonly NodeCacheKey[]): unknown {
    if (!Array.isArray(keys)) throw failure('EKEYSTYPE', 'The keys argument has to be an array.')
    const found: [string, T][] = []
    for (const key of keys.map(keyOf)) {
      const value = this.#read(key)
      if (value !== undefined) found.push([key, this.#out(value) as unknown as T])
    }
    return Object.fromEntries(found)
  }

  /**
   * Keeps a value for `ttl` seconds, or a time such as `'90s'` (`ms s m h d`), instead of `stdTTL`; 0 for no end, a
   * negative one has ended already. False when it is too large to be kept. `bytes` where its size is known.
   */
  set<T extends Value = Value>(
    key: NodeCacheKey,
    value: T,
    ttl?: number | string,
    options: { readonly bytes?: number } = {},
  ): boolean {
    const text = keyOf(key)
    const ttlMs = millisecondsOf(ttl ?? this.options.stdTTL)
    if (ttlMs < 0) {
      this.#cache.delete(text)
      return true
    }
    const isKept = this.#cache.set(text, this.#in(value), {
      ttlMs: ttlMs === 0 ? Infinity : ttlMs,
      ...options,
    })
    if (isKept && this.listenerCount('set') > 0) this.#emit('set', text, value, this.getTtl(text) ?? 0)
    return isKept
  }

  /** All or nothing as to the types of keys and lives. False when one of them is too large to be kept. */
  mset<T extends Value = Value>(items: readonly NodeCacheItem<T>[]): boolean {
    if (!Array.isArray(items)) throw failure('EKEYSTYPE', 'The keys argument has to be an array.')
    const checked = items as readonly NodeCacheItem<T>[]
    for (const { key, ttl } of checked) {
      keyOf(key)
      if (ttl !== undefined) millisecondsOf(ttl)
    }
    let allKept = true
    for (const item of checked) {
      if (!this.set(item.key, 'val' in item ? item.val : item.value, item.ttl)) allKept = false
    }
    return allKept
  }

  /** How many of the keys there were. */
  del(keys: NodeCacheKey | readonly NodeCacheKey[]): number {
    let count = 0
    for (const key of Array.isArray(keys) ? (keys as readonly NodeCacheKey[]) : [keys as NodeCacheKey]) {
      const text = keyOf(key)
      const value = this.listenerCount('del') > 0 ? this.#cache.peek(text) : undefined
      if (!this.#cache.delete(text)) continue
      count++
      this.#emit('del', text, value as Value)
    }
    return count
  }

  mdel(keys: readonly NodeCacheKey[]): number {
    return this.del(keys)
  }

  /** `get`, then `del`. */
  take<T = Value>(key: NodeCacheKey): T | undefined {
    const value = this.get<T>(key)
    if (value !== undefined && value !== null) this.del(key)
    return value
  }

  /** Another life from now on, of `stdTTL` when none is given; a negative one deletes. False when the key is absent. */
  ttl(key: NodeCacheKey, ttl?: number | string): boolean {
    const text = keyOf(key)
    const ttlMs = millisecondsOf(ttl || this.options.stdTTL)
    if (ttlMs < 0) return this.del(text) > 0
    return this.#cache.setTtl(text, ttlMs === 0 ? Infinity : ttlMs)
  }

  /** When an entry ends, epoch milliseconds; 0 for never, undefined for absent. */
  getTtl(key: NodeCacheKey): number | undefined {
    const expiresAt = this.#cache.expiresAt(keyOf(key))
    return expiresAt === Infinity ? 0 : expiresAt
  }

  /** Keys alive now, least recently used first. */
  keys(): string[] {
    return this.#cache.keys()
  }

  has(key: NodeCacheKey): boolean {
    const text = keyOf(key)
    return this.#cache.has(text) || (!this.options.deleteOnExpire && this.#cache.has(text))
  }

  /** O(keys). */
  getStats(): NodeCacheStats {
    const { entries, hits, misses, bytes } = this.#cache.stats()
    const ksize = this.#cache.keys().reduce((sum, key) => sum + key.length, 0)
    return {
      keys: entries,
      hits,
      misses,
      ksize,
      vsize: Math.max(0, bytes - ksize - entries * (ENTRY_OVERHEAD_BYTES + KEY_BYTES)),
    }
  }

  /** Frees everything, counts from nought. */
  flushAll(): void {
    this.#cache.clear()
    this.flushStats()
    this.#emit('flush')
  }

  flushStats(): void {
    this.#cache.resetStats()
    this.#emit('flush_stats')
  }

  /** Frees everything; from now on nothing is kept (`set` answers false). Idempotent. */
  close(): void {
    this.#cache.dispose()
  }

  /** What is beneath, with its bytes and its statistics. */
  get cache(): BoundedCache<Value> {
    return this.#cache
  }

  #read(key: string): Value | undefined {
    const value = this.#cache.get(key)
    // An entry that has just ended was kept by `#left`.
    return value === undefined && !this.options.deleteOnExpire ? this.#cache.get(key) : value
  }

  #left(key: string, value: Value, reason: RemovalReason): void {
    switch (reason) {
      case 'expired':
        if (this.options.deleteOnExpire) this.#emit('del', key, value)
        else if (!this.#cache.has(key)) this.#cache.set(key, value, { ttlMs: Infinity })
        this.#emit('expired', key, value)
        return
      case 'evicted':
      case 'shed':
        this.#emit('del', key, value)
        this.#emit('evicted', key, value, reason)
        return
      case 'deleted':
      case 'replaced':
        return
      default:
        reason satisfies never
    }
  }

  #in(value: Value): Value {
    return this.options.useClones ? this.#copy(value) : value
  }

  #out(value: Value | undefined): Value | undefined {
    return this.options.useClones && value !== undefined ? this.#copy(value) : value
  }

  /** What cannot be copied (a getter that throws) is kept as it is. */
  #copy(value: Value): Value {
    try {
      return clone(value)
    } catch (error) {
      this.#report(error)
      return value
    }
  }

  /** A listener that throws does not undo what happened. */
  #emit<Name extends keyof NodeCacheEvents<Value>>(name: Name, ...args: NodeCacheEvents<Value>[Name]): void {
    try {
      ;(this as EventEmitter).emit(name, ...args)
    } catch (error) {
      this.#report(error)
    }
  }

  #report(error: unknown): void {
    try {
      if (this.listenerCount('error') > 0) (this as EventEmitter).emit('error', error)
      else
        process.emitWarning(`a listener of a cache threw: ${String(error)}`, {
          code: 'BOUNDED_CACHE_LISTENER',
        })
    } catch {
      // The listener for errors threw as well; there is nobody left to tell.
    }
  }
}

/** As the originals are imported. @alias */
export default NodeCache

function capOf(maxKeys: number | undefined): number {
  return maxKeys !== undefined && maxKeys >= 1 && maxKeys < Infinity ? Math.floor(maxKeys) : DEFAULT_MAX_KEYS
}

function warnOfOptions(name: string, options: NodeCache['options']): void {
  const warn =
    options.onWarning ?? ((message) => process.emitWarning(message, { code: 'BOUNDED_CACHE_OPTION' }))
  if (!options.deleteOnExpire) {
    warn(
      `${name}: with deleteOnExpire false, ended entries stay until maxKeys (${options.maxKeys}) evicts them`,
    )
  }
  if (options.maxKeys > WARN_ABOVE_KEYS && !options.maxKeysReason) {
    warn(`${name}: maxKeys ${options.maxKeys} is above ${WARN_ABOVE_KEYS}; lower it, or give maxKeysReason`)
  }
}

function keyOf(key: unknown): string {
  if (typeof key === 'string') return key
  if (typeof key === 'number') return String(key)
  throw failure(
    'EKEYTYPE',
    `The key argument has to be of type \`string\` or \`number\`. Found: \`${typeof key}\``,
  )
}

/** Of seconds, or of a text such as '1h'; a text that is a bare number means milliseconds, as in @cacheable. */
function millisecondsOf(ttl: unknown): number {
  if (typeof ttl === 'number' && !Number.isNaN(ttl)) return ttl * 1_000
  if (typeof ttl === 'string') {
    const match = /^(-?[\d.]+)\s*(ms|s|m|hr?|d)?$/i.exec(ttl.trim())
    const amount = Number(match?.[1])
    if (match !== null && !Number.isNaN(amount))
      return amount * (UNIT_MS[(match[2] ?? 'ms').toLowerCase()] ?? 1)
  }
  throw failure('ETTLTYPE', 'The ttl argument has to be a number of seconds or a text such as `1h`.')
}

/** As `node-cache` makes them. */
function failure(code: 'EKEYTYPE' | 'EKEYSTYPE' | 'ETTLTYPE', message: string): Error {
  return Object.assign(new Error(message), { name: code, errorcode: code, code })
}
