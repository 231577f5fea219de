import {
  type ChatId,
  type Clock,
  EclusaError,
  type InstanceId,
  makeMessageId,
  type TenantId,
  type WaMessageId,
} from '@eclusa/kernel'
import {
  type Database,
  type EventLog,
  type Row,
  type Statement,
  type StatementResult,
  storageErrors,
  type WriteOptions,
} from '@eclusa/storage'
import { type ContentStore, forgetContent } from './content-store.ts'
import type { RowStatus } from './counts.ts'
import type {
  DurableEventName,
  OutboundContent,
  OutboundEvent,
  OutboundFailure,
  OutboundIdentity,
  OutboundState,
  OutboundStatus,
  Purpose,
} from './message.ts'
import { fromSqlTime, toSqlTime } from './sql-time.ts'

/** What an Idempotency-Key was answered with the first time. */
export interface Replay {
  /** Of the first message; the others of its batch follow it. */
  readonly seq: number
  readonly messageCount: number
  /** Of the first message. */
  readonly waMessageId: WaMessageId
  readonly bodyHash: string
}

/** A row to be. */
export interface NewRow {
  readonly identity: OutboundIdentity
  readonly content: OutboundContent
  /** 0 urgent, 1 normal, 2 bulk. */
  readonly priority: number
  readonly maxRetries: number
  readonly purpose: Purpose | null
  /** Epoch milliseconds; it takes its place in the line then. Null: at once. */
  readonly notBefore: number | null
  /** Epoch milliseconds; null: as the setting says. */
  readonly expiresAt: number | null
  readonly event: DurableEvent
  /** Committed with it. */
  readonly alongside: readonly Statement[]
}

/** The head of a chat, marked PROCESSING. */
export interface Claimed {
  readonly identity: OutboundIdentity
  /** 0 urgent, 1 normal, 2 bulk. */
  readonly priority: number
  readonly attempts: number
  readonly maxRetries: number
  /** When a send of it last began, this claim included. */
  readonly sentAt: number | null
  readonly purpose: Purpose | null
  /** Epoch milliseconds; null: as the setting says. */
  readonly expiresAt: number | null
  readonly receiptDeliveredAt: number | null
  readonly receiptReadAt: number | null
}

export interface ClaimMode {
  /** The send begins with this write: with nothing to wait for in between it is one write less. */
  readonly sendNow: boolean
  /** The answer to a claim of this chat was lost: a row that is PROCESSING may have been counted already. */
  readonly inDoubt: boolean
}

export type ChatOfTenant = Pick<OutboundIdentity, 'tenant' | 'instance' | 'chat'>

/** How a message ended that WhatsApp has. */
export interface Finish {
  readonly sentAt: number
  readonly status: RowStatus
  readonly events: readonly DurableEvent[]
}

export interface Recovered {
  readonly counts: readonly {
    readonly tenant: TenantId
    readonly instance: InstanceId
    readonly status: RowStatus
    readonly count: number
  }[]
  /** Messages whose send had begun and nobody knows how it ended. */
  readonly unconfirmed: readonly {
    readonly identity: OutboundIdentity
    readonly deliveredAt: number | null
    readonly readAt: number | null
  }[]
}

/** A durable event: its name and what it says. Written in the unit that causes it, told when that is on disk. */
export interface DurableEvent {
  readonly name: DurableEventName
  readonly event: OutboundEvent
}

export interface Tombstone extends OutboundStatus {
  readonly seq: number
}

/** Where a row stands in the index of its instance. */
export interface LivePosition {
  readonly chat: string
  readonly priority: number
  readonly seq: number
}

/** What a receipt said of a message before it ended; epoch milliseconds, both null when none came. */
export interface EarlyReceipts {
  readonly deliveredAt: number | null
  readonly readAt: number | null
}

/** How an attempt to fail a message ended. */
export type FailOutcome =
  | { readonly kind: 'failed' }
  /** A receipt on its row says that WhatsApp has it: it is not to fail. */
  | ({ readonly kind: 'arrived' } & EarlyReceipts)
  /** Its row is gone, or in another status. */
  | { readonly kind: 'gone' }

export interface LiveRow {
  readonly identity: OutboundIdentity
  readonly position: LivePosition
  readonly status: RowStatus
  /** A send of it has begun. */
  readonly sent: boolean
}

/** The chat's next live message, if any. */
export interface Head {
  readonly seq: number
  readonly priority: number
  readonly retryAt: number | null
}

