import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { planReconnect, RECONNECT_MAX_MS, RECONNECT_RATE_LIMITED_MS } from '../src/reconnect.ts'

const plan = (statusCode: number, failures = 0, paired = true): ReturnType<typeof planReconnect> =>
  planReconnect({ statusCode, message: '' }, failures, paired, () => 0.5)

test('a restart that WhatsApp asks for happens at once', () => {
  assert.deepEqual(plan(515), { ...plan(515), next: 'connect', afterMs: 0 })
})

test('what only a person can mend is left to a person', () => {
  const states = [401, 402, 403, 405, 406, 409, 440].map((code) => {
    const decision = plan(code)
    return decision.next === 'rest' ? decision.state : 'reconnects'
  })
  assert.deepEqual(states, ['logged_out', 'banned', 'failed', 'failed', 'banned', 'failed', 'failed'])
})

test('credentials are forgotten only when WhatsApp no longer accepts them', () => {
  for (const code of [401, 402, 403, 405, 406, 409, 440]) {
    const decision = plan(code)
    assert.ok(decision.next === 'rest')
    assert.equal(decision.forget, code === 401)
  }
})

test('codes that nobody scanned end the attempt, a silent server of a linked device does not', () => {
  assert.deepEqual(plan(408, 0, false), { ...plan(408, 0, false), next: 'rest', state: 'new', forget: true })
  assert.equal(plan(408, 0, true).next, 'connect')
})

test('everything that may pass is tried again, ever later, up to a minute with a fifth of jitter', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(0, 408, 428, 500, 503, 999),
      fc.nat({ max: 10_000 }),
      fc.double({ min: 0, max: 0.999_999, noNaN: true }),
      (statusCode, failures, random) => {
        const decision = planReconnect({ statusCode, message: '' }, failures, true, () => random)
        assert.ok(decision.next === 'connect')
        assert.ok(decision.afterMs >= 800 && decision.afterMs <= RECONNECT_MAX_MS * 1.2)
      },
    ),
  )
  const waits = [0, 1, 2, 3, 10].map((failures) => {
    const decision = plan(428, failures)
    return decision.next === 'connect' ? decision.afterMs : -1
  })
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 60_000])
})

test('a rate limit begins with a long wait', () => {
  const decision = plan(429)
  assert.ok(decision.next === 'connect')
  assert.equal(decision.afterMs, RECONNECT_RATE_LIMITED_MS)
})
