import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type BoundedCache, CacheBudget } from '../src/index.ts'

const ENTRY = 88 + 16

interface Shadow {
  readonly owner: string
  readonly cache: BoundedCache<number>
  readonly alive: Map<string, number>
}

test('no operation ends above the budget, and all books agree with a shadow of them', () => {
  const operation = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('set' as const),
        cache: fc.nat(5),
        key: fc.nat(30),
        bytes: fc.nat(900),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('get' as const), cache: fc.nat(5), key: fc.nat(30) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('delete' as const), cache: fc.nat(5), key: fc.nat(30) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('pass' as const),
        ms: fc.integer({ min: -2_000, max: 5_000 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('sweep' as const) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('resize' as const),
        bytes: fc.integer({ min: 2_000, max: 12_000 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('shed' as const), bytes: fc.nat(8_000) }) },
  )
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
      let now = 1_000_000
      const budget = new CacheBudget({ maxBytes: 10_000, now: () => now })
      const seen: number[] = []
      const caches: Shadow[] = Array.from({ length: 6 }, (_, index) => {
        const owner = `tenant-${index % 3}`
        const alive = new Map<string, number>()
        const cache = budget.owner(owner).cache<number>({
          name: `cache-${index}`,
          maxEntries: 12,
          ttlMs: index < 3 ? Infinity : 4_000,
          sizeOf: (value) => value,
          onRemove: (key, value) => {
            seen.push(budget.usedBytes)
            assert.equal(alive.get(key), value)
            alive.delete(key)
          },
        })
        return { owner, cache, alive }
      })
      for (const op of operations) {
        if (op.kind === 'pass') now += op.ms
        else if (op.kind === 'sweep') budget.sweep()
        else if (op.kind === 'resize') budget.resize(op.bytes)
        else if (op.kind === 'shed') budget.shed(op.bytes)
        else {
          const { cache, alive } = caches[op.cache] as Shadow
          const key = `key-${op.key}`
          if (op.kind === 'set') {
            const isKept = cache.set(key, op.bytes)
            if (isKept) alive.set(key, op.bytes)
            assert.equal(cache.has(key), isKept)
          } else if (op.kind === 'get') {
            const value = cache.get(key)
            if (value !== undefined) assert.equal(value, alive.get(key))
          } else cache.delete(key)
        }
        assert.ok(budget.usedBytes <= budget.maxBytes)
        let total = 0
        for (const { cache, alive } of caches) {
          const bytes = [...alive].reduce((sum, [key, size]) => sum + size + key.length + ENTRY, 0)
          assert.equal(cache.bytes, bytes)
          assert.equal(cache.size, alive.size)
          assert.ok(cache.size <= 12)
          total += bytes
        }
        assert.equal(budget.usedBytes, total)
      }
      for (const used of seen) assert.ok(used <= 12_000)
      budget.dispose()
      assert.equal(budget.usedBytes, 0)
    }),
    { numRuns: 500 },
  )
})

test('an owner below its floor loses nothing to others, whatever they write', () => {
  const budget = new CacheBudget({ maxBytes: 1_000_000, now: () => 1_000 })
  const quiet = budget
    .owner('quiet')
    .cache<number>({ name: 'quiet', maxEntries: 1_000, ttlMs: Infinity, sizeOf: () => 1_000 })
  const others = Array.from({ length: 9 }, (_, n) =>
    budget
      .owner(`loud-${n}`)
      .cache<number>({ name: 'loud', maxEntries: 100_000, ttlMs: Infinity, sizeOf: () => 300 }),
  )
  for (let n = 0; n < 40; n++) quiet.set(`k${n}`, n)
  assert.ok(budget.owner('quiet').usedBytes <= budget.owner('quiet').floorBytes)
  for (let n = 0; n < 20_000; n++) others[n % 9]?.set(`k${n}`, n)
  assert.equal(quiet.size, 40)
  assert.ok(budget.usedBytes > 990_000)
})

test('a share that lies idle is lent out and comes back when its owner wants it', () => {
  let now = 0
  const budget = new CacheBudget({ maxBytes: 100_000, ceilingShare: 1, now: () => now })
  const make = (name: string): BoundedCache<number> =>
    budget.owner(name).cache<number>({ name, maxEntries: 100_000, ttlMs: Infinity, sizeOf: () => 380 })
  const [a, b] = [make('a'), make('b')]
  for (let n = 0; n < 1_000; n++) a.set(`${n}`, n)
  assert.ok(budget.owner('a').usedBytes > 99_000, 'the idle half is lent to a')
  now = 10_000
  for (let n = 0; n < 1_000; n++) b.set(`${n}`, n)
  assert.ok(budget.owner('b').usedBytes > 45_000, 'b has its half back')
  assert.ok(budget.owner('a').usedBytes >= 24_000, 'a keeps its floor')
})

test('an entry larger than may be is refused, takes its older value with it and nothing else', () => {
  const budget = new CacheBudget({ maxBytes: 10_000, now: () => 0 })
  const cache = budget
    .owner('a', { ceilingBytes: 10_000 })
    .cache<string>({ name: 'c', maxEntries: 10, ttlMs: Infinity })
  cache.set('a', 'x')
  cache.set('b', 'x')
  assert.equal(cache.set('a', 'x'.repeat(20_000)), false)
  assert.deepEqual(cache.keys(), ['b'])
  assert.equal(cache.stats().refused, 1)
  assert.equal(budget.stats().refused, 1)
})

test('a size that is negative or no number is refused by name, and nothing has changed', () => {
  const budget = new CacheBudget({ maxBytes: 10_000, now: () => 0 })
  const cache = budget.owner('a').cache<string>({ name: 'devices', maxEntries: 10, ttlMs: Infinity })
  cache.set('a', 'x')
  const before = budget.usedBytes
  for (const bytes of [-1, NaN, Infinity]) {
    assert.throws(() => cache.set('a', 'y', { bytes }), { name: 'RangeError', message: /devices: the bytes/ })
  }
  assert.equal(cache.get('a'), 'x')
  assert.equal(budget.usedBytes, before)
})