// Hot texts are whole: one that is put together for each call must be hashed and compared each time it is looked up.
export const IDENTITY = 'seq, tenant, instance, chat, "waMessageId", "createdAt"'
/** 0 to 2 stand in the line of their chat, 5 to 7 are held outside of it, 9 is FAILED. */
const IN_LINE = 'priority < 3'
const HEAD =
  'select seq, priority, "retryAt" from "MessageQueueItem" ' +
  `where instance = ? and chat = ? and ${IN_LINE} order by priority, seq limit 1`
/** The owner asks, so the status is not a condition: a row left PROCESSING by a write that failed is claimed again. */
const CLAIM = `update "MessageQueueItem" set status = 'PROCESSING', "retryAt" = null, "updatedAt" = ?,
  "sentAt" = coalesce(?, "sentAt"),
  attempts = attempts + case when status = 'PROCESSING' then cast(? as integer) else cast(? as integer) end
  where seq = (select seq from "MessageQueueItem"
    where instance = ? and chat = ? and ${IN_LINE} order by priority, seq limit 1)
  and ("retryAt" is null or "retryAt" <= ?)
  returning seq, "waMessageId", "createdAt", priority, attempts, "maxRetries", "sentAt", purpose, "isConfirmation",
    "expiresAt", "receiptDeliveredAt", "receiptReadAt"`
const TOMBSTONE_COLUMNS =
  'seq, tenant, instance, chat, wa_message_id, state, accepted_at, sent_at, delivered_at, read_at, ' +
  'failure_code, failure_message, changed_at'
const ROW_IN_STATUS = 'from "MessageQueueItem" where seq = ? and status = ?'
const SENT_TOMBSTONE = `insert into "OutboundTombstone" (${TOMBSTONE_COLUMNS})
  select seq, tenant, instance, chat, "waMessageId",
    case when "receiptReadAt" is not null then 'READ'
      when "receiptDeliveredAt" is not null then 'DELIVERED' else 'SENT' end,
    ?, ?, coalesce("receiptDeliveredAt", "receiptReadAt"), "receiptReadAt", null, null, ? ${ROW_IN_STATUS}`
const DELETE_IN_STATUS = `delete ${ROW_IN_STATUS}`
/** FAILED rows stand behind everything alive. */
const FAILED_PRIORITY = 9
/** What is held has this much more than its priority in the line. */
export const HELD = 5
/** `"heldBy"` of a row that another process accepted for the owner of its instance, who does not know of it yet. */
export const HANDED_OVER = 'HANDED_OVER'
const MAX_RECOVERED = 20_000

/** Purposes that the column "isConfirmation" tells apart, from 1 on; to the other columns they are replies. */
const SAID_BY_US: readonly (Purpose | null)[] = ['confirmation', 'automatic']

/** All SQL of the queue. Every method that writes is one unit: on disk, with its events, when it resolves. */
export class OutboundStore {
  readonly #database: Database
  readonly #contents: ContentStore
  readonly #eventLog: EventLog
  readonly #clock: Clock

  constructor(options: {
    readonly database: Database
    readonly contents: ContentStore
    readonly eventLog: EventLog
    readonly clock: Clock
  }) {
    this.#database = options.database
    this.#contents = options.contents
    this.#eventLog = options.eventLog
    this.#clock = options.clock
  }

