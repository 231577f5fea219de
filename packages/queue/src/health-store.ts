import { type ChatId, type Clock, DAY, type InstanceId, type TenantId } from '@eclusa/kernel'
import type { Database, EventLog } from '@eclusa/storage'
import { DELIVERED_AFTER_MS, type Health, type HealthFacts, SAMPLE, type Share } from './health.ts'

/** A contact that an instance wrote to unasked, and when last. */
export interface WrittenTo {
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly chat: ChatId
  readonly lastAt: number
}

/** An instance whose proactive messages are not, or were not always, welcome. */
export interface InstanceHealth {
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly health: Health
}

/** Rows of finished messages that one step looks at: a few milliseconds of the one connection. */
const STEP = 1000
/** Of the whole installation, the newest. */
const MAX_STEPS = 20

/** SQL of how people take what they did not ask for. */
export class HealthStore {
  readonly #database: Database
  readonly #eventLog: EventLog
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly eventLog: EventLog; readonly clock: Clock }) {
    this.#database = options.database
    this.#eventLog = options.eventLog
    this.#clock = options.clock
  }

  async list(): Promise<readonly InstanceHealth[]> {
    const rows = await this.#database.read(
      'select tenant, instance, level, cause, since from "ProactiveHealth"',
      [],
    )
    return rows.map((row) => ({
      tenant: row['tenant'] as TenantId,
      instance: row['instance'] as InstanceId,
      health: {
        level: row['level'] as Health['level'],
        cause: row['cause'] as Health['cause'],
        since: row['since'] as number,
      },
    }))
  }

  /** With its event, which tells what was measured; `facts` null: a person ended it. */
  async put({ tenant, instance, health }: InstanceHealth, facts: HealthFacts | null): Promise<void> {
    const { level, cause, since } = health
    const type = { WELL: 'proactive.resumed', SLOWED: 'proactive.slowed', PAUSED: 'proactive.paused' }[level]
    await this.#database.write([
      {
        sql: `insert into "ProactiveHealth" (instance, tenant, level, cause, since) values (?, ?, ?, ?, ?)
              on conflict (instance) do update set level = excluded.level, cause = excluded.cause,
              since = excluded.since`,
        params: [instance, tenant, level, cause, since],
      },
      this.#eventLog.append({ tenant, instance, type, payload: { cause, facts } }),
    ])
  }

  async forget(instance: InstanceId): Promise<void> {
    await this.#database.write([
      { sql: 'delete from "ProactiveHealth" where instance = ?', params: [instance] },
    ])
  }

  /** The newest SAMPLE contacts that the instance wrote to unasked, the last time after `from` and not after `to`. */
  async writtenTo(
    { tenant, instance }: { readonly tenant: TenantId; readonly instance: InstanceId },
    from: number,
    to: number,
  ): Promise<readonly WrittenTo[]> {
    // Who only has a time of their own was never written to.
    const rows = await this.#database.read(
      `select chat, last_at from "ColdContact" where instance = ? and last_at > ? and last_at <= ?
       and unanswered_count > 0 order by last_at desc limit ?`,
      [instance, from, to, SAMPLE],
    )
    return rows.map((row) => ({
      tenant,
      instance,
      chat: row['chat'] as ChatId,
      lastAt: row['last_at'] as number,
    }))
  }

  /** By instance, how many of the last unasked messages of 1 to 24 hours ago, that WhatsApp took, arrived. */
  async delivered(sinceOf: (instance: InstanceId) => number): Promise<ReadonlyMap<InstanceId, Share>> {
    const now = this.#clock.now()
    const shares = new Map<InstanceId, Share>()
    let before = Number.MAX_SAFE_INTEGER
    for (let step = 0; step < MAX_STEPS; step++) {
      const rows = await this.#database.read(
        `select step.instance, step.seq, step.sent_at, coalesce(step.delivered_at, step.read_at) as arrived_at,
           cold.last_at
         from (select seq, instance, chat, state, sent_at, delivered_at, read_at from "OutboundTombstone"
           where seq < ? order by seq desc limit ?) as step
         left join "ColdContact" as cold on cold.instance = step.instance and cold.chat = step.chat
           and step.state in ('SENT', 'DELIVERED', 'READ') and step.sent_at >= cold.last_at
         order by step.seq desc`,
        [before, STEP],
      )
      for (const row of rows) {
        const sentAt = row['sent_at'] as number | null
        const instance = row['instance'] as InstanceId
        if (row['last_at'] === null || sentAt === null) continue
        if (sentAt > now - DELIVERED_AFTER_MS || sentAt <= Math.max(now - DAY, sinceOf(instance))) continue
        const share = shares.get(instance) ?? { of: 0, count: 0 }
        const arrived = row['arrived_at'] === null ? 0 : 1
        shares.set(instance, { of: share.of + 1, count: share.count + arrived })
      }
      const last = rows.at(-1)
      if (last === undefined || rows.length < STEP) break
      before = last['seq'] as number
    }
    return shares
  }

  /** Null: it has had no messages for three days. */
  async tenantOf(instance: InstanceId): Promise<TenantId | null> {
    const [row] = await this.#database.read(
      'select tenant from "OutboundTombstone" where instance = ? limit 1',
      [instance],
    )
    return (row?.['tenant'] ?? null) as TenantId | null
  }

  /** Instances that wrote to somebody unasked within the 90 days for which that is kept. */
  async active(): Promise<readonly InstanceId[]> {
    // The next instance by the index: as many seeks as instances, whatever they wrote.
    const instances: InstanceId[] = []
    let after = ''
    for (;;) {
      const [row] = await this.#database.read(
        'select instance from "ColdContact" where instance > ? order by instance limit 1',
        [after],
      )
      if (row === undefined) return instances
      after = row['instance'] as string
      instances.push(after as InstanceId)
    }
  }
}
