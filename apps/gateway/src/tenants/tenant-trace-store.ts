import type { TenantId } from '@eclusa/kernel'
import type { Database, Row, Statement } from '@eclusa/storage'

/** What tells of a tenant after it is gone, what its removal needs until its end, and the graves of its keys. */
const KEPT: ReadonlySet<string> = new Set(['AuditEntry', 'TenantRemoval', 'Tenant', 'DataKey'])
/** Rows of one step: a few milliseconds of the connection. */
const STEP = 500

/** A table with rows of tenants. */
export interface TenantTable {
  readonly name: string
  /** Tables without a tenant whose rows belong to a row of this one, by their column `contact`. */
  readonly dependents: readonly string[]
  /** Its rows are the entries of its key: SQLite cannot name some of them, and there are few of a tenant. */
  readonly isSmall: boolean
}

/**
 * Rows of a tenant in whatever tables there are: those with a column `tenant` are found in the schema, so that no table
 * of a later version can be forgotten. Rows that have an instance and no index by tenant go with their instance.
 */
export class TenantTraceStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async tables(): Promise<readonly TenantTable[]> {
    const columns = new Map<string, Set<string>>()
    for (const row of await this.#database.read(COLUMNS[this.#database.dialect], [])) {
      const table = row['table_name'] as string
      columns.set(table, (columns.get(table) ?? new Set()).add(row['column_name'] as string))
    }
    const indexed = new Set((await this.#database.read(INDEXED[this.#database.dialect], [])).map(tableOf))
    const small = new Set((await this.#database.read(SMALL[this.#database.dialect], [])).map(tableOf))
    const dependents = [...columns].filter(([, names]) => names.has('contact') && !names.has('tenant'))
    return [...columns]
      .filter(([name, names]) => names.has('tenant') && !KEPT.has(name))
      .filter(([name, names]) => indexed.has(name) || !names.has('instance'))
      .map(([name]) => ({
        name,
        dependents: name === 'Contact' ? dependents.map(([one]) => one) : [],
        isSmall: small.has(name),
      }))
  }

  /** Up to 500 rows of `table`, with their dependents: together with `more`, which is made of how many there will be. */
  async step(
    { name, dependents, isSmall }: TenantTable,
    tenant: TenantId,
    more: (count: number) => readonly Statement[],
  ): Promise<number> {
    const row = this.#database.dialect === 'postgres' ? 'ctid' : 'rowid'
    const [found] = await this.#database.read(
      `select count(*) as count from (select 1 as one from "${name}" where tenant = ? limit ${STEP}) as step`,
      [tenant],
    )
    const count = Number(found?.['count'] ?? 0)
    if (count === 0) return 0
    const ids = `select id from "${name}" where tenant = ? order by id limit ${STEP}`
    const deletions: Statement[] =
      dependents.length === 0
        ? [
            {
              sql: isSmall
                ? `delete from "${name}" where tenant = ?`
                : `delete from "${name}" where ${row} in (select ${row} from "${name}" where tenant = ? limit ${STEP})`,
              params: [tenant],
            },
          ]
        : [...dependents.map((one) => [one, 'contact']), [name, 'id']].map(([table, column]) => ({
            sql: `delete from "${table}" where ${column} in (${ids})`,
            params: [tenant],
          }))
    await this.#database.write([...deletions, ...more(count)])
    return count
  }
}

function tableOf(row: Row): string {
  return row['table_name'] as string
}

const SMALL = {
  sqlite: `select name as table_name from pragma_table_list where wr = 1`,
  postgres: `select '' as table_name where false`,
}

const COLUMNS = {
  sqlite: `select t.name as table_name, c.name as column_name from sqlite_master t join pragma_table_info(t.name) c
    where t.type = 'table' and c.name in ('tenant', 'instance', 'contact')`,
  postgres: `select t.relname::text as table_name, a.attname::text as column_name from pg_class t
    join pg_attribute a on a.attrelid = t.oid and not a.attisdropped
    where t.relkind in ('r', 'p') and t.relnamespace = current_schema()::regnamespace
      and a.attname in ('tenant', 'instance', 'contact')`,
}

/** Tables with an index of all their rows that begins with the tenant. */
const INDEXED = {
  sqlite: `select distinct t.name as table_name from sqlite_master t join pragma_index_list(t.name) i
    join pragma_index_info(i.name) c where t.type = 'table' and i.partial = 0 and c.seqno = 0 and c.name = 'tenant'`,
  postgres: `select distinct t.relname::text as table_name from pg_index i join pg_class t on t.oid = i.indrelid
    join pg_attribute a on a.attrelid = t.oid and a.attnum = i.indkey[0]
    where i.indpred is null and t.relnamespace = current_schema()::regnamespace and a.attname = 'tenant'`,
}
