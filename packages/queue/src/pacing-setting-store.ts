import type { Clock, InstanceId, TenantId } from '@eclusa/kernel'
import type { Database } from '@eclusa/storage'
import type { PacingOptions } from './pacing.ts'

/** What a tenant (`instance` null) or one instance wants to be different. */
export interface PacingSetting {
  readonly tenant: TenantId
  readonly instance: InstanceId | null
  readonly options: Partial<PacingOptions>
}

/** SQL of the pacing that tenants and instances have of their own. */
export class PacingSettingStore {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  async list(): Promise<readonly PacingSetting[]> {
    const rows = await this.#database.read('select tenant, instance, options from "PacingSetting"', [])
    return rows.map((row) => ({
      tenant: row['tenant'] as TenantId,
      instance: row['instance'] === '' ? null : (row['instance'] as InstanceId),
      options: JSON.parse(row['options'] as string) as Partial<PacingOptions>,
    }))
  }

  async put({ tenant, instance, options }: PacingSetting): Promise<void> {
    await this.#database.write([
      {
        sql: `insert into "PacingSetting" (tenant, instance, options, changed_at) values (?, ?, ?, ?)
              on conflict (tenant, instance) do update set options = excluded.options,
              changed_at = excluded.changed_at`,
        params: [tenant, instance ?? '', JSON.stringify(options), this.#clock.now()],
      },
    ])
  }

  async delete(tenant: TenantId, instance: InstanceId | null): Promise<void> {
    await this.#database.write([
      {
        sql: 'delete from "PacingSetting" where tenant = ? and instance = ?',
        params: [tenant, instance ?? ''],
      },
    ])
  }

  async forget(instance: InstanceId): Promise<void> {
    await this.#database.write([
      { sql: 'delete from "PacingSetting" where instance = ?', params: [instance] },
    ])
  }
}
