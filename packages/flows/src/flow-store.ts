import { type Clock, EclusaError, type TenantId } from '@eclusa/kernel'
import { type Database, type Row, type SealedTable, type Sealer, storageErrors } from '@eclusa/storage'
import type { SectorId } from './conversation.ts'
import { type FlowDefinition, parseFlow } from './flow-definition.ts'
import { flowErrors } from './flow-errors.ts'

/** A flow by its name, and what of it is in use. Instants in epoch milliseconds. */
export interface FlowEntry {
  readonly name: string
  /** Null: nothing of it is published. */
  readonly publishedVersion: number | null
  readonly lastVersion: number
  readonly createdAt: number
  readonly changedAt: number
}

export interface FlowVersion {
  readonly flow: string
  readonly version: number
  readonly createdAt: number
}

/** A definition that runs can go through. */
export interface RunnableFlow {
  readonly name: string
  readonly version: number
  readonly definition: FlowDefinition
}

const MAX_FLOWS = 500
const MAX_VERSIONS = 10_000
/** Definitions kept read; the least used gives way. */
export const MAX_READ_FLOWS = 32

/** The flows of tenants, their versions, and which of them serve. */
export class Flows {
  readonly #database: Database
  readonly #sealer: Sealer
  readonly #clock: Clock
  // By tenant, name and version, which never change. bounded by: MAX_READ_FLOWS
  readonly #read = new Map<string, FlowDefinition>()

  constructor(options: { readonly database: Database; readonly sealer: Sealer; readonly clock: Clock }) {
    this.#database = options.database
    this.#sealer = options.sealer
    this.#clock = options.clock
  }

