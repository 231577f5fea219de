import assert from 'node:assert/strict'
import { DAY, EclusaError, parseTenantId } from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { type Database, loadMigrations } from '@eclusa/storage'
import { openTestDatabase, testEachDatabase as test } from '@eclusa/storage/test-kit'
import { AuditLog } from '../src/audit/audit-log.ts'
import { type AuditEntry, AuditStore } from '../src/audit/audit-store.ts'

const migrations = loadMigrations(new URL('../migrations/', import.meta.url))
const acme = parseTenantId('acme')

function logOf(database: Database, clock = new ManualClock(), key = new Uint8Array(32).fill(1)): AuditLog {
  return new AuditLog({ store: new AuditStore(database), clock, key })
}

function entry(action: string, over: Partial<AuditEntry> = {}): AuditEntry {
  return {
    tenant: acme,
    keyId: 'abcd0123',
    person: null,
    addressHash: 'a1b2c3d4e5',
    requestId: 'req_1',
    action,
    outcome: 'intended',
    object: { id: 'ins_1' },
    before: null,
    after: { enabled: true, list: [1, null] },
    ...over,
  }
}

async function actions(log: AuditLog): Promise<readonly string[]> {
  return (await log.list({ before: Number.MAX_SAFE_INTEGER, limit: 500 })).map(({ action }) => action)
}

test('entries that come at once share commits, stand in the order they came, and read back as they were', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const log = logOf(database)
  const before = database.stats().unitCount
  await Promise.all(Array.from({ length: 100 }, (_, nth) => log.record(entry(`a${nth}`))))
  assert.ok(database.stats().unitCount - before <= 3)
  assert.deepEqual(
    await actions(log),
    Array.from({ length: 100 }, (_, nth) => `a${99 - nth}`),
  )
  const [newest] = await log.list({ before: 3, limit: 1 })
  const { seq, at: _, hash: __, previousHash: ___, ...rest } = newest!
  assert.equal(seq, 2)
  assert.deepEqual(rest, entry('a1'))
  assert.deepEqual(await log.verify(), { entryCount: 100, brokenAt: null })
})

test('an act and its entry are stored together or not at all, and the chain goes on', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const log = logOf(database)
  const act = {
    sql: `insert into "AuditAnchor" (id, seq, hash) values (1, 0, ?)`,
    params: [new Uint8Array(32)],
  }
  await log.write([act], entry('first'))
  // The same act again breaks its key: neither is there.
  await assert.rejects(
    log.write([act], entry('second')),
    (error) => error instanceof EclusaError && error.code === 'STORAGE_CONFLICT',
  )
  await Promise.all([
    log.record(entry('third')),
    log.write([{ sql: 'delete from "AuditAnchor"', params: [] }], entry('fourth')),
    log.record(entry('fifth')),
  ])
  const written = await actions(log)
  assert.deepEqual(written.toSorted(), ['fifth', 'first', 'fourth', 'third'])
  assert.deepEqual(await log.verify(), { entryCount: 4, brokenAt: null })
})

test('an act that stores nothing in the end leaves no gap', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const log = logOf(database)
  await log.together(async (add) => void add(entry('never stored')))
  await log.record(entry('stored'))
  assert.deepEqual(await actions(log), ['stored'])
  assert.deepEqual(await log.verify(), { entryCount: 1, brokenAt: null })
})

test('two processes add to one chain', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const logs = [logOf(database), logOf(database)]
  await Promise.all(Array.from({ length: 20 }, (_, nth) => logs[nth % 2]!.record(entry(`a${nth}`))))
  await logs[0]!.write([{ sql: 'delete from "AuditAnchor"', params: [] }], entry('act'))
  await logs[1]!.record(entry('last'))
  assert.equal((await actions(logs[0]!)).length, 22)
  assert.deepEqual(await logs[0]!.verify(), { entryCount: 22, brokenAt: null })
})

test('an entry that was changed, taken out or put in is found, also by who can compute a hash', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const log = logOf(database)
  for (let nth = 1; nth <= 6; nth++) await log.record(entry(`a${nth}`))
  const rows = await database.read('select * from "AuditEntry" where seq = 3', [])
  const restore = async (): Promise<void> => {
    const names = Object.keys(rows[0]!)
    await database.write([
      { sql: 'delete from "AuditEntry" where seq = 3', params: [] },
      {
        sql: `insert into "AuditEntry" (${names.join(', ')}) values (${names.map(() => '?').join(', ')})`,
        params: names.map((name) => rows[0]![name]!),
      },
    ])
  }
  for (const column of [
    'action',
    'key_id',
    'tenant',
    'object',
    'after_change',
    'person',
    'address_hash',
    'request_id',
  ]) {
    await database.write([
      { sql: `update "AuditEntry" set ${column} = '{"x":"y"}' where seq = 3`, params: [] },
    ])
    assert.deepEqual(await log.verify(), { entryCount: 2, brokenAt: 3 }, column)
    await restore()
  }
  for (const column of ['at', 'outcome']) {
    const value = column === 'at' ? '1' : `'done'`
    await database.write([{ sql: `update "AuditEntry" set ${column} = ${value} where seq = 3`, params: [] }])
    assert.deepEqual(await log.verify(), { entryCount: 2, brokenAt: 3 }, column)
    await restore()
  }
  await database.write([{ sql: 'delete from "AuditEntry" where seq = 3', params: [] }])
  assert.deepEqual(await log.verify(), { entryCount: 2, brokenAt: 4 })
  await restore()
  // A chain that is right in itself, under another key.
  await database.write([{ sql: 'delete from "AuditEntry" where seq > 3', params: [] }])
  await logOf(database, new ManualClock(), new Uint8Array(32).fill(2)).record(entry('forged'))
  assert.deepEqual(await log.verify(), { entryCount: 3, brokenAt: 4 })
})

test('old entries go in steps; the chain of what is left begins where they ended', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const clock = new ManualClock()
  const log = logOf(database, clock)
  await Promise.all(Array.from({ length: 1200 }, (_, nth) => log.record(entry(`old${nth}`))))
  await clock.tick(DAY)
  await log.record(entry('new'))
  assert.equal(await log.sweep(DAY - 1), 1200)
  assert.deepEqual(await actions(log), ['new'])
  assert.deepEqual(await log.verify(), { entryCount: 1, brokenAt: null })
  await clock.tick(DAY)
  assert.equal(await log.sweep(DAY - 1), 1)
  await log.record(entry('after all went'))
  assert.deepEqual(await log.verify(), { entryCount: 1, brokenAt: null })
  // What was taken out at the front by hand shows.
  await log.record(entry('next'))
  const [first] = await database.read('select min(seq) as seq from "AuditEntry"', [])
  await database.write([{ sql: 'delete from "AuditEntry" where seq = ?', params: [first!['seq']!] }])
  assert.equal((await log.verify()).brokenAt, Number(first!['seq']) + 1)
})

test('a tenant sees its own entries alone', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const log = logOf(database)
  await log.record(entry('mine'))
  await log.record(entry('theirs', { tenant: parseTenantId('globex') }))
  await log.record(entry('everybody’s', { tenant: '*' }))
  const seen = await log.list({ before: 99, limit: 99, tenant: acme })
  assert.deepEqual(
    seen.map(({ action }) => action),
    ['mine'],
  )
})
