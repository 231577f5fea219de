import assert from 'node:assert/strict'
import { type ChatId, makeInstanceId, type MessageId } from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { codeOf } from '@eclusa/kernel/test-kit'
import { defaultPacing } from '../src/index.ts'
import { chatA, chatB, exatron, type Harness, sessionError, startQueue } from './harness.ts'

const unavailable = () => sessionError('SESSION_ACK_LATE', 'later', 'unknown')
const whyOf = async (h: Harness, id: MessageId): Promise<string[]> =>
  (await h.queue.control.why(id)).waits.map(({ reason }) => reason)

test('a whole chat is cancelled but for what may have reached WhatsApp, and other chats go on', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }) => (content.text === 'on the wire' ? 'hang' : 'ack')
  await h.enqueue('on the wire')
  await h.quiet()
  await Promise.all(Array.from({ length: 600 }, (_, n) => h.enqueue(`${n}`)))
  await h.enqueue('later', { sendAt: h.clock.now() + 60_000 })
  assert.deepEqual(await h.queue.outbox.cancelChat(h.instance, chatA), { cancelled: 601, onTheWire: 1 })
  await h.enqueue('theirs', { chat: chatB })
  await h.enqueue('after')
  h.sender.release('ack')
  await h.quiet()
  await h.advance(61_000, 1000)
  assert.deepEqual(h.sender.texts, ['on the wire', 'theirs', 'after'])
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('what is moved to now goes before the rest of its chat, out of its back-off or its time', async (t) => {
  const h = await startQueue(t, { online: false })
  await h.enqueue('1')
  const second = await h.enqueue('2', { priority: 'bulk' })
  const later = await h.enqueue('later', { sendAt: h.clock.now() + 50 * 3_600_000 })
  await h.advance(40 * 60_000, 60_000)
  await h.queue.control.moveToNow(second.id)
  await h.queue.control.moveToNow(later.id)
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['2', 'later', '1'])
  assert.equal(await codeOf(h.queue.control.moveToNow(second.id)), 'QUEUE_NOT_WAITING')
  h.sender.outcome = (_, nth) => (nth === 1 ? unavailable() : 'ack')
  const failing = await h.enqueue('backs off', { priority: 'urgent' })
  await h.quiet()
  assert.deepEqual(await whyOf(h, failing.id), ['BACKING_OFF'])
  await h.queue.control.moveToNow(failing.id)
  await h.quiet()
  assert.deepEqual(h.sender.texts.slice(3), ['backs off', 'backs off'])
})

test('a paused chat, instance or tenant sends nothing, also after a crash, and goes on where it was', async (t) => {
  const h = await startQueue(t)
  const pauses = [
    { tenant: exatron, instance: h.instance, chat: chatA },
    { tenant: exatron, instance: h.instance, chat: null },
    { tenant: exatron, instance: null, chat: null },
  ]
  const reasons = ['CHAT_PAUSED', 'INSTANCE_PAUSED', 'TENANT_PAUSED']
  for (const [nth, pause] of pauses.entries()) {
    await h.queue.control.pause(pause)
    const first = await h.enqueue(`${nth}.1`)
    await h.enqueue(`${nth}.2`)
    await h.enqueue(`${nth}.b`, { chat: chatB })
    await h.quiet()
    // Only a paused chat lets the other one go.
    const flowing = nth === 0 ? [`${nth}.b`] : []
    assert.deepEqual(h.sender.texts, flowing)
    assert.deepEqual(await whyOf(h, first.id), [reasons[nth]])
    await h.crash()
    await h.advance(60_000, 10_000)
    assert.deepEqual(h.sender.texts, flowing)
    assert.equal(h.queue.dispatcher.stats().openChats, 0)
    await h.queue.control.resume(pause)
    await h.quiet()
    assert.deepEqual(
      h.sender.sends.filter(({ chat }) => chat === chatA).map(({ content }) => content.text),
      [`${nth}.1`, `${nth}.2`],
    )
    assert.equal(h.sender.sends.length, 3)
    h.sender.sends.length = 0
  }
})

test('a pause stops the typing and puts the message back untouched', async (t) => {
  const h = await startQueue(t, { pacing: defaultPacing })
  const { id } = await h.enqueue('a text of some words that takes time')
  for (let n = 0; n < 100 && !h.sender.seen.includes('composing'); n++) await h.advance(100)
  assert.deepEqual(await whyOf(h, id), ['PACING'])
  await h.queue.control.pause({ tenant: exatron, instance: h.instance, chat: chatA })
  await h.quiet()
  assert.deepEqual(h.sender.seen, ['composing', 'paused'])
  assert.equal((await h.queue.outbox.status(id))?.state, 'PENDING')
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 1, timers: 0 })
  await h.queue.control.resume({ tenant: exatron, instance: h.instance, chat: chatA })
  await h.advance(60_000)
  assert.deepEqual(h.sender.texts.length, 1)
})

