import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import NodeCacheOfTheLibrary from '@eclusa/bounded-cache/node-cache'
import { promisify } from 'node:util'
import { getHeapStatistics } from 'node:v8'
import makeDefault, {
  type BoundedSocket,
  CacheBudget,
  closeSocket,
  DEFAULT_CACHE_LIMITS,
  DEFAULT_CACHE_MAX_KEYS,
  DEFAULT_CACHE_TTLS,
  defaultCacheBudget,
  initAuthCreds,
  type InjectedCache,
  logCacheMemory,
  logSocketCacheMetrics,
  makeWASocket,
  NodeCache,
  openCacheLog,
  openLidDirectory,
  resolveLimits,
  socketCacheMetrics,
} from '../src/index.ts'
import { idleSocket, silentLogger } from './rig.ts'

const statsOf = (socket: BoundedSocket, name: string): ReturnType<BoundedSocket['cacheStats']>[number] => {
  const found = socket.cacheStats().find((stats) => stats.name === name)
  assert.ok(found !== undefined)
  return found
}

/** Upstream's handle on a cache it was given. */
const devicesOf = (socket: BoundedSocket): Required<InjectedCache> =>
  socket.userDevicesCache as unknown as Required<InjectedCache>

test('the table has the names and numbers its users know', () => {
  assert.deepEqual(
    { ...DEFAULT_CACHE_MAX_KEYS },
    {
      SIGNAL_STORE: 10_000,
      MSG_RETRY: 10_000,
      CALL_OFFER: 500,
      USER_DEVICES: 5_000,
      PLACEHOLDER_RESEND: 5_000,
      LID_PER_SOCKET: 2_000,
      LID_GLOBAL: 10_000,
    },
  )
  const { SIGNAL_STORE, MSG_RETRY, CALL_OFFER, USER_DEVICES, PLACEHOLDER_RESEND } = DEFAULT_CACHE_TTLS
  assert.deepEqual(
    [SIGNAL_STORE, MSG_RETRY, CALL_OFFER, USER_DEVICES, PLACEHOLDER_RESEND],
    [300, 3_600, 300, 300, 3_600],
  )
  assert.deepEqual(DEFAULT_CACHE_LIMITS.msgRetry, { maxEntries: 10_000, ttlMs: 3_600_000 })
})

test('the guide tells of every cache its true cap and life', () => {
  const guide = readFileSync(new URL('../../../docs/caches.md', import.meta.url), 'utf8')
  const minutes = (ttlMs: number): string =>
    ttlMs % 3_600_000 === 0 ? `${ttlMs / 3_600_000} h` : `${ttlMs / 60_000} min`
  for (const [name, { maxEntries, ttlMs }] of Object.entries(DEFAULT_CACHE_LIMITS)) {
    const row = guide.split('\n').find((line) => line.startsWith(`| \`${name}\``))
    const [cap, life] =
      row
        ?.split('|')
        .slice(3, 5)
        .map((cell) => cell.trim()) ?? []
    assert.equal(cap?.replace(',', ''), String(maxEntries), name)
    assert.ok(life?.startsWith(minutes(ttlMs)), `${name}: ${life}`)
  }
})

test('test 1 of the table: a cache has the cap it was given', () => {
  const cache = new NodeCacheOfTheLibrary({
    stdTTL: 300,
    maxKeys: DEFAULT_CACHE_MAX_KEYS.USER_DEVICES,
  })
  assert.equal(cache.options.maxKeys, 5_000)
})

test('test 2 of the table: 6,000 keys leave 5,000, and nothing throws', () => {
  const cache = new NodeCacheOfTheLibrary({ stdTTL: 300, maxKeys: DEFAULT_CACHE_MAX_KEYS.USER_DEVICES })
  for (let i = 0; i < 6000; i++) {
    cache.set(`key_${i}`, `value_${i}`)
  }
  assert.equal(cache.keys().length, 5_000)
})

test('test 3 of the table: what was read stays, the oldest that was not read is gone', () => {
  const cache = new NodeCacheOfTheLibrary({ stdTTL: 300, maxKeys: DEFAULT_CACHE_MAX_KEYS.USER_DEVICES })
  for (let i = 0; i < 5000; i++) {
    cache.set(`key_${i}`, `value_${i}`)
  }
  cache.get('key_0')
  for (let i = 5000; i < 6000; i++) {
    cache.set(`key_${i}`, `value_${i}`)
  }
  assert.equal(cache.has('key_0'), true)
  assert.equal(cache.has('key_1'), false)
})

