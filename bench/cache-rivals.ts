import { NodeCache as Cacheable } from '@cacheable/node-cache'
import { BoundedCache, CacheBudget, NodeCache } from '@eclusa/bounded-cache'
import { LRUCache } from 'lru-cache'
import Original from 'node-cache'

export type RivalName =
  | 'ours'
  | 'ours in a budget'
  | 'our NodeCache'
  | 'lru-cache'
  | 'node-cache'
  | '@cacheable'
  | 'Map'

/** What is compared: values are kept as they are, each entry has a life and, where the library knows sizes, a size. */
export interface Rival {
  get(key: string): unknown
  /** May throw at the cap, where the library does. */
  set(key: string, value: unknown): unknown
  /** Frees what is past its life, for who does not by itself. */
  purge?(): void
  close(): void
}

interface RivalOptions {
  readonly maxEntries: number
  readonly ttlMs: number
}

/** Of every entry, as its caller would say; what is charged beside it is the library's own business. */
const VALUE_BYTES = 100

const budget = new CacheBudget({ maxBytes: 2 ** 40, ceilingShare: 1 })

export const RIVALS: Readonly<Record<RivalName, (options: RivalOptions) => Rival>> = {
  ours({ maxEntries, ttlMs }) {
    const cache = new BoundedCache<unknown>({ name: 'bench', maxEntries, ttlMs, maxBytes: 2 ** 40 })
    return {
      get: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value, SIZE),
      close: () => cache.dispose(),
    }
  },
  'ours in a budget'({ maxEntries, ttlMs }) {
    const cache = budget.owner('bench').cache<unknown>({ name: 'bench', maxEntries, ttlMs })
    return {
      get: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value, SIZE),
      close: () => cache.dispose(),
    }
  },
  'our NodeCache'({ maxEntries, ttlMs }) {
    const cache = new NodeCache({
      stdTTL: ttlMs / 1_000,
      maxKeys: maxEntries,
      maxKeysReason: 'bench',
      useClones: false,
    })
    return {
      get: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value, undefined, SIZE),
      close: () => cache.close(),
    }
  },
  'lru-cache'({ maxEntries, ttlMs }) {
    // By size alone, as who bounds bytes uses it: `max` would reserve every slot at once.
    const cache = new LRUCache<string, object | string | number>({
      maxSize: maxEntries * VALUE_BYTES,
      ttl: ttlMs,
    })
    return {
      get: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value as string, LRU_SIZE),
      purge: () => cache.purgeStale(),
      close: () => cache.clear(),
    }
  },
  'node-cache'({ ttlMs }) {
    const cache = new Original({ stdTTL: ttlMs / 1_000, useClones: false, checkperiod: 0 })
    return {
      get: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value),
      // What its own timer does; a public way there is none.
      purge: () => (cache as unknown as { _checkData(start: boolean): void })._checkData(false),
      close: () => cache.close(),
    }
  },
  '@cacheable'({ ttlMs }) {
    const cache = new Cacheable<unknown>({ stdTTL: ttlMs / 1_000, useClones: false, checkperiod: 0 })
    return {
      get: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value),
      purge: () => (cache as unknown as { checkData(): void }).checkData(),
      close: () => cache.close(),
    }
  },
  Map() {
    const map = new Map<string, unknown>()
    return { get: (key) => map.get(key), set: (key, value) => map.set(key, value), close: () => map.clear() }
  },
}

const SIZE = { bytes: VALUE_BYTES }
const LRU_SIZE = { size: VALUE_BYTES }

/** Those that can take more than their cap: the two node-caches throw there, a Map has none. */
export const EVICTING: readonly RivalName[] = ['ours', 'ours in a budget', 'our NodeCache', 'lru-cache']
