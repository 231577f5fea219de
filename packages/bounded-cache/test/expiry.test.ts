import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { CacheBudget } from '../src/index.ts'

test('frees what is over within two seconds of any life, after any leap of the clock, and nothing that lives', () => {
  const life = fc.oneof(fc.integer({ min: 1, max: 5_000 }), fc.integer({ min: 1, max: 20_000_000 }))
  const leap = fc.oneof(
    fc.integer({ min: 1, max: 3_000 }),
    fc.integer({ min: 1, max: 9_000_000 }),
    fc.constant(400 * 86_400_000),
    fc.constant(-3_600_000),
  )
  const step = fc.record({ key: fc.nat(20), life, leap })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      let now = 1_700_000_000_000
      let latest = now
      let caughtUpAt = now
      const budget = new CacheBudget({ maxBytes: 1_000_000, now: () => now })
      const cache = budget.owner('a').cache<number>({ name: 'a', maxEntries: 100, ttlMs: 1_000 })
      const ends = new Map<string, number>()
      for (const { key, life, leap } of steps) {
        cache.set(`${key}`, 1, { ttlMs: life })
        ends.set(`${key}`, now + life)
        now += leap
        latest = Math.max(latest, now)
        if (leap < 0) caughtUpAt = latest + 2_000
        budget.sweep()
        const alive = [...ends.values()].filter((endsAt) => endsAt > now).length
        // While the clock is behind where it once was, ended entries are absent; they are freed when it has caught up.
        if (now >= caughtUpAt) {
          assert.ok(cache.size >= alive)
          const held = [...ends.values()].filter((endsAt) => endsAt > now - 2_000).length
          assert.ok(cache.size <= held, 'what ended two seconds ago is free')
        }
        for (const [name, endsAt] of ends) {
          if (endsAt > now) continue
          assert.equal(cache.peek(name), undefined)
        }
      }
      now = latest + 30_000_000
      budget.sweep()
      assert.equal(cache.size, 0)
      assert.equal(budget.usedBytes, 0)
    }),
    { numRuns: 1_000 },
  )
})

test('an entry of the next hour costs no bucket of its own, and a later one is found as well', () => {
  let now = 0
  const budget = new CacheBudget({ maxBytes: 1_000_000, now: () => now })
  const cache = budget.owner('a').cache<number>({ name: 'a', maxEntries: 100, ttlMs: 1_000 })
  cache.set('soon', 1, { ttlMs: 10_000 })
  cache.set('late', 1, { ttlMs: 10_000_000 })
  now = 12_000
  budget.sweep()
  assert.deepEqual(cache.keys(), ['late'])
  // The same second of the ring, a lap later.
  cache.set('lap', 1, { ttlMs: 4_096_000 - 2_000 })
  now = 4_096_000 + 12_000
  budget.sweep()
  assert.deepEqual(cache.keys(), ['late'])
  now = 10_002_000
  budget.sweep()
  assert.equal(cache.size, 0)
})

test('a read that spares the clock answers as one that asks it, also after the clock jumped back', () => {
  const life = fc.oneof(fc.integer({ min: 1, max: 5_000 }), fc.integer({ min: 9_000, max: 60_000 }))
  const leap = fc.oneof(fc.integer({ min: 0, max: 1_000 }), fc.constant(-3_600_000), fc.constant(-15_000))
  const step = fc.record({ key: fc.nat(8), life: fc.option(life), leap })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let now = 1_700_000_000_000
      let tick: (() => void) | null = null
      const budget = new CacheBudget({
        maxBytes: 1_000_000,
        now: () => now,
        setTimer: (_delayMs, run) => {
          tick = run
          return { cancel: () => (tick = null) }
        },
      })
      const cache = budget.owner('a').cache<number>({ name: 'a', maxEntries: 100, ttlMs: 1_000 })
      const ends = new Map<string, number>()
      // The end of a second: what the clock was for who does not ask it.
      const fire = (): void => {
        const run = tick
        tick = null
        run?.()
      }
      for (const { key, life, leap } of steps) {
        if (life !== null) {
          cache.set(`${key}`, 1, { ttlMs: life })
          ends.set(`${key}`, now + life)
        }
        now += leap
        fire()
        for (const [name, endsAt] of ends) {
          if (endsAt <= now) ends.delete(name)
          assert.equal(cache.get(name) === 1, endsAt > now, `${name}, ${endsAt - now} ms before its end`)
        }
      }
    }),
    { numRuns: 1_000 },
  )
})
