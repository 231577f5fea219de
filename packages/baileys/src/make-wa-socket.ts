import { BoundedCache, type CacheStats } from '@eclusa/bounded-cache'
import { makeWASocket as makeUpstreamSocket, DEFAULT_CONNECTION_CONFIG } from 'baileys'
import type { UserFacingSocketConfig, WASocket } from 'baileys'
import { asCacheStore, type CacheLimits, type CacheName, DEFAULT_CACHE_LIMITS } from './caches.ts'
import { silenceLibsignal } from './silence-libsignal.ts'

export type BoundedSocketConfig = UserFacingSocketConfig & {
  /** Other limits than DEFAULT_CACHE_LIMITS for this socket, cache by cache. */
  readonly cacheLimits?: Partial<CacheLimits>
  /** Epoch milliseconds for the caches' lives. Default `Date.now`. */
  readonly now?: () => number
}

export type BoundedSocket = WASocket & {
  /** Entries, caps, hits and evictions of every cache of this socket. */
  readonly cacheStats: () => readonly CacheStats[]
  /** Frees what is past its life in every cache; to be called now and then, since no timer does. */
  readonly sweepCaches: () => number
}

/**
 * Baileys' `makeWASocket` with every cache bounded. The same call and the same object; a cache the caller passes in
 * `config` stays the caller's. Needs Node 24 (below it every socket leaks an AsyncLocalStorage).
 * @throws Error on an older Node, or when a field that must be replaced is not what it was in the known engine
 */
export function makeWASocket(config: BoundedSocketConfig): BoundedSocket {
  assertNode()
  silenceLibsignal()
  const { cacheLimits, now, ...upstream } = config
  const caches = makeCaches({ ...DEFAULT_CACHE_LIMITS, ...cacheLimits }, now)
  const { byName } = caches
  const makeRepository = upstream.makeSignalRepository ?? DEFAULT_CONNECTION_CONFIG.makeSignalRepository
  const socket = makeUpstreamSocket({
    userDevicesCache: asCacheStore(byName.userDevices),
    msgRetryCounterCache: asCacheStore(byName.msgRetry),
    callOfferCache: asCacheStore(byName.callOffer),
    placeholderResendCache: asCacheStore(byName.placeholderResend),
    ...upstream,
    makeSignalRepository: (auth, logger, pnToLid) => {
      const repository = makeRepository(auth, logger, pnToLid)
      replaceField(repository.lidMapping, 'mappingCache', byName.lidMapping)
      return repository
    },
  })
  boundRetryManager(socket, caches)
  return Object.assign(socket, {
    cacheStats: () => Object.values(byName).map((cache) => cache.stats()),
    sweepCaches: () => Object.values(byName).reduce((freed, cache) => freed + cache.sweep(), 0),
  })
}

interface Caches {
  readonly byName: { readonly [Name in CacheName]: BoundedCache<unknown> }
  /** Upstream's index from message id to key of `recentMessages`. */
  readonly recentKeys: Map<string, string>
}

/** Caches that upstream touches on read, so that what is in use does not end. */
const EXTENDED_ON_GET: ReadonlySet<CacheName> = new Set(['lidMapping', 'retryCounters'])

function makeCaches(limits: CacheLimits, now: (() => number) | undefined): Caches {
  const recentKeys = new Map<string, string>() // bounded by: recentMessages.maxEntries, through onRemove
  const names = Object.keys(limits) as CacheName[]
  const caches = names.map((name) => {
    const cache = new BoundedCache<unknown>({
      name,
      ...limits[name],
      extendOnGet: EXTENDED_ON_GET.has(name),
      ...(now === undefined ? {} : { now }),
      ...(name === 'recentMessages'
        ? { onRemove: (key: string): void => void recentKeys.delete(key.slice(key.lastIndexOf('\0') + 1)) }
        : {}),
    })
    return [name, cache]
  })
  return { byName: Object.fromEntries(caches) as Caches['byName'], recentKeys }
}

function boundRetryManager(socket: WASocket, { byName, recentKeys }: Caches): void {
  const manager = socket.messageRetryManager
  if (manager === null || manager === undefined) return
  replaceField(manager, 'recentMessagesMap', byName.recentMessages)
  replaceField(manager, 'messageKeyIndex', recentKeys)
  replaceField(manager, 'sessionRecreateHistory', byName.sessionRecreation)
  replaceField(manager, 'retryCounters', byName.retryCounters)
  replaceField(manager, 'baseKeys', byName.baseKeys)
}

/** Upstream's own cache gives way to ours, which has the methods upstream calls: get, set, delete, has, clear. */
function replaceField(
  owner: object,
  field: string,
  cache: BoundedCache<unknown> | Map<string, string>,
): void {
  const old: unknown = Reflect.get(owner, field)
  if (typeof old !== 'object' || old === null || !('get' in old && 'set' in old && 'delete' in old)) {
    throw new Error(
      `Baileys keeps no cache in ${field} any more; this release is made for another version of it`,
    )
  }
  if ('clear' in old && typeof old.clear === 'function') old.clear()
  Reflect.set(owner, field, cache)
}

function assertNode(): void {
  const [major = 0] = process.versions.node.split('.').map(Number)
  if (major < 24)
    throw new Error(`Node ${process.versions.node} leaks memory per socket; use Node 24 or newer`)
}
