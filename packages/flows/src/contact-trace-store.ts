import type { ContactId, InstanceId, TenantId } from '@eclusa/kernel'
import type { Database, Statement } from '@eclusa/storage'
import type { Conversation, ConversationId } from './conversation.ts'

/** Rows that one step deletes: a few milliseconds of the one connection. */
const DELETE_STEP = 1000

/** SQL of a person as a whole: when two prove to be one, and when one is to be forgotten. */
export class ContactTraceStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Conversations of a contact that are not closed, the oldest first: one of each instance at most. */
  async notClosedOf(tenant: TenantId, contact: ContactId): Promise<readonly ConversationId[]> {
    const rows = await this.#database.read(
      `select id from "Conversation" where tenant = ? and contact = ? and state <> 'closed' order by seq`,
      [tenant, contact],
    )
    return rows.map((row) => row['id'] as ConversationId)
  }

  /** Whether everything of `from` is `into`'s already. */
  async isMerged(tenant: TenantId, from: ContactId, into: ContactId): Promise<boolean> {
    const rows = await this.#database.read(
      `select 1 as found from "MergedContact" where tenant = ? and contact = ? and into_contact = ?
       and not exists (select 1 from "Conversation" as left_over where left_over.tenant = ? and left_over.contact = ?)`,
      [tenant, from, into, tenant, from],
    )
    return rows.length > 0
  }

  /** What is closed, and whose customer they are; and that a message on its way under the old name finds the new one. */
  merge(tenant: TenantId, from: ContactId, into: ContactId): readonly Statement[] {
    return [
      {
        sql: `update "Conversation" set contact = ?, version = version + 1
              where tenant = ? and contact = ? and state = 'closed'`,
        params: [into, tenant, from],
      },
      {
        sql: `insert into "ContactOwner" (tenant, contact, operator, since)
              select tenant, ?, operator, since from "ContactOwner" where tenant = ? and contact = ?
              on conflict (tenant, contact) do nothing`,
        params: [into, tenant, from],
      },
      { sql: 'delete from "ContactOwner" where tenant = ? and contact = ?', params: [tenant, from] },
      { sql: 'delete from "MergedContact" where tenant = ? and contact = ?', params: [tenant, into] },
      {
        sql: 'update "MergedContact" set into_contact = ? where tenant = ? and into_contact = ?',
        params: [into, tenant, from],
      },
      {
        sql: `insert into "MergedContact" (tenant, contact, into_contact) values (?, ?, ?)
              on conflict (tenant, contact) do update set into_contact = excluded.into_contact`,
        params: [tenant, from, into],
      },
    ]
  }

  /** The history of one conversation becomes part of another's. */
  moveHistory(from: Conversation, into: Conversation): Statement {
    return {
      sql: 'update "ConversationEntry" set conversation = ? where conversation = ?',
      params: [into.id, from.id],
    }
  }

  /** Some conversations of a contact, closed or not. */
  async ofContact(tenant: TenantId, contact: ContactId, limit: number): Promise<readonly ConversationId[]> {
    const rows = await this.#database.read(
      'select id from "Conversation" where tenant = ? and contact = ? order by seq limit ?',
      [tenant, contact, limit],
    )
    return rows.map((row) => row['id'] as ConversationId)
  }

  async ofInstance(
    instance: InstanceId,
    limit: number,
  ): Promise<readonly Pick<Conversation, 'tenant' | 'id'>[]> {
    const rows = await this.#database.read(
      'select tenant, id from "Conversation" where instance = ? order by seq limit ?',
      [instance, limit],
    )
    return rows.map((row) => ({ tenant: row['tenant'] as TenantId, id: row['id'] as ConversationId }))
  }

  /** Deletes most of a long history before the conversation itself goes; returns how many entries. */
  async shortenHistory(conversation: ConversationId): Promise<number> {
    let deletedCount = 0
    for (;;) {
      const [result] = await this.#database.write([
        {
          sql: `delete from "ConversationEntry" where id in (
                  select id from "ConversationEntry" where conversation = ? order by id limit ?)`,
          params: [conversation, DELETE_STEP],
        },
      ])
      deletedCount += result?.changes ?? 0
      if ((result?.changes ?? 0) < DELETE_STEP) return deletedCount
    }
  }

  /** Fails when the conversation changed since. */
  forget(conversation: Conversation & { readonly version: number }): readonly Statement[] {
    return [
      { sql: 'delete from "ConversationEntry" where conversation = ?', params: [conversation.id] },
      {
        sql: 'delete from "Conversation" where id = ? and version = ?',
        params: [conversation.id, conversation.version],
        mustChange: 1,
      },
    ]
  }

  async forgetNames(tenant: TenantId, contact: ContactId): Promise<void> {
    await this.#database.write([
      { sql: 'delete from "ContactOwner" where tenant = ? and contact = ?', params: [tenant, contact] },
      { sql: 'delete from "MergedContact" where tenant = ? and contact = ?', params: [tenant, contact] },
      { sql: 'delete from "MergedContact" where tenant = ? and into_contact = ?', params: [tenant, contact] },
    ])
  }

  /** Sectors, operators and owners; of a tenant without conversations. */
  async forgetTenant(tenant: TenantId): Promise<void> {
    await this.#database.write(
      ['OperatorSector', 'Operator', 'Sector', 'ContactOwner', 'MergedContact'].map((table) => ({
        sql: `delete from "${table}" where tenant = ?`,
        params: [tenant],
      })),
    )
  }
}