test('a premium tenant has a cache of its own, another one the defaults, in the same process', async (t) => {
  const createSocket = (isPremium: boolean): Promise<BoundedSocket> => {
    const userDevicesCache = new NodeCache({
      stdTTL: 300,
      maxKeys: 10_000,
      useClones: false,
      deleteOnExpire: true,
    })
    return idleSocket(t, isPremium ? { userDevicesCache } : {})
  }
  const premium = await createSocket(true)
  const standard = await createSocket(false)
  const lists = (count: number): { key: string; value: object[] }[] =>
    Array.from({ length: count }, (_, i) => ({ key: `user${i}`, value: [{ user: `user${i}`, device: 0 }] }))
  for (const socket of [premium, standard]) await devicesOf(socket).mset(lists(9_000) as never[])
  assert.deepEqual(await devicesOf(premium).get('user0'), [{ user: 'user0', device: 0 }])
  assert.equal(await devicesOf(standard).get('user0'), undefined)
  assert.deepEqual(await devicesOf(standard).get('user8999'), [{ user: 'user8999', device: 0 }])
  assert.deepEqual(
    [statsOf(premium, 'userDevices').isCallers, statsOf(standard, 'userDevices').isCallers],
    [true, false],
  )
  assert.equal(statsOf(standard, 'userDevices').entries, 5_000)
})

test('the default export is the same call', () => assert.equal(makeDefault, makeWASocket))

test('without any option the caches of a process share one budget, an owner an account, freed when its last socket ends', async (t) => {
  const budget = defaultCacheBudget()
  assert.equal(budget.maxBytes, Math.min(256 * 2 ** 20, 0.25 * getHeapStatistics().heap_size_limit))
  const before = budget.stats().owners
  const creds = { ...initAuthCreds(), me: { id: '5511999990000:7@s.whatsapp.net' } }
  const auth = { creds, keys: { get: () => ({}), set: () => {} } }
  const first = await idleSocket(t, { auth })
  const second = await idleSocket(t, { auth })
  const other = await idleSocket(t)
  for (const socket of [first, second, other]) await devicesOf(socket).set('5511988887777', ['a list'])
  assert.equal(budget.stats().owners, before + 2)
  assert.ok(
    budget.topOwners(100).every(({ name }) => !name.includes('5511')),
    'no owner is named after a number',
  )
  const used = budget.usedBytes
  await closeSocket(first, { graceMs: 1 })
  assert.equal(budget.stats().owners, before + 2)
  await closeSocket(second, { graceMs: 1 })
  await closeSocket(other, { graceMs: 1 })
  assert.equal(budget.stats().owners, before)
  assert.ok(budget.usedBytes < used)
  assert.equal(await devicesOf(first).get('5511988887777'), undefined)
})

test("the caller's owner pays, and is the caller's to close", async (t) => {
  const budget = new CacheBudget({ maxBytes: 2 ** 20 })
  t.after(() => budget.dispose())
  const owner = budget.owner('acme')
  const socket = await idleSocket(t, { cacheOwner: owner })
  for (let i = 0; i < 10_000; i++) await devicesOf(socket).set(`user${i}`, { text: 'x'.repeat(500) })
  assert.ok(owner.usedBytes > 0.5 * 2 ** 20 && budget.usedBytes <= budget.maxBytes)
  assert.ok(statsOf(socket, 'userDevices').entries < 5_000)
  await closeSocket(socket, { graceMs: 1 })
  assert.deepEqual([owner.usedBytes, owner.stats().caches], [0, 0])
  assert.equal(budget.owner('acme'), owner)
})

test('no number means "unlimited", and what is odd is told', () => {
  for (const maxKeys of [0, -1, undefined, Number.NaN, Infinity, 1.5]) {
    const { limits, warnings } = resolveLimits({ msgRetry: { maxKeys } })
    assert.equal(limits.msgRetry.maxEntries, 10_000, `${maxKeys}`)
    assert.equal(warnings.length, maxKeys === undefined ? 0 : 1, `${maxKeys}`)
  }
  assert.equal(resolveLimits({ msgRetry: { maxKeys: 50_001 } }).warnings.length, 1)
  assert.equal(
    resolveLimits({ msgRetry: { maxKeys: 50_001, reason: 'a support centre' } }).warnings.length,
    0,
  )
  assert.equal(resolveLimits({ msgRetry: { maxKeys: 50_001 } }).limits.msgRetry.maxEntries, 50_001)
  assert.match(
    resolveLimits({ callOffer: { deleteOnExpire: false } }).warnings[0]?.message ?? '',
    /freed in any case/,
  )
  assert.equal(resolveLimits({ callOffer: { stdTTL: 60 } }).limits.callOffer.ttlMs, 60_000)
  assert.equal(resolveLimits({ callOffer: { stdTTL: 0 } }).limits.callOffer.ttlMs, 300_000)
})