  /**
   * Where this process counts on from: no seq greater than this was ever given out. On SQLite the greatest one, on
   * PostgreSQL the start of a range that is nobody else's; 0 for a new database.
   */
  async lastSeq(): Promise<number> {
    if (this.#database.dialect === 'postgres') {
      const [range] = await this.#database.write([
        { sql: `select nextval('"OutboundSeqRange"') as seq`, params: [] },
      ])
      return range?.rows[0]?.['seq'] as number
    }
    const [row] = await this.#database.read(
      `select max(
         coalesce((select seq from sqlite_sequence where name = 'MessageQueueItem'), 0),
         coalesce((select max(seq) from "OutboundTombstone"), 0),
         coalesce((select max(seq) from "IdempotencyKey"), 0)) as seq`,
      [],
    )
    return Number(row?.['seq'] ?? 0)
  }

  /** After a crash: rows marked PROCESSING of the instances of this process wait again. Reads the table, once. */
  async recover(owns: (instance: InstanceId) => boolean): Promise<Recovered> {
    const now = toSqlTime(this.#clock.now())
    const groups =
      'select tenant, instance, status, count(*) as n, count("sentAt") as sent from "MessageQueueItem"'
    let counts = await this.#database.read(`${groups} group by tenant, instance, status`, [])
    const interrupted = counts
      .filter((row) => row['status'] === 'PROCESSING')
      .map((row) => row['instance'] as InstanceId)
      .filter(owns)
    if (interrupted.length > 0) {
      await Promise.all(
        interrupted.map((instance) =>
          this.#database.write(
            [
              {
                // The try that the crash interrupted does not count.
                sql: `update "MessageQueueItem" set status = 'PENDING', "updatedAt" = ?,
                      attempts = case when "sentAt" is null or attempts = 0 then attempts else attempts - 1 end
                      where status = 'PROCESSING' and instance = ?`,
                params: [now, instance],
              },
            ],
            { instance },
          ),
        ),
      )
      counts = await this.#database.read(`${groups} group by tenant, instance, status`, [])
    }
    const anySent = counts.some((row) => row['status'] === 'PENDING' && Number(row['sent']) > 0)
    const unconfirmed = anySent
      ? await this.#database.read(
          `select ${IDENTITY}, "receiptDeliveredAt", "receiptReadAt" from "MessageQueueItem"
           where "sentAt" is not null and status = 'PENDING' order by seq limit ?`,
          [MAX_RECOVERED],
        )
      : []
    return {
      counts: counts.map((row) => ({
        tenant: row['tenant'] as TenantId,
        instance: row['instance'] as InstanceId,
        status: row['status'] as RowStatus,
        count: row['n'] as number,
      })),
      unconfirmed: unconfirmed.map((row) => ({
        identity: identityOf(row),
        deliveredAt: row['receiptDeliveredAt'] as number | null,
        readAt: row['receiptReadAt'] as number | null,
      })),
    }
  }

  /**
   * All new rows, or none; or, when their idempotency key is known, what that was answered with. `forOwner`: another
   * process owns the instance, and takes them over when it hears of them.
   */
  async accept(
    rows: readonly NewRow[],
    idempotency: { readonly key: string; readonly bodyHash: string } | null,
    forOwner = false,
  ): Promise<Replay | null> {
    const unit: Statement[] = []
    for (const row of rows) {
      unit.push(this.#insert(row), this.#contents.insert(row.identity, row.content), this.#log(row.event))
      unit.push(...row.alongside)
    }
    const first = rows[0]?.identity
    if (first === undefined) return null
    const { instance } = first
    const isOneChat = rows.every(({ identity }) => identity.chat === first.chat)
    const options = forOwner ? {} : isOneChat ? chatOf(first) : { instance }
    if (forOwner) unit.push(...rows.map(handOver))
    if (idempotency === null) {
      await this.#database.write(unit, options)
      return null
    }
    unit.unshift({
      sql: `insert into "IdempotencyKey" (seq, instance, key, body_hash, wa_message_id, created_at, message_count)
            values (?, ?, ?, ?, ?, ?, ?) on conflict (instance, key) do nothing`,
      params: [
        first.seq,
        instance,
        idempotency.key,
        idempotency.bodyHash,
        first.waMessageId,
        first.acceptedAt,
        rows.length,
      ],
      mustChange: 1,
    })
    for (;;) {
      try {
        await this.#database.write(unit, options)
        return null
      } catch (error) {
        if (!isConflict(error)) throw error
        const known = await this.replayOf(instance, idempotency.key)
        if (known !== undefined) return known
        // Swept between the two: it is free again. A conflict of another kind stays one.
        if (error.details['reason'] !== 'must-change') throw error
      }
    }
  }

  /** What a key was answered with, while it is kept. */
  async replayOf(instance: InstanceId, key: string): Promise<Replay | undefined> {
    const [known] = await this.#database.read(
      'select seq, body_hash, wa_message_id, message_count from "IdempotencyKey" where instance = ? and key = ?',
      [instance, key],
    )
    if (known === undefined) return undefined
    return {
      seq: known['seq'] as number,
      messageCount: known['message_count'] as number,
      waMessageId: known['wa_message_id'] as WaMessageId,
      bodyHash: known['body_hash'] as string,
    }
  }

  #insert(row: NewRow): Statement {
    const { seq, tenant, instance, chat, waMessageId, acceptedAt } = row.identity
    const at = toSqlTime(acceptedAt)
    const priority = row.notBefore === null ? row.priority : HELD + row.priority
    return {
      sql: `insert into "MessageQueueItem" (seq, tenant, instance, chat, priority, status, "waMessageId",
            "maxRetries", "notBefore", "expiresAt", purpose, "isConfirmation", "createdAt", "updatedAt")
            values (?, ?, ?, ?, ?, 'PENDING', ?, ?, ?, ?, ?, ?, ?, ?)`,
      params: [
        seq,
        tenant,
        instance,
        chat,
        priority,
        waMessageId,
        row.maxRetries,
        row.notBefore,
        row.expiresAt,
        row.purpose === 'confirmation' || row.purpose === 'automatic' ? 'reply' : row.purpose,
        SAID_BY_US.indexOf(row.purpose) + 1,
        at,
        at,
      ],
    }
  }

  /** Marks the head of the chat PROCESSING, if it is due. */
  async claim(whose: ChatOfTenant, how: ClaimMode): Promise<Claimed | undefined> {
    const [result] = await this.#database.write([this.#claim(whose, how)], chatOf(whose))
    return claimedOf(result?.rows[0], whose)
  }

  #claim({ instance, chat }: ChatOfTenant, { sendNow, inDoubt }: ClaimMode): Statement {
    const now = this.#clock.now()
    const count = sendNow ? 1 : 0
    return {
      sql: CLAIM,
      params: [toSqlTime(now), sendNow ? now : null, inDoubt ? 0 : count, count, instance, chat, now],
    }
  }

  async head(instance: InstanceId, chat: ChatId): Promise<Head | undefined> {
    const [row] = await this.#database.read(HEAD, [instance, chat])
    return row === undefined ? undefined : headOf(row)
  }

  /** The send begins: counted and durable before it. False when the row is gone, because it was cancelled. */
  markSent(message: OutboundIdentity): Promise<boolean> {
    const now = this.#clock.now()
    return this.#unlessConflict(
      [
        {
          sql: 'update "MessageQueueItem" set "sentAt" = ?, attempts = attempts + 1, "updatedAt" = ? where seq = ?',
          params: [now, toSqlTime(now), message.seq],
          mustChange: 1,
        },
      ],
      chatOf(message),
    )
  }

  /** The row waits again. `sentAt` stays when nobody knows whether the send reached WhatsApp. */
  putBack(
    message: OutboundIdentity,
    row: { readonly attempts: number; readonly retryAt: number | null; readonly sentAt: number | null },
  ): Promise<boolean> {
    return this.#unlessConflict(
      [
        {
          sql: `update "MessageQueueItem" set status = 'PENDING', attempts = ?, "retryAt" = ?, "sentAt" = ?,
              "updatedAt" = ? where seq = ?`,
          params: [row.attempts, row.retryAt, row.sentAt, toSqlTime(this.#clock.now()), message.seq],
          mustChange: 1,
        },
      ],
      chatOf(message),
    )
  }

  /**
   * WhatsApp has it: the row goes, its facts go to the tombstone (with receipts that were early). False when the row was
   * not in `status` any more.
   */
  async finish(
    identity: OutboundIdentity,
    how: Finish,
  ): Promise<{ readonly next: Head | undefined } | false> {
    const { instance, chat } = identity
    const results = await this.#end(identity, how, { sql: HEAD, params: [instance, chat] })
    if (results === false) return false
    const next = results.at(-1)?.rows[0]
    return { next: next === undefined ? undefined : headOf(next) }
  }

  /** `finish`, and the claim of the chat's next in the same unit; it may have none that is due. */
  async finishAndClaim(
    identity: OutboundIdentity,
    how: Finish,
    claim: ClaimMode,
  ): Promise<{ readonly claimed: Claimed | undefined } | false> {
    const results = await this.#end(identity, how, this.#claim(identity, claim))
    return results !== false && { claimed: claimedOf(results.at(-1)?.rows[0], identity) }
  }

  async #end(
    identity: OutboundIdentity,
    { sentAt, status, events }: Finish,
    last: Statement,
  ): Promise<readonly StatementResult[] | false> {
    const { seq } = identity
    try {
      return await this.#database.write(
        [
          {
            sql: SENT_TOMBSTONE,
            params: [identity.acceptedAt, sentAt, this.#clock.now(), seq, status],
            mustChange: 1,
          },
          { sql: DELETE_IN_STATUS, params: [seq, status], mustChange: 1 },
          ...events.map((event) => this.#log(event)),
          last,
        ],
        chatOf(identity),
      )
    } catch (error) {
      if (isConflict(error)) return false
      throw error
    }
  }

  /**
   * The message failed for good: its row stays for an hour as FAILED, out of its chat's way. Nothing changes when the
   * row is not in `status` any more, or has a receipt.
   */
  async fail(
    identity: OutboundIdentity,
    how: {
      readonly failure: OutboundFailure
      readonly status: RowStatus
      readonly event: DurableEvent
    },
  ): Promise<FailOutcome> {
    const { failure, status, event } = how
    const { seq, acceptedAt } = identity
    const now = this.#clock.now()
    const failed = await this.#unlessConflict(
      [
        {
          sql: `update "MessageQueueItem" set status = 'FAILED', priority = ${FAILED_PRIORITY}, "errorCode" = ?,
              error = ?, "retryAt" = null, "updatedAt" = ? where seq = ? and status = ?
              and "receiptDeliveredAt" is null and "receiptReadAt" is null`,
          params: [failure.code, failure.message, toSqlTime(now), seq, status],
          mustChange: 1,
        },
        {
          sql: `insert into "OutboundTombstone" (${TOMBSTONE_COLUMNS})
              select seq, tenant, instance, chat, "waMessageId", 'FAILED', ?, null, null, null, ?, ?, ?
              from "MessageQueueItem" where seq = ?`,
          params: [acceptedAt, failure.code, failure.message, now, seq],
        },
        this.#log(event),
      ],
      chatOf(identity),
    )
    if (failed) return { kind: 'failed' }
    const [row] = await this.#database.read(
      `select "receiptDeliveredAt", "receiptReadAt" from "MessageQueueItem" where seq = ? and status = ?
       and ("receiptDeliveredAt" is not null or "receiptReadAt" is not null)`,
      [seq, status],
    )
    if (row === undefined) return { kind: 'gone' }
    return {
      kind: 'arrived',
      deliveredAt: row['receiptDeliveredAt'] as number | null,
      readAt: row['receiptReadAt'] as number | null,
    }
  }

  /** Takes a message back that was never handed to WhatsApp; the status its row had, or false. */
  async cancel(identity: OutboundIdentity, event: DurableEvent): Promise<RowStatus | false> {
    const { seq, acceptedAt } = identity
    const row = `from "MessageQueueItem" where seq = ? and "sentAt" is null and status <> 'FAILED'`
    try {
      const [, deleted] = await this.#database.write(
        [
          {
            sql: `insert into "OutboundTombstone" (${TOMBSTONE_COLUMNS})
                select seq, tenant, instance, chat, "waMessageId", 'CANCELLED', ?, null, null, null, null, null, ?
                ${row}`,
            params: [acceptedAt, this.#clock.now(), seq],
            mustChange: 1,
          },
          { sql: `delete ${row} returning status`, params: [seq], mustChange: 1 },
          forgetContent(seq),
          this.#log(event),
        ],
        chatOf(identity),
      )
      return deleted?.rows[0]?.['status'] as RowStatus
    } catch (error) {
      if (isConflict(error)) return false
      throw error
    }
  }

  /** The row, or what became of it. `onTheWire`: its send has begun. */
  async status(seq: number): Promise<(OutboundStatus & { readonly onTheWire: boolean }) | undefined> {
    // In this order: the unit that deletes the row writes the tombstone, so one of the two is always seen.
    const [[row], [tombstone]] = await Promise.all([
      this.#database.read(
        `select ${IDENTITY}, status, "sentAt", "errorCode", error from "MessageQueueItem" where seq = ?`,
        [seq],
      ),
      this.#database.read(`select ${TOMBSTONE_COLUMNS} from "OutboundTombstone" where seq = ?`, [seq]),
    ])
    if (row === undefined) return tombstone && { ...tombstoneOf(tombstone), onTheWire: false }
    const { seq: _, ...identity } = identityOf(row)
    const code = row['errorCode']
    return {
      ...identity,
      state: row['status'] as OutboundState,
      sentAt: null,
      deliveredAt: null,
      readAt: null,
      failure: code === null ? null : { code: code as string, message: row['error'] as string },
      onTheWire: row['sentAt'] !== null,
    }
  }

  async tombstone(instance: InstanceId, waMessageId: string): Promise<Tombstone | undefined> {
    const [row] = await this.#database.read(
      `select ${TOMBSTONE_COLUMNS} from "OutboundTombstone" where instance = ? and wa_message_id = ?`,
      [instance, waMessageId],
    )
    return row && tombstoneOf(row)
  }

  /** A receipt on a tombstone that is still in the state it was read in; false when it is not. */
  recordOnTombstone(
    before: Tombstone,
    after: {
      readonly state: OutboundState
      readonly sentAt: number | null
      readonly deliveredAt: number | null
      readonly readAt: number | null
    },
    events: readonly DurableEvent[],
  ): Promise<boolean> {
    return this.#unlessConflict(
      [
        {
          sql: `update "OutboundTombstone" set state = ?, sent_at = ?, delivered_at = ?, read_at = ?, changed_at = ?
              where seq = ? and state = ?`,
          params: [
            after.state,
            after.sentAt,
            after.deliveredAt,
            after.readAt,
            this.#clock.now(),
            before.seq,
            before.state,
          ],
          mustChange: 1,
        },
        ...events.map((event) => this.#log(event)),
      ],
      chatOf(before),
    )
  }

  /** A receipt that came before the acknowledgement was processed; false when the row is gone. */
  recordOnRow(
    message: OutboundIdentity,
    deliveredAt: number | null,
    readAt: number | null,
  ): Promise<boolean> {
    return this.#unlessConflict(
      [
        {
          sql: `update "MessageQueueItem" set "receiptDeliveredAt" = coalesce("receiptDeliveredAt", ?),
              "receiptReadAt" = coalesce("receiptReadAt", ?), "updatedAt" = ? where seq = ? and priority < 9`,
          params: [deliveredAt, readAt, toSqlTime(this.#clock.now()), message.seq],
          mustChange: 1,
        },
      ],
      chatOf(message),
    )
  }

  /**
   * The next `limit` chats of the instance with rows, in order of their ids: a loose index scan, 1 M chats or 10.
   * `inLine` is false where all of them are held or failed.
   */
  async chatsAfter(
    instance: InstanceId,
    after: string,
    limit: number,
  ): Promise<readonly { readonly chat: ChatId; readonly tenant: TenantId; readonly inLine: boolean }[]> {
    const rows = await this.#database.read(
      `with recursive line (chat) as (
         select min(chat) from "MessageQueueItem" where instance = ? and chat > ?
         union all
         select (select min(chat) from "MessageQueueItem" where instance = ? and chat > line.chat)
         from line where line.chat is not null
       )
       select chat, (select tenant from "MessageQueueItem" where instance = ? and chat = line.chat limit 1) as tenant,
         (select min(priority) from "MessageQueueItem" where instance = ? and chat = line.chat) as first
       from line where chat is not null limit ?`,
      [instance, after, instance, instance, instance, limit],
    )
    return rows.map((row) => ({
      chat: row['chat'] as ChatId,
      tenant: row['tenant'] as TenantId,
      inLine: Number(row['first']) < HELD,
    }))
  }

  /** How many chats after `after` have messages that wait, at most `limit`, and the last of them. */
  async countChatsAfter(
    instance: InstanceId,
    after: string,
    limit: number,
  ): Promise<{ readonly count: number; readonly last: string | null }> {
    const next = 'select min(chat) from "MessageQueueItem" where instance = ? and priority < 9 and chat >'
    const [row] = await this.#database.read(
      `with recursive line (chat, place) as (
         select (${next} ?), 1
         union all
         select (${next} line.chat), place + 1 from line where line.chat is not null and place < ?
       )
       select count(chat) as count, max(chat) as last from line`,
      [instance, after, instance, limit],
    )
    return { count: Number(row?.['count'] ?? 0), last: (row?.['last'] ?? null) as string | null }
  }

  /** The next `limit` unfinished rows of the instance, in order of the index. */
  async rowsOfInstance(
    instance: InstanceId,
    after: LivePosition,
    limit: number,
  ): Promise<readonly LiveRow[]> {
    const rows = await this.#database.read(
      `select ${IDENTITY}, priority, status, "sentAt" from "MessageQueueItem"
       where instance = ? and (chat, priority, seq) > (?, ?, ?) and priority < 9
       order by chat, priority, seq limit ?`,
      [instance, after.chat, after.priority, after.seq, limit],
    )
    return rows.map(liveRowOf)
  }

  /** The next `limit` unfinished rows of a chat, in order of the index. */
  async rowsOfChat(
    instance: InstanceId,
    chat: ChatId,
    after: { readonly priority: number; readonly seq: number },
    limit: number,
  ): Promise<readonly LiveRow[]> {
    const rows = await this.#database.read(
      `select ${IDENTITY}, priority, status, "sentAt" from "MessageQueueItem"
       where instance = ? and chat = ? and (priority, seq) > (?, ?) and priority < 9
       order by priority, seq limit ?`,
      [instance, chat, after.priority, after.seq, limit],
    )
    return rows.map(liveRowOf)
  }

  /**
   * One step of the sweep over the queue table in seq order: rows that waited past `pendingBefore`, and FAILED ones
   * not touched since `failedBefore`. `lastSeq` is where the next step begins, null at the end of the table.
   */
  async sweepStep(
    afterSeq: number,
    limit: number,
    pendingBefore: number,
    failedBefore: number,
  ): Promise<{
    readonly expired: readonly Pick<LiveRow, 'identity' | 'sent'>[]
    readonly failed: readonly {
      readonly seq: number
      readonly tenant: TenantId
      readonly instance: InstanceId
    }[]
    readonly lastSeq: number | null
  }> {
    const window = 'from (select * from "MessageQueueItem" where seq > ? order by seq limit ?) as step'
    const [[end], rows] = await Promise.all([
      this.#database.read(
        'select max(seq) as seq from (select seq from "MessageQueueItem" where seq > ? order by seq limit ?) as step',
        [afterSeq, limit],
      ),
      this.#database.read(
        `select ${IDENTITY}, status, "sentAt" ${window} where (status = 'PENDING' and "expiresAt" is null
           and "createdAt" < ?) or (status = 'PENDING' and "expiresAt" <= ?)
         or (status = 'FAILED' and "updatedAt" < ?)`,
        [afterSeq, limit, toSqlTime(pendingBefore), this.#clock.now(), toSqlTime(failedBefore)],
      ),
    ])
    return {
      expired: rows
        .filter((row) => row['status'] === 'PENDING')
        .map((row) => ({ identity: identityOf(row), sent: row['sentAt'] !== null })),
      failed: rows.filter((row) => row['status'] === 'FAILED').map(identityOf),
      lastSeq: (end?.['seq'] ?? null) as number | null,
    }
  }

  /**
   * Rows that were FAILED; their tombstones stay, and what they said when it was ever on its way to WhatsApp. Returns how
   * many went.
   */
  async removeFailed(seqs: readonly number[]): Promise<number> {
    if (seqs.length === 0) return 0
    const results = await this.#database.write(
      seqs.flatMap((seq) => [
        {
          sql: `delete from "OutboundContent" where seq = ? and exists (select 1 from "MessageQueueItem" as item
                where item.seq = "OutboundContent".seq and item.status = 'FAILED' and item."sentAt" is null)`,
          params: [seq],
        },
        { sql: `delete from "MessageQueueItem" where seq = ? and status = 'FAILED'`, params: [seq] },
      ]),
    )
    return results.reduce((sum, { changes }, at) => sum + (at % 2 === 1 ? changes : 0), 0)
  }

  /**
   * One step over a table kept for a time. seq order is the order of acceptance, and no row is older than its
   * acceptance, so the steps end where acceptance is younger than `before`. A tombstone takes what its message said
   * with it.
   */
  async forgetStep(
    table: ForgettableTable,
    afterSeq: number,
    limit: number,
    before: number,
  ): Promise<{ readonly deletedCount: number; readonly lastSeq: number | null }> {
    const { acceptedAt, isOver } = FORGETTABLE[table]
    const step = await this.#database.read(
      `select seq, ${acceptedAt} as accepted_at from "${table}" where seq > ? order by seq limit ?`,
      [afterSeq, limit],
    )
    const firstYoung = step.findIndex((row) => Number(row['accepted_at']) >= before)
    const lastOld = step[(firstYoung === -1 ? step.length : firstYoung) - 1]
    if (lastOld === undefined) return { deletedCount: 0, lastSeq: null }
    const lastSeq = lastOld['seq'] as number
    const range = 'seq > ? and seq <= ?'
    const contents = `delete from "OutboundContent" where ${range} and exists (select 1 from "OutboundTombstone" as ended
      where ended.seq = "OutboundContent".seq and changed_at < ?)
      and not exists (select 1 from "MessageQueueItem" as item where item.seq = "OutboundContent".seq)`
    const results = await this.#database.write(
      [
        ...(table === 'OutboundTombstone' ? [contents] : []),
        `delete from "${table}" where ${range} and ${isOver}`,
      ].map((sql) => ({ sql, params: [afterSeq, lastSeq, before] })),
    )
    return { deletedCount: results.at(-1)?.changes ?? 0, lastSeq }
  }

  /** One step of deleting everything of an instance, whatever its state: at most `limit` rows of each table. */
  async forgetInstanceStep(instance: InstanceId, limit: number): Promise<{ readonly isLast: boolean }> {
    const results = await this.#database.write(
      TABLES.flatMap(({ table, order }) => {
        // In the order of an index, so that both statements mean the same rows.
        const rows = `select seq from "${table}" where instance = ? order by ${order} limit ?`
        const params = [instance, limit]
        return [
          { sql: `delete from "OutboundContent" where seq in (${rows})`, params },
          { sql: `delete from "${table}" where seq in (${rows})`, params },
        ]
      }),
    )
    return { isLast: results.every(({ changes }) => changes < limit) }
  }

  #log({ name, event }: DurableEvent): Statement {
    const { tenant, instance, ...payload } = event
    return this.#eventLog.append({ tenant, instance, type: name, payload, isOpen: true })
  }

  async #unlessConflict(statements: readonly Statement[], options: WriteOptions): Promise<boolean> {
    try {
      await this.#database.write(statements, options)
      return true
    } catch (error) {
      if (isConflict(error)) return false
      throw error
    }
  }
}

