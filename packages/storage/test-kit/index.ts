import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { silentLogger } from '@eclusa/kernel'
import pg from 'pg'
import type { Database } from '../src/database.ts'
import type { Migration } from '../src/migrate.ts'
import { openDatabase } from '../src/open.ts'
import { AesKey } from '../src/aes-key.ts'
import type { Sealer } from '../src/sealer.ts'
import { findPostgres, type TestPostgres } from './postgres-server.ts'

export {
  compileDiskShim,
  type DiskShimOptions,
  diskShimEnv,
  diskShimFor,
  restoreAfterPowerCut,
} from './disk-shim/disk-shim.ts'
export { DiskTrace } from './disk-shim/disk-trace.ts'
export { findPostgres, startPostgres, type TestPostgres } from './postgres-server.ts'

type Dialect = Database['dialect']

/** Where a test's database is, as `openDatabase` takes it; plain values, so also for a process of its own. */
export type DatabasePlace = { readonly file: string } | { readonly url: string }

export interface TestDatabase {
  /** The one that is open now. */
  readonly database: Database
  /** A folder of this test alone, removed after it. */
  readonly folder: string
  /** The SQLite file; with PostgreSQL there is none there. */
  readonly file: string
  readonly place: DatabasePlace
  /** Stops the database and opens the same again. */
  reopen(): Promise<Database>
}

export interface TestDatabaseOptions {
  /** Default: that of `testEachDatabase`; elsewhere sqlite. */
  readonly dialect?: Dialect
  /** SQLite only: the file grows no further. */
  readonly maxBytes?: number
}

/** What a contract's tests are written with: the same `test`, and an `open` that gives this database. */
export interface TestedDatabase {
  readonly dialect: Dialect
  /** `node:test`'s, with the database in the name; skipped loudly where there is no PostgreSQL, failing in CI. */
  readonly test: (name: string, run: (t: TestContext) => void | Promise<void>) => void
  /** Like `openTestDatabase`, for this database. */
  readonly open: (
    t: TestEnd,
    migrations: readonly Migration[],
    options?: Omit<TestDatabaseOptions, 'dialect'>,
  ) => Promise<TestDatabase>
}

interface TestEnd {
  after(run: () => Promise<void>): void
}

/** What `openTestDatabase` opens for a test; set by the kit's own `test`. */
const dialects = new WeakMap<object, Dialect>()

/**
 * One test for both databases: like `test` of `node:test`, run twice, and `openTestDatabase(t, …)` inside it, also from a
 * harness, opens the one whose turn it is.
 */
export function testEachDatabase(name: string, run: (t: TestContext) => void | Promise<void>): void {
  eachDatabase(({ test: testOne }) => testOne(name, run))
}

/** Defines the same tests for both databases, where a test must know which it has. */
export function eachDatabase(define: (database: TestedDatabase) => void): void {
  for (const dialect of ['sqlite', 'postgres'] as const) {
    define({
      dialect,
      test(name, run) {
        void test(`${name} (${dialect})`, async (t) => {
          dialects.set(t, dialect)
          if (dialect === 'postgres' && !(await hasPostgres(t))) return
          await run(t)
        })
      },
      open: (t, migrations, options) => openTestDatabase(t, migrations, { ...options, dialect }),
    })
  }
}

/**
 * A real database of this test alone, which ends with it: an SQLite file in a temporary folder, or a schema of its own
 * in PostgreSQL.
 */
export async function openTestDatabase(
  t: TestEnd,
  migrations: readonly Migration[],
  options: TestDatabaseOptions = {},
): Promise<TestDatabase> {
  const { dialect = dialects.get(t) ?? 'sqlite', maxBytes } = options
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-test-'))
  const file = join(folder, 'eclusa.db')
  const schema = dialect === 'postgres' ? await makeSchema() : null
  const place: DatabasePlace = schema === null ? { file } : { url: schema.url }
  const open = (): Promise<Database> =>
    openDatabase({ ...place, migrations, log: silentLogger, ...(maxBytes === undefined ? {} : { maxBytes }) })
  let database = await open()
  t.after(async () => {
    await database.stop()
    await schema?.drop()
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    get database() {
      return database
    },
    folder,
    file,
    place,
    async reopen() {
      await database.stop()
      database = await open()
      return database
    },
  }
}

/**
 * For what opens its database itself: the URL of a PostgreSQL schema of this test alone, to be dropped when all that
 * uses it has ended; '' when it is SQLite's turn.
 */
export async function makeTestSchema(t: TestEnd): Promise<{ readonly url: string; drop(): Promise<void> }> {
  return dialects.get(t) === 'postgres' ? makeSchema() : { url: '', drop: async () => undefined }
}

/** A sealer with one fixed key for everybody, for tests that are not about keys. */
export function testSealer(): Sealer {
  const key = new AesKey(new Uint8Array(32).fill(7))
  const head = Uint8Array.of(2)
  return {
    seal: (plain, context, tenant) => key.seal(head, plain, `${tenant}|${context}`),
    open: (sealed, context, tenant) => key.open(head.byteLength, sealed, `${tenant}|${context}`),
    know: () => Promise.resolve(),
  }
}

/** True when there is one; else the test is skipped with a line that cannot be overlooked, and fails in CI. */
async function hasPostgres(t: TestContext): Promise<boolean> {
  const server = await thePostgres()
  if (typeof server !== 'string') return true
  const why = `NOT TESTED ON POSTGRESQL: ${server}; set ECLUSA_TEST_POSTGRES_URL`
  if (process.env['CI'] !== undefined) throw new Error(why)
  t.diagnostic(why)
  t.skip(why)
  return false
}

let server: Promise<TestPostgres | string> | undefined

/** One for this process; found when first needed. */
function thePostgres(): Promise<TestPostgres | string> {
  server ??= findPostgres()
  return server
}

let schemaCount = 0
/** What a killed test left is removed after this. */
const SCHEMA_LIFE_MS = 6 * 3_600_000

async function makeSchema(): Promise<{ readonly url: string; drop(): Promise<void> }> {
  const found = await thePostgres()
  if (typeof found === 'string') throw new Error(`no PostgreSQL to test with: ${found}`)
  leftovers ??= dropLeftovers(found.url)
  await leftovers
  const name = `eclusa_test_${Date.now()}_${process.pid}_${++schemaCount}`
  await runSql(found.url, `create schema ${name}`)
  const url = new URL(found.url)
  url.searchParams.set('options', `-c search_path=${name}`)
  return { url: url.href, drop: async () => void (await runSql(found.url, `drop schema ${name} cascade`)) }
}

let leftovers: Promise<void> | undefined

async function dropLeftovers(url: string): Promise<void> {
  const rows = await runSql(
    url,
    `select nspname as name from pg_namespace where nspname like 'eclusa\\_test\\_%'`,
  )
  for (const { name } of rows as readonly { readonly name: string }[]) {
    if (Date.now() - Number(name.split('_')[2]) < SCHEMA_LIFE_MS) continue
    await runSql(url, `drop schema if exists ${name} cascade`)
  }
}

/** What a shell would do. On a connection of its own: one that stayed open would keep the test process alive. */
export async function runSql(url: string, sql: string): Promise<readonly object[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<object>(sql)).rows
  } finally {
    await client.end()
  }
}
