import type { ChatId, Clock, TenantId } from '@eclusa/kernel'
import type { Database, Row } from '@eclusa/storage'

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

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  /** All or none of them, on disk when it resolves. */
  async record(tenant: TenantId, entries: readonly NewLedgerEntry[]): Promise<void> {
    const at = this.#clock.now()
    await this.#database.write(
      entries.map((entry) => ({
        sql: `insert into "ContactLedger" (tenant, contact, kind, at, channel, proof, recorded_by, expires_at)
              values (?, ?, ?, ?, ?, ?, ?, ?)`,
        params: [
          tenant,
          entry.contact,
          entry.kind,
          at,
          entry.channel,
          entry.proof,
          entry.recordedBy,
          entry.expiresAt,
        ],
      })),
    )
  }

  /** Of a person with these addresses, at most 64. Asked for every message: one look into the index per kind and address. */
  async standing(tenant: TenantId, addresses: readonly ChatId[]): Promise<ContactStanding> {
    // Few texts to prepare: lists of a length that is a power of two.
    const padded = Array.from(
      { length: 2 ** Math.ceil(Math.log2(addresses.length)) },
      (_, nth) => addresses[nth] ?? '',
    )
    const rows = await this.#database.read(
      `select kind, id, at, expires_at from "ContactLedger" where id in (
         select max(id) from "ContactLedger" where tenant = ? and contact in (${padded.map(() => '?').join(', ')})
         group by kind)`,
      [tenant, ...padded],
    )
    const last = new Map(rows.map((row) => [row['kind'] as LedgerKind, row]))
    const idOf = (kind: LedgerKind): number => Number(last.get(kind)?.['id'] ?? 0)
    const hasOptedOut = idOf('opt_out') > Math.max(idOf('opt_in'), idOf('consent'))
    const consentId = idOf('consent')
    const expiresAt = (last.get('consent')?.['expires_at'] ?? null) as number | null
    const consent =
      consentId > Math.max(idOf('consent_revoked'), idOf('opt_out')) &&
      (expiresAt === null || expiresAt > this.#clock.now())
    return { optedOutAt: hasOptedOut ? (last.get('opt_out')?.['at'] as number) : null, consent }
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