/** Out of its chat's line, until the owner takes it over. */
function handOver({ identity: { seq, acceptedAt }, notBefore }: NewRow): Statement {
  return {
    sql: `update "MessageQueueItem" set "heldBy" = '${HANDED_OVER}', "notBefore" = ?, priority = priority + ?
          where seq = ?`,
    params: [notBefore ?? acceptedAt, notBefore === null ? HELD : 0, seq],
  }
}

/** Each finds the rows of an instance by an index, in this order. */
const TABLES = [
  { table: 'MessageQueueItem', order: 'chat, priority, seq' },
  { table: 'OutboundTombstone', order: 'wa_message_id' },
  { table: 'IdempotencyKey', order: 'key' },
] as const

/** When a row of a table that is kept for a time is over; `?` is the instant before which it must have been. */
const FORGETTABLE = {
  OutboundTombstone: { acceptedAt: 'accepted_at', isOver: 'changed_at < ?' },
  // As long as its message waits, and from its send on.
  OutboundContent: {
    acceptedAt: 'accepted_at',
    isOver: `coalesce((select coalesce(sent_at, changed_at) from "OutboundTombstone" as ended
        where ended.seq = "OutboundContent".seq), accepted_at) < ?
      and not exists (select 1 from "MessageQueueItem" as item where item.seq = "OutboundContent".seq)`,
  },
  // Known at least until the last message that it names has ended.
  IdempotencyKey: {
    acceptedAt: 'created_at',
    isOver: `created_at < ?
      and not exists (select 1 from "MessageQueueItem" as item where item.seq >= "IdempotencyKey".seq
        and item.seq < "IdempotencyKey".seq + message_count and item.status <> 'FAILED')`,
  },
} as const

