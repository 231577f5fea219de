import type { InstanceId, TenantId } from '@eclusa/kernel'
import type { Database, Row, SealedTable, Sealer, SqlValue, Statement } from '@eclusa/storage'
import type { DisabledReason, SigningSecret, Webhook, WebhookId, WebhookState } from './webhook.ts'

/** A webhook with how it does, as it is stored. */
export interface StoredWebhook {
  readonly webhook: Webhook
  readonly state: WebhookState
}

interface Sealed {
  readonly url: string
  readonly secrets: readonly SigningSecret[]
}

const COLUMNS = `id, tenant, instance, types, description, sealed, enabled, disabled_reason, disabled_at, created_at,
  changed_at, cursor, last_success_at, failing_since, last_error, slow, missed_after, missed_before, missed_at`
const PAGE = 500

/** The endpoints. */
export class WebhookStore {
  readonly #database: Database
  readonly #sealer: Sealer

  constructor(options: { readonly database: Database; readonly sealer: Sealer }) {
    this.#database = options.database
    this.#sealer = options.sealer
  }

  /** The `limit` oldest ids of all tenants, and what stands behind them. */
  async listAll(limit: number): Promise<readonly StoredWebhook[]> {
    const found: StoredWebhook[] = []
    for (let after = ''; found.length < limit;) {
      const rows = await this.#database.read(
        `select ${COLUMNS} from "Webhook" where id > ? order by id limit ?`,
        [after, Math.min(PAGE, limit - found.length)],
      )
      found.push(...(await this.#openAll(rows)))
      const last = found.at(-1)
      if (rows.length < PAGE || last === undefined) break
      after = last.webhook.id
    }
    return found
  }

  /** Those of a tenant, at most MAX_WEBHOOKS_OF_TENANT, the oldest first. */
  async listOf(tenant: TenantId): Promise<readonly StoredWebhook[]> {
    const rows = await this.#database.read(
      `select ${COLUMNS} from "Webhook" where tenant = ? order by created_at, id`,
      [tenant],
    )
    return this.#openAll(rows)
  }

  async find(id: WebhookId): Promise<StoredWebhook | undefined> {
    const [row] = await this.#database.read(`select ${COLUMNS} from "Webhook" where id = ?`, [id])
    const [found] = await this.#openAll(row === undefined ? [] : [row])
    return found
  }

