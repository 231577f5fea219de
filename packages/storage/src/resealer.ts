import type { Clock, TenantId } from '@eclusa/kernel'
import { DataKeyStore, type ResealState } from './data-key-store.ts'
import type { Database, Row, SqlValue, Statement } from './database.ts'
import type { EnvelopeSealer } from './envelope-sealer.ts'

/** Whose a sealed value is, and what it is bound to. */
export interface SealedPlace {
  readonly tenant: TenantId
  readonly context: string
}

/** A column of sealed values, as its store describes it, so that they can be sealed anew. */
export interface SealedTable {
  readonly table: string
  readonly column: string
  readonly key: readonly string[]
  /** Below every key. */
  readonly start: readonly SqlValue[]
  /** Rows above a key in its order, at most `limit`: parameters are the key and the limit. The value is `sealed`. */
  readonly page: string
  /** Null: nobody's any more; it is left as it is. */
  placeOf(row: Row): SealedPlace | null
}

/** What a pass over everything sealed has come to. Instants in epoch milliseconds. */
export interface ResealProgress {
  readonly startedAt: number
  readonly resealedCount: number
  /** Null while it goes on. */
  readonly finishedAt: number | null
}

/** A step must not hold up what else the database does: values may be large. */
const STEP_ROWS = 50
/** What was sealed with a retired key may still be on its way: other processes hear of it within a minute. */
const SETTLE_MS = 300_000

/**
 * Seals anew, in the background and a few rows at a time, what is sealed with another key than its tenant's current one:
 * after a rotation, and what the master key sealed itself before there were data keys. Where it is stands in the
 * database, so a crash costs one step. A row that changes meanwhile is left as it is then, so it does not matter who owns
 * it, or whether two processes do the same. What cannot be opened is left and counted.
 */
export class Resealer {
  readonly #database: Database
  readonly #store: DataKeyStore
  readonly #sealer: EnvelopeSealer
  // bounded by: the sealed columns in the code
  readonly #tables: readonly SealedTable[]
  readonly #clock: Clock
  #state: ResealState | null | undefined
  #brokenCount = 0

  constructor(options: {
    readonly database: Database
    readonly sealer: EnvelopeSealer
    readonly tables: readonly SealedTable[]
    readonly clock: Clock
  }) {
    this.#database = options.database
    this.#store = new DataKeyStore(options.database)
    this.#sealer = options.sealer
    this.#tables = options.tables
    this.#clock = options.clock
  }

  /** Values of this process' passes that did not open. */
  get brokenCount(): number {
    return this.#brokenCount
  }

  /** Undefined: there never was anything to seal anew. */
  async progress(): Promise<ResealProgress | undefined> {
    return this.#store.round()
  }

  /** One step, if there is anything to do; tells whether there is more. */
  async pass(): Promise<boolean> {
    const state = await this.#stateNow()
    if (state === null) return false
    const { nth, after } = placeOfText(state.place, this.#tables)
    const table = this.#tables[nth]
    if (table === undefined) {
      await this.#save({ ...state, finishedAt: this.#clock.now() })
      return false
    }
    const rows = await this.#database.read(table.page, [...after, STEP_ROWS])
    const resealedCount = state.resealedCount + (await this.#reseal(table, rows))
    const last = rows.at(-1)
    const place =
      last === undefined || rows.length < STEP_ROWS
        ? { table: this.#tables[nth + 1]?.table ?? END, after: this.#tables[nth + 1]?.start ?? [] }
        : { table: table.table, after: table.key.map((column) => last[column] as SqlValue) }
    await this.#save({ ...state, resealedCount, place: JSON.stringify(place) })
    return true
  }

  /** The pass that is under way, or a new one when a key was retired since the last began. */
  async #stateNow(): Promise<ResealState | null> {
    const state = (this.#state ??= (await this.#store.round()) ?? null)
    if (state !== null && state.finishedAt === null) return state
    const retiredAt = await this.#store.lastRetiredAt()
    const hasStrays = this.#sealer.strayCount > 0
    const now = this.#clock.now()
    const isDue =
      retiredAt !== null &&
      retiredAt + SETTLE_MS <= now &&
      (state === null || state.startedAt < retiredAt + SETTLE_MS)
    if (!isDue && !hasStrays) return null
    this.#sealer.forgetStrays()
    const begun: ResealState = { startedAt: now, place: null, resealedCount: 0, finishedAt: null }
    await this.#save(begun)
    return begun
  }

  async #save(state: ResealState): Promise<void> {
    await this.#store.write([this.#store.saveRound(state)])
    this.#state = state
  }

  async #reseal(table: SealedTable, rows: readonly Row[]): Promise<number> {
    await this.#sealer.know(rows.map((row) => row['sealed']))
    const where = table.key.map((column) => `"${column}" = ?`).join(' and ')
    const sql = `update "${table.table}" set "${table.column}" = ? where ${where} and "${table.column}" = ?`
    const units: Promise<readonly { readonly changes: number }[]>[] = []
    for (const row of rows) {
      const value = row['sealed']
      const place = value instanceof Uint8Array && value.byteLength > 0 ? table.placeOf(row) : null
      if (!(value instanceof Uint8Array) || place === null) continue
      const { tenant, context } = place
      await this.#sealer.prepareUnlessDestroyed(tenant)
      if (!this.#sealer.isStale(value, tenant)) continue
      const opened = this.#tryOpen(value, context, tenant)
      if (opened === null) continue
      const statement: Statement = {
        sql,
        params: [
          this.#sealer.seal(opened, context, tenant),
          ...table.key.map((column) => row[column]!),
          value,
        ],
      }
      units.push(this.#database.write([statement]))
    }
    const results = await Promise.all(units)
    return results.reduce((sum, [result]) => sum + (result?.changes ?? 0), 0)
  }

  #tryOpen(value: Uint8Array, context: string, tenant: TenantId): Uint8Array | null {
    try {
      return this.#sealer.open(value, context, tenant)
    } catch {
      this.#brokenCount++
      return null
    }
  }
}

const END = ''

/** Where a pass goes on; a table that is gone since ends it, and the next one begins anew. */
function placeOfText(
  text: string | null,
  tables: readonly SealedTable[],
): { readonly nth: number; readonly after: readonly SqlValue[] } {
  if (text === null) return { nth: 0, after: tables[0]?.start ?? [] }
  const { table, after } = JSON.parse(text) as { readonly table: string; readonly after: readonly SqlValue[] }
  const nth = tables.findIndex((one) => one.table === table)
  return { nth: nth === -1 ? tables.length : nth, after }
}
