import assert from 'node:assert/strict'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { codeOf } from '@eclusa/kernel/test-kit'
import { chatA, chatB, exatron, startQueue, text } from './harness.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

test('a batch is accepted in its order, all or none, and one key answers for all of it', async (t) => {
  const h = await startQueue(t, { online: false })
  const message = (words: string, chat = chatA) => ({
    tenant: exatron,
    instance: h.instance,
    chat,
    content: text(words),
  })
  const batch = {
    messages: [message('1'), message('b', chatB), message('2'), message('3')],
    idempotency: { key: 'k', bodyHash: 'h' },
  }
  const accepted = await h.queue.outbox.enqueueBatch(batch)
  assert.deepEqual(
    accepted.map(({ waiting }) => waiting),
    [4, 4, 4, 4],
  )
  const again = await h.queue.outbox.enqueueBatch(batch)
  assert.deepEqual(
    again.map(({ id, replayed }) => [id, replayed]),
    accepted.map(({ id }) => [id, true]),
  )
  assert.equal(
    await codeOf(h.queue.outbox.enqueueBatch({ messages: [message('4'), message('')] })),
    'QUEUE_BAD_CONTENT',
  )
  h.failWrites((sql) => sql.includes('insert into "MessageQueueItem"'))
  assert.equal(await codeOf(h.queue.outbox.enqueueBatch({ messages: [message('5')] })), 'STORAGE_FULL')
  h.failWrites(() => false)
  for (const messages of [[], Array.from({ length: 101 }, () => message('x'))]) {
    assert.equal(await codeOf(h.queue.outbox.enqueueBatch({ messages })), 'QUEUE_BAD_CONTENT')
  }
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(
    h.sender.sends.filter(({ chat }) => chat === chatA).map(({ content }) => content.text),
    ['1', '2', '3'],
  )
  assert.equal(h.sender.sends.length, 4)
})

test('a message for later goes when its time has come, does not hold its chat up, and takes no memory until then', async (t) => {
  const h = await startQueue(t)
  const sendAt = h.clock.now() + 3 * HOUR
  const { id } = await h.enqueue('later', { sendAt })
  await h.enqueue('now')
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['now'])
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 1, timers: 0 })
  const { waits } = await h.queue.control.why(id)
  assert.deepEqual(
    waits.map(({ reason, until }) => [reason, until]),
    [['SCHEDULED', sendAt]],
  )
  await h.crash()
  await h.advance(3 * HOUR - 1000, HOUR)
  assert.deepEqual(h.sender.texts, ['now'])
  await h.advance(2000, 1000)
  assert.deepEqual(h.sender.texts, ['now', 'later'])
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('messages for later of one chat keep the order of their times, and of acceptance among equals', async (t) => {
  const h = await startQueue(t)
  const at = h.clock.now() + HOUR
  await h.enqueue('third', { sendAt: at + 60_000 })
  await h.enqueue('first', { sendAt: at })
  await h.enqueue('second', { sendAt: at })
  await h.advance(2 * HOUR, 30_000)
  assert.deepEqual(h.sender.texts, ['first', 'second', 'third'])
})

test('a message for a month ahead lives a day longer than that, and its key as long', async (t) => {
  const h = await startQueue(t, { online: false })
  const idempotency = { key: 'later', bodyHash: 'h' }
  const sendAt = h.clock.now() + 30 * DAY
  const { id } = await h.enqueue('1', { sendAt, idempotency })
  const other = { key: 'gone', bodyHash: 'h' }
  await h.enqueue('2', { idempotency: other })
  await h.advance(30 * DAY + 23 * HOUR, 6 * HOUR)
  await h.queue.sweep.pass()
  assert.equal((await h.queue.outbox.status(id))?.state, 'PENDING')
  assert.equal((await h.enqueue('1', { sendAt, idempotency })).replayed, true)
  assert.equal((await h.enqueue('2', { idempotency: other })).replayed, false)
  await h.advance(2 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.equal((await h.queue.outbox.status(id))?.failure?.code, 'QUEUE_MESSAGE_EXPIRED')
  await h.queue.sweep.pass()
  assert.equal((await h.enqueue('1', { idempotency })).replayed, false)
})

test('a message is not sent after the end of its own time: at dispatch, and at the sweep', async (t) => {
  const h = await startQueue(t, { online: false })
  const expiresAt = h.clock.now() + HOUR
  const { id } = await h.enqueue('1', { expiresAt })
  const sweptId = (await h.enqueue('2', { expiresAt, chat: chatB, sendAt: expiresAt - 1000 })).id
  await h.enqueue('3')
  await h.advance(HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.equal((await h.queue.outbox.status(sweptId))?.failure?.code, 'QUEUE_MESSAGE_EXPIRED')
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['3'])
  assert.equal((await h.queue.outbox.status(id))?.failure?.message, 'Message expired')
  for (const wrong of [
    { expiresAt: h.clock.now() },
    { sendAt: h.clock.now() + 400 * DAY },
    { sendAt: Number.NaN },
  ]) {
    assert.equal(await codeOf(h.enqueue('x', wrong)), 'QUEUE_BAD_TIME')
  }
})

test('an urgent proactive message needs a reason, and the log keeps it', async (t) => {
  const h = await startQueue(t, { online: false })
  const urgent = { priority: 'urgent', purpose: 'proactive' } as const
  for (const reason of [undefined, '', 'x'.repeat(201)]) {
    const more = reason === undefined ? urgent : { ...urgent, reason }
    assert.equal(await codeOf(h.enqueue('x', more)), 'QUEUE_REASON_MISSING')
  }
  await h.enqueue('a reply', { priority: 'urgent' })
  await h.enqueue('x', { ...urgent, reason: 'closed today' })
  const logged = await h.eventLog.read({ after: 0, limit: 100 })
  assert.deepEqual(
    logged.map(({ type, payload }) => [type, (payload as { reason?: string }).reason]),
    [
      ['outbound.accepted', undefined],
      ['outbound.accepted', 'closed today'],
    ],
  )
})