  /** False when the tenant has `maxOfTenant`, or all have `maxOfAll`. */
  async insert(
    webhook: Webhook,
    {
      cursor,
      maxOfTenant,
      maxOfAll,
    }: { readonly cursor: number; readonly maxOfTenant: number; readonly maxOfAll: number },
  ): Promise<boolean> {
    const { id, tenant } = webhook
    const [result] = await this.#database.write([
      {
        sql: `insert into "Webhook" (id, tenant, instance, types, description, sealed, enabled, created_at, changed_at, cursor)
              select ?, ?, ?, ?, ?, ?, 1, ?, ?, ?
              where (select count(*) from "Webhook" where tenant = ?) < ? and (select count(*) from "Webhook") < ?`,
        params: [
          id,
          tenant,
          webhook.instance,
          JSON.stringify(webhook.types),
          webhook.description,
          this.#sealed(webhook),
          webhook.createdAt,
          webhook.changedAt,
          cursor,
          tenant,
          maxOfTenant,
          maxOfAll,
        ],
      },
    ])
    return result?.changes === 1
  }

  /** What may be changed of it. */
  update(webhook: Webhook): Statement {
    return {
      sql: `update "Webhook" set instance = ?, types = ?, description = ?, sealed = ?, enabled = ?, disabled_reason = ?,
              disabled_at = ?, changed_at = ? where id = ?`,
      params: [
        webhook.instance,
        JSON.stringify(webhook.types),
        webhook.description,
        this.#sealed(webhook),
        webhook.enabled ? 1 : 0,
        webhook.disabledReason,
        webhook.disabledAt,
        webhook.changedAt,
        webhook.id,
      ],
    }
  }

  /** Its cursor, to `cursor` at least. */
  moveOn(id: WebhookId, cursor: number): Statement {
    return {
      sql: 'update "Webhook" set cursor = ? where id = ? and cursor < ?',
      params: [cursor, id, cursor],
    }
  }

  /** Only that it is disabled, and why. */
  disable({ id, disabledReason, disabledAt }: Webhook): Statement {
    return {
      sql: 'update "Webhook" set enabled = 0, disabled_reason = ?, disabled_at = ?, changed_at = ? where id = ?',
      params: [disabledReason, disabledAt, disabledAt, id],
    }
  }

  saveState(
    id: WebhookId,
    { cursor, lastSuccessAt, failingSince, lastError, isSlow, missed }: WebhookState,
  ): Statement {
    return {
      sql: `update "Webhook" set cursor = ?, last_success_at = ?, failing_since = ?, last_error = ?, slow = ?,
              missed_after = ?, missed_before = ?, missed_at = ? where id = ?`,
      params: [
        cursor,
        lastSuccessAt,
        failingSince,
        lastError,
        isSlow ? 1 : 0,
        missed?.after ?? null,
        missed?.before ?? null,
        missed?.at ?? null,
        id,
      ],
    }
  }

  /** The endpoint alone; what is left of it goes with `forgetStep`. */
  delete(id: WebhookId): Statement {
    return { sql: 'delete from "Webhook" where id = ?', params: [id] }
  }

  #sealed({ id, tenant, url, secrets }: Webhook): Uint8Array {
    const plain: Sealed = { url, secrets }
    return this.#sealer.seal(Buffer.from(JSON.stringify(plain)), contextOf(tenant, id), tenant)
  }

  async #openAll(rows: readonly Row[]): Promise<readonly StoredWebhook[]> {
    await this.#sealer.know(rows.map((row) => row['sealed']))
    return rows.map((row) => this.#open(row))
  }

  #open(row: Row): StoredWebhook {
    const id = row['id'] as WebhookId
    const tenant = row['tenant'] as TenantId
    const plain = this.#sealer.open(row['sealed'] as Uint8Array, contextOf(tenant, id), tenant)
    const { url, secrets } = JSON.parse(Buffer.from(plain).toString()) as Sealed
    const missedAfter = numberOf(row['missed_after'])
    return {
      webhook: {
        id,
        tenant,
        instance: row['instance'] as InstanceId | null,
        types: JSON.parse(row['types'] as string) as readonly string[],
        description: row['description'] as string,
        url,
        secrets,
        enabled: Number(row['enabled']) === 1,
        disabledReason: row['disabled_reason'] as DisabledReason | null,
        disabledAt: numberOf(row['disabled_at']),
        createdAt: Number(row['created_at']),
        changedAt: Number(row['changed_at']),
      },
      state: {
        cursor: Number(row['cursor']),
        lastSuccessAt: numberOf(row['last_success_at']),
        failingSince: numberOf(row['failing_since']),
        lastError: row['last_error'] as string | null,
        isSlow: Number(row['slow']) === 1,
        missed:
          missedAfter === null
            ? null
            : { after: missedAfter, before: Number(row['missed_before']), at: Number(row['missed_at']) },
      },
    }
  }
}

function contextOf(tenant: TenantId, id: WebhookId): string {
  return `Webhook|${tenant}|${id}`
}

export function numberOf(value: SqlValue | undefined): number | null {
  return value === null || value === undefined ? null : Number(value)
}

export const webhookSealedTable: SealedTable = {
  table: 'Webhook',
  column: 'sealed',
  key: ['id'],
  start: [''],
  page: 'select id, tenant, sealed from "Webhook" where id > ? order by id limit ?',
  placeOf(row) {
    const { tenant, id } = row as unknown as { readonly tenant: TenantId; readonly id: WebhookId }
    return { tenant, context: contextOf(tenant, id) }
  },
}
