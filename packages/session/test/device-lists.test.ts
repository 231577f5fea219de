import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CacheBudget, type SharedFact } from '@eclusa/bounded-cache'
import { type InstanceId, makeInstanceId, wordsOf } from '@eclusa/kernel'
import { ManualClock, until } from '@eclusa/kernel/test-kit'
import type { NumberPhone } from '@eclusa/simulator'
import { openTestDatabase, testSealer } from '@eclusa/storage/test-kit'
import { DeviceLists } from '../src/engines/baileys/device-lists.ts'
import { sessionMigrations, SharedFacts, socketCacheMetrics } from '../src/index.ts'
import { type Bench, chatOf, setup, tenant } from './harness.ts'

const COMPANY = '5511900000001'
const FRIEND = '5511900000009'
const CAROL = '5511910000001'
const DAVE = '5511910000002'

/** What the linked device has asked WhatsApp: for devices of contacts, and for their keys, which uses up a pre-key each. */
function questions(phone: NumberPhone): { readonly deviceLists: number; readonly preKeys: number } {
  const asked = (phone.devices()[0]?.transcript ?? []).filter(
    ({ direction, tag }) => direction === 'in' && tag === 'iq',
  )
  return {
    deviceLists: asked.filter(({ children }) => children.some(({ tag }) => tag === 'usync')).length,
    preKeys: asked.filter(({ attrs, children }) => {
      return (
        attrs['xmlns'] === 'encrypt' && attrs['type'] === 'get' && children.some(({ tag }) => tag === 'key')
      )
    }).length,
  }
}

async function restart(bench: Bench, instance: InstanceId): Promise<void> {
  await bench.pool.stopInstance(instance)
  await bench.pool.startInstance({ instance, tenant })
  await bench.untilState(instance, 'online')
}

async function texts(bench: Bench, instance: InstanceId): Promise<(string | null)[]> {
  const { items } = await bench.journal.list({ instance, after: 0, limit: 100, maxBytes: 1_000_000 })
  return items.map(({ message }) => wordsOf(message.content))
}

/** One more device of a number that is linked already. */
async function linkAnother(bench: Bench, phone: NumberPhone): Promise<InstanceId> {
  const instance = bench.newInstance()
  await bench.pool.startInstance({ instance, tenant })
  const { qr } = await bench.untilState(instance, 'qr')
  await phone.scanQr(qr?.text ?? '')
  await bench.untilState(instance, 'online')
  await bench.simulator.settled()
  return instance
}

test('with room for one device list in memory nobody is asked twice, and no contact loses a pre-key', async (t) => {
  const bench = await setup(t, { cacheLimits: { userDevices: { maxEntries: 1 } } })
  const contacts = [CAROL, DAVE].map((number) => bench.simulator.addContact(number, { name: number }))
  const { instance, phone } = await bench.pair(COMPANY)
  for (const number of [CAROL, DAVE]) await bench.send(instance, chatOf(number), 'first')
  const before = questions(phone)
  assert.ok(before.deviceLists >= 2 && before.preKeys >= 2, JSON.stringify(before))
  for (const text of ['second', 'third']) {
    for (const number of [CAROL, DAVE]) await bench.send(instance, chatOf(number), text)
  }
  assert.deepEqual(questions(phone), before)
  for (const { inbox } of contacts) {
    assert.deepEqual(
      inbox.map(({ text, repeats }) => ({ text, repeats })),
      ['first', 'second', 'third'].map((text) => ({ text, repeats: 0 })),
    )
  }
  await bench.simulator.assertClean()
})

test('a restart of the session asks nobody for devices that the table knows', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  await bench.send(instance, chatOf(CAROL), 'before')
  const before = questions(phone)
  await restart(bench, instance)
  const online = questions(phone)
  assert.equal(online.preKeys, before.preKeys)
  await bench.send(instance, chatOf(CAROL), 'after')
  assert.deepEqual(questions(phone), online)
  assert.deepEqual(
    carol.inbox.map(({ text, repeats }) => ({ text, repeats })),
    ['before', 'after'].map((text) => ({ text, repeats: 0 })),
  )
  await bench.simulator.assertClean()
})