test('a limit that cannot be meant is told to the logger of the socket', async (t) => {
  const told: unknown[] = []
  await idleSocket(t, {
    cacheLimits: { userDevices: { maxKeys: 0 } },
    logger: { ...silentLogger, warn: (fields: unknown) => void told.push(fields) },
  })
  assert.deepEqual(told, [{ cache: 'userDevices', given: 0, used: 5_000 }])
})

for (const [what, broken] of [
  ['throws', { get: fail, set: fail, del: fail, flushAll: fail }],
  ['rejects', { get: reject, set: reject, del: reject, flushAll: reject }],
] as const) {
  test(`a cache of the caller's that ${what} holds nothing up, and no state is lost`, async (t) => {
    const socket = await idleSocket(t, { placeholderResendCache: broken, userDevicesCache: broken })
    const placeholders = socket.placeholderResendCache as unknown as Required<InjectedCache>
    await placeholders.set('message', true)
    assert.equal(await placeholders.get('message'), true)
    await placeholders.del('message')
    assert.equal(await placeholders.get('message'), undefined)
    // A device list that could not be kept is unknown: the cache may hold an older one.
    await devicesOf(socket).set('user', ['list'])
    assert.equal(await devicesOf(socket).get('user'), undefined)
    assert.ok(statsOf(socket, 'placeholderResend').errors >= 2)
  })
}

test("a cache of the caller's that never answers costs two seconds, not the account's messages", async (t) => {
  const hanging = (): Promise<never> => new Promise(() => {})
  const socket = await idleSocket(t, {
    placeholderResendCache: { get: hanging, set: hanging, del: hanging, flushAll: hanging },
  })
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const placeholders = socket.placeholderResendCache as unknown as Required<InjectedCache>
  const setting = placeholders.set('message', true)
  t.mock.timers.tick(2_000)
  await setting
  assert.equal(await placeholders.get('message'), true)
  const missing = placeholders.get('another')
  t.mock.timers.tick(2_000)
  assert.equal(await missing, undefined)
  assert.equal(statsOf(socket, 'placeholderResend').errors, 2)
})

test('a cache that is full and says so by throwing loses nothing of what it was given', async (t) => {
  // As node-cache does it at maxKeys, for keys it knows as well.
  const kept = new Map<string, unknown>()
  const full: InjectedCache = {
    get: (key) => kept.get(key),
    set: (key, value) => {
      if (kept.size >= 2) throw new Error('Cache max keys amount exceeded')
      kept.set(key, value)
    },
    del: (key) => kept.delete(key),
    flushAll: () => kept.clear(),
  }
  const socket = await idleSocket(t, { placeholderResendCache: full })
  const placeholders = socket.placeholderResendCache as unknown as Required<InjectedCache>
  for (const key of ['a', 'b', 'c', 'a']) await placeholders.set(key, `${key}, last`)
  await placeholders.set('a', 'newer')
  for (const [key, value] of Object.entries({ a: 'newer', b: 'b, last', c: 'c, last' })) {
    assert.equal(await placeholders.get(key), value)
  }
})

test('both spellings of mset reach a cache, so that no device list becomes undefined', async (t) => {
  const entries: { key: string; val: unknown }[] = []
  const original: InjectedCache = {
    get: (key) => entries.find((entry) => entry.key === key)?.val,
    set: () => true,
    del: () => 1,
    flushAll: () => {},
    mset: (given: { key: string; val: unknown }[]) => entries.push(...given),
  }
  const socket = await idleSocket(t, { userDevicesCache: original })
  await devicesOf(socket).mset([{ key: 'user', value: ['list'] }] as never[])
  assert.deepEqual(await devicesOf(socket).get('user'), ['list'])
})

test('a placeholder is not evicted while Baileys still looks for it, whatever comes after', async (t) => {
  let now = 1_000_000
  const socket = await idleSocket(t, {
    cacheLimits: { placeholderResend: { maxEntries: 1 } },
    now: () => now,
  })
  const placeholders = socket.placeholderResendCache as unknown as Required<InjectedCache>
  placeholders.set('first', true)
  now += 12_000
  for (let i = 0; i < 50; i++) placeholders.set(`later ${i}`, true)
  assert.equal(placeholders.get('first'), true)
  assert.ok(statsOf(socket, 'placeholderResend').entries > 1)
  now += 60_000
  placeholders.set('much later', true)
  assert.equal(statsOf(socket, 'placeholderResend').entries, 1)
})

