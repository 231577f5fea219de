import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { CacheBudget } from '@eclusa/bounded-cache'
import { type LogFields, type Logger, MIB, SECOND } from '@eclusa/kernel'
import { ManualClock, until } from '@eclusa/kernel/test-kit'
import { EventLog } from '@eclusa/storage'
import { openTestDatabase, testSealer } from '@eclusa/storage/test-kit'
import fc from 'fast-check'
import { loadConfig } from '../src/config.ts'
import { MemoryGovernor, type PressureValves } from '../src/memory/governor.ts'
import { Mark } from '../src/memory/mark.ts'
import { MemoryLog } from '../src/memory/memory-log.ts'
import { watchProcess } from '../src/memory/memory-readings.ts'
import {
  judge,
  measuresFor,
  type MemoryReading,
  NO_PRESSURE,
  type Pressure,
  type PressureLimits,
} from '../src/memory/pressure.ts'
import { tenantShares } from '../src/memory/tenant-shares.ts'

const LIMITS: PressureLimits = {
  ceilingBytes: 1000 * MIB,
  heapLimitBytes: 400 * MIB,
  outsideBytes: 500 * MIB,
}

/** A reading in which one thing is this full, in percent, and nothing else is. */
function reading(percent: { rss?: number; heap?: number; outside?: number; lagMs?: number }): MemoryReading {
  const heapLiveBytes = ((percent.heap ?? 10) / 100) * LIMITS.heapLimitBytes
  return {
    rssBytes: ((percent.rss ?? 10) / 100) * LIMITS.ceilingBytes,
    heapUsedBytes: heapLiveBytes,
    heapLiveBytes,
    externalBytes: ((percent.outside ?? 10) / 100) * LIMITS.outsideBytes,
    lagMs: percent.lagMs ?? 0,
  }
}

/** What follows from readings five seconds apart. */
function after(...readings: readonly MemoryReading[]): Pressure {
  let now = 0
  return readings.reduce((before, one) => judge(before, one, LIMITS, (now += 5 * SECOND)), NO_PRESSURE)
}

function repeat<T>(count: number, value: T): T[] {
  return Array.from({ length: count }, () => value)
}

test('at 70, 80 and 90 percent a level is reached at once, whatever is full', () => {
  for (const what of ['rss', 'heap', 'outside'] as const) {
    for (const [percent, level] of [
      [69, 0],
      [70, 1],
      [80, 2],
      [90, 3],
      [140, 3],
    ] as const) {
      const pressure = after(reading({ [what]: percent }))
      assert.equal(pressure.level, level, `${what} ${percent}`)
      assert.equal(pressure.fullest, what)
    }
  }
})

test('a level is left only after half a minute clearly below it, one level at a time', () => {
  const full = reading({ rss: 91 })
  const nearly = reading({ rss: 87 })
  const low = reading({ rss: 20 })
  assert.equal(after(full, ...repeat(100, nearly)).level, 3, 'between 85 and 90 percent it stays')
  assert.equal(after(full, ...repeat(6, low)).level, 3, 'after 25 s')
  assert.equal(after(full, ...repeat(7, low)).level, 2, 'after 30 s')
  assert.equal(after(full, ...repeat(12, low)).level, 2)
  assert.equal(after(full, ...repeat(13, low)).level, 1)
  assert.equal(after(full, ...repeat(19, low)).level, 0)
  assert.equal(
    after(full, ...repeat(6, low), nearly, ...repeat(6, low)).level,
    3,
    'a rise begins the wait anew',
  )
})

test('a late event loop makes history and media wait, and sheds nothing', () => {
  const late = after(reading({ lagMs: 300 }))
  assert.deepEqual(measuresFor(late), {
    cacheShare: 1,
    holdHistory: true,
    holdMedia: true,
    holdStarts: false,
  })
  assert.equal(after(reading({ lagMs: 300 }), ...repeat(100, reading({ lagMs: 150 }))).busy, true)
  assert.equal(after(reading({ lagMs: 300 }), ...repeat(7, reading({}))).busy, false)
})

test('each level takes more, and never less, than the one below', () => {
  const measures = ([0, 1, 2, 3] as const).map((level) => measuresFor({ level, busy: false }))
  assert.deepEqual(
    measures.map(({ cacheShare }) => cacheShare),
    [1, 0.5, 0.25, 0.1],
  )
  assert.deepEqual(
    measures.map(({ holdHistory, holdMedia, holdStarts }) => [holdHistory, holdMedia, holdStarts]),
    [
      [false, false, false],
      [false, false, false],
      [true, true, false],
      [true, true, true],
    ],
  )
})

