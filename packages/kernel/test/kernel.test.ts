import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  chatOfNumber,
  EclusaError,
  makeInstanceId,
  makeMessageId,
  makeWaMessageId,
  parseChatId,
  parseInstanceId,
  parseMessageId,
  parseTenantId,
  runLoop,
  sleep,
  systemClock,
  TypedEmitter,
  withDeadline,
} from '../src/index.ts'
import { ManualClock, seededRandom } from '../test-kit/index.ts'

test('a message id names its row, whatever the row', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (seq) => {
      assert.equal(parseMessageId(makeMessageId(seq)).seq, seq)
    }),
  )
})

test('message ids sort as their rows do', () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), (a, b) => {
      assert.equal(makeMessageId(a) < makeMessageId(b), a < b)
    }),
  )
})

test('what is no id is refused with the field named', () => {
  const attempts: [string, () => unknown][] = [
    ['tenant', () => parseTenantId('Ex/atron')],
    ['instance', () => parseInstanceId('ins_../../etc')],
    ['message', () => parseMessageId('msg_1')],
    ['message', () => parseMessageId('msg_zzzzzzzzzzz')],
    ['to', () => parseChatId('nobody', 'to')],
  ]
  for (const [field, attempt] of attempts) {
    assert.throws(attempt, (error) => error instanceof EclusaError && error.details['field'] === field)
  }
})

test('a JID with a device and one without are one chat', () => {
  assert.equal(parseChatId('5511999990000:12@s.whatsapp.net'), chatOfNumber('5511999990000'))
})

test('made ids are of their form and do not repeat', () => {
  const ids = new Set(Array.from({ length: 1_000 }, () => parseInstanceId(makeInstanceId())))
  assert.equal(ids.size, 1_000)
  assert.match(makeWaMessageId(), /^3EB0[0-9A-F]{18}$/)
})

test('a manual clock fires timers in order of their due time, those set on the way included', async () => {
  const clock = new ManualClock(0)
  const fired: string[] = []
  clock.setTimer(20, () => fired.push(`b at ${clock.now()}`))
  clock.setTimer(10, () => {
    fired.push(`a at ${clock.now()}`)
    clock.setTimer(5, () => fired.push(`c at ${clock.now()}`))
  })
  clock.setTimer(30, () => fired.push('never')).cancel()
  await clock.tick(25)
  assert.deepEqual(fired, ['a at 10', 'c at 15', 'b at 20'])
  assert.equal(clock.pendingTimers, 0)
})

test('a sleep ends at once when its signal aborts and leaves no timer', async () => {
  const clock = new ManualClock()
  const stop = new AbortController()
  const asleep = sleep(clock, 1_000, stop.signal)
  stop.abort(new Error('stop'))
  await assert.rejects(asleep, /stop/)
  assert.equal(clock.pendingTimers, 0)
})

test('a deadline ends the wait with a clear error and leaves no timer', async () => {
  const clock = new ManualClock()
  const never = withDeadline(clock, 50, 'an answer', new Promise(() => {}))
  const failed = assert.rejects(never, { code: 'KERNEL_DEADLINE_PASSED' })
  await clock.tick(50)
  await failed
  assert.equal(await withDeadline(clock, 50, 'an answer', Promise.resolve(7)), 7)
  assert.equal(clock.pendingTimers, 0)
})

test('a loop runs its pass at once and again after each pause, through errors, until it is stopped', async () => {
  const clock = new ManualClock()
  const stop = new AbortController()
  let passes = 0
  const errors: unknown[] = []
  const loop = runLoop(
    { clock, everyMs: 100, onError: (error) => errors.push(error) },
    () => {
      passes++
      return passes === 2 ? Promise.reject(new Error('once')) : Promise.resolve()
    },
    stop.signal,
  )
  await clock.tick(250)
  stop.abort()
  await loop
  assert.equal(passes, 3)
  assert.equal(errors.length, 1)
  assert.equal(clock.pendingTimers, 0)
})

test('a listener that throws does not keep the event from the others', () => {
  const errors: unknown[] = []
  const emitter = new TypedEmitter<{ happened: number }>({ onError: (error) => errors.push(error) })
  const seen: number[] = []
  emitter.on('happened', () => {
    throw new Error('mine')
  })
  const off = emitter.on('happened', (value) => seen.push(value))
  emitter.emit('happened', 1)
  off()
  emitter.emit('happened', 2)
  assert.deepEqual(seen, [1])
  assert.equal(errors.length, 2)
})

test('a listener that is never removed shows as an error, not as a leak', () => {
  const emitter = new TypedEmitter<{ happened: number }>({ maxListeners: 2 })
  emitter.on('happened', () => {})
  emitter.on('happened', () => {})
  assert.throws(() => emitter.on('happened', () => {}), RangeError)
})

test('the same seed gives the same row of numbers, all in [0, 1)', () => {
  const [a, b] = [seededRandom(7), seededRandom(7)]
  for (let i = 0; i < 1_000; i++) {
    const value = a()
    assert.equal(value, b())
    assert.ok(value >= 0 && value < 1)
  }
})

test("the machine's clock tells the time and its timers can be taken back", () => {
  assert.ok(Math.abs(systemClock.now() - Date.now()) < 1_000)
  const timer = systemClock.setTimer(1_000_000, () => assert.fail('cancelled'))
  timer.cancel()
  timer.cancel()
})
