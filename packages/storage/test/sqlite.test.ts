import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type EclusaError, silentLogger } from '@eclusa/kernel'
import { codeOf } from '@eclusa/kernel/test-kit'
import { openDatabase } from '../src/index.ts'
import { openTestDatabase } from '../test-kit/index.ts'
import { ids, insert, migrations } from './notes.ts'

test('a full database refuses growth with STORAGE_FULL, takes deletions, and then grows again', async (t) => {
  const { database } = await openTestDatabase(t, migrations, { maxBytes: 200 * 1024 })
  const big = 'x'.repeat(10_000)
  let written = 0
  for (;;) {
    const code = await codeOf(database.write([insert(written + 1, `${written}${big}`)]))
    if (code === 'no error') written++
    else {
      assert.equal(code, 'STORAGE_FULL')
      break
    }
  }
  assert(written > 5)
  const [full, small] = await Promise.allSettled([
    database.write([insert(1000, `a${big}`)]),
    database.write([{ sql: 'delete from "Note" where id <= ?', params: [3] }]),
  ])
  assert.equal(full.status, 'rejected')
  assert.equal(small.status, 'fulfilled')
  await database.write([insert(1000, `b${big}`)])
  assert.equal((await ids(database)).length, written - 3 + 1)
})

test('a second opener is refused with a clear sentence', async (t) => {
  const { file } = await openTestDatabase(t, migrations)
  await assert.rejects(openDatabase({ file, migrations, log: silentLogger }), (error: EclusaError) => {
    assert.equal(error.code, 'STORAGE_IN_USE')
    assert.match(error.message, /Another Eclusa process is using this database/)
    return true
  })
})

test('a shell may read the database while it is in use', async (t) => {
  const { database, file } = await openTestDatabase(t, migrations)
  await database.write([insert(1)])
  const { DatabaseSync } = await import('node:sqlite')
  const shell = new DatabaseSync(file, { readOnly: true })
  assert.deepEqual({ ...shell.prepare('select count(*) as n from "Note"').get() }, { n: 1 })
  shell.close()
})

test('commits are synced to the disk in full, and the log of writes is bounded', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const pragma = async (name: string) =>
    Object.values((await database.read(`pragma ${name}`, []))[0] ?? {})[0]
  assert.equal(await pragma('journal_mode'), 'wal')
  assert.equal(await pragma('synchronous'), 2)
  assert.equal(await pragma('wal_autocheckpoint'), 4000)
  assert.equal(await pragma('journal_size_limit'), 64 * 1024 * 1024)
  assert.equal(await pragma('mmap_size'), 0)
})

test('a read behind statements that are not committed yet waits for their commit', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const burst = (from: number, count: number): Promise<unknown>[] =>
    Array.from({ length: count }, (_, n) => database.write([insert(from + n)]))
  const first = burst(1, 40)
  await new Promise((resolve) => setImmediate(resolve))
  // The first flush is under way. These 32 go over at once and stand behind it; what fails is undone at their end.
  const failing = codeOf(database.write([insert(100), { ...insert(101), mustChange: 2 }]))
  const second = burst(200, 31)
  const seen = ids(database)
  assert.equal(await failing, 'STORAGE_CONFLICT')
  await Promise.all([...first, ...second])
  const expected = [
    ...Array.from({ length: 40 }, (_, n) => n + 1),
    ...Array.from({ length: 31 }, (_, n) => n + 200),
  ]
  assert.deepEqual(await seen, expected)
})

test('what was deleted, in a page that stays or in pages that come free, is not in the file any more', async (t) => {
  const { database, file } = await openTestDatabase(t, migrations)
  const words = (id: number): string => `canary-${id}-${'x'.repeat(600)}`
  for (let id = 1; id <= 60; id++) await database.write([insert(id, words(id))])
  await database.write([{ sql: 'delete from "Note" where id > ? and id <> ?', params: [1, 30] }])
  await database.stop()
  assert.ok(!existsSync(`${file}-wal`), 'the log was put in its place')
  const bytes = readFileSync(file, 'latin1')
  const found = new Set([...bytes.matchAll(/canary-(\d+)-/g)].map((match) => Number(match[1])))
  assert.deepEqual(found, new Set([1, 30]))
})
