import {
  type ChatId,
  type Clock,
  type InboundKind,
  type InboundMessage,
  type InstanceId,
  type MessageKey,
  type TenantId,
  type WaMessageId,
  wordsOf,
} from '@eclusa/kernel'
import type { Database, EventLog, Row, SealedTable, Sealer, Statement } from '@eclusa/storage'
import { rowsOf } from './auth-store.ts'
import type { KnownPoll, MissingMessages } from './engine.ts'
import { MissingContent } from './missing-content-store.ts'

/** An inbound message as read back. `id` is a cursor: it only grows inside an instance. */
export interface JournalEntry {
  readonly id: number
  /** `+` and the number where it is known, else the WhatsApp id. */
  readonly from: string
  readonly message: InboundMessage
  readonly receivedAt: number
}

/** A message that nobody has dealt with yet. */
export interface UnsettledEntry {
  readonly id: number
  readonly message: InboundMessage
  readonly receivedAt: number
  /** Tries that failed, or that the process did not survive. */
  readonly attempts: number
}

/** A message that failed too often, and waits for a person to decide. */
export interface SetAsideEntry extends JournalEntry {
  readonly setAsideAt: number
  /** What failed, without text or numbers of the message. */
  readonly reason: string
  readonly attempts: number
}

/** What of a message is sealed; the rest are columns. */
interface Sealed extends Pick<
  InboundMessage,
  'alias' | 'content' | 'quoted' | 'mentions' | 'pushName' | 'sentAt'
> {
  /** Base 64; of a poll, opens its votes. */
  readonly pollSecret?: string
}

/** Messages of a person read or deleted in one step. */
const PERSON_STEP = 200
/** Messages that lose their content in one step: a few milliseconds of the connection. */
const GONE_STEP = 500
/** What is left of the content of a message that is too old. */
const NOTHING = new Uint8Array(0)
/** Most unread messages looked at for one reading step. */
const MAX_UNREAD = 100

/** The event of each kind that is no message by itself; all others are `inbound.received`. */
const EVENTS: Partial<Record<InboundKind, string>> = {
  edit: 'inbound.edited',
  delete: 'inbound.deleted',
  reaction: 'inbound.reacted',
  poll_vote: 'inbound.poll_voted',
}

/** Somebody wrote to us: in a 1:1 chat, and not about another message. Everything else has its event and is done. */
function isForInbox({ chat, content }: InboundMessage): boolean {
  return !chat.endsWith('@g.us') && EVENTS[content.kind] === undefined
}

