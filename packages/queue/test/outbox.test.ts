import assert from 'node:assert/strict'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import {
  chatOfNumber,
  type EclusaError,
  makeInstanceId,
  makeMessageId,
  type MessageId,
  type WaMessageId,
} from '@eclusa/kernel'
import { codeOf } from '@eclusa/kernel/test-kit'
import { chatA, chatB, exatron, noPacing, sessionError, startQueue, text } from './harness.ts'
import { defaultPacing } from '../src/index.ts'

const unavailable = () => sessionError('SESSION_ACK_LATE', 'later', 'unknown')
const HOUR = 3_600_000

test('an accepted message is on disk, pending, with its WhatsApp id fixed', async (t) => {
  const h = await startQueue(t, { online: false })
  const accepted = await h.enqueue('olá', { maxRetries: 5 })
  assert.equal(accepted.state, 'PENDING')
  assert.equal(accepted.waiting, 1)
  const status = await h.queue.outbox.status(accepted.id)
  assert.deepEqual(status, {
    id: accepted.id,
    tenant: exatron,
    instance: h.instance,
    chat: chatA,
    state: 'PENDING',
    waMessageId: accepted.waMessageId,
    acceptedAt: h.clock.now(),
    sentAt: null,
    deliveredAt: null,
    readAt: null,
    failure: null,
  })
  const [row] = await h.rows()
  assert.equal(row?.['status'], 'PENDING')
  const [content] = await h.database.read('select payload from "OutboundContent"', [])
  assert.equal(Buffer.from(content?.['payload'] as Uint8Array).includes('olá'), false, 'the text is sealed')
  assert.equal(await h.queue.outbox.status(makeMessageId(999)), undefined)
})

test("the operator's three statements run as they stand in the post-mortem", async (t) => {
  const h = await startQueue(t, { online: false })
  await h.enqueue('1')
  await h.advance(1000, 1000)
  await h.enqueue('2')
  // The values alone: each database names such columns in its own way.
  const run = async (sql: string) => (await h.database.read(sql, [])).map((row) => Object.values(row))
  assert.deepEqual(await run('SELECT COUNT(*) FROM "MessageQueueItem"'), [[2]])
  assert.deepEqual(await run('SELECT status, COUNT(*) FROM "MessageQueueItem" GROUP BY status'), [
    ['PENDING', 2],
  ])
  assert.deepEqual(await run('SELECT MIN("createdAt"), MAX("createdAt") FROM "MessageQueueItem"'), [
    ['2026-01-05 12:00:00.000', '2026-01-05 12:00:01.000'],
  ])
})

test('concurrent accepts share commits', async (t) => {
  const h = await startQueue(t, { online: false })
  const before = h.database.stats().commitCount
  await Promise.all(Array.from({ length: 1000 }, (_, n) => h.enqueue(`${n}`)))
  assert(h.database.stats().commitCount - before < 20)
  assert.equal((await h.queue.outbox.stats(h.instance)).pending, 1000)
})