test('a device linked a moment ago gets the next message, although the table knew a list without it', async (t) => {
  const bench = await setup(t, { cacheLimits: { userDevices: { maxEntries: 1 } } })
  const sender = await bench.pair(COMPANY)
  const friend = await bench.pair(FRIEND)
  await bench.send(sender.instance, chatOf(FRIEND), 'to one')
  const second = await linkAnother(bench, friend.phone)
  await bench.send(sender.instance, chatOf(FRIEND), 'to both')
  await until(async () => (await texts(bench, second)).includes('to both'), 'the new device has it')
  await until(async () => (await texts(bench, friend.instance)).includes('to both'), 'the other has it, too')
  await bench.simulator.assertClean()
})

test('a device linked while the session was offline gets the next message', async (t) => {
  const bench = await setup(t)
  const sender = await bench.pair(COMPANY)
  const friend = await bench.pair(FRIEND)
  await bench.send(sender.instance, chatOf(FRIEND), 'to one')
  await bench.pool.stopInstance(sender.instance)
  const second = await linkAnother(bench, friend.phone)
  await bench.pool.startInstance({ instance: sender.instance, tenant })
  await bench.untilState(sender.instance, 'online')
  // What WhatsApp kept for us comes right after the login.
  await bench.simulator.settled()
  await bench.send(sender.instance, chatOf(FRIEND), 'to both')
  await until(async () => (await texts(bench, second)).includes('to both'), 'the new device has it')
  await bench.simulator.assertClean()
})

test('when a recipient could not decrypt, WhatsApp is asked for its devices again', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  await bench.send(instance, chatOf(CAROL), 'first')
  const known = await bench.database.read('SELECT key FROM "SharedFact"', [])
  assert.ok(known.some(({ key }) => String(key).endsWith(`/${CAROL}`)))
  const before = questions(phone)
  carol.goOffline()
  await bench.send(instance, chatOf(CAROL), 'second')
  carol.reinstall()
  carol.goOnline()
  await until(() => carol.inbox.some(({ text }) => text === 'second'), 'it is sent again')
  await bench.send(instance, chatOf(CAROL), 'third')
  await until(() => carol.inbox.some(({ text }) => text === 'third'), 'the third arrives')
  assert.ok(questions(phone).deviceLists > before.deviceLists)
})

test('nothing of a device list is readable in the file, and a forgotten instance leaves none', async (t) => {
  const bench = await setup(t)
  bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance } = await bench.pair(COMPANY)
  await bench.send(instance, chatOf(CAROL), 'hello')
  const rows = await bench.database.read('SELECT sealed FROM "SharedFact"', [])
  assert.ok(rows.length > 0)
  for (const { sealed } of rows) assert.ok(!Buffer.from(sealed as Uint8Array).includes('device'))
  await bench.pool.forgetInstance(instance)
  assert.deepEqual(await bench.database.read('SELECT key FROM "SharedFact"', []), [])
})

