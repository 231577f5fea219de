import type { ChatId, Clock, InstanceId, TenantId, WaMessageId } from '@eclusa/kernel'
import type { Database, EventLog, Sealer, Statement } from '@eclusa/storage'
import { rowsOf } from './auth-store.ts'
import type { InboundMessage } from './engine.ts'

/** An inbound message as read back. `id` is a cursor: it only grows inside an instance. */
export interface JournalEntry {
  readonly id: number
  /** `+` and the number where it is known, else the WhatsApp id. */
  readonly from: string
  readonly chat: ChatId
  readonly kind: InboundMessage['kind']
  readonly text: string | null
  readonly waMessageId: string
  readonly receivedAt: number
}

/** What of a message is sealed. */
interface Sealed {
  readonly kind: InboundMessage['kind']
  readonly text: string | null
  readonly pushName: string | null
  readonly sentAt: number
}

/** Most unread messages looked at for one reading step. */
const MAX_UNREAD = 100

/** Every message that came in, on disk before WhatsApp is told that it was received. */
export class InboundJournal {
  readonly #database: Database
  readonly #sealer: Sealer
  readonly #events: EventLog
  readonly #clock: Clock

  constructor(options: {
    readonly database: Database
    readonly sealer: Sealer
    readonly events: EventLog
    readonly clock: Clock
  }) {
    this.#database = options.database
    this.#sealer = options.sealer
    this.#events = options.events
    this.#clock = options.clock
  }

