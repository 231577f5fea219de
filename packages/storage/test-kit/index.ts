import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '@eclusa/kernel'
import type { Database } from '../src/database.ts'
import type { Migration } from '../src/migrate.ts'
import { AesSealer, type Sealer } from '../src/sealer.ts'
import { openDatabase, type SqliteOptions } from '../src/sqlite.ts'

export interface TestDatabase {
  /** The one that is open now. */
  readonly database: Database
  /** A folder of this test alone, removed after it. */
  readonly folder: string
  readonly file: string
  /** Stops the database and opens the same file again. */
  reopen(): Promise<Database>
}

/** A real SQLite file in a temporary folder; both end with the test. */
export async function openTestDatabase(
  t: { after(run: () => Promise<void>): void },
  migrations: readonly Migration[],
  options: Pick<SqliteOptions, 'maxBytes'> = {},
): Promise<TestDatabase> {
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-test-'))
  const file = join(folder, 'eclusa.db')
  const open = (): Promise<Database> => openDatabase({ file, migrations, log: silentLogger, ...options })
  let database = await open()
  t.after(async () => {
    await database.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    get database() {
      return database
    },
    folder,
    file,
    async reopen() {
      await database.stop()
      database = await open()
      return database
    },
  }
}

/** A sealer with a fixed key. */
export function testSealer(): Sealer {
  return new AesSealer(new Uint8Array(32).fill(7))
}
