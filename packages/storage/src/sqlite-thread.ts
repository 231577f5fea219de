import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { EclusaError } from '@eclusa/kernel'
import type { SqlValue } from './database.ts'
import { storageErrors } from './errors.ts'
import { makePrivate, takeLock } from './file-lock.ts'
import { planMigrations, type AppliedMigration, type Migration } from './migrate.ts'
import { KnownTexts, type PackedStatements, type Text, type UnpackedStatement } from './packed.ts'
import {
  isFailure,
  type Failure,
  type OpenOptions,
  type Reply,
  type Request,
  type WireColumns,
  type WireRows,
} from './protocol.ts'

/*
 * The thread that owns the only connection. On a 5 ms disk a commit on the main thread stops it for 5.8 ms at the
 * median, from here for 1.1 ms, which is the probe's own floor (Node 24.21, 2 cores, 2026-11).
 */

/** Below it two connections can corrupt the log (WAL-reset bug); one connection avoids it, a monitoring shell would not. */
const OLDEST_SQLITE = [3, 51, 3] as const
/** SQLite's primary result codes (the low byte of `errcode`). */
const SQLITE_BUSY = 5
const SQLITE_IOERR = 10
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const SQLITE_CONSTRAINT = 19
const SQLITE_NOTADB = 26

/** A text, and its statement once it has run. */
interface KnownText extends Text {
  statement: StatementSync | null
  /** Empty when it returns no rows. */
  columns: readonly string[]
  /** A SELECT changes nothing; rows of INSERT … RETURNING count as changes. */
  changesRows: boolean
  /** The other side knows the columns. */
  isTold: boolean
}

type OneStatement = UnpackedStatement<KnownText>
type Unit = readonly OneStatement[]

/** What the statements of a unit gave. */
interface Results {
  readonly changes: readonly number[]
  readonly rows: readonly { readonly text: KnownText; readonly at: number; readonly values: SqlValue[] }[]
}

