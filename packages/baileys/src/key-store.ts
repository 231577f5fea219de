import { BoundedCache, type CacheOwner } from '@eclusa/bounded-cache'
import type { CacheStore, SignalDataSet, SignalDataTypeMap, SignalKeyStore } from 'baileys'
import { parseKey, pruneKey, serialiseKey, UNCACHED_KEY_TYPES } from './key-values.ts'

/** Entries and life of the key cache; the life counts from the last use. */
const MAX_ENTRIES = 10_000
const TTL_MS = 300_000

/**
 * Longest wait for the caller's store. A call that hung would hold up other accounts, because libsignal's queue is
 * shared by the whole process.
 */
const DEADLINE_MS = 5_000

/** An absent key, kept so that asking again costs no read. */
const ABSENT = ''

/** Marks a key store that is bounded by itself, so that `makeWASocket` does not put another around it. */
export const boundedKeys: unique symbol = Symbol.for('@eclusa/baileys/bounded-keys')

export interface KeyStoreOptions {
  /** Pays for the cached keys; without it they have a cap by number alone. */
  readonly cacheOwner?: CacheOwner
  /** Default 10,000. */
  readonly maxEntries?: number
  /** From its last use. Default 300,000. */
  readonly ttlMs?: number
  /** How long one call of the caller's store may take, in milliseconds. Default 5,000. */
  readonly deadlineMs?: number
  readonly now?: () => number
  /** A call failed or passed its deadline; what asked for it gets the error, too. */
  readonly onFailure?: (error: unknown) => void
}

/** What the caller's own cache must do, and what ours does. */
interface KeyCache {
  get(key: string): string | undefined | Promise<string | undefined>
  set(key: string, json: string): unknown
  delete(key: string): unknown
  clear(): unknown
}

/** `makeBoundedKeyStore` under upstream's name and with upstream's signature; `cache` holds JSON texts. */
export function makeCacheableSignalKeyStore(
  store: SignalKeyStore,
  _logger?: unknown,
  cache?: CacheStore,
): BoundedKeyStore {
  return new BoundedKeyStore(store, {}, cache)
}

/** A key store in front of the caller's: bounded, with a deadline, never ahead of the database. */
export function makeBoundedKeyStore(store: SignalKeyStore, options: KeyStoreOptions = {}): BoundedKeyStore {
  return new BoundedKeyStore(store, options)
}

/** Whether `keys` bounds itself. */
export function isBoundedKeyStore(keys: object): boolean {
  return boundedKeys in keys
}

/**
 * Reads: cache, then the store, one read at a time for a key however many ask. Writes: the store first, then the cache;
 * where a write failed or another one is under way the cache forgets the key, so it never shows what the store might
 * not have. There is no lock over the whole store: a slow key holds up nobody who asks for another. Values are kept as
 * JSON and handed out as copies.
 */
export class BoundedKeyStore implements SignalKeyStore {
  readonly [boundedKeys] = true
  readonly #store: SignalKeyStore
  readonly #cache: KeyCache
  readonly #own: BoundedCache<string> | undefined
  readonly #deadlineMs: number
  readonly #onFailure: (error: unknown) => void
  // bounded by: the reads in flight, each of which ends at its deadline
  readonly #reads = new Map<string, Promise<string>>()
  // bounded by: the writes in flight; one that hangs for ever in the caller's store keeps its few keys
  readonly #writes = new Map<string, { waiting: number; clashed: boolean }>()
  #pruned = 0

  constructor(store: SignalKeyStore, options: KeyStoreOptions, cache?: CacheStore) {
    this.#store = store
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS
    this.#onFailure = options.onFailure ?? (() => {})
    if (cache !== undefined) {
      this.#cache = foreignCache(cache)
      return
    }
    const limits = {
      name: 'signalKeys',
      maxEntries: options.maxEntries ?? MAX_ENTRIES,
      ttlMs: options.ttlMs ?? TTL_MS,
      extendOnGet: true,
    }
    this.#own =
      options.cacheOwner?.cache<string>(limits) ??
      new BoundedCache<string>({ ...limits, ...(options.now === undefined ? {} : { now: options.now }) })
    this.#cache = this.#own
  }

