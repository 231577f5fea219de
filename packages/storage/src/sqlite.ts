import { Worker } from 'node:worker_threads'
import { EclusaError, type ErrorKind, type Logger, MIB } from '@eclusa/kernel'
import type { DatabaseStats, OpenedDatabase, Row, SqlValue, Statement, StatementResult } from './database.ts'
import { storageErrors } from './errors.ts'
import {
  bytesOf,
  CommitListeners,
  countForFlush,
  EMPTY_FLUSH,
  type FlushSize,
  sizeOf,
} from './group-commit.ts'
import type { Migration } from './migrate.ts'
import { noNeighbours } from './neighbours.ts'
import { soleOwnership } from './ownership.ts'
import { MAX_TEXTS, TextNumbers } from './packed.ts'
import {
  isFailure,
  type Failure,
  type FailureKind,
  type OpenOptions,
  type Reply,
  type Request,
  type WireRows,
} from './protocol.ts'
import { storageMigrations } from './storage-migrations.ts'

/** Idle it holds 5 MB; reads are bounded by their callers to a few MB at once. */
const DEFAULT_THREAD_BYTES = 64 * MIB
/** SQLite's own default is 2 MB; reads of a database of many GB gain up to here. */
export const DEFAULT_PAGE_CACHE_BYTES: number = 64 * MIB

export interface SqliteOptions {
  /** Made when it does not exist; its folder must. */
  readonly file: string
  /** In the order to apply them; storage's own come first by themselves. */
  readonly migrations: readonly Migration[]
  readonly log: Logger
  /** The file grows no further than this; then writes get STORAGE_FULL. Default: as far as the disk goes. */
  readonly maxBytes?: number
  /** Most memory for pages of the file. Default 64 MiB. */
  readonly pageCacheBytes?: number
  /** Most heap of the database's thread; it holds only what is being read and written. Default 64 MiB. */
  readonly maxThreadBytes?: number
}

/**
 * Opens (and if needed makes) the SQLite database in a thread of its own and takes its lock until `stop` or the end
 * of the process.
 * @throws STORAGE_IN_USE, STORAGE_MIGRATION_REFUSED, STORAGE_SQLITE_TOO_OLD, STORAGE_FULL, STORAGE_BROKEN
 */
export async function openSqlite(options: SqliteOptions): Promise<OpenedDatabase> {
  const workerData: OpenOptions = {
    file: options.file,
    migrations: [...storageMigrations, ...options.migrations],
    maxBytes: options.maxBytes ?? null,
    pageCacheBytes: options.pageCacheBytes ?? DEFAULT_PAGE_CACHE_BYTES,
  }
  const thread = new Worker(new URL('./sqlite-thread.ts', import.meta.url), {
    workerData,
    name: 'storage',
    // Not the parent's flags: a test runner's or a debugger's would follow us here.
    execArgv: [],
    resourceLimits: {
      maxOldGenerationSizeMb: Math.ceil((options.maxThreadBytes ?? DEFAULT_THREAD_BYTES) / MIB),
      maxYoungGenerationSizeMb: 6,
    },
  })
  const first = await firstReply(thread)
  if (first.kind === 'refused') {
    await ended(thread)
    throw errorOf(first.failure)
  }
  return new SqliteDatabase(thread, options.log)
}

