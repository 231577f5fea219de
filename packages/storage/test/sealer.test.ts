import assert from 'node:assert/strict'
import { createCipheriv, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { DAY, type EclusaError, MINUTE, OPERATORS, parseTenantId, type TenantId } from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import fc from 'fast-check'
import {
  type Database,
  type EnvelopeSealer,
  openSealer,
  Resealer,
  type SealedTable,
  type SealerOptions,
} from '../src/index.ts'
import { openTestDatabase, type TestDatabase, testEachDatabase, testSealer } from '../test-kit/index.ts'

const broken = (error: EclusaError): boolean => error.code === 'STORAGE_SEAL_BROKEN'
const wrongKey = (error: EclusaError): boolean => error.code === 'STORAGE_WRONG_KEY'
const acme = parseTenantId('acme')
const exatron = parseTenantId('exatron')
const clock = new ManualClock()

/** A table of sealed words, as a store would have it. */
const words = {
  name: '900-words',
  sql: 'create table "Word" (tenant text not null, id integer primary key, sealed blob not null)',
  postgres: 'create table "Word" (tenant text not null, id bigint primary key, sealed bytea not null)',
}
const wordTable: SealedTable = {
  table: 'Word',
  column: 'sealed',
  key: ['id'],
  start: [-1],
  page: 'select id, tenant, sealed from "Word" where id > ? order by id limit ?',
  placeOf: (row) => ({ tenant: row['tenant'] as TenantId, context: `Word|${Number(row['id'])}` }),
}

function open(db: TestDatabase, more: Partial<SealerOptions> = {}): Promise<EnvelopeSealer> {
  return openSealer({
    database: db.database,
    clock,
    master: { file: join(db.folder, 'eclusa.key') },
    ...more,
  })
}

async function put(database: Database, sealer: EnvelopeSealer, tenant: TenantId, id: number): Promise<void> {
  const sealed = sealer.seal(Buffer.from(`word ${id}`), `Word|${id}`, tenant)
  await database.write([
    { sql: 'insert into "Word" (tenant, id, sealed) values (?, ?, ?)', params: [tenant, id, sealed] },
  ])
}

async function valueOf(database: Database, id: number): Promise<Uint8Array> {
  const [row] = await database.read('select sealed from "Word" where id = ?', [id])
  return row?.['sealed'] as Uint8Array
}

async function read(
  database: Database,
  sealer: EnvelopeSealer,
  tenant: TenantId,
  id: number,
): Promise<string> {
  const sealed = await valueOf(database, id)
  await sealer.know([sealed])
  return Buffer.from(sealer.open(sealed, `Word|${id}`, tenant)).toString()
}

function resealer(database: Database, sealer: EnvelopeSealer): Resealer {
  return new Resealer({ database, sealer, tables: [wordTable], clock })
}

async function resealAll(database: Database, sealer: EnvelopeSealer): Promise<number> {
  const one = resealer(database, sealer)
  let steps = 0
  while (await one.pass()) steps++
  return steps
}

/** As values were sealed before there were data keys: by the master key itself. */
function sealedAsBefore(master: Uint8Array, plain: string, context: string): Uint8Array {
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', master, iv).setAAD(Buffer.from(context))
  const body = Buffer.concat([cipher.update(plain), cipher.final()])
  return Buffer.concat([Uint8Array.of(1), iv, body, cipher.getAuthTag()])
}

/** What the version before left behind: a key file, its check, and values. */
async function makeAsBefore(db: TestDatabase, count: number): Promise<void> {
  const master = randomBytes(32)
  writeFileSync(join(db.folder, 'eclusa.key'), `eclusa-key-1 ${master.toString('base64')}\n`, { mode: 0o600 })
  await db.database.write([
    {
      sql: 'insert into "SealerCheck" (id, sealed) values (1, ?)',
      params: [sealedAsBefore(master, 'SealerCheck', 'SealerCheck')],
    },
    ...Array.from({ length: count }, (_, id) => ({
      sql: 'insert into "Word" (tenant, id, sealed) values (?, ?, ?)',
      params: [id % 2 === 0 ? acme : exatron, id, sealedAsBefore(master, `word ${id}`, `Word|${id}`)],
    })),
  ])
}

test('what was sealed opens with its context and tenant, and with no other, and not when a bit is changed', async (t) => {
  const db = await openTestDatabase(t, [])
  const sealer = await open(db)
  await sealer.prepare(acme)
  await sealer.prepare(exatron)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.string(), fc.nat(), (plain, context, at) => {
      const sealed = sealer.seal(plain, context, acme)
      assert.deepEqual(new Uint8Array(sealer.open(sealed, context, acme)), plain)
      assert.throws(() => sealer.open(sealed, `${context}|`, acme), broken)
      assert.throws(() => sealer.open(sealed, context, exatron), broken)
      assert.throws(() => sealer.open(sealed, context, OPERATORS), broken)
      const changed = new Uint8Array(sealed)
      changed[at % changed.length]! ^= 1
      assert.throws(() => sealer.open(changed, context, acme), broken)
    }),
    { numRuns: 100 },
  )
  assert.throws(() => sealer.open(new Uint8Array(5), '', acme), broken)
  assert.throws(() => sealer.open(new Uint8Array(0), '', acme), broken)
})

