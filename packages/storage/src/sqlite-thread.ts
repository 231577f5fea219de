import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { EclusaError } from '@eclusa/kernel'
import type { Row, Statement } from './database.ts'
import { storageErrors } from './errors.ts'
import { makePrivate, takeLock } from './file-lock.ts'
import { planMigrations, type AppliedMigration, type Migration } from './migrate.ts'
import {
  isFailure,
  type Failure,
  type OpenOptions,
  type ReadRequest,
  type Reply,
  type Request,
  type WireResult,
} from './protocol.ts'

/*
 * The thread that owns the only connection. On a 5 ms disk a commit on the main thread stops it for 5.8 ms at the
 * median, from here for 1.1 ms, which is the probe's own floor (Node 24.21, 2 cores, 2026-11).
 */

/** Below it two connections can corrupt the log (WAL-reset bug); one connection avoids it, a monitoring shell would not. */
const OLDEST_SQLITE = [3, 51, 3] as const
/** Statements kept prepared. Everything hot in Eclusa is about 60 texts. */
const MAX_PREPARED = 256

/** SQLite's primary result codes (the low byte of `errcode`). */
const SQLITE_BUSY = 5
const SQLITE_IOERR = 10
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const SQLITE_CONSTRAINT = 19
const SQLITE_NOTADB = 26

interface Prepared {
  readonly statement: StatementSync
  readonly returnsRows: boolean
  /** A SELECT changes nothing; rows of INSERT … RETURNING count as changes. */
  readonly changesRows: boolean
}

class Connection {
  readonly #database: DatabaseSync
  readonly #lock: DatabaseSync
  // bounded by: MAX_PREPARED, least recently used out
  readonly #prepared = new Map<string, Prepared>()
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

  /** All writes of the batch in one commit, then its reads, which so see all that was written before them. */
  run(units: readonly (readonly Statement[])[], reads: readonly ReadRequest[]): Reply {
    const results = units.length === 0 ? [] : this.#flush(units)
    return {
      kind: 'done',
      committed: results.some((result) => !isFailure(result)),
      units: results,
      reads: reads.map((request) => this.#read(request)),
    }
  }

  close(): void {
    this.#prepared.clear()
    if (this.#database.isOpen) this.#database.close()
    if (this.#lock.isOpen) this.#lock.close()
  }

  #flush(units: readonly (readonly Statement[])[]): readonly (readonly WireResult[] | Failure)[] {
    if (this.#broken !== null) return units.map(() => this.#broken!)
    const results: (readonly WireResult[] | Failure)[] = []
    try {
      this.#database.exec('begin immediate')
      for (const unit of units) {
        results.push(this.#unit(unit))
        if (!this.#database.isTransaction) {
          // SQLite rolled the whole transaction back (out of space or memory): the units before this one are undone
          // too. Each gets its own commit, so that only those that cannot be stored fail.
          return units.length === 1 ? results : units.flatMap((single) => this.#flush([single]))
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

  #unit(statements: readonly Statement[]): readonly WireResult[] | Failure {
    const [first] = statements
    // One statement is atomic by itself.
    const needsSavepoint = statements.length > 1 || first?.mustChange !== undefined
    try {
      if (needsSavepoint) this.#execute('savepoint unit', [])
      const results = statements.map((statement, index) => {
        const result = this.#execute(statement.sql, statement.params)
        const changes = typeof result === 'number' ? result : result.changes
        if (statement.mustChange !== undefined && changes !== statement.mustChange) {
          throw new MustChange(index, changes, statement.mustChange)
        }
        return result
      })
      if (needsSavepoint) this.#execute('release unit', [])
      return results
    } catch (error) {
      const failure = this.#failureOf(error)
      if (needsSavepoint && this.#database.isTransaction) {
        this.#execute('rollback to unit', [])
        this.#execute('release unit', [])
      }
      return failure
    }
  }

  #read({ sql, params }: ReadRequest): readonly Row[] | Failure {
    if (this.#broken !== null) return this.#broken
    try {
      return this.#prepare(sql).statement.all(...params) as unknown as readonly Row[]
    } catch (error) {
      return this.#failureOf(error)
    }
  }

  #execute(sql: string, params: Statement['params']): WireResult {
    const { statement, returnsRows, changesRows } = this.#prepare(sql)
    if (!returnsRows) return Number(statement.run(...params).changes)
    const rows = statement.all(...params) as unknown as readonly Row[]
    return { rows, changes: changesRows ? rows.length : 0 }
  }

  #prepare(sql: string): Prepared {
    let prepared = this.#prepared.get(sql)
    if (prepared === undefined) {
      const statement = this.#database.prepare(sql)
      prepared = {
        statement,
        returnsRows: statement.columns().length > 0,
        changesRows: /\breturning\b/i.test(sql),
      }
      if (this.#prepared.size >= MAX_PREPARED) {
        for (const oldest of this.#prepared.keys()) {
          this.#prepared.delete(oldest)
          break
        }
      }
    } else {
      this.#prepared.delete(sql)
    }
    this.#prepared.set(sql, prepared)
    return prepared
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
      case 'batch':
        return reply(connection.run(request.units, request.reads))
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
