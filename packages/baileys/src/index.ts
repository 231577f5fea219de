export * from 'baileys'
export { makeWASocket, type BoundedSocket, type BoundedSocketConfig } from './make-wa-socket.ts'
export { makeWASocket as default } from './make-wa-socket.ts'
export {
  type CacheLimit,
  type CacheLimitOptions,
  type CacheLimits,
  type CacheLimitsOptions,
  type CacheName,
  DEFAULT_CACHE_LIMITS,
  DEFAULT_CACHE_MAX_KEYS,
  DEFAULT_CACHE_TTLS,
  resolveLimits,
} from './cache-limits.ts'
export type { OwnCaches, SocketCachesOptions, SocketCacheStats } from './caches.ts'
export { asCacheStore, type InjectedCache } from './injected-cache.ts'
export {
  type CacheLog,
  type CacheLogOptions,
  logCacheMemory,
  logSocketCacheMetrics,
  type MeasurableCache,
  openCacheLog,
} from './cache-log.ts'
export { type MetricSample, socketCacheMetrics } from './cache-metrics.ts'
export { defaultCacheBudget } from './default-budget.ts'
export { defaultLidDirectory, type LidDirectory, openLidDirectory } from './lid-directory.ts'
export { CacheBudget, NodeCache } from '@eclusa/bounded-cache'
export { checkEngine, KNOWN_ENGINE, readInstalledEngine, type EnginePackage } from './engine-check.ts'
export { type CloseOptions, closeSocket } from './close-socket.ts'
export { DEFAULT_EVENT_BUFFER, type EventBufferLimits, type EventBufferStats } from './event-buffer.ts'
export type { HistoryOptions, HistoryStats } from './history.ts'
export { type HistoryFailure, holdHistories } from './history-reader.ts'
export {
  boundedKeys,
  type BoundedKeyStore,
  isBoundedKeyStore,
  type KeyStoreOptions,
  makeBoundedKeyStore,
  makeCacheableSignalKeyStore,
} from './key-store.ts'
export { parseKey, pruneKey, serialiseKey, UNCACHED_KEY_TYPES } from './key-values.ts'
export { pruneSession } from './prune-session.ts'
export { countSockets, type SocketCensus } from './socket-census.ts'
export type { SocketGuardOptions, SocketStats } from './socket-guard.ts'
export { silenceLibsignal } from './silence-libsignal.ts'
