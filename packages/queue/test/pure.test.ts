import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EclusaError } from '@eclusa/kernel'
import { ManualClock, seededRandom } from '@eclusa/kernel/test-kit'
import fc from 'fast-check'
import { DueHeap } from '../src/due-heap.ts'
import { checkPacing, countWords, defaultPacing, planPacing } from '../src/pacing.ts'
import { decideRetry, limitedForMs, sendFailureOf } from '../src/retry.ts'
import { fromSqlTime, toSqlTime } from '../src/sql-time.ts'
import { Turns } from '../src/turns.ts'
import { sessionError } from './harness.ts'

const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

test('a pacing plan keeps every bound of its options', () => {
  const range = (least: number, most: number) =>
    fc
      .tuple(fc.integer({ min: least, max: most }), fc.integer({ min: least, max: most }))
      .map(([a, b]) => ({ min: Math.min(a, b), max: Math.max(a, b) }))
  const options = fc.record({
    enabled: fc.constant(true),
    readingWordsPerMinute: range(1, 1000),
    maxReadingMs: fc.integer({ min: 0, max: 100_000 }),
    thinkingMs: range(0, 10_000),
    typingWordsPerMinute: range(1, 500),
    maxTypingMs: fc.integer({ min: 0, max: 60_000 }),
    visibleTypingMs: range(0, 5000),
    betweenMs: range(0, 5000),
  })
  fc.assert(
    fc.property(
      options,
      fc.string({ maxLength: 500 }),
      fc.integer({ min: 0, max: 5000 }),
      fc.boolean(),
      fc.integer(),
      (options, text, unreadWords, hasUnread, seed) => {
        checkPacing(options)
        const random = seededRandom(seed)
        const plan = planPacing({ hasUnread, unreadWords, text, options, random })
        assert.deepEqual(
          plan.map(({ kind }) => kind),
          hasUnread ? ['read', 'think', 'type'] : ['think', 'type'],
        )
        for (const { kind, forMs } of plan) {
          assert(forMs >= 0)
          if (kind === 'read') assert(forMs <= options.maxReadingMs)
          if (kind === 'think') assert(forMs >= options.thinkingMs.min && forMs <= options.thinkingMs.max)
          if (kind === 'type') {
            assert(forMs >= options.visibleTypingMs.min)
            assert(forMs <= Math.max(options.maxTypingMs, options.visibleTypingMs.max))
          }
        }
      },
    ),
    { numRuns: 300 },
  )
})

test('the defaults read, think and type at the speeds of the post-mortem', () => {
  const words = Array.from({ length: 20 }, () => 'word').join(' ')
  const plan = (random: () => number) =>
    planPacing({ hasUnread: true, unreadWords: 50, text: words, options: defaultPacing, random }).map(
      ({ forMs }) => Math.round(forMs),
    )
  assert.deepEqual(
    plan(() => 0),
    [15_000, 2000, 30_000],
  )
  assert.deepEqual(
    plan(() => 1),
    [12_000, 8000, 20_000],
  )
  const off = { ...defaultPacing, enabled: false }
  assert.deepEqual(
    planPacing({ hasUnread: true, unreadWords: 9, text: 'a', options: off, random: () => 0 }),
    [],
  )
})

test('pacing options that contradict themselves are refused, naming the field', () => {
  for (const [wrong, field] of [
    [{ thinkingMs: { min: 5, max: 1 } }, 'thinkingMs'],
    [{ betweenMs: { min: -1, max: 1 } }, 'betweenMs'],
    [{ typingWordsPerMinute: { min: 0, max: 1 } }, 'typingWordsPerMinute'],
    [{ maxTypingMs: Number.NaN }, 'maxTypingMs'],
    [{ readingWordsPerMinute: { min: 1, max: Number.POSITIVE_INFINITY } }, 'readingWordsPerMinute'],
  ] as const) {
    assert.throws(
      () => checkPacing({ ...defaultPacing, ...wrong }),
      (error: EclusaError) => error.code === 'QUEUE_BAD_PACING' && error.details['field'] === field,
    )
  }
})

test('words are what white space separates', () => {
  assert.equal(countWords('  olá,   tudo\nbem? '), 3)
  assert.equal(countWords('   '), 0)
})