interface Unit {
  readonly kind: 'unit'
  readonly statements: readonly Statement[]
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

interface Batch {
  readonly units: readonly Unit[]
  readonly reads: readonly Read[]
}

/** As many units make a part: the thread runs them while the callers of this turn still prepare the next. */
const PART_UNITS = 32

/**
 * Group commit: units gather while a flush is under way and go together when it ends, so a lone write waits for one
 * fsync and a burst shares one. A burst goes over in parts, and the commit after the last: both sides work at once.
 * No timer delays anything. Reads go at once unless writes before them still wait.
 */
export class SqliteDatabase implements OpenedDatabase {
  readonly dialect = 'sqlite'
  readonly ownership = soleOwnership
  readonly neighbours = noNeighbours
  readonly #thread: Worker
  readonly #log: Logger
  // bounded by: callers awaiting their answer
  #waiting: (Unit | Read)[] = []
  #waitingUnitCount = 0
  // bounded by: callers awaiting their answer
  #earlyReads: Read[] = []
  // Units the thread has, whose commit was not sent yet. bounded by: MAX_FLUSH_STATEMENTS, MAX_FLUSH_BYTES
  #open: Unit[] = []
  #openSize: FlushSize = EMPTY_FLUSH
  // Batches the thread has, oldest first; at most one with units. bounded by: callers awaiting their answer
  readonly #underWay: Batch[] = []
  #flushing = false
  readonly #texts = new TextNumbers()
  // Of the texts the thread told of. bounded by: 2 × MAX_TEXTS after each answer, oldest out
  readonly #columns = new Map<number, readonly string[]>()
  #turnScheduled = false
  readonly #listeners: CommitListeners
  #broken: EclusaError | null = null
  #stopping: Promise<void> | null = null
  #onIdle: (() => void) | null = null
  readonly #stats = { commitCount: 0, unitCount: 0, statementCount: 0, failedUnitCount: 0, readCount: 0 }

