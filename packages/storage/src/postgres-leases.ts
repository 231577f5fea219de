import { type Clock, EclusaError, type InstanceId, type Logger, runLoop, SECOND } from '@eclusa/kernel'
import { errorOfRefusal } from './postgres-flush.ts'
import { ConnectionLost } from './postgres-connection.ts'
import type { PostgresLine } from './postgres-line.ts'
import type { Row, SqlValue } from './database.ts'
import type { Ownership } from './ownership.ts'
import { storageErrors } from './errors.ts'

/** How long a lease holds from its last renewal, by the database's clock. */
const LEASE_MS = 15 * SECOND
/** From one renewal to the next. */
const RENEW_EVERY_MS = 5 * SECOND
/** An owner that could not renew stops acting this long before others may begin; covers the difference of clocks' speed and the way to the database. */
const MARGIN_MS = 3 * SECOND
/** How often it looks whether that time has come. */
const LOOK_EVERY_MS = SECOND
/** Each gateway owns the instances it serves. */
const MAX_LEASES = 100_000
/** Listeners of changes: one per part that acts for instances. */
const MAX_LISTENERS = 16

const LEASE = `clock_timestamp() + interval '${LEASE_MS} milliseconds'`
/** A node may always take its own: after a crash it comes back at once. Each take is a new epoch, so what the crashed process may still send is refused. */
const TAKE = `insert into "InstanceLease" as lease (instance, node, epoch, "expiresAt") values (?, ?, 1, ${LEASE})
  on conflict (instance) do update set node = excluded.node, epoch = lease.epoch + 1, "expiresAt" = ${LEASE}
  where lease."expiresAt" <= clock_timestamp() or lease.node = excluded.node
  returning epoch`
/** One that ran out is not renewed: its owner has stopped acting for it and takes it anew. */
const RENEW = `update "InstanceLease" as lease set "expiresAt" = ${LEASE}
  from jsonb_to_recordset(?::jsonb) as held (instance text, epoch bigint)
  where lease.instance = held.instance and lease.epoch = held.epoch and lease.node = ?
    and lease."expiresAt" > clock_timestamp()
  returning lease.instance`
const RELEASE = `update "InstanceLease" as lease set "expiresAt" = clock_timestamp()
  from jsonb_to_recordset(?::jsonb) as held (instance text, epoch bigint)
  where lease.instance = held.instance and lease.epoch = held.epoch and lease.node = ?`

interface Lease {
  readonly epoch: number
  /** When the request was sent that was answered last, ms of the monotonic clock: the lease holds LEASE_MS from then at least. */
  readonly renewedAt: number
}

export interface LeasesOptions {
  readonly node: string
  /** A connection for nothing else: a renewal must not wait behind anything. */
  readonly line: PostgresLine
  readonly clock: Clock
  readonly log: Logger
  /** Milliseconds that never go back, and go on while the process is stopped. Default: the machine's. */
  readonly monotonicNow?: () => number
}

/**
 * Ownership by rows with an epoch. A lease holds 15 s by the database's clock and is renewed every 5 s; without a
 * renewal this process stops acting after 12 s of its own monotonic clock, so before anybody else may begin. What it
 * sent before that arrives later is refused, because every flush checks the epoch (see postgres-flush.ts).
 */
export class PostgresLeases implements Ownership {
  readonly #options: LeasesOptions
  readonly #now: () => number
  // bounded by: MAX_LEASES
  readonly #held = new Map<InstanceId, Lease>()
  // What this process is to own, held or not. bounded by: MAX_LEASES
  readonly #wanted = new Set<InstanceId>()
  // bounded by: MAX_LISTENERS
  readonly #listeners = new Set<(instance: InstanceId, owned: boolean) => void>()
  readonly #ending = new AbortController()
  #loops: Promise<unknown> | null = null
  /** One request at a time on the line. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: LeasesOptions) {
    this.#options = options
    this.#now = options.monotonicNow ?? (() => performance.now())
  }

  get node(): string {
    return this.#options.node
  }

  async take(instance: InstanceId): Promise<boolean> {
    if (!this.#wanted.has(instance) && this.#wanted.size >= MAX_LEASES) {
      throw new RangeError(`more than ${MAX_LEASES} leases`)
    }
    this.#wanted.add(instance)
    this.#start()
    await this.#take(instance)
    return this.owns(instance)
  }

  async release(instance: InstanceId): Promise<void> {
    this.#wanted.delete(instance)
    const lease = this.#held.get(instance)
    this.#held.delete(instance)
    if (lease !== undefined) await this.#release([[instance, lease]])
  }

  owns(instance: InstanceId): boolean {
    return this.epochOf(instance) !== null
  }

  /** The epoch under which this process owns the instance just now; null when it does not, or cannot be sure. */
  epochOf(instance: InstanceId): number | null {
    const lease = this.#held.get(instance)
    return lease === undefined || this.#hasRunOut(lease) ? null : lease.epoch
  }

