export { BoundedCache, type BoundedCacheOptions, type CacheStats, type SetOptions } from './bounded-cache.ts'
export {
  type BudgetEvent,
  type BudgetStats,
  CacheBudget,
  type CacheBudgetOptions,
  CacheOwner,
  type OwnerOptions,
  type OwnerStats,
} from './budget.ts'
export {
  DEFAULT_MAX_KEYS,
  NodeCache,
  type NodeCacheEvents,
  type NodeCacheItem,
  type NodeCacheKey,
  type NodeCacheOptions,
  type NodeCacheStats,
} from './node-cache.ts'
export type { SetTimer } from './expiry.ts'
export type { RemovalListener, RemovalReason } from './notices.ts'
export { type PressureEvent, utilizationAdvice } from './pressure.ts'
export { estimateBytes } from './size.ts'
export {
  type SharedFact,
  type SharedStore,
  TieredCache,
  type TieredCacheOptions,
  type TieredCacheStats,
} from './tiered-cache.ts'
