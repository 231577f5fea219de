import { DatabaseSync } from 'node:sqlite'
import { type Clock, EclusaError, type Timer } from '@eclusa/kernel'
import {
  type Database,
  type Row,
  type SqlValue,
  type Statement,
  type StatementResult,
  storageErrors,
  storageMigrations,
} from '@eclusa/storage'
import { queueMigrations } from '../../src/index.ts'

/* A clock and a database without threads, disks or real time: what happens, and when, follows from a seed. */

/** Time that is driven, with a wall clock that may jump while timers run on. */
export class SimulatedTime {
  #nowMs = 0
  #wallOffset = Date.UTC(2026, 0, 5, 12)
  #order = 0
  // bounded by: the run
  readonly #timers = new Set<{ readonly at: number; readonly order: number; readonly run: () => void }>()

  /** Milliseconds since the beginning. */
  get elapsedMs(): number {
    return this.#nowMs
  }

  jump(ms: number): void {
    this.#wallOffset += ms
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#nowMs + Math.max(0, ms), order: this.#order++, run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  /** A clock whose timers stop with the process it belongs to. */
  clockOf(process: { readonly isDead: boolean }): Clock {
    return {
      now: () => this.#nowMs + this.#wallOffset,
      setTimer: (delayMs, run): Timer => {
        const cancel = this.after(delayMs, () => {
          if (!process.isDead) run()
        })
        return { cancel }
      },
    }
  }

  /** Runs what is due next, with all promises that follow from it; false when that is later than `untilMs`. */
  async step(untilMs: number): Promise<boolean> {
    let next: { readonly at: number; readonly order: number; readonly run: () => void } | undefined
    for (const timer of this.#timers) {
      if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order))
        next = timer
    }
    if (next === undefined || next.at > untilMs) {
      this.#nowMs = untilMs
      return false
    }
    this.#timers.delete(next)
    this.#nowMs = next.at
    next.run()
    await new Promise((resolve) => setImmediate(resolve))
    return true
  }
}

export interface StoreFaults {
  /** How long this commit takes, ms. */
  readonly latencyMs: () => number
  /** How this commit ends. */
  readonly outcome: () => 'ok' | 'fails' | 'answer-lost'
  /** Called with each write; true: the process dies in it, and whether it commits is another question. */
  readonly dies: () => 'no' | 'before' | 'after'
}

interface Waiting {
  readonly process: { isDead: boolean }
  readonly statements: readonly Statement[] | null
  readonly read: { readonly sql: string; readonly params: readonly SqlValue[] } | null
  readonly resolve: (result: never) => void
  readonly reject: (error: EclusaError) => void
}

/** Real SQL on SQLite in memory; commits take time, fail, or succeed without an answer. */
export class SimulatedStore {
  readonly sql = new DatabaseSync(':memory:')
  readonly #time: Pick<SimulatedTime, 'after'>
  readonly #faults: StoreFaults
  // bounded by: the run
  #waiting: Waiting[] = []
  #isBusy = false
  readonly #prepared = new Map<string, Prepared>()

  constructor(time: Pick<SimulatedTime, 'after'>, faults: StoreFaults) {
    this.#time = time
    this.#faults = faults
    for (const { sql } of [...storageMigrations, ...queueMigrations]) if (sql !== '') this.sql.exec(sql)
  }

  /** The database as one life of the process sees it; dead processes get no answers. */
  open(process: { isDead: boolean }, die: () => void): Database {
    const add = <T>(one: Pick<Waiting, 'statements' | 'read'>): Promise<T> =>
      new Promise((resolve, reject) => {
        if (process.isDead) return
        const end = one.statements === null ? 'no' : this.#faults.dies()
        if (end !== 'before') {
          this.#waiting.push({ ...one, process, resolve, reject })
          this.#begin()
        }
        if (end !== 'no') die()
      })
    return {
      dialect: 'sqlite',
      write: (statements) => add<readonly StatementResult[]>({ statements, read: null }),
      read: (sql, params) => add<readonly Row[]>({ statements: null, read: { sql, params } }),
      onCommit: () => () => undefined,
      stats: () => ({
        commitCount: 0,
        unitCount: 0,
        statementCount: 0,
        failedUnitCount: 0,
        readCount: 0,
        waitingCount: this.#waiting.length,
      }),
      stop: () => Promise.resolve(),
    }
  }