  onChange(listener: (instance: InstanceId, owned: boolean) => void): () => void {
    if (this.#listeners.size >= MAX_LISTENERS) throw new RangeError(`more than ${MAX_LISTENERS} listeners`)
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The database refused a write under this epoch. */
  refused(instance: InstanceId, epoch: number): void {
    if (this.#held.get(instance)?.epoch === epoch) this.#lose(instance, 'another process has taken it over')
  }

  /** Hands everything over. */
  async stop(): Promise<void> {
    this.#ending.abort()
    await this.#loops
    const held = [...this.#held]
    this.#held.clear()
    this.#wanted.clear()
    this.#listeners.clear()
    if (held.length > 0) await this.#release(held)
    await this.#last
    await this.#options.line.end()
  }

  /** Renews what is held, and tries to get what is not. Every 5 s by itself. */
  async pass(): Promise<void> {
    await this.#oneAtATime(() => this.#renew())
    for (const instance of this.#wanted) {
      if (this.#ending.signal.aborted) return
      if (await this.#take(instance)) this.#tell(instance, true)
    }
  }

  /** Stops acting for what could not be renewed in time. Every second by itself. */
  look(): void {
    for (const [instance, lease] of this.#held) {
      if (this.#hasRunOut(lease)) this.#lose(instance, 'it could not be renewed in time')
    }
  }

  async #renew(): Promise<void> {
    const held = [...this.#held]
    if (held.length === 0) return
    const sentAt = this.#now()
    const rows = await this.#ask(RENEW, [leasesOf(held), this.#options.node])
    const renewed = new Set(rows.map((row) => row['instance']))
    for (const [instance, lease] of held) {
      if (this.#held.get(instance) !== lease) continue
      if (renewed.has(instance)) this.#held.set(instance, { ...lease, renewedAt: sentAt })
      else this.#lose(instance, 'its lease is not ours any more')
    }
  }

  #start(): void {
    const { clock, log } = this.#options
    const { signal } = this.#ending
    this.#loops ??= Promise.all([
      runLoop(
        {
          clock,
          everyMs: RENEW_EVERY_MS,
          onError: (error) => log.warn({ err: error }, 'leases could not be renewed; trying again'),
        },
        () => this.pass(),
        signal,
      ),
      runLoop({ clock, everyMs: LOOK_EVERY_MS, onError: () => undefined }, async () => this.look(), signal),
    ])
  }

  /** True when it was not held before and is now. */
  #take(instance: InstanceId): Promise<boolean> {
    if (this.#held.has(instance)) return Promise.resolve(false)
    return this.#oneAtATime(async () => {
      // Another call may have taken it while this one waited: a second take would end the epoch of the first.
      if (this.#held.has(instance) || !this.#wanted.has(instance)) return false
      const sentAt = this.#now()
      const [row] = await this.#ask(TAKE, [instance, this.#options.node])
      if (row === undefined || !this.#wanted.has(instance)) return false
      this.#held.set(instance, { epoch: Number(row['epoch']), renewedAt: sentAt })
      return true
    })
  }

  async #release(held: readonly (readonly [InstanceId, Lease])[]): Promise<void> {
    try {
      await this.#oneAtATime(() => this.#ask(RELEASE, [leasesOf(held), this.#options.node]))
    } catch (error) {
      this.#options.log.warn({ err: error }, 'leases could not be handed over; they end by themselves')
    }
  }

  #hasRunOut({ renewedAt }: Lease): boolean {
    return this.#now() - renewedAt >= LEASE_MS - MARGIN_MS
  }

  #lose(instance: InstanceId, why: string): void {
    this.#held.delete(instance)
    this.#options.log.warn({ instance, code: storageErrors.NOT_OWNER.code }, `an instance was lost: ${why}`)
    this.#tell(instance, false)
  }

  #tell(instance: InstanceId, owned: boolean): void {
    for (const listener of this.#listeners) {
      try {
        listener(instance, owned)
      } catch (error) {
        this.#options.log.error({ err: error }, 'a listener of ownership failed')
      }
    }
  }

  #oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    const outcome = this.#last.then(work)
    this.#last = outcome.catch(() => undefined)
    return outcome
  }

  async #ask(sql: string, params: readonly SqlValue[]): Promise<readonly Row[]> {
    const { line, clock } = this.#options
    const connection = await line.get()
    const deadline = clock.setTimer(RENEW_EVERY_MS, () =>
      connection.destroy('PostgreSQL did not answer in time'),
    )
    try {
      const { results, refusal } = await connection.pipeline([{ sql, params }])
      if (refusal !== null) throw errorOfRefusal(refusal)
      return results[0]?.rows ?? []
    } catch (error) {
      if (error instanceof ConnectionLost) throw new EclusaError(storageErrors.UNREACHABLE, { cause: error })
      throw error
    } finally {
      deadline.cancel()
    }
  }
}

function leasesOf(held: readonly (readonly [InstanceId, Lease])[]): string {
  return JSON.stringify(held.map(([instance, { epoch }]) => ({ instance, epoch })))
}
