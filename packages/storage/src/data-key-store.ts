import type { TenantId } from '@eclusa/kernel'
import type { Database, Row, SqlValue, Statement } from './database.ts'

/** A data key as it lies in the database. Instants in epoch milliseconds. */
export interface DataKeyRow {
  readonly id: number
  /** `*` is the installation itself. */
  readonly tenant: TenantId
  /** Null: destroyed. */
  readonly wrapped: Uint8Array | null
  /** The fingerprint of the master key that wraps it. */
  readonly master: string
  readonly createdAt: number
  readonly retiredAt: number | null
}

/** How far a pass over everything sealed has come. */
export interface ResealState {
  readonly startedAt: number
  /** Where it goes on; null: at the beginning. */
  readonly place: string | null
  readonly resealedCount: number
  readonly finishedAt: number | null
}

export interface DataKeyCounts {
  readonly active: number
  /** They still open what they sealed. */
  readonly retired: number
  readonly destroyed: number
  readonly oldestActiveAt: number | null
}

const COLUMNS = 'id, tenant, wrapped, master, created_at, retired_at'
const CHECK_CONTEXT = 'SealerCheck'
const MAX_PAGE = 1000

/** The tables "DataKey", "SealerCheck" and "ResealRound". */
export class DataKeyStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** What only the right master key opens; undefined in a new database. */
  async check(): Promise<Uint8Array | undefined> {
    const [row] = await this.#database.read('select sealed from "SealerCheck" where id = 1', [])
    return row?.['sealed'] as Uint8Array | undefined
  }

  /** Keys that seal, in the order of their ids, at most 1,000 after the cursor. */
  async inUse(after: number): Promise<readonly DataKeyRow[]> {
    return this.#rows(
      `select ${COLUMNS} from "DataKey" where id > ? and retired_at is null and wrapped is not null
       order by id limit ${MAX_PAGE}`,
      [after],
    )
  }

  /** The newest that seals for a tenant. */
  async newestOf(tenant: TenantId): Promise<DataKeyRow | undefined> {
    const [row] = await this.#rows(
      `select ${COLUMNS} from "DataKey" where tenant = ? and retired_at is null and wrapped is not null
       order by created_at desc, id desc limit 1`,
      [tenant],
    )
    return row
  }

  /** At most 64 ids. */
  async byId(ids: readonly number[]): Promise<readonly DataKeyRow[]> {
    return this.#rows(`select ${COLUMNS} from "DataKey" where id in (${ids.map(() => '?').join(', ')})`, ids)
  }

  async hasDestroyed(tenant: TenantId): Promise<boolean> {
    const rows = await this.#database.read(
      'select 1 as found from "DataKey" where tenant = ? and wrapped is null limit 1',
      [tenant],
    )
    return rows.length > 0
  }

  insert(row: DataKeyRow): Statement {
    return {
      sql: `insert into "DataKey" (${COLUMNS}) values (?, ?, ?, ?, ?, ?)`,
      params: [row.id, row.tenant, row.wrapped, row.master, row.createdAt, row.retiredAt],
    }
  }

  insertCheck(sealed: Uint8Array): Statement {
    return { sql: 'insert into "SealerCheck" (id, sealed) values (1, ?)', params: [sealed] }
  }

  /** A key that was destroyed meanwhile stays so. */
  rewrap(id: number, before: string, wrapped: Uint8Array, master: string): Statement {
    return {
      sql: 'update "DataKey" set wrapped = ?, master = ? where id = ? and master = ? and wrapped is not null',
      params: [wrapped, master, id, before],
    }
  }

  updateCheck(sealed: Uint8Array): Statement {
    return { sql: 'update "SealerCheck" set sealed = ? where id = 1', params: [sealed], mustChange: 1 }
  }

  /** Keys that another master key than `master` wraps, at most 1,000. */
  wrappedByOthers(master: string, after: number): Promise<readonly DataKeyRow[]> {
    return this.#rows(
      `select ${COLUMNS} from "DataKey" where id > ? and master <> ? and wrapped is not null
       order by id limit ${MAX_PAGE}`,
      [after, master],
    )
  }

  /** All but `kept` seal nothing new any more. */
  retire(tenant: TenantId, kept: number, at: number): Statement {
    return {
      sql: 'update "DataKey" set retired_at = ? where tenant = ? and id <> ? and retired_at is null',
      params: [at, tenant, kept],
    }
  }

  destroy(tenant: TenantId, at: number): Statement {
    return {
      sql: `update "DataKey" set wrapped = null, retired_at = coalesce(retired_at, ?), destroyed_at = ?
            where tenant = ? and wrapped is not null`,
      params: [at, at, tenant],
    }
  }

  addUses(id: number, count: number): Statement {
    return { sql: 'update "DataKey" set uses = uses + ? where id = ?', params: [count, id] }
  }

  /** Keys that have sealed for long enough, or often enough; at most 100. */
  due(createdBefore: number, maxUses: number): Promise<readonly DataKeyRow[]> {
    return this.#rows(
      `select ${COLUMNS} from "DataKey" where retired_at is null and wrapped is not null
         and (created_at < ? or uses >= ?) order by id limit 100`,
      [createdBefore, maxUses],
    )
  }

  /** When the last key was retired whose values may still be there; null: none ever was. */
  async lastRetiredAt(): Promise<number | null> {
    const [row] = await this.#database.read(
      'select max(retired_at) as at from "DataKey" where wrapped is not null',
      [],
    )
    return row?.['at'] == null ? null : Number(row['at'])
  }

  async counts(): Promise<DataKeyCounts> {
    const [row] = await this.#database.read(
      `select count(case when retired_at is null then 1 end) as active,
         count(case when retired_at is not null and wrapped is not null then 1 end) as retired,
         count(case when wrapped is null then 1 end) as destroyed,
         min(case when retired_at is null then created_at end) as oldest from "DataKey"`,
      [],
    )
    return {
      active: Number(row?.['active']),
      retired: Number(row?.['retired']),
      destroyed: Number(row?.['destroyed']),
      oldestActiveAt: row?.['oldest'] == null ? null : Number(row['oldest']),
    }
  }

  async round(): Promise<ResealState | undefined> {
    const [row] = await this.#database.read(
      'select started_at, place, resealed, finished_at from "ResealRound" where id = 1',
      [],
    )
    return (
      row && {
        startedAt: Number(row['started_at']),
        place: row['place'] as string | null,
        resealedCount: Number(row['resealed']),
        finishedAt: row['finished_at'] == null ? null : Number(row['finished_at']),
      }
    )
  }

  saveRound({ startedAt, place, resealedCount, finishedAt }: ResealState): Statement {
    return {
      sql: `insert into "ResealRound" (id, started_at, place, resealed, finished_at) values (1, ?, ?, ?, ?)
            on conflict (id) do update set started_at = excluded.started_at, place = excluded.place,
              resealed = excluded.resealed, finished_at = excluded.finished_at`,
      params: [startedAt, place, resealedCount, finishedAt],
    }
  }

  write(statements: readonly Statement[]): Promise<unknown> {
    return this.#database.write(statements)
  }

  async #rows(sql: string, params: readonly SqlValue[]): Promise<readonly DataKeyRow[]> {
    return (await this.#database.read(sql, params)).map(rowOf)
  }
}

/** What the check of a master key seals, and with which context. */
export const MASTER_CHECK: { readonly plain: Uint8Array; readonly context: string } = {
  plain: Buffer.from(CHECK_CONTEXT),
  context: CHECK_CONTEXT,
}

function rowOf(row: Row): DataKeyRow {
  return {
    id: Number(row['id']),
    tenant: row['tenant'] as TenantId,
    wrapped: row['wrapped'] as Uint8Array | null,
    master: row['master'] as string,
    createdAt: Number(row['created_at']),
    retiredAt: row['retired_at'] == null ? null : Number(row['retired_at']),
  }
}
