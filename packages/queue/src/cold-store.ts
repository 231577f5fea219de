import { type ChatId, type Clock, DAY, type InstanceId, type TenantId } from '@eclusa/kernel'
import type { Database } from '@eclusa/storage'
import type { ColdFacts } from './care.ts'
import type { Whose } from './hold-store.ts'

/** That WhatsApp's answers keep the cold chats of an instance back. */
export interface ColdPause {
  readonly until: number
  /** Of the answer: `SESSION_ACCOUNT_RESTRICTED`, `SESSION_RATE_LIMITED`. */
  readonly code: string
  /** Such answers since the last cold message that went through. */
  readonly count: number
}

/** A contact not written to for so long is a new one again. */
const KEEP_CONTACT_MS = 90 * DAY
const SWEEP_STEP = 1000

/** SQL of what an instance did towards people who were not in conversation. */
export class ColdStore {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  async facts(instance: InstanceId, chat: ChatId, maxNewContactsPerDay: number): Promise<ColdFacts> {
    const [slotAt, [contact], pause] = await Promise.all([
      this.#slotAt(instance, maxNewContactsPerDay),
      this.#database.read(
        'select first_at, last_at, unanswered_count from "ColdContact" where instance = ? and chat = ?',
        [instance, chat],
      ),
      this.pause(instance),
    ])
    return {
      pausedUntil: pause?.until ?? null,
      slotAt,
      contact:
        contact === undefined
          ? null
          : {
              firstAt: contact['first_at'] as number,
              lastAt: contact['last_at'] as number,
              unansweredCount: contact['unanswered_count'] as number,
            },
    }
  }

  /**
   * A day after the `max`-th newest start, those of the future included: then no 24 hours have more than `max`, and
   * who comes later waits behind who came first.
   */
  async #slotAt(instance: InstanceId, max: number): Promise<number> {
    if (max === 0) return Number.POSITIVE_INFINITY
    const [row] = await this.#database.read(
      'select first_at from "ColdContact" where instance = ? order by first_at desc limit 1 offset ?',
      [instance, max - 1],
    )
    return row === undefined ? 0 : (row['first_at'] as number) + DAY
  }

  /** A new contact is counted, before anything goes to them; `at` in the future: it is given that time. */
  async start(instance: InstanceId, chat: ChatId, at: number): Promise<void> {
    await this.#database.write([
      {
        sql: `insert into "ColdContact" (instance, chat, first_at, last_at, unanswered_count) values (?, ?, ?, ?, 0)
              on conflict (instance, chat) do nothing`,
        params: [instance, chat, at, at],
      },
    ])
  }

  /** Times given to contacts for whom nothing waits any more are free. One step: of which instances some were. */
  async freeUnused(): Promise<ReadonlySet<InstanceId>> {
    const freed = await this.#free(
      `not exists (select 1 from "MessageQueueItem" as item where item.instance = "ColdContact".instance
         and item.chat = "ColdContact".chat and item.priority < 9)`,
      [],
    )
    return new Set(freed)
  }

  /** Times in the future are to be given anew. One step; how many. */
  async freeHeld(whose: Whose): Promise<number> {
    const freed = await this.#free(
      `(instance, chat) in (select item.instance, item.chat from "MessageQueueItem" as item
         where item.priority between 5 and 7 and item."heldBy" = 'NEW_CONTACT_BUDGET'
         and ${'instance' in whose ? 'item.instance' : 'item.tenant'} = ?)`,
      ['instance' in whose ? whose.instance : whose.tenant],
    )
    return freed.length
  }

  async #free(where: string, params: readonly string[]): Promise<readonly InstanceId[]> {
    const [result] = await this.#database.write([
      {
        sql: `delete from "ColdContact" where (instance, chat) in
              (select instance, chat from "ColdContact" where first_at > ? and ${where} limit ?) returning instance`,
        params: [this.#clock.now(), ...params, SWEEP_STEP],
      },
    ])
    return (result?.rows ?? []).map((row) => row['instance'] as InstanceId)
  }

  /** A message begins to go to a contact who is not in conversation; `answered` when they wrote since the last one. */
  async record(instance: InstanceId, chat: ChatId, answered: boolean): Promise<void> {
    const now = this.#clock.now()
    await this.#database.write([
      {
        sql: `insert into "ColdContact" (instance, chat, first_at, last_at, unanswered_count) values (?, ?, ?, ?, 1)
              on conflict (instance, chat) do update set last_at = excluded.last_at,
              unanswered_count = ${answered ? '1' : '"ColdContact".unanswered_count + 1'}`,
        params: [instance, chat, now, now],
      },
    ])
  }

  async pause(instance: InstanceId): Promise<ColdPause | null> {
    const [row] = await this.#database.read(
      'select until_at, code, in_a_row from "ColdPause" where instance = ?',
      [instance],
    )
    if (row === undefined) return null
    return {
      until: row['until_at'] as number,
      code: row['code'] as string,
      count: row['in_a_row'] as number,
    }
  }

  async setPause(tenant: TenantId, instance: InstanceId, pause: ColdPause): Promise<void> {
    await this.#database.write([
      {
        sql: `insert into "ColdPause" (instance, tenant, until_at, code, in_a_row) values (?, ?, ?, ?, ?)
              on conflict (instance) do update set until_at = excluded.until_at, code = excluded.code,
              in_a_row = excluded.in_a_row`,
        params: [instance, tenant, pause.until, pause.code, pause.count],
      },
    ])
  }

  async endPause(instance: InstanceId): Promise<void> {
    await this.#database.write([{ sql: 'delete from "ColdPause" where instance = ?', params: [instance] }])
  }

  /** One step: contacts not written to for 90 days. Returns how many went. */
  async sweepStep(): Promise<number> {
    const [result] = await this.#database.write([
      {
        sql: `delete from "ColdContact" where (instance, chat) in
              (select instance, chat from "ColdContact" where last_at < ? limit ?)`,
        params: [this.#clock.now() - KEEP_CONTACT_MS, SWEEP_STEP],
      },
    ])
    return result?.changes ?? 0
  }

  /** Everything of an instance. */
  async forget(instance: InstanceId): Promise<void> {
    await this.#database.write([
      { sql: 'delete from "ColdContact" where instance = ?', params: [instance] },
      { sql: 'delete from "ColdPause" where instance = ?', params: [instance] },
    ])
  }
}