test('one idempotency key makes one message, however often and however concurrently it is used', async (t) => {
  const h = await startQueue(t)
  const idempotency = { key: 'order-1', bodyHash: 'h1' }
  const all = await Promise.allSettled(Array.from({ length: 20 }, () => h.enqueue('once', { idempotency })))
  await h.quiet()
  const [first, ...others] = all
  assert(first?.status === 'fulfilled')
  for (const other of others) {
    assert(other.status === 'rejected')
    assert.equal((other.reason as EclusaError).code, 'QUEUE_IDEMPOTENCY_IN_FLIGHT')
  }
  assert.deepEqual(h.sender.texts, ['once'])
  const later = await h.enqueue('once', { idempotency })
  assert.deepEqual(
    [later.id, later.waMessageId, later.replayed],
    [first.value.id, first.value.waMessageId, true],
  )
  assert.equal(
    await codeOf(h.enqueue('other', { idempotency: { ...idempotency, bodyHash: 'h2' } })),
    'QUEUE_IDEMPOTENCY_MISMATCH',
  )
  await h.advance(25 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.equal((await h.enqueue('once', { idempotency })).replayed, false)
})

test('an empty or too long text is refused and stored nowhere', async (t) => {
  const h = await startQueue(t)
  assert.equal(await codeOf(h.enqueue('')), 'QUEUE_BAD_CONTENT')
  assert.equal(await codeOf(h.enqueue('x'.repeat(65_537))), 'QUEUE_BAD_CONTENT')
  await h.enqueue('x'.repeat(65_536))
  await h.quiet()
  assert.equal(h.sender.sends.length, 1)
})

test('a waiting message can be cancelled, is never sent, and stays known as cancelled', async (t) => {
  const h = await startQueue(t, { online: false })
  const { id } = await h.enqueue('1')
  await h.enqueue('2')
  assert.equal((await h.queue.outbox.cancel(id)).state, 'CANCELLED')
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['2'])
  assert.equal((await h.queue.outbox.status(id))?.state, 'CANCELLED')
  assert.equal(await codeOf(h.queue.outbox.cancel(id)), 'QUEUE_FINISHED')
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('a message on the wire, one that may have arrived, and one that ended cannot be cancelled', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = () => 'hang'
  const { id } = await h.enqueue('1')
  await h.quiet()
  assert.equal(await codeOf(h.queue.outbox.cancel(id)), 'QUEUE_ON_THE_WIRE')
  h.sender.outcome = () => 'ack'
  h.sender.release(unavailable())
  await h.quiet()
  assert.equal((await h.queue.outbox.status(id))?.state, 'PENDING')
  assert.equal(await codeOf(h.queue.outbox.cancel(id)), 'QUEUE_ON_THE_WIRE')
  await h.advance(2000)
  assert.equal(await codeOf(h.queue.outbox.cancel(id)), 'QUEUE_FINISHED')
  assert.equal(await codeOf(h.queue.outbox.cancel(makeMessageId(77))), 'QUEUE_NOT_FOUND')
  assert.equal(await codeOf(h.queue.outbox.cancel('nonsense' as MessageId)), 'KERNEL_BAD_ID')
})

test('a cancel while typing stops the typing and sends nothing', async (t) => {
  const h = await startQueue(t, { pacing: defaultPacing })
  const { id } = await h.enqueue('a text of some words that takes time')
  await h.enqueue('next')
  await h.quiet()
  for (let n = 0; n < 100 && !h.sender.seen.includes('composing'); n++) await h.advance(100)
  assert.equal((await h.queue.outbox.status(id))?.state, 'PROCESSING')
  await h.queue.outbox.cancel(id)
  await h.quiet()
  assert.deepEqual(h.sender.seen.slice(0, 2), ['composing', 'paused'])
  await h.advance(60_000)
  assert.deepEqual(h.sender.texts, ['next'])
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('a message that can be cancelled and a lane that takes it never both win', async (t) => {
  const h = await startQueue(t)
  for (let n = 0; n < 60; n++) {
    h.queue.dispatcher.instanceOffline(h.instance)
    const { id } = await h.enqueue(`${n}`)
    h.queue.dispatcher.instanceOnline(h.instance)
    // The cancel's look and its write fall before, around and after the claim.
    for (let turn = 0; turn < n % 30; turn++) await Promise.resolve()
    if (n >= 30) await new Promise((resolve) => setImmediate(resolve))
    const code = await codeOf(h.queue.outbox.cancel(id))
    await h.quiet()
    assert.equal(h.sender.texts.includes(`${n}`), code !== 'no error', `${n}: ${code}`)
    assert.equal((await h.queue.outbox.status(id))?.state, code === 'no error' ? 'CANCELLED' : 'SENT')
  }
  assert.deepEqual(await h.rows(), [])
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('removing an instance ends all its messages, and no one else’s', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }) => (content.text === 'unknown' ? unavailable() : 'hang')
  const unknown = await h.enqueue('unknown', { chat: chatB })
  await h.quiet()
  const other = { instance: makeInstanceId() }
  await h.enqueue('theirs', other)
  h.queue.dispatcher.instanceOffline(h.instance)
  await Promise.all(Array.from({ length: 1200 }, (_, n) => h.enqueue(`${n}`)))
  assert.equal(await h.queue.outbox.cancelInstance(h.instance), 1201)
  assert.equal((await h.queue.outbox.status(unknown.id))?.failure?.code, 'QUEUE_INSTANCE_REMOVED')
  assert.deepEqual(await h.queue.outbox.stats(h.instance), { pending: 0, processing: 0, failed: 1 })
  assert.equal((await h.queue.outbox.stats()).pending, 1)
})

test('sent, delivered and read are known after the row is gone; receipts never move a message back', async (t) => {
  const h = await startQueue(t)
  const { id, waMessageId } = await h.enqueue('1')
  await h.quiet()
  const sentAt = h.clock.now()
  const receipt = (kind: 'delivered' | 'read', at: number) =>
    h.queue.dispatcher.recordReceipt({
      instance: h.instance,
      waMessageIds: [waMessageId, 'NOT-OURS'],
      kind,
      at,
    })
  assert.equal((await h.queue.outbox.status(id))?.state, 'SENT')
  await receipt('delivered', sentAt + 10)
  assert.equal((await h.queue.outbox.status(id))?.state, 'DELIVERED')
  await Promise.all([
    receipt('read', sentAt + 20),
    receipt('delivered', sentAt + 30),
    receipt('read', sentAt + 40),
  ])
  const status = await h.queue.outbox.status(id)
  assert.deepEqual(
    [status?.state, status?.sentAt, status?.deliveredAt, status?.readAt],
    ['READ', sentAt, sentAt + 10, sentAt + 20],
  )
  const logged = await h.eventLog.read({ after: 0, limit: 100 })
  assert.deepEqual(
    logged.map(({ type }) => type),
    ['outbound.accepted', 'outbound.sent', 'outbound.delivered', 'outbound.read'],
  )
  assert.deepEqual(logged[3]?.payload, { id, chat: chatA, waMessageId, state: 'READ', at: sentAt + 20 })
  assert.deepEqual(
    h.events.filter((name) => name !== 'outbound.sending'),
    logged.map(({ type }) => type),
  )
})

test('a read receipt alone means delivered too', async (t) => {
  const h = await startQueue(t)
  const { id, waMessageId } = await h.enqueue('1')
  await h.quiet()
  await h.queue.dispatcher.recordReceipt({
    instance: h.instance,
    waMessageIds: [waMessageId],
    kind: 'read',
    at: 5,
  })
  const status = await h.queue.outbox.status(id)
  assert.deepEqual([status?.state, status?.deliveredAt, status?.readAt], ['READ', 5, 5])
})

test('a receipt for a message whose acknowledgement was lost ends it without another send, also over a crash', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = () => 'hang'
  const { id, waMessageId } = await h.enqueue('1')
  await h.quiet()
  await h.queue.dispatcher.recordReceipt({
    instance: h.instance,
    waMessageIds: [waMessageId],
    kind: 'read',
    at: 9,
  })
  await h.crash()
  assert.equal(h.sender.sends.length, 1)
  const status = await h.queue.outbox.status(id)
  assert.deepEqual([status?.state, status?.readAt], ['READ', 9])

  h.sender.outcome = () => unavailable()
  const second = await h.enqueue('2', { maxRetries: 0 })
  const ids = { instance: h.instance, waMessageIds: [second.waMessageId], at: 9 }
  h.sender.outcome = () => 'hang'
  await h.quiet()
  const recorded = h.queue.dispatcher.recordReceipt({ ...ids, kind: 'delivered' })
  h.sender.outcome = () => unavailable()
  h.sender.release(unavailable())
  await recorded
  await h.quiet()
  assert.equal((await h.queue.outbox.status(second.id))?.state, 'DELIVERED')
})

test('receipts that race with the acknowledgement are never lost', async (t) => {
  const h = await startQueue(t)
  for (let n = 0; n < 30; n++) {
    h.sender.outcome = () => 'hang'
    const { id, waMessageId } = await h.enqueue(`${n}`)
    await h.quiet()
    h.sender.outcome = () => 'ack'
    h.sender.release()
    for (let turn = 0; turn < n % 5; turn++) await new Promise((resolve) => setImmediate(resolve))
    await h.queue.dispatcher.recordReceipt({
      instance: h.instance,
      waMessageIds: [waMessageId],
      kind: 'delivered',
      at: 1,
    })
    await h.quiet()
    assert.equal((await h.queue.outbox.status(id))?.state, 'DELIVERED', `${n}`)
  }
})

test('the content for a retry request is there before and after the acknowledgement, and over a crash', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = () => 'hang'
  const { waMessageId } = await h.enqueue('again please')
  await h.quiet()
  const ask = () => h.queue.outbox.contentForRetry(h.instance, waMessageId)
  assert.deepEqual(await ask(), text('again please'))
  await h.crash()
  assert.deepEqual(await ask(), text('again please'))
  h.sender.outcome = () => 'ack'
  h.sender.release()
  await h.quiet()
  assert.deepEqual(await h.rows(), [])
  assert.deepEqual(await ask(), text('again please'))
  await h.crash()
  assert.deepEqual(await ask(), text('again please'))
  assert.equal(await h.queue.outbox.contentForRetry(h.instance, 'UNKNOWN' as WaMessageId), undefined)
  await h.advance(25 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.equal(await ask(), undefined)
})

test('warns once when more than 500 messages of an instance wait, and again only after it fell', async (t) => {
  const h = await startQueue(t, { online: false })
  const warnings = () => h.events.filter((name) => name === 'queue.warned').length
  const many = (count: number) => Promise.all(Array.from({ length: count }, (_, n) => h.enqueue(`${n}`)))
  await many(500)
  assert.equal(warnings(), 0)
  await many(200)
  assert.equal(warnings(), 1)
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  h.queue.dispatcher.instanceOffline(h.instance)
  await many(501)
  assert.equal(warnings(), 2)
})

test('chats with messages that wait are counted over the steps, without those that only failed', async (t) => {
  const h = await startQueue(t, { online: false })
  assert.equal(await h.queue.outbox.countWaitingChats(), 0)
  const chats = Array.from({ length: 1001 }, (_, index) =>
    chatOfNumber(`5511${String(index).padStart(9, '0')}`),
  )
  await Promise.all(chats.flatMap((chat) => [h.enqueue('one', { chat }), h.enqueue('two', { chat })]))
  assert.equal(await h.queue.outbox.countWaitingChats(), 1001)
  await h.database.write([
    {
      sql: `update "MessageQueueItem" set priority = 9, status = 'FAILED' where chat = ?`,
      params: [chats[7] ?? null],
      mustChange: 2,
    },
  ])
  assert.equal(await h.queue.outbox.countWaitingChats(), 1000)
})

test('a pending message older than a day fails with "Message expired" at the sweep, and its chat goes on', async (t) => {
  const h = await startQueue(t, { online: false })
  const old = await h.enqueue('old')
  await h.advance(24 * HOUR + 1000, HOUR)
  await h.enqueue('new')
  const result = await h.queue.sweep.pass()
  assert.equal(result.expired, 1)
  const status = await h.queue.outbox.status(old.id)
  assert.equal(status?.state, 'FAILED')
  assert.deepEqual(status?.failure, { code: 'QUEUE_MESSAGE_EXPIRED', message: 'Message expired' })
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['new'])
})

