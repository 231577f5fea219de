import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EclusaError, silentLogger } from '@eclusa/kernel'
import { openDatabase, type Database } from '../src/index.ts'
import { openTestDatabase } from '../test-kit/index.ts'

const migrations = [
  {
    name: '001-test',
    sql: 'create table "Note" (id integer primary key, text text not null unique, bytes blob)',
  },
]

const insert = (id: number, text = `note ${id}`) => ({
  sql: 'insert into "Note" (id, text) values (?, ?)',
  params: [id, text],
})

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work
  } catch (error) {
    assert(error instanceof EclusaError)
    return error.code
  }
  return 'no error'
}

const ids = async (database: Database): Promise<readonly unknown[]> =>
  (await database.read('select id from "Note" order by id', [])).map((row) => row['id'])

test('gives back what was written, with its types', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const pooled = Buffer.from([1, 2, 3])
  const [result] = await database.write([
    {
      sql: 'insert into "Note" (id, text, bytes) values (?, ?, ?) returning id, bytes',
      params: [1, 'a', pooled],
    },
  ])
  assert.deepEqual(result?.changes, 1)
  assert.deepEqual(
    result?.rows.map((row) => ({ ...row })),
    [{ id: 1, bytes: new Uint8Array([1, 2, 3]) }],
  )
  const rows = await database.read('select text, bytes from "Note" where id = ?', [1])
  assert.deepEqual({ ...rows[0] }, { text: 'a', bytes: new Uint8Array([1, 2, 3]) })
})

test('a unit that fails in the middle changes nothing, and its neighbours of the same commit are kept', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const outcomes = await Promise.allSettled([
    database.write([insert(1)]),
    database.write([insert(2), insert(1)]),
    database.write([insert(3), { ...insert(4), mustChange: 2 }]),
    database.write([{ sql: 'update "Note" set text = ? where id = ?', params: ['x', 99], mustChange: 1 }]),
    database.write([{ sql: 'not sql', params: [] }]),
    database.write([insert(5), insert(6)]),
  ])
  assert.deepEqual(
    outcomes.map((outcome) =>
      outcome.status === 'fulfilled' ? 'kept' : (outcome.reason as EclusaError).code,
    ),
    ['kept', 'STORAGE_CONFLICT', 'STORAGE_CONFLICT', 'STORAGE_CONFLICT', 'STORAGE_STATEMENT_FAILED', 'kept'],
  )
  assert.deepEqual(await ids(database), [1, 5, 6])
})

test('concurrent writes share commits, in the order of the calls', async (t) => {
  const { database } = await openTestDatabase(t, [
    { name: '001-test', sql: 'create table "Line" (seq integer primary key autoincrement, text text)' },
  ])
  const before = database.stats().commitCount
  const results = await Promise.all(
    Array.from({ length: 5000 }, (_, index) =>
      database.write([{ sql: 'insert into "Line" (text) values (?) returning seq', params: [`${index}`] }]),
    ),
  )
  assert.deepEqual(
    results.map(([result]) => result?.rows[0]?.['seq']),
    Array.from({ length: 5000 }, (_, index) => index + 1),
  )
  const commits = database.stats().commitCount - before
  assert(commits >= 3 && commits < 20, `5,000 writes, at most 2,000 statements a commit: ${commits} commits`)
  assert.equal(database.stats().waitingCount, 0)
})

test('a read sees all writes called before it, also while a flush is under way', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const seen: Promise<readonly unknown[]>[] = []
  for (let id = 1; id <= 50; id++) {
    void database.write([insert(id)])
    seen.push(ids(database))
    if (id % 7 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  for (const [index, found] of (await Promise.all(seen)).entries()) {
    assert(found.length >= index + 1, `read ${index} saw ${found.length}`)
  }
})

test('commit listeners hear each durable commit until removed, and one that throws harms nobody', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  let heard = 0
  database.onCommit(() => {
    throw new Error('a bad listener')
  })
  const remove = database.onCommit(() => heard++)
  await database.write([insert(1)])
  await codeOf(database.write([insert(1)]))
  assert.equal(heard, 1)
  remove()
  await database.write([insert(2)])
  assert.equal(heard, 1)
})

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

test('stop finishes what waits, frees the file, refuses what comes after, and may be called twice', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { database } = db
  const late = database.write([insert(1)])
  const [, code] = await Promise.all([database.stop(), codeOf(late)])
  assert.equal(code, 'no error')
  await database.stop()
  assert.equal(await codeOf(database.write([insert(2)])), 'STORAGE_STOPPED')
  assert.equal(await codeOf(database.read('select 1', [])), 'STORAGE_STOPPED')
  assert.deepEqual(await ids(await db.reopen()), [1])
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

test('more statements than are kept prepared still work', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const results = await Promise.all(
    Array.from({ length: 600 }, (_, n) => database.read(`select ${n % 300} as n`, [])),
  )
  assert.deepEqual(
    results.map(([row]) => row?.['n']),
    Array.from({ length: 600 }, (_, n) => n % 300),
  )
})