test('whatever the readings: never below what the present one demands, and calm readings end in calm', () => {
  const share = fc.double({ min: 0, max: 1.5, noNaN: true })
  fc.assert(
    fc.property(fc.array(fc.record({ rss: share, lagMs: fc.nat(1000) }), { maxLength: 60 }), (steps) => {
      let pressure = NO_PRESSURE
      let now = 0
      for (const { rss, lagMs } of steps) {
        const before = pressure
        pressure = judge(before, reading({ rss: rss * 100, lagMs }), LIMITS, (now += 5 * SECOND))
        assert.ok(pressure.level >= (rss >= 0.9 ? 3 : rss >= 0.8 ? 2 : rss >= 0.7 ? 1 : 0))
        assert.ok(pressure.level >= before.level - 1)
        if (lagMs >= 250) assert.ok(pressure.busy)
      }
      for (let calm = 0; calm < 30; calm++)
        pressure = judge(pressure, reading({}), LIMITS, (now += 5 * SECOND))
      assert.equal(pressure.level, 0)
      assert.equal(pressure.busy, false)
    }),
  )
})

interface Told {
  readonly level: 'info' | 'warn'
  readonly fields: LogFields
  readonly message: string
}

function tellingLog(): { readonly log: Logger; readonly told: Told[] } {
  const told: Told[] = []
  const log: Logger = {
    debug() {},
    error(fields, message) {
      throw new Error(`${message} ${JSON.stringify(fields)}`)
    },
    info: (fields, message) => void told.push({ level: 'info', fields, message }),
    warn: (fields, message) => void told.push({ level: 'warn', fields, message }),
  }
  return { log, told }
}

async function governed(t: TestContext): Promise<{
  readonly governor: MemoryGovernor
  readonly budget: CacheBudget
  readonly events: EventLog
  readonly told: Told[]
  readonly held: { history: boolean; media: boolean; starts: boolean }
  now: MemoryReading
  /** Looks, each five seconds after the one before. */
  look(count: number): Promise<void>
}> {
  const clock = new ManualClock()
  const { database } = await openTestDatabase(t, [])
  const events = new EventLog({ database, sealer: testSealer(), clock })
  const budget = new CacheBudget({ maxBytes: 8 * MIB, now: () => clock.now() })
  t.after(() => budget.dispose())
  const held = { history: false, media: false, starts: false }
  const valves: PressureValves = {
    setCacheShare(share) {
      const before = budget.usedBytes
      budget.resize(8 * MIB * share)
      return before - budget.usedBytes
    },
    holdHistory: (on) => void (held.history = on),
    holdMedia: (on) => void (held.media = on),
    holdStarts: (on) => void (held.starts = on),
  }
  const { log, told } = tellingLog()
  const bench = { now: reading({}), budget, events, told, held }
  const readings = { read: () => bench.now, stop() {} }
  const governor = new MemoryGovernor({ readings, limits: LIMITS, valves, events, database, clock, log })
  return Object.assign(bench, {
    governor,
    async look(count: number) {
      for (let index = 0; index < count; index++) {
        await clock.tick(5 * SECOND)
        await governor.pass()
      }
    },
  })
}

test('pressure sheds caches to their share, holds what waits, and is told as event, line with remedy and number', async (t) => {
  const bench = await governed(t)
  const { governor, budget, held, told, events } = bench
  const cache = budget.owner('acme').cache<string>({ name: 'things', maxEntries: 1e6, ttlMs: Infinity })
  for (let index = 0; index < 60_000; index++) cache.set(`key ${index}`, 'x'.repeat(100))
  assert.ok(budget.usedBytes > 7 * MIB)

  bench.now = reading({ rss: 72 })
  await governor.pass()
  assert.equal(budget.maxBytes, 4 * MIB)
  assert.ok(budget.usedBytes <= 4 * MIB)
  assert.deepEqual(held, { history: false, media: false, starts: false })

  bench.now = reading({ rss: 85 })
  await governor.pass()
  assert.ok(budget.usedBytes <= 2 * MIB)
  assert.deepEqual(held, { history: true, media: true, starts: false })

  bench.now = reading({ rss: 95 })
  await governor.pass()
  assert.ok(budget.usedBytes <= 0.8 * MIB)
  assert.deepEqual(held, { history: true, media: true, starts: true })
  assert.ok(cache.size > 0, 'the most recently used stay')

  const logged = await events.read({ after: 0, limit: 10 })
  assert.deepEqual(
    logged.map(({ type, tenant, payload }) => [type, tenant, (payload as { level: number }).level]),
    [
      ['memory.pressed', '*', 1],
      ['memory.pressed', '*', 2],
      ['memory.pressed', '*', 3],
    ],
  )
  assert.equal(told.length, 3)
  for (const { level, message } of told) {
    assert.equal(level, 'warn')
    assert.match(message, /^memory pressed: .*raise ECLUSA_MEMORY_CEILING/)
  }
  assert.equal(governor.report().pressedCount, 3)
  assert.ok(governor.report().shedBytes > 6 * MIB)

  // The same again says nothing again.
  await governor.pass()
  assert.equal(told.length, 3)
})

test('relief gives the caches their budget back and lets go what waited, and says so', async (t) => {
  const bench = await governed(t)
  const { governor, budget, held, told, events } = bench
  bench.now = reading({ heap: 95 })
  await governor.pass()
  bench.now = reading({})
  await bench.look(25)
  assert.equal(budget.maxBytes, 8 * MIB)
  assert.deepEqual(held, { history: false, media: false, starts: false })
  assert.deepEqual(
    told.slice(1).map(({ level, message }) => [level, message]),
    repeat(3, ['info', 'memory relieved']),
  )
  const logged = await events.read({ after: 0, limit: 10 })
  assert.deepEqual(
    logged.map(({ type }) => type),
    ['memory.pressed', 'memory.relieved', 'memory.relieved', 'memory.relieved'],
  )
})

