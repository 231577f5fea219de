import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { BodyBudget, MAX_BODY_BYTES } from '../src/http/body-budget.ts'

const of = (bytes: number): { readonly 'content-length': string } => ({ 'content-length': String(bytes) })

test('a body for which there is no room waits, in order of arrival, and gets the first that is free', async () => {
  const budget = new BodyBudget({ maxBytes: 100, clock: new ManualClock() })
  const [first, second, third] = [new EventEmitter(), new EventEmitter(), new EventEmitter()]
  const entered: string[] = []
  await budget.enter(of(80), first)
  const waiting = [
    budget.enter(of(90), second).then(() => entered.push('second')),
    // It would fit, but nobody overtakes.
    budget.enter(of(10), third).then(() => entered.push('third')),
  ]
  assert.deepEqual([budget.usedBytes, entered], [80, []])
  first.emit('close')
  await Promise.all(waiting)
  assert.deepEqual([budget.usedBytes, entered], [100, ['second', 'third']])
  second.emit('close')
  third.emit('close')
  assert.equal(budget.usedBytes, 0)
})

test('a body is refused only when nothing has moved for five seconds, and nothing of it is held then', async () => {
  const clock = new ManualClock()
  const budget = new BodyBudget({ maxBytes: MAX_BODY_BYTES, clock })
  const stuck = new EventEmitter()
  await budget.enter({ 'transfer-encoding': 'chunked' }, stuck)
  const response = new EventEmitter()
  const refused = assert.rejects(budget.enter(of(1), response), { code: 'GATEWAY_BUSY', status: 503 })
  await clock.tick(5_000)
  await refused
  assert.equal(response.listenerCount('close'), 0)
  stuck.emit('close')
  assert.equal(budget.usedBytes, 0)
})

test('a client that leaves while it waits makes room for those behind it', async () => {
  const budget = new BodyBudget({ maxBytes: 100, clock: new ManualClock() })
  const [first, large, small] = [new EventEmitter(), new EventEmitter(), new EventEmitter()]
  await budget.enter(of(50), first)
  const gone = assert.rejects(budget.enter(of(100), large), { code: 'GATEWAY_BUSY' })
  const behind = budget.enter(of(50), small)
  large.emit('close')
  await gone
  await behind
  assert.equal(budget.usedBytes, 100)
})

test('a request that ends as soon as it is admitted, or before it comes, holds nothing', async () => {
  const budget = new BodyBudget({ maxBytes: 100, clock: new ManualClock() })
  const [first, second] = [new EventEmitter(), new EventEmitter()]
  await budget.enter(of(100), first)
  const behind = budget.enter(of(100), second)
  first.emit('close')
  second.emit('close')
  await behind
  assert.equal(budget.usedBytes, 0)
  const over = Object.assign(new EventEmitter(), { destroyed: true })
  await assert.rejects(budget.enter(of(100), over), { code: 'GATEWAY_BUSY' })
  assert.equal(budget.usedBytes, 0)
})