  /**
   * A new version, which serves nobody yet; the document as it was written, so that it comes back as it was put.
   * @throws FLOW_TOO_MANY
   */
  async put(tenant: TenantId, name: string, document: object): Promise<FlowVersion> {
    const now = this.#clock.now()
    for (;;) {
      const before = await this.entry(tenant, name)
      const version = (before?.lastVersion ?? 0) + 1
      if (version > MAX_VERSIONS) throw new EclusaError(flowErrors.TOO_MANY)
      if (before === undefined && (await this.#count(tenant)) >= MAX_FLOWS) {
        throw new EclusaError(flowErrors.TOO_MANY)
      }
      const sealed = this.#sealer.seal(
        Buffer.from(JSON.stringify(document)),
        contextOf(tenant, { flow: name, version }),
        tenant,
      )
      try {
        await this.#database.write([
          before === undefined
            ? {
                sql: `insert into "Flow" (tenant, name, last_version, created_at, changed_at) values (?, ?, 1, ?, ?)`,
                params: [tenant, name, now, now],
              }
            : {
                sql: `update "Flow" set last_version = ?, changed_at = ? where tenant = ? and name = ? and last_version = ?`,
                params: [version, now, tenant, name, before.lastVersion],
                mustChange: 1,
              },
          {
            sql: 'insert into "FlowVersion" (tenant, flow, version, created_at, sealed) values (?, ?, ?, ?, ?)',
            params: [tenant, name, version, now, sealed],
          },
        ])
        return { flow: name, version, createdAt: now }
      } catch (error) {
        if (!isConflict(error)) throw error
        // Somebody else put one at the same time: this is the next.
      }
    }
  }

  /**
   * From now on a version serves whoever begins; null: none does. Runs under way go on as they began.
   * @throws FLOW_UNKNOWN, FLOW_STARTS_TAKEN
   */
  async publish(tenant: TenantId, name: string, version: number | null): Promise<FlowEntry> {
    const flow = version === null ? null : await this.version(tenant, name, version)
    const starts = flow === null ? null : startsKey(flow.definition)
    try {
      const [result] = await this.#database.write([
        {
          sql: 'update "Flow" set published_version = ?, starts = ?, changed_at = ? where tenant = ? and name = ?',
          params: [version, starts, this.#clock.now(), tenant, name],
        },
      ])
      if (result?.changes === 0) throw new EclusaError(flowErrors.UNKNOWN)
    } catch (error) {
      if (!isConflict(error)) throw error
      const other = ((await this.#servingAs(tenant, starts ?? ''))?.['name'] ?? '') as string
      throw new EclusaError(flowErrors.STARTS_TAKEN, {
        message: `The flow "${other}" starts for the same contacts: take it back first`,
        details: { flow: other },
        cause: error,
      })
    }
    return (await this.entry(tenant, name)) as FlowEntry
  }

  /** The flow that serves a sector, or with null everybody. */
  async serving(tenant: TenantId, sector: SectorId | null): Promise<RunnableFlow | undefined> {
    const row = await this.#servingAs(tenant, sector === null ? 'everybody' : `sector:${sector}`)
    if (row === undefined) return undefined
    return this.version(tenant, row['name'] as string, row['published_version'] as number)
  }

  /** @throws FLOW_UNKNOWN, also when the document does not have the form that this version of Eclusa reads */
  async version(tenant: TenantId, name: string, version: number): Promise<RunnableFlow> {
    const key = `${tenant} ${name} ${version}`
    const known = this.#read.get(key)
    if (known !== undefined) {
      this.#read.delete(key)
      this.#read.set(key, known)
      return { name, version, definition: known }
    }
    const document = await this.document(tenant, name, version)
    const parsed = document === undefined ? undefined : parseFlow(document)
    if (parsed === undefined || 'findings' in parsed) throw new EclusaError(flowErrors.UNKNOWN)
    if (this.#read.size >= MAX_READ_FLOWS) {
      const [oldest] = this.#read.keys()
      if (oldest !== undefined) this.#read.delete(oldest)
    }
    this.#read.set(key, parsed.flow)
    return { name, version, definition: parsed.flow }
  }

  /** As it was put. */
  async document(tenant: TenantId, name: string, version: number): Promise<object | undefined> {
    const [row] = await this.#database.read(
      'select sealed from "FlowVersion" where tenant = ? and flow = ? and version = ?',
      [tenant, name, version],
    )
    if (row === undefined) return undefined
    await this.#sealer.know([row['sealed']])
    const context = contextOf(tenant, { flow: name, version })
    const plain = this.#sealer.open(row['sealed'] as Uint8Array, context, tenant)
    return JSON.parse(Buffer.from(plain).toString()) as object
  }

  async entry(tenant: TenantId, name: string): Promise<FlowEntry | undefined> {
    const [row] = await this.#database.read(
      `select name, published_version, last_version, created_at, changed_at from "Flow" where tenant = ? and name = ?`,
      [tenant, name],
    )
    return row === undefined ? undefined : entryOf(row)
  }

  /** By name; at most 500 exist. */
  async list(tenant: TenantId): Promise<readonly FlowEntry[]> {
    const rows = await this.#database.read(
      `select name, published_version, last_version, created_at, changed_at from "Flow" where tenant = ?
       order by name limit ?`,
      [tenant, MAX_FLOWS],
    )
    return rows.map(entryOf)
  }

  /** Newest first, those before the version `before`. */
  async versions(
    tenant: TenantId,
    name: string,
    page: { readonly before: number; readonly limit: number },
  ): Promise<readonly FlowVersion[]> {
    const rows = await this.#database.read(
      `select version, created_at from "FlowVersion" where tenant = ? and flow = ? and version < ?
       order by version desc limit ?`,
      [tenant, name, page.before, page.limit],
    )
    return rows.map((row) => ({
      flow: name,
      version: row['version'] as number,
      createdAt: row['created_at'] as number,
    }))
  }

  async #count(tenant: TenantId): Promise<number> {
    const [row] = await this.#database.read('select count(*) as count from "Flow" where tenant = ?', [tenant])
    return Number(row?.['count'])
  }

  async #servingAs(tenant: TenantId, starts: string): Promise<Row | undefined> {
    const [row] = await this.#database.read(
      'select name, published_version from "Flow" where tenant = ? and starts = ?',
      [tenant, starts],
    )
    return row
  }
}

function startsKey({ starts }: FlowDefinition): string | null {
  if (starts === 'by_hand') return null
  return starts === 'everybody' ? 'everybody' : `sector:${starts.sector}`
}

function entryOf(row: Row): FlowEntry {
  return {
    name: row['name'] as string,
    publishedVersion: row['published_version'] as number | null,
    lastVersion: row['last_version'] as number,
    createdAt: row['created_at'] as number,
    changedAt: row['changed_at'] as number,
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof EclusaError && error.code === storageErrors.CONFLICT.code
}

function contextOf(
  tenant: TenantId,
  { flow, version }: { readonly flow: string; readonly version: number },
): string {
  return `FlowVersion|${tenant}|${flow}|${version}`
}

export const flowSealedTable: SealedTable = {
  table: 'FlowVersion',
  column: 'sealed',
  key: ['tenant', 'flow', 'version'],
  start: ['', '', 0],
  page: `select tenant, flow, version, sealed from "FlowVersion" where (tenant, flow, version) > (?, ?, ?)
         order by tenant, flow, version limit ?`,
  placeOf(row) {
    const { tenant, flow } = row as { readonly tenant: TenantId; readonly flow: string }
    return { tenant, context: contextOf(tenant, { flow, version: Number(row['version']) }) }
  },
}