test('a real process is read: its memory, what lives in its heap, and a loop that was held up', async () => {
  const readings = watchProcess()
  try {
    let now = readings.read()
    let turn = 0
    await until(() => {
      // Held up once, then some turns in which the watching timer comes, then the reading.
      const heldUpTo = performance.now() + (turn++ % 20 === 0 ? 300 : 0)
      while (performance.now() < heldUpTo);
      if (turn % 20 === 19) now = readings.read()
      return now.lagMs > 200
    }, 'the delay is seen')
    assert.ok(now.rssBytes > 20 * MIB && now.heapLiveBytes > 1 * MIB && now.externalBytes > 0)
    assert.ok(now.heapLiveBytes <= now.heapUsedBytes)
  } finally {
    readings.stop()
  }
})

// —— the budget of tenants ——

test('a tenant has the weight and the floor it is configured with, and others have 1 and the default', () => {
  const config = loadConfig({ ECLUSA_MEMORY_TENANT_WEIGHTS: 'acme:3', ECLUSA_MEMORY_TENANT_FLOOR: '10%' })
  const budget = new CacheBudget({ maxBytes: 40 * MIB, now: () => 0 })
  const sharesOf = tenantShares(config, budget.maxBytes)
  const acme = budget.owner('acme', sharesOf('acme'))
  const exatron = budget.owner('exatron', sharesOf('exatron'))
  assert.equal(acme.weight, 3)
  assert.equal(exatron.weight, 1)
  assert.equal(acme.stats().shareBytes, 30 * MIB)
  assert.equal(exatron.stats().floorBytes, 4 * MIB)
  budget.dispose()
})

// —— the line of 15 minutes ——

test('the line has the form of document 1, and the memory beside it', async () => {
  const { log, told } = tellingLog()
  const line = memoryLogWith(log, { messages: 45, chats: 12, contacts: { total: 234, most: 200 } })
  await line.pass()
  assert.deepEqual(told, [
    {
      level: 'info',
      fields: { rssMb: 300, heapMb: 90, externalMb: 30, cacheMb: 12 },
      message: 'queue: 45 messages in 12 chats | cache: 234 contacts',
    },
  ])
})

test('above 500 messages and above 800 contacts it warns once, and again only after a fall', async () => {
  const { log, told } = tellingLog()
  const state = { messages: 500, chats: 3, contacts: { total: 2000, most: 800 } }
  const line = memoryLogWith(log, state)
  const warnings = async (messages: number, most: number): Promise<number> => {
    Object.assign(state, { messages, contacts: { total: 2000, most } })
    const before = told.filter(({ level }) => level === 'warn').length
    await line.pass()
    return told.filter(({ level }) => level === 'warn').length - before
  }
  assert.equal(await warnings(500, 800), 0)
  assert.equal(await warnings(501, 801), 2)
  assert.equal(await warnings(5000, 1000), 0, 'it said so already')
  assert.equal(await warnings(450, 750), 0)
  assert.equal(await warnings(501, 801), 0, 'it never fell clearly below')
  assert.equal(await warnings(399, 699), 0)
  assert.equal(await warnings(501, 801), 2)
  assert.match(told.at(-2)?.message ?? '', /many messages wait: are the instances online/)
})

test('the line comes at once and then at its interval, until it is stopped', async () => {
  const clock = new ManualClock()
  const { log, told } = tellingLog()
  const line = memoryLogWith(log, { messages: 0, chats: 0, contacts: { total: 0, most: 0 } }, clock)
  await line.start()
  await clock.tick(0)
  assert.equal(told.length, 1)
  await clock.tick(30 * 60 * SECOND)
  assert.equal(told.length, 3)
  await line.stop()
  await clock.tick(60 * 60 * SECOND)
  assert.equal(told.length, 3)
  assert.equal(clock.pendingTimers, 0)
})

test('a mark that is passed again and again between two looks is told once', () => {
  const mark = new Mark({ above: 10, rearmBelow: 8 })
  assert.deepEqual(
    [5, 11, 9, 11, 8, 11, 7, 11].map((value) => mark.passes(value)),
    [false, true, false, false, false, false, false, true],
  )
})

function memoryLogWith(
  log: Logger,
  state: { messages: number; chats: number; contacts: { total: number; most: number } },
  clock: ManualClock = new ManualClock(),
): MemoryLog {
  return new MemoryLog({
    outbox: {
      stats: () => Promise.resolve({ pending: state.messages, processing: 0, failed: 7 }),
      countWaitingChats: () => Promise.resolve(state.chats),
    },
    contacts: () => state.contacts,
    memory: () => ({
      rssBytes: 300 * MIB,
      heapUsedBytes: 90 * MIB,
      externalBytes: 30 * MIB,
      cacheBytes: 12 * MIB,
    }),
    everyMs: 15 * 60 * SECOND,
    clock,
    log,
  })
}
