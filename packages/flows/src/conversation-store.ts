import {
  type ChatId,
  type ContactId,
  type InboundOrigin,
  type InstanceId,
  MIB,
  type TenantId,
} from '@eclusa/kernel'
import type { Database, Row, SealedTable, Sealer, SqlValue, Statement } from '@eclusa/storage'
import type {
  Actor,
  Conversation,
  ConversationEntry,
  ConversationId,
  ConversationState,
  DistributionRule,
  EntryKind,
  OperatorId,
  SectorId,
} from './conversation.ts'

/** A conversation with what only the store and the line look at. */
export interface ConversationRow extends Conversation {
  readonly seq: number
  /** Grows with each change; who changes it must have seen the last one. */
  readonly version: number
  /** The order in the line: the smaller, the earlier. Kept while it is assigned. */
  readonly place: number | null
  /** `waitingSince` of the last time in the line. */
  readonly lineSince: number | null
  /** Null: the sector's. */
  readonly rule: DistributionRule | null
  readonly seed: number | null
}

export interface NewEntry {
  readonly kind: EntryKind
  readonly at: number
  readonly actor: Actor
  readonly journalId?: number
  readonly messageSeq?: number
  readonly sector?: SectorId | null
  readonly operator?: OperatorId | null
  readonly waitedMs?: number | null
  /** A second entry with it is a conflict. */
  readonly key?: string
  readonly text?: string | null
}

/** What was sent to a contact; its text, as long as that is known. */
export interface SentMessage {
  readonly messageSeq: number
  readonly text: string | null
  readonly at: number
}

/** Where in the line: where it was, at its end, or where another stood. */
export type Place = 'kept' | 'new' | number | null

/** What a change may set. */
export type ConversationChange = Partial<
  Omit<ConversationRow, 'id' | 'tenant' | 'instance' | 'seq' | 'version' | 'place' | 'openedAt'>
>

export interface ConversationFilter {
  readonly state?: ConversationState
  readonly sector?: SectorId
  readonly operator?: OperatorId
  readonly contact?: ContactId
  readonly instance?: InstanceId
}

const COLUMNS = `seq, id, tenant, instance, contact, chat, state, sector, operator, last_operator, skill, rule, seed,
  waiting_since, place, line_since, opened_at, assigned_at, closed_at, close_reason, last_inbound_at, version`

/** Not for a contact who proved to be another meanwhile. */
const INSERT = `insert into "Conversation" (id, tenant, instance, contact, chat, state, opened_at, last_inbound_at)
  select ?, ?, ?, ?, ?, 'open', ?, ? where not exists (
    select 1 from "MergedContact" as merged where merged.tenant = ? and merged.contact = ?)`

/** The place in the line is that of the entry which was added before in the same unit. */
const CHANGE = `update "Conversation" set contact = ?, chat = ?, state = ?, sector = ?, operator = ?, last_operator = ?,
  skill = ?, rule = ?, seed = ?, waiting_since = ?, line_since = ?, assigned_at = ?, closed_at = ?, close_reason = ?,
  place = case when ? = 1 then (select max(entry.id) from "ConversationEntry" as entry where entry.conversation = ?)
    else ? end,
  last_inbound_at = ?, words_gone_at = null, version = version + 1
  where id = ? and version = ?`

/** Nobody whom this operator could answer came before. */
const IS_FIRST = `and not exists (select 1 from "Conversation" as earlier
  where earlier.tenant = ? and earlier.sector = ? and earlier.waiting_since is not null and earlier.place < ?
    and earlier.skill in`

const HEARD = `update "Conversation" set chat = ?, last_inbound_at = case when last_inbound_at > ? then last_inbound_at
  else ? end where id = ? and state <> 'closed'`

