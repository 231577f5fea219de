import { EclusaError, type InstanceId } from '@eclusa/kernel'
import type { Statement, StatementResult } from './database.ts'
import { storageErrors } from './errors.ts'
import { type BatchForm, batchForm, planSteps, shareOut, type Step } from './postgres-batch.ts'
import {
  ConnectionLost,
  type PostgresConnection,
  type PostgresRefusal,
  StatementRefused,
} from './postgres-connection.ts'

/** Texts whose forms are known. Everything hot in Eclusa is about 60 texts. */
export const MAX_FORMS = 256

/** The forms for many of the statements met so far. */
export class BatchForms {
  // null for a text that has none. bounded by: MAX_FORMS; what comes then stays single
  readonly #forms = new Map<string, BatchForm | null>()

  of(sql: string): BatchForm | null {
    return this.#forms.get(sql) ?? null
  }

  /**
   * The texts must be prepared. A form the server does not understand is none.
   * @throws ConnectionLost
   */
  async learn(connection: PostgresConnection, texts: Iterable<string>): Promise<void> {
    for (const sql of texts) {
      let form = this.#forms.get(sql)
      if (form === undefined) {
        if (this.#forms.size >= MAX_FORMS) continue
        form = batchForm(sql, (await connection.prepare(sql)).parameterTypes)
      } else if (form === null || connection.prepared(form.sql) !== undefined) continue
      try {
        if (form !== null) await connection.prepare(form.sql)
      } catch (error) {
        if (!(error instanceof StatementRefused)) throw error
        form = null
      }
      this.#forms.set(sql, form)
    }
  }
}

/** What a unit may need: that this process owns the instance, under the epoch in which the unit was called. */
export interface Fence {
  readonly instance: InstanceId
  readonly epoch: number
}

/** A unit as a flush takes it. */
export interface FlushUnit {
  readonly statements: readonly Statement[]
  readonly fence: Fence | null
  /** The name of the only rows it touches; null for any. */
  readonly rows: string | null
}

export type UnitOutcome = readonly StatementResult[] | EclusaError

const BEGIN: Statement = { sql: 'begin', params: [] }
const COMMIT: Statement = { sql: 'commit', params: [] }
const ROLLBACK: Statement = { sql: 'rollback', params: [] }
const MARK: Statement = { sql: 'savepoint unit', params: [] }
const FORGET_MARK: Statement = { sql: 'release savepoint unit', params: [] }
const BACK_TO_MARK: Statement = { sql: 'rollback to savepoint unit', params: [] }
/** The number under which the server remembers how this transaction ended. */
const NUMBER: Statement = { sql: 'select pg_current_xact_id()::text as xid', params: [] }
/**
 * Which of the instances are ours. SHARE, not KEY SHARE: only the former makes the UPDATE of a take-over wait for this
 * transaction, so nothing gets between the check and the commit.
 */
const FENCE = `select lease.instance, lease.epoch from unnest(?::text[], ?::bigint[]) as asked (instance, epoch)
  join "InstanceLease" as lease on lease.instance = asked.instance and lease.epoch = asked.epoch
  where lease.node = ? and lease."expiresAt" > clock_timestamp() for share of lease`

const FRAME = [BEGIN, NUMBER, COMMIT, ROLLBACK, MARK, FORGET_MARK, BACK_TO_MARK] as const

/** Times that a whole flush is run again because the server chose it as the victim of a deadlock. */
const MAX_VICTIM = 5
const LOCK_TIMEOUT = '55P03'
const DEADLOCK = '40P01'
const SERIALIZATION_FAILURE = '40001'

/**
 * The units of one commit, in order, each of which succeeds or fails by itself.
 *
 * All go in one pipeline, without savepoints, the same statement of many units as one where their rows are apart:
 * nearly always all succeed. When one fails, the transaction starts anew, each unit by itself, and goes on in steps behind a savepoint, which begin small and double while all goes well: what came before the
 * failing unit is run again, the unit itself is left out. The commit is a round trip of its own, because only the
 * client sees whether `mustChange` holds; so the number of the transaction is known before the commit is sent, and a
 * connection that breaks then leaves a question that `pg_xact_status` answers.
 */
export class Flush {
  // bounded by: MAX_FLUSH_STATEMENTS, MAX_FLUSH_BYTES
  readonly #units: readonly FlushUnit[]
  readonly #node: string
  readonly #forms: BatchForms
  // bounded by: the units
  #outcomes: (UnitOutcome | undefined)[] = []
  // Indexes of units without an outcome. bounded by: the units
  #left: number[] = []
  #committing: { readonly xid: string; readonly processId: number } | null = null
  #xid = ''