test('all caches of a tenant come out of its share of the budget, and the last session gives it back', async (t) => {
  const cacheBudget = new CacheBudget({ maxBytes: 64 * 1024 * 1024 })
  t.after(() => cacheBudget.dispose())
  const bench = await setup(t, { cacheBudget })
  bench.simulator.addContact(CAROL, { name: 'Carol' })
  const first = await bench.pair(COMPANY)
  const second = await bench.pair(FRIEND)
  for (const { instance } of [first, second]) await bench.send(instance, chatOf(CAROL), 'hello')
  const [owner, ...others] = cacheBudget.topOwners(10)
  assert.deepEqual([owner?.name, others], [tenant, []])
  assert.ok(owner !== undefined && owner.usedBytes > 5_000 && owner.usedBytes === cacheBudget.usedBytes)
  const samples = socketCacheMetrics({ sockets: [bench.pool], budget: cacheBudget })
  const value = (name: string, cache?: string): number | undefined =>
    samples.find((sample) => sample.name === name && sample.labels['cache'] === cache)?.value
  assert.ok(
    (value('cache_entries', 'signalKeys') ?? 0) > 0 && (value('cache_entries', 'userDevices') ?? 0) >= 2,
  )
  assert.equal(value('tenant_bytes_max'), owner.usedBytes)
  const cachesOfTwo = owner.caches
  await restart(bench, first.instance)
  assert.equal(cacheBudget.topOwners(1)[0]?.caches, cachesOfTwo)
  await bench.pool.releaseInstance(first.instance)
  assert.equal(cacheBudget.topOwners(1)[0]?.caches, cachesOfTwo / 2)
  await bench.pool.releaseInstance(second.instance)
  assert.deepEqual([cacheBudget.usedBytes, cacheBudget.stats().owners], [0, 0])
})

test('an answer of WhatsApp that was on its way when a list changed is not kept', async (t) => {
  const { database } = await openTestDatabase(t, sessionMigrations)
  const clock = new ManualClock()
  const facts = new SharedFacts({ database, sealer: testSealer(), clock, tenantOf: () => tenant })
  const lists = new DeviceLists({
    store: facts.of(makeInstanceId()),
    registrationId: 1,
    limit: { maxEntries: 10, ttlMs: 300_000 },
    cacheOwner: undefined,
    clock,
  })
  t.after(() => lists.dispose())
  const answer = [{ key: CAROL, value: [{ user: CAROL, device: 0 }] }]
  assert.deepEqual(await lists.mget([CAROL]), {})
  await lists.changed([CAROL])
  await lists.mset(answer)
  assert.deepEqual(await lists.mget([CAROL]), {})
  // Asked for after the change: this answer counts.
  await lists.mset(answer)
  assert.deepEqual(await lists.get(CAROL), answer[0]?.value)
})

test('another link of the account knows nothing of the lists of the one before', async (t) => {
  const { database } = await openTestDatabase(t, sessionMigrations)
  const clock = new ManualClock()
  const store = new SharedFacts({ database, sealer: testSealer(), clock, tenantOf: () => tenant }).of(
    makeInstanceId(),
  )
  const make = (registrationId: number): DeviceLists => {
    const lists = new DeviceLists({
      store,
      registrationId,
      limit: { maxEntries: 10, ttlMs: 300_000 },
      cacheOwner: undefined,
      clock,
    })
    t.after(() => lists.dispose())
    return lists
  }
  await make(1).set(CAROL, ['known'])
  assert.deepEqual(await make(1).get(CAROL), ['known'])
  assert.equal(await make(2).get(CAROL), undefined)
})

test('of two facts the one fetched later stays, and what has expired is deleted in steps', async (t) => {
  const { database } = await openTestDatabase(t, sessionMigrations)
  const clock = new ManualClock()
  const facts = new SharedFacts({ database, sealer: testSealer(), clock, tenantOf: () => tenant })
  const store = facts.of(makeInstanceId())
  const fact = (value: string | null, fetchedAt: number): SharedFact => ({
    value,
    fetchedAt,
    expiresAt: fetchedAt + 1_000,
  })
  const now = clock.now()
  await store.write(new Map([['a', fact('new', now)]]))
  await store.write(new Map([['a', fact('old', now - 1)]]))
  assert.deepEqual((await store.read(['a', 'absent'])).get('a'), fact('new', now))
  await store.write(new Map(Array.from({ length: 2_500 }, (_, i) => [`k${i}`, fact(null, now)])))
  assert.equal(await facts.sweep(), 0)
  await clock.tick(5 * 60_000)
  assert.equal(await facts.sweep(), 2_501)
  assert.deepEqual(await store.read(['a', 'k0']), new Map())
})
