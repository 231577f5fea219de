import { type Clock, EclusaError, type Logger, SECOND, sleep, systemClock } from '@eclusa/kernel'
import type {
  DatabaseStats,
  OpenedDatabase,
  Row,
  SqlValue,
  Statement,
  StatementResult,
  WriteOptions,
} from './database.ts'
import { storageErrors } from './errors.ts'
import { bytesOf, CommitListeners, countForFlush } from './group-commit.ts'
import { type AppliedMigration, type Migration, planMigrations } from './migrate.ts'
import { BatchForms, type Fence, errorOfRefusal, Flush, type FlushUnit } from './postgres-flush.ts'
import { ConnectionLost, PostgresConnection, StatementRefused } from './postgres-connection.ts'
import { PostgresLeases } from './postgres-leases.ts'
import { PostgresLine } from './postgres-line.ts'
import { type Neighbours, noNeighbours } from './neighbours.ts'
import { PostgresNeighbours } from './postgres-neighbours.ts'
import { type Ownership, soleOwnership } from './ownership.ts'
import { storageMigrations } from './storage-migrations.ts'

/** The oldest PostgreSQL that is looked after by its makers. */
const OLDEST_SERVER = 140_000
/** Reads go side by side on at most this many connections; one is opened when all others are busy. */
export const MAX_READ_LINES = 3
/** Reads that share one round trip. */
const MAX_READS_PER_TRIP = 64
/** A flush that has lost this many connections is not tried again: it may be what kills them. */
const MAX_ATTEMPTS = 5
/** How long the outcome of a commit may stay open: the server may still be busy with it, or with noticing our end. */
const OUTCOME_PATIENCE_MS = 30 * SECOND
const OUTCOME_POLL_MS = 50
/** A pipeline without an answer for this long has lost its connection, whatever TCP believes. */
const ANSWER_WITHIN_MS = 60 * SECOND
/** At boot only: a server that is being started at the same time. */
const BOOT_PATIENCE_MS = 10 * SECOND
const BOOT_RETRY_MS = 200

/**
 * Plans must not depend on what the statistics believe of a table that was empty a minute ago: every hot statement
 * has one good plan, by index. Times are in UTC on both databases. A process that is stopped in the middle of a
 * transaction loses it, and with it the hold on its lease, after 4 s.
 */
