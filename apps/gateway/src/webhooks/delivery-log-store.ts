import { DAY } from '@eclusa/kernel'
import type { Database, Statement } from '@eclusa/storage'
import type { WebhookId } from './webhook.ts'
import { numberOf } from './webhook-store.ts'

/** One try, without a word of what was sent or answered. */
export interface Delivery {
  /** Grows with each try. */
  readonly id: number
  /** Null: a test. */
  readonly seq: number | null
  readonly type: string
  /** When it ended, epoch milliseconds. */
  readonly at: number
  /** 1 for the first; a try that the schedule did not ask for counts as the one before. */
  readonly attempt: number
  readonly isDelivered: boolean
  /** Null: there was no answer. */
  readonly status: number | null
  /** A code, and what it says for machines; null when it was delivered. */
  readonly error: string | null
  readonly tookMs: number
  /** From the event to the end of this try. */
  readonly ageMs: number
  readonly requestBytes: number
  /** Of the answer's body, as far as it was read. */
  readonly answerBytes: number
}

export const KEEP_DELIVERIES_FOR_MS: number = 7 * DAY
/** Tries kept of one endpoint. */
const MAX_DELIVERIES = 10_000
/** Tries that health is measured by. */
const MEASURED = 100
const STEP = 1000

/** What was tried, kept 7 days and of each endpoint the last 10,000. */
export class DeliveryLog {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  add(webhook: WebhookId, delivery: Omit<Delivery, 'id'>): Statement {
    const { seq, type, at, attempt, isDelivered, status, error, tookMs, ageMs, requestBytes, answerBytes } =
      delivery
    return {
      sql: `insert into "WebhookDelivery" (webhook, seq, type, at, attempt, delivered, status, error, took_ms, age_ms,
              request_bytes, answer_bytes) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      params: [
        webhook,
        seq,
        type,
        at,
        attempt,
        isDelivered ? 1 : 0,
        status,
        error,
        tookMs,
        ageMs,
        requestBytes,
        answerBytes,
      ],
    }
  }

  /** The newest first, those before `before`. */
  async list(
    webhook: WebhookId,
    { before, limit }: { readonly before: number; readonly limit: number },
  ): Promise<readonly Delivery[]> {
    const rows = await this.#database.read(
      `select id, seq, type, at, attempt, delivered, status, error, took_ms, age_ms, request_bytes, answer_bytes
       from "WebhookDelivery" where webhook = ? and id < ? order by id desc limit ?`,
      [webhook, before, limit],
    )
    return rows.map((row) => ({
      id: Number(row['id']),
      seq: numberOf(row['seq']),
      type: row['type'] as string,
      at: Number(row['at']),
      attempt: Number(row['attempt']),
      isDelivered: Number(row['delivered']) === 1,
      status: numberOf(row['status']),
      error: row['error'] as string | null,
      tookMs: Number(row['took_ms']),
      ageMs: Number(row['age_ms']),
      requestBytes: Number(row['request_bytes']),
      answerBytes: Number(row['answer_bytes']),
    }))
  }

  /** Of the last 100 tries: 95 of 100 took no longer than this, and 95 of 100 of those delivered were no older. */
  async p95(webhook: WebhookId): Promise<{ readonly tookMs: number | null; readonly ageMs: number | null }> {
    const rows = await this.#database.read(
      'select took_ms, age_ms, delivered from "WebhookDelivery" where webhook = ? order by id desc limit ?',
      [webhook, MEASURED],
    )
    return {
      tookMs: p95(rows.map((row) => Number(row['took_ms']))),
      ageMs: p95(rows.filter((row) => Number(row['delivered']) === 1).map((row) => Number(row['age_ms']))),
    }
  }

  /** One step of deleting what is older than `before`; true when there may be more. */
  async sweepOld(before: number): Promise<boolean> {
    // The order of ids is that of time.
    const oldest = await this.#database.read('select id, at from "WebhookDelivery" order by id limit ?', [
      STEP,
    ])
    const firstKept = oldest.findIndex((row) => Number(row['at']) >= before)
    const last = oldest[(firstKept === -1 ? oldest.length : firstKept) - 1]
    if (last === undefined) return false
    await this.#database.write([
      { sql: 'delete from "WebhookDelivery" where id <= ?', params: [Number(last['id'])] },
    ])
    return firstKept === -1 && oldest.length === STEP
  }

  /** One step of deleting what is beyond the newest `max` of an endpoint; true when there may be more. */
  async sweepSurplus(webhook: WebhookId, max = MAX_DELIVERIES): Promise<boolean> {
    const [result] = await this.#database.write([
      {
        sql: `delete from "WebhookDelivery" where id in (
                select id from "WebhookDelivery" where webhook = ? and id <= (
                  select id from "WebhookDelivery" where webhook = ? order by id desc limit 1 offset ?)
                order by id limit ?)`,
        params: [webhook, webhook, max, STEP],
      },
    ])
    return result?.changes === STEP
  }
}

function p95(values: readonly number[]): number | null {
  if (values.length === 0) return null
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.ceil(sorted.length * 0.95) - 1] ?? null
}