  #begin(): void {
    if (this.#isBusy) return
    this.#isBusy = true
    this.#time.after(this.#faults.latencyMs(), () => this.#commit())
  }

  #commit(): void {
    const batch = this.#waiting
    this.#waiting = []
    this.#isBusy = false
    const outcome = this.#faults.outcome()
    const answers: (() => void)[] = []
    this.#run('begin')
    for (const one of batch) {
      if (one.statements === null) continue
      const result = this.#unit(one.statements)
      answers.push(() => {
        if (outcome === 'fails') one.reject(new EclusaError(storageErrors.FULL))
        else if (outcome === 'answer-lost') one.reject(new EclusaError(storageErrors.OUTCOME_UNKNOWN))
        else if (result instanceof EclusaError) one.reject(result)
        else one.resolve(result as never)
      })
    }
    this.#run(outcome === 'fails' ? 'rollback' : 'commit')
    for (const { read, resolve } of batch) {
      if (read === null) continue
      const rows = this.#prepare(read.sql).statement.all(...read.params)
      answers.push(() => resolve(rows as never))
    }
    const alive = batch.filter(({ statements }) => statements !== null)
    const readers = batch.filter(({ read }) => read !== null)
    for (const [index, one] of [...alive, ...readers].entries()) if (!one.process.isDead) answers[index]!()
    if (this.#waiting.length > 0) this.#begin()
  }

  #unit(statements: readonly Statement[]): readonly StatementResult[] | EclusaError {
    this.#run('savepoint unit')
    try {
      const results = statements.map(({ sql, params, mustChange }) => {
        const { statement, isQuery, isReturning } = this.#prepare(sql)
        const rows = isQuery ? (statement.all(...params) as unknown as readonly Row[]) : []
        const changes = isQuery ? (isReturning ? rows.length : 0) : Number(statement.run(...params).changes)
        if (mustChange !== undefined && changes !== mustChange)
          throw new EclusaError(storageErrors.CONFLICT, { details: { reason: 'must-change' } })
        return { rows, changes }
      })
      this.#run('release unit')
      return results
    } catch (error) {
      this.#run('rollback to unit')
      this.#run('release unit')
      if (error instanceof EclusaError) return error
      const isConstraint = (Number((error as { errcode?: number }).errcode) & 0xff) === 19
      const kind = isConstraint ? storageErrors.CONFLICT : storageErrors.STATEMENT_FAILED
      return new EclusaError(kind, { cause: error, details: { reason: 'constraint' } })
    }
  }

  #run(sql: string): void {
    this.#prepare(sql).statement.run()
  }

  #prepare(sql: string): Prepared {
    let prepared = this.#prepared.get(sql)
    if (prepared === undefined) {
      const statement = this.sql.prepare(sql)
      const isQuery = statement.columns().length > 0
      prepared = { statement, isQuery, isReturning: isQuery && /\breturning\b/i.test(sql) }
      this.#prepared.set(sql, prepared)
    }
    return prepared
  }
}

/** The same without trouble: a real database in memory, whose commits take a turn of the event loop. */
export function memoryDatabase(): Database {
  const turns = { after: (_: number, run: () => void) => (setImmediate(run), () => undefined) }
  const store = new SimulatedStore(turns, { latencyMs: () => 0, outcome: () => 'ok', dies: () => 'no' })
  return store.open({ isDead: false }, () => undefined)
}

interface Prepared {
  readonly statement: ReturnType<DatabaseSync['prepare']>
  readonly isQuery: boolean
  readonly isReturning: boolean
}
