import { DEFAULT_CONNECTION_CONFIG, type UserFacingSocketConfig, type WASocket } from 'baileys'
import type { CacheOwner } from '@eclusa/bounded-cache'
import {
  DEFAULT_EVENT_BUFFER,
  EventBufferGuard,
  type EventBufferLimits,
  type EventBufferStats,
} from './event-buffer.ts'
import { GroupSends, isFannedOut } from './group-sends.ts'
import { type HistoryOptions, type HistoryStats, SocketHistory } from './history.ts'
import { type BoundedKeyStore, isBoundedKeyStore, makeBoundedKeyStore } from './key-store.ts'
import { type ListenerStats, watchListeners } from './listener-alarm.ts'
import { ResendLimit } from './resend-limit.ts'
import { guardRetryManager, limitResends, type RetryManagerStats } from './retry-manager.ts'
import { enrol } from './socket-census.ts'
import { StanzaFlow, type StanzaFlowStats } from './stanza-flow.ts'

/** A query without an answer fails after this at the latest; without a limit it would wait for ever. */
const MAX_QUERY_TIMEOUT_MS = 30_000
/** Upstream's ten tries three seconds apart hold up every message of the account for half a minute. */
const TRANSACTION_OPTIONS = { maxCommitRetries: 3, delayBetweenTriesMs: 200 }
/** Sessions moved from number to LID that Baileys remembers, each with a timer of three days. */
const MAX_MIGRATIONS = 1_000
/** History notifications that credentials remember as handled. */
const MAX_PROCESSED_HISTORY = 20

export interface SocketGuardOptions {
  /** When buffered events are told at the latest. */
  readonly eventBuffer?: Partial<EventBufferLimits> | undefined
  readonly history?: HistoryOptions | undefined
}

/** Everything of a socket that grows and is no cache. */
export interface SocketStats {
  readonly eventBuffer: EventBufferStats
  readonly stanzas: StanzaFlowStats
  readonly history: HistoryStats
  readonly listeners: ListenerStats
  readonly retries: RetryManagerStats & { readonly resendsRefused: number }
  /** Messages to groups that wait for their turn or are under way. */
  readonly groupSends: number
  /** Waiting for WhatsApp's answer. */
  readonly queriesInFlight: number
  /** Undefined with a key store that bounds itself. */
  readonly keys: ReturnType<BoundedKeyStore['stats']> | undefined
}

type Repository = WASocket['signalRepository']

// bounded by: sockets in memory; weak
const guards = new WeakMap<WASocket, SocketGuard>()

export function guardOf(socket: WASocket): SocketGuard | undefined {
  return guards.get(socket)
}

/** Bounds what is no cache: configuration first, then the socket that was made with it. */
export class SocketGuard {
  readonly #options: SocketGuardOptions
  readonly #config: UserFacingSocketConfig
  readonly #log: NonNullable<UserFacingSocketConfig['logger']>
  readonly #resends: ResendLimit
  readonly #groupSends = new GroupSends()
  readonly #history: SocketHistory
  readonly #keys: BoundedKeyStore | undefined
  readonly #ended = Promise.withResolvers<void>()
  #parts:
    | {
        readonly socket: WASocket
        readonly buffer: EventBufferGuard
        readonly flow: StanzaFlow
        readonly retries: () => RetryManagerStats
        readonly listeners: () => ListenerStats
      }
    | undefined

  constructor(
    config: UserFacingSocketConfig,
    options: SocketGuardOptions & {
      readonly now?: (() => number) | undefined
      readonly cacheOwner?: CacheOwner | undefined
    },
  ) {
    this.#options = options
    this.#config = config
    this.#log = config.logger ?? DEFAULT_CONNECTION_CONFIG.logger
    this.#resends = new ResendLimit(options.now, options.cacheOwner)
    this.#history = new SocketHistory(options.history ?? {}, this.#log)
    this.#keys = isBoundedKeyStore(config.auth.keys)
      ? undefined
      : makeBoundedKeyStore(config.auth.keys, {
          ...(options.cacheOwner === undefined ? {} : { cacheOwner: options.cacheOwner }),
          ...(options.now === undefined ? {} : { now: options.now }),
          onFailure: (error) => this.#cut(error),
        })
  }

