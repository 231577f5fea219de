import type { ChatId, Clock, InboundMessage, InstanceId, WaMessageId } from '@eclusa/kernel'
import type { Database, Row, Statement } from '@eclusa/storage'
import { rowsOf } from './auth-store.ts'
import type { MissingMessage, MissingMessages } from './engine.ts'

const WHOSE = 'instance = ? AND chat = ? AND author = ? AND wa_message_id = ?'

/** The statements that journal a message. */
type Journal = (message: InboundMessage) => readonly Statement[]

/** The messages of an instance that came without their content, on disk until they have it or are given up. */
export class MissingContent implements MissingMessages {
  readonly #database: Database
  readonly #clock: Clock
  readonly #instance: InstanceId
  readonly #journal: Journal

  constructor(options: {
    readonly database: Database
    readonly clock: Clock
    readonly instance: InstanceId
    readonly journal: Journal
  }) {
    this.#database = options.database
    this.#clock = options.clock
    this.#instance = options.instance
    this.#journal = options.journal
  }

  async add(message: Omit<MissingMessage, 'cameAt'>, askAfterMs: number): Promise<void> {
    const now = this.#clock.now()
    await this.#write([
      {
        sql:
          'INSERT INTO "MissingContent" (instance, chat, author, wa_message_id, remote_jid, participant, from_me, ' +
          'sent_at, came_at, ask_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
        params: [
          ...this.#whose(message),
          message.remoteJid,
          message.participant,
          message.fromMe ? 1 : 0,
          message.sentAt,
          now,
          now + askAfterMs,
        ],
      },
    ])
  }

  async due(limit: number): Promise<readonly MissingMessage[]> {
    const rows = await this.#database.read(
      'SELECT chat, author, wa_message_id, remote_jid, participant, from_me, sent_at, came_at FROM "MissingContent" ' +
        'WHERE instance = ? AND ask_at <= ? ORDER BY ask_at LIMIT ?',
      [this.#instance, this.#clock.now(), limit],
    )
    return rows.map(missingMessage)
  }

  async nextAt(): Promise<number | null> {
    const [row] = await this.#database.read(
      'SELECT MIN(ask_at) AS at FROM "MissingContent" WHERE instance = ?',
      [this.#instance],
    )
    const at = row?.['at'] ?? null
    return at === null ? null : Number(at)
  }

  async askAgain(at: ReadonlyMap<MissingMessage, number>): Promise<void> {
    await this.#write(
      [...at].map(([message, askAt]) => ({
        sql: `UPDATE "MissingContent" SET ask_at = ? WHERE ${WHOSE}`,
        params: [askAt, ...this.#whose(message)],
      })),
    )
  }

  async remove(message: MissingMessage): Promise<void> {
    await this.#write([{ sql: `DELETE FROM "MissingContent" WHERE ${WHOSE}`, params: this.#whose(message) }])
  }

  async giveUp(missing: MissingMessage, message: InboundMessage): Promise<void> {
    await this.#write([
      {
        sql: `DELETE FROM "MissingContent" WHERE ${WHOSE}`,
        params: this.#whose(missing),
        // Who was erased meanwhile does not come back by this.
        mustChange: 1,
      },
      ...this.#journal(message),
    ])
  }

  #whose({ chat, author, waMessageId }: Omit<MissingMessage, 'cameAt'>): string[] {
    return [this.#instance, chat, author, waMessageId]
  }

  async #write(statements: readonly Statement[]): Promise<void> {
    await this.#database.write(statements, rowsOf(this.#instance))
  }
}

function missingMessage(row: Row): MissingMessage {
  const participant = row['participant']
  return {
    chat: String(row['chat']) as ChatId,
    author: String(row['author']) as ChatId,
    waMessageId: String(row['wa_message_id']) as WaMessageId,
    remoteJid: String(row['remote_jid']),
    participant: typeof participant === 'string' ? participant : null,
    fromMe: Number(row['from_me']) === 1,
    sentAt: Number(row['sent_at']),
    cameAt: Number(row['came_at']),
  }
}
