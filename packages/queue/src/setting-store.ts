import type { Clock, InstanceId, TenantId } from '@eclusa/kernel'
import type { Database, EventLog, Statement } from '@eclusa/storage'

/** What a tenant (`instance` null) or one instance wants to be different. */
export interface Setting<Options> {
  readonly tenant: TenantId
  readonly instance: InstanceId | null
  readonly options: Partial<Options>
}

/** Where settings of a kind are kept, and the event that tells of each change. */
export interface SettingKind {
  readonly table: 'PacingSetting' | 'LimitSetting'
  readonly changed: 'pacing.changed' | 'limits.changed'
}

/** SQL of what tenants and instances have of their own. Each change is told in the event log, by the same commit. */
export class SettingStore<Options> {
  readonly #database: Database
  readonly #eventLog: EventLog
  readonly #clock: Clock
  readonly #kind: SettingKind

  constructor(options: {
    readonly database: Database
    readonly eventLog: EventLog
    readonly clock: Clock
    readonly kind: SettingKind
  }) {
    this.#database = options.database
    this.#eventLog = options.eventLog
    this.#clock = options.clock
    this.#kind = options.kind
  }

  async list(): Promise<readonly Setting<Options>[]> {
    const rows = await this.#database.read(`select tenant, instance, options from "${this.#kind.table}"`, [])
    return rows.map((row) => ({
      tenant: row['tenant'] as TenantId,
      instance: row['instance'] === '' ? null : (row['instance'] as InstanceId),
      options: JSON.parse(row['options'] as string) as Partial<Options>,
    }))
  }

  async put(setting: Setting<Options>): Promise<void> {
    const { tenant, instance, options } = setting
    await this.#database.write([
      {
        sql: `insert into "${this.#kind.table}" (tenant, instance, options, changed_at) values (?, ?, ?, ?)
              on conflict (tenant, instance) do update set options = excluded.options,
              changed_at = excluded.changed_at`,
        params: [tenant, instance ?? '', JSON.stringify(options), this.#clock.now()],
      },
      this.#changed(setting),
    ])
  }

  async delete(tenant: TenantId, instance: InstanceId | null): Promise<void> {
    await this.#database.write([
      {
        sql: `delete from "${this.#kind.table}" where tenant = ? and instance = ?`,
        params: [tenant, instance ?? ''],
      },
      this.#changed({ tenant, instance, options: {} }),
    ])
  }

  async forget(instance: InstanceId): Promise<void> {
    await this.#database.write([
      { sql: `delete from "${this.#kind.table}" where instance = ?`, params: [instance] },
    ])
  }

  #changed({ tenant, instance, options }: Setting<Options>): Statement {
    return this.#eventLog.append({ tenant, instance, type: this.#kind.changed, payload: { options } })
  }
}