test('the same text sealed twice looks different', () => {
  const plain = Buffer.from('the same')
  assert.notDeepEqual(testSealer().seal(plain, 'c', acme), testSealer().seal(plain, 'c', acme))
})

test('the key is made once, for its owner alone, and serves the same database again', async (t) => {
  const db = await openTestDatabase(t, [words])
  await put(db.database, await open(db), acme, 1)
  if (process.platform !== 'win32') assert.equal(statSync(join(db.folder, 'eclusa.key')).mode & 0o777, 0o600)
  assert.deepEqual(
    readdirSync(db.folder).filter((file) => file.includes('.key')),
    ['eclusa.key'],
  )
  await db.reopen()
  assert.equal(await read(db.database, await open(db), acme, 1), 'word 1')
})

test('a missing, foreign or damaged key is refused and never replaced', async (t) => {
  const db = await openTestDatabase(t, [])
  const keyFile = join(db.folder, 'eclusa.key')
  await open(db)
  const right = readFileSync(keyFile, 'utf8')

  const other = await openTestDatabase(t, [])
  await open(other)
  await assert.rejects(open(db, { master: { file: join(other.folder, 'eclusa.key') } }), wrongKey)

  writeFileSync(keyFile, 'not a key')
  await assert.rejects(open(db), wrongKey)
  rmSync(keyFile)
  await assert.rejects(open(db), wrongKey)
  assert.throws(() => statSync(keyFile), 'it was made again')
  const text = randomBytes(32).toString('base64')
  await assert.rejects(open(db, { master: { text, from: 'ECLUSA_MASTER_KEY' } }), (error: EclusaError) => {
    assert.match(error.message, /ECLUSA_MASTER_KEY does not open this database; set the master key that/)
    assert.ok(!error.message.includes(text))
    return wrongKey(error)
  })
  for (const weak of ['change-me', 'A'.repeat(43) + '=', Buffer.alloc(32, 'eclusa').toString('base64')]) {
    await assert.rejects(
      open(db, { master: { text: weak, from: 'ECLUSA_MASTER_KEY' } }),
      /openssl rand -base64 32/,
    )
  }
  writeFileSync(keyFile, right)
  await open(db)
})

testEachDatabase('a tenant whose key is destroyed can be read by nobody, others as before', async (t) => {
  const db = await openTestDatabase(t, [words])
  const sealer = await open(db)
  for (const [id, tenant] of [acme, exatron].entries()) {
    await sealer.prepare(tenant)
    await put(db.database, sealer, tenant, id)
  }
  await sealer.destroyKey(acme)
  await assert.rejects(read(db.database, sealer, acme, 0), broken)
  assert.throws(() => sealer.seal(Buffer.from('more'), 'c', acme), broken)
  assert.equal(await read(db.database, sealer, exatron, 1), 'word 1')
  const rows = await db.database.read('select wrapped from "DataKey" where tenant = ?', [acme])
  assert.deepEqual(rows, [{ wrapped: null }])

  await db.reopen()
  const again = await open(db)
  await assert.rejects(read(db.database, again, acme, 0), broken)
  assert.equal(await read(db.database, again, exatron, 1), 'word 1')
  // The same name, given to another customer.
  await again.prepare(acme)
  await put(db.database, again, acme, 2)
  assert.equal(await read(db.database, again, acme, 2), 'word 2')
  await assert.rejects(read(db.database, again, acme, 0), broken)
})

testEachDatabase(
  'what was sealed before its tenant had a key is kept, and gets that key later',
  async (t) => {
    const db = await openTestDatabase(t, [words])
    const sealer = await open(db)
    await put(db.database, sealer, acme, 1)
    assert.equal(await read(db.database, sealer, acme, 1), 'word 1')
    await sealer.prepare(acme)
    assert.ok(sealer.isStale(await valueOf(db.database, 1), acme))
    await resealAll(db.database, sealer)
    assert.ok(!sealer.isStale(await valueOf(db.database, 1), acme))
    assert.equal(await read(db.database, sealer, acme, 1), 'word 1')
  },
)

