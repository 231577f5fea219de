import type { InstanceId, TenantId } from '@eclusa/kernel'
import type { Database, Row, SqlValue } from '@eclusa/storage'

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
  /** The number it is linked to as last seen, digits only; null when it is not linked. */
  readonly number: string | null
  /** Set from when its session came to rest by itself until somebody starts or stops it. */
  readonly rest: Rest | null
}

/** Why an instance is not connected any more, and is not to be by itself. */
interface Rest {
  readonly state: 'logged_out' | 'banned' | 'failed'
  readonly reason: { readonly code: string; readonly message: string } | null
  /** Since when. */
  readonly at: number
}

/** What of an instance changes. */
export type InstanceChange = Pick<Instance, 'wanted' | 'number' | 'rest'>

/** The table "Instance". */
export class InstanceStore {
  readonly #database: Database
  // Which never changes. bounded by: instances
  readonly #tenants = new Map<InstanceId, TenantId>()

  constructor(database: Database) {
    this.#database = database
  }

  /** Whose an instance is that was listed or inserted here; undefined when it was not, or was deleted. */
  tenantOf(id: InstanceId): TenantId | undefined {
    return this.#tenants.get(id)
  }

  /** At most `limit`, oldest first. */
  async list(limit: number): Promise<readonly Instance[]> {
    const rows = await this.#database.read(
      `select id, tenant, name, simulated, wanted, created_at, number, rest_state, rest_code, rest_message, rested_at
       from "Instance" order by created_at, id limit ?`,
      [limit],
    )
    for (const row of rows) this.#tenants.set(row['id'] as InstanceId, row['tenant'] as TenantId)
    return rows.map((row) => ({
      id: row['id'] as InstanceId,
      tenant: row['tenant'] as TenantId,
      name: row['name'] as string,
      simulated: row['simulated'] === 1,
      wanted: row['wanted'] as Instance['wanted'],
      createdAt: row['created_at'] as number,
      number: row['number'] as string | null,
      rest: restOf(row),
    }))
  }

  /** A new one, not linked yet. */
  async insert(instance: Instance): Promise<void> {
    this.#tenants.set(instance.id, instance.tenant)
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

  /** Only what is named: two changes at the same time do not undo each other. */
  async update(id: InstanceId, { wanted, number, rest }: Partial<InstanceChange>): Promise<void> {
    const columns: [string, SqlValue][] = []
    if (wanted !== undefined) columns.push(['wanted', wanted])
    if (number !== undefined) columns.push(['number', number])
    if (rest !== undefined) {
      columns.push(
        ['rest_state', rest?.state ?? null],
        ['rest_code', rest?.reason?.code ?? null],
        ['rest_message', rest?.reason?.message ?? null],
        ['rested_at', rest?.at ?? null],
      )
    }
    const sets = columns.map(([name]) => `${name} = ?`).join(', ')
    const params = [...columns.map(([, value]) => value), id]
    await this.#database.write([{ sql: `update "Instance" set ${sets} where id = ?`, params }])
  }

  async delete(id: InstanceId): Promise<void> {
    await this.#database.write([{ sql: 'delete from "Instance" where id = ?', params: [id] }])
    this.#tenants.delete(id)
  }
}

function restOf(row: Row): Rest | null {
  const { rest_state: state, rest_code: code, rest_message: message, rested_at: at } = row
  if (typeof state !== 'string') return null
  return {
    state: state as Rest['state'],
    reason: typeof code === 'string' ? { code, message: String(message) } : null,
    at: Number(at),
  }
}
