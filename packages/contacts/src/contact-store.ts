import {
  type ChatId,
  type Clock,
  type ContactId,
  personKey,
  type PersonKey,
  type TenantId,
} from '@eclusa/kernel'
import type { Database, EventLog, Row, SealedTable, Sealer, SqlValue, Statement } from '@eclusa/storage'
import type { Contact, ContactNote } from './contact.ts'

/** What of a contact is sealed. */
type Profile = Pick<Contact, 'addresses' | 'name' | 'pushName' | 'picture' | 'zone' | 'tags' | 'fields'>

/** Two contacts that proved to be one person. */
export interface ContactMerge {
  readonly tenant: TenantId
  readonly from: ContactId
  readonly to: ContactId
}

const COLUMNS = 'id, tenant, created_at, last_seen_at, changed_at, version, profile'

/**
 * Contacts on disk. Every change names the version it was made from and fails as a whole with STORAGE_CONFLICT when that
 * is not the stored one any more, or when another contact has one of the addresses: the caller looks again.
 */
export class ContactStore {
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

  async get(tenant: TenantId, id: ContactId): Promise<Contact | undefined> {
    const [row] = await this.#database.read(`select ${COLUMNS} from "Contact" where tenant = ? and id = ?`, [
      tenant,
      id,
    ])
    const [contact] = await this.#openAll(row === undefined ? [] : [row])
    return contact
  }

  /** Where a contact that was merged is now. */
  async mergedInto(tenant: TenantId, id: ContactId): Promise<ContactId | undefined> {
    const [row] = await this.#database.read(
      'select to_contact from "ContactMerge" where tenant = ? and from_contact = ?',
      [tenant, id],
    )
    return row?.['to_contact'] as ContactId | undefined
  }

  /** Who is behind one or two addresses; the older first. */
  async find(tenant: TenantId, address: ChatId, alias: ChatId | null): Promise<readonly Contact[]> {
    const rows = await this.#database.read(
      `select ${COLUMNS} from "Contact" where id in (
         select contact from "ContactAddress" where tenant = ? and person in (?, ?)
       ) order by created_at, id`,
      [tenant, personKey(address), personKey(alias ?? address)],
    )
    return this.#openAll(rows)
  }

  /** Contacts after the cursor `after`, in the order of their ids; with `tag` only those that have it. */
  async page(
    tenant: TenantId,
    options: { readonly after: string; readonly limit: number; readonly tag?: string },
  ): Promise<readonly Contact[]> {
    const { after, limit, tag } = options
    const rows =
      tag === undefined
        ? await this.#database.read(
            `select ${COLUMNS} from "Contact" where tenant = ? and id > ? order by id limit ?`,
            [tenant, after, limit],
          )
        : await this.#database.read(
            `select ${COLUMNS} from "Contact" where id in (
               select contact from "ContactTag" where tenant = ? and tag = ? and contact > ? order by contact limit ?
             ) order by id`,
            [tenant, tag, after, limit],
          )
    return this.#openAll(rows)
  }

  async insert(contact: Contact): Promise<void> {
    const { id, tenant, createdAt, lastSeenAt, changedAt, version } = contact
    await this.#database.write([
      {
        sql: `insert into "Contact" (${COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)`,
        params: [id, tenant, createdAt, lastSeenAt, changedAt, version, this.#seal(contact)],
      },
      ...contact.addresses.map((address) => this.#own(contact, personKey(address))),
      ...contact.tags.map((tag) => this.#tag(contact, tag)),
      this.#event(contact, 'contact.created'),
    ])
  }

  /** In place of `before`. */
  async update(before: Contact, after: Contact): Promise<void> {
    await this.#database.write([...this.updateStatements(before, after)])
  }

  updateStatements(before: Contact, after: Contact): readonly Statement[] {
    const old = new Set(before.addresses.map(personKey))
    const fresh = [...new Set(after.addresses.map(personKey))].filter((person) => !old.has(person))
    return [
      ...this.#put(before, after),
      ...fresh.map((person) => this.#own(after, person)),
      this.#event(after, fresh.length > 0 ? 'contact.addressed' : 'contact.changed'),
    ]
  }

  /** Tells whether the contact is still there. */
  async seen(id: ContactId, at: number): Promise<boolean> {
    const [result] = await this.#database.write(
      [
        {
          sql: `update "Contact" set last_seen_at =
                  case when last_seen_at is null or last_seen_at < ? then ? else last_seen_at end where id = ?`,
          params: [at, at, id],
        },
      ],
      { rows: `Contact|${id}` },
    )
    return result?.changes === 1
  }

  /** `merged`, in place of `kept`, has everything of both; `gone` leads to it from now on. */
  async merge(kept: Contact, gone: Contact, merged: Contact): Promise<void> {
    const { tenant } = kept
    await this.#database.write([
      {
        sql: 'delete from "Contact" where tenant = ? and id = ? and version = ?',
        params: [tenant, gone.id, gone.version],
        mustChange: 1,
      },
      ...this.#put(kept, merged),
      {
        sql: 'update "ContactAddress" set contact = ? where contact = ?',
        params: [kept.id, gone.id],
      },
      { sql: 'delete from "ContactTag" where contact = ?', params: [gone.id] },
      { sql: 'update "ContactNote" set contact = ? where contact = ?', params: [kept.id, gone.id] },
      {
        sql: 'update "ContactMerge" set to_contact = ? where to_contact = ?',
        params: [kept.id, gone.id],
      },
      {
        sql: 'insert into "ContactMerge" (from_contact, tenant, to_contact, merged_at) values (?, ?, ?, ?)',
        params: [gone.id, tenant, kept.id, this.#clock.now()],
      },
      this.#events.append({
        tenant,
        instance: null,
        type: 'contact.merged',
        payload: { contact: kept.id, from: gone.id },
      }),
    ])
  }

  /** Everything of a contact but what `more` keeps; how many rows went, by table. */
  async erase(
    { tenant, id, version }: Contact,
    more: readonly Statement[],
  ): Promise<Readonly<Record<string, number>>> {
    const tables = [
      ['ContactAddress', 'contact = ?'],
      ['ContactTag', 'contact = ?'],
      ['ContactNote', 'contact = ?'],
      ['ContactAsk', 'contact = ?'],
      ['AutoReply', 'contact = ?'],
      ['ContactMerge', 'to_contact = ?'],
    ] as const
    const results = await this.#database.write([
      {
        sql: 'delete from "Contact" where tenant = ? and id = ? and version = ?',
        params: [tenant, id, version],
        mustChange: 1,
      },
      ...tables.map(([table, where]) => ({ sql: `delete from "${table}" where ${where}`, params: [id] })),
      this.#events.append({ tenant, instance: null, type: 'contact.erased', payload: { contact: id } }),
      ...more,
    ])
    return {
      Contact: 1,
      ...Object.fromEntries(tables.map(([table], nth) => [table, results[nth + 1]?.changes ?? 0])),
    }
  }

  /** Merges that not everybody was told of, oldest first, at most 100. */
  async untold(): Promise<readonly ContactMerge[]> {
    const rows = await this.#database.read(
      `select tenant, from_contact, to_contact from "ContactMerge" where told_at is null
       order by merged_at limit 100`,
      [],
    )
    return rows.map((row) => ({
      tenant: row['tenant'] as TenantId,
      from: row['from_contact'] as ContactId,
      to: row['to_contact'] as ContactId,
    }))
  }

  async told({ from, to }: ContactMerge): Promise<void> {
    await this.#database.write([
      {
        // Merged once more meanwhile: those who keep rows must hear of the new one, too.
        sql: 'update "ContactMerge" set told_at = ? where from_contact = ? and to_contact = ?',
        params: [this.#clock.now(), from, to],
      },
    ])
  }

  /** Oldest first; at most 500, as many as there may be. */
  async notes(tenant: TenantId, id: ContactId): Promise<readonly ContactNote[]> {
    const rows = await this.#database.read(
      'select id, at, sealed from "ContactNote" where contact = ? order by id limit 500',
      [id],
    )
    await this.#sealer.know(rows.map((row) => row['sealed']))
    return rows.map((row) => {
      const at = Number(row['at'])
      const plain = this.#sealer.open(row['sealed'] as Uint8Array, noteContextOf(at), tenant)
      return { id: Number(row['id']), at, ...(JSON.parse(Buffer.from(plain).toString()) as NoteText) }
    })
  }

  /** False when the contact is gone, or has as many notes as it may have. */
  async addNote(tenant: TenantId, id: ContactId, note: NoteText, maxNotes: number): Promise<boolean> {
    const at = this.#clock.now()
    const sealed = this.#sealer.seal(Buffer.from(JSON.stringify(note)), noteContextOf(at), tenant)
    const [result] = await this.#database.write([
      {
        sql: `insert into "ContactNote" (contact, at, sealed)
              select id, ?, ? from "Contact" where tenant = ? and id = ?
                and (select count(*) from "ContactNote" where contact = ?) < ?`,
        params: [at, sealed, tenant, id, id, maxNotes],
      },
    ])
    return result?.changes === 1
  }

  async removeNote(id: ContactId, note: number): Promise<boolean> {
    const [result] = await this.#database.write([
      { sql: 'delete from "ContactNote" where contact = ? and id = ?', params: [id, note] },
    ])
    return result?.changes === 1
  }

  #put(before: Contact, after: Contact): readonly Statement[] {
    const { tenant, id } = before
    return [
      {
        sql: `update "Contact" set profile = ?, last_seen_at = ?, changed_at = ?, version = ?
              where tenant = ? and id = ? and version = ?`,
        params: [
          this.#seal(after),
          after.lastSeenAt,
          after.changedAt,
          after.version,
          tenant,
          id,
          before.version,
        ],
        mustChange: 1,
      },
      ...before.tags
        .filter((tag) => !after.tags.includes(tag))
        .map((tag) => ({
          sql: 'delete from "ContactTag" where tenant = ? and tag = ? and contact = ?',
          params: [tenant, tag, id],
        })),
      ...after.tags.filter((tag) => !before.tags.includes(tag)).map((tag) => this.#tag(after, tag)),
    ]
  }

  #own({ tenant, id }: Contact, person: PersonKey): Statement {
    return {
      // It may be theirs already: of very many addresses the profile has only the newest.
      sql: `insert into "ContactAddress" (tenant, person, contact) values (?, ?, ?)
            on conflict (tenant, person) do update set contact = excluded.contact
            where "ContactAddress".contact = excluded.contact`,
      params: [tenant, person, id],
      mustChange: 1,
    }
  }

  #tag({ tenant, id }: Contact, tag: string): Statement {
    return {
      sql: 'insert into "ContactTag" (tenant, tag, contact) values (?, ?, ?)',
      params: [tenant, tag, id],
    }
  }

  /** `contact.addressed`: another address of theirs became known. */
  #event({ tenant, id }: Contact, type: string): Statement {
    return this.#events.append({ tenant, instance: null, type, payload: { contact: id } })
  }

  #seal(contact: Contact): Uint8Array {
    const { addresses, name, pushName, picture, zone, tags, fields } = contact
    const profile: Profile = { addresses, name, pushName, picture, zone, tags, fields }
    const { tenant, id } = contact
    return this.#sealer.seal(Buffer.from(JSON.stringify(profile)), contextOf(tenant, id), tenant)
  }

  async #openAll(rows: readonly Row[]): Promise<readonly Contact[]> {
    await this.#sealer.know(rows.map((row) => row['profile']))
    return rows.map((row) => this.#open(row))
  }

  #open(row: Row): Contact {
    const id = row['id'] as ContactId
    const tenant = row['tenant'] as TenantId
    const plain = this.#sealer.open(row['profile'] as Uint8Array, contextOf(tenant, id), tenant)
    const profile = JSON.parse(Buffer.from(plain).toString()) as Profile
    const instant = (value: SqlValue | undefined): number | null => (value == null ? null : Number(value))
    return {
      id,
      tenant,
      address: profile.addresses[0] as ChatId,
      ...profile,
      createdAt: Number(row['created_at']),
      lastSeenAt: instant(row['last_seen_at']),
      changedAt: Number(row['changed_at']),
      version: Number(row['version']),
    }
  }
}

type NoteText = Pick<ContactNote, 'by' | 'text'>

function contextOf(tenant: TenantId, id: ContactId): string {
  return `Contact|${tenant}|${id}`
}

/** Notes go with their contact when it is merged, and have no id before they are stored: the instant tells them apart. */
function noteContextOf(at: number): string {
  return `ContactNote|${at}`
}

export const contactSealedTables: readonly SealedTable[] = [
  {
    table: 'Contact',
    column: 'profile',
    key: ['id'],
    start: [''],
    page: 'select id, tenant, profile as sealed from "Contact" where id > ? order by id limit ?',
    placeOf: (row) => ({
      tenant: row['tenant'] as TenantId,
      context: contextOf(row['tenant'] as TenantId, row['id'] as ContactId),
    }),
  },
  {
    table: 'ContactNote',
    column: 'sealed',
    key: ['id'],
    start: [0],
    page: `select note.id as id, note.at as at, note.sealed as sealed, known.tenant as tenant
           from "ContactNote" as note join "Contact" as known on known.id = note.contact
           where note.id > ? order by note.id limit ?`,
    placeOf: (row) => ({ tenant: row['tenant'] as TenantId, context: noteContextOf(Number(row['at'])) }),
  },
]
