import type { ChatId, Clock, InstanceId } from '@eclusa/kernel'
import type { Database } from '@eclusa/storage'
import { toSqlTime } from './sql-time.ts'

/** Chats of one question; asks are padded so that one statement is prepared. */
const ASKED_AT_ONCE = 50

/** SQL of two chats that turn out to be one person's. */
export class ChatMergeStore {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  /** Those of `chats` that have rows. */
  async withRows(instance: InstanceId, chats: readonly ChatId[]): Promise<ReadonlySet<ChatId>> {
    const found = new Set<ChatId>()
    for (let from = 0; from < chats.length; from += ASKED_AT_ONCE) {
      const asked = chats.slice(from, from + ASKED_AT_ONCE)
      const last = asked.at(-1) as ChatId
      const padded = [...asked, ...Array.from({ length: ASKED_AT_ONCE - asked.length }, () => last)]
      const rows = await this.#database.read(
        `select distinct chat from "MessageQueueItem" where instance = ? and chat in (${padded.map(() => '?').join(', ')})`,
        [instance, ...padded],
      )
      for (const row of rows) found.add(row['chat'] as ChatId)
    }
    return found
  }

  /** Whatever stands under `from` stands under `to`: messages by acceptance, what was counted of the contact, a pause. */
  async merge(instance: InstanceId, from: ChatId, to: ChatId): Promise<void> {
    await this.#database.write(
      [
        {
          sql: `update "MessageQueueItem" set chat = ?, "updatedAt" = ? where instance = ? and chat = ?`,
          params: [to, toSqlTime(this.#clock.now()), instance, from],
        },
        {
          sql: `insert into "ColdContact" (instance, chat, first_at, last_at, unanswered_count)
                select instance, ?, first_at, last_at, unanswered_count from "ColdContact"
                where instance = ? and chat = ?
                on conflict (instance, chat) do nothing`,
          params: [to, instance, from],
        },
        { sql: 'delete from "ColdContact" where instance = ? and chat = ?', params: [instance, from] },
        {
          sql: `insert into "QueuePause" (tenant, instance, chat, paused_at)
                select tenant, instance, ?, paused_at from "QueuePause" where instance = ? and chat = ?
                on conflict (tenant, instance, chat) do nothing`,
          params: [to, instance, from],
        },
        { sql: 'delete from "QueuePause" where instance = ? and chat = ?', params: [instance, from] },
      ],
      { instance },
    )
  }
}