test('an expired message is not sent even when no sweep has come yet', async (t) => {
  const h = await startQueue(t, { online: false })
  const old = await h.enqueue('old')
  await h.advance(24 * HOUR, HOUR)
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.equal(h.sender.sends.length, 0)
  assert.equal((await h.queue.outbox.status(old.id))?.failure?.code, 'QUEUE_MESSAGE_EXPIRED')
})

test('the sweep removes failed rows after an hour, keeps their facts for 72 h, and then forgets', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }) =>
    content.text === 'sent' ? 'ack' : sessionError('SESSION_NOT_ON_WHATSAPP', 'never', 'no')
  const failed = await h.enqueue('failed')
  const sent = await h.enqueue('sent')
  await h.quiet()
  await h.queue.sweep.pass()
  assert.equal((await h.rows()).length, 1)
  await h.advance(HOUR + 1000, HOUR)
  assert.equal((await h.queue.sweep.pass()).removedFailed, 1)
  assert.deepEqual(await h.rows(), [])
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
  assert.equal((await h.queue.outbox.status(failed.id))?.failure?.code, 'SESSION_NOT_ON_WHATSAPP')
  await h.advance(60 * HOUR, HOUR)
  await h.queue.dispatcher.recordReceipt({
    instance: h.instance,
    waMessageIds: [sent.waMessageId],
    kind: 'read',
    at: h.clock.now(),
  })
  await h.advance(20 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.equal(await h.queue.outbox.status(failed.id), undefined)
  assert.equal((await h.queue.outbox.status(sent.id))?.state, 'READ', 'it changed 20 h ago')
  await h.advance(60 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.equal(await h.queue.outbox.status(sent.id), undefined)
})

