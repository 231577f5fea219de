import { BoundedCache } from '@eclusa/bounded-cache'
import type { CacheStore, PossiblyExtendedCacheStore } from 'baileys'

/** How many entries each cache of one socket may hold, and how long one lives, in milliseconds. */
export interface CacheLimit {
  readonly maxEntries: number
  readonly ttlMs: number
}

/** The caches of one socket by name. */
export type CacheName =
  | 'userDevices'
  | 'lidMapping'
  | 'msgRetry'
  | 'callOffer'
  | 'placeholderResend'
  | 'recentMessages'
  | 'sessionRecreation'
  | 'retryCounters'
  | 'baseKeys'

export type CacheLimits = { readonly [Name in CacheName]: CacheLimit }

/**
 * Caps of one socket. The first five are document 2's; the last four bound what that document did not know of: the
 * retry manager's maps, which upstream leaves without a cap or with a timer per entry. Recent messages stay few because
 * `getMessage` answers from the database.
 */
export const DEFAULT_CACHE_LIMITS: CacheLimits = {
  userDevices: { maxEntries: 5_000, ttlMs: 300_000 },
  lidMapping: { maxEntries: 2_000, ttlMs: 259_200_000 },
  msgRetry: { maxEntries: 10_000, ttlMs: 3_600_000 },
  callOffer: { maxEntries: 500, ttlMs: 300_000 },
  placeholderResend: { maxEntries: 5_000, ttlMs: 3_600_000 },
  recentMessages: { maxEntries: 64, ttlMs: 300_000 },
  sessionRecreation: { maxEntries: 2_000, ttlMs: 7_200_000 },
  retryCounters: { maxEntries: 2_000, ttlMs: 900_000 },
  baseKeys: { maxEntries: 256, ttlMs: 900_000 },
}

/** Document 2's table under its own name: cache → most keys. */
export const DEFAULT_CACHE_MAX_KEYS: { readonly [Name in CacheName]: number } = Object.freeze(
  Object.fromEntries(Object.entries(DEFAULT_CACHE_LIMITS).map(([name, limit]) => [name, limit.maxEntries])),
) as { readonly [Name in CacheName]: number }

/**
 * A bounded cache in the shape Baileys asks for. Never throws and never rejects: a cache that does holds up every
 * message of the socket for half a minute.
 */
export function asCacheStore(cache: BoundedCache<unknown>): PossiblyExtendedCacheStore {
  const store: CacheStore & Required<Pick<PossiblyExtendedCacheStore, 'mget' | 'mset' | 'mdel'>> = {
    get: <T>(key: string): T | undefined => cache.get(key) as T | undefined,
    set(key, value) {
      if (value === null || value === undefined) cache.delete(key)
      else cache.set(key, value)
    },
    del(key) {
      cache.delete(key)
    },
    flushAll() {
      cache.clear()
    },
    close() {
      cache.clear()
    },
    mget: <T>(keys: string[]): Promise<Record<string, T | undefined>> =>
      Promise.resolve(Object.fromEntries(keys.map((key) => [key, cache.get(key) as T | undefined]))),
    mset(entries) {
      for (const { key, value } of entries) cache.set(key, value)
    },
    mdel(keys) {
      for (const key of keys) cache.delete(key)
    },
  }
  return store
}
