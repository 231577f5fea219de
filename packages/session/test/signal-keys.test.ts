import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import {
  type InstanceId,
  makeInstanceId,
  MIB,
  parseTenantId,
  type WaMessageId,
  wordsOf,
} from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { type Database, EventLog } from '@eclusa/storage'
import { openTestDatabase, testEachDatabase as test, testSealer } from '@eclusa/storage/test-kit'
import { tenant } from './harness.ts'
import { AuthStore } from '../src/auth-store.ts'
import { SignalKeys } from '../src/engines/baileys/signal-keys.ts'
import { InboundJournal, sessionMigrations } from '../src/index.ts'

interface Bench {
  readonly keys: SignalKeys
  readonly failures: unknown[]
  readonly store: AuthStore
  readonly database: Database
  readonly instance: InstanceId
  /** From now on the next write fails, as a full disk would make it. */
  breakNextWrite(): void
}

async function setup(t: TestContext): Promise<Bench> {
  const { database } = await openTestDatabase(t, sessionMigrations)
  let broken = false
  const fragile: Database = {
    dialect: database.dialect,
    write: (statements, options) => {
      if (!broken) return database.write(statements, options)
      broken = false
      return Promise.reject(new Error('disk full'))
    },
    read: (sql, params) => database.read(sql, params),
    onCommit: (listener) => database.onCommit(listener),
    stats: () => database.stats(),
    stop: () => database.stop(),
  }
  const clock = new ManualClock()
  const instance = makeInstanceId()
  const store = new AuthStore({ database: fragile, sealer: testSealer(), clock, tenantOf: () => tenant })
  const failures: unknown[] = []
  const keys = new SignalKeys({ instance, store, clock, onFailure: (error) => failures.push(error) })
  return {
    keys,
    failures,
    store,
    database,
    instance,
    breakNextWrite: () => {
      broken = true
    },
  }
}

/** Stands for libsignal's record, which is plain JSON. */
const session = (text: string): Uint8Array => ({ version: 'v1', text }) as unknown as Uint8Array

test('what was written is read, from the cache and from the disk', async (t) => {
  const { keys, store, instance } = await setup(t)
  await keys.set({ session: { 'a.0': session('one'), 'b.0': session('two') } })
  assert.deepEqual(await keys.get('session', ['a.0', 'b.0', 'c.0']), {
    'a.0': session('one'),
    'b.0': session('two'),
  })
  const onDisk = await store.readKeys(instance, 'session', ['a.0', 'b.0', 'c.0'])
  assert.deepEqual([...onDisk.keys()], ['a.0', 'b.0'])
})

test('a deleted key is gone, and its absence costs no second read', async (t) => {
  const { keys, database } = await setup(t)
  await keys.set({ session: { 'a.0': session('one') } })
  await keys.set({ session: { 'a.0': null } })
  const before = database.stats().readCount
  assert.deepEqual(await keys.get('session', ['a.0']), {})
  assert.deepEqual(await keys.get('lid-mapping', ['never']), {})
  assert.deepEqual(await keys.get('lid-mapping', ['never']), {})
  assert.equal(database.stats().readCount - before, 1)
})

test('what is handed out is a copy: changing it changes nothing here', async (t) => {
  const { keys } = await setup(t)
  await keys.set({ 'device-list': { '5511': ['0', '1'] } })
  const first = await keys.get('device-list', ['5511'])
  first['5511']?.push('2')
  assert.deepEqual(await keys.get('device-list', ['5511']), { '5511': ['0', '1'] })
})

test('a failed write is reported, and the cache forgets what it held', async (t) => {
  const { keys, failures, breakNextWrite } = await setup(t)
  await keys.set({ session: { 'a.0': session('old') } })
  breakNextWrite()
  await assert.rejects(keys.set({ session: { 'a.0': session('new') } }), /disk full/)
  assert.equal(failures.length, 1)
  assert.deepEqual(await keys.get('session', ['a.0']), { 'a.0': session('old') })
})