testEachDatabase(
  'two processes read what the other sealed, and follow its new and destroyed keys',
  async (t) => {
    const db = await openTestDatabase(t, [words])
    const one = await open(db)
    const two = await open(db)
    await one.prepare(acme)
    await put(db.database, one, acme, 1)
    assert.equal(await read(db.database, two, acme, 1), 'word 1')
    await two.prepare(acme)
    await clock.tick(100 * DAY)
    await one.rotateDataKeys(clock.now() - 90 * DAY)
    await put(db.database, one, acme, 2)
    assert.equal(await read(db.database, two, acme, 2), 'word 2')
    if (db.database.dialect !== 'postgres') return
    await two.refresh()
    await put(db.database, two, acme, 3)
    assert.ok(!one.isStale(await valueOf(db.database, 3), acme), 'it seals with the new key, too')
    await one.destroyKey(acme)
    await two.refresh()
    await assert.rejects(read(db.database, two, acme, 3), broken)
    assert.throws(() => two.seal(Buffer.from('more'), 'c', acme), broken)
  },
)

testEachDatabase(
  'values of before are read as they are, and sealed anew in steps that a restart does not lose',
  async (t) => {
    const db = await openTestDatabase(t, [words])
    await makeAsBefore(db, 220)
    let sealer = await open(db)
    for (const id of [0, 1])
      assert.equal(await read(db.database, sealer, id === 0 ? acme : exatron, id), `word ${id}`)
    await sealer.prepare(acme)
    await clock.tick(6 * MINUTE)
    const first = resealer(db.database, sealer)
    for (let step = 0; step < 2; step++) assert.equal(await first.pass(), true)
    assert.equal((await first.progress())?.resealedCount, 100)
    assert.equal((await valueOf(db.database, 0))[0], 2)
    assert.equal((await valueOf(db.database, 150))[0], 1)

    await db.reopen()
    sealer = await open(db)
    // Changed by somebody else just then: theirs stays.
    await sealer.prepare(exatron)
    const second = resealer(db.database, sealer)
    let steps = 0
    while (await second.pass()) steps++
    assert.equal(steps, 3, 'it went on where it was')
    const progress = await second.progress()
    assert.equal(progress?.resealedCount, 220)
    assert.notEqual(progress?.finishedAt, null)
    for (let id = 0; id < 220; id++) {
      const tenant = id % 2 === 0 ? acme : exatron
      assert.ok(!sealer.isStale(await valueOf(db.database, id), tenant))
      assert.equal(await read(db.database, sealer, tenant, id), `word ${id}`)
    }
    assert.equal(await second.pass(), false, 'and it is done')
  },
)

testEachDatabase('a data key that is old is replaced, and what it sealed is sealed anew', async (t) => {
  const db = await openTestDatabase(t, [words])
  const sealer = await open(db)
  await sealer.prepare(acme)
  for (let id = 0; id < 60; id++) await put(db.database, sealer, acme, id)
  assert.equal(await sealer.rotateDataKeys(clock.now() - 90 * DAY), 0)
  await clock.tick(91 * DAY)
  assert.equal(
    await sealer.rotateDataKeys(clock.now() - 90 * DAY),
    2,
    'the key of the tenant and that of the installation',
  )
  assert.equal(await read(db.database, sealer, acme, 0), 'word 0')
  assert.equal(
    await resealer(db.database, sealer).pass(),
    false,
    'what is on its way may still use the old key',
  )
  await clock.tick(6 * MINUTE)
  await resealAll(db.database, sealer)
  for (let id = 0; id < 60; id++) {
    assert.ok(!sealer.isStale(await valueOf(db.database, id), acme))
    assert.equal(await read(db.database, sealer, acme, id), `word ${id}`)
  }
})

test('a value that does not open, or changes meanwhile, is left as it is', async (t) => {
  const db = await openTestDatabase(t, [words])
  await makeAsBefore(db, 3)
  const sealer = await open(db)
  await sealer.prepare(acme)
  const junk = Buffer.concat([Uint8Array.of(1), randomBytes(60)])
  await db.database.write([{ sql: 'update "Word" set sealed = ? where id = 1', params: [junk] }])
  await clock.tick(6 * MINUTE)
  const one = resealer(db.database, sealer)
  while (await one.pass());
  assert.equal(one.brokenCount, 1)
  assert.deepEqual(Buffer.from(await valueOf(db.database, 1)), junk)
  assert.equal(await read(db.database, sealer, acme, 2), 'word 2')
})