class Connection {
  readonly #database: DatabaseSync
  readonly #lock: DatabaseSync
  readonly #texts = new KnownTexts<KnownText>((text) => ({
    ...text,
    statement: null,
    columns: [],
    changesRows: false,
    isTold: false,
  }))
  // Units of the flush whose commit has not come yet. bounded by: MAX_FLUSH_STATEMENTS, MAX_FLUSH_BYTES
  #units: Unit[] = []
  // What they gave, as long as all went well. bounded by: #units
  #results: Results[] = []
  #isFailing = false
  #broken: Failure | null = null

  constructor(options: OpenOptions) {
    refuseOldSqlite()
    this.#lock = takeLock(`${options.file}.lock`)
    try {
      makePrivate(options.file)
      this.#database = new DatabaseSync(options.file, { timeout: 5000 })
    } catch (error) {
      this.#lock.close()
      throw error
    }
    try {
      this.#setPragmas(options)
      this.#migrate(options.migrations)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Runs a part of a flush. */
  add(packed: PackedStatements): void {
    this.#run(this.#texts.unpack(packed))
  }

  /** All writes of the flush in one commit, then reads, which so see all that was written before them. */
  commit(packed: PackedStatements, readCount: number): Reply {
    const last = this.#texts.unpack(packed)
    this.#run(last.slice(0, last.length - readCount))
    const results = this.#units.length === 0 ? [] : this.#end()
    this.#units = []
    this.#results = []
    this.#isFailing = false
    const changes: number[] = []
    const rows: WireRows[] = []
    const failed: { unit: number; failure: Failure }[] = []
    const columns: WireColumns[] = []
    for (const [unit, result] of results.entries()) {
      if (isFailure(result)) {
        failed.push({ unit, failure: result })
        continue
      }
      for (const { text, at, values } of result.rows) {
        tellColumns(text, columns)
        rows.push({ at: changes.length + at, text: text.number, values })
      }
      for (const count of result.changes) changes.push(count)
    }
    const reads = last.slice(last.length - readCount).map(([read]) => this.#read(read!, columns))
    const committed = failed.length < results.length
    return { kind: 'done', committed, changes, rows, failed, reads, columns }
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close()
    if (this.#lock.isOpen) this.#lock.close()
  }

  /** Without savepoints: nearly always all goes well. When something does not, `#end` runs all of them again. */
  #run(units: readonly Unit[]): void {
    if (units.length === 0) return
    const isFirst = this.#units.length === 0
    this.#units.push(...units)
    if (this.#broken !== null || this.#isFailing) return
    try {
      if (isFirst) this.#database.exec('begin immediate')
      for (const unit of units) this.#results.push(this.#unit(unit))
    } catch (error) {
      // Notes whether it is the end of this connection.
      this.#failureOf(error)
      this.#isFailing = true
    }
  }

  #end(): readonly (Results | Failure)[] {
    const units = this.#units
    if (this.#broken === null && !this.#isFailing) {
      try {
        this.#database.exec('commit')
        return this.#results
      } catch (error) {
        this.#failureOf(error)
      }
    }
    this.#rollBack()
    return this.#flushApart(units)
  }

  /** The flush with a savepoint for each unit, so that only those fail that cannot be stored. */
  #flushApart(units: readonly Unit[]): readonly (Results | Failure)[] {
    if (this.#broken !== null) return units.map(() => this.#broken!)
    const results: (Results | Failure)[] = []
    try {
      this.#database.exec('begin immediate')
      for (const unit of units) {
        results.push(this.#unitApart(unit))
        if (!this.#database.isTransaction) {
          // SQLite rolled the whole transaction back (out of space or memory): the units before this one are undone
          // too. Each gets its own commit, so that only those that cannot be stored fail.
          return units.length === 1 ? results : units.flatMap((single) => this.#flushApart([single]))
        }
      }
      this.#database.exec('commit')
      return results
    } catch (error) {
      const failure = this.#failureOf(error)
      this.#rollBack()
      return units.map((_, index) => {
        const own = results[index]
        return own !== undefined && isFailure(own) ? own : failure
      })
    }
  }

  #unitApart(unit: Unit): Results | Failure {
    try {
      this.#database.exec('savepoint unit')
      const results = this.#unit(unit)
      this.#database.exec('release unit')
      return results
    } catch (error) {
      const failure = this.#failureOf(error)
      if (this.#database.isTransaction) {
        this.#database.exec('rollback to unit')
        this.#database.exec('release unit')
      }
      return failure
    }
  }

  #unit(unit: Unit): Results {
    const changes: number[] = []
    let rows: Results['rows'] = NO_ROWS
    for (let at = 0; at < unit.length; at++) {
      const { text, params, mustChange } = unit[at]!
      const statement = text.statement ?? this.#prepare(text)
      let count: number
      if (text.columns.length === 0) count = Number(statement.run(...params).changes)
      else {
        const found = statement.all(...params) as unknown as SqlValue[][]
        count = text.changesRows ? found.length : 0
        if (found.length > 0) rows = [...rows, { text, at, values: valuesOf(found) }]
      }
      if (mustChange >= 0 && count !== mustChange) throw new MustChange(at, count, mustChange)
      changes.push(count)
    }
    return { changes, rows }
  }

  #read({ text, params }: OneStatement, columns: WireColumns[]): WireRows | Failure {
    if (this.#broken !== null) return this.#broken
    try {
      const statement = text.statement ?? this.#prepare(text)
      const values = valuesOf(statement.all(...params) as unknown as SqlValue[][])
      tellColumns(text, columns)
      return { at: 0, text: text.number, values }
    } catch (error) {
      return this.#failureOf(error)
    }
  }

  #prepare(text: KnownText): StatementSync {
    const statement = this.#database.prepare(text.sql)
    statement.setReturnArrays(true)
    text.statement = statement
    text.columns = statement.columns().map(({ name }) => name)
    text.changesRows = /\breturning\b/i.test(text.sql)
    return statement
  }

  #rollBack(): void {
    try {
      if (this.#database.isTransaction) this.#database.exec('rollback')
    } catch (error) {
      this.#broken = { failure: 'broken', message: messageOf(error) }
    }
  }

  #failureOf(error: unknown): Failure {
    if (error instanceof MustChange) {
      const { statement, changed, expected } = error
      return {
        failure: 'conflict',
        message: error.message,
        details: { reason: 'must-change', statement, changed, expected },
      }
    }
    const errcode = errcodeOf(error)
    const message = messageOf(error)
    switch (errcode & 0xff) {
      case SQLITE_FULL:
        return { failure: 'full', message }
      case SQLITE_CONSTRAINT:
        return { failure: 'conflict', message, details: { reason: 'constraint', errcode } }
      case SQLITE_IOERR:
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB:
        // After a failed fsync the page cache may claim what the disk does not have: only a restart reads the truth.
        this.#broken = { failure: 'broken', message, details: { errcode } }
        return this.#broken
      default:
        return { failure: 'statement', message, details: { errcode } }
    }
  }

  #setPragmas({ maxBytes, pageCacheBytes }: OpenOptions): void {
    const pragmas = [
      'journal_mode = wal',
      // NORMAL loses what was acknowledged at a power cut (14 of 20 cuts) and with group commit gains nothing.
      'synchronous = full',
      'wal_autocheckpoint = 4000',
      `journal_size_limit = ${64 * 1024 * 1024}`,
      // Negative: in KiB, whatever the size of a page.
      `cache_size = ${-Math.floor(pageCacheBytes / 1024)}`,
      'busy_timeout = 5000',
      'mmap_size = 0',
      // What is deleted is overwritten with zeros: numbers stand in rows openly, and keys that were destroyed must be
      // gone.
      'secure_delete = on',
      'foreign_keys = on',
    ]
    // macOS: fsync does not reach the platter without it.
    if (process.platform === 'darwin') pragmas.push('fullfsync = 1', 'checkpoint_fullfsync = 1')
    for (const pragma of pragmas) this.#database.exec(`pragma ${pragma}`)
    if (maxBytes !== null) {
      const pageSize = Number(this.#database.prepare('pragma page_size').get()?.['page_size'])
      this.#database.exec(`pragma max_page_count = ${Math.floor(maxBytes / pageSize)}`)
    }
  }

  #migrate(known: readonly Migration[]): void {
    this.#database.exec(
      'create table if not exists "Migration" (' +
        'name text primary key, checksum text not null, applied_at text not null default current_timestamp)',
    )
    const applied = this.#database
      .prepare('select name, checksum from "Migration"')
      .all() as unknown as AppliedMigration[]
    for (const migration of planMigrations(known, applied)) {
      try {
        this.#database.exec('begin immediate')
        this.#database.exec(migration.sql)
        this.#database
          .prepare('insert into "Migration" (name, checksum) values (?, ?)')
          .run(migration.name, migration.checksum)
        this.#database.exec('commit')
      } catch (error) {
        this.#rollBack()
        const code = errcodeOf(error) & 0xff
        if (code === SQLITE_FULL || code === SQLITE_IOERR) throw error
        throw new EclusaError(storageErrors.MIGRATION_REFUSED, {
          message: `Migration ${migration.name} failed and was undone: ${messageOf(error)}`,
          details: { migration: migration.name },
        })
      }
    }
  }
}

