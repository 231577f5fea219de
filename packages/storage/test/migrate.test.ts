import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { type EclusaError, silentLogger } from '@eclusa/kernel'
import { loadMigrations, openDatabase, storageMigrations } from '../src/index.ts'
import { openTestDatabase, testEachDatabase } from '../test-kit/index.ts'

const first = { name: '001-first', sql: 'create table "First" (id integer)' }
const second = {
  name: '002-second',
  sql: 'create table "Second" (id integer); insert into "Second" values (1)',
}

const refusedWith =
  (pattern: RegExp) =>
  (error: EclusaError): boolean => {
    assert.equal(error.code, 'STORAGE_MIGRATION_REFUSED')
    assert.match(error.message, pattern)
    return true
  }

testEachDatabase('each migration is applied once, in order', async (t) => {
  const db = await openTestDatabase(t, [first, second])
  const database = await db.reopen()
  const names = await database.read('select name from "Migration" order by name', [])
  assert.deepEqual(
    names.map((row) => row['name']),
    [...storageMigrations, first, second].map(({ name }) => name).toSorted(),
  )
  assert.equal((await database.read('select * from "Second"', [])).length, 1)
})

testEachDatabase(
  'a migration that changed after it was applied is refused; line ends do not count',
  async (t) => {
    const db = await openTestDatabase(t, [first])
    await db.database.stop()
    const open = (sql: string) =>
      openDatabase({ ...db.place, migrations: [{ ...first, sql }], log: silentLogger })
    await assert.rejects(open(`${first.sql} `), refusedWith(/001-first was changed after it was applied/))
    const lines = { name: '002-lines', sql: 'create table "L" (\n id integer\n)' }
    await (await openDatabase({ ...db.place, migrations: [first, lines], log: silentLogger })).stop()
    const windows = { ...lines, sql: lines.sql.replaceAll('\n', '\r\n') }
    await (await openDatabase({ ...db.place, migrations: [first, windows], log: silentLogger })).stop()
  },
)

testEachDatabase('a database of a newer version is refused', async (t) => {
  const db = await openTestDatabase(t, [first, second])
  await db.database.stop()
  await assert.rejects(
    openDatabase({ ...db.place, migrations: [first], log: silentLogger }),
    refusedWith(/002-second.*made by a newer version/),
  )
})

testEachDatabase('a migration that fails leaves nothing of itself, and frees the file', async (t) => {
  const db = await openTestDatabase(t, [first])
  await db.database.stop()
  const bad = { name: '002-bad', sql: 'create table "Half" (id integer); not sql' }
  await assert.rejects(
    openDatabase({ ...db.place, migrations: [first, bad], log: silentLogger }),
    refusedWith(/002-bad/),
  )
  const database = await db.reopen()
  await assert.rejects(database.read('select * from "Half"', []))
})

test('migrations come from a folder by number', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-test-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  for (const file of ['002-b.sql', '001-a.sql', '002-b.postgres.sql', '003-c.postgres.sql', 'notes.txt'])
    writeFileSync(join(folder, file), `-- ${file}`)
  assert.deepEqual(loadMigrations(pathToFileURL(folder)), [
    { name: '001-a', sql: '-- 001-a.sql' },
    { name: '002-b', sql: '-- 002-b.sql', postgres: '-- 002-b.postgres.sql' },
    { name: '003-c', sql: '', postgres: '-- 003-c.postgres.sql' },
  ])
})
