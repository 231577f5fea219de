import { createHmac } from 'node:crypto'
import { type ChatId, type Clock, personKey, type TenantId } from '@eclusa/kernel'
import type { Database, Row, Statement } from '@eclusa/storage'

export type LedgerKind = 'opt_out' | 'opt_in' | 'consent' | 'consent_revoked'

/** One thing that a contact said or agreed to. */
export interface LedgerEntry {
  /** The cursor; grows with each entry. */
  readonly id: number
  readonly contact: ChatId
  readonly kind: LedgerKind
  /** Epoch milliseconds. */
  readonly at: number
  /** How it came to us: `api`, `message`, `import` … */
  readonly channel: string
  /** Where the proof is, or the reason; at most 1,000 characters. */
  readonly proof: string | null
  readonly recordedBy: string
  /** Only of a consent; null: it does not end by itself. */
  readonly expiresAt: number | null
}

export type NewLedgerEntry = Omit<LedgerEntry, 'id' | 'at'>

/** What counts for a contact now. */
export interface ContactStanding {
  /** Since when they want no more; null when they do not say so, or took it back. */
  readonly optedOutAt: number | null
  /** A consent to proactive messages is in force. */
  readonly consent: boolean
}

const COLUMNS = 'id, contact, kind, at, channel, proof, recorded_by, expires_at'

/** The ledger of opt-outs and consents: only ever added to. */
export class ContactLedger {
  readonly #database: Database
  readonly #clock: Clock
  readonly #hashKey: Uint8Array

  constructor(options: {
    readonly database: Database
    readonly clock: Clock
    /** Of the hashes that stand for erased people; the same for the life of the installation. */
    readonly hashKey: Uint8Array
  }) {
    this.#database = options.database
    this.#clock = options.clock
    this.#hashKey = options.hashKey
  }

  /** All or none of them, on disk when it resolves. */
  async record(tenant: TenantId, entries: readonly NewLedgerEntry[]): Promise<void> {
    await this.#database.write(entries.map((entry) => this.entry(tenant, entry, null)))
  }