export type ForgettableTable = keyof typeof FORGETTABLE

/** A unit that reads and changes nothing but messages of one chat, for its instance's owner alone. */
export function chatOf({ instance, chat }: Pick<OutboundIdentity, 'instance' | 'chat'>): WriteOptions {
  return { instance, rows: `outbound|${instance}|${chat}` }
}

export function isConflict(error: unknown): error is EclusaError {
  return error instanceof EclusaError && error.code === storageErrors.CONFLICT.code
}

export function identityOf(row: Row): OutboundIdentity {
  return identityIn(row as Row & ChatOfTenant, row)
}

function identityIn(whose: ChatOfTenant, row: Row): OutboundIdentity {
  const seq = row['seq'] as number
  return {
    id: makeMessageId(seq),
    seq,
    tenant: whose.tenant,
    instance: whose.instance,
    chat: whose.chat,
    waMessageId: row['waMessageId'] as WaMessageId,
    acceptedAt: fromSqlTime(row['createdAt'] as string),
  }
}

function liveRowOf(row: Row): LiveRow {
  return {
    identity: identityOf(row),
    position: {
      chat: row['chat'] as string,
      priority: row['priority'] as number,
      seq: row['seq'] as number,
    },
    status: row['status'] as RowStatus,
    sent: row['sentAt'] !== null,
  }
}