const ADD_ENTRY = `insert into "ConversationEntry" (tenant, instance, conversation, kind, at, journal_id, message_seq,
  sector, operator, actor, waited_ms, key, sealed) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

/**
 * Of a conversation that was erased meanwhile nothing may come back; one that became part of another has its history
 * there.
 */
const ADD_OUTBOUND = `insert into "ConversationEntry" (tenant, instance, conversation, kind, at, message_seq, actor, sealed)
  select known.tenant, known.instance, coalesce((select kept.id from "Conversation" as kept
      where known.close_reason = 'merged' and kept.instance = known.instance and kept.contact = known.contact
        and kept.state <> 'closed'), known.id), 'outbound', ?, ?, ?, ?
  from "Conversation" as known where known.id = ?`

/** What was sent before it was known to be to this contact; never twice, nor into what is closed meanwhile. */
const ADD_SENT = `insert into "ConversationEntry" (tenant, instance, conversation, kind, at, message_seq, actor, sealed)
  select known.tenant, known.instance, known.id, 'outbound', ?, ?, 'api', ?
  from "Conversation" as known where known.id = ? and known.state <> 'closed'
    and not exists (select 1 from "ConversationEntry" as filed where filed.message_seq = ?)`

/** Conversations looked at for one page of a list: what is filtered out counts, so that no page reads the whole table. */
const LOOK_AT = 2000
const MAX_HISTORY = 500

/** SQL of conversations, their waiting lines and their history. */
export class ConversationStore {
  readonly #database: Database
  readonly #sealer: Sealer

  constructor(options: { readonly database: Database; readonly sealer: Sealer }) {
    this.#database = options.database
    this.#sealer = options.sealer
  }

  async get(tenant: TenantId, id: ConversationId): Promise<ConversationRow | undefined> {
    const [row] = await this.#read(`select ${COLUMNS} from "Conversation" where tenant = ? and id = ?`, [
      tenant,
      id,
    ])
    return row
  }

  async find(id: ConversationId): Promise<ConversationRow | undefined> {
    const [row] = await this.#read(`select ${COLUMNS} from "Conversation" where id = ?`, [id])
    return row
  }

  /** The contact that this one proved to be, or itself. */
  async mergedInto(tenant: TenantId, contact: ContactId): Promise<ContactId> {
    const [row] = await this.#database.read(
      'select into_contact from "MergedContact" where tenant = ? and contact = ?',
      [tenant, contact],
    )
    return (row?.['into_contact'] ?? contact) as ContactId
  }

  /** The one that is not closed, if any. */
  async notClosedOf(instance: InstanceId, contact: ContactId): Promise<ConversationRow | undefined> {
    const [row] = await this.#read(
      `select ${COLUMNS} from "Conversation" where instance = ? and contact = ? and state <> 'closed'`,
      [instance, contact],
    )
    return row
  }

  /** Of a chat that is known by one or two names. */
  async notClosedIn(
    instance: InstanceId,
    chat: ChatId,
    alias: ChatId = chat,
  ): Promise<ConversationRow | undefined> {
    const [row] = await this.#read(
      `select ${COLUMNS} from "Conversation" where instance = ? and chat in (?, ?) and state <> 'closed'
       order by seq limit 1`,
      [instance, chat, alias],
    )
    return row
  }

  /** Those that became part of another aside. */
  async lastOf(
    tenant: TenantId,
    instance: InstanceId,
    contact: ContactId,
  ): Promise<ConversationRow | undefined> {
    const [row] = await this.#read(
      `select ${COLUMNS} from "Conversation" where tenant = ? and contact = ? and instance = ?
         and (close_reason is null or close_reason <> 'merged')
       order by seq desc limit 1`,
      [tenant, contact, instance],
    )
    return row
  }

  /** The conversation in which a message was filed; `openedFor`: the kind of entry that opened it for this message. */
  async ofInbound(
    origin: InboundOrigin,
  ): Promise<{ readonly conversation: ConversationRow; readonly openedFor: string | null } | undefined> {
    const [row] = await this.#database.read(
      `select ${COLUMNS}, (select opening.kind from "ConversationEntry" as opening
         where opening.conversation = "Conversation".id and opening.key = ?) as opened_for
       from "Conversation" where id = (
         select entry.conversation from "ConversationEntry" as entry where entry.instance = ? and entry.journal_id = ?)`,
      [openingKey(origin), origin.instance, origin.journalId],
    )
    if (row === undefined) return undefined
    return { conversation: rowOf(row), openedFor: row['opened_for'] as string | null }
  }

  /** Filters that leave much out make pages short; `next` is null at the end only. */
  async list(
    tenant: TenantId,
    filter: ConversationFilter,
    page: { readonly before: number; readonly limit: number },
  ): Promise<{ readonly items: readonly ConversationRow[]; readonly next: number | null }> {
    const { operator, contact } = filter
    const [where, params]: readonly [string, readonly SqlValue[]] =
      operator !== undefined
        ? ['tenant = ? and operator = ?', [tenant, operator]]
        : contact !== undefined
          ? ['tenant = ? and contact = ?', [tenant, contact]]
          : filter.state === 'open' || filter.state === 'assigned'
            ? [`tenant = ? and state <> 'closed'`, [tenant]]
            : ['tenant = ?', [tenant]]
    const rows = await this.#read(
      `select ${COLUMNS} from "Conversation" where ${where} and seq < ? order by seq desc limit ?`,
      [...params, page.before, LOOK_AT],
    )
    const items: ConversationRow[] = []
    for (const row of rows) {
      if (!matches(row, filter)) continue
      items.push(row)
      if (items.length === page.limit) return { items, next: row.seq }
    }
    return { items, next: rows.length === LOOK_AT ? (rows.at(-1)?.seq ?? null) : null }
  }

  /** Who waits in a sector, the first first. */
  line(
    tenant: TenantId,
    sector: SectorId,
    page: { readonly after: number; readonly limit: number },
  ): Promise<readonly ConversationRow[]> {
    return this.#read(
      `select ${COLUMNS} from "Conversation" where tenant = ? and sector = ? and waiting_since is not null
       and place > ? order by place limit ?`,
      [tenant, sector, page.after, page.limit],
    )
  }

  /** How many wait before it in its line. */
  async countBefore({ tenant, sector, place }: ConversationRow): Promise<number> {
    const [row] = await this.#database.read(
      `select count(*) as count from "Conversation" where tenant = ? and sector = ? and waiting_since is not null
       and place < ?`,
      [tenant, sector, place],
    )
    return Number(row?.['count'])
  }

  /** How many of a line somebody with one of these skills can answer. */
  async countWaiting(tenant: TenantId, sector: SectorId, skills: readonly string[]): Promise<number> {
    const [row] = await this.#database.read(
      `select count(*) as count from "Conversation" where tenant = ? and sector = ? and waiting_since is not null
       and skill in (select value from ${this.#listOf('?')} as known)`,
      [tenant, sector, JSON.stringify(skills)],
    )
    return Number(row?.['count'])
  }

  /** The first of a line that somebody with one of these skills can answer. */
  async firstWaiting(
    tenant: TenantId,
    sector: SectorId,
    skills: readonly string[],
  ): Promise<ConversationRow | undefined> {
    const [row] = await this.#read(
      `select ${COLUMNS} from "Conversation" where seq in (
         select (select waiting.seq from "Conversation" as waiting
           where waiting.tenant = ? and waiting.sector = ? and waiting.waiting_since is not null
             and waiting.skill = known.value order by waiting.place limit 1)
         from ${this.#listOf('?')} as known
       ) order by place limit 1`,
      [tenant, sector, JSON.stringify(skills)],
    )
    return row
  }

  /** Who waits in a sector that was deleted in that moment. */
  strays(limit: number): Promise<readonly ConversationRow[]> {
    return this.#read(
      `select ${COLUMNS} from "Conversation" where waiting_since is not null and not exists (
         select 1 from "Sector" as known where known.tenant = "Conversation".tenant
           and known.id = "Conversation".sector)
       order by seq limit ?`,
      [limit],
    )
  }

  assignedTo(tenant: TenantId, operator: OperatorId, limit: number): Promise<readonly ConversationRow[]> {
    return this.#read(
      `select ${COLUMNS} from "Conversation" where tenant = ? and operator = ? order by seq limit ?`,
      [tenant, operator, limit],
    )
  }

  async lastOperatorOf(tenant: TenantId, contact: ContactId): Promise<OperatorId | null> {
    const [row] = await this.#database.read(
      `select last_operator from "Conversation" where tenant = ? and contact = ? and last_operator is not null
       order by seq desc limit 1`,
      [tenant, contact],
    )
    return (row?.['last_operator'] ?? null) as OperatorId | null
  }

  /** At most `limit` (up to 500) entries after the cursor, oldest first, ending with the one that reaches `maxBytes`. */
  async history(
    { tenant, id }: Pick<Conversation, 'tenant' | 'id'>,
    page: { readonly after: number; readonly limit: number; readonly maxBytes?: number },
  ): Promise<readonly ConversationEntry[]> {
    const rows = await this.#database.read(
      `select id, tenant, instance, kind, at, journal_id, message_seq, sector, operator, actor, waited_ms, sealed
       from "ConversationEntry" join (
         select sized_id, bytes, sum(bytes) over (order by sized_id) as total_bytes from (
           select id as sized_id, coalesce(length(sealed), 0) + 1 as bytes from "ConversationEntry"
           where conversation = ? and tenant = ? and id > ? order by id limit ?
         ) as page
       ) as sized on id = sized_id where total_bytes - bytes < ? order by id`,
      [id, tenant, page.after, Math.min(page.limit, MAX_HISTORY), page.maxBytes ?? MIB],
    )
    await this.#sealer.know(rows.map((row) => row['sealed']))
    return rows.map((row) => this.#entryOf(row))
  }

  insert(conversation: Conversation): Statement {
    const { id, tenant, instance, contact, chat, openedAt, lastInboundAt } = conversation
    return {
      sql: INSERT,
      params: [id, tenant, instance, contact, chat, openedAt, lastInboundAt, tenant, contact],
      mustChange: 1,
    }
  }

  /** Fails unless nobody changed it since `before` was read. Entries come before it in the unit. */
  change(before: ConversationRow, change: ConversationChange, place: Place): Statement {
    return { sql: CHANGE, params: changeParams(before, change, place), mustChange: 1 }
  }

  /** As `change`, when the conversation is the first that somebody with these skills can answer. */
  changeFirst(before: ConversationRow, change: ConversationChange, skills: readonly string[]): Statement {
    const { tenant, sector, place } = before
    return {
      sql: `${CHANGE} ${IS_FIRST} (select value from ${this.#listOf('?')} as known))`,
      params: [...changeParams(before, change, 'kept'), tenant, sector, place, JSON.stringify(skills)],
      mustChange: 1,
    }
  }

  /** The contact wrote again; fails when the conversation is closed. */
  heard(conversation: Conversation, chat: ChatId, at: number): Statement {
    return { sql: HEARD, params: [chat, at, at, conversation.id], mustChange: 1 }
  }

  addEntry(
    { id, tenant, instance }: Pick<Conversation, 'id' | 'tenant' | 'instance'>,
    entry: NewEntry,
  ): Statement {
    const { kind, at, actor, journalId = null, messageSeq = null, sector = null, operator = null } = entry
    const { waitedMs = null, key = null, text = null } = entry
    const sealed =
      text === null
        ? null
        : this.#sealer.seal(Buffer.from(text), contextOf({ tenant, instance, kind, at }), tenant)
    return {
      sql: ADD_ENTRY,
      params: [
        tenant,
        instance,
        id,
        kind,
        at,
        journalId,
        messageSeq,
        sector,
        operator,
        actor,
        waitedMs,
        key,
        sealed,
      ],
    }
  }

  /** A message to the contact; together with the message's own row. */
  addOutbound(
    { id, tenant, instance }: Pick<Conversation, 'id' | 'tenant' | 'instance'>,
    entry: Required<Pick<NewEntry, 'at' | 'actor' | 'messageSeq'>> & { readonly text: string },
  ): Statement {
    const { at, actor, messageSeq, text } = entry
    const sealed = this.#sealer.seal(
      Buffer.from(text),
      contextOf({ tenant, instance, kind: 'outbound', at }),
      tenant,
    )
    return { sql: ADD_OUTBOUND, params: [at, messageSeq, actor, sealed, id] }
  }

  /** A message to the contact that was sent without the conversation. */
  addSent(
    { id, tenant, instance }: Pick<Conversation, 'id' | 'tenant' | 'instance'>,
    { at, messageSeq, text }: SentMessage,
  ): Statement {
    const context = contextOf({ tenant, instance, kind: 'outbound', at })
    const sealed = text === null ? null : this.#sealer.seal(Buffer.from(text), context, tenant)
    return { sql: ADD_SENT, params: [at, messageSeq, sealed, id, messageSeq] }
  }

  /** Of these chats, at most one each. */
  async notClosedInAny(instance: InstanceId, chats: readonly ChatId[]): Promise<readonly ConversationRow[]> {
    return this.#read(
      `select ${COLUMNS} from "Conversation" where instance = ? and state <> 'closed'
       and chat in (select value from ${this.#listOf('?')} as asked)`,
      [instance, JSON.stringify(chats)],
    )
  }

  /** The same chat under another name. */
  rename(conversation: Conversation, chat: ChatId): Statement {
    return {
      sql: `update "Conversation" set chat = ?, version = version + 1 where id = ? and chat = ? and state <> 'closed'`,
      params: [chat, conversation.id, conversation.chat],
    }
  }

  async hasKey(conversation: ConversationId, key: string): Promise<boolean> {
    const rows = await this.#database.read(
      'select 1 as found from "ConversationEntry" where conversation = ? and key = ?',
      [conversation, key],
    )
    return rows.length > 0
  }

  async #read(sql: string, params: readonly SqlValue[]): Promise<readonly ConversationRow[]> {
    return (await this.#database.read(sql, params)).map(rowOf)
  }

  /** The elements of a JSON list as rows with a `value`. */
  #listOf(parameter: string): string {
    return this.#database.dialect === 'sqlite'
      ? `(select value from json_each(${parameter}))`
      : `(select value from jsonb_array_elements_text(${parameter}::jsonb) as element (value))`
  }

  #entryOf(row: Row): ConversationEntry {
    const entry = {
      id: Number(row['id']),
      kind: row['kind'] as EntryKind,
      at: Number(row['at']),
      journalId: row['journal_id'] as number | null,
      messageSeq: row['message_seq'] as number | null,
      sector: row['sector'] as SectorId | null,
      operator: row['operator'] as OperatorId | null,
      actor: row['actor'] as Actor,
      waitedMs: row['waited_ms'] as number | null,
    }
    const sealed = row['sealed'] as Uint8Array | null
    if (sealed === null) return { ...entry, text: null }
    const { tenant, instance } = row as { readonly tenant: TenantId; readonly instance: InstanceId }
    const context = contextOf({ tenant, instance, kind: entry.kind, at: entry.at })
    const opened = this.#sealer.open(sealed, context, tenant)
    return { ...entry, text: Buffer.from(opened).toString('utf8') }
  }
}

