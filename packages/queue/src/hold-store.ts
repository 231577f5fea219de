import type { ChatId, Clock, InstanceId, TenantId } from '@eclusa/kernel'
import type { Database, StatementResult } from '@eclusa/storage'
import type { HoldReason } from './care.ts'
import type { OutboundIdentity } from './message.ts'
import { chatOf, HANDED_OVER, HELD, IDENTITY, identityOf } from './outbound-store.ts'
import { toSqlTime } from './sql-time.ts'

/** A message that took its place in its chat's line. */
export interface Admitted {
  readonly identity: OutboundIdentity
  readonly priority: number
}

/** A held message whose time has come. */
export interface Due {
  readonly seq: number
  readonly instance: InstanceId
  readonly notBefore: number
}

/** How a message steps out of its line. Instants in epoch milliseconds. */
export interface Hold {
  readonly reason: HoldReason
  readonly until: number
  readonly wholeChat: boolean
  readonly attempts: number
  readonly sentAt: number | null
  /** When what has no end of its own expires; null: as it would without the hold. */
  readonly expiresAt: number | null
}

/** A message that another process accepted, for the owner. */
export interface HandedOver extends Admitted {
  /** Null when it stands in its chat's line. */
  readonly notBefore: number | null
}

/** Messages of one instance, or of all of a tenant. */
export type Whose = { readonly instance: InstanceId } | { readonly tenant: TenantId }

/** As the partial index has it. */
const IS_HELD = 'priority between 5 and 7'
/** Not only known to the process that accepted it. */
const IS_KNOWN = `coalesce("heldBy", '') <> '${HANDED_OVER}'`

