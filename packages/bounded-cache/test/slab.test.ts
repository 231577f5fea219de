import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BoundedCache } from '../src/index.ts'
import { slabBytes } from '../src/slab.ts'

for (const order of ['as they came', 'the other way round'] as const) {
  test(`entries deleted one by one, ${order}, give back what was kept for them`, () => {
    const before = slabBytes()
    const cache = new BoundedCache<number>({ name: 'many', maxEntries: 50_000, ttlMs: Infinity })
    for (let n = 0; n < 50_000; n++) cache.set(`${n}`, n)
    for (let n = 0; n < 50_000; n++) cache.delete(`${order === 'as they came' ? n : 49_999 - n}`)
    assert.equal(cache.size, 0)
    assert.ok(slabBytes() - before <= 2 * 2_048 * 64, `${slabBytes() - before} bytes stay`)
  })
}

test('what was kept for 100,000 entries is given back when they are gone', () => {
  const before = slabBytes()
  const cache = new BoundedCache<number>({ name: 'many', maxEntries: 100_000, ttlMs: Infinity })
  for (let n = 0; n < 100_000; n++) cache.set(`${n}`, n)
  assert.ok(slabBytes() - before >= 97_000 * 64)
  cache.clear()
  assert.ok(slabBytes() - before <= 2 * 2_048 * 64, 'at most a chunk or two stay')
})
