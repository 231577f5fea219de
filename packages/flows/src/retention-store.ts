import type { InstanceId } from '@eclusa/kernel'
import type { Database, Statement } from '@eclusa/storage'
import type { ConversationId } from './conversation.ts'

/** Entries that one step changes or deletes: a few milliseconds of the one connection. */
const ENTRY_STEP = 1000

/** The id of another conversation is no word of anybody. */
const HAS_WORDS = `sealed is not null and kind <> 'merged'`

/** A closed conversation, and since when. */
export interface ClosedConversation {
  readonly id: ConversationId
  readonly closedAt: number
}

/** SQL of what goes by age. A conversation that is reopened meanwhile keeps what it still has. */
export class RetentionStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Closed before `before`, the longest ago first; `withWords`: only those that have not lost their words yet. */
  async closedBefore(
    instance: InstanceId,
    before: number,
    page: { readonly limit: number; readonly offset: number; readonly withWords: boolean },
  ): Promise<readonly ClosedConversation[]> {
    const rows = await this.#database.read(
      `select id, closed_at from "Conversation" where instance = ? and state = 'closed'
       ${page.withWords ? 'and words_gone_at is null' : ''} and closed_at < ? order by closed_at limit ? offset ?`,
      [instance, before, page.limit, page.offset],
    )
    return rows.map((row) => ({ id: row['id'] as ConversationId, closedAt: Number(row['closed_at']) }))
  }

  /** In whose history these messages are. */
  async holding(instance: InstanceId, journalIds: readonly number[]): Promise<ReadonlySet<ConversationId>> {
    if (journalIds.length === 0) return new Set()
    const list =
      this.#database.dialect === 'sqlite'
        ? 'select value from json_each(?)'
        : 'select value::bigint from jsonb_array_elements_text(?::jsonb) as element (value)'
    const rows = await this.#database.read(
      `select conversation from "ConversationEntry" where instance = ? and journal_id in (${list})`,
      [instance, JSON.stringify(journalIds)],
    )
    return new Set(rows.map((row) => row['conversation'] as ConversationId))
  }

  /** What was said in it; that it happened, when and between whom, stays. */
  async forgetWords(of: ClosedConversation, at: number): Promise<void> {
    await this.#untilDone(
      {
        sql: `update "ConversationEntry" set sealed = null where id in (
                select id from "ConversationEntry" where conversation = ? and ${HAS_WORDS} order by id limit ?)
              and ${STILL_CLOSED}`,
        params: [of.id, ENTRY_STEP, of.id, of.closedAt],
      },
      {
        sql: `update "Conversation" set words_gone_at = ? where id = ? and state = 'closed' and closed_at = ?
              and not exists (select 1 from "ConversationEntry" where conversation = ? and ${HAS_WORDS})`,
        params: [at, of.id, of.closedAt, of.id],
      },
    )
  }

  async forget(of: ClosedConversation): Promise<void> {
    await this.#untilDone(
      {
        sql: `delete from "ConversationEntry" where id in (
                select id from "ConversationEntry" where conversation = ? order by id limit ?)
              and ${STILL_CLOSED}`,
        params: [of.id, ENTRY_STEP, of.id, of.closedAt],
      },
      {
        sql: `delete from "Conversation" where id = ? and state = 'closed' and closed_at = ?
              and not exists (select 1 from "ConversationEntry" where conversation = ?)`,
        params: [of.id, of.closedAt, of.id],
      },
    )
  }

  /** One commit for all but the longest histories, of which each step takes a part. */
  async #untilDone(entries: Statement, conversation: Statement): Promise<void> {
    let changes: number
    do {
      const [result] = await this.#database.write([entries, conversation])
      changes = result?.changes ?? 0
    } while (changes >= ENTRY_STEP)
  }
}

const STILL_CLOSED = `exists (
  select 1 from "Conversation" as closed where closed.id = ? and closed.state = 'closed' and closed.closed_at = ?)`
