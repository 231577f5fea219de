import type { Clock, ContactId, TenantId } from '@eclusa/kernel'
import type { Database, Statement } from '@eclusa/storage'
import type { OperatorId } from './conversation.ts'

/** Whose customer a contact is. */
export class ContactOwners {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  async of(tenant: TenantId, contact: ContactId): Promise<OperatorId | null> {
    const [row] = await this.#database.read(
      'select operator from "ContactOwner" where tenant = ? and contact = ?',
      [tenant, contact],
    )
    return (row?.['operator'] ?? null) as OperatorId | null
  }

  /** Null: nobody's. */
  async set(tenant: TenantId, contact: ContactId, operator: OperatorId | null): Promise<void> {
    await this.#database.write([this.setStatement(tenant, contact, operator)])
  }

  setStatement(tenant: TenantId, contact: ContactId, operator: OperatorId | null): Statement {
    if (operator === null) {
      return {
        sql: 'delete from "ContactOwner" where tenant = ? and contact = ?',
        params: [tenant, contact],
      }
    }
    return {
      sql: `insert into "ContactOwner" (tenant, contact, operator, since) values (?, ?, ?, ?)
            on conflict (tenant, contact) do update set operator = excluded.operator, since = excluded.since`,
      params: [tenant, contact, operator, this.#clock.now()],
    }
  }
}