test('the sweep runs at start and every half hour, and stops', async (t) => {
  const h = await startQueue(t, { online: false })
  await h.enqueue('old')
  await h.advance(25 * HOUR, HOUR)
  await h.queue.sweep.start()
  await h.quiet()
  assert.equal((await h.queue.outbox.stats()).failed, 1)
  await h.advance(HOUR + 31 * 60_000, 60_000)
  assert.equal((await h.queue.outbox.stats()).failed, 0)
  await h.queue.stop()
  assert.equal(h.clock.pendingTimers, 0)
})

test('pacing shows the contact a read mark, then "typing…", then the message, and tells each step', async (t) => {
  const h = await startQueue(t, { pacing: defaultPacing })
  h.sender.unreadMessages = [
    { waMessageId: 'A1' as never, addressedAs: 'x', author: 'x' },
    { waMessageId: 'A2' as never, addressedAs: 'x', author: 'x' },
  ]
  h.sender.unreadWords = 20
  await h.enqueue(Array.from({ length: 18 }, () => 'word').join(' '))
  await h.advance(60_000)
  assert.equal(h.sender.seen[0], 'markRead 2')
  const [, ...rest] = h.sender.seen
  assert.equal(
    rest.filter((one) => one === 'composing').length >= 2,
    true,
    'renewed within 18–27 s of typing',
  )
  assert.equal(rest.at(-1)?.startsWith('send'), true)
  assert.deepEqual(h.events, [
    'outbound.accepted',
    'outbound.reading',
    'outbound.thinking',
    'outbound.typing',
    'outbound.sending',
    'outbound.sent',
  ])
})

