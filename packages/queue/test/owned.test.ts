import assert from 'node:assert/strict'
import { silentLogger, TypedEmitter } from '@eclusa/kernel'
import { testEachDatabase as test, testSealer } from '@eclusa/storage/test-kit'
import { defaultCare, openQueue, type QueueEvents } from '../src/index.ts'
import { chatA, chatB, exatron, startQueue } from './harness.ts'

const HOUR = 3_600_000

test('what is due, or too old, of an instance that another process serves is left to that one, and found when it is ours', async (t) => {
  let isOurs = true
  const h = await startQueue(t, { owns: () => isOurs })
  await h.enqueue('later', { sendAt: h.clock.now() + HOUR })
  await h.enqueue('much later', { sendAt: h.clock.now() + 2 * HOUR })
  isOurs = false
  await h.advance(2 * HOUR, HOUR / 2)
  assert.deepEqual(
    (await h.rows()).map((row) => row['priority']),
    [6, 6],
  )
  isOurs = true
  await h.advance(30_000, 10_000)
  assert.deepEqual(h.sender.texts, ['later', 'much later'])

  h.queue.dispatcher.instanceOffline(h.instance)
  await h.enqueue('old', { expiresAt: h.clock.now() + HOUR })
  await h.advance(HOUR, HOUR)
  isOurs = false
  assert.equal((await h.queue.sweep.pass()).expired, 0)
  isOurs = true
  assert.equal((await h.queue.sweep.pass()).expired, 1)
  await h.advance(2 * HOUR, HOUR)
  isOurs = false
  assert.equal((await h.queue.sweep.pass()).removedFailed, 0)
  isOurs = true
  assert.equal((await h.queue.sweep.pass()).removedFailed, 1)
})

test('limits that another process changes let go what the old ones held, by the one that serves the instance', async (t) => {
  const h = await startQueue(t, { care: { ...defaultCare, maxNewContactsPerDay: 0 } })
  for (const chat of [chatA, chatB])
    h.sender.standings.set(chat, { lastInboundAt: null, zone: 'UTC', consent: false, optedOutAt: null })
  await h.enqueue('to a stranger')
  await h.quiet()
  const other = await openQueue({
    database: h.database,
    ownership: { owns: () => false },
    sealer: testSealer(),
    eventLog: h.eventLog,
    clock: h.clock,
    log: silentLogger,
    emitter: new TypedEmitter<QueueEvents>(),
    sender: h.sender,
    context: h.sender,
  })
  t.after(() => other.stop())
  await other.limits.put({ tenant: exatron, instance: null, options: { maxNewContactsPerDay: 5 } })
  await h.quiet()
  assert.deepEqual(
    (await h.rows()).map((row) => row['heldBy']),
    ['NEW_CONTACT_BUDGET'],
  )
  await h.queue.look()
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['to a stranger'])
})
