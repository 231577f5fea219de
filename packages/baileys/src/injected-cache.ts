import type { BoundedCache } from '@eclusa/bounded-cache'
import type { PossiblyExtendedCacheStore } from 'baileys'

/**
 * A cache of the caller's own: a NodeCache of any make, or whatever has these methods, synchronous or not. Baileys
 * waits for each of them while it holds up the messages of the account.
 */
export interface InjectedCache {
  get(key: string): unknown
  set(key: string, value: unknown): unknown
  del(key: string): unknown
  flushAll(): unknown
  mget?(keys: string[]): unknown
  mset?(entries: never[]): unknown
  mdel?(keys: string[]): unknown
  close?(): unknown
}

/** Stands in our cache for a key of which the caller's may hold something that is no longer true. */
const GONE = Symbol('gone')

/** Longest wait for a cache of the caller's; what takes longer counts as an error. */
const DEADLINE_MS = 2_000

/**
 * A bounded cache in the shape Baileys asks for. Never throws and never rejects: a cache that does holds up every
 * message of the socket for half a minute.
 */
export function asCacheStore(cache: BoundedCache<unknown>): Required<PossiblyExtendedCacheStore> {
  const set = (key: string, value: unknown): void => {
    if (value === null || value === undefined) cache.delete(key)
    else cache.set(key, value)
  }
  return {
    get: <T>(key: string): T | undefined => cache.get(key) as T | undefined,
    set,
    del: (key) => void cache.delete(key),
    flushAll: () => cache.clear(),
    close: () => cache.clear(),
    mget: <T>(keys: string[]): Promise<Record<string, T | undefined>> =>
      Promise.resolve(Object.fromEntries(keys.map((key) => [key, cache.get(key) as T | undefined]))),
    mset: (entries) => {
      for (const { key, value } of entries) set(key, value)
    },
    mdel: (keys) => {
      for (const key of keys) cache.delete(key)
    },
  }
}

/**
 * The caller's cache, so that it can hold nothing up: an error, a rejection or a wait of more than 2 s is counted and
 * treated as a miss. A key that it failed to take or to delete is from then on answered by `ours`, until it takes it:
 * with the value where the cache holds state (a placeholder that is forgotten is a message lost), with nothing where
 * what is stale does harm (device lists). It stays the caller's: nobody but them closes it.
 */
export function guardCache(options: {
  readonly injected: InjectedCache
  readonly ours: BoundedCache<unknown>
  readonly holdsState: boolean
  readonly onError: (error: unknown) => void
}): Required<PossiblyExtendedCacheStore> {
  const { injected, ours, holdsState, onError } = options
  const attempt = async (work: () => unknown): Promise<{ readonly value: unknown } | undefined> => {
    try {
      const result = work()
      return { value: isPromise(result) ? await inTime(result) : result }
    } catch (error) {
      onError(error)
      return undefined
    }
  }
  const kept = (key: string): { readonly value: unknown } | undefined => {
    const value = ours.get(key)
    return value === undefined ? undefined : { value: value === GONE ? undefined : value }
  }
  const get = async (key: string): Promise<unknown> => {
    const found = kept(key) ?? (await attempt(() => injected.get(key)))
    return found?.value ?? undefined
  }
  const set = async (key: string, value: unknown): Promise<void> => {
    settle(key, value, await attempt(() => injected.set(key, value)))
  }
  /** A cache that is full without evicting says so by throwing, or by `false`. */
  const settle = (key: string, value: unknown, done: { readonly value: unknown } | undefined): void => {
    if (done !== undefined && done.value !== false) ours.delete(key)
    else ours.set(key, holdsState ? value : GONE)
  }
  const del = async (key: string): Promise<void> => {
    ours.delete(key)
    if ((await attempt(() => injected.del(key))) === undefined) ours.set(key, GONE)
  }
  const getMany = async (keys: string[]): Promise<Record<string, unknown>> => {
    if (injected.mget === undefined) {
      return Object.fromEntries(await Promise.all(keys.map(async (key) => [key, await get(key)] as const)))
    }
    const found = (await attempt(() => injected.mget?.(keys)))?.value
    const values = typeof found === 'object' && found !== null ? found : {}
    return Object.fromEntries(
      keys.map((key) => [
        key,
        (kept(key) ?? { value: Reflect.get(values, key) as unknown }).value ?? undefined,
      ]),
    )
  }
  return {
    get: <T>(key: string) => get(key) as Promise<T>,
    set: (key, value) => (value === null || value === undefined ? del(key) : set(key, value)),
    del,
    flushAll: async () => {
      ours.clear()
      await attempt(() => injected.flushAll())
    },
    close: () => {},
    mget: <T>(keys: string[]) => getMany(keys) as Promise<Record<string, T | undefined>>,
    mset: async (entries) => {
      if (injected.mset === undefined) {
        await Promise.all(entries.map(({ key, value }) => set(key, value)))
        return
      }
      // node-cache calls the value `val`: given the other name alone, it would keep undefined for each.
      const both = entries.map(({ key, value }) => ({ key, value, val: value }))
      const done = await attempt(() => injected.mset?.(both as never[]))
      for (const { key, value } of entries) settle(key, value, done)
    },
    mdel: async (keys) => void (await Promise.all(keys.map((key) => del(key)))),
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

async function inTime(work: PromiseLike<unknown>): Promise<unknown> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`no answer within ${DEADLINE_MS} ms`)), DEADLINE_MS)
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
