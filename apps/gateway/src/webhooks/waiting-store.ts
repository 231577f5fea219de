import type { Database, Row, Statement } from '@eclusa/storage'
import type { WebhookId } from './webhook.ts'
import { numberOf } from './webhook-store.ts'

/** An event that waits for its next try, or behind another of its lane. */
export interface WaitingEvent {
  readonly seq: number
  readonly type: string
  readonly lane: string
  /** Tries of the schedule that have failed. */
  readonly attempts: number
  readonly plannedAt: number
  /** Null: behind another of its lane. */
  readonly dueAt: number | null
  /** When it was first held, epoch milliseconds. */
  readonly since: number
  readonly error: string | null
}

/** An event that was given up. */
export interface DeadEvent {
  readonly seq: number
  readonly type: string
  readonly lane: string
  readonly attempts: number
  readonly error: string
  readonly since: number
  readonly deadAt: number
}

/** What is new in line: nothing of its content, which stays in the log. */
export interface HeldEvent {
  readonly seq: number
  readonly type: string
  readonly lane: string
}

const WAITING = 'seq, type, lane, attempts, planned_at, due_at, since, error'
const STEP = 1000

/**
 * What of the log's events waits for an endpoint, or was given up. Of each lane at most one has a time: its head. The
 * others get theirs, one after the other, when the one before has left.
 */
