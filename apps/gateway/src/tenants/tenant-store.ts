import type { TenantId } from '@eclusa/kernel'
import type { Database, Row, Statement } from '@eclusa/storage'

/** What a tenant may have; null: as for everybody. */
export interface TenantQuotas {
  /** Instances, not counting simulated ones. */
  readonly instances: number | null
  /** Bytes of media kept; counts from when media are. */
  readonly mediaBytes: number | null
  /** Calls of all its keys together. */
  readonly apiPerSecond: number | null
  readonly apiBurst: number | null
  /** Its share of the cache budget, against 1 of the others. */
  readonly memoryWeight: number | null
}

/** `suspended`: nothing is sent or accepted, its keys are refused. `deleting`: on its way out. */
export type TenantState = 'active' | 'suspended' | 'deleting'

export interface Tenant {
  readonly id: TenantId
  readonly name: string
  readonly state: TenantState
  readonly quotas: TenantQuotas
  /** Grows with each change. */
  readonly version: number
  readonly createdAt: number
  readonly changedAt: number
}

/** The removal of all that a deleted tenant had: a receipt, once it has ended. */
export interface Removal {
  readonly id: string
  readonly tenant: TenantId
  /** The key that asked for it. */
  readonly askedBy: string
  /** Rows by table, and instances. */
  readonly removed: Readonly<Record<string, number>>
  readonly begunAt: number
  /** Null while it goes on. */
  readonly endedAt: number | null
}

/** The tables "Tenant" and "TenantRemoval". */
export class TenantStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async list(limit: number): Promise<readonly Tenant[]> {
    return (await this.#database.read('select * from "Tenant" order by id limit ?', [limit])).map(tenantOf)
  }

  async write(statements: readonly Statement[]): Promise<void> {
    await this.#database.write(statements)
  }

  insertion({ id, name, state, quotas, version, createdAt, changedAt }: Tenant): Statement {
    const { instances, mediaBytes, apiPerSecond, apiBurst, memoryWeight } = quotas
    return {
      sql: `insert into "Tenant" (id, name, state, max_instances, max_media_bytes, api_per_second, api_burst, memory_weight,
        version, created_at, changed_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      params: [
        id,
        name,
        state,
        instances,
        mediaBytes,
        apiPerSecond,
        apiBurst,
        memoryWeight,
        version,
        createdAt,
        changedAt,
      ],
    }
  }

  /** Of the version before, or STORAGE_CONFLICT. */
  update({ id, name, state, quotas, version, changedAt }: Tenant): Statement {
    const { instances, mediaBytes, apiPerSecond, apiBurst, memoryWeight } = quotas
    return {
      sql: `update "Tenant" set name = ?, state = ?, max_instances = ?, max_media_bytes = ?, api_per_second = ?,
        api_burst = ?, memory_weight = ?, version = ?, changed_at = ? where id = ? and version = ?`,
      params: [
        name,
        state,
        instances,
        mediaBytes,
        apiPerSecond,
        apiBurst,
        memoryWeight,
        version,
        changedAt,
        id,
        version - 1,
      ],
      mustChange: 1,
    }
  }

  deletion(id: TenantId): Statement {
    return { sql: 'delete from "Tenant" where id = ?', params: [id] }
  }

  /** Whether a tenant of this id was ever deleted. */
  async wasRemoved(tenant: TenantId): Promise<boolean> {
    const [row] = await this.#database.read(
      'select 1 as found from "TenantRemoval" where tenant = ? limit 1',
      [tenant],
    )
    return row !== undefined
  }

  removalInsertion({ id, tenant, askedBy, removed, begunAt }: Removal): Statement {
    return {
      sql: 'insert into "TenantRemoval" (id, tenant, asked_by, removed, begun_at) values (?, ?, ?, ?, ?)',
      params: [id, tenant, askedBy, JSON.stringify(removed), begunAt],
    }
  }

  removalUpdate({ id, removed, endedAt }: Removal): Statement {
    return {
      sql: 'update "TenantRemoval" set removed = ?, ended_at = ? where id = ?',
      params: [JSON.stringify(removed), endedAt, id],
      mustChange: 1,
    }
  }

  /** Newest first. */
  async removals(limit: number): Promise<readonly Removal[]> {
    const rows = await this.#database.read(
      'select * from "TenantRemoval" order by begun_at desc, id desc limit ?',
      [limit],
    )
    return rows.map(removalOf)
  }

  async removal(id: string): Promise<Removal | undefined> {
    const [row] = await this.#database.read('select * from "TenantRemoval" where id = ?', [id])
    return row === undefined ? undefined : removalOf(row)
  }

  /** Those that have not ended, oldest first. */
  async removalsUnderWay(): Promise<readonly Removal[]> {
    const rows = await this.#database.read(
      'select * from "TenantRemoval" where ended_at is null order by begun_at, id',
      [],
    )
    return rows.map(removalOf)
  }
}

function tenantOf(row: Row): Tenant {
  const number = (name: string): number | null => (row[name] === null ? null : Number(row[name]))
  return {
    id: row['id'] as TenantId,
    name: row['name'] as string,
    state: row['state'] as TenantState,
    quotas: {
      instances: number('max_instances'),
      mediaBytes: number('max_media_bytes'),
      apiPerSecond: number('api_per_second'),
      apiBurst: number('api_burst'),
      memoryWeight: number('memory_weight'),
    },
    version: Number(row['version']),
    createdAt: Number(row['created_at']),
    changedAt: Number(row['changed_at']),
  }
}

function removalOf(row: Row): Removal {
  return {
    id: row['id'] as string,
    tenant: row['tenant'] as TenantId,
    askedBy: row['asked_by'] as string,
    removed: JSON.parse(row['removed'] as string) as Record<string, number>,
    begunAt: Number(row['begun_at']),
    endedAt: row['ended_at'] === null ? null : Number(row['ended_at']),
  }
}
