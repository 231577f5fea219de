import type { Clock, InstanceId, TenantId } from '@eclusa/kernel'
import type { Database, Row, SqlValue, Statement } from './database.ts'
import type { SealedTable } from './resealer.ts'
import type { Sealer } from './sealer.ts'

export interface NewEvent {
  readonly tenant: TenantId
  readonly instance: InstanceId | null
  /** `noun.past`, e.g. `outbound.sent`. */
  readonly type: string
  /** JSON-able; sealed in the database, unless `isOpen`. */
  readonly payload: object
  /** It says nothing that other tables do not say openly: ids, times, states. Default false. */
  readonly isOpen?: boolean
}

export interface LoggedEvent extends Omit<NewEvent, 'isOpen'> {
  /** The cursor: grows with each event, never used twice. */
  readonly seq: number
  /** Epoch milliseconds. */
  readonly at: number
}

/** Rows deleted by one step of the sweep: a few milliseconds of the connection. */
const SWEEP_STEP = 1000
const MAX_READ = 1000
/** Entries of the index walked by one read of the sweep: about a millisecond. */
const COUNT_STEP = 10_000
/** Events opened at once to be looked into. */
const FORGET_STEP = 200
const BRACE = 0x7b

/** The durable log of what happened, read by a cursor; webhooks, server-sent events and sinks read from it. */
export class EventLog {
  readonly #database: Database
  readonly #sealer: Sealer
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly sealer: Sealer; readonly clock: Clock }) {
    this.#database = options.database
    this.#sealer = options.sealer
    this.#clock = options.clock
  }

  /** The statement to put in the unit that causes the event, so that both are durable or neither. */
  append(event: NewEvent): Statement {
    const at = this.#clock.now()
    return {
      sql: 'insert into "Event" (at, tenant, instance, type, payload) values (?, ?, ?, ?, ?)',
      params: [at, event.tenant, event.instance, event.type, this.#stored(event, at)],
    }
  }

  /** Open payloads begin with a brace, sealed ones never do. */
  #stored(event: NewEvent, at: number): SqlValue {
    const json = JSON.stringify(event.payload)
    if (event.isOpen !== true)
      return this.#sealer.seal(Buffer.from(json), contextOf({ ...event, at }), event.tenant)
    // A text costs less on its way to SQLite's thread, which keeps it as it comes.
    return this.#database.dialect === 'sqlite' ? json : Buffer.from(json)
  }

  /** At most `limit` (up to 1,000) events with a seq greater than `after`, oldest first. */
  async read(options: {
    readonly after: number
    readonly limit: number
    readonly tenant?: TenantId
  }): Promise<readonly LoggedEvent[]> {
    const { after, tenant } = options
    const limit = Math.min(options.limit, MAX_READ)
    const columns = 'select seq, at, tenant, instance, type, payload from "Event"'
    const rows =
      tenant === undefined
        ? await this.#database.read(`${columns} where seq > ? order by seq limit ?`, [after, limit])
        : await this.#database.read(`${columns} where tenant = ? and seq > ? order by seq limit ?`, [
            tenant,
            after,
            limit,
          ])
    return this.#openAll(rows)
  }

  /**
   * The next events after `after`, oldest first, by bytes too: it ends with the event that reaches `maxBytes` of sealed
   * payload, so at least one comes. `isEnd` when nothing came after them.
   */
  async readBatch(options: {
    readonly after: number
    /** Up to 1,000. */
    readonly maxEvents: number
    readonly maxBytes: number
    readonly tenant?: TenantId
  }): Promise<{ readonly events: readonly LoggedEvent[]; readonly isEnd: boolean }> {
    const { after, maxBytes, tenant } = options
    const maxEvents = Math.min(options.maxEvents, MAX_READ)
    const whose = tenant === undefined ? '' : 'tenant = ? and'
    // The sizes first: of what does not fit, nothing is read but its length.
    const rows = await this.#database.read(
      `select seq, at, tenant, instance, type, payload, "totalBytes" from "Event" join (
         select seq as "sizedSeq", sum(bytes) over (order by seq) as "totalBytes", bytes from (
           select seq, octet_length(payload) as bytes from "Event" where ${whose} seq > ? order by seq limit ?
         ) as page
       ) as sized on seq = "sizedSeq" where "totalBytes" - bytes < ? order by seq`,
      [...(tenant === undefined ? [] : [tenant]), after, maxEvents, maxBytes],
    )
    const last = rows.at(-1)
    const isFull = rows.length === maxEvents || Number(last?.['totalBytes'] ?? 0) >= maxBytes
    return { events: await this.#openAll(rows), isEnd: !isFull }
  }

  /** The first event at or after `at` (epoch milliseconds); one past the newest when there is none. Their order is that of time. */
  async firstSince(at: number): Promise<number> {
    let low = 0
    let high = (await this.lastSeq()) + 1
    // By halves: the time has no index, which every event would pay for.
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const [row] = await this.#database.read(
        'select seq, at from "Event" where seq >= ? order by seq limit 1',
        [middle],
      )
      if (row === undefined || Number(row['at']) >= at) high = middle
      else low = Number(row['seq']) + 1
    }
    return low
  }

  /** The newest event's seq, also after it was swept; 0 when there never was one. */
  async lastSeq(): Promise<number> {
    const [row] = await this.#database.read(
      this.#database.dialect === 'postgres'
        ? // Not the sequence alone: it is ahead of events whose commit is under way.
          `select coalesce((select max(seq) from "Event"),
             (select case when is_called then last_value else 0 end from "Event_seq_seq")) as seq`
        : `select coalesce((select seq from sqlite_sequence where name = 'Event'), 0) as seq`,
      [],
    )
    return Number(row?.['seq'] ?? 0)
  }

  /**
   * Deletes events older than `keepForMs`, and of each tenant what is beyond its newest `maxPerTenant`, in steps of
   * 1,000; returns how many. Readers that come back too late are told by `wasSwept`.
   */
  async sweep(options: { readonly keepForMs: number; readonly maxPerTenant?: number }): Promise<number> {
    const { keepForMs, maxPerTenant } = options
    const sweptCount = await this.#sweepOld(this.#clock.now() - keepForMs)
    if (maxPerTenant === undefined) return sweptCount
    let surplusCount = 0
    // One tenant after the other by the index on (tenant, seq): they may be many, their list is never in memory.
    for (let tenant = ''; ;) {
      const [row] = await this.#database.read('select min(tenant) as tenant from "Event" where tenant > ?', [
        tenant,
      ])
      if (typeof row?.['tenant'] !== 'string') return sweptCount + surplusCount
      tenant = row['tenant']
      surplusCount += await this.#sweepSurplus(tenant, maxPerTenant)
    }
  }

  /** Whether events after `after` were deleted by a sweep: of `tenant`, or of anybody. */
  async wasSwept(after: number, tenant?: TenantId): Promise<boolean> {
    const [row] =
      tenant === undefined
        ? await this.#database.read('select max(seq) as seq from "EventSwept"', [])
        : await this.#database.read(`select max(seq) as seq from "EventSwept" where tenant in ('*', ?)`, [
            tenant,
          ])
    return Number(row?.['seq'] ?? 0) > after
  }

  async #sweepOld(before: number): Promise<number> {
    let sweptCount = 0
    for (;;) {
      // seq order is time order, so no index on the time is needed.
      const oldest = await this.#database.read('select seq, at from "Event" order by seq limit ?', [
        SWEEP_STEP,
      ])
      const firstKept = oldest.findIndex((row) => Number(row['at']) >= before)
      const count = firstKept === -1 ? oldest.length : firstKept
      const last = oldest[count - 1]
      if (last === undefined) return sweptCount
      const seq = last['seq'] as SqlValue
      const [, result] = await this.#database.write([
        sweptUpTo('*', seq),
        { sql: 'delete from "Event" where seq <= ?', params: [seq] },
      ])
      sweptCount += result?.changes ?? 0
      if (count < SWEEP_STEP) return sweptCount
    }
  }

  /** Walks the tenant's newest `max` a step at a time, then deletes what is older. */
  async #sweepSurplus(tenant: string, max: number): Promise<number> {
    let oldestKept: SqlValue = Number.MAX_SAFE_INTEGER
    for (let left = max; left > 0;) {
      const step = Math.min(left, COUNT_STEP)
      const [row] = await this.#database.read(
        'select seq from "Event" where tenant = ? and seq < ? order by seq desc limit 1 offset ?',
        [tenant, oldestKept, step - 1],
      )
      if (row === undefined) return 0
      oldestKept = row['seq'] as SqlValue
      left -= step
    }
    for (let sweptCount = 0; ;) {
      const surplus = await this.#database.read(
        'select seq from "Event" where tenant = ? and seq < ? order by seq limit ?',
        [tenant, oldestKept, SWEEP_STEP],
      )
      const last = surplus.at(-1)
      if (last === undefined) return sweptCount
      const seq = last['seq'] as SqlValue
      const [, result] = await this.#database.write([
        sweptUpTo(tenant, seq),
        { sql: 'delete from "Event" where tenant = ? and seq <= ?', params: [tenant, seq] },
      ])
      sweptCount += result?.changes ?? 0
    }
  }

  /** Deletes all events of an instance of `tenant`, looking at 1,000 of the tenant's at a time; returns how many. */
  async forgetInstance(tenant: TenantId, instance: InstanceId): Promise<number> {
    let forgottenCount = 0
    let after: SqlValue = 0
    for (;;) {
      const [end] = await this.#database.read(
        `select max(seq) as seq from (
           select seq from "Event" where tenant = ? and seq > ? order by seq limit ?
         ) as step`,
        [tenant, after, SWEEP_STEP],
      )
      const last: SqlValue = end?.['seq'] ?? null
      if (last === null) return forgottenCount
      const [result] = await this.#database.write([
        {
          sql: 'delete from "Event" where tenant = ? and seq > ? and seq <= ? and instance = ?',
          params: [tenant, after, last, instance],
        },
      ])
      forgottenCount += result?.changes ?? 0
      after = last
    }
  }

  /** Deletes the events of `tenant` for which `matches` holds, looking at 200 at a time; returns how many. */
  async forgetMatching(tenant: TenantId, matches: (event: LoggedEvent) => boolean): Promise<number> {
    let forgottenCount = 0
    for (let after = 0; ;) {
      const events = await this.read({ after, limit: FORGET_STEP, tenant })
      const last = events.at(-1)
      if (last === undefined) return forgottenCount
      const found = events.filter(matches)
      if (found.length > 0) {
        await this.#database.write(
          found.map(({ seq }) => ({ sql: 'delete from "Event" where seq = ?', params: [seq] })),
        )
      }
      forgottenCount += found.length
      after = last.seq
    }
  }

  async #openAll(rows: readonly Row[]): Promise<readonly LoggedEvent[]> {
    await this.#sealer.know(rows.map((row) => row['payload']))
    return rows.map((row) => this.#open(row))
  }

  #open(row: Row): LoggedEvent {
    const event = {
      seq: row['seq'] as number,
      at: row['at'] as number,
      tenant: row['tenant'] as TenantId,
      instance: row['instance'] as InstanceId | null,
      type: row['type'] as string,
    }
    const stored = row['payload'] as Uint8Array | string
    if (typeof stored === 'string') return { ...event, payload: JSON.parse(stored) as object }
    const plain = stored[0] === BRACE ? stored : this.#sealer.open(stored, contextOf(event), event.tenant)
    return { ...event, payload: JSON.parse(Buffer.from(plain).toString()) as object }
  }
}

function sweptUpTo(tenant: string, seq: SqlValue): Statement {
  return {
    sql: `insert into "EventSwept" (tenant, seq) values (?, ?)
            on conflict (tenant) do update set seq = excluded.seq where excluded.seq > "EventSwept".seq`,
    params: [tenant, seq],
  }
}

function contextOf(event: Omit<NewEvent, 'payload' | 'isOpen'> & { readonly at: number }): string {
  return `Event|${event.tenant}|${event.instance ?? ''}|${event.type}|${event.at}`
}

export const eventSealedTable: SealedTable = {
  table: 'Event',
  column: 'payload',
  key: ['seq'],
  start: [0],
  page: 'select seq, at, tenant, instance, type, payload as sealed from "Event" where seq > ? order by seq limit ?',
  placeOf(row) {
    const { tenant, instance, type } = row as unknown as Omit<LoggedEvent, 'payload'>
    return { tenant, context: contextOf({ tenant, instance, type, at: Number(row['at']) }) }
  },
}