test('a read that was overtaken by a write does not put the old value into the cache', async (t) => {
  const { keys } = await setup(t)
  await keys.set({ session: { 'a.0': session('old') } })
  await keys.clear()
  await keys.set({ session: { 'b.0': session('x') } })
  const reading = keys.get('session', ['a.0'])
  const writing = keys.set({ session: { 'a.0': session('new') } })
  await Promise.all([reading, writing])
  assert.deepEqual(await keys.get('session', ['a.0']), { 'a.0': session('new') })
})

test('the 812 pre-keys of an account are on disk and not in the cache', async (t) => {
  const { keys, store, instance } = await setup(t)
  const ids = Array.from({ length: 812 }, (_, index) => String(index + 1))
  const pair = { public: Buffer.from('p'), private: Buffer.from('q') }
  await keys.set({ 'pre-key': Object.fromEntries(ids.map((id) => [id, pair])) })
  assert.equal(keys.stats().entries, 0)
  assert.equal((await store.readKeys(instance, 'pre-key', ids)).size, 812)
  assert.deepEqual(await keys.get('pre-key', ['400']), { '400': pair })
})

test('nothing of a key is readable in the file', async (t) => {
  const { keys, database } = await setup(t)
  await keys.set({ session: { 'a.0': session('a-secret-nobody-should-read') } })
  const [row] = await database.read('SELECT sealed FROM "SignalKey"', [])
  assert.ok(row !== undefined)
  const stored = Buffer.from(row['sealed'] as Uint8Array)
  assert.equal(stored.includes('a-secret-nobody-should-read'), false)
})

test('a message is journalled with the session that opened it, both or neither', async (t) => {
  const { keys, breakNextWrite, database, instance, store } = await setup(t)
  const sealer = testSealer()
  const clock = new ManualClock()
  const tenant = parseTenantId('exatron')
  const journal = new InboundJournal({
    database,
    sealer,
    clock,
    events: new EventLog({ database, sealer, clock }),
  })
  const receive = async (step: string): Promise<void> => {
    const { written } = await keys.inUnit(async (together) => {
      together(
        journal.append(tenant, instance, {
          chat: '5511@s.whatsapp.net' as never,
          author: '5511@s.whatsapp.net' as never,
          addressedAs: '5511@s.whatsapp.net',
          waMessageId: `WA${step}` as WaMessageId,
          fromMe: false,
          alias: null,
          content: { kind: 'text', text: 'hello there' },
          quoted: null,
          mentions: [],
          pushName: null,
          sentAt: clock.now(),
        }),
      )
      await keys.set({ session: { '5511.0': session(step) } })
    })
    await written
  }
  await receive('1')
  breakNextWrite()
  await assert.rejects(receive('2'))
  const { items } = await journal.list({ instance, after: 0, limit: 10, maxBytes: MIB })
  assert.deepEqual(
    items.map(({ from, message }) => ({
      waMessageId: message.waMessageId,
      text: wordsOf(message.content),
      from,
    })),
    [{ waMessageId: 'WA1', text: 'hello there', from: '+5511' }],
  )
  const [stored] = (await store.readKeys(instance, 'session', ['5511.0'])).values()
  assert.equal(stored, JSON.stringify(session('1')))
  const events = await database.read('SELECT COUNT(*) AS count FROM "Event"', [])
  assert.equal(events[0]?.['count'], 1)
})

test('two writes in one unit are both awaited, and a failure of the first is told, not thrown at the process', async (t) => {
  const { keys, breakNextWrite } = await setup(t)
  breakNextWrite()
  const { written } = await keys.inUnit(async () => {
    await keys.set({ session: { 'a.0': session('one') } })
    await keys.set({ session: { 'b.0': session('two') } })
  })
  await assert.rejects(written, /disk full/)
  assert.deepEqual(await keys.get('session', ['a.0', 'b.0']), { 'b.0': session('two') })
})