  /** The caller's configuration with limits where it had none. */
  config(): UserFacingSocketConfig {
    const { auth, defaultQueryTimeoutMs, getMessage, transactionOpts } = this.#config
    const { processedHistoryMessages } = auth.creds
    if (processedHistoryMessages?.length > MAX_PROCESSED_HISTORY)
      auth.creds.processedHistoryMessages = processedHistoryMessages.slice(-MAX_PROCESSED_HISTORY)
    const isTimeout = defaultQueryTimeoutMs !== undefined && defaultQueryTimeoutMs > 0
    return {
      ...this.#config,
      auth: { creds: auth.creds, keys: this.#keys ?? auth.keys },
      defaultQueryTimeoutMs: isTimeout
        ? Math.min(defaultQueryTimeoutMs, MAX_QUERY_TIMEOUT_MS)
        : MAX_QUERY_TIMEOUT_MS,
      transactionOpts: transactionOpts ?? TRANSACTION_OPTIONS,
      getMessage: limitResends(getMessage ?? DEFAULT_CONNECTION_CONFIG.getMessage, this.#resends),
      shouldSyncHistoryMessage: this.#history.shouldSync(this.#config.shouldSyncHistoryMessage),
    }
  }

  /**
   * Baileys remembers which sessions it has moved, with a timer each that holds whatever transaction it was armed in.
   * It forgets now and then: then it looks in the key store again, and finds nothing left to move.
   */
  repository(repository: Repository): Repository {
    if (typeof repository.close !== 'function')
      throw new Error(
        'Baileys no longer lets go of what it has moved; this release is made for another version of it',
      )
    const migrate = repository.migrateSession.bind(repository)
    let migrations = 0
    repository.migrateSession = async (fromJid, toJid) => {
      const result = await migrate(fromJid, toJid)
      migrations += result.migrated
      if (migrations >= MAX_MIGRATIONS) {
        migrations = 0
        repository.close?.()
      }
      return result
    }
    return repository
  }

  /** @throws Error naming what is not as it was in the known engine */
  bind(socket: WASocket): void {
    const buffer = new EventBufferGuard(
      socket.ev,
      { ...DEFAULT_EVENT_BUFFER, ...this.#options.eventBuffer },
      (event) => this.#history.take(event),
    )
    this.#history.bind(socket, buffer, this.#config.options)
    this.#parts = {
      socket,
      buffer,
      flow: new StanzaFlow(socket),
      retries: guardRetryManager(socket.messageRetryManager, this.#resends),
      listeners: watchListeners(socket, this.#log),
    }
    const { sendMessage, relayMessage } = socket
    socket.sendMessage = (jid, ...rest) =>
      isFannedOut(jid) ? this.#groupSends.run(() => sendMessage(jid, ...rest)) : sendMessage(jid, ...rest)
    socket.relayMessage = (jid, ...rest) =>
      isFannedOut(jid) ? this.#groupSends.run(() => relayMessage(jid, ...rest)) : relayMessage(jid, ...rest)
    const leave = enrol(socket)
    socket.registerSocketEndHandler(() => {
      buffer.flushAtEnd()
      this.#stop()
      leave()
      this.#ended.resolve()
    })
    guards.set(socket, this)
  }

  /** Resolves when the socket has ended, whoever ended it. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  /** Takes no more stanzas. */
  stopIntake(): void {
    this.#parts?.flow.stop()
  }

  /** Frees what is past its life. */
  sweep(): number {
    return this.#keys?.sweep() ?? 0
  }

  stats(): SocketStats {
    const parts = this.#parts
    if (parts === undefined) throw new Error('the socket is not made yet')
    return {
      eventBuffer: parts.buffer.stats(),
      stanzas: parts.flow.stats(),
      history: this.#history.stats(),
      listeners: parts.listeners(),
      retries: { ...parts.retries(), resendsRefused: this.#resends.refused },
      groupSends: this.#groupSends.waiting,
      queriesInFlight: queriesInFlight(parts.socket),
      keys: this.#keys?.stats(),
    }
  }

  #stop(): void {
    this.#parts?.flow.stop()
    this.#parts?.buffer.stop()
    this.#history.stop()
    this.#resends.clear()
    this.#keys?.close()
  }

  /**
   * The key store failed or did not answer. Baileys would take that for "no session" and refuse the message to WhatsApp
   * for good; without a connection it says nothing, and everything comes again.
   */
  #cut(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    this.#log.warn({ error: message }, 'the key store failed: the connection is cut and may be made again')
    const socket = this.#parts?.socket
    if (socket === undefined) return
    const transport = Reflect.get(socket.ws, 'socket') as { terminate(): void } | null
    transport?.terminate()
  }
}

/** Each has a listener of its own for `TAG:` and its id. */
function queriesInFlight(socket: WASocket): number {
  return socket.ws.eventNames().filter((event) => String(event).startsWith('TAG:')).length
}