test('retries wait 1 s, 4 s, 16 s within 20 %, and end with the allowance', () => {
  fc.assert(
    fc.property(unit, (value) => {
      const failure = sendFailureOf(sessionError('X', 'later', 'unknown'))
      for (const [index, ms] of [1000, 4000, 16_000].entries()) {
        const decision = decideRetry({ failure, attempts: index + 1, maxRetries: 3, random: () => value })
        assert(decision.kind === 'retry')
        assert(decision.afterMs >= ms * 0.8 && decision.afterMs <= ms * 1.2)
      }
      assert.deepEqual(decideRetry({ failure, attempts: 4, maxRetries: 3, random: () => value }), {
        kind: 'fail',
      })
      const limited = limitedForMs(99, () => value)
      assert(limited <= 15 * 60_000 * 1.2)
    }),
  )
})

test('what an error says about itself decides what follows', () => {
  const decide = (error: unknown) =>
    decideRetry({ failure: sendFailureOf(error), attempts: 1, maxRetries: 3, random: () => 0.5 }).kind
  assert.equal(decide(sessionError('SESSION_OFFLINE', 'later', 'no')), 'instance-offline')
  assert.equal(decide(sessionError('SESSION_LOGGED_OUT', 'after-login', 'no')), 'instance-offline')
  assert.equal(decide(sessionError('SESSION_RATE_LIMITED', 'later', 'no')), 'instance-limited')
  assert.equal(decide(sessionError('SESSION_X', 'never', 'no')), 'fail')
  assert.equal(decide(sessionError('SESSION_X', 'never', 'yes')), 'sent')
  assert.equal(decide(new TypeError('from a library')), 'retry')
})

test('the due heap fires in order of time, whatever is added and cancelled, with one timer of the clock', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ dueIn: fc.integer({ min: 0, max: 500 }), cancelled: fc.boolean() }), {
        maxLength: 60,
      }),
      async (entries) => {
        const clock = new ManualClock()
        const heap = new DueHeap(clock)
        const fired: number[] = []
        const dues = entries.map(({ dueIn }) => heap.add(clock.now() + dueIn, () => fired.push(dueIn)))
        assert(clock.pendingTimers <= 1)
        for (const [index, { cancelled }] of entries.entries()) {
          if (!cancelled) continue
          dues[index]?.cancel()
          dues[index]?.cancel()
        }
        await clock.tick(500)
        const expected = entries.filter(({ cancelled }) => !cancelled).map(({ dueIn }) => dueIn)
        assert.deepEqual(
          fired,
          expected.toSorted((a, b) => a - b),
        )
        assert.equal(heap.size, 0)
        assert.equal(clock.pendingTimers, 0)
      },
    ),
    { numRuns: 50 },
  )
})

test('a wait in the heap ends at its time or at the abort, and leaves nothing behind', async () => {
  const clock = new ManualClock()
  const heap = new DueHeap(clock)
  const { signal } = new AbortController()
  const aborting = new AbortController()
  let ended = 0
  void heap.wait(clock.now() + 100, signal).then(() => ended++)
  void heap.wait(clock.now() + 100, aborting.signal).then(() => ended++)
  aborting.abort()
  await clock.tick(50)
  assert.equal(ended, 1)
  await clock.tick(50)
  assert.equal(ended, 2)
  await heap.wait(clock.now() + 100, aborting.signal)
  assert.equal(heap.size, 0)
})

test('tenants take turns, and the instances of a tenant take turns within it', () => {
  const turns = new Turns<{ tenant: never; name: string }>()
  const line = (tenant: string, name: string) => ({ tenant: tenant as never, name })
  const lines = [line('a', 'a1'), line('a', 'a2'), line('a', 'a3'), line('b', 'b1')]
  for (const one of lines) turns.add(one)
  const order = Array.from({ length: 6 }, () => turns.next()?.name)
  assert.deepEqual(order, ['a1', 'b1', 'a2', 'b1', 'a3', 'b1'])
  for (const one of lines) turns.remove(one)
  assert.equal(turns.next(), undefined)
})

test('times in the table read back as they were', () => {
  assert.equal(toSqlTime(Date.UTC(2026, 0, 5, 12, 0, 0, 7)), '2026-01-05 12:00:00.007')
  fc.assert(fc.property(fc.integer({ min: 0, max: 4e12 }), (at) => fromSqlTime(toSqlTime(at)) === at))
})