const SETTINGS = {
  timezone: `'UTC'`,
  datestyle: `'ISO'`,
  bytea_output: 'hex',
  standard_conforming_strings: 'on',
  synchronous_commit: 'on',
  client_min_messages: 'warning',
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  jit: 'off',
  lock_timeout: `'10s'`,
  statement_timeout: `'50s'`,
  idle_in_transaction_session_timeout: `'4s'`,
} as const

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`. */
  readonly url: string
  /** In the order to apply them; storage's own come first by themselves. */
  readonly migrations: readonly Migration[]
  readonly log: Logger
  /**
   * Who this process is among those that share the database (`openNode`): then it owns instances by leases, and writes
   * that name one are fenced. Default: no one else uses the database, and it owns everything.
   */
  readonly node?: string
  /** How long callers wait for a lost connection to come back, ms. Default: 30,000. */
  readonly patienceMs?: number
  /** How long a statement waits for a row that somebody else holds, ms. Default: 10,000. */
  readonly lockTimeoutMs?: number
  /** Default: the machine's. */
  readonly clock?: Clock
  /** Of the leases: milliseconds that never go back. Default: the machine's. */
  readonly monotonicNow?: () => number
}

/**
 * Opens the PostgreSQL database: checks its version, brings its schema up to date, and warns when it is set up to
 * lose what it has acknowledged.
 * @throws STORAGE_UNREACHABLE, STORAGE_POSTGRES_TOO_OLD, STORAGE_MIGRATION_REFUSED
 */
export async function openPostgres(options: PostgresOptions): Promise<PostgresDatabase> {
  const { url, log } = options
  const clock = options.clock ?? systemClock
  const open = (name: string, more: Readonly<Record<string, string>> = {}): Promise<PostgresConnection> =>
    PostgresConnection.open({ url, name: `eclusa ${name}`, settings: { ...SETTINGS, ...limits, ...more } })
  const limits = options.lockTimeoutMs === undefined ? {} : { lock_timeout: `'${options.lockTimeoutMs}ms'` }
  const openReader = (): Promise<PostgresConnection> => open('reads', { default_transaction_read_only: 'on' })
  const writer = await openAtBoot(() => open('writes'), clock, log)
  let reader: PostgresConnection
  try {
    await checkServer(writer, log)
    await migrate(writer, [...storageMigrations, ...options.migrations])
    reader = await openReader()
  } catch (error) {
    await writer.end()
    throw error
  }
  const lineOptions = { clock, log, patienceMs: options.patienceMs ?? 30 * SECOND }
  return new PostgresDatabase({
    clock,
    log,
    signals: options.node === undefined ? null : { url, node: options.node },
    leases:
      options.node === undefined
        ? null
        : new PostgresLeases({
            node: options.node,
            line: new PostgresLine({ ...lineOptions, patienceMs: 0, open: () => open('leases') }),
            clock,
            log,
            ...(options.monotonicNow === undefined ? {} : { monotonicNow: options.monotonicNow }),
          }),
    writer: new PostgresLine({ ...lineOptions, open: () => open('writes') }, writer),
    readers: Array.from(
      { length: MAX_READ_LINES },
      (_, index) => new PostgresLine({ ...lineOptions, open: openReader }, index === 0 ? reader : null),
    ),
  })
}

interface Unit extends FlushUnit {
  readonly kind: 'unit'
  readonly bytes: number
  readonly resolve: (results: readonly StatementResult[]) => void
  readonly reject: (error: EclusaError) => void
}

interface Read {
  readonly kind: 'read'
  readonly statement: Statement
  readonly resolve: (rows: readonly Row[]) => void
  readonly reject: (error: EclusaError) => void
}

/**
 * Group commit on one connection for writes: units gather while a flush is under way and go together when it ends.
 * Reads have connections of their own and go at once, unless writes called before them are not committed yet.
 */
export class PostgresDatabase implements OpenedDatabase {
  readonly dialect = 'postgres'
  readonly #leases: PostgresLeases | null
  readonly #neighbours: PostgresNeighbours | null
  readonly #clock: Clock
  readonly #log: Logger
  readonly #writer: PostgresLine
  // bounded by: callers awaiting their answer
  #waiting: (Unit | Read)[] = []
  #waitingUnitCount = 0
  // Reads behind the flush under way. bounded by: callers awaiting their answer
  #behindFlush: Read[] = []
  #underWayCount = 0
  #flushing = false
  #turnScheduled = false
  // bounded by: callers awaiting their answer
  #reads: Read[] = []
  // bounded by: MAX_READ_LINES
  readonly #idleReaders: PostgresLine[]
  // bounded by: MAX_READ_LINES
  readonly #readers: readonly PostgresLine[]
  readonly #listeners: CommitListeners
  readonly #forms = new BatchForms()
  #stopping: Promise<void> | null = null
  #onIdle: (() => void) | null = null
  readonly #stats = { commitCount: 0, unitCount: 0, statementCount: 0, failedUnitCount: 0, readCount: 0 }

  constructor(options: {
    readonly clock: Clock
    readonly log: Logger
    readonly leases: PostgresLeases | null
    /** Where the others on the database are told of what is written here; null when there are none. */
    readonly signals: { readonly url: string; readonly node: string } | null
    readonly writer: PostgresLine
    readonly readers: readonly PostgresLine[]
  }) {
    this.#clock = options.clock
    this.#log = options.log
    this.#leases = options.leases
    const { signals, clock, log } = options
    this.#neighbours = signals && new PostgresNeighbours({ ...signals, database: this, clock, log })
    this.#writer = options.writer
    this.#readers = options.readers
    this.#idleReaders = options.readers.toReversed()
    this.#listeners = new CommitListeners(options.log)
  }

  get ownership(): Ownership {
    return this.#leases ?? soleOwnership
  }

  get neighbours(): Neighbours {
    return this.#neighbours ?? noNeighbours
  }

  write(statements: readonly Statement[], options: WriteOptions = {}): Promise<readonly StatementResult[]> {
    if (this.#stopping !== null) return Promise.reject(new EclusaError(storageErrors.STOPPED))
    for (const { params } of statements) {
      for (const value of params) if (!isSqlValue(value)) return Promise.reject(badParameter(value))
    }
    const { rows = null, instance } = options
    let fence: Fence | null = null
    if (instance !== undefined && this.#leases !== null) {
      const epoch = this.#leases.epochOf(instance)
      if (epoch === null) return Promise.reject(new EclusaError(storageErrors.NOT_OWNER))
      fence = { instance, epoch }
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        kind: 'unit',
        statements,
        fence,
        rows,
        bytes: bytesOf(statements),
        resolve,
        reject,
      })
      this.#waitingUnitCount++
      this.#schedule()
    })
  }

  read(sql: string, params: readonly SqlValue[]): Promise<readonly Row[]> {
    if (this.#stopping !== null) return Promise.reject(new EclusaError(storageErrors.STOPPED))
    const bad = params.filter((value) => !isSqlValue(value))
    if (bad.length > 0) return Promise.reject(badParameter(bad[0]))
    return new Promise((resolve, reject) => {
      const read: Read = { kind: 'read', statement: { sql, params }, resolve, reject }
      if (this.#waitingUnitCount > 0) this.#waiting.push(read)
      else if (this.#flushing) this.#behindFlush.push(read)
      else this.#reads.push(read)
      this.#schedule()
    })
  }

  onCommit(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  stats(): DatabaseStats {
    const waitingCount =
      this.#waiting.length + this.#behindFlush.length + this.#reads.length + this.#underWayCount
    return { ...this.#stats, waitingCount }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#finish()
    return this.#stopping
  }

  async #finish(): Promise<void> {
    if (!this.#isIdle()) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    this.#listeners.clear()
    await this.#neighbours?.stop()
    await this.#leases?.stop()
    await Promise.all([this.#writer, ...this.#readers].map((line) => line.end()))
  }

  /** Once per turn of the event loop, after its I/O: all requests that came in this turn go together. */
  #schedule(): void {
    if (this.#turnScheduled) return
    this.#turnScheduled = true
    setImmediate(() => {
      this.#turnScheduled = false
      this.#startFlush()
      this.#startReads()
    })
  }

  #startFlush(): void {
    if (this.#flushing || this.#waiting.length === 0) return
    const count = countForFlush(this.#waiting)
    const batch = this.#waiting.slice(0, count)
    this.#waiting = count === this.#waiting.length ? [] : this.#waiting.slice(count)
    const units = batch.filter((one) => one.kind === 'unit')
    this.#behindFlush.push(...batch.filter((one) => one.kind === 'read'))
    this.#waitingUnitCount -= units.length
    this.#underWayCount += units.length
    this.#flushing = true
    void this.#flush(units)
  }

  /** Never rejects. */
  async #flush(units: readonly Unit[]): Promise<void> {
    const flush = new Flush(units, { node: this.#leases?.node ?? '', forms: this.#forms })
    let failure: EclusaError | null = null
    try {
      await this.#commit(flush)
    } catch (error) {
      failure = ourError(error)
      if (!(error instanceof EclusaError))
        this.#log.error({ err: error }, 'a flush failed in an unexpected way')
    }
    this.#flushing = false
    const reads = this.#behindFlush
    this.#behindFlush = []
    this.#reads.push(...reads)
    // The next flush first: the disk works while the answers are handled.
    this.#startFlush()
    this.#startReads()
    this.#underWayCount -= units.length
    for (const [index, unit] of units.entries()) {
      const outcome = failure ?? flush.outcomes[index]!
      if (outcome instanceof EclusaError) {
        if (outcome.code === storageErrors.NOT_OWNER.code && unit.fence !== null) {
          this.#leases?.refused(unit.fence.instance, unit.fence.epoch)
        }
        this.#stats.failedUnitCount++
        unit.reject(outcome)
      } else {
        this.#stats.unitCount++
        this.#stats.statementCount += outcome.length
        unit.resolve(outcome)
      }
    }
    if (failure === null && flush.hasCommitted) {
      this.#stats.commitCount++
      this.#listeners.call()
    }
    this.#tellIdle()
  }

  /** Until it is known how the flush ended: a lost connection is opened again, and an open commit asked about. */
  async #commit(flush: Flush): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      let connection: PostgresConnection
      try {
        connection = await this.#writer.get()
      } catch (cause) {
        if (flush.committing !== null) throw new EclusaError(storageErrors.OUTCOME_UNKNOWN, { cause })
        throw cause
      }
      const deadline = this.#clock.setTimer(ANSWER_WITHIN_MS, () =>
        connection.destroy('PostgreSQL did not answer in time'),
      )
      try {
        if (flush.committing !== null && (await this.#hasCommitted(connection, flush.committing))) {
          flush.settleCommitted()
          return
        }
        return await flush.run(connection)
      } catch (error) {
        if (!(error instanceof ConnectionLost)) throw error
        if (attempt >= MAX_ATTEMPTS) {
          const kind = flush.committing === null ? storageErrors.UNREACHABLE : storageErrors.OUTCOME_UNKNOWN
          throw new EclusaError(kind, { cause: error })
        }
      } finally {
        deadline.cancel()
      }
    }
  }

  /**
   * Whether a commit that was sent on a lost connection took place.
   * @throws STORAGE_OUTCOME_UNKNOWN, ConnectionLost
   */
  async #hasCommitted(
    connection: PostgresConnection,
    { xid, processId }: { readonly xid: string; readonly processId: number },
  ): Promise<boolean> {
    for (let waitedMs = 0; waitedMs < OUTCOME_PATIENCE_MS; waitedMs += OUTCOME_POLL_MS) {
      const { results, refusal } = await connection.pipeline([
        { sql: 'select pg_xact_status(?::xid8) as status', params: [xid] },
      ])
      // A number that this server has not given out yet: it is a copy that never saw the transaction.
      if (refusal !== null) return false
      const status = results[0]?.rows[0]?.['status'] ?? null
      if (status === 'committed') return true
      if (status === 'aborted') return false
      if (status === null) break
      // The server has not noticed that we are gone; nobody reads its answer any more.
      await connection.pipeline([{ sql: 'select pg_terminate_backend(?::int)', params: [processId] }])
      await sleep(this.#clock, OUTCOME_POLL_MS)
    }
    throw new EclusaError(storageErrors.OUTCOME_UNKNOWN)
  }

  #startReads(): void {
    while (this.#reads.length > 0) {
      const line = this.#idleReaders.pop()
      if (line === undefined) return
      const reads = this.#reads.splice(0, MAX_READS_PER_TRIP)
      this.#underWayCount += reads.length
      void this.#readTogether(line, reads)
    }
  }

  /** Never rejects. */
  async #readTogether(line: PostgresLine, reads: readonly Read[]): Promise<void> {
    let again: readonly Read[] = []
    try {
      again = await this.#answerReads(await line.get(), reads)
    } catch (error) {
      // They change nothing, so what a lost connection left open is asked again.
      if (error instanceof ConnectionLost) again = reads
      else for (const read of reads) this.#settleRead(() => read.reject(ourError(error)))
    }
    this.#underWayCount -= reads.length
    this.#reads.unshift(...again)
    this.#idleReaders.push(line)
    this.#startReads()
    this.#tellIdle()
  }

  /** Answers reads from the first on; gives back those that another's failure kept from running. */
  async #answerReads(connection: PostgresConnection, reads: readonly Read[]): Promise<readonly Read[]> {
    const runnable: Read[] = []
    for (const read of reads) {
      try {
        await connection.prepare(read.statement.sql)
        runnable.push(read)
      } catch (error) {
        if (!(error instanceof StatementRefused)) throw error
        this.#settleRead(() => read.reject(errorOfRefusal(error.refusal)))
      }
    }
    if (runnable.length === 0) return []
    const deadline = this.#clock.setTimer(ANSWER_WITHIN_MS, () =>
      connection.destroy('PostgreSQL did not answer in time'),
    )
    try {
      const { results, refusal } = await connection.pipeline(runnable.map(({ statement }) => statement))
      for (const [index, { rows }] of results.entries())
        this.#settleRead(() => runnable[index]!.resolve(rows))
      if (refusal === null) return []
      this.#settleRead(() => runnable[results.length]!.reject(errorOfRefusal(refusal)))
      return runnable.slice(results.length + 1)
    } finally {
      deadline.cancel()
    }
  }

  #settleRead(settle: () => void): void {
    this.#stats.readCount++
    settle()
  }

  #isIdle(): boolean {
    return (
      !this.#flushing &&
      this.#waiting.length === 0 &&
      this.#behindFlush.length === 0 &&
      this.#reads.length === 0 &&
      this.#underWayCount === 0
    )
  }

  #tellIdle(): void {
    if (this.#isIdle()) this.#onIdle?.()
  }
}

function isSqlValue(value: unknown): boolean {
  return (
    typeof value === 'string' || typeof value === 'number' || value === null || value instanceof Uint8Array
  )
}

function badParameter(value: unknown): EclusaError {
  return new EclusaError(storageErrors.STATEMENT_FAILED, {
    cause: new TypeError(`a parameter is a ${typeof value}`),
  })
}

function ourError(error: unknown): EclusaError {
  if (error instanceof EclusaError) return error
  if (error instanceof StatementRefused) return errorOfRefusal(error.refusal)
  return new EclusaError(storageErrors.BROKEN, { cause: error })
}

async function openAtBoot(
  open: () => Promise<PostgresConnection>,
  clock: Clock,
  log: Logger,
): Promise<PostgresConnection> {
  const since = clock.now()
  for (let first = true; ; first = false) {
    try {
      return await open()
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
      const isStarting = code === 'ECONNREFUSED' || code === '57P03'
      if (!isStarting || clock.now() - since >= BOOT_PATIENCE_MS) {
        const why = cause instanceof Error ? cause.message || code : String(cause)
        throw new EclusaError(storageErrors.UNREACHABLE, {
          message: `PostgreSQL cannot be used: ${why}; check ECLUSA_DATABASE_URL`,
          cause,
        })
      }
      if (first) log.info({}, 'waiting for PostgreSQL')
    }
    await sleep(clock, BOOT_RETRY_MS)
  }
}

async function checkServer(connection: PostgresConnection, log: Logger): Promise<void> {
  const [server] = await connection.script(
    `select current_setting('server_version_num')::int as version, current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes`,
  )
  if (Number(server?.['version']) < OLDEST_SERVER) {
    throw new EclusaError(storageErrors.POSTGRES_TOO_OLD, { details: { version: server?.['version'] } })
  }
  for (const setting of ['fsync', 'full_page_writes']) {
    if (server?.[setting] !== 'off') continue
    log.warn({ setting }, 'this PostgreSQL loses acknowledged messages at a power cut; turn the setting on')
  }
}

/** Two processes that start at the same time go one after the other. */
async function migrate(connection: PostgresConnection, known: readonly Migration[]): Promise<void> {
  const own = known.map(({ name, sql, postgres }) => ({ name, sql: postgres ?? sql }))
  const lock = `select pg_advisory_xact_lock(hashtext('eclusa migrations ' || current_schema()))`
  await connection.script(
    `begin; ${lock}; create table if not exists "Migration" (name text primary key, checksum text not null,
       applied_at timestamptz not null default now()); commit`,
  )
  for (;;) {
    // A large table may take its time.
    await connection.script(`begin; set local statement_timeout = 0; ${lock}`)
    let current = ''
    try {
      const applied = await connection.script('select name, checksum from "Migration"')
      const [next] = planMigrations(own, applied as unknown as AppliedMigration[])
      if (next === undefined) {
        await connection.script('commit')
        return
      }
      current = next.name
      await connection.script(next.sql)
      await connection.pipeline([
        { sql: 'insert into "Migration" (name, checksum) values (?, ?)', params: [next.name, next.checksum] },
      ])
      await connection.script('commit')
    } catch (error) {
      if (!connection.isLost) await connection.script('rollback')
      if (!(error instanceof StatementRefused)) throw error
      throw new EclusaError(storageErrors.MIGRATION_REFUSED, {
        message: `Migration ${current} failed and was undone: ${error.message}`,
        details: { migration: current },
      })
    }
  }
}
