import type { ChatId, Clock, InstanceId, TenantId } from '@eclusa/kernel'
import type { Database, EventLog, SqlValue } from '@eclusa/storage'
import type { RowStatus } from './counts.ts'
import type { OutboundIdentity, OutboundState } from './message.ts'
import { chatOf, type DurableEvent, IDENTITY, identityOf, isConflict, tombstoneOf } from './outbound-store.ts'
import { fromSqlTime, toSqlTime } from './sql-time.ts'

/** A message in a list. */
export interface ListedMessage {
  readonly identity: OutboundIdentity
  readonly state: OutboundState
  readonly sentAt: number | null
  readonly deliveredAt: number | null
  readonly readAt: number | null
  readonly failure: { readonly code: string; readonly message: string } | null
}

export interface ListFilter {
  readonly tenant?: TenantId
  readonly instance?: InstanceId
  readonly chat?: ChatId
  readonly state?: OutboundState
}

/** A row as it waits. */
export interface WaitingRow {
  readonly identity: OutboundIdentity
  readonly status: RowStatus
  readonly priority: number
  readonly attempts: number
  readonly retryAt: number | null
  readonly notBefore: number | null
  readonly expiresAt: number | null
  readonly heldBy: string | null
  readonly onTheWire: boolean
}

/** Messages looked at for one page of a list: what is filtered out counts, so that no page reads the whole table. */
const LOOK_AT = 2000