  constructor(units: readonly FlushUnit[], options: { readonly node: string; readonly forms: BatchForms }) {
    this.#units = units
    this.#node = options.node
    this.#forms = options.forms
  }

  /** Set when a commit was sent and its answer is not known. */
  get committing(): { readonly xid: string; readonly processId: number } | null {
    return this.#committing
  }

  /** One per unit, after `run`. */
  get outcomes(): readonly UnitOutcome[] {
    return this.#outcomes as readonly UnitOutcome[]
  }

  get hasCommitted(): boolean {
    return this.#outcomes.some((outcome) => !(outcome instanceof EclusaError))
  }

  /**
   * Runs and commits; after a lost connection whose transaction did not commit, again on another.
   * @throws ConnectionLost
   */
  async run(connection: PostgresConnection): Promise<void> {
    this.#committing = null
    for (let victimCount = 0; ; victimCount++) {
      this.#outcomes = this.#units.map(() => undefined)
      this.#left = [...this.#units.keys()]
      await this.#prepare(connection)
      const ended = await this.#attempt(connection)
      if (ended === 'victim' && victimCount < MAX_VICTIM) {
        await connection.pipeline([ROLLBACK])
        continue
      }
      if (ended === 'victim') this.#rejectLeft(new EclusaError(storageErrors.BUSY))
      break
    }
    if (!this.hasCommitted) {
      await connection.pipeline([ROLLBACK])
      return
    }
    this.#committing = { xid: this.#xid, processId: connection.processId }
    const { refusal } = await connection.pipeline([COMMIT])
    this.#committing = null
    if (refusal !== null) {
      const error = errorOfRefusal(refusal)
      this.#outcomes = this.#outcomes.map((outcome) => (outcome instanceof EclusaError ? outcome : error))
    }
  }

  /** It was found out that the commit had happened. */
  settleCommitted(): void {
    this.#committing = null
  }

  /** Texts that the server does not understand fail here, before they could spoil the transaction. */
  async #prepare(connection: PostgresConnection): Promise<void> {
    // Not later: inside a transaction that failed nothing can be prepared.
    for (const { sql } of FRAME) await connection.prepare(sql)
    if (this.#units.some(({ fence }) => fence !== null)) await connection.prepare(FENCE)
    for (const index of this.#left) {
      try {
        for (const { sql } of this.#units[index]!.statements) {
          // Nearly always known, and a turn for each statement of a flush is much of what it costs.
          if (connection.prepared(sql) === undefined) await connection.prepare(sql)
        }
      } catch (error) {
        if (!(error instanceof StatementRefused)) throw error
        this.#outcomes[index] = errorOfRefusal(error.refusal)
      }
    }
    this.#left = this.#left.filter((index) => this.#outcomes[index] === undefined)
    const texts = new Set<string>()
    for (const index of this.#left) {
      const { rows, statements } = this.#units[index]!
      if (rows !== null) for (const { sql } of statements) texts.add(sql)
    }
    await this.#forms.learn(connection, texts)
  }

