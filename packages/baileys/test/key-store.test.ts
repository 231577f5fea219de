import assert from 'node:assert/strict'
import { test } from 'node:test'
import { settle } from '@eclusa/kernel/test-kit'
import { type KeyStoreOptions, makeBoundedKeyStore, makeCacheableSignalKeyStore } from '../src/index.ts'
import type { SignalDataSet, SignalKeyStore } from '../src/index.ts'

/** A database in a Map, which counts, stalls and fails as told. */
class Store implements SignalKeyStore {
  readonly rows = new Map<string, unknown>()
  readonly reads: string[] = []
  writes = 0
  beforeGet: () => Promise<void> = async () => {}
  beforeSet: () => Promise<void> = async () => {}

  async get(type: string, ids: string[]): Promise<Record<string, never>> {
    this.reads.push(...ids.map((id) => `${type}.${id}`))
    const seen = ids.map((id) => [id, this.rows.get(`${type}.${id}`)] as const)
    await this.beforeGet()
    return Object.fromEntries(seen.filter(([, value]) => value !== undefined)) as Record<string, never>
  }

  async set(data: SignalDataSet): Promise<void> {
    this.writes += 1
    await this.beforeSet()
    for (const [type, values] of Object.entries(data)) {
      for (const [id, value] of Object.entries(values ?? {})) {
        if (value === null) this.rows.delete(`${type}.${id}`)
        else this.rows.set(`${type}.${id}`, structuredClone(value))
      }
    }
  }
}

function setup(options: KeyStoreOptions = {}): {
  store: Store
  keys: ReturnType<typeof makeBoundedKeyStore>
} {
  const store = new Store()
  return { store, keys: makeBoundedKeyStore(store, options) }
}

const deviceList = (...devices: string[]): SignalDataSet => ({ 'device-list': { a: devices } })

test('a write is in the database before the cache shows it', async () => {
  const { store, keys } = setup()
  await keys.set(deviceList('1'))
  const gate = Promise.withResolvers<void>()
  store.beforeSet = () => gate.promise
  const writing = keys.set(deviceList('2'))
  assert.deepEqual(await keys.get('device-list', ['a']), { a: ['1'] })
  gate.resolve()
  await writing
  assert.deepEqual(await keys.get('device-list', ['a']), { a: ['2'] })
  assert.deepEqual(store.rows.get('device-list.a'), ['2'])
})

test('a failed write is no longer in the cache: the next read asks the database', async () => {
  const failures: unknown[] = []
  const { store, keys } = setup({ onFailure: (error) => failures.push(error) })
  await keys.set(deviceList('1'))
  store.beforeSet = () => Promise.reject(new Error('disk full'))
  await assert.rejects(keys.set(deviceList('2')), /disk full/)
  assert.deepEqual(await keys.get('device-list', ['a']), { a: ['1'] })
  assert.deepEqual([store.reads, failures.length], [['device-list.a'], 1])
})

test('a store that never answers fails at the deadline, and holds up nobody who asks for another key', async () => {
  const { store, keys } = setup({ deadlineMs: 20 })
  store.rows.set('device-list.b', ['7'])
  store.beforeGet = () => new Promise(() => {})
  const stuck = assert.rejects(keys.get('device-list', ['a']), /did not answer a read within 20 ms/)
  store.beforeGet = async () => {}
  assert.deepEqual(await keys.get('device-list', ['b']), { b: ['7'] })
  await stuck
  assert.deepEqual(await keys.get('device-list', ['a']), {})
})

test('a write that reaches the database after its deadline is not hidden by what was read before', async () => {
  const { store, keys } = setup({ deadlineMs: 5 })
  store.rows.set('device-list.a', ['1'])
  const gate = Promise.withResolvers<void>()
  store.beforeSet = () => gate.promise
  await assert.rejects(keys.set(deviceList('2')), /did not answer a write/)
  assert.deepEqual(await keys.get('device-list', ['a']), { a: ['1'] })
  gate.resolve()
  await settle()
  assert.deepEqual(await keys.get('device-list', ['a']), { a: ['2'] })
})

test('many who ask for one key cost one read', async () => {
  const { store, keys } = setup()
  store.rows.set('device-list.a', ['1'])
  const answers = await Promise.all(Array.from({ length: 20 }, () => keys.get('device-list', ['a'])))
  assert.deepEqual(store.reads, ['device-list.a'])
  assert.ok(answers.every(({ a }) => a?.[0] === '1'))
})