/** SQL of what people ask about messages and do to them. */
export class ControlStore {
  readonly #database: Database
  readonly #eventLog: EventLog
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly eventLog: EventLog; readonly clock: Clock }) {
    this.#database = options.database
    this.#eventLog = options.eventLog
    this.#clock = options.clock
  }

  /**
   * At most `limit` messages older than `before`, newest first, those that wait and those that ended. `next` is the
   * cursor to go on from, null at the end; a page may have few or none and still not be the last.
   */
  async list(
    filter: ListFilter,
    before: number,
    limit: number,
  ): Promise<{ readonly items: readonly ListedMessage[]; readonly next: number | null }> {
    const fixed: [string, SqlValue][] = []
    if (filter.tenant !== undefined) fixed.push(['tenant', filter.tenant])
    if (filter.instance !== undefined) fixed.push(['instance', filter.instance])
    if (filter.chat !== undefined) fixed.push(['chat', filter.chat])
    const where = fixed.map(([name]) => ` and ${name} = ?`).join('')
    const params = fixed.map(([, value]) => value)
    const window = (table: string): string =>
      `(select * from "${table}" where seq < ? order by seq desc limit ?) as step where seq < ?${where} order by seq desc`
    const [rows, tombstones, rowsEnd, tombstonesEnd] = await Promise.all([
      this.#database.read(
        `select ${IDENTITY}, status, "errorCode", error from ${window('MessageQueueItem')}`,
        [before, LOOK_AT, before, ...params],
      ),
      this.#database.read(`select * from ${window('OutboundTombstone')}`, [
        before,
        LOOK_AT,
        before,
        ...params,
      ]),
      this.#windowEnd('MessageQueueItem', before),
      this.#windowEnd('OutboundTombstone', before),
    ])
    // Beyond the end of a window nothing is known, so both end where the first of them does.
    const lookedUpTo = Math.max(rowsEnd, tombstonesEnd)
    const found = new Map<number, ListedMessage>()
    for (const row of tombstones) {
      const message = ofTombstone(row)
      found.set(message.identity.seq, message)
    }
    // A failed message has both; the row may have been waiting when the tombstone was read.
    for (const row of rows) {
      const message = ofRow(row)
      if (!found.has(message.identity.seq)) found.set(message.identity.seq, message)
    }
    const all = [...found.values()]
      .filter(({ identity, state }) => {
        return identity.seq >= lookedUpTo && (filter.state === undefined || filter.state === state)
      })
      .toSorted((a, b) => b.identity.seq - a.identity.seq)
    const items = all.slice(0, limit)
    const last = items.at(-1)?.identity.seq
    if (all.length > limit && last !== undefined) return { items, next: last }
    return { items, next: lookedUpTo === 0 ? null : lookedUpTo }
  }

  /** Up to which seq a window of the table reaches; 0 when to its beginning. */
  async #windowEnd(table: 'MessageQueueItem' | 'OutboundTombstone', before: number): Promise<number> {
    const [end] = await this.#database.read(
      `select min(seq) as seq, count(*) as n from (
         select seq from "${table}" where seq < ? order by seq desc limit ?) as step`,
      [before, LOOK_AT],
    )
    return Number(end?.['n'] ?? 0) < LOOK_AT ? 0 : Number(end?.['seq'])
  }

  async waiting(seq: number): Promise<WaitingRow | undefined> {
    const [row] = await this.#database.read(
      `select ${IDENTITY}, status, priority, attempts, "retryAt", "sentAt", "notBefore", "expiresAt", "heldBy"
       from "MessageQueueItem" where seq = ?`,
      [seq],
    )
    if (row === undefined) return undefined
    return {
      identity: identityOf(row),
      status: row['status'] as RowStatus,
      priority: row['priority'] as number,
      attempts: row['attempts'] as number,
      retryAt: row['retryAt'] as number | null,
      notBefore: row['notBefore'] as number | null,
      expiresAt: row['expiresAt'] as number | null,
      heldBy: row['heldBy'] as string | null,
      onTheWire: row['sentAt'] !== null,
    }
  }

  /** How many stand before it in the line of its chat; counts no further than `most`. */
  async aheadOf({ identity, priority }: WaitingRow, most: number): Promise<number> {
    const [row] = await this.#database.read(
      `select count(*) as n from (select seq from "MessageQueueItem" where instance = ? and chat = ?
         and (priority, seq) < (?, ?) and priority < 3 limit ?) as ahead`,
      [identity.instance, identity.chat, priority, identity.seq, most],
    )
    return Number(row?.['n'] ?? 0)
  }

  /** To the head of its chat, due at once; false when it does not wait any more. */
  async moveToNow({ seq, instance, chat }: OutboundIdentity, expireAfterMs: number): Promise<boolean> {
    const now = this.#clock.now()
    const [result] = await this.#database.write(
      [
        {
          sql: `update "MessageQueueItem" set priority = 0, "retryAt" = null, "notBefore" = null, "heldBy" = null,
              "expiresAt" = case when "expiresAt" is null then null when "expiresAt" < ? then "expiresAt" else ? end,
              "updatedAt" = ? where seq = ? and status = 'PENDING' and priority < 9`,
          params: [now + expireAfterMs, now + expireAfterMs, toSqlTime(now), seq],
        },
      ],
      chatOf({ instance, chat }),
    )
    return (result?.changes ?? 0) > 0
  }

  /** The next failed messages of an instance, in order of the index. */
  async failedOf(
    instance: InstanceId,
    after: { readonly chat: string; readonly seq: number },
    limit: number,
  ): Promise<readonly OutboundIdentity[]> {
    const rows = await this.#database.read(
      `select ${IDENTITY} from "MessageQueueItem" where instance = ? and (chat, priority, seq) > (?, 9, ?)
       and priority = 9 order by chat, priority, seq limit ?`,
      [instance, after.chat, after.seq, limit],
    )
    return rows.map(identityOf)
  }

  /**
   * A failed message waits again, under the same WhatsApp id, with its tries before it. `sent`: it may have reached
   * WhatsApp. Undefined when it has not failed, or its row is gone.
   */
  async retry(
    { seq, acceptedAt }: OutboundIdentity,
    expireAfterMs: number,
    event: DurableEvent,
  ): Promise<{ readonly sent: boolean } | undefined> {
    const now = this.#clock.now()
    // It had a life; one that ended of old age gets another.
    const expiresAt = Math.max(acceptedAt, now) + expireAfterMs
    const { tenant, instance, ...payload } = event.event
    try {
      const [revived] = await this.#database.write(
        [
          {
            sql: `update "MessageQueueItem" set status = 'PENDING', priority = 1, attempts = 0, "errorCode" = null,
                error = null, "retryAt" = null, "expiresAt" = ?, "updatedAt" = ? where seq = ? and status = 'FAILED'
                returning "sentAt"`,
            params: [expiresAt, toSqlTime(now), seq],
            mustChange: 1,
          },
          { sql: `delete from "OutboundTombstone" where seq = ? and state = 'FAILED'`, params: [seq] },
          this.#eventLog.append({ tenant, instance, type: event.name, payload }),
        ],
        chatOf(event.event),
      )
      return { sent: revived?.rows[0]?.['sentAt'] !== null }
    } catch (error) {
      if (isConflict(error)) return undefined
      throw error
    }
  }

  /** When the oldest unfinished message of an instance was accepted; reads its index only. */
  async oldestOf(instance: InstanceId): Promise<number | null> {
    const [row] = await this.#database.read(
      'select min(seq) as seq from "MessageQueueItem" where instance = ? and priority < 9',
      [instance],
    )
    const seq = (row?.['seq'] ?? null) as number | null
    if (seq === null) return null
    const [oldest] = await this.#database.read('select "createdAt" from "MessageQueueItem" where seq = ?', [
      seq,
    ])
    return oldest === undefined ? null : fromSqlTime(oldest['createdAt'] as string)
  }
}

type Row = Parameters<typeof identityOf>[0]

function ofRow(row: Row): ListedMessage {
  const code = row['errorCode']
  return {
    identity: identityOf(row),
    state: row['status'] as OutboundState,
    sentAt: null,
    deliveredAt: null,
    readAt: null,
    failure: code === null ? null : { code: code as string, message: row['error'] as string },
  }
}

function ofTombstone(row: Row): ListedMessage {
  const { state, sentAt, deliveredAt, readAt, failure, ...identity } = tombstoneOf(row)
  return { identity, state, sentAt, deliveredAt, readAt, failure }
}