test('messages of a paced chat keep their distance, and failing courtesies hold nothing up', async (t) => {
  const h = await startQueue(t, {
    pacing: {
      ...defaultPacing,
      thinkingMs: { min: 0, max: 0 },
      visibleTypingMs: { min: 0, max: 0 },
      maxTypingMs: 0,
      betweenMs: { min: 1000, max: 1000 },
    },
  })
  h.sender.presenceFails = true
  const sentAt: number[] = []
  h.sender.outcome = () => {
    sentAt.push(h.clock.now())
    return 'ack'
  }
  await h.enqueue('1')
  await h.enqueue('2')
  await h.advance(5000)
  assert.equal(sentAt.length, 2)
  assert((sentAt[1] ?? 0) - (sentAt[0] ?? 0) >= 1000)
})

test('a session that goes away while a message is typed puts it back untouched', async (t) => {
  const h = await startQueue(t, { pacing: defaultPacing })
  await h.enqueue('1')
  await h.advance(500)
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 1, failed: 0 })
  h.queue.dispatcher.instanceOffline(h.instance)
  await h.quiet()
  const [row] = await h.rows()
  assert.deepEqual([row?.['status'], row?.['attempts'], row?.['sentAt']], ['PENDING', 0, null])
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 0, timers: 0 })
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.advance(60_000)
  assert.deepEqual(h.sender.texts, ['1'])
})

test('nothing of a full disk is half done: the accept is refused and a later one works', async (t) => {
  const h = await startQueue(t, { pacing: noPacing })
  h.failWrites((sql) => sql.includes('insert into "MessageQueueItem"'))
  assert.equal(await codeOf(h.enqueue('1')), 'STORAGE_FULL')
  h.failWrites(() => false)
  await h.enqueue('2')
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['2'])
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('a row whose content does not open fails alone and does not block its chat', async (t) => {
  const h = await startQueue(t, { online: false })
  const { id } = await h.enqueue('1')
  await h.enqueue('2')
  await h.database.write([
    { sql: 'update "OutboundContent" set payload = ? where seq = 1', params: [new Uint8Array(1)] },
  ])
  // What was just accepted is in memory; after a crash it is read.
  await h.crash()
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['2'])
  assert.equal((await h.queue.outbox.status(id))?.failure?.code, 'STORAGE_SEAL_BROKEN')
})

