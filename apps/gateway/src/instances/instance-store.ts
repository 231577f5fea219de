import type { InstanceId, TenantId } from '@eclusa/kernel'
import type { Database } from '@eclusa/storage'

/** One WhatsApp number of a tenant; it exists while offline. */
export interface Instance {
  readonly id: InstanceId
  readonly tenant: TenantId
  /** For people; 1 to 100 characters, not unique. */
  readonly name: string
  /** Lives in the simulator of the first minute; never connects to WhatsApp. */
  readonly simulated: boolean
  /** Whether its session runs after a restart of the gateway; `new` until it is first started. */
  readonly wanted: 'new' | 'started' | 'stopped'
  readonly createdAt: number
}

/** The table "Instance". */
export class InstanceStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** At most `limit`, oldest first. */
  async list(limit: number): Promise<readonly Instance[]> {
    const rows = await this.#database.read(
      'select id, tenant, name, simulated, wanted, created_at from "Instance" order by created_at, id limit ?',
      [limit],
    )
    return rows.map((row) => ({
      id: row['id'] as InstanceId,
      tenant: row['tenant'] as TenantId,
      name: row['name'] as string,
      simulated: row['simulated'] === 1,
      wanted: row['wanted'] as Instance['wanted'],
      createdAt: row['created_at'] as number,
    }))
  }

  async insert(instance: Instance): Promise<void> {
    await this.#database.write([
      {
        sql: 'insert into "Instance" (id, tenant, name, simulated, wanted, created_at) values (?, ?, ?, ?, ?, ?)',
        params: [
          instance.id,
          instance.tenant,
          instance.name,
          instance.simulated ? 1 : 0,
          instance.wanted,
          instance.createdAt,
        ],
      },
    ])
  }

  async setWanted(id: InstanceId, wanted: Instance['wanted']): Promise<void> {
    await this.#database.write([
      { sql: 'update "Instance" set wanted = ? where id = ?', params: [wanted, id] },
    ])
  }

  async delete(id: InstanceId): Promise<void> {
    await this.#database.write([{ sql: 'delete from "Instance" where id = ?', params: [id] }])
  }
}