/** SQL of messages that are held outside of their chat's line until a time. */
export class HoldStore {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  /** When the first of those that are due after `after` is; null when none is. */
  async nextDueAt(after: number): Promise<number | null> {
    const [row] = await this.#database.read(
      `select "notBefore" as due from "MessageQueueItem" where ${IS_HELD} and ${IS_KNOWN} and "notBefore" > ?
       order by "notBefore", seq limit 1`,
      [after],
    )
    return (row?.['due'] ?? null) as number | null
  }

  /** The next `limit` that are due at `now`, behind `after`. */
  async due(now: number, after: Pick<Due, 'seq' | 'notBefore'>, limit: number): Promise<readonly Due[]> {
    const rows = await this.#database.read(
      `select seq, instance, "notBefore" from "MessageQueueItem" where ${IS_HELD} and ${IS_KNOWN}
         and "notBefore" <= ? and ("notBefore" > ? or ("notBefore" = ? and seq > ?))
       order by "notBefore", seq limit ?`,
      [now, after.notBefore, after.notBefore, after.seq, limit],
    )
    return rows.map((row) => ({
      seq: row['seq'] as number,
      instance: row['instance'] as InstanceId,
      notBefore: row['notBefore'] as number,
    }))
  }

  /** Those of `seqs` that are still held and due take their places, first come first. */
  async admit(seqs: readonly number[]): Promise<readonly Admitted[]> {
    if (seqs.length === 0) return []
    const now = this.#clock.now()
    // One statement for many lengths: a database keeps the plans of few.
    const count = 2 ** Math.ceil(Math.log2(seqs.length))
    const padded = Array.from({ length: count }, (_, nth) => seqs[Math.min(nth, seqs.length - 1)] ?? 0)
    const [result] = await this.#database.write([
      {
        sql: `update "MessageQueueItem" set priority = priority - ${HELD}, "heldBy" = null, "updatedAt" = ?
              where seq in (${padded.map(() => '?').join(', ')}) and ${IS_HELD} and "notBefore" <= ? and ${IS_KNOWN}
              returning ${IDENTITY}, priority`,
        params: [toSqlTime(now), ...padded, now],
      },
    ])
    return admittedOf(result)
  }

  /**
   * The claimed head of a chat steps out of its line until `until`; with `wholeChat` everything behind it that was
   * never sent, too. False when the row is gone.
   */
  async hold({ seq, instance, chat }: OutboundIdentity, how: Hold): Promise<boolean> {
    const now = toSqlTime(this.#clock.now())
    const { reason, until, wholeChat, attempts, sentAt, expiresAt } = how
    const [head] = await this.#database.write(
      [
        {
          sql: `update "MessageQueueItem" set status = 'PENDING', priority = priority + ${HELD}, "notBefore" = ?,
              "heldBy" = ?, attempts = ?, "sentAt" = ?, "expiresAt" = coalesce("expiresAt", ?), "updatedAt" = ?
              where seq = ? and priority < 3`,
          params: [until, reason, attempts, sentAt, expiresAt, now, seq],
        },
        ...(wholeChat
          ? [
              {
                sql: `update "MessageQueueItem" set priority = priority + ${HELD}, "notBefore" = ?, "heldBy" = ?,
                    "expiresAt" = coalesce("expiresAt", ?), "updatedAt" = ? where instance = ? and chat = ? and priority < 3 and seq <> ?
                    and status = 'PENDING' and "sentAt" is null`,
                params: [until, reason, expiresAt, now, instance, chat, seq],
              },
            ]
          : []),
      ],
      chatOf({ instance, chat }),
    )
    return (head?.changes ?? 0) > 0
  }

  /** Instances, of a tenant or of all, of which messages are held for one of `reasons`. */
  async instancesHeld(
    reasons: readonly HoldReason[],
    tenant: TenantId | null,
  ): Promise<readonly InstanceId[]> {
    const marks = reasons.map(() => '?').join(', ')
    const rows = await this.#database.read(
      `select distinct instance from "MessageQueueItem" where ${IS_HELD} and "heldBy" in (${marks})
       ${tenant === null ? '' : 'and tenant = ?'}`,
      tenant === null ? reasons : [...reasons, tenant],
    )
    return rows.map((row) => row['instance'] as InstanceId)
  }

  /** Instances for which other processes accepted messages. */
  async handedOver(): Promise<readonly InstanceId[]> {
    const rows = await this.#database.read(
      `select distinct instance from "MessageQueueItem" where ${IS_HELD} and "heldBy" = '${HANDED_OVER}'`,
      [],
    )
    return rows.map((row) => row['instance'] as InstanceId)
  }

  /**
   * The next `limit` that others accepted for `instance` belong to this process from now on: each is
   * told once. What is not for later takes its place.
   */
  async takeOver(instance: InstanceId, limit: number): Promise<readonly HandedOver[]> {
    const now = this.#clock.now()
    const [result] = await this.#database.write(
      [
        {
          sql: `update "MessageQueueItem" set "heldBy" = null, "updatedAt" = ?,
                priority = case when "notBefore" <= ? then priority - ${HELD} else priority end
              where seq in (select seq from "MessageQueueItem" where ${IS_HELD} and "heldBy" = '${HANDED_OVER}'
                and instance = ? order by "notBefore", seq limit ?)
              returning ${IDENTITY}, priority, "notBefore"`,
          params: [toSqlTime(now), now, instance, limit],
        },
      ],
      { instance },
    )
    const rows = (result?.rows ?? []).map((row) => ({
      identity: identityOf(row),
      priority: row['priority'] as number,
      notBefore: (row['priority'] as number) < HELD ? null : (row['notBefore'] as number),
    }))
    return rows.toSorted((a, b) => a.identity.seq - b.identity.seq)
  }

  /** The next `limit` that are held for one of `reasons` take their places. */
  async releaseSome(
    instance: InstanceId,
    reasons: readonly HoldReason[],
    limit: number,
  ): Promise<readonly Admitted[]> {
    const marks = reasons.map(() => '?').join(', ')
    const [result] = await this.#database.write(
      [
        {
          sql: `update "MessageQueueItem" set priority = priority - ${HELD}, "heldBy" = null, "notBefore" = null,
              "updatedAt" = ? where seq in (select seq from "MessageQueueItem" where ${IS_HELD}
                and instance = ? and "heldBy" in (${marks}) order by "notBefore", seq limit ?) and ${IS_HELD}
              returning ${IDENTITY}, priority`,
          params: [toSqlTime(this.#clock.now()), instance, ...reasons, limit],
        },
      ],
      { instance },
    )
    // The order of the rows is the database's own.
    return admittedOf(result).toSorted((a, b) => a.identity.seq - b.identity.seq)
  }

  /** How many are held for `reason`, counted up to `limit`. */
  async countHeld(whose: Whose, reason: HoldReason, limit: number): Promise<number> {
    const [row] = await this.#database.read(
      `select count(*) as n from (select seq from "MessageQueueItem" where ${IS_HELD}
         and ${'instance' in whose ? 'instance' : 'tenant'} = ? and "heldBy" = ? limit ?) as held`,
      ['instance' in whose ? whose.instance : whose.tenant, reason, limit],
    )
    return Number(row?.['n'] ?? 0)
  }

  /**
   * What care holds of a chat for one of `reasons` takes its place again. How many. Each of those that wait for the rate
   * of a tenant has a time of its own: of them only those accepted before `seq`, if it is given.
   */
  async releaseChat(
    instance: InstanceId,
    chat: ChatId,
    reasons: readonly HoldReason[],
    seq: number | null = null,
  ): Promise<number> {
    const marks = reasons.map(() => '?').join(', ')
    const earlier = seq === null ? '' : ` and ("heldBy" not in ('TENANT_RATE', 'SLOWED') or seq < ?)`
    const held = `instance = ? and chat = ? and ${IS_HELD} and "heldBy" in (${marks})${earlier}`
    const params = [instance, chat, ...reasons, ...(seq === null ? [] : [seq])]
    const [one] = await this.#database.read(
      `select seq from "MessageQueueItem" where ${held} limit 1`,
      params,
    )
    if (one === undefined) return 0
    const [result] = await this.#database.write(
      [
        {
          sql: `update "MessageQueueItem" set priority = priority - ${HELD}, "heldBy" = null, "notBefore" = null,
              "updatedAt" = ? where ${held}`,
          params: [toSqlTime(this.#clock.now()), ...params],
        },
      ],
      chatOf({ instance, chat }),
    )
    return result?.changes ?? 0
  }
}

function admittedOf(result: StatementResult | undefined): readonly Admitted[] {
  return (result?.rows ?? []).map((row) => ({
    identity: identityOf(row),
    priority: row['priority'] as number,
  }))
}