test('a failed message is tried again under its WhatsApp id, alone or with all of its instance', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = () => sessionError('SESSION_NOT_ON_WHATSAPP', 'never', 'no')
  const ids = []
  for (const words of ['1', '2', '3']) ids.push((await h.enqueue(words)).id)
  const elsewhere = makeInstanceId()
  h.queue.dispatcher.instanceOnline(elsewhere)
  await h.enqueue('theirs', { instance: elsewhere })
  await h.quiet()
  assert.deepEqual(await h.queue.outbox.stats(h.instance), { pending: 0, processing: 0, failed: 3 })
  const [first] = ids as [MessageId]
  h.sender.outcome = () => 'ack'
  await h.queue.control.retry(first)
  await h.quiet()
  assert.equal((await h.queue.outbox.status(first))?.state, 'SENT')
  assert.equal(await codeOf(h.queue.control.retry(first)), 'QUEUE_NOT_FAILED')
  assert.equal(await h.queue.control.retryFailed(h.instance), 2)
  await h.quiet()
  assert.deepEqual(h.sender.texts.slice(-3), ['1', '2', '3'])
  const sends = h.sender.sends.filter(({ id }) => id === first)
  assert.equal(new Set(sends.map(({ waMessageId }) => waMessageId)).size, 1)
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 1 })
  assert.equal(h.events.filter((name) => name === 'outbound.retried').length, 3)
})

test('a failed message that WhatsApp delivered after all ends at its receipt when it is tried again', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = unavailable
  const { id, waMessageId } = await h.enqueue('1', { maxRetries: 0 })
  await h.quiet()
  assert.equal((await h.queue.outbox.status(id))?.state, 'FAILED')
  h.queue.dispatcher.instanceOffline(h.instance)
  await h.queue.control.retry(id)
  await h.queue.dispatcher.recordReceipt({
    instance: h.instance,
    waMessageIds: [waMessageId],
    kind: 'delivered',
    at: h.clock.now(),
  })
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.equal(h.sender.sends.length, 1)
  assert.equal((await h.queue.outbox.status(id))?.state, 'DELIVERED')
})

test('messages are listed newest first, filtered, page by page, those that wait and those that ended', async (t) => {
  const h = await startQueue(t)
  const elsewhere = makeInstanceId()
  h.sender.outcome = ({ content }) =>
    content.text === 'bad' ? sessionError('SESSION_X', 'never', 'no') : 'ack'
  const ids = new Map<string, MessageId>()
  for (const words of ['sent', 'bad']) ids.set(words, (await h.enqueue(words)).id)
  await h.quiet()
  for (let n = 0; n < 7; n++)
    ids.set(`${n}`, (await h.enqueue(`${n}`, { instance: elsewhere, chat: chatB })).id)
  await h.queue.outbox.cancel(ids.get('3')!)
  const all = await h.queue.control.list({ limit: 100 })
  assert.equal(all.next, null)
  assert.deepEqual(
    all.items.map(({ state }) => state),
    [...Array<string>(3).fill('PENDING'), 'CANCELLED', ...Array<string>(3).fill('PENDING'), 'FAILED', 'SENT'],
  )
  const seen: MessageId[] = []
  let before: MessageId | undefined
  for (;;) {
    const page = await h.queue.control.list({ limit: 2, ...(before === undefined ? {} : { before }) })
    seen.push(...page.items.map(({ id }) => id))
    if (page.next === null) break
    before = page.next
  }
  assert.deepEqual(
    seen,
    all.items.map(({ id }) => id),
  )
  const counts = await Promise.all(
    [
      { state: 'FAILED' as const },
      { instance: elsewhere },
      { chat: chatA },
      { instance: elsewhere, state: 'PENDING' as const },
      { tenant: 'nobody' as never },
      { chat: 'x@lid' as ChatId },
    ].map(async (filter) => (await h.queue.control.list({ ...filter, limit: 100 })).items.length),
  )
  assert.deepEqual(counts, [1, 7, 2, 6, 0, 0])
})

test('why a message waits: its instance is away, others go first, it is on the wire, or nothing keeps it', async (t) => {
  const h = await startQueue(t, { online: false })
  const first = await h.enqueue('1')
  const second = await h.enqueue('2')
  assert.deepEqual(await whyOf(h, first.id), ['INSTANCE_OFFLINE'])
  const { waits } = await h.queue.control.why(second.id)
  assert.deepEqual(
    waits.map(({ reason }) => reason),
    ['INSTANCE_OFFLINE', 'BEHIND_OTHERS'],
  )
  assert.match(waits[1]?.message ?? '', /1 of them/)
  h.sender.outcome = () => 'hang'
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(await whyOf(h, first.id), ['ON_THE_WIRE'])
  assert.deepEqual(await whyOf(h, second.id), ['BEHIND_OTHERS'])
  h.sender.outcome = () => 'ack'
  h.sender.release(sessionError('SESSION_RATE_LIMITED', 'later', 'no'))
  await h.quiet()
  assert.deepEqual(await whyOf(h, first.id), ['INSTANCE_LIMITED'])
  await h.advance(60_000, 1000)
  assert.deepEqual(await whyOf(h, first.id), [])
})