test('an unconfirmed message that WhatsApp delivered is not expired: the sweep ends it as it arrived', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = unavailable
  const delivered = await h.enqueue('delivered')
  const read = await h.enqueue('read', { chat: chatB })
  await h.quiet()
  h.queue.dispatcher.instanceOffline(h.instance)
  await h.quiet()
  const at = h.clock.now()
  for (const [{ waMessageId }, kind] of [
    [delivered, 'delivered'],
    [read, 'read'],
  ] as const) {
    await h.queue.dispatcher.recordReceipt({ instance: h.instance, waMessageIds: [waMessageId], kind, at })
  }
  await h.advance(25 * HOUR, HOUR)
  h.events.length = 0
  assert.equal((await h.queue.sweep.pass()).expired, 0)
  const status = await h.queue.outbox.status(delivered.id)
  assert.deepEqual([status?.state, status?.deliveredAt, status?.failure], ['DELIVERED', at, null])
  assert.equal((await h.queue.outbox.status(read.id))?.state, 'READ')
  assert.deepEqual(h.events.toSorted(), [
    'outbound.delivered',
    'outbound.delivered',
    'outbound.read',
    'outbound.sent',
    'outbound.sent',
  ])
  assert.deepEqual(await h.rows(), [])
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('a receipt that comes while the sweep expires its message is never lost', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = unavailable
  for (let n = 0; n < 12; n++) {
    h.queue.dispatcher.instanceOnline(h.instance)
    const { id, waMessageId } = await h.enqueue(`${n}`)
    await h.quiet()
    h.queue.dispatcher.instanceOffline(h.instance)
    await h.advance(25 * HOUR, 5 * HOUR)
    const receipt = { instance: h.instance, waMessageIds: [waMessageId], kind: 'delivered', at: 1 } as const
    const swept = n % 2 === 0 ? h.queue.sweep.pass() : null
    for (let turn = 0; turn < n; turn++) await Promise.resolve()
    const recorded = h.queue.dispatcher.recordReceipt(receipt)
    await Promise.all([swept ?? h.queue.sweep.pass(), recorded])
    const state = (await h.queue.outbox.status(id))?.state
    const facts = [...h.events]
    // Either the receipt was first, or the message had failed before it: never a row that says both.
    assert.equal(state, facts.includes('outbound.failed') ? 'FAILED' : 'DELIVERED', `${n}`)
    h.events.length = 0
  }
  const { pending, processing } = await h.queue.outbox.stats()
  assert.deepEqual([pending, processing], [0, 0])
})

test('removing an instance ends a delivered but unconfirmed message as it arrived', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = unavailable
  const { id, waMessageId } = await h.enqueue('1')
  await h.quiet()
  h.queue.dispatcher.instanceOffline(h.instance)
  await h.quiet()
  await h.queue.dispatcher.recordReceipt({
    instance: h.instance,
    waMessageIds: [waMessageId],
    kind: 'delivered',
    at: 7,
  })
  assert.equal(await h.queue.outbox.cancelInstance(h.instance), 1)
  assert.equal((await h.queue.outbox.status(id))?.state, 'DELIVERED')
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('removing an instance waits for what is on the wire, and ends what comes back from there', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = () => 'hang'
  const back = await h.enqueue('comes back')
  await h.quiet()
  const removing = h.queue.outbox.cancelInstance(h.instance)
  await h.quiet()
  h.sender.release(sessionError('SESSION_OFFLINE', 'later', 'unknown'))
  assert.equal(await removing, 1)
  assert.equal((await h.queue.outbox.status(back.id))?.failure?.code, 'QUEUE_INSTANCE_REMOVED')
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 1 })
  assert.equal(h.queue.dispatcher.stats().lanes, 0)
})