  async #attempt(connection: PostgresConnection): Promise<'done' | 'victim'> {
    let opening: Statement[] = []
    for (;;) {
      const fence = this.#fence()
      const steps = planSteps(
        this.#left.map((index) => [index, this.#units[index]!] as const),
        (sql) => this.#forms.of(sql),
      )
      opening = [...opening, BEGIN, NUMBER, ...fence]
      const outcome = await connection.pipeline([...opening, ...steps.map(({ statement }) => statement)])
      if (outcome.results.length < opening.length) return this.#refused(connection, outcome.refusal)
      this.#xid = String(outcome.results[opening.length - fence.length - 1]?.rows[0]?.['xid'])
      if (fence.length > 0 && this.#rejectStrangers(outcome.results[opening.length - 1])) {
        opening = [ROLLBACK]
        continue
      }
      if (outcome.refusal === null && this.#recordTogether(steps, outcome.results.slice(opening.length))) {
        return 'done'
      }
      return isVictim(outcome.refusal) ? 'victim' : this.#stepByStep(connection)
    }
  }

  /** Shares out the results; false when a unit failed. */
  #recordTogether(steps: readonly Step[], results: readonly StatementResult[]): boolean {
    const outcomes: StatementResult[][] = this.#units.map(() => [])
    for (const [position, step] of steps.entries()) {
      const shared = shareOut(step, results[position]!)
      if (shared === null) return false
      const { members } = step
      for (let own = 0; own < members.length; own++) {
        const { unit, at } = members[own]!
        outcomes[unit]![at] = shared[own]!
      }
    }
    for (const index of this.#left) {
      if (mustChangeError(this.#units[index]!.statements, outcomes[index]!) !== null) return false
    }
    for (const index of this.#left) this.#outcomes[index] = outcomes[index]!
    return true
  }

  /**
   * The flush from its start, one unit after the other, in steps that double while all goes well. A step that fails is
   * undone; the units before the failing one are known to succeed and run again, the failing one is left out.
   */
  async #stepByStep(connection: PostgresConnection): Promise<'done' | 'victim'> {
    const fence = this.#fence()
    const opened = await connection.pipeline([ROLLBACK, BEGIN, NUMBER, MARK, ...fence])
    if (opened.refusal !== null) return this.#refused(connection, opened.refusal)
    this.#xid = String(opened.results[2]?.rows[0]?.['xid'])
    if (fence.length > 0) this.#rejectStrangers(opened.results[4])
    let good = 0
    let done = 0
    let step = 1
    let lead: readonly Statement[] = []
    while (done < this.#left.length) {
      const size = good > 0 ? good : step
      const segment = this.#left.slice(done, done + size)
      const outcome = await connection.pipeline([...lead, ...this.#statementsOf(segment)])
      const failed = this.#record(segment, outcome.results.slice(lead.length), outcome.refusal)
      if (failed === 'victim') return failed
      if (failed === null) {
        done += segment.length
        if (good === 0) step *= 2
        good = 0
        lead = [FORGET_MARK, MARK]
      } else {
        this.#left.splice(done + failed, 1)
        good = failed
        step = 1
        lead = [BACK_TO_MARK]
      }
    }
    // The last step may have been undone only by what comes next.
    if (lead[0] === BACK_TO_MARK) await connection.pipeline(lead)
    return 'done'
  }

  /** The transaction could not even begin: somebody takes the instance over, or this server takes no writes. */
  #refused(connection: PostgresConnection, refusal: PostgresRefusal | null): 'victim' {
    const sqlState = refusal?.sqlState ?? ''
    if ([LOCK_TIMEOUT, DEADLOCK, SERIALIZATION_FAILURE].includes(sqlState)) return 'victim'
    connection.destroy(refusal?.message)
    throw new ConnectionLost(refusal?.message)
  }

  #statementsOf(indexes: readonly number[]): Statement[] {
    return indexes.flatMap((index) => this.#units[index]!.statements)
  }

  /** Results of a segment to its units; the position in it of the first that failed, with its error noted. */
  #record(
    segment: readonly number[],
    results: readonly StatementResult[],
    refusal: PostgresRefusal | null,
  ): number | null | 'victim' {
    let from = 0
    for (const [position, index] of segment.entries()) {
      const { statements } = this.#units[index]!
      const own = results.slice(from, from + statements.length)
      from += statements.length
      const broken = mustChangeError(statements, own)
      if (broken !== null) {
        this.#outcomes[index] = broken
        return position
      }
      if (own.length < statements.length) {
        if (refusal === null || isVictim(refusal)) return 'victim'
        this.#outcomes[index] = errorOfRefusal(refusal)
        return position
      }
      this.#outcomes[index] = own
    }
    return null
  }

  #rejectLeft(error: EclusaError): void {
    for (const index of this.#left) this.#outcomes[index] = error
  }

  #fence(): Statement[] {
    const asked = new Map<string, Fence>()
    for (const index of this.#left) {
      const { fence } = this.#units[index]!
      if (fence !== null) asked.set(keyOf(fence), fence)
    }
    if (asked.size === 0) return []
    const fences = [...asked.values()]
    const instances = arrayOf(fences.map(({ instance }) => instance))
    return [{ sql: FENCE, params: [instances, arrayOf(fences.map(({ epoch }) => epoch)), this.#node] }]
  }

  /** Rejects the units of instances whose lease is not ours; true if there were any. */
  #rejectStrangers(fence: StatementResult | undefined): boolean {
    const ours = new Set(
      fence?.rows.map((row) =>
        keyOf({ instance: row['instance'] as InstanceId, epoch: Number(row['epoch']) }),
      ),
    )
    const strangers: number[] = []
    this.#left = this.#left.filter((index) => {
      const { fence: own } = this.#units[index]!
      const isOurs = own === null || ours.has(keyOf(own))
      if (!isOurs) strangers.push(index)
      return isOurs
    })
    for (const index of strangers) this.#outcomes[index] = new EclusaError(storageErrors.NOT_OWNER)
    return strangers.length > 0
  }
}

