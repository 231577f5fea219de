import type { InstanceId, TenantId } from '@eclusa/kernel'
import type { Database, Row, Statement } from '@eclusa/storage'
import { AddressRanges } from './address-ranges.ts'
import type { KeyRights } from './key-rights.ts'
import { type KeyScope, keyScopes, type Reach } from './scopes.ts'

export interface ApiKeyRow extends KeyRights {
  readonly id: string
  /** SHA-256, 32 bytes. */
  readonly digest: Uint8Array
  /** `generated` on the first start, `preset` by the operator's settings, `made` by another key. */
  readonly origin: 'generated' | 'preset' | 'made'
  readonly name: string
  readonly madeBy: string | null
  readonly createdAt: number
  readonly lastUsedAt: number | null
}

/** The table "ApiKey". */
export class ApiKeyStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** At most `limit`, oldest first. */
  async list(limit: number): Promise<readonly ApiKeyRow[]> {
    const rows = await this.#database.read('select * from "ApiKey" order by created_at, id limit ?', [limit])
    return rows.map(rowOf)
  }

  async write(statements: readonly Statement[]): Promise<void> {
    await this.#database.write(statements)
  }

  /** There is one preset key: this one takes the place of the one before. */
  replacePreset(key: ApiKeyRow): readonly Statement[] {
    return [
      { sql: `delete from "ApiKey" where origin = 'preset' or id = ?`, params: [key.id] },
      this.insertion(key),
    ]
  }

  insertion(key: ApiKeyRow): Statement {
    return {
      sql: `insert into "ApiKey" (id, digest, reach, origin, name, scopes, instances, addresses, expires_at, last_used_at,
        made_by, created_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      params: [
        key.id,
        key.digest,
        key.reach,
        key.origin,
        key.name,
        [...key.scopes].join(' '),
        key.instances === null ? null : [...key.instances].join(' '),
        key.addresses === null ? null : key.addresses.texts.join(' '),
        key.expiresAt,
        key.lastUsedAt,
        key.madeBy,
        key.createdAt,
      ],
    }
  }

  expiry(id: string, expiresAt: number): Statement {
    return { sql: 'update "ApiKey" set expires_at = ? where id = ?', params: [expiresAt, id], mustChange: 1 }
  }

  use(id: string, lastUsedAt: number): Statement {
    return { sql: 'update "ApiKey" set last_used_at = ? where id = ?', params: [lastUsedAt, id] }
  }

  deletion(id: string): Statement {
    return { sql: 'delete from "ApiKey" where id = ?', params: [id] }
  }

  deletionOfTenant(tenant: TenantId): Statement {
    return { sql: 'delete from "ApiKey" where reach = ?', params: [tenant] }
  }

  /** Those that ended before `before` are of no use to anybody. */
  sweep(before: number): Statement {
    return { sql: 'delete from "ApiKey" where expires_at < ?', params: [before] }
  }
}

function rowOf(row: Row): ApiKeyRow {
  const text = (name: string): string | null => row[name] as string | null
  const number = (name: string): number | null => (row[name] === null ? null : Number(row[name]))
  const known: ReadonlySet<string> = new Set(keyScopes)
  const instances = text('instances')
  const addresses = text('addresses')
  return {
    id: row['id'] as string,
    digest: row['digest'] as Uint8Array,
    reach: row['reach'] as Reach,
    origin: row['origin'] as ApiKeyRow['origin'],
    name: row['name'] as string,
    // A scope of a version to come is none of ours.
    scopes: new Set((row['scopes'] as string).split(' ').filter((one) => known.has(one)) as KeyScope[]),
    instances: instances === null ? null : new Set(instances.split(' ') as InstanceId[]),
    addresses: addresses === null ? null : new AddressRanges(addresses.split(' ')),
    expiresAt: number('expires_at'),
    lastUsedAt: number('last_used_at'),
    madeBy: text('made_by'),
    createdAt: Number(row['created_at']),
  }
}