test('removing an instance gives up a send that does not end within 5 s, and keeps one that did', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = () => 'hang'
  const stuck = await h.enqueue('stuck')
  await h.quiet()
  const removing = h.queue.outbox.cancelInstance(h.instance)
  await h.advance(5000)
  await removing
  assert.equal((await h.queue.outbox.status(stuck.id))?.failure?.code, 'QUEUE_INSTANCE_REMOVED')
  // Its end comes too late to matter.
  h.sender.release()
  await h.quiet()
  assert.equal((await h.queue.outbox.status(stuck.id))?.state, 'FAILED')
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 1 })
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 0, timers: 0 })

  h.queue.dispatcher.instanceOnline(h.instance)
  const sent = await h.enqueue('sent')
  await h.quiet()
  const again = h.queue.outbox.cancelInstance(h.instance)
  await h.quiet()
  h.sender.outcome = () => 'ack'
  h.sender.release()
  await again
  assert.equal((await h.queue.outbox.status(sent.id))?.state, 'SENT')
})

test('stopping does not wait for the removal of an instance', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = () => 'hang'
  await h.enqueue('1')
  await h.quiet()
  const removing = h.queue.outbox.cancelInstance(h.instance)
  await h.quiet()
  const stopped = h.queue.stop()
  await h.advance(5000)
  await Promise.all([stopped, removing])
})

test('forgetting an instance leaves no row of it anywhere, and all of the others', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }) =>
    content.text === 'fails' ? sessionError('SESSION_NOT_ON_WHATSAPP', 'never', 'no') : 'ack'
  const idempotency = { key: 'k', bodyHash: 'h' }
  const theirs = await h.enqueue('theirs', { instance: makeInstanceId(), idempotency })
  const sent = await h.enqueue('sent', { idempotency })
  const failed = await h.enqueue('fails')
  await h.quiet()
  h.queue.dispatcher.instanceOffline(h.instance)
  const waiting = await Promise.all(Array.from({ length: 1100 }, (_, n) => h.enqueue(`${n}`)))
  assert.equal(await h.queue.outbox.forgetInstance(h.instance), 1100)
  for (const { id } of [sent, failed, ...waiting.slice(0, 3)])
    assert.equal(await h.queue.outbox.status(id), undefined)
  for (const table of ['MessageQueueItem', 'OutboundTombstone', 'IdempotencyKey']) {
    const rows = await h.database.read(`select 1 from "${table}" where instance = ?`, [h.instance])
    assert.equal(rows.length, 0, table)
  }
  assert.equal((await h.database.read('select 1 from "OutboundContent"', [])).length, 1, 'theirs')
  assert.equal((await h.queue.outbox.status(theirs.id))?.state, 'PENDING')
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 1, processing: 0, failed: 0 })
  assert.equal(
    await h.queue.outbox.contentForRetry(h.instance, sent.waMessageId),
    undefined,
    'its content is gone',
  )
})

test('what was said is kept with the message, for 24 h after it, and no longer than its facts', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }) =>
    content.text === 'fails' ? sessionError('SESSION_NOT_ON_WHATSAPP', 'never', 'no') : 'ack'
  const contents = async () =>
    (await h.database.read('select seq from "OutboundContent" order by seq', [])).map(({ seq }) => seq)
  const later = await h.enqueue('later', { sendAt: h.clock.now() + 40 * HOUR })
  const cancelled = await h.enqueue('cancelled', { sendAt: h.clock.now() + 40 * HOUR })
  await h.enqueue('sent')
  await h.enqueue('fails')
  await h.quiet()
  await h.queue.outbox.cancel(cancelled.id)
  assert.deepEqual(await contents(), [1, 3, 4])
  await h.advance(2 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.deepEqual(await contents(), [1, 3, 4], 'the failed one had been on its way to WhatsApp')
  await h.advance(23 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.deepEqual(await contents(), [1])
  await h.advance(16 * HOUR, HOUR)
  assert.equal((await h.queue.outbox.status(later.id))?.state, 'SENT')
  await h.advance(25 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.deepEqual(await contents(), [])
})

test('a text that is not in memory any more is read from disk', async (t) => {
  const h = await startQueue(t, { online: false, limits: { maxRecentBytes: 1000, maxClaims: 2 } })
  const texts = Array.from({ length: 20 }, (_, n) => `${n} ${'x'.repeat(40 + 30 * n)}`)
  await Promise.all(
    texts.map((words, n) => h.enqueue(words, { chat: `55119000000${n}@s.whatsapp.net` as typeof chatA })),
  )
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(new Set(h.sender.texts), new Set(texts))
})