function claimedOf(row: Row | undefined, whose: ChatOfTenant): Claimed | undefined {
  if (row === undefined) return undefined
  return {
    identity: identityIn(whose, row),
    priority: row['priority'] as number,
    attempts: row['attempts'] as number,
    maxRetries: row['maxRetries'] as number,
    sentAt: row['sentAt'] as number | null,
    purpose: SAID_BY_US[Number(row['isConfirmation']) - 1] ?? (row['purpose'] as Purpose | null),
    expiresAt: row['expiresAt'] as number | null,
    receiptDeliveredAt: row['receiptDeliveredAt'] as number | null,
    receiptReadAt: row['receiptReadAt'] as number | null,
  }
}

function headOf(row: Row): Head {
  return {
    seq: row['seq'] as number,
    priority: row['priority'] as number,
    retryAt: row['retryAt'] as number | null,
  }
}

export function tombstoneOf(row: Row): Tombstone {
  const seq = row['seq'] as number
  const code = row['failure_code']
  return {
    id: makeMessageId(seq),
    seq,
    tenant: row['tenant'] as TenantId,
    instance: row['instance'] as InstanceId,
    chat: row['chat'] as ChatId,
    state: row['state'] as OutboundState,
    waMessageId: row['wa_message_id'] as WaMessageId,
    acceptedAt: row['accepted_at'] as number,
    sentAt: row['sent_at'] as number | null,
    deliveredAt: row['delivered_at'] as number | null,
    readAt: row['read_at'] as number | null,
    failure: code === null ? null : { code: code as string, message: row['failure_message'] as string },
  }
}