  /** The statement that adds an entry. With `saidIn` its unit fails with STORAGE_CONFLICT when that message was heard. */
  entry(tenant: TenantId, entry: NewLedgerEntry, saidIn: string | null): Statement {
    return {
      sql: `insert into "ContactLedger" (tenant, contact, kind, at, channel, proof, recorded_by, expires_at, said_in)
            values (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      params: [
        tenant,
        entry.contact,
        entry.kind,
        this.#clock.now(),
        entry.channel,
        entry.proof,
        entry.recordedBy,
        entry.expiresAt,
        saidIn,
      ],
    }
  }

  /** What was recorded of a message of theirs. */
  async heardIn(tenant: TenantId, saidIn: string): Promise<LedgerKind | null> {
    const [row] = await this.#database.read(
      'select kind from "ContactLedger" where tenant = ? and said_in = ?',
      [tenant, saidIn],
    )
    return (row?.['kind'] ?? null) as LedgerKind | null
  }

  /** The message in which they last said that they want no more; null when they did not, or said so elsewhere. */
  async optedOutIn(tenant: TenantId, addresses: readonly ChatId[]): Promise<string | null> {
    const contacts = padded(addresses)
    const [row] = await this.#database.read(
      `select said_in from "ContactLedger" where id = (
         select max(id) from "ContactLedger" where tenant = ? and contact in (${marks(contacts)}) and kind = 'opt_out')`,
      [tenant, ...contacts],
    )
    return (row?.['said_in'] ?? null) as string | null
  }

  /** Of a person with these addresses, at most 64. Asked for every message: one look into the index per kind and address. */
  async standing(tenant: TenantId, addresses: readonly ChatId[]): Promise<ContactStanding> {
    const contacts = padded(addresses)
    const hashes = padded(
      [...new Set(addresses.map(personKey))].map((person) => this.#hashOf(tenant, person)),
    )
    const rows = await this.#database.read(
      `select kind, id, at, expires_at from "ContactLedger" where id in (
         select max(id) from "ContactLedger" where tenant = ? and contact in (${marks(contacts)}) group by kind)
       union all
       select 'erased', 0, opted_out_at, cast(null as bigint) from "ErasedOptOut"
       where tenant = ? and person_hash in (${marks(hashes)})`,
      [tenant, ...contacts, tenant, ...hashes],
    )
    const last = new Map(rows.map((row) => [row['kind'] as LedgerKind | 'erased', row]))
    const idOf = (kind: LedgerKind): number => Number(last.get(kind)?.['id'] ?? 0)
    const takenBackId = Math.max(idOf('opt_in'), idOf('consent'))
    // Of who was erased nothing is left but that they had opted out; what is on record came later.
    const erased = takenBackId === 0 ? last.get('erased') : undefined
    const optedOut = idOf('opt_out') > takenBackId ? last.get('opt_out') : erased
    const consentId = idOf('consent')
    const expiresAt = (last.get('consent')?.['expires_at'] ?? null) as number | null
    const consent =
      consentId > Math.max(idOf('consent_revoked'), idOf('opt_out')) &&
      (expiresAt === null || expiresAt > this.#clock.now())
    return { optedOutAt: optedOut === undefined ? null : Number(optedOut['at']), consent }
  }

  /** Takes everything of a person away but that they opted out, if so: that stays under a hash. */
  eraseStatements(
    tenant: TenantId,
    addresses: readonly ChatId[],
    { optedOutAt }: Pick<ContactStanding, 'optedOutAt'>,
  ): readonly Statement[] {
    const kept = optedOutAt === null ? [] : [...new Set(addresses.map(personKey))]
    return [
      ...kept.map((person) => ({
        sql: `insert into "ErasedOptOut" (tenant, person_hash, opted_out_at) values (?, ?, ?)
              on conflict (tenant, person_hash) do update set opted_out_at = excluded.opted_out_at`,
        params: [tenant, this.#hashOf(tenant, person), optedOutAt],
      })),
      ...addresses.map((address) => ({
        sql: 'delete from "ContactLedger" where tenant = ? and contact = ?',
        params: [tenant, address],
      })),
    ]
  }

  /** For who has no contact to be erased with. */
  async run(statements: readonly Statement[]): Promise<void> {
    await this.#database.write(statements)
  }

  #hashOf(tenant: TenantId, person: string): string {
    return createHmac('sha256', this.#hashKey).update(`${tenant}|${person}`).digest('hex')
  }

  /** Entries after the cursor `after`, oldest first, at most `limit`; of one contact, or of the whole tenant. */
  async list(
    tenant: TenantId,
    options: { readonly contact?: ChatId; readonly after: number; readonly limit: number },
  ): Promise<readonly LedgerEntry[]> {
    const { contact, after, limit } = options
    const rows = await this.#database.read(
      `select ${COLUMNS} from "ContactLedger" where tenant = ? and id > ?
       ${contact === undefined ? '' : 'and contact = ?'} order by id limit ?`,
      [tenant, after, ...(contact === undefined ? [] : [contact]), limit],
    )
    return rows.map(entryOf)
  }
}

function marks(texts: readonly string[]): string {
  return texts.map(() => '?').join(', ')
}

/** Few texts to prepare: lists of a length that is a power of two. */
function padded(texts: readonly string[]): readonly string[] {
  return Array.from({ length: 2 ** Math.ceil(Math.log2(texts.length)) }, (_, nth) => texts[nth] ?? '')
}

function entryOf(row: Row): LedgerEntry {
  return {
    id: row['id'] as number,
    contact: row['contact'] as ChatId,
    kind: row['kind'] as LedgerKind,
    at: row['at'] as number,
    channel: row['channel'] as string,
    proof: row['proof'] as string | null,
    recordedBy: row['recorded_by'] as string,
    expiresAt: row['expires_at'] as number | null,
  }
}
