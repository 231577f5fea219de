import type { ChatId, Clock, ContactId, InboundOrigin, InstanceId, TenantId } from '@eclusa/kernel'
import type { Database, EventLog, Row, SealedTable, Sealer, SqlValue, Statement } from '@eclusa/storage'
import type { ConversationId, SectorId } from './conversation.ts'
import {
  EMPTY_MEMORY,
  type FlowRun,
  type FlowRunId,
  type RunMemory,
  type RunOutcome,
  type RunState,
} from './flow-run.ts'
import type { FlowRuns, RunUnit } from './flow-runs.ts'

const COLUMNS = `id, tenant, instance, contact, conversation, chat, flow, version, sector, step, visit, state, started_at,
  active_since, due_at, ended_at, outcome, sealed`

const INSERT = `insert into "FlowRun" (${COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

/** Its contact is not changed here: that is a merge's part, and must not be undone by a step planned before it. */
const MOVE = `update "FlowRun" set flow = ?, version = ?, sector = ?, step = ?, visit = ?, state = ?, active_since = ?,
  due_at = ?, ended_at = ?, outcome = ?, sealed = ? where id = ? and visit = ? and state <> 'ended'`

const HEARD = 'insert into "FlowHeard" (instance, journal_id, at) values (?, ?, ?)'

const ONCE = `insert into "FlowOnce" (tenant, contact, key, until) values (?, ?, ?, ?)
  on conflict (tenant, contact, key) do update set until = excluded.until`

/** Rows deleted by one step of the sweep: a few milliseconds of the connection. */
const SWEEP_STEP = 500

/** SQL of runs and of what they have heard. */
export class FlowRunStore implements FlowRuns {
  readonly #database: Database
  readonly #sealer: Sealer
  readonly #events: EventLog
  readonly #clock: Clock

  constructor(options: {
    readonly database: Database
    readonly sealer: Sealer
    readonly events: EventLog
    readonly clock: Clock
  }) {
    this.#database = options.database
    this.#sealer = options.sealer
    this.#events = options.events
    this.#clock = options.clock
  }

  async liveOf(instance: InstanceId, contact: ContactId): Promise<FlowRun | undefined> {
    const [run] = await this.#read(
      `select ${COLUMNS} from "FlowRun" where instance = ? and contact = ? and state <> 'ended'`,
      [instance, contact],
    )
    return run
  }

  async get(id: FlowRunId): Promise<FlowRun | undefined> {
    const [run] = await this.#read(`select ${COLUMNS} from "FlowRun" where id = ?`, [id])
    return run
  }

  async wasHeard({ instance, journalId }: InboundOrigin): Promise<boolean> {
    const rows = await this.#database.read(
      'select 1 as one from "FlowHeard" where instance = ? and journal_id = ?',
      [instance, journalId],
    )
    return rows.length > 0
  }

  async onceUntil(tenant: TenantId, contact: ContactId, key: string): Promise<number> {
    const [row] = await this.#database.read(
      'select until from "FlowOnce" where tenant = ? and contact = ? and key = ?',
      [tenant, contact, key],
    )
    return Number(row?.['until'] ?? 0)
  }

  async begin(run: FlowRun, unit: RunUnit): Promise<void> {
    const insert: Statement = {
      sql: INSERT,
      params: [
        run.id,
        run.tenant,
        run.instance,
        run.contact,
        run.conversation,
        run.chat,
        run.flow,
        run.version,
        run.sector,
        run.step,
        run.visit,
        run.state,
        run.startedAt,
        run.activeSince,
        run.dueAt,
        run.endedAt,
        run.outcome,
        this.#seal(run),
      ],
    }
    await this.#database.write([insert, ...this.#statementsOf(unit, run)], { instance: run.instance })
  }

  async move(before: FlowRun, after: FlowRun, unit: RunUnit): Promise<void> {
    const move: Statement = {
      sql: MOVE,
      params: [
        after.flow,
        after.version,
        after.sector,
        after.step,
        after.visit,
        after.state,
        after.activeSince,
        after.dueAt,
        after.endedAt,
        after.outcome,
        this.#seal(after),
        before.id,
        before.visit,
      ],
      mustChange: 1,
    }
    await this.#database.write([move, ...this.#statementsOf(unit, after)], { instance: before.instance })
  }

  async heardAlone(origin: InboundOrigin, unit: Omit<RunUnit, 'heard'>): Promise<void> {
    await this.#database.write(this.#statementsOf({ ...unit, heard: origin }, null), {
      instance: origin.instance,
    })
  }

  async overdue(
    now: number,
    activeBefore: number,
    page: { readonly limit: number; readonly offset: number },
  ): Promise<readonly FlowRun[]> {
    return this.#read(
      `select * from (
         select ${COLUMNS}, due_at as since from "FlowRun" where due_at <= ?
         union all
         select ${COLUMNS}, active_since as since from "FlowRun" where active_since <= ?
       ) as overdue order by since, id limit ? offset ?`,
      [now, activeBefore, page.limit, page.offset],
    )
  }

  async nextDueAt(now: number): Promise<number | null> {
    const [row] = await this.#database.read(
      'select due_at from "FlowRun" where due_at > ? order by due_at, id limit 1',
      [now],
    )
    return (row?.['due_at'] ?? null) as number | null
  }

  /** Live ones first, then by their start, newest first. */
  async listOf(tenant: TenantId, contact: ContactId, limit: number): Promise<readonly FlowRun[]> {
    return this.#read(
      `select ${COLUMNS} from "FlowRun" where tenant = ? and contact = ?
       order by case when state = 'ended' then 1 else 0 end, started_at desc, id limit ?`,
      [tenant, contact, limit],
    )
  }

  /** The runs of `from` are those of `to` from now on; where both have a live one, that of `from` ends. */
  async merged(who: {
    readonly tenant: TenantId
    readonly from: ContactId
    readonly to: ContactId
  }): Promise<void> {
    const { tenant, from, to } = who
    const now = this.#clock.now()
    await this.#database.write([
      {
        sql: `update "FlowRun" set state = 'ended', active_since = null, due_at = null, ended_at = ?, outcome = 'merged',
                visit = visit + 1
              where tenant = ? and contact = ? and state <> 'ended' and exists (select 1 from "FlowRun" as other
                where other.instance = "FlowRun".instance and other.contact = ? and other.state <> 'ended')`,
        params: [now, tenant, from, to],
      },
      {
        sql: 'update "FlowRun" set contact = ? where tenant = ? and contact = ?',
        params: [to, tenant, from],
      },
      {
        sql: `insert into "FlowOnce" (tenant, contact, key, until)
              select tenant, ?, key, until from "FlowOnce" where tenant = ? and contact = ?
              on conflict (tenant, contact, key) do nothing`,
        params: [to, tenant, from],
      },
      { sql: 'delete from "FlowOnce" where tenant = ? and contact = ?', params: [tenant, from] },
    ])
  }

  /** Deletes every run of a person, and what was said to them; returns how many runs. */
  async forgetContact(tenant: TenantId, contact: ContactId): Promise<number> {
    const [runs] = await this.#database.write([
      { sql: 'delete from "FlowRun" where tenant = ? and contact = ?', params: [tenant, contact] },
      { sql: 'delete from "FlowOnce" where tenant = ? and contact = ?', params: [tenant, contact] },
    ])
    return runs?.changes ?? 0
  }

  async forgetInstance(instance: InstanceId): Promise<void> {
    for (const table of ['"FlowRun"', '"FlowHeard"']) {
      const key = table === '"FlowRun"' ? 'id' : 'journal_id'
      const sql = `delete from ${table} where instance = ? and ${key} in
        (select ${key} from ${table} where instance = ? limit ${SWEEP_STEP})`
      for (;;) {
        const [result] = await this.#database.write([{ sql, params: [instance, instance] }])
        if ((result?.changes ?? 0) < SWEEP_STEP) break
      }
    }
  }

  /** Deletes ended runs, and what is not needed to know messages again, in steps; returns how many runs. */
  async sweep(keep: { readonly endedForMs: number; readonly heardForMs: number }): Promise<number> {
    const now = this.#clock.now()
    let sweptCount = 0
    for (;;) {
      const results = await this.#database.write([
        {
          sql: `delete from "FlowRun" where id in (select id from "FlowRun" where ended_at < ? order by ended_at limit ${SWEEP_STEP})`,
          params: [now - keep.endedForMs],
        },
        {
          sql: `delete from "FlowHeard" where at < ? and (instance, journal_id) in
                (select instance, journal_id from "FlowHeard" where at < ? order by at limit ${SWEEP_STEP})`,
          params: [now - keep.heardForMs, now - keep.heardForMs],
        },
        {
          sql: `delete from "FlowOnce" where until < ? and (tenant, contact, key) in
                (select tenant, contact, key from "FlowOnce" where until < ? order by until limit ${SWEEP_STEP})`,
          params: [now, now],
        },
      ])
      sweptCount += results[0]?.changes ?? 0
      if (results.every(({ changes }) => changes < SWEEP_STEP)) return sweptCount
    }
  }

  #statementsOf(unit: RunUnit, run: FlowRun | null): readonly Statement[] {
    const { heard, statements = [], events = [], once } = unit
    return [
      ...(heard === undefined
        ? []
        : [{ sql: HEARD, params: [heard.instance, heard.journalId, this.#clock.now()] }]),
      ...statements,
      ...(once === undefined || run === null
        ? []
        : [{ sql: ONCE, params: [run.tenant, run.contact, once.key, once.until] }]),
      ...events.map((event) => this.#events.append(event)),
    ]
  }

  async #read(sql: string, params: readonly SqlValue[]): Promise<readonly FlowRun[]> {
    const rows = await this.#database.read(sql, params)
    await this.#sealer.know(rows.map((row) => row['sealed']))
    return rows.map((row) => this.#open(row))
  }

  #seal(run: FlowRun): Uint8Array {
    // What an ended run knew is of no use to anybody.
    const memory = run.state === 'ended' ? EMPTY_MEMORY : run.memory
    return this.#sealer.seal(Buffer.from(JSON.stringify(memory)), contextOf(run.tenant, run.id), run.tenant)
  }

  #open(row: Row): FlowRun {
    const id = row['id'] as FlowRunId
    const tenant = row['tenant'] as TenantId
    const sealed = this.#sealer.open(row['sealed'] as Uint8Array, contextOf(tenant, id), tenant)
    return {
      id,
      tenant,
      instance: row['instance'] as InstanceId,
      contact: row['contact'] as ContactId,
      conversation: row['conversation'] as ConversationId,
      chat: row['chat'] as ChatId,
      flow: row['flow'] as string,
      version: row['version'] as number,
      sector: row['sector'] as SectorId | null,
      step: row['step'] as string,
      visit: row['visit'] as number,
      state: row['state'] as RunState,
      startedAt: row['started_at'] as number,
      activeSince: row['active_since'] as number | null,
      dueAt: row['due_at'] as number | null,
      endedAt: row['ended_at'] as number | null,
      outcome: row['outcome'] as RunOutcome | null,
      memory: JSON.parse(Buffer.from(sealed).toString()) as RunMemory,
    }
  }
}

function contextOf(tenant: TenantId, id: FlowRunId): string {
  return `FlowRun|${tenant}|${id}`
}

export const flowRunSealedTable: SealedTable = {
  table: 'FlowRun',
  column: 'sealed',
  key: ['id'],
  start: [''],
  page: 'select id, tenant, sealed from "FlowRun" where id > ? order by id limit ?',
  placeOf: (row) => ({
    tenant: row['tenant'] as TenantId,
    context: contextOf(row['tenant'] as TenantId, row['id'] as FlowRunId),
  }),
}