test('a read that a write overtook leaves nothing old in the cache', async () => {
  const { store, keys } = setup()
  store.rows.set('device-list.a', ['1'])
  const gate = Promise.withResolvers<void>()
  store.beforeGet = () => gate.promise
  const reading = keys.get('device-list', ['a'])
  await settle()
  await keys.set(deviceList('2'))
  gate.resolve()
  await reading
  store.beforeGet = async () => {}
  assert.deepEqual(await keys.get('device-list', ['a']), { a: ['2'] })
})

test('what is handed out is a copy: changing it changes nothing', async () => {
  const { keys } = setup()
  await keys.set(deviceList('1'))
  const { a } = await keys.get('device-list', ['a'])
  a?.push('666')
  assert.deepEqual(await keys.get('device-list', ['a']), { a: ['1'] })
})

test('an absent key is remembered as absent', async () => {
  const { store, keys } = setup()
  await keys.get('tctoken', ['x'])
  assert.deepEqual(await keys.get('tctoken', ['x']), {})
  assert.deepEqual(store.reads, ['tctoken.x'])
})

test('app state and pre-keys are not kept in memory', async () => {
  const { store, keys } = setup()
  await keys.set({ 'app-state-sync-version': { regular: { version: 1 } as never } })
  await keys.get('app-state-sync-version', ['regular'])
  await keys.get('app-state-sync-version', ['regular'])
  assert.equal(store.reads.length, 2)
  assert.equal(keys.stats().cache?.entries, 0)
})

test('a group record of more than 5,000 devices begins anew', async () => {
  const { store, keys } = setup()
  const devices = (count: number): Record<string, boolean> =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`${i}@s.whatsapp.net`, true]))
  await keys.set({ 'sender-key-memory': { small: devices(5_000), large: devices(5_001) } })
  assert.equal(Object.keys(store.rows.get('sender-key-memory.small') as object).length, 5_000)
  assert.deepEqual(store.rows.get('sender-key-memory.large'), {})
})

test('the index of tokens keeps its newest 10,000, healed when it is read', async () => {
  const { store, keys } = setup()
  const jids = Array.from({ length: 10_500 }, (_, i) => `${i}@lid`)
  store.rows.set('tctoken.__index', { token: Buffer.from(JSON.stringify(jids)) })
  const { __index: index } = await keys.get('tctoken', ['__index'])
  const kept = JSON.parse(Buffer.from(index?.token ?? []).toString()) as string[]
  assert.deepEqual([kept.length, kept[0], kept.at(-1)], [10_000, '500@lid', '10499@lid'])
})

test('a grown session is pruned when it is read, and when it is written', async () => {
  const { store, keys } = setup()
  const chains = Array.from({ length: 300 }, (_, i) => [
    `c${i}`,
    { chainKey: { counter: 1 }, chainType: 2, messageKeys: {} },
  ])
  const grown = {
    _sessions: { s: { indexInfo: { closed: -1 }, _chains: Object.fromEntries(chains) } },
    version: 'v1',
  }
  store.rows.set('session.1.0', grown)
  const read = (await keys.get('session', ['1.0']))['1.0'] as unknown as typeof grown
  assert.equal(Object.keys(read._sessions.s._chains).length, 5)
  await keys.set({ session: { '1.0': grown as never } })
  const row = store.rows.get('session.1.0') as typeof grown
  assert.equal(Object.keys(row._sessions.s._chains).length, 5)
  assert.equal(keys.stats().pruned, 1)
})

test("the call has upstream's signature, and a cache of the caller's that throws counts as empty", async () => {
  const store = new Store()
  store.rows.set('device-list.a', ['1'])
  const fail = (): never => {
    throw new Error('ECACHEFULL')
  }
  const keys = makeCacheableSignalKeyStore(store, undefined, {
    get: fail,
    set: fail,
    del: fail,
    flushAll: fail,
  })
  await keys.set(deviceList('2'))
  assert.deepEqual(await keys.get('device-list', ['a']), { a: ['2'] })
})

test('with a cap of one, every key is still right', async () => {
  const { keys } = setup({ maxEntries: 1 })
  for (let i = 0; i < 50; i++) await keys.set({ 'device-list': { [`k${i}`]: [String(i)] } })
  const all = await keys.get(
    'device-list',
    Array.from({ length: 50 }, (_, i) => `k${i}`),
  )
  assert.equal(Object.values(all).length, 50)
  assert.equal(keys.stats().cache?.entries, 1)
})