export class WaitingStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Heads of lanes that are due, the longest due first. */
  async due(webhook: WebhookId, now: number, limit: number): Promise<readonly WaitingEvent[]> {
    const rows = await this.#database.read(
      `select ${WAITING} from "WebhookWaiting" where webhook = ? and due_at <= ? order by due_at, seq limit ?`,
      [webhook, now, limit],
    )
    return rows.map(waitingOf)
  }

  /** The next time after `now` that one is due; null when there is none. */
  async nextDueAt(webhook: WebhookId, now: number): Promise<number | null> {
    const [row] = await this.#database.read(
      'select min(due_at) as due_at from "WebhookWaiting" where webhook = ? and due_at > ?',
      [webhook, now],
    )
    return numberOf(row?.['due_at'])
  }

  /** How many wait, counted up to `most`. */
  async count(webhook: WebhookId, most: number): Promise<number> {
    return this.#count('WebhookWaiting', webhook, most)
  }

  /** How many were given up, counted up to `most`. */
  async countDead(webhook: WebhookId, most: number): Promise<number> {
    return this.#count('WebhookDead', webhook, most)
  }

  async list(webhook: WebhookId, after: number, limit: number): Promise<readonly WaitingEvent[]> {
    const rows = await this.#database.read(
      `select ${WAITING} from "WebhookWaiting" where webhook = ? and seq > ? order by seq limit ?`,
      [webhook, after, limit],
    )
    return rows.map(waitingOf)
  }

  async listDead(webhook: WebhookId, after: number, limit: number): Promise<readonly DeadEvent[]> {
    const rows = await this.#database.read(
      `select seq, type, lane, attempts, error, since, dead_at from "WebhookDead" where webhook = ? and seq > ?
       order by seq limit ?`,
      [webhook, after, limit],
    )
    return rows.map((row) => ({
      seq: Number(row['seq']),
      type: row['type'] as string,
      lane: row['lane'] as string,
      attempts: Number(row['attempts']),
      error: row['error'] as string,
      since: Number(row['since']),
      deadAt: Number(row['dead_at']),
    }))
  }

  /** Those of `lanes` (at most 100) in which something waits. */
  async lanesWaiting(webhook: WebhookId, lanes: readonly string[]): Promise<ReadonlySet<string>> {
    const given =
      this.#database.dialect === 'postgres'
        ? 'select jsonb_array_elements_text(?::jsonb)'
        : 'select value from json_each(?)'
    const rows = await this.#database.read(
      `select distinct lane from "WebhookWaiting" where webhook = ? and lane in (${given})`,
      [webhook, JSON.stringify(lanes)],
    )
    return new Set(rows.map((row) => row['lane'] as string))
  }

  /** Into the line of its lane, behind those that wait there, else due at `dueAt`; one that waits already stays as it is. */
  hold(
    webhook: WebhookId,
    { seq, type, lane }: HeldEvent,
    how: {
      readonly attempts: number
      readonly dueAt: number
      readonly now: number
      readonly error: string | null
    },
  ): Statement {
    const { attempts, dueAt, now, error } = how
    return {
      sql: `insert into "WebhookWaiting" (webhook, seq, type, lane, attempts, planned_at, due_at, since, error)
            select ?, ?, ?, ?, ?, ?, case when exists (
              select 1 from "WebhookWaiting" where webhook = ? and lane = ?) then null else cast(? as bigint) end, ?, ?
            where true on conflict (webhook, seq) do nothing`,
      params: [webhook, seq, type, lane, attempts, dueAt, webhook, lane, dueAt, now, error],
    }
  }

  /** Another try of a head, later. */
  putOff(
    webhook: WebhookId,
    seq: number,
    how: { readonly attempts: number; readonly plannedAt: number; readonly error: string },
  ): Statement {
    return {
      sql: 'update "WebhookWaiting" set attempts = ?, planned_at = ?, due_at = ?, error = ? where webhook = ? and seq = ?',
      params: [how.attempts, how.plannedAt, how.plannedAt, how.error, webhook, seq],
    }
  }

  /** Out of the line, and the next of its lane is due. */
  leave(
    webhook: WebhookId,
    { seq, lane }: { readonly seq: number; readonly lane: string },
    now: number,
  ): readonly Statement[] {
    return [
      { sql: 'delete from "WebhookWaiting" where webhook = ? and seq = ?', params: [webhook, seq] },
      {
        sql: `update "WebhookWaiting" set due_at = ? where webhook = ? and due_at is null and seq = (
                select min(seq) from "WebhookWaiting" where webhook = ? and lane = ?)`,
        params: [now, webhook, webhook, lane],
      },
    ]
  }

  /** All heads at once: the receiver answers again. */
  hurry(webhook: WebhookId, now: number): Statement {
    return {
      sql: 'update "WebhookWaiting" set due_at = ? where webhook = ? and due_at > ?',
      params: [now, webhook, now],
    }
  }

  giveUp(webhook: WebhookId, { seq, type, lane, attempts, error, since, deadAt }: DeadEvent): Statement {
    return {
      sql: `insert into "WebhookDead" (webhook, seq, type, lane, attempts, error, since, dead_at) values (?, ?, ?, ?, ?, ?, ?, ?)
            on conflict (webhook, seq) do update set attempts = excluded.attempts, error = excluded.error, dead_at = excluded.dead_at`,
      params: [webhook, seq, type, lane, attempts, error, since, deadAt],
    }
  }

  /** Out of the list of those given up. */
  raise(webhook: WebhookId, seq: number): Statement {
    return { sql: 'delete from "WebhookDead" where webhook = ? and seq = ?', params: [webhook, seq] }
  }

  /** One step of deleting what was given up before `before`; true when there may be more. */
  async sweepDead(webhook: WebhookId, before: number): Promise<boolean> {
    const [result] = await this.#database.write([
      {
        sql: `delete from "WebhookDead" where webhook = ? and seq in (
                select seq from "WebhookDead" where webhook = ? and dead_at < ? order by seq limit ?)`,
        params: [webhook, webhook, before, STEP],
      },
    ])
    return result?.changes === STEP
  }

  /** One step of deleting all that an endpoint has here, its tries too; true when there may be more. */
  async forgetStep(webhook: WebhookId): Promise<boolean> {
    const results = await this.#database.write(
      (
        [
          ['WebhookWaiting', 'seq'],
          ['WebhookDead', 'seq'],
          ['WebhookDelivery', 'id'],
        ] as const
      ).map(([table, key]) => ({
        sql: `delete from "${table}" where webhook = ? and ${key} in (
                select ${key} from "${table}" where webhook = ? order by ${key} limit ?)`,
        params: [webhook, webhook, STEP],
      })),
    )
    return results.some(({ changes }) => changes === STEP)
  }

  async #count(table: 'WebhookWaiting' | 'WebhookDead', webhook: WebhookId, most: number): Promise<number> {
    const [row] = await this.#database.read(
      `select count(*) as count from (select 1 from "${table}" where webhook = ? limit ?) as counted`,
      [webhook, most],
    )
    return Number(row?.['count'])
  }
}

function waitingOf(row: Row): WaitingEvent {
  return {
    seq: Number(row['seq']),
    type: row['type'] as string,
    lane: row['lane'] as string,
    attempts: Number(row['attempts']),
    plannedAt: Number(row['planned_at']),
    dueAt: numberOf(row['due_at']),
    since: Number(row['since']),
    error: row['error'] as string | null,
  }
}
