import type { TenantId } from '@eclusa/kernel'
import type { Database, Row, SqlValue, Statement } from '@eclusa/storage'

/** Who asked for what. No content, no number in clear, no secret. */
export interface AuditEntry {
  /** `*` when it concerns the installation. */
  readonly tenant: TenantId | '*'
  readonly keyId: string
  /** Who logged in; null when a key was presented. */
  readonly person: string | null
  /** A keyed hash of the caller's address. */
  readonly addressHash: string | null
  readonly requestId: string | null
  /** `key.made`, or the route: `POST /v1/instances/:id/start`. */
  readonly action: string
  /** `intended`: before the act, taken back by a `failed` one of the same request; `done`: together with it. */
  readonly outcome: 'intended' | 'done' | 'failed'
  /** Ids of what it was done to. */
  readonly object: Readonly<Record<string, string>>
  readonly before: object | null
  readonly after: object | null
}

/** A link of the chain. */
export interface ChainedEntry extends AuditEntry {
  readonly seq: number
  /** Epoch milliseconds. */
  readonly at: number
  readonly previousHash: Uint8Array
  readonly hash: Uint8Array
}

/** The end of the chain, or where it begins. */
export type ChainEnd = Pick<ChainedEntry, 'seq' | 'hash'>

/** The table "AuditEntry". */
export class AuditStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** The newest entry; undefined when there never was one. */
  async end(): Promise<ChainEnd | undefined> {
    const [row] = await this.#database.read(
      'select seq, hash from "AuditEntry" order by seq desc limit 1',
      [],
    )
    return row === undefined ? this.anchor() : endOf(row)
  }

  /** The last entry that was swept. */
  async anchor(): Promise<ChainEnd | undefined> {
    const [row] = await this.#database.read('select seq, hash from "AuditAnchor" where id = 1', [])
    return row === undefined ? undefined : endOf(row)
  }

  insertion(entry: ChainedEntry): Statement {
    const { seq, at, tenant, keyId, person, addressHash, requestId, action, outcome } = entry
    const change = (value: object | null): SqlValue => (value === null ? null : JSON.stringify(value))
    return {
      sql: `insert into "AuditEntry" (seq, at, tenant, key_id, person, address_hash, request_id, action, outcome, object,
        before_change, after_change, previous_hash, hash) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      params: [
        seq,
        at,
        tenant,
        keyId,
        person,
        addressHash,
        requestId,
        action,
        outcome,
        JSON.stringify(entry.object),
        change(entry.before),
        change(entry.after),
        entry.previousHash,
        entry.hash,
      ],
    }
  }

  async write(statements: readonly Statement[]): Promise<void> {
    await this.#database.write(statements)
  }

  /** Newest first, at most `limit` before `before`. */
  async list(options: {
    readonly before: number
    readonly limit: number
    readonly tenant?: TenantId | undefined
  }): Promise<readonly ChainedEntry[]> {
    const { before, limit, tenant } = options
    const rows =
      tenant === undefined
        ? await this.#database.read('select * from "AuditEntry" where seq < ? order by seq desc limit ?', [
            before,
            limit,
          ])
        : await this.#database.read(
            'select * from "AuditEntry" where tenant = ? and seq < ? order by seq desc limit ?',
            [tenant, before, limit],
          )
    return rows.map(entryOf)
  }

  /** Oldest first, at most `limit` after `after`. */
  async after(after: number, limit: number): Promise<readonly ChainedEntry[]> {
    const rows = await this.#database.read('select * from "AuditEntry" where seq > ? order by seq limit ?', [
      after,
      limit,
    ])
    return rows.map(entryOf)
  }

  /** Deletes up to `limit` of the oldest that are older than `before`; returns how many. */
  async sweepStep(before: number, limit: number): Promise<number> {
    const oldest = await this.#database.read('select seq, at, hash from "AuditEntry" order by seq limit ?', [
      limit,
    ])
    const kept = oldest.findIndex((row) => Number(row['at']) >= before)
    const count = kept === -1 ? oldest.length : kept
    const last = oldest[count - 1]
    if (last === undefined) return 0
    const { seq, hash } = endOf(last)
    await this.#database.write([
      { sql: 'delete from "AuditEntry" where seq <= ?', params: [seq] },
      {
        sql: `insert into "AuditAnchor" (id, seq, hash) values (1, ?, ?)
          on conflict (id) do update set seq = excluded.seq, hash = excluded.hash
          where excluded.seq > "AuditAnchor".seq`,
        params: [seq, hash],
      },
    ])
    return count
  }
}

function endOf(row: Row): ChainEnd {
  return { seq: Number(row['seq']), hash: row['hash'] as Uint8Array }
}

function entryOf(row: Row): ChainedEntry {
  const change = (value: SqlValue | undefined): object | null =>
    typeof value === 'string' ? (JSON.parse(value) as object) : null
  return {
    seq: Number(row['seq']),
    at: Number(row['at']),
    tenant: row['tenant'] as AuditEntry['tenant'],
    keyId: row['key_id'] as string,
    person: row['person'] as string | null,
    addressHash: row['address_hash'] as string | null,
    requestId: row['request_id'] as string | null,
    action: row['action'] as string,
    outcome: row['outcome'] as AuditEntry['outcome'],
    object: JSON.parse(row['object'] as string) as Record<string, string>,
    before: change(row['before_change']),
    after: change(row['after_change']),
    previousHash: row['previous_hash'] as Uint8Array,
    hash: row['hash'] as Uint8Array,
  }
}