/** What the entry that opened a conversation for a message is known by. */
export function openingKey({ instance, journalId }: InboundOrigin): string {
  return `opening:${instance}:${journalId}`
}

function changeParams(
  before: ConversationRow,
  change: ConversationChange,
  place: Place,
): readonly SqlValue[] {
  const next = { ...before, ...change }
  return [
    next.contact,
    next.chat,
    next.state,
    next.sector,
    next.operator,
    next.lastOperator,
    next.skill ?? '',
    next.rule,
    next.seed,
    next.waitingSince,
    next.lineSince,
    next.assignedAt,
    next.closedAt,
    next.closeReason,
    place === 'new' ? 1 : 0,
    before.id,
    typeof place === 'string' ? before.place : place,
    next.lastInboundAt,
    before.id,
    before.version,
  ]
}

function matches(row: ConversationRow, filter: ConversationFilter): boolean {
  return (
    (filter.state === undefined || row.state === filter.state) &&
    (filter.sector === undefined || row.sector === filter.sector) &&
    (filter.operator === undefined || row.operator === filter.operator) &&
    (filter.contact === undefined || row.contact === filter.contact) &&
    (filter.instance === undefined || row.instance === filter.instance)
  )
}

/** Without the conversation: its entries may become another's, when two contacts prove to be one. */
function contextOf(entry: {
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly kind: EntryKind
  readonly at: number
}): string {
  return `ConversationEntry|${entry.tenant}|${entry.instance}|${entry.kind}|${entry.at}`
}