function isVictim(refusal: PostgresRefusal | null): boolean {
  return refusal?.sqlState === DEADLOCK || refusal?.sqlState === SERIALIZATION_FAILURE
}

function keyOf({ instance, epoch }: Fence): string {
  return `${instance}|${epoch}`
}

function mustChangeError(
  statements: readonly Statement[],
  results: readonly StatementResult[],
): EclusaError | null {
  for (let index = 0; index < results.length; index++) {
    const expected = statements[index]?.mustChange
    const { changes } = results[index]!
    if (expected === undefined || expected === changes) continue
    const message = `statement ${index} changed ${changes} rows instead of ${expected}`
    return new EclusaError(storageErrors.CONFLICT, {
      cause: new Error(message),
      details: { reason: 'must-change', statement: index, changed: changes, expected },
    })
  }
  return null
}

export function errorOfRefusal({ sqlState, message }: PostgresRefusal): EclusaError {
  const cause = new Error(message)
  if (sqlState.startsWith('23')) {
    return new EclusaError(storageErrors.CONFLICT, { cause, details: { reason: 'constraint', sqlState } })
  }
  switch (sqlState) {
    case '53100': // disk_full
      return new EclusaError(storageErrors.FULL, { cause })
    case LOCK_TIMEOUT:
    case '57014': // query_canceled: statement_timeout
    case DEADLOCK:
    case SERIALIZATION_FAILURE:
      return new EclusaError(storageErrors.BUSY, { cause, details: { sqlState } })
    default:
      return new EclusaError(storageErrors.STATEMENT_FAILED, { cause, details: { sqlState } })
  }
}

/** An array as PostgreSQL reads it from text. */
function arrayOf(values: readonly (string | number)[]): string {
  return `{${values.map((value) => (typeof value === 'number' ? value : `"${value.replaceAll(/["\\]/g, '\\$&')}"`)).join(',')}}`
}
