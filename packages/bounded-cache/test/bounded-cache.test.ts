import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BoundedCache, type RemovalReason } from '../src/index.ts'

test('keeps 5,000 of 6,000 entries, the newest ones', () => {
  const cache = new BoundedCache<number>({ name: 'devices', maxEntries: 5_000, ttlMs: 60_000 })
  for (let i = 0; i < 6_000; i++) cache.set(`key_${i}`, i)
  assert.equal(cache.size, 5_000)
  assert.equal(cache.has('key_999'), false)
  assert.equal(cache.get('key_1000'), 1_000)
  assert.equal(cache.stats().evictions, 1_000)
})

test('a key that was read survives, the oldest unread one is gone', () => {
  const cache = new BoundedCache<number>({ name: 'devices', maxEntries: 2, ttlMs: 60_000 })
  cache.set('a', 1)
  cache.set('b', 2)
  cache.get('a')
  cache.set('c', 3)
  assert.deepEqual([cache.has('a'), cache.has('b'), cache.has('c')], [true, false, true])
})

test('an entry whose life is over is absent and freed on touch or by a sweep', () => {
  let now = 0
  const removed: [string, RemovalReason][] = []
  const cache = new BoundedCache<number>({
    name: 'calls',
    maxEntries: 10,
    ttlMs: 100,
    now: () => now,
    onRemove: (key, _value, reason) => removed.push([key, reason]),
  })
  cache.set('a', 1)
  cache.set('b', 2)
  now = 100
  assert.equal(cache.get('a'), undefined)
  assert.equal(cache.sweep(), 1)
  assert.equal(cache.size, 0)
  assert.deepEqual(removed, [
    ['a', 'expired'],
    ['b', 'expired'],
  ])
})

test('a read starts the life anew only where asked', () => {
  for (const extendOnGet of [true, false]) {
    let now = 0
    const cache = new BoundedCache<number>({
      name: 'retries',
      maxEntries: 10,
      ttlMs: 100,
      now: () => now,
      extendOnGet,
    })
    cache.set('a', 1)
    now = 60
    cache.get('a')
    now = 120
    assert.equal(cache.has('a'), extendOnGet)
  }
})

test('behaves like a naive list under any sequence of operations', () => {
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), key: fc.constantFrom('a', 'b', 'c', 'd', 'e') }),
    fc.record({ kind: fc.constant('get' as const), key: fc.constantFrom('a', 'b', 'c', 'd', 'e') }),
    fc.record({ kind: fc.constant('delete' as const), key: fc.constantFrom('a', 'b', 'c', 'd', 'e') }),
    fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 60 }) }),
  )
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      let now = 0
      const cache = new BoundedCache<number>({ name: 'model', maxEntries: 3, ttlMs: 100, now: () => now })
      let model: { key: string; value: number; expiresAt: number }[] = []
      for (const [step, op] of operations.entries()) {
        if (op.kind === 'pass') {
          now += op.ms
          continue
        }
        const found = model.find((entry) => entry.key === op.key && entry.expiresAt > now)
        model = model.filter((entry) => entry.key !== op.key)
        if (op.kind === 'set') {
          cache.set(op.key, step)
          model = [...model, { key: op.key, value: step, expiresAt: now + 100 }].slice(-3)
        } else if (op.kind === 'get') {
          assert.equal(cache.get(op.key), found?.value)
          if (found !== undefined) model.push(found)
        } else {
          cache.delete(op.key)
        }
        assert.ok(cache.size <= 3)
      }
    }),
    { numRuns: 2_000 },
  )
})