test('lines tell of start, 80 %, 100 % and evictions, once a minute, and never hold a number', async (t) => {
  let now = 1_000_000
  const lines: string[] = []
  const cacheLog = openCacheLog({ enabled: true, print: (line) => lines.push(line) })
  const socket = await idleSocket(t, {
    cacheLog,
    now: () => now,
    cacheLimits: { userDevices: { maxEntries: 100 } },
  })
  assert.match(
    lines[0] ?? '',
    /^\[BAILEYS\] Cache initialized: userDevicesCache \{ maxKeys: 100, ttl: '300s', account: 'unlinked-/,
  )
  lines.length = 0
  const fill = async (from: number, count: number): Promise<void> => {
    for (let i = from; i < from + count; i++) await devicesOf(socket).set(`55119${i}`, ['a list'])
  }
  await fill(0, 80)
  assert.equal(lines.length, 1)
  assert.match(
    lines[0] ?? '',
    /Cache nearly full: userDevicesCache \{ size: 80, maxKeys: 100, utilizationPct: '80%'/,
  )
  await fill(80, 5_000)
  const full = lines.filter((line) => line.includes('Cache limit reached'))
  const evictions = lines.filter((line) => line.includes('Cache eviction'))
  assert.deepEqual([full.length, evictions.length, lines.length], [1, 1, 3])
  assert.match(full[0] ?? '', /size: 100, maxKeys: 100, utilizationPct: '100%'/)
  now += 61_000
  await fill(6_000, 5_000)
  assert.equal(lines.length, 4)
  assert.match(lines[3] ?? '', /Cache eviction: userDevicesCache \{ evictedKeys: \d{4}, remaining: 100/)
  assert.ok(lines.every((line) => !line.includes('55119')))
})

test('BAILEYS_LOG=true, and nothing else, makes a process print', async () => {
  const script = `
    const { logCacheMemory, NodeCache } = await import(${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)})
    logCacheMemory('mine', new NodeCache({ maxKeys: 4 }))`
  for (const [value, expected] of [
    ['true', /^\[BAILEYS\] Cache metrics: mine \{ size: 0, maxKeys: 4, utilizationPct: '0%'/],
    ['1', /^$/],
  ] as const) {
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, BAILEYS_LOG: value },
    })
    assert.match(stdout, expected)
  }
})

test('without BAILEYS_LOG nothing is printed', async (t) => {
  const lines: string[] = []
  const cacheLog = openCacheLog({ enabled: false, print: (line) => lines.push(line) })
  const socket = await idleSocket(t, { cacheLog, cacheLimits: { userDevices: { maxEntries: 1 } } })
  for (const user of ['a', 'b', 'c']) await devicesOf(socket).set(user, ['a list'])
  logSocketCacheMetrics(socket, cacheLog)
  assert.deepEqual(lines, [])
})

test('metrics on demand: one line a cache and their sum, or one line about any cache', async (t) => {
  const lines: string[] = []
  const log = openCacheLog({ enabled: true, print: (line) => lines.push(line) })
  const socket = await idleSocket(t, { cacheLog: openCacheLog({ enabled: false }) })
  for (let i = 0; i < 2_341; i++) await devicesOf(socket).set(`user${i}`, ['a list'])
  logSocketCacheMetrics(socket, log)
  assert.equal(lines.length, 10)
  assert.match(
    lines[0] ?? '',
    /Cache metrics: userDevicesCache \{ size: 2341, maxKeys: 5000, utilizationPct: '46.8%', bytes: \d+, advice: 'healthy' \}/,
  )
  assert.match(lines.at(-1) ?? '', /Socket cache summary: all \{ totalKeys: 2341,/)
  lines.length = 0
  const cache = new NodeCache({ maxKeys: 10, useClones: false })
  t.after(() => cache.close())
  for (let i = 0; i < 10; i++) cache.set(`key${i}`, i)
  logCacheMemory('mine', cache, log)
  logCacheMemory('theirs', { keys: () => ['a'], options: {} }, log)
  assert.match(lines[0] ?? '', /mine \{ size: 10, maxKeys: 10, utilizationPct: '100%', advice: 'nearly full/)
  assert.match(lines[1] ?? '', /theirs \{ size: 1, maxKeys: 'none', advice: 'without a cap/)
})

test('metrics sum up over sockets by cache, and name only the ten owners that use most', async (t) => {
  const budget = new CacheBudget({ maxBytes: 2 ** 24 })
  t.after(() => budget.dispose())
  const sockets = await Promise.all(
    Array.from({ length: 12 }, (_, i) => idleSocket(t, { cacheOwner: budget.owner(`tenant-${i}`) })),
  )
  for (const [i, socket] of sockets.entries()) {
    for (let n = 0; n <= i; n++) await devicesOf(socket).set(`user${n}`, ['a list'])
  }
  const samples = socketCacheMetrics({ sockets, budget })
  const value = (name: string, cache?: string): number | undefined =>
    samples.find((sample) => sample.name === name && sample.labels['cache'] === cache)?.value
  assert.equal(value('cache_entries', 'userDevices'), 78)
  assert.equal(value('cache_max_entries', 'userDevices'), 60_000)
  assert.equal(value('cache_budget_bytes'), 2 ** 24)
  const tenants = samples.filter(({ name }) => name === 'tenant_bytes').map(({ labels }) => labels['tenant'])
  assert.equal(tenants.length, 10)
  assert.equal(tenants[0], 'tenant-11')
  assert.equal(value('tenant_bytes_max'), budget.owner('tenant-11').usedBytes)
})

test("a number's LID that WhatsApp has told one socket is known to the others, the way back to none", async (t) => {
  const lidDirectory = openLidDirectory()
  const asked: string[][] = []
  /** A repository that shows what upstream would ask WhatsApp. */
  const ask = async (pns: string[]): Promise<{ pn: string; lid: string }[]> => {
    asked.push(pns)
    return pns.filter((pn) => !pn.startsWith('0')).map((pn) => ({ pn, lid: `9${pn.split('@')[0]}@lid` }))
  }
  const socketWith = async (directory: typeof lidDirectory | null): Promise<BoundedSocket> => {
    const { DEFAULT_CONNECTION_CONFIG } = await import('../src/index.ts')
    return idleSocket(t, {
      lidDirectory: directory,
      waWebSocketUrl: 'ws://127.0.0.1:9',
      makeSignalRepository: (auth, logger, given) => {
        assert.ok(given !== undefined)
        Reflect.set(server, 'through', given)
        return DEFAULT_CONNECTION_CONFIG.makeSignalRepository(auth, logger, given)
      },
    })
  }
  const server: { through?: unknown } = {}
  await socketWith(lidDirectory)
  lidDirectory.set('ws://127.0.0.1:9', '5511@s.whatsapp.net', '95511@lid')
  // Known to the directory: upstream's own question, which would hang on this connection, is not asked.
  const through = server.through as typeof ask
  assert.deepEqual(await through(['5511@s.whatsapp.net']), [{ pn: '5511@s.whatsapp.net', lid: '95511@lid' }])
  assert.equal(lidDirectory.get('ws://elsewhere', '5511@s.whatsapp.net'), undefined)
  assert.equal(lidDirectory.get('ws://127.0.0.1:9', '95511@lid'), undefined)
  const { shareLids } = await import('../src/lid-directory.ts')
  const { BoundedCache } = await import('@eclusa/bounded-cache')
  const absent = (): InstanceType<typeof BoundedCache<true>> =>
    new BoundedCache<true>({ name: 'absent', maxEntries: 10, ttlMs: 30_000 })
  const known = { directory: lidDirectory, server: 's' }
  const first = shareLids(ask, { ...known, absent: absent() })
  const second = shareLids(ask, { ...known, absent: absent() })
  assert.deepEqual(await first(['12@s.whatsapp.net', '01@s.whatsapp.net']), [
    { pn: '12@s.whatsapp.net', lid: '912@lid' },
  ])
  assert.deepEqual(await second(['12@s.whatsapp.net']), [{ pn: '12@s.whatsapp.net', lid: '912@lid' }])
  // That a number has none holds for the one who asked, and only there.
  await first(['01@s.whatsapp.net'])
  await second(['01@s.whatsapp.net'])
  assert.deepEqual(asked, [['12@s.whatsapp.net', '01@s.whatsapp.net'], ['01@s.whatsapp.net']])
})

function fail(): never {
  throw new Error('Cache max keys amount exceeded')
}

function reject(): Promise<never> {
  return Promise.reject(new Error('the cache is down'))
}