function rowOf(row: Row): ConversationRow {
  return {
    seq: Number(row['seq']),
    id: row['id'] as ConversationId,
    tenant: row['tenant'] as TenantId,
    instance: row['instance'] as InstanceId,
    contact: row['contact'] as ContactId,
    chat: row['chat'] as ChatId,
    state: row['state'] as ConversationState,
    sector: row['sector'] as SectorId | null,
    operator: row['operator'] as OperatorId | null,
    lastOperator: row['last_operator'] as OperatorId | null,
    skill: row['skill'] === '' ? null : (row['skill'] as string),
    rule: row['rule'] as DistributionRule | null,
    seed: row['seed'] as number | null,
    waitingSince: row['waiting_since'] as number | null,
    place: row['place'] as number | null,
    lineSince: row['line_since'] as number | null,
    openedAt: Number(row['opened_at']),
    assignedAt: row['assigned_at'] as number | null,
    closedAt: row['closed_at'] as number | null,
    closeReason: row['close_reason'] as string | null,
    lastInboundAt: Number(row['last_inbound_at']),
    version: Number(row['version']),
  }
}

export const conversationSealedTable: SealedTable = {
  table: 'ConversationEntry',
  column: 'sealed',
  key: ['id'],
  start: [0],
  page: `select id, tenant, instance, kind, at, sealed from "ConversationEntry" where id > ? and sealed is not null
         order by id limit ?`,
  placeOf(row) {
    const { tenant, instance, kind } = row as unknown as {
      readonly tenant: TenantId
      readonly instance: InstanceId
      readonly kind: EntryKind
    }
    return { tenant, context: contextOf({ tenant, instance, kind, at: Number(row['at']) }) }
  },
}