test('the master key is changed while values are sealed, and the old one opens nothing any more', async (t) => {
  const db = await openTestDatabase(t, [words])
  await makeAsBefore(db, 3)
  const keyFile = join(db.folder, 'eclusa.key')
  const before = readFileSync(keyFile, 'utf8')
  const sealer = await open(db)
  await sealer.prepare(acme)
  await put(db.database, sealer, acme, 10)
  await sealer.rotateMasterKey()
  await put(db.database, sealer, acme, 11)
  assert.equal(await read(db.database, sealer, acme, 10), 'word 10')
  assert.notEqual(readFileSync(keyFile, 'utf8'), before)
  assert.deepEqual(
    readdirSync(db.folder).filter((file) => file.includes('.key')),
    ['eclusa.key'],
  )

  await db.reopen()
  const again = await open(db)
  // 0 is of before there were data keys.
  for (const id of [0, 10, 11]) assert.equal(await read(db.database, again, acme, id), `word ${id}`)
  const old = join(db.folder, 'old')
  writeFileSync(old, before)
  await assert.rejects(open(db, { master: { file: old } }), wrongKey)
})

test('changes of the master key beside each other, and new tenants meanwhile, leave keys that open', async (t) => {
  const db = await openTestDatabase(t, [words])
  const sealer = await open(db)
  await sealer.prepare(acme)
  await put(db.database, sealer, acme, 1)
  const others = Array.from({ length: 20 }, (_, n) => `tenant-${n}` as TenantId)
  const preparations: Promise<void>[] = []
  const rotations = [sealer.rotateMasterKey(), sealer.rotateMasterKey()]
  for (const other of others) {
    const preparation = sealer.prepare(other)
    if (preparation !== undefined) preparations.push(preparation)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all([...rotations, ...preparations])
  for (const [n, other] of others.entries()) await put(db.database, sealer, other, 100 + n)

  await db.reopen()
  const again = await open(db)
  assert.equal(await read(db.database, again, acme, 1), 'word 1')
  for (const [n, other] of others.entries()) {
    assert.equal(await read(db.database, again, other, 100 + n), `word ${100 + n}`)
  }
})

test('a change of the master key that is cut short, before or after its commit, leaves a key that opens', async (t) => {
  const db = await openTestDatabase(t, [words])
  const keyFile = join(db.folder, 'eclusa.key')
  const sealer = await open(db)
  await sealer.prepare(acme)
  await put(db.database, sealer, acme, 1)
  const before = readFileSync(keyFile, 'utf8')

  // Before: the next key is on disk, the database does not know it.
  writeFileSync(`${keyFile}.next`, `eclusa-key-1 ${randomBytes(32).toString('base64')}\n`)
  assert.equal(await read(db.database, await open(db), acme, 1), 'word 1')
  assert.throws(() => statSync(`${keyFile}.next`))
  assert.equal(readFileSync(keyFile, 'utf8'), before)

  // After: the database knows it, and the file was not put in its place.
  await sealer.rotateMasterKey()
  renameSync(keyFile, `${keyFile}.next`)
  writeFileSync(keyFile, before)
  assert.equal(await read(db.database, await open(db), acme, 1), 'word 1')
  assert.notEqual(readFileSync(keyFile, 'utf8'), before)
  assert.throws(() => statSync(`${keyFile}.next`))
})

testEachDatabase(
  'a master key from the environment is changed by giving both, also from a file',
  async (t) => {
    const db = await openTestDatabase(t, [words])
    const file = join(db.folder, 'eclusa.key')
    const sealer = await open(db)
    await sealer.prepare(acme)
    await put(db.database, sealer, acme, 1)
    const master = { text: randomBytes(32).toString('base64'), from: 'ECLUSA_MASTER_KEY' }
    await assert.rejects(open(db, { master }), wrongKey)
    const both = await open(db, { master, other: { file } })
    assert.equal(await read(db.database, both, acme, 1), 'word 1')
    const alone = await open(db, { master })
    assert.equal(await read(db.database, alone, acme, 1), 'word 1')
    await assert.rejects(open(db), wrongKey)
    await assert.rejects(
      alone.rotateMasterKey(),
      (error: EclusaError) => error.code === 'STORAGE_KEY_NOT_OURS',
    )
  },
)
