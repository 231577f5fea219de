import type { Clock, TenantId } from '@eclusa/kernel'
import type { Database } from '@eclusa/storage'
import type { AutoReplyRules, Confirmations } from './contact-settings.ts'
import type { OwnWords } from './spoken-words.ts'

/** What a tenant may set, by name. */
export interface ContactSettings {
  readonly confirmations: Confirmations
  readonly auto_replies: AutoReplyRules
  readonly words: OwnWords
}

/** Settings as they were checked before they were put. */
export class ContactSettingStore {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  async get<Name extends keyof ContactSettings>(
    tenant: TenantId,
    name: Name,
  ): Promise<ContactSettings[Name] | null> {
    const [row] = await this.#database.read(
      'select options from "ContactSetting" where tenant = ? and name = ?',
      [tenant, name],
    )
    return row === undefined ? null : (JSON.parse(String(row['options'])) as ContactSettings[Name])
  }

  async put<Name extends keyof ContactSettings>(
    tenant: TenantId,
    name: Name,
    options: ContactSettings[Name],
  ): Promise<void> {
    await this.#database.write([
      {
        sql: `insert into "ContactSetting" (tenant, name, options, changed_at) values (?, ?, ?, ?)
              on conflict (tenant, name) do update set options = excluded.options, changed_at = excluded.changed_at`,
        params: [tenant, name, JSON.stringify(options), this.#clock.now()],
      },
    ])
  }
}
