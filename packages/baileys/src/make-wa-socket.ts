import { makeWASocket as makeUpstreamSocket, DEFAULT_CONNECTION_CONFIG } from 'baileys'
import type { UserFacingSocketConfig, WASocket } from 'baileys'
import { type OwnCaches, SocketCaches, type SocketCachesOptions, type SocketCacheStats } from './caches.ts'
import { silenceLibsignal } from './silence-libsignal.ts'
import { SocketGuard, type SocketGuardOptions, type SocketStats } from './socket-guard.ts'

export type BoundedSocketConfig = Omit<UserFacingSocketConfig, keyof OwnCaches> &
  SocketCachesOptions &
  SocketGuardOptions

export type BoundedSocket = WASocket & {
  /** Entries, bytes, caps, hits and evictions of every cache of this socket. */
  readonly cacheStats: () => readonly SocketCacheStats[]
  /** Frees what is past its life in every cache, in one go; needed only with a clock of the caller's own. */
  readonly sweepCaches: () => number
  /** Everything of this socket that grows and is no cache: buffers, queues, listeners, histories, keys. */
  readonly socketStats: () => SocketStats
}

/**
 * Baileys' `makeWASocket` with every cache, buffer and queue bounded. The same call and the same object; a cache the
 * caller passes in `config` stays the caller's, a key store gets a bounded one in front. End it with `closeSocket`. Needs Node 24 (below it every socket leaks an AsyncLocalStorage).
 * @throws Error on an older Node, or when a field that must be replaced is not what it was in the known engine
 */
export function makeWASocket(config: BoundedSocketConfig): BoundedSocket {
  assertNode()
  silenceLibsignal()
  const { cacheLimits, cacheOwner, lidDirectory, cacheLog, now, eventBuffer, history, ...upstream } = config
  const { userDevicesCache, msgRetryCounterCache, callOfferCache, placeholderResendCache, ...others } =
    upstream
  const logger = upstream.logger ?? DEFAULT_CONNECTION_CONFIG.logger
  const caches = new SocketCaches({
    userDevicesCache,
    msgRetryCounterCache,
    callOfferCache,
    placeholderResendCache,
    cacheLimits,
    cacheOwner,
    lidDirectory,
    cacheLog,
    now,
    ownJid: config.auth.creds.me?.id,
    warn: (fields, message) => logger.warn(fields, message),
  })
  try {
    const guard = new SocketGuard(others, { eventBuffer, history, now, cacheOwner: caches.owner })
    const server = String(upstream.waWebSocketUrl ?? DEFAULT_CONNECTION_CONFIG.waWebSocketUrl)
    const makeRepository = upstream.makeSignalRepository ?? DEFAULT_CONNECTION_CONFIG.makeSignalRepository
    const socket = makeUpstreamSocket({
      ...guard.config(),
      ...caches.stores(),
      makeSignalRepository: (auth, repositoryLogger, ask) => {
        const asked = ask === undefined ? undefined : caches.shareLids(server, ask)
        const repository = makeRepository(auth, repositoryLogger, asked)
        caches.boundRepository(repository)
        return guard.repository(repository)
      },
    })
    caches.boundRetryManager(socket.messageRetryManager)
    guard.bind(socket)
    // Registered last, so that upstream's own handlers still find what they look for.
    socket.registerSocketEndHandler(() => caches.close())
    return Object.assign(socket, {
      cacheStats: () => caches.stats(),
      sweepCaches: () => caches.sweep() + guard.sweep(),
      socketStats: () => guard.stats(),
    })
  } catch (error) {
    caches.close()
    throw error
  }
}

function assertNode(): void {
  const [major = 0] = process.versions.node.split('.').map(Number)
  if (major < 24)
    throw new Error(`Node ${process.versions.node} leaks memory per socket; use Node 24 or newer`)
}