  /** What to commit together with the Signal session: the journal row and, for others' messages, the event. */
  append(tenant: TenantId, instance: InstanceId, message: InboundMessage): readonly Statement[] {
    const now = this.#clock.now()
    const sealed: Sealed = {
      kind: message.kind,
      text: message.text,
      pushName: message.pushName,
      sentAt: message.sentAt,
    }
    const row: Statement = {
      sql:
        'INSERT INTO "InboundMessage" (tenant, instance, chat, author, addressed_as, wa_message_id, from_me, word_count, ' +
        'sealed, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
      params: [
        tenant,
        instance,
        message.chat,
        message.author,
        message.addressedAs,
        message.waMessageId,
        message.fromMe ? 1 : 0,
        countWords(message.text),
        this.#sealer.seal(Buffer.from(JSON.stringify(sealed)), context(instance, message.waMessageId)),
        now,
      ],
    }
    if (message.fromMe) return [row]
    const event = this.#events.append({
      tenant,
      instance,
      type: 'inbound.received',
      payload: {
        chat: message.chat,
        from: displayAuthor(message.author),
        kind: message.kind,
        text: message.text,
        pushName: message.pushName,
        waMessageId: message.waMessageId,
        receivedAt: new Date(now).toISOString(),
      },
    })
    return [row, event]
  }

  async has(instance: InstanceId, chat: ChatId, author: ChatId, waMessageId: string): Promise<boolean> {
    const rows = await this.#database.read(
      'SELECT 1 AS found FROM "InboundMessage" WHERE instance = ? AND chat = ? AND author = ? AND wa_message_id = ?',
      [instance, chat, author, waMessageId],
    )
    return rows.length > 0
  }

  /**
   * Others' messages after the cursor `after`, oldest first, at most `limit` (1 to 500), ending with the one that
   * reaches `maxBytes` of sealed content: at least one comes. `next` is the cursor to go on from; null when there was
   * nothing after `after`.
   */
  async list(options: {
    readonly instance: InstanceId
    readonly after: number
    readonly limit: number
    readonly maxBytes: number
  }): Promise<{ readonly items: readonly JournalEntry[]; readonly next: number | null }> {
    const limit = Math.max(1, Math.min(500, options.limit))
    const rows = await this.#database.read(
      // The sizes first: of what does not fit, nothing is read but its length.
      `SELECT id, chat, author, wa_message_id, sealed, received_at FROM "InboundMessage" JOIN (
         SELECT id AS sized_id, bytes, SUM(bytes) OVER (ORDER BY id) AS total_bytes FROM (
           SELECT id, length(sealed) AS bytes FROM "InboundMessage"
           WHERE instance = ? AND id > ? AND from_me = 0 ORDER BY id LIMIT ?
         ) AS page
       ) AS sized ON id = sized_id WHERE total_bytes - bytes < ? ORDER BY id`,
      [options.instance, options.after, limit, options.maxBytes],
    )
    const items = rows.map((row): JournalEntry => {
      const waMessageId = String(row['wa_message_id'])
      const opened = this.#sealer.open(row['sealed'] as Uint8Array, context(options.instance, waMessageId))
      const sealed = JSON.parse(Buffer.from(opened).toString('utf8')) as Sealed
      return {
        id: Number(row['id']),
        from: displayAuthor(String(row['author'])),
        chat: String(row['chat']) as ChatId,
        kind: sealed.kind,
        text: sealed.text,
        waMessageId,
        receivedAt: Number(row['received_at']),
      }
    })
    return { items, next: items.at(-1)?.id ?? null }
  }

  /** The unread messages of a chat, oldest first, at most 100, and the words of the last one. */
  async unread(
    instance: InstanceId,
    chat: ChatId,
  ): Promise<{ readonly messages: readonly UnreadRow[]; readonly lastWordCount: number }> {
    const rows = await this.#database.read(
      'SELECT id, author, addressed_as, wa_message_id, word_count FROM "InboundMessage" ' +
        'WHERE instance = ? AND chat = ? AND read_at IS NULL AND from_me = 0 ORDER BY id LIMIT ?',
      [instance, chat, MAX_UNREAD],
    )
    return {
      messages: rows.map((row) => ({
        waMessageId: String(row['wa_message_id']) as WaMessageId,
        addressedAs: String(row['addressed_as']),
        author: String(row['author']),
      })),
      lastWordCount: Number(rows.at(-1)?.['word_count'] ?? 0),
    }
  }

  async markRead(instance: InstanceId, chat: ChatId, waMessageIds: readonly string[]): Promise<void> {
    if (waMessageIds.length === 0) return
    const readAt = this.#clock.now()
    await this.#database.write(
      waMessageIds.map((waMessageId) => ({
        sql:
          'UPDATE "InboundMessage" SET read_at = ? ' +
          'WHERE instance = ? AND chat = ? AND wa_message_id = ? AND read_at IS NULL AND from_me = 0',
        params: [readAt, instance, chat, waMessageId],
      })),
      rowsOf(instance),
    )
  }

  /** When somebody else last wrote in this chat; null when nobody ever did. */
  async lastInboundAt(instance: InstanceId, chat: ChatId): Promise<number | null> {
    const [row] = await this.#database.read(
      'SELECT received_at FROM "InboundMessage" WHERE instance = ? AND chat = ? AND from_me = 0 ' +
        'ORDER BY id DESC LIMIT 1',
      [instance, chat],
    )
    return row === undefined ? null : Number(row['received_at'])
  }

  /** The first of these chats in which anything was ever written, if any. */
  async firstKnown(instance: InstanceId, chats: readonly [ChatId, ChatId]): Promise<ChatId | null> {
    const [one] = await this.#database.read(
      'SELECT chat FROM "InboundMessage" WHERE instance = ? AND chat IN (?, ?) LIMIT 1',
      [instance, ...chats],
    )
    return one === undefined ? null : (String(one['chat']) as ChatId)
  }

  /** Deletes everything an instance has received. */
  async forget(instance: InstanceId): Promise<void> {
    await this.#database.write(
      [{ sql: 'DELETE FROM "InboundMessage" WHERE instance = ?', params: [instance] }],
      rowsOf(instance),
    )
  }
}

/** What a read receipt needs to name a message. */
export interface UnreadRow {
  readonly waMessageId: WaMessageId
  readonly addressedAs: string
  readonly author: string
}

function context(instance: InstanceId, waMessageId: string): string {
  return `InboundMessage|${instance}|${waMessageId}`
}

function displayAuthor(author: string): string {
  const number = /^(\d+)@s\.whatsapp\.net$/.exec(author)?.[1]
  return number === undefined ? author : `+${number}`
}

function countWords(text: string | null): number {
  return text?.match(/\S+/gu)?.length ?? 0
}
