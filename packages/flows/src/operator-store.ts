import { type BusinessHours, type Clock, EclusaError, isOpen, type TenantId } from '@eclusa/kernel'
import { type Database, type Row, type Statement } from '@eclusa/storage'
import { type Availability, makeOperatorId, type OperatorId, type SectorId } from './conversation.ts'
import { conversationErrors } from './errors.ts'

export interface Operator {
  readonly tenant: TenantId
  readonly id: OperatorId
  /** For people, 1 to 100 characters. */
  readonly name: string
  readonly isAdmin: boolean
  /** Conversations assigned at a time, 0 to 1,000. */
  readonly capacity: number
  readonly availability: Availability
  /** As `parseBusinessHours` lets through. Null: whenever online. */
  readonly hours: BusinessHours | null
  /** Where they answer, at most 200 sectors. */
  readonly sectors: readonly OperatorSector[]
  /** Conversations assigned now. */
  readonly assignedCount: number
  readonly createdAt: number
}

export interface OperatorSector {
  readonly sector: SectorId
  /** What they know of there, at most 50. */
  readonly skills: readonly string[]
}

/** Who can get the next of a sector's line, hours aside. */
export interface FreeOperator {
  readonly id: OperatorId
  readonly assignedCount: number
  /** How many more they take. */
  readonly room: number
  readonly turn: number
  /** `''` for what needs no special one is among them. */
  readonly skills: readonly string[]
}

export type OperatorInput = Pick<Operator, 'name' | 'isAdmin' | 'capacity' | 'hours' | 'sectors'>

export const MAX_OPERATORS = 1000
export const MAX_CAPACITY = 1000

const COLUMNS = `tenant, id, name, is_admin, capacity, availability, hours, assigned_count, turn, created_at`

/** The people who answer. */
export class Operators {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  /** All of a tenant, by name; there are at most 1,000. */
  async list(tenant: TenantId): Promise<readonly Operator[]> {
    const [rows, sectors] = await Promise.all([
      this.#database.read(`select ${COLUMNS} from "Operator" where tenant = ? order by name, id`, [tenant]),
      this.#database.read('select operator, sector, skills from "OperatorSector" where tenant = ?', [tenant]),
    ])
    const byOperator = Map.groupBy(sectors, (row) => String(row['operator']))
    return rows.map((row) => operatorOf(row, byOperator.get(String(row['id'])) ?? []))
  }

