import type { InstanceId } from '@eclusa/kernel'
import type { Neighbours } from './neighbours.ts'
import type { Ownership } from './ownership.ts'

/** What a column holds. Integers stay within 2^53; blobs arrive as Uint8Array. */
export type SqlValue = string | number | Uint8Array | null

export type Row = Readonly<Record<string, SqlValue>>

/**
 * One SQL statement with positional `?` parameters, in the SQL both dialects understand; where they differ, the store
 * chooses by `Database.dialect`. A text is prepared once per connection, so hot texts must not be made up per call.
 */
export interface Statement {
  readonly sql: string
  readonly params: readonly SqlValue[]
  /** When given, the unit is rolled back with STORAGE_CONFLICT unless exactly this many rows changed. */
  readonly mustChange?: number
}

export interface StatementResult {
  /** Rows of SELECT or RETURNING, else empty. */
  readonly rows: readonly Row[]
  /** Rows inserted, updated or deleted; 0 for SELECT. */
  readonly changes: number
}

export interface WriteOptions {
  /**
   * The instance whose rows these are. When the database was opened for a node, the unit commits only if this process
   * owned the instance when it called and still does: its lease row is checked, and held until the commit, in the same
   * transaction. Else STORAGE_NOT_OWNER.
   */
  readonly instance?: InstanceId
  /**
   * A name for the rows the unit reads and changes, when it touches no others and no unit with another name touches
   * them: a chat of an instance, the keys of an instance. Units with different names may then be run side by side, the
   * same statement of many as one. Adding to the event log does not count. Default: the unit may touch anything, and
   * runs strictly between the one called before it and the one called after it.
   */
  readonly rows?: string
}

/** Counters since the database was opened, and what waits now. */
export interface DatabaseStats {
  /** Commits that reached the disk. */
  readonly commitCount: number
  /** Units (calls of `write`) that became durable. */
  readonly unitCount: number
  readonly statementCount: number
  readonly failedUnitCount: number
  readonly readCount: number
  /** Calls of `write` and `read` without an answer yet. */
  readonly waitingCount: number
}

/**
 * The one way to SQL. Calls take effect in the order they are made. Memory of what waits is bounded by the callers
 * that wait: back-pressure is latency, never a refusal.
 */
export interface Database {
  readonly dialect: 'sqlite' | 'postgres'

  /**
   * All statements of one call are one atomic unit, durable on disk when it resolves. Concurrent calls share one
   * commit. A unit that fails rejects alone; the others of its commit are kept. Every rejection but
   * STORAGE_OUTCOME_UNKNOWN means that nothing of the unit is stored.
   * @throws STORAGE_CONFLICT (a constraint, or `mustChange`), STORAGE_FULL, STORAGE_STATEMENT_FAILED,
   * STORAGE_BROKEN, STORAGE_STOPPED; with PostgreSQL also STORAGE_NOT_OWNER, STORAGE_BUSY, STORAGE_UNREACHABLE,
   * STORAGE_OUTCOME_UNKNOWN
   */
  write(statements: readonly Statement[], options?: WriteOptions): Promise<readonly StatementResult[]>

  /**
   * Runs after everything written before it, and sees only committed state. It may see writes called shortly after
   * it. Keep it short: other reads wait behind it.
   */
  read(sql: string, params: readonly SqlValue[]): Promise<readonly Row[]>

  /** Calls `listener` after each durable commit; returns its remover. */
  onCommit(listener: () => void): () => void

  stats(): DatabaseStats

  /** Finishes what waits, then lets the file and its lock go. Idempotent. */
  stop(): Promise<void>
}

/** A database as it was opened: whoever opens it also decides what this process owns. */
export interface OpenedDatabase extends Database {
  readonly ownership: Ownership
  readonly neighbours: Neighbours
}
