import {
  type Clock,
  type InstanceId,
  type Logger,
  SECOND,
  sleep,
  systemClock,
  type Timer,
} from '@eclusa/kernel'
import type { WakeListener } from './neighbours.ts'
import { PostgresConnection } from './postgres-connection.ts'
import { PostgresLine } from './postgres-line.ts'

/** Signals gather for this long and go as one: a NOTIFY takes a lock of the whole database until its commit. */
const GATHER_MS = 5
/** Instances of one NOTIFY, whose payload is limited to 8,000 bytes. */
const MAX_INSTANCES_PER_SIGNAL = 250
/** Waiting to be sent. What is over is left out: the owner looks by itself every 30 s. */
const MAX_WAITING = 10_000
const RETRY_MS = SECOND
const MAX_LISTENERS = 16

/** Instead of an instance: whatever the node owns. */
export const EVERYTHING = '*' as InstanceId

export interface SignalsOptions {
  readonly url: string
  readonly node: string
  readonly log: Logger
  /** Default: the machine's. */
  readonly clock?: Clock
}

/**
 * Tells other nodes that there is work for instances of theirs. Never part of the transaction that made the work: NOTIFY
 * in it made enqueuing six times slower (433 against 2,587 rows/s, 16 connections, 2 ms per fsync; PostgreSQL 15). It is
 * a hint on a connection of its own, lost while that is down.
 */
export class PostgresSignals {
  readonly #options: SignalsOptions
  readonly #clock: Clock
  readonly #line: PostgresLine
  // Instances to tell of, by node. bounded by: MAX_WAITING
  #waiting = new Map<string, Set<InstanceId>>()
  #waitingCount = 0
  #timer: Timer | null = null
  // bounded by: MAX_LISTENERS
  readonly #listeners = new Set<WakeListener>()
  readonly #ending = new AbortController()
  #last: Promise<void> = Promise.resolve()

  constructor(options: SignalsOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#line = new PostgresLine({
      open: () => this.#open(),
      clock: this.#clock,
      log: options.log,
      patienceMs: 0,
    })
  }

  /** Listens as soon as the server lets it, and again after each loss of the connection. */
  listen(): void {
    void this.#reopen()
  }

  /** Signals may have been missed. */
  missed(): void {
    this.#tell(null)
  }

  /** `node` has work for `instance`. Never fails and never waits. */
  wake(node: string, instance: InstanceId): void {
    if (this.#ending.signal.aborted || this.#waitingCount >= MAX_WAITING) return
    const instances = this.#waiting.get(node) ?? new Set()
    this.#waiting.set(node, instances)
    if (!instances.has(instance)) this.#waitingCount++
    instances.add(instance)
    this.#timer ??= this.#clock.setTimer(GATHER_MS, () => {
      this.#timer = null
      const waiting = this.#waiting
      this.#waiting = new Map()
      this.#waitingCount = 0
      // One after the other: what gathers behind a slow one goes as one again.
      this.#last = this.#last.then(() => this.#send(waiting))
    })
  }

  onSignal(listener: WakeListener): () => void {
    if (this.#listeners.size >= MAX_LISTENERS) throw new RangeError(`more than ${MAX_LISTENERS} listeners`)
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async stop(): Promise<void> {
    this.#ending.abort()
    this.#timer?.cancel()
    this.#listeners.clear()
    await this.#last
    await this.#line.end()
  }

  async #open(): Promise<PostgresConnection> {
    const { url, node } = this.#options
    const connection = await PostgresConnection.open({ url, name: 'eclusa signals', settings: {} })
    connection.onNotification((payload) => {
      const instances = payload.split(' ') as InstanceId[]
      this.#tell(instances.includes(EVERYTHING) ? null : instances)
    })
    const { results } = await connection.pipeline([channelOf(node)])
    await connection.script(`listen "${String(results[0]?.rows[0]?.['channel'])}"`)
    connection.onLost(() => void this.#reopen())
    // Before the first connection, or while there was none, anything may have come.
    this.#tell(null)
    return connection
  }

  async #reopen(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      try {
        await this.#line.get()
        return
      } catch {
        await sleep(this.#clock, RETRY_MS, this.#ending.signal).catch(() => undefined)
      }
    }
  }

  /** Never rejects: it is a hint. */
  async #send(waiting: ReadonlyMap<string, ReadonlySet<InstanceId>>): Promise<void> {
    try {
      const connection = await this.#line.get()
      for (const [node, instances] of waiting) {
        const { sql, params } = channelOf(node)
        const all = [...instances]
        for (let from = 0; from < all.length; from += MAX_INSTANCES_PER_SIGNAL) {
          const payload = all.slice(from, from + MAX_INSTANCES_PER_SIGNAL).join(' ')
          await connection.pipeline([
            { sql: `select pg_notify(channel, ?) from (${sql}) as named`, params: [payload, ...params] },
          ])
        }
      }
    } catch (error) {
      this.#options.log.debug({ err: error }, 'a signal was not sent; its receiver looks by itself')
    }
  }

  #tell(instances: readonly InstanceId[] | null): void {
    for (const listener of this.#listeners) {
      try {
        listener(instances)
      } catch (error) {
        this.#options.log.error({ err: error }, 'a listener of signals failed')
      }
    }
  }
}

/** Channels belong to a database, ours to a schema in it; a name has at most 63 bytes. */
function channelOf(node: string): { readonly sql: string; readonly params: readonly string[] } {
  return { sql: `select 'eclusa_' || md5(current_schema() || ' ' || ?::text) as channel`, params: [node] }
}
