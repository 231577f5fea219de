import type { Database, Statement } from '@eclusa/storage'
import type { Reach } from './scopes.ts'

export interface ApiKeyRow {
  readonly id: string
  /** SHA-256, 32 bytes. */
  readonly digest: Uint8Array
  readonly reach: Reach
  readonly origin: 'generated' | 'preset'
}

/** The table "ApiKey". */
export class ApiKeyStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** At most `limit`, oldest first. */
  async list(limit: number): Promise<readonly ApiKeyRow[]> {
    const rows = await this.#database.read(
      'select id, digest, scope, origin from "ApiKey" order by created_at, id limit ?',
      [limit],
    )
    return rows.map((row) => ({
      id: row['id'] as string,
      digest: row['digest'] as Uint8Array,
      reach: row['scope'] as Reach,
      origin: row['origin'] as ApiKeyRow['origin'],
    }))
  }

  async insert(key: ApiKeyRow, createdAt: number): Promise<void> {
    await this.#database.write([insertion(key, createdAt)])
  }

  /** There is one preset key: this one takes the place of the one before. */
  async replacePreset(key: ApiKeyRow, createdAt: number): Promise<void> {
    await this.#database.write([
      { sql: `delete from "ApiKey" where origin = 'preset' or id = ?`, params: [key.id] },
      insertion(key, createdAt),
    ])
  }
}

function insertion(key: ApiKeyRow, createdAt: number): Statement {
  return {
    sql: 'insert into "ApiKey" (id, digest, scope, origin, created_at) values (?, ?, ?, ?, ?)',
    params: [key.id, key.digest, key.reach, key.origin, createdAt],
  }
}
