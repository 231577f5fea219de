import { type Clock, EclusaError, type TenantId } from '@eclusa/kernel'
import { type Database, type Row, type Statement, storageErrors } from '@eclusa/storage'
import type { SectorId, SectorRule } from './conversation.ts'
import { conversationErrors } from './errors.ts'

export interface Sector {
  readonly tenant: TenantId
  readonly id: SectorId
  /** For people, 1 to 100 characters. */
  readonly name: string
  /** Where a conversation goes that names none; at most one of a tenant. */
  readonly isDefault: boolean
  readonly rule: SectorRule
  readonly createdAt: number
}

/** How a line stands. */
export interface SectorLine {
  readonly waitingCount: number
  /** Of who has waited the longest; null when nobody waits. */
  readonly waitingSince: number | null
  readonly assignedCount: number
}

export const MAX_SECTORS = 200

/** Where a customer waits when the tenant has not made a sector: never nowhere. */
const FALLBACK = { id: 'general' as SectorId, name: 'General', rule: 'least_busy' } as const

/** The departments of tenants. */
export class Sectors {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  async list(tenant: TenantId): Promise<readonly Sector[]> {
    const rows = await this.#database.read(`${SELECT} where tenant = ? order by id`, [tenant])
    return rows.map(sectorOf)
  }

  async get(tenant: TenantId, id: SectorId): Promise<Sector | undefined> {
    const [row] = await this.#database.read(`${SELECT} where tenant = ? and id = ?`, [tenant, id])
    return row === undefined ? undefined : sectorOf(row)
  }

  /** The tenant's default, else its oldest; made when there is none. */
  async default(tenant: TenantId): Promise<Sector> {
    for (;;) {
      const [row] = await this.#database.read(
        `${SELECT} where tenant = ? order by is_default desc, created_at, id limit 1`,
        [tenant],
      )
      if (row !== undefined) return sectorOf(row)
      await this.#database.write([
        {
          sql: `insert into "Sector" (tenant, id, name, is_default, rule, created_at) values (?, ?, ?, 1, ?, ?)
                on conflict do nothing`,
          params: [tenant, FALLBACK.id, FALLBACK.name, FALLBACK.rule, this.#clock.now()],
        },
      ])
    }
  }

  /** The first of a tenant is its default. @throws CONVERSATION_SECTOR_TAKEN, CONVERSATION_LIMIT_REACHED */
  async create(sector: Omit<Sector, 'createdAt'>): Promise<Sector> {
    const { tenant, id, name, rule } = sector
    const known = await this.list(tenant)
    if (known.some((one) => one.id === id)) {
      throw new EclusaError(conversationErrors.SECTOR_TAKEN, { details: { field: 'id' } })
    }
    if (known.length >= MAX_SECTORS) throw new EclusaError(conversationErrors.LIMIT_REACHED)
    const isDefault = sector.isDefault || known.length === 0
    const made: Sector = { tenant, id, name, rule, isDefault, createdAt: this.#clock.now() }
    try {
      await this.#database.write([
        ...(isDefault ? [dropDefault(tenant)] : []),
        {
          sql: 'insert into "Sector" (tenant, id, name, is_default, rule, created_at) values (?, ?, ?, ?, ?, ?)',
          params: [tenant, id, name, isDefault ? 1 : 0, rule, made.createdAt],
        },
      ])
    } catch (cause) {
      if (!(cause instanceof EclusaError) || cause.code !== storageErrors.CONFLICT.code) throw cause
      throw new EclusaError(conversationErrors.SECTOR_TAKEN, { details: { field: 'id' }, cause })
    }
    return made
  }

  /** @throws CONVERSATION_SECTOR_UNKNOWN */
  async change(
    tenant: TenantId,
    id: SectorId,
    change: Partial<Pick<Sector, 'name' | 'rule'>> & { readonly isDefault?: true },
  ): Promise<Sector> {
    const before = await this.get(tenant, id)
    if (before === undefined) throw new EclusaError(conversationErrors.SECTOR_UNKNOWN)
    const after = { ...before, ...change }
    const results = await this.#database.write([
      ...(change.isDefault === true ? [dropDefault(tenant)] : []),
      {
        sql: 'update "Sector" set name = ?, rule = ?, is_default = ? where tenant = ? and id = ?',
        params: [after.name, after.rule, after.isDefault ? 1 : 0, tenant, id],
      },
    ])
    if (results.at(-1)?.changes !== 1) throw new EclusaError(conversationErrors.SECTOR_UNKNOWN)
    return after
  }

  /** Its operators stay, without it. @throws CONVERSATION_SECTOR_UNKNOWN, CONVERSATION_SECTOR_IN_USE */
  async delete(tenant: TenantId, id: SectorId): Promise<void> {
    const before = await this.get(tenant, id)
    if (before === undefined) throw new EclusaError(conversationErrors.SECTOR_UNKNOWN)
    const [result] = await this.#database.write([
      {
        sql: `delete from "Sector" where tenant = ? and id = ?
              and (is_default = 0 or not exists (select 1 from "Sector" as other where other.tenant = ? and other.id <> ?))
              and not exists (select 1 from "Conversation" as one
                where one.tenant = ? and one.state <> 'closed' and one.sector = ?)`,
        params: [tenant, id, tenant, id, tenant, id],
      },
    ])
    if (result?.changes !== 1) throw new EclusaError(conversationErrors.SECTOR_IN_USE)
    await this.#database.write([
      { sql: 'delete from "OperatorSector" where tenant = ? and sector = ?', params: [tenant, id] },
    ])
  }

  /** How each line of the tenant stands. */
  async lines(tenant: TenantId): Promise<ReadonlyMap<SectorId, SectorLine>> {
    const rows = await this.#database.read(
      `select sector, count(waiting_since) as waiting_count, min(waiting_since) as waiting_since,
         count(operator) as assigned_count
       from "Conversation" where tenant = ? and state <> 'closed' and sector is not null group by sector`,
      [tenant],
    )
    return new Map(
      rows.map((row) => [
        row['sector'] as SectorId,
        {
          waitingCount: Number(row['waiting_count']),
          waitingSince: row['waiting_since'] as number | null,
          assignedCount: Number(row['assigned_count']),
        },
      ]),
    )
  }

  /** Sectors of all tenants in which somebody waits, after the cursor, in order; at most `limit`. */
  async withLine(
    after: { readonly tenant: string; readonly id: string },
    limit: number,
  ): Promise<readonly Pick<Sector, 'tenant' | 'id'>[]> {
    const rows = await this.#database.read(
      `select tenant, id from "Sector" where (tenant, id) > (?, ?) and exists (
         select 1 from "Conversation" as waiting
         where waiting.tenant = "Sector".tenant and waiting.sector = "Sector".id and waiting.waiting_since is not null)
       order by tenant, id limit ?`,
      [after.tenant, after.id, limit],
    )
    return rows.map((row) => ({ tenant: row['tenant'] as TenantId, id: row['id'] as SectorId }))
  }
}

const SELECT = 'select tenant, id, name, is_default, rule, created_at from "Sector"'

function dropDefault(tenant: TenantId): Statement {
  return { sql: 'update "Sector" set is_default = 0 where tenant = ? and is_default = 1', params: [tenant] }
}

function sectorOf(row: Row): Sector {
  return {
    tenant: row['tenant'] as TenantId,
    id: row['id'] as SectorId,
    name: row['name'] as string,
    isDefault: Number(row['is_default']) === 1,
    rule: row['rule'] as SectorRule,
    createdAt: Number(row['created_at']),
  }
}