  async get(tenant: TenantId, id: OperatorId): Promise<Operator | undefined> {
    const [[row], sectors] = await Promise.all([
      this.#database.read(`select ${COLUMNS} from "Operator" where tenant = ? and id = ?`, [tenant, id]),
      this.#database.read(
        'select operator, sector, skills from "OperatorSector" where tenant = ? and operator = ? order by sector',
        [tenant, id],
      ),
    ])
    return row === undefined ? undefined : operatorOf(row, sectors)
  }

  /** Offline at first. @throws CONVERSATION_SECTOR_UNKNOWN naming it, CONVERSATION_LIMIT_REACHED */
  async create(tenant: TenantId, input: OperatorInput): Promise<Operator> {
    const [row] = await this.#database.read('select count(*) as count from "Operator" where tenant = ?', [
      tenant,
    ])
    if (Number(row?.['count']) >= MAX_OPERATORS) throw new EclusaError(conversationErrors.LIMIT_REACHED)
    await this.#assertSectors(tenant, input.sectors)
    const id = makeOperatorId()
    const createdAt = this.#clock.now()
    await this.#database.write([
      {
        sql: `insert into "Operator" (tenant, id, name, is_admin, capacity, availability, hours, created_at)
              values (?, ?, ?, ?, ?, 'offline', ?, ?)`,
        params: [
          tenant,
          id,
          input.name,
          input.isAdmin ? 1 : 0,
          input.capacity,
          textOf(input.hours),
          createdAt,
        ],
      },
      ...sectorStatements(tenant, id, input.sectors),
    ])
    return { ...input, tenant, id, availability: 'offline', assignedCount: 0, createdAt }
  }

  /** A capacity below what they have takes nothing away. @throws CONVERSATION_OPERATOR_UNKNOWN, CONVERSATION_SECTOR_UNKNOWN */
  async change(
    tenant: TenantId,
    id: OperatorId,
    change: Partial<OperatorInput & Pick<Operator, 'availability'>>,
  ): Promise<Operator> {
    const before = await this.get(tenant, id)
    if (before === undefined) throw new EclusaError(conversationErrors.OPERATOR_UNKNOWN)
    if (change.sectors !== undefined) await this.#assertSectors(tenant, change.sectors)
    const after = { ...before, ...change }
    const [result] = await this.#database.write([
      {
        sql: `update "Operator" set name = ?, is_admin = ?, capacity = ?, availability = ?, hours = ?
              where tenant = ? and id = ?`,
        params: [
          after.name,
          after.isAdmin ? 1 : 0,
          after.capacity,
          after.availability,
          textOf(after.hours),
          tenant,
          id,
        ],
      },
      ...(change.sectors === undefined ? [] : sectorStatements(tenant, id, change.sectors)),
    ])
    if (result?.changes !== 1) throw new EclusaError(conversationErrors.OPERATOR_UNKNOWN)
    return after
  }

  /** False while conversations are assigned to them. */
  async delete(tenant: TenantId, id: OperatorId): Promise<boolean> {
    const [result] = await this.#database.write([
      {
        sql: 'delete from "Operator" where tenant = ? and id = ? and assigned_count = 0',
        params: [tenant, id],
      },
      {
        sql: `delete from "OperatorSector" where tenant = ? and operator = ?
              and not exists (select 1 from "Operator" as one where one.tenant = ? and one.id = ?)`,
        params: [tenant, id, tenant, id],
      },
      {
        sql: `delete from "ContactOwner" where tenant = ? and operator = ?
              and not exists (select 1 from "Operator" as one where one.tenant = ? and one.id = ?)`,
        params: [tenant, id, tenant, id],
      },
    ])
    return result?.changes === 1
  }

  /** Who is there for a sector and has room; within their hours. */
  async free(tenant: TenantId, sector: SectorId): Promise<readonly FreeOperator[]> {
    const rows = await this.#database.read(
      `select one.id, one.assigned_count, one.capacity, one.turn, one.hours, of_sector.skills
       from "OperatorSector" as of_sector join "Operator" as one
         on one.tenant = of_sector.tenant and one.id = of_sector.operator
       where of_sector.tenant = ? and of_sector.sector = ? and one.availability = 'online'
         and one.assigned_count < one.capacity`,
      [tenant, sector],
    )
    const now = this.#clock.now()
    return rows
      .filter((row) => isWithin(hoursOf(row), now))
      .map((row) => ({
        id: row['id'] as OperatorId,
        assignedCount: Number(row['assigned_count']),
        room: Number(row['capacity']) - Number(row['assigned_count']),
        turn: Number(row['turn']),
        skills: ['', ...skillsOf(row)],
      }))
  }

  async sectorsOf(tenant: TenantId, id: OperatorId): Promise<readonly SectorId[]> {
    const rows = await this.#database.read(
      'select sector from "OperatorSector" where tenant = ? and operator = ? order by sector',
      [tenant, id],
    )
    return rows.map((row) => row['sector'] as SectorId)
  }

  /** Online and within their hours. */
  isThere({ availability, hours }: Pick<Operator, 'availability' | 'hours'>): boolean {
    return availability === 'online' && isWithin(hours, this.#clock.now())
  }

  /** One conversation more for an operator who has room. An entry of the conversation comes before it in the unit. */
  countUp(
    tenant: TenantId,
    id: OperatorId,
    how: { readonly conversation: string; readonly mustBeOnline: boolean },
  ): Statement {
    return {
      sql: `update "Operator" set assigned_count = assigned_count + 1, turn = (
              select max(entry.id) from "ConversationEntry" as entry where entry.conversation = ?)
            where tenant = ? and id = ? and assigned_count < capacity and (availability = 'online' or ? = 0)`,
      params: [how.conversation, tenant, id, how.mustBeOnline ? 1 : 0],
      mustChange: 1,
    }
  }

  countDown(tenant: TenantId, id: OperatorId): Statement {
    return {
      sql: 'update "Operator" set assigned_count = assigned_count - 1 where tenant = ? and id = ?',
      params: [tenant, id],
      mustChange: 1,
    }
  }

  async #assertSectors(tenant: TenantId, sectors: readonly OperatorSector[]): Promise<void> {
    const rows = await this.#database.read('select id from "Sector" where tenant = ?', [tenant])
    const known = new Set(rows.map((row) => row['id']))
    const at = sectors.findIndex(({ sector }) => !known.has(sector))
    if (at >= 0) {
      throw new EclusaError(conversationErrors.SECTOR_UNKNOWN, { details: { field: `sectors.${at}.sector` } })
    }
  }
}

function sectorStatements(
  tenant: TenantId,
  id: OperatorId,
  sectors: readonly OperatorSector[],
): readonly Statement[] {
  return [
    { sql: 'delete from "OperatorSector" where tenant = ? and operator = ?', params: [tenant, id] },
    ...sectors.map(({ sector, skills }) => ({
      sql: 'insert into "OperatorSector" (tenant, operator, sector, skills) values (?, ?, ?, ?)',
      params: [tenant, id, sector, JSON.stringify([...new Set(skills)].toSorted())],
    })),
  ]
}

function isWithin(hours: BusinessHours | null, at: number): boolean {
  return hours === null || isOpen(hours, at)
}

function textOf(hours: BusinessHours | null): string | null {
  return hours === null ? null : JSON.stringify(hours)
}

function hoursOf(row: Row): BusinessHours | null {
  const text = row['hours'] as string | null
  // Checked before it was stored.
  return text === null ? null : (JSON.parse(text) as BusinessHours)
}

function skillsOf(row: Row): readonly string[] {
  return JSON.parse(row['skills'] as string) as readonly string[]
}

function operatorOf(row: Row, sectors: readonly Row[]): Operator {
  return {
    tenant: row['tenant'] as TenantId,
    id: row['id'] as OperatorId,
    name: row['name'] as string,
    isAdmin: Number(row['is_admin']) === 1,
    capacity: Number(row['capacity']),
    availability: row['availability'] as Availability,
    hours: hoursOf(row),
    sectors: sectors
      .map((one) => ({ sector: one['sector'] as SectorId, skills: skillsOf(one) }))
      .toSorted((a, b) => (a.sector < b.sector ? -1 : 1)),
    assignedCount: Number(row['assigned_count']),
    createdAt: Number(row['created_at']),
  }
}