  constructor(thread: Worker, log: Logger) {
    this.#thread = thread
    this.#log = log
    this.#listeners = new CommitListeners(log)
    thread.on('message', (reply: Reply) => this.#onReply(reply))
    thread.on('error', (error) => this.#break(error))
    thread.on('exit', (code) => {
      if (this.#stopping === null) this.#break(new Error(`the database thread ended with code ${code}`))
      // A crash on the way down must not leave anyone waiting.
      else if (!this.#isIdle())
        this.#break(new Error(`the database thread ended with code ${code} while stopping`))
    })
  }

  write(statements: readonly Statement[]): Promise<readonly StatementResult[]> {
    const refusal = this.#refusal()
    if (refusal !== null) return Promise.reject(refusal)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ kind: 'unit', statements, bytes: bytesOf(statements), resolve, reject })
      this.#waitingUnitCount++
      if (this.#waitingUnitCount >= PART_UNITS) this.#postPart()
      this.#schedule()
    })
  }

  read(sql: string, params: readonly SqlValue[]): Promise<readonly Row[]> {
    const refusal = this.#refusal()
    if (refusal !== null) return Promise.reject(refusal)
    return new Promise((resolve, reject) => {
      const read: Read = { kind: 'read', statement: { sql, params }, resolve, reject }
      if (this.#waitingUnitCount > 0) this.#waiting.push(read)
      else this.#earlyReads.push(read)
      this.#schedule()
    })
  }

  onCommit(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  stats(): DatabaseStats {
    let waitingCount = this.#waiting.length + this.#earlyReads.length + this.#open.length
    for (const batch of this.#underWay) waitingCount += batch.units.length + batch.reads.length
    return { ...this.#stats, waitingCount }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#finish()
    return this.#stopping
  }

  async #finish(): Promise<void> {
    if (this.#broken === null && !this.#isIdle()) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    this.#listeners.clear()
    if (this.#broken === null) {
      const end = ended(this.#thread)
      this.#send({ kind: 'stop' })
      await end
    }
    await this.#thread.terminate()
  }

  /** Once per turn of the event loop, after its I/O: all requests that came in this turn share one message. */
  #schedule(): void {
    if (this.#turnScheduled) return
    this.#turnScheduled = true
    setImmediate(() => {
      this.#turnScheduled = false
      this.#post()
    })
  }

  /**
   * A part of the next flush, without its commit, also while the one before is under way: the thread goes from a commit
   * straight to what is next. Reads wait for the commit.
   */
  #postPart(): void {
    if (this.#broken !== null || countForFlush(this.#waiting, this.#openSize) === 0) return
    const units: Unit[] = []
    this.#take(units, this.#earlyReads)
    if (units.length === 0) return
    try {
      this.#send({ kind: 'part', units: this.#texts.pack(units.map(({ statements }) => statements)) })
    } catch (cause) {
      this.#refuse(units, cause)
      return
    }
    this.#open.push(...units)
  }

  #post(): void {
    if (this.#broken !== null) return
    // One commit at a time. Parts behind it would be seen by reads, so these wait for their commit.
    if (this.#flushing && this.#open.length > 0) return
    const last: Unit[] = []
    const reads = this.#earlyReads
    this.#earlyReads = []
    if (!this.#flushing) this.#take(last, reads)
    if (last.length === 0 && this.#open.length === 0 && reads.length === 0) return
    try {
      const packed = this.#texts.pack([
        ...last.map(({ statements }) => statements),
        ...reads.map(({ statement }) => [statement]),
      ])
      this.#send({ kind: 'commit', units: packed, readCount: reads.length })
    } catch (cause) {
      this.#refuse([...last, ...reads], cause)
      // What the thread has already still wants its commit.
      if (this.#waiting.length > 0 || this.#open.length > 0) this.#schedule()
      else if (this.#isIdle()) this.#onIdle?.()
      return
    }
    const units = [...this.#open, ...last]
    this.#open = []
    this.#openSize = EMPTY_FLUSH
    this.#flushing ||= units.length > 0
    this.#underWay.push({ units, reads })
  }

  /** A parameter that is no SqlValue cannot be copied to the thread: the types forbid it, a cast may not. */
  #refuse(calls: readonly (Unit | Read)[], cause: unknown): void {
    this.#texts.forget()
    const error = new EclusaError(storageErrors.STATEMENT_FAILED, { cause })
    for (const one of calls) one.reject(error)
  }

  #send(request: Request): void {
    const hasBlobs = request.kind !== 'stop' && request.units.blobBytes.byteLength > 0
    const transfer = hasBlobs ? [request.units.blobBytes.buffer] : []
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#thread.postMessage(request, transfer)
  }

  /** Moves what fits in one flush, and the reads between, from the front of what waits. */
  #take(units: Unit[], reads: Read[]): void {
    const count = countForFlush(this.#waiting, this.#openSize)
    for (const next of count === this.#waiting.length ? this.#waiting : this.#waiting.slice(0, count)) {
      if (next.kind === 'unit') units.push(next)
      else reads.push(next)
    }
    this.#waiting = count === this.#waiting.length ? [] : this.#waiting.slice(count)
    this.#waitingUnitCount -= units.length
    this.#openSize = sizeOf(units, this.#openSize)
  }

  #onReply(reply: Reply): void {
    if (reply.kind !== 'done') return
    const batch = this.#underWay.shift()
    if (batch === undefined) return
    if (batch.units.length > 0) this.#flushing = false
    // The next flush first: the disk works while the answers are handled. Waiting a turn for what they set off made
    // larger groups and fewer messages per second (251 against 276, paired runs, 2 cores, 2026-11).
    if (this.#waiting.length > 0 || this.#open.length > 0) this.#post()
    this.#answer(batch, reply)
    if (reply.committed) {
      this.#stats.commitCount++
      this.#listeners.call()
    }
    if (this.#isIdle()) this.#onIdle?.()
  }

  #answer(batch: Batch, reply: Extract<Reply, { kind: 'done' }>): void {
    const { changes, rows, failed } = reply
    for (const { text, names } of reply.columns) this.#columns.set(text, names)
    let at = 0
    let nextRows = 0
    let nextFailed = 0
    for (const [index, unit] of batch.units.entries()) {
      if (failed[nextFailed]?.unit === index) {
        this.#stats.failedUnitCount++
        unit.reject(this.#errorOf(failed[nextFailed++]!.failure))
        continue
      }
      const results: StatementResult[] = []
      for (let left = unit.statements.length; left > 0; left--, at++) {
        const count = changes[at]!
        const own = rows[nextRows]?.at === at ? rows[nextRows++]! : null
        results.push(own === null ? plainResult(count) : { rows: this.#rowsOf(own), changes: count })
      }
      this.#stats.unitCount++
      this.#stats.statementCount += results.length
      unit.resolve(results)
    }
    for (const [index, read] of batch.reads.entries()) {
      const result = reply.reads[index]!
      this.#stats.readCount++
      if (isFailure(result)) read.reject(this.#errorOf(result))
      else read.resolve(this.#rowsOf(result))
    }
    this.#forgetOldColumns()
  }

  #forgetOldColumns(): void {
    for (const oldest of this.#columns.keys()) {
      if (this.#columns.size <= 2 * MAX_TEXTS) return
      this.#columns.delete(oldest)
    }
  }

  #rowsOf({ text, values }: WireRows): readonly Row[] {
    const names = this.#columns.get(text)!
    const rows: Row[] = []
    for (let at = 0; at < values.length; at += names.length) {
      const row: Record<string, SqlValue> = {}
      for (let column = 0; column < names.length; column++) row[names[column]!] = values[at + column]!
      rows.push(row)
    }
    return rows
  }

  #isIdle(): boolean {
    const isWaiting = this.#waiting.length > 0 || this.#earlyReads.length > 0
    return !isWaiting && this.#open.length === 0 && this.#underWay.length === 0
  }

  #refusal(): EclusaError | null {
    if (this.#broken !== null) return this.#broken
    return this.#stopping === null ? null : new EclusaError(storageErrors.STOPPED)
  }

  #errorOf(failure: Failure): EclusaError {
    const error = errorOf(failure)
    if (failure.failure === 'broken' && this.#broken === null) this.#break(error)
    return error
  }

  /** Nothing works from here on: everyone who waits, and everyone who comes, hears it. Logged once. */
  #break(cause: unknown): void {
    if (this.#broken !== null) return
    this.#broken =
      cause instanceof EclusaError
        ? cause
        : new EclusaError(storageErrors.BROKEN, cause === null ? {} : { cause })
    if (cause !== null) {
      this.#log.error({ err: cause, code: this.#broken.code }, storageErrors.BROKEN.message)
    }
    const sent = [...this.#underWay.flatMap(({ units, reads }) => [...units, ...reads]), ...this.#open]
    for (const one of [...sent, ...this.#earlyReads, ...this.#waiting]) one.reject(this.#broken)
    this.#underWay.length = 0
    this.#open = []
    this.#earlyReads = []
    this.#waiting = []
    this.#waitingUnitCount = 0
    this.#onIdle?.()
  }
}

const NO_ROWS: readonly Row[] = Object.freeze([])
/** Nearly every statement changes none or one row, and returns none. */
const PLAIN_RESULTS = [0, 1].map((changes): StatementResult => Object.freeze({ rows: NO_ROWS, changes }))

function plainResult(changes: number): StatementResult {
  return PLAIN_RESULTS[changes] ?? { rows: NO_ROWS, changes }
}

function errorOf({ failure, message, details }: Failure): EclusaError {
  const cause = new Error(message)
  const kind = errorKinds[failure]
  if (failure === 'migration') {
    return new EclusaError(kind, { message, ...(details === undefined ? {} : { details }) })
  }
  return new EclusaError(kind, { cause, ...(details === undefined ? {} : { details }) })
}

const errorKinds: Readonly<Record<FailureKind, ErrorKind>> = {
  'in-use': storageErrors.IN_USE,
  full: storageErrors.FULL,
  conflict: storageErrors.CONFLICT,
  statement: storageErrors.STATEMENT_FAILED,
  broken: storageErrors.BROKEN,
  migration: storageErrors.MIGRATION_REFUSED,
  'too-old': storageErrors.SQLITE_TOO_OLD,
}

function firstReply(thread: Worker): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const forget = (): void => {
      thread.off('message', onMessage)
      thread.off('error', onError)
      thread.off('exit', onExit)
    }
    const onMessage = (reply: Reply): void => {
      forget()
      resolve(reply)
    }
    const onError = (cause: unknown): void => {
      forget()
      reject(new EclusaError(storageErrors.BROKEN, { cause }))
    }
    const onExit = (): void => onError(new Error('the database thread ended while opening'))
    thread.on('message', onMessage)
    thread.on('error', onError)
    thread.on('exit', onExit)
  })
}

function ended(thread: Worker): Promise<void> {
  return new Promise((resolve) => {
    if (thread.threadId === -1) resolve()
    else thread.once('exit', () => resolve())
  })
}