const NO_ROWS: Results['rows'] = Object.freeze([])

/** Not `flat()`: its array counts as one with holes, and is copied to the other thread key by key. */
function valuesOf(rows: readonly SqlValue[][]): SqlValue[] {
  const values: SqlValue[] = []
  for (const row of rows) values.push(...row)
  return values
}

function tellColumns(text: KnownText, columns: WireColumns[]): void {
  if (text.isTold) return
  text.isTold = true
  columns.push({ text: text.number, names: text.columns })
}

class MustChange extends Error {
  readonly statement: number
  readonly changed: number
  readonly expected: number

  constructor(statement: number, changed: number, expected: number) {
    super(`statement ${statement} changed ${changed} rows instead of ${expected}`)
    this.statement = statement
    this.changed = changed
    this.expected = expected
  }
}

function refuseOldSqlite(): void {
  const memory = new DatabaseSync(':memory:')
  const version = String(memory.prepare('select sqlite_version() as version').get()?.['version'])
  memory.close()
  const parts = version.split('.').map(Number)
  for (const [index, least] of OLDEST_SQLITE.entries()) {
    const part = parts[index] ?? 0
    if (part > least) return
    if (part < least) throw new TooOld(version)
  }
}

class TooOld extends Error {
  constructor(version: string) {
    super(`SQLite ${version} is older than ${OLDEST_SQLITE.join('.')}`)
  }
}

function errcodeOf(error: unknown): number {
  return error instanceof Error && 'errcode' in error ? Number(error.errcode) : 0
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function openingFailure(error: unknown): Failure {
  const message = messageOf(error)
  if (error instanceof TooOld) return { failure: 'too-old', message }
  if (error instanceof EclusaError) return { failure: 'migration', message, details: error.details }
  const errcode = errcodeOf(error)
  if ((errcode & 0xff) === SQLITE_BUSY) return { failure: 'in-use', message }
  if ((errcode & 0xff) === SQLITE_FULL) return { failure: 'full', message }
  return { failure: 'broken', message, details: { errcode } }
}

function main(): void {
  if (parentPort === null) throw new Error('sqlite-thread.ts runs only as a thread')
  const port = parentPort
  const reply = (message: Reply): void => port.postMessage(message)
  let connection: Connection
  try {
    connection = new Connection(workerData as OpenOptions)
  } catch (error) {
    reply({ kind: 'refused', failure: openingFailure(error) })
    port.close()
    return
  }
  port.on('message', (request: Request) => {
    switch (request.kind) {
      case 'part':
        return connection.add(request.units)
      case 'commit':
        return reply(connection.commit(request.units, request.readCount))
      case 'stop':
        connection.close()
        reply({ kind: 'stopped' })
        return port.close()
      default:
        request satisfies never
    }
  })
  reply({ kind: 'opened' })
}

main()
