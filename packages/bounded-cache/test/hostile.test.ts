import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BoundedCache, CacheBudget, type PressureEvent, type RemovalReason } from '../src/index.ts'

/** Timers that run when the test says so. */
function manualTimers(): { set: (delayMs: number, run: () => void) => { cancel(): void }; fire(): number } {
  const armed = new Set<() => void>()
  return {
    set(_delayMs, run) {
      armed.add(run)
      return { cancel: () => void armed.delete(run) }
    },
    fire() {
      const due = [...armed]
      armed.clear()
      for (const run of due) run()
      return due.length
    },
  }
}

test('a listener that throws leaves the books right, and others are told all the same', () => {
  const told: string[] = []
  const cache = new BoundedCache<number>({
    name: 'loud',
    maxEntries: 1,
    ttlMs: Infinity,
    onRemove(key) {
      told.push(key)
      throw new Error('no')
    },
  })
  for (const key of ['a', 'b', 'c']) assert.equal(cache.set(key, 1), true)
  assert.deepEqual(told, ['a', 'b'])
  assert.deepEqual([cache.size, cache.keys()], [1, ['c']])
  cache.clear()
  assert.equal(cache.bytes, 0)
})

test('a key that is no text is refused before anything has happened, and never found', () => {
  const cache = new BoundedCache<number>({ name: 'typed', maxEntries: 10, ttlMs: Infinity })
  cache.set('1', 1)
  for (const key of [1, undefined, null, Symbol('1')] as unknown[] as string[]) {
    assert.throws(() => cache.set(key, 2), { name: 'TypeError', message: /^typed: a key must be a text/ })
    assert.deepEqual([cache.get(key), cache.has(key), cache.delete(key)], [undefined, false, false])
  }
  assert.deepEqual([cache.keys(), cache.get('1')], [['1'], 1])
  assert.ok(cache.bytes > 0)
})

test('a listener that writes into a full budget never sees it above its bound', () => {
  const budget = new CacheBudget({ maxBytes: 4_000, ceilingShare: 1, now: () => 0 })
  const owner = budget.owner('ana')
  const seen: number[] = []
  let writes = 0
  const second = owner.cache<string>({ name: 'second', maxEntries: 100, ttlMs: Infinity })
  const first = owner.cache<string>({
    name: 'first',
    maxEntries: 100,
    ttlMs: Infinity,
    onRemove(key, value) {
      seen.push(budget.usedBytes)
      if (writes++ < 500) second.set(key, value)
      seen.push(budget.usedBytes)
    },
  })
  for (let n = 0; n < 300; n++) first.set(`${n}`, 'x'.repeat(n % 90))
  assert.ok(seen.length > 200)
  assert.ok(Math.max(...seen, budget.stats().peakBytes) <= 4_000)
  assert.equal(budget.usedBytes, first.bytes + second.bytes)
})

test('a clock that jumps back loses nothing early, and frees all in the end', () => {
  let now = 10_000_000
  const budget = new CacheBudget({ maxBytes: 1_000_000, now: () => now })
  const cache = budget.owner('ana').cache<number>({ name: 'calls', maxEntries: 100, ttlMs: 60_000 })
  cache.set('before', 1)
  budget.sweep()
  now -= 5_000_000
  cache.set('after', 2)
  budget.sweep()
  assert.deepEqual([cache.get('before'), cache.get('after')], [1, 2])
  now += 59_999
  assert.equal(cache.get('after'), 2)
  now += 1
  assert.equal(cache.get('after'), undefined)
  now += 10_000_000
  budget.sweep()
  assert.equal(budget.usedBytes, 0)
})

test('a clock that leaps ahead by years frees what is due at once', () => {
  let now = 0
  const budget = new CacheBudget({ maxBytes: 1_000_000, now: () => now })
  const cache = budget.owner('ana').cache<number>({ name: 'calls', maxEntries: 100, ttlMs: 60_000 })
  for (let n = 0; n < 50; n++) cache.set(`${n}`, n, { ttlMs: 1_000 + n * 100_000 })
  cache.set('never', 1, { ttlMs: Infinity })
  now = 20 * 365 * 86_400_000
  assert.equal(budget.sweep(), false)
  assert.deepEqual(cache.keys(), ['never'])
  assert.equal(cache.size, 1)
})

test('ended entries are freed without a touch, and nothing is armed while nothing is timed', () => {
  let now = 0
  const timers = manualTimers()
  const budget = new CacheBudget({ maxBytes: 10_000_000, now: () => now, setTimer: timers.set })
  const removed: RemovalReason[] = []
  const cache = budget.owner('ana').cache<number>({
    name: 'calls',
    maxEntries: 5_000,
    ttlMs: 3_000,
    onRemove: (_key, _value, reason) => removed.push(reason),
  })
  cache.set('never', 1, { ttlMs: Infinity })
  assert.equal(timers.fire(), 0)
  for (let n = 0; n < 3_000; n++) cache.set(`${n}`, n)
  // Two seconds after the end, whatever a slice could hold.
  now = 5_000
  for (let turn = 0; turn < 1_000 && cache.size > 1; turn++) timers.fire()
  assert.equal(cache.size, 1)
  assert.equal(removed.length, 3_000)
  assert.ok(removed.every((reason) => reason === 'expired'))
  timers.fire()
  assert.equal(timers.fire(), 0)
})

test('state stays for its residency while others can give way', () => {
  let now = 0
  const budget = new CacheBudget({ maxBytes: 100_000, ceilingShare: 1, floorShare: 0, now: () => now })
  const owner = budget.owner('ana')
  const state = owner.cache<number>({
    name: 'placeholders',
    maxEntries: 50,
    ttlMs: 3_600_000,
    minResidencyMs: 15_000,
  })
  const plain = budget.owner('bia').cache<string>({ name: 'devices', maxEntries: 10_000, ttlMs: 300_000 })
  for (let n = 0; n < 60; n++) state.set(`s${n}`, n)
  assert.equal(state.size, 60)
  assert.equal(state.stats().overflows, 10)
  now = 10_000
  for (let n = 0; n < 2_000; n++) plain.set(`${n}`, 'x'.repeat(100))
  assert.equal(state.size, 60, 'none was evicted within its residency')
  now = 60_000
  state.set('one more', 1)
  assert.equal(state.size, 50, 'later the cap holds again')
})

test('a flood of evictions is told once a minute, with the sum', () => {
  let now = 0
  const events: PressureEvent[] = []
  const cache = new BoundedCache<number>({
    name: 'devices',
    maxEntries: 100,
    ttlMs: Infinity,
    now: () => now,
    onPressure: (event) => events.push(event),
  })
  for (let n = 0; n < 10_000; n++) cache.set(`${n}`, n)
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ['warned', 'full', 'evicted'],
  )
  now = 60_000
  cache.set('one more', 1)
  assert.equal(events.length, 4)
  assert.deepEqual(
    [events[3]?.kind, (events[2]?.evicted ?? 0) + (events[3]?.evicted ?? 0), events[3]?.remaining],
    ['evicted', 9_901, 100],
  )
})
