import type { ChatId, Clock, InstanceId, TenantId } from '@eclusa/kernel'
import type { Database } from '@eclusa/storage'

/** What a person stopped: a tenant, an instance, or one chat of it. */
export interface Pause {
  readonly tenant: TenantId
  readonly instance: InstanceId | null
  readonly chat: ChatId | null
}

/** SQL of what people paused. */
export class PauseStore {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  async list(): Promise<readonly (Pause & { readonly pausedAt: number })[]> {
    const rows = await this.#database.read(
      'select tenant, instance, chat, paused_at from "QueuePause" order by tenant, instance, chat',
      [],
    )
    return rows.map((row) => ({
      tenant: row['tenant'] as TenantId,
      instance: row['instance'] === '' ? null : (row['instance'] as InstanceId),
      chat: row['chat'] === '' ? null : (row['chat'] as ChatId),
      pausedAt: row['paused_at'] as number,
    }))
  }

  async insert({ tenant, instance, chat }: Pause): Promise<void> {
    await this.#database.write([
      {
        sql: `insert into "QueuePause" (tenant, instance, chat, paused_at) values (?, ?, ?, ?)
              on conflict (tenant, instance, chat) do nothing`,
        params: [tenant, instance ?? '', chat ?? '', this.#clock.now()],
      },
    ])
  }

  async delete({ tenant, instance, chat }: Pause): Promise<void> {
    await this.#database.write([
      {
        sql: 'delete from "QueuePause" where tenant = ? and instance = ? and chat = ?',
        params: [tenant, instance ?? '', chat ?? ''],
      },
    ])
  }

  async forget(instance: InstanceId): Promise<void> {
    await this.#database.write([{ sql: 'delete from "QueuePause" where instance = ?', params: [instance] }])
  }
}