const COLUMNS = 'id, tenant, chat, author, addressed_as, wa_message_id, from_me, sealed, received_at'

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

  /**
   * What to commit together with the Signal session: the journal row and, for others' messages, the event. What is not
   * for the inbox (groups, and edits, deletions, reactions, votes) is settled from the start.
   */
  append(
    tenant: TenantId,
    instance: InstanceId,
    message: InboundMessage,
    pollSecret: Uint8Array | null = null,
  ): readonly Statement[] {
    const now = this.#clock.now()
    const { alias, content, quoted, mentions, pushName, sentAt } = message
    const sealed: Sealed = {
      alias,
      content,
      quoted,
      mentions,
      pushName,
      sentAt,
      ...(pollSecret === null ? {} : { pollSecret: Buffer.from(pollSecret).toString('base64') }),
    }
    const row: Statement = {
      sql:
        'INSERT INTO "InboundMessage" (tenant, instance, chat, author, addressed_as, wa_message_id, from_me, word_count, ' +
        'sealed, received_at, settled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
      params: [
        tenant,
        instance,
        message.chat,
        message.author,
        message.addressedAs,
        message.waMessageId,
        message.fromMe ? 1 : 0,
        countWords(wordsOf(content)),
        this.#sealer.seal(
          Buffer.from(JSON.stringify(sealed)),
          context(instance, message.waMessageId),
          tenant,
        ),
        now,
        isForInbox(message) ? null : now,
      ],
    }
    if (message.fromMe) return [row]
    const event = this.#events.append({
      tenant,
      instance,
      type: EVENTS[content.kind] ?? 'inbound.received',
      payload: {
        chat: message.chat,
        from: displayAuthor(message.author),
        kind: content.kind,
        text: wordsOf(content),
        content,
        quoted,
        mentions,
        pushName,
        waMessageId: message.waMessageId,
        receivedAt: new Date(now).toISOString(),
      },
    })
    return [row, event]
  }

  /** What came without its content to an instance. */
  missing(tenant: TenantId, instance: InstanceId): MissingMessages {
    return new MissingContent({
      database: this.#database,
      clock: this.#clock,
      instance,
      journal: (message) => this.append(tenant, instance, message),
    })
  }

  async has(instance: InstanceId, chat: ChatId, author: ChatId, waMessageId: string): Promise<boolean> {
    const rows = await this.#database.read(
      'SELECT 1 AS found FROM "InboundMessage" WHERE instance = ? AND chat = ? AND author = ? AND wa_message_id = ?',
      [instance, chat, author, waMessageId],
    )
    return rows.length > 0
  }

  /**
   * Others' messages that have their content, after the cursor `after`, oldest first, at most `limit` (1 to 500), ending with the one that
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
    const rows = await this.#page(
      'from_me = 0 AND gone_at IS NULL AND instance = ? AND id > ?',
      [options.instance, options.after],
      {
        limit,
        maxBytes: options.maxBytes,
      },
    )
    const items = rows.map((row) => this.#entry(options.instance, row))
    return { items, next: items.at(-1)?.id ?? null }
  }

  /**
   * Those of `ids` (at most 500) that are still there with their content, in order of id, ending with the one that reaches `maxBytes` of
   * sealed content: at least one comes.
   */
  async ofIds(
    instance: InstanceId,
    ids: readonly number[],
    maxBytes: number,
  ): Promise<readonly JournalEntry[]> {
    if (ids.length === 0) return []
    const list =
      this.#database.dialect === 'sqlite'
        ? 'SELECT value FROM json_each(?)'
        : 'SELECT value::bigint FROM jsonb_array_elements_text(?::jsonb) AS element (value)'
    const rows = await this.#page(
      `id IN (${list}) AND gone_at IS NULL AND instance = ?`,
      [JSON.stringify(ids), instance],
      {
        limit: 500,
        maxBytes,
      },
    )
    return rows.map((row) => this.#entry(instance, row))
  }

  /** What opens the votes on a poll of this chat; undefined when it never came here, or is too old. */
  async poll(instance: InstanceId, chat: ChatId, poll: MessageKey): Promise<KnownPoll | undefined> {
    const [row] = await this.#database.read(
      'SELECT tenant, sealed FROM "InboundMessage" WHERE instance = ? AND chat = ? AND author = ? AND wa_message_id = ? ' +
        'AND gone_at IS NULL',
      [instance, chat, poll.author, poll.waMessageId],
    )
    if (row === undefined) return undefined
    await this.#sealer.know([row['sealed']])
    const { content, pollSecret } = this.#open(instance, poll.waMessageId, row)
    if (content.kind !== 'poll' || pollSecret === undefined) return undefined
    return { secret: Buffer.from(pollSecret, 'base64'), options: content.options }
  }

  /** That a stranger said what only the account's own devices may say. */
  spoofed(
    tenant: TenantId,
    instance: InstanceId,
    spoof: { readonly stranger: ChatId; readonly waMessageId: WaMessageId; readonly name: string },
  ): Statement {
    const { stranger, waMessageId, name } = spoof
    return this.#events.append({
      tenant,
      instance,
      type: 'security.spoofed_protocol_message',
      payload: { from: displayAuthor(stranger), chat: stranger, message: name, waMessageId },
    })
  }

  /** The chats of unsettled messages with an id above `after`, in order of their ids, at most `limit` rows. */
  async unsettledChats(
    instance: InstanceId,
    after: number,
    limit: number,
  ): Promise<readonly { readonly id: number; readonly chat: ChatId }[]> {
    const rows = await this.#database.read(
      'SELECT id, chat FROM "InboundMessage" WHERE instance = ? AND id > ? ' +
        'AND settled_at IS NULL AND set_aside_at IS NULL ORDER BY id LIMIT ?',
      [instance, after, limit],
    )
    return rows.map((row) => ({ id: Number(row['id']), chat: String(row['chat']) as ChatId }))
  }

  /** The next unsettled messages of a chat, oldest first, ending with the one that reaches `maxBytes` of content. */
  async unsettledOf(
    instance: InstanceId,
    chat: ChatId,
    page: { readonly limit: number; readonly maxBytes: number },
  ): Promise<readonly UnsettledEntry[]> {
    const rows = await this.#page(
      'settled_at IS NULL AND set_aside_at IS NULL AND instance = ? AND chat = ?',
      [instance, chat],
      page,
    )
    return rows.map((row) => ({ ...this.#entry(instance, row), attempts: Number(row['attempts']) }))
  }

  /** Ends a message's way; nothing changes when it is ended already. */
  async settle(instance: InstanceId, id: number): Promise<void> {
    await this.#database.write(
      [
        {
          sql: 'UPDATE "InboundMessage" SET settled_at = ? WHERE id = ? AND instance = ? AND settled_at IS NULL',
          params: [this.#clock.now(), id, instance],
        },
      ],
      rowsOf(instance),
    )
  }

  /** Counts a try that failed, or that is about to be made. */
  async countAttempt(instance: InstanceId, id: number): Promise<void> {
    await this.#database.write(
      [
        {
          sql: 'UPDATE "InboundMessage" SET attempts = attempts + 1 WHERE id = ? AND instance = ?',
          params: [id, instance],
        },
      ],
      rowsOf(instance),
    )
  }

  /** Leaves a message for a person to decide on, with its event, and lets its chat go on. */
  async setAside(
    tenant: TenantId,
    instance: InstanceId,
    entry: UnsettledEntry,
    reason: string,
  ): Promise<void> {
    const now = this.#clock.now()
    const { chat, author, waMessageId, content } = entry.message
    await this.#database.write(
      [
        {
          sql:
            'UPDATE "InboundMessage" SET set_aside_at = ?, set_aside_reason = ? ' +
            'WHERE id = ? AND instance = ? AND settled_at IS NULL AND set_aside_at IS NULL',
          params: [now, reason, entry.id, instance],
          mustChange: 1,
        },
        this.#events.append({
          tenant,
          instance,
          type: 'inbound.set_aside',
          payload: {
            id: entry.id,
            chat,
            from: displayAuthor(author),
            kind: content.kind,
            waMessageId,
            reason,
            receivedAt: new Date(entry.receivedAt).toISOString(),
          },
        }),
      ],
      rowsOf(instance),
    )
  }

  /** Messages set aside after the cursor `after`, oldest first; as `list`. */
  async setAsideList(options: {
    readonly instance: InstanceId
    readonly after: number
    readonly limit: number
    readonly maxBytes: number
  }): Promise<{ readonly items: readonly SetAsideEntry[]; readonly next: number | null }> {
    const rows = await this.#page(
      'settled_at IS NULL AND set_aside_at IS NOT NULL AND instance = ? AND id > ?',
      [options.instance, options.after],
      options,
    )
    const items = rows.map((row) => ({
      ...this.#entry(options.instance, row),
      setAsideAt: Number(row['set_aside_at']),
      reason: String(row['set_aside_reason']),
      attempts: Number(row['attempts']),
    }))
    return { items, next: items.at(-1)?.id ?? null }
  }

  /** The chat of a message set aside; null when there is none with this id. */
  async chatSetAside(instance: InstanceId, id: number): Promise<ChatId | null> {
    const [row] = await this.#database.read(
      'SELECT chat FROM "InboundMessage" WHERE instance = ? AND id = ? ' +
        'AND settled_at IS NULL AND set_aside_at IS NOT NULL',
      [instance, id],
    )
    return row === undefined ? null : (String(row['chat']) as ChatId)
  }

  /** Back into its chat's line with all its tries, or gone for good; false when it is not set aside (any more). */
  async decideSetAside(instance: InstanceId, id: number, decision: 'retry' | 'drop'): Promise<boolean> {
    const where = 'WHERE id = ? AND instance = ? AND settled_at IS NULL AND set_aside_at IS NOT NULL'
    const statement: Statement =
      decision === 'retry'
        ? {
            sql: `UPDATE "InboundMessage" SET set_aside_at = NULL, set_aside_reason = NULL, attempts = 0 ${where}`,
            params: [id, instance],
          }
        : {
            sql: `UPDATE "InboundMessage" SET settled_at = ? ${where}`,
            params: [this.#clock.now(), id, instance],
          }
    const [result] = await this.#database.write([statement], rowsOf(instance))
    return (result?.changes ?? 0) > 0
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

  /** Rows in order of id, ending with the one that reaches `maxBytes`: of what does not fit, only its length is read. */
  async #page(
    where: string,
    params: readonly (string | number)[],
    page: { readonly limit: number; readonly maxBytes: number },
  ): Promise<readonly Row[]> {
    const rows = await this.#database.read(
      `SELECT ${COLUMNS}, attempts, set_aside_at, set_aside_reason FROM "InboundMessage" JOIN (
         SELECT id AS sized_id, bytes, SUM(bytes) OVER (ORDER BY id) AS total_bytes FROM (
           SELECT id, length(sealed) AS bytes FROM "InboundMessage" WHERE ${where} ORDER BY id LIMIT ?
         ) AS page
       ) AS sized ON id = sized_id WHERE total_bytes - bytes < ? ORDER BY id`,
      [...params, page.limit, page.maxBytes],
    )
    await this.#sealer.know(rows.map((row) => row['sealed']))
    return rows
  }

  #entry(instance: InstanceId, row: Row): JournalEntry {
    const author = String(row['author']) as ChatId
    const waMessageId = String(row['wa_message_id']) as WaMessageId
    const { pollSecret: _, ...sealed } = this.#open(instance, waMessageId, row)
    return {
      id: Number(row['id']),
      from: displayAuthor(author),
      message: {
        ...sealed,
        chat: String(row['chat']) as ChatId,
        author,
        addressedAs: String(row['addressed_as']),
        waMessageId,
        fromMe: Number(row['from_me']) === 1,
      },
      receivedAt: Number(row['received_at']),
    }
  }

  #open(instance: InstanceId, waMessageId: string, row: Row): Sealed {
    const { sealed, tenant } = row as unknown as { readonly sealed: Uint8Array; readonly tenant: TenantId }
    const opened = this.#sealer.open(sealed, context(instance, waMessageId), tenant)
    return JSON.parse(Buffer.from(opened).toString('utf8')) as Sealed
  }

  /**
   * What a person wrote, and what was written to them on other devices of the account, oldest first: at most 200 after
   * the cursor `after`.
   */
  async ofPerson(
    instance: InstanceId,
    addresses: readonly ChatId[],
    after: number,
  ): Promise<readonly JournalEntry[]> {
    const rows = await this.#database.read(
      `SELECT ${COLUMNS} FROM "InboundMessage" WHERE instance = ? AND id > ? AND gone_at IS NULL
       AND (${theirs(addresses)}) ORDER BY id LIMIT ?`,
      [instance, after, ...addresses, ...addresses, PERSON_STEP],
    )
    await this.#sealer.know(rows.map((row) => row['sealed']))
    return rows.map((row) => this.#entry(instance, row))
  }

  /** Deletes all rows of a person, those without content too; returns how many messages that were. */
  async forgetPerson(instance: InstanceId, addresses: readonly ChatId[]): Promise<number> {
    await this.#database.write(
      [
        {
          sql: `DELETE FROM "MissingContent" WHERE instance = ? AND (${theirs(addresses)})`,
          params: [instance, ...addresses, ...addresses],
        },
      ],
      rowsOf(instance),
    )
    for (let forgottenCount = 0; ;) {
      const [result] = await this.#database.write(
        [
          {
            sql:
              'DELETE FROM "InboundMessage" WHERE id IN ' +
              `(SELECT id FROM "InboundMessage" WHERE instance = ? AND (${theirs(addresses)}) LIMIT ?)`,
            params: [instance, ...addresses, ...addresses, PERSON_STEP],
          },
        ],
        rowsOf(instance),
      )
      const changes = result?.changes ?? 0
      forgottenCount += changes
      if (changes < PERSON_STEP) return forgottenCount
    }
  }

  /** Messages received before `before` that may still walk through the inbox, or are set aside; at most `limit`. */
  async unsettledBefore(instance: InstanceId, before: number, limit: number): Promise<readonly number[]> {
    const ids: number[] = []
    // Two indexes, each over one of these alone.
    for (const which of ['IS NULL', 'IS NOT NULL']) {
      const rows = await this.#database.read(
        `SELECT id FROM "InboundMessage" WHERE instance = ? AND settled_at IS NULL AND set_aside_at ${which}
         AND received_at < ? ORDER BY id LIMIT ?`,
        [instance, before, limit - ids.length],
      )
      ids.push(...rows.map((row) => Number(row['id'])))
    }
    return ids
  }

  /**
   * Takes away what messages said that were received before `before` and are done with, in steps, until `signal`
   * aborts; returns of how many. That they came stays, so that none is taken twice.
   */
  async forgetContent(instance: InstanceId, before: number, signal: AbortSignal): Promise<number> {
    let goneCount = 0
    for (let after = 0; !signal.aborted;) {
      // The order of ids is that of time, so no index on the time is needed.
      const rows = await this.#database.read(
        'SELECT id, received_at FROM "InboundMessage" WHERE instance = ? AND id > ? AND gone_at IS NULL ' +
          'ORDER BY id LIMIT ?',
        [instance, after, GONE_STEP],
      )
      const firstKept = rows.findIndex((row) => Number(row['received_at']) >= before)
      const last = rows[(firstKept === -1 ? rows.length : firstKept) - 1]
      if (last === undefined) break
      const [result] = await this.#database.write(
        [
          {
            sql:
              'UPDATE "InboundMessage" SET sealed = ?, gone_at = ? WHERE instance = ? AND id > ? AND id <= ? ' +
              'AND gone_at IS NULL AND settled_at IS NOT NULL',
            params: [NOTHING, this.#clock.now(), instance, after, Number(last['id'])],
          },
        ],
        rowsOf(instance),
      )
      goneCount += result?.changes ?? 0
      after = Number(last['id'])
      if (firstKept !== -1) break
    }
    return goneCount
  }

  /** Deletes everything an instance has received. */
  async forget(instance: InstanceId): Promise<void> {
    await this.#database.write(
      ['InboundMessage', 'MissingContent'].map((table) => ({
        sql: `DELETE FROM "${table}" WHERE instance = ?`,
        params: [instance],
      })),
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

/** In their own chats, and as authors in groups. */
function theirs(addresses: readonly ChatId[]): string {
  const list = addresses.map(() => '?').join(', ')
  return `chat IN (${list}) OR author IN (${list})`
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

export const journalSealedTable: SealedTable = {
  table: 'InboundMessage',
  column: 'sealed',
  key: ['id'],
  start: [0],
  page: 'SELECT id, tenant, instance, wa_message_id, sealed FROM "InboundMessage" WHERE id > ? ORDER BY id LIMIT ?',
  placeOf(row) {
    const { tenant, instance } = row as unknown as {
      readonly tenant: TenantId
      readonly instance: InstanceId
    }
    return { tenant, context: context(instance, String(row['wa_message_id'])) }
  },
}
