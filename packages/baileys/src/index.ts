export * from 'baileys'
export { makeWASocket, type BoundedSocket, type BoundedSocketConfig } from './make-wa-socket.ts'
export { makeWASocket as default } from './make-wa-socket.ts'
export {
  asCacheStore,
  DEFAULT_CACHE_LIMITS,
  DEFAULT_CACHE_MAX_KEYS,
  type CacheLimit,
  type CacheLimits,
  type CacheName,
} from './caches.ts'
export { checkEngine, KNOWN_ENGINE, readInstalledEngine, type EnginePackage } from './engine-check.ts'
export { closeSocket } from './close-socket.ts'
export { silenceLibsignal } from './silence-libsignal.ts'
