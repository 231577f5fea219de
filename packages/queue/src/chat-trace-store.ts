import type { ChatId, InstanceId } from '@eclusa/kernel'
import type { Database, SqlValue } from '@eclusa/storage'

/** Ended messages looked at in one step: a few milliseconds of the one connection. */
const STEP = 5000

/** How many rows of a chat were deleted, by table. */
export interface ForgottenRows {
  readonly MessageQueueItem: number
  readonly OutboundTombstone: number
  readonly OutboundContent: number
  readonly IdempotencyKey: number
  readonly ColdContact: number
}

/** What is left of a chat when nothing of it waits any more. */
export class ChatTraceStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async forget(instance: InstanceId, chat: ChatId): Promise<ForgottenRows> {
    const ofChat =
      'select seq from "OutboundTombstone" where seq > ? and seq <= ? and instance = ? and chat = ?'
    const forgotten = { OutboundTombstone: 0, OutboundContent: 0, IdempotencyKey: 0 }
    let after: SqlValue = 0
    for (;;) {
      const [end] = await this.#database.read(
        `select max(seq) as seq from (
           select seq from "OutboundTombstone" where seq > ? order by seq limit ?
         ) as step`,
        [after, STEP],
      )
      const last: SqlValue = end?.['seq'] ?? null
      if (last === null) break
      const params = [after, last, instance, chat]
      // The tombstones last: they tell which of the others are of this chat.
      const [keys, contents, tombstones] = await this.#database.write([
        { sql: `delete from "IdempotencyKey" where seq in (${ofChat})`, params },
        { sql: `delete from "OutboundContent" where seq in (${ofChat})`, params },
        {
          sql: 'delete from "OutboundTombstone" where seq > ? and seq <= ? and instance = ? and chat = ?',
          params,
        },
      ])
      forgotten.IdempotencyKey += keys?.changes ?? 0
      forgotten.OutboundContent += contents?.changes ?? 0
      forgotten.OutboundTombstone += tombstones?.changes ?? 0
      after = last
    }
    const failed = `from "MessageQueueItem" where instance = ? and chat = ? and status = 'FAILED'`
    const [keys, contents, rows, cold] = await this.#database.write([
      { sql: `delete from "IdempotencyKey" where seq in (select seq ${failed})`, params: [instance, chat] },
      { sql: `delete from "OutboundContent" where seq in (select seq ${failed})`, params: [instance, chat] },
      { sql: `delete ${failed}`, params: [instance, chat] },
      { sql: 'delete from "ColdContact" where instance = ? and chat = ?', params: [instance, chat] },
    ])
    return {
      ...forgotten,
      IdempotencyKey: forgotten.IdempotencyKey + (keys?.changes ?? 0),
      OutboundContent: forgotten.OutboundContent + (contents?.changes ?? 0),
      MessageQueueItem: rows?.changes ?? 0,
      ColdContact: cold?.changes ?? 0,
    }
  }
}