  /** @throws what the store throws; Error when the store does not answer within the deadline */
  async get<Type extends keyof SignalDataTypeMap>(
    type: Type,
    ids: string[],
  ): Promise<{ [id: string]: SignalDataTypeMap[Type] }> {
    const found = new Map<string, string>()
    const missing: string[] = []
    const waiting: Promise<void>[] = []
    for (const id of ids) {
      const key = cacheKey(type, id)
      const hit = UNCACHED_KEY_TYPES.has(type) ? undefined : this.#cache.get(key)
      // Not awaited without need: a read begins in the turn that asks for it.
      const cached = typeof hit === 'object' ? await hit : hit
      if (cached !== undefined) found.set(id, cached)
      else {
        const underWay = this.#reads.get(key)
        if (underWay === undefined) missing.push(id)
        else waiting.push(underWay.then((json) => void found.set(id, json)))
      }
    }
    if (missing.length > 0) {
      waiting.push(
        this.#read(type, missing).then((values) => {
          for (const id of missing) found.set(id, values.get(id) ?? ABSENT)
        }),
      )
    }
    await Promise.all(waiting)
    const values: { [id: string]: SignalDataTypeMap[Type] } = {}
    for (const [id, json] of found) if (json !== ABSENT) values[id] = parseKey(type, json)
    return values
  }

  /** @throws what the store throws; Error when the store does not answer within the deadline: then nobody knows what it holds */
  async set(data: SignalDataSet): Promise<void> {
    const changes: { readonly key: string; readonly json: string; readonly cached: boolean }[] = []
    const pruned: Record<string, Record<string, unknown>> = {}
    for (const [type, values] of Object.entries(data)) {
      const ofType: Record<string, unknown> = (pruned[type] = {})
      for (const [id, value] of Object.entries(values ?? {})) {
        const kept = value === null || value === undefined ? null : pruneKey(type, id, value)
        if (kept !== null && kept !== value) this.#pruned += 1
        ofType[id] = kept
        const json = kept === null ? ABSENT : serialiseKey(type, id, kept)
        changes.push({ key: cacheKey(type, id), json, cached: !UNCACHED_KEY_TYPES.has(type) })
      }
    }
    for (const { key } of changes) this.#beginWrite(key)
    const call = (async () => this.#store.set(pruned))()
    try {
      await this.#withDeadline('write', call)
    } catch (error) {
      for (const { key } of changes) await this.#cache.delete(key)
      // It may still reach the store: until it has ended, nothing that is read of these keys is kept.
      const end = (): void => {
        for (const { key } of changes) this.#endWrite(key)
      }
      call.then(end, end)
      throw error
    }
    for (const { key, json, cached } of changes) {
      if (this.#endWrite(key) && cached) await this.#cache.set(key, json)
      else await this.#cache.delete(key)
    }
  }

  async clear(): Promise<void> {
    this.#reads.clear()
    await this.#cache.clear()
    await this.#store.clear?.()
  }

  /** Entries, bytes, hits of the cache; undefined with a cache of the caller's. `pruned`: records made smaller. */
  stats(): {
    readonly cache: ReturnType<BoundedCache<string>['stats']> | undefined
    readonly pruned: number
  } {
    return { cache: this.#own?.stats(), pruned: this.#pruned }
  }

  /** Frees what is past its life. */
  sweep(): number {
    return this.#own?.sweep() ?? 0
  }

  /** Gives the cache's memory back; the store itself goes on without one. */
  close(): void {
    this.#reads.clear()
    this.#own?.dispose()
  }

  async #read<Type extends keyof SignalDataTypeMap>(
    type: Type,
    ids: readonly string[],
  ): Promise<Map<string, string>> {
    const answer = this.#withDeadline('read', (async () => this.#store.get(type, [...ids]))())
    const texts = answer.then((values) => {
      const jsons = new Map<string, string>()
      for (const id of ids) {
        const value: unknown = values[id]
        if (value !== null && value !== undefined) jsons.set(id, serialiseKey(type, id, value))
      }
      return jsons
    })
    const mine = new Map<string, Promise<string>>()
    for (const id of ids) {
      const key = cacheKey(type, id)
      const json = texts.then((found) => found.get(id) ?? ABSENT)
      // Whoever waits for it sees the failure; when nobody does, it is seen below.
      json.catch(() => {})
      mine.set(key, json)
      this.#reads.set(key, json)
    }
    try {
      const found = await texts
      for (const id of UNCACHED_KEY_TYPES.has(type) ? [] : ids) {
        const key = cacheKey(type, id)
        // Not when it was written meanwhile, or is being written.
        if (this.#reads.get(key) === mine.get(key) && !this.#writes.has(key))
          await this.#cache.set(key, found.get(id) ?? ABSENT)
      }
      return found
    } finally {
      for (const [key, json] of mine) if (this.#reads.get(key) === json) this.#reads.delete(key)
    }
  }

  #beginWrite(key: string): void {
    // A read that began before must not be what later ones are told.
    this.#reads.delete(key)
    const write = this.#writes.get(key)
    if (write === undefined) this.#writes.set(key, { waiting: 1, clashed: false })
    else {
      write.waiting += 1
      write.clashed = true
    }
  }

  /** Whether no other write of the key overlapped this one. */
  #endWrite(key: string): boolean {
    this.#reads.delete(key)
    const write = this.#writes.get(key)
    if (write === undefined) return false
    write.waiting -= 1
    if (write.waiting === 0) this.#writes.delete(key)
    return !write.clashed
  }

  async #withDeadline<T>(what: string, call: Promise<T>): Promise<T> {
    const { promise: tooLate, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(
      () => reject(new Error(`the key store did not answer a ${what} within ${this.#deadlineMs} ms`)),
      this.#deadlineMs,
    )
    try {
      return await Promise.race([call, tooLate])
    } catch (error) {
      this.#onFailure(error)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }
}

function cacheKey(type: string, id: string): string {
  return `${type}\0${id}`
}

/** A cache of the caller's, which may throw: then it counts as empty. */
function foreignCache(cache: CacheStore): KeyCache {
  const attempt = async <T>(call: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await call()
    } catch {
      return undefined
    }
  }
  return {
    get: (key) => attempt(() => cache.get<string>(key)),
    set: (key, json) => attempt(() => cache.set(key, json)),
    delete: (key) => attempt(() => cache.del(key)),
    clear: () => attempt(() => cache.flushAll()),
  }
}
