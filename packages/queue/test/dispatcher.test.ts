import assert from 'node:assert/strict'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { type ChatId, makeInstanceId, type MessageId } from '@eclusa/kernel'
import { chatA, chatB, sessionError, startQueue } from './harness.ts'

const unavailable = () => sessionError('SESSION_ACK_LATE', 'later', 'unknown')
const offline = () => sessionError('SESSION_OFFLINE', 'later', 'no')

test('sends the messages of a chat one at a time in the order they were accepted, and leaves no row', async (t) => {
  const h = await startQueue(t)
  await Promise.all(['1', '2', '3', '4'].map((words) => h.enqueue(words)))
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1', '2', '3', '4'])
  assert.equal(h.sender.overlaps, 0)
  assert.deepEqual(await h.rows(), [])
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 1, timers: 0 })
})

test('keeps order within a chat while another chat is stuck', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ chat }) => (chat === chatA ? 'hang' : 'ack')
  await h.enqueue('a1')
  await h.enqueue('a2')
  for (const words of ['b1', 'b2', 'b3']) await h.enqueue(words, { chat: chatB })
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['a1', 'b1', 'b2', 'b3'])
  h.sender.outcome = () => 'ack'
  h.sender.release()
  await h.quiet()
  assert.deepEqual(h.sender.texts.slice(-1), ['a2'])
  assert.equal(h.sender.overlaps, 0)
})

test('a message that fails stays at the head of its chat, with the same WhatsApp id, until it goes', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }, nth) => (content.text === '1' && nth <= 3 ? unavailable() : 'ack')
  const { id } = await h.enqueue('1')
  await h.enqueue('2')
  await h.advance(30_000)
  assert.deepEqual(h.sender.texts, ['1', '1', '1', '1', '2'])
  assert.equal(new Set(h.sender.sends.slice(0, 4).map(({ waMessageId }) => waMessageId)).size, 1)
  assert.deepEqual(
    h.sender.sends.map(({ attempts }) => attempts),
    [1, 2, 3, 4, 1],
  )
  assert.equal((await h.queue.outbox.status(id))?.state, 'SENT')
})

test('after its retries a message is FAILED and its chat goes on', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }) => (content.text === '1' ? unavailable() : 'ack')
  const { id } = await h.enqueue('1', { maxRetries: 1 })
  await h.enqueue('2')
  await h.advance(5000)
  assert.deepEqual(h.sender.texts, ['1', '1', '2'])
  const status = await h.queue.outbox.status(id)
  assert.equal(status?.state, 'FAILED')
  assert.deepEqual(status?.failure, { code: 'SESSION_ACK_LATE', message: 'a scripted SESSION_ACK_LATE' })
  const [row] = await h.rows()
  assert.deepEqual(
    [row?.['status'], row?.['priority'], row?.['error']],
    ['FAILED', 9, 'a scripted SESSION_ACK_LATE'],
  )
  assert.deepEqual(await h.queue.outbox.stats(h.instance), { pending: 0, processing: 0, failed: 1 })
})

test('an error that no retry mends fails the message at once', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = () => sessionError('SESSION_NOT_ON_WHATSAPP', 'never', 'no')
  const { id } = await h.enqueue('1')
  await h.quiet()
  assert.equal(h.sender.sends.length, 1)
  assert.equal((await h.queue.outbox.status(id))?.failure?.code, 'SESSION_NOT_ON_WHATSAPP')
})

test('urgent goes before normal before bulk of its chat, and ends the wait of a message that backs off', async (t) => {
  const h = await startQueue(t, { online: false })
  await h.enqueue('bulk', { priority: 'bulk' })
  await h.enqueue('normal 1')
  await h.enqueue('urgent', { priority: 'urgent' })
  await h.enqueue('normal 2')
  h.sender.outcome = ({ content }, nth) => (content.text === 'normal 1' && nth === 1 ? unavailable() : 'ack')
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['urgent', 'normal 1'])
  await h.enqueue('urgent 2', { priority: 'urgent' })
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['urgent', 'normal 1', 'urgent 2'])
  await h.advance(2000)
  assert.deepEqual(h.sender.texts.slice(3), ['normal 1', 'normal 2', 'bulk'])
})

test('an offline session pauses its instance and counts no try', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = offline
  const { id } = await h.enqueue('1', { maxRetries: 0 })
  await h.enqueue('b', { chat: chatB })
  await h.quiet()
  await h.advance(20_000, 1000)
  assert(h.sender.sends.length <= 2)
  assert.equal((await h.queue.outbox.status(id))?.state, 'PENDING')
  assert.deepEqual(
    (await h.rows()).map((row) => [row['attempts'], row['sentAt']]),
    [
      [0, null],
      [0, null],
    ],
  )
  h.sender.outcome = () => 'ack'
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(await h.rows(), [])
})

test('an instance that was told offline holds no chat in memory and sends nothing until it is online', async (t) => {
  const h = await startQueue(t)
  h.queue.dispatcher.instanceOffline(h.instance)
  for (let n = 0; n < 20; n++)
    await h.enqueue(`${n}`, { chat: `55119000000${n + 10}@s.whatsapp.net` as ChatId })
  await h.advance(100_000, 10_000)
  assert.equal(h.sender.sends.length, 0)
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 0, timers: 0 })
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.equal(h.sender.sends.length, 20)
})

test('a rate limit backs the whole instance off, longer each time, and counts no try', async (t) => {
  const h = await startQueue(t)
  const limited = sessionError('SESSION_RATE_LIMITED', 'later', 'no')
  h.sender.outcome = () => limited
  await h.enqueue('1', { maxRetries: 0 })
  await h.quiet()
  await h.enqueue('b', { chat: chatB })
  await h.advance(20_000, 1000)
  assert.equal(h.sender.sends.length, 1)
  await h.advance(20_000, 1000)
  const afterFirst = h.sender.sends.length
  assert(afterFirst >= 2)
  // 70 s after the first send: the second pause began at 24 s at the earliest, and lasts 48 s at least.
  await h.advance(30_000, 1000)
  assert.equal(h.sender.sends.length, afterFirst)
  h.sender.outcome = () => 'ack'
  await h.advance(50_000, 1000)
  assert.deepEqual(await h.rows(), [])
})

test('one tenant with a long backlog delays a single message of another by one turn', async (t) => {
  const h = await startQueue(t, { online: false, limits: { maxLanes: 2, maxClaims: 2 } })
  h.sender.outcome = () => 'hang'
  const other = { tenant: 'other' as never, instance: makeInstanceId() }
  for (let n = 0; n < 30; n++)
    await h.enqueue(`${n}`, { chat: `55119000000${n + 10}@s.whatsapp.net` as ChatId })
  h.queue.dispatcher.instanceOnline(h.instance)
  h.queue.dispatcher.instanceOnline(other.instance)
  await h.quiet()
  await h.enqueue('mine', other)
  await h.quiet()
  assert.equal(h.sender.sends.length, 2)
  h.sender.release()
  await h.quiet()
  assert(h.sender.texts.slice(2, 4).includes('mine'))
  h.sender.outcome = () => 'ack'
  h.sender.release()
  await h.quiet()
  assert.equal(h.sender.sends.length, 31)
})

test('a window of few chats sends everything, also what was accepted while it was full', async (t) => {
  const h = await startQueue(t, { limits: { maxOpenChats: 3, maxOpenChatsPerInstance: 3 } })
  h.sender.outcome = () => 'hang'
  const chat = (n: number) => ({
    chat: `5511900${String((n * 37) % 60).padStart(6, '0')}@s.whatsapp.net` as ChatId,
  })
  for (let n = 0; n < 30; n++) await h.enqueue(`${n}`, chat(n))
  await h.quiet()
  assert.equal(h.queue.dispatcher.stats().openChats, 3)
  h.sender.outcome = () => 'ack'
  h.sender.release()
  await Promise.all(Array.from({ length: 30 }, (_, n) => h.enqueue(`${n + 30}`, chat(n + 30))))
  await h.quiet()
  assert.equal(h.sender.sends.length, 60)
  assert.deepEqual(await h.rows(), [])
})

test('a chat behind the cursor that found the window full is not forgotten', async (t) => {
  const h = await startQueue(t, { limits: { maxOpenChats: 1 } })
  h.sender.outcome = () => 'hang'
  const chat = (n: number) => ({ chat: `551190000000${n}@s.whatsapp.net` as ChatId })
  for (const n of [1, 2, 3]) await h.enqueue(`${n}`, chat(n))
  await h.quiet()
  h.sender.release()
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1', '2'])
  await h.enqueue('1 again', chat(1))
  h.sender.outcome = () => 'ack'
  h.sender.release()
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1', '2', '3', '1 again'])
})

test('1,000 messages over 50 chats leave an empty table, each sent once, in order', async (t) => {
  const h = await startQueue(t)
  await Promise.all(
    Array.from({ length: 1000 }, (_, n) =>
      h.enqueue(`${n}`, { chat: `55119000${String(n % 50).padStart(5, '0')}@s.whatsapp.net` as ChatId }),
    ),
  )
  await h.quiet()
  assert.equal(h.sender.sends.length, 1000)
  assert.equal(h.sender.overlaps, 0)
  const last = new Map<string, number>()
  for (const { chat, content } of h.sender.sends) {
    assert(Number(content.text) > (last.get(chat) ?? -1))
    last.set(chat, Number(content.text))
  }
  assert.deepEqual(
    await h.database.read('SELECT COUNT(*) AS n FROM "MessageQueueItem"', []).then((r) => r[0]?.['n']),
    0,
  )
})

test('after a crash everything not acknowledged is sent again with the same WhatsApp id, in order', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }) => (content.text === '1' ? 'ack' : 'hang')
  const accepted = []
  for (const words of ['1', '2', '3']) accepted.push(await h.enqueue(words))
  await h.quiet()
  await h.crash()
  h.sender.outcome = () => 'ack'
  h.sender.release()
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1', '2', '2', '3'])
  assert.equal(h.sender.sends[1]?.waMessageId, h.sender.sends[2]?.waMessageId)
  assert.equal(h.sender.sends[2]?.attempts, 1, 'the interrupted try does not count')
  const next = await h.enqueue('4')
  await h.quiet()
  assert(
    accepted.every(({ id }) => id < next.id),
    'no id is given twice',
  )
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('no id is given twice, also when everything was sent and forgotten before a restart', async (t) => {
  const h = await startQueue(t)
  const first = await h.enqueue('1')
  await h.quiet()
  await h.advance(100 * 3_600_000, 10 * 3_600_000)
  await h.queue.sweep.pass()
  assert.equal(await h.queue.outbox.status(first.id), undefined)
  await h.crash()
  const second = await h.enqueue('2')
  assert(second.id > first.id)
  await h.quiet()
})

for (const [step, sql] of [
  ['claim', "status = 'PROCESSING'"],
  ['end', 'insert into "OutboundTombstone"'],
] as const) {
  test(`the lane is freed when the ${step} write fails, and the message goes once the database is well`, async (t) => {
    const h = await startQueue(t)
    h.failWrites((text) => text.includes(sql))
    await h.enqueue('1')
    await h.enqueue('2')
    await h.quiet()
    assert.equal(h.queue.dispatcher.stats().lanes, 0)
    await h.enqueue('b', { chat: chatB })
    await h.advance(3000)
    assert.equal(h.queue.dispatcher.stats().lanes, 0)
    h.failWrites(() => false)
    await h.advance(30_000, 1000)
    assert.deepEqual(
      h.sender.texts.filter((words) => words !== 'b'),
      ['1', '2'],
      'none was sent twice',
    )
    assert.deepEqual(await h.rows(), [])
    assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
  })
}

test('a lost answer to the write that ends one message and claims the next costs the next no try', async (t) => {
  const h = await startQueue(t, { online: false })
  await h.enqueue('1')
  await h.enqueue('2', { maxRetries: 0 })
  let isLost = false
  h.loseAnswers((sql) => !isLost && sql.includes('delete from "MessageQueueItem"') && (isLost = true))
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1'])
  assert.deepEqual(
    (await h.rows()).map(({ status, attempts }) => [status, attempts]),
    [['PROCESSING', 1]],
  )
  await h.advance(2000)
  assert.deepEqual(h.sender.texts, ['1', '2'])
  assert.deepEqual(
    h.sender.sends.map(({ attempts }) => attempts),
    [1, 1],
  )
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('a chat whose messages follow one another gives its place up as soon as another chat waits for one', async (t) => {
  const h = await startQueue(t, { online: false, limits: { maxLanes: 1 } })
  for (const words of ['a1', 'a2', 'a3']) await h.enqueue(words)
  for (const words of ['b1', 'b2', 'b3']) await h.enqueue(words, { chat: chatB })
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['a1', 'b1', 'a2', 'b2', 'a3', 'b3'])
})

test('a failing write that puts a message back or fails it blocks neither chat nor lane', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }, nth) => (content.text === '1' && nth === 1 ? unavailable() : 'ack')
  h.failWrites((text) => text.includes("set status = 'PENDING', attempts"))
  await h.enqueue('1')
  await h.enqueue('2')
  await h.quiet()
  assert.equal(h.queue.dispatcher.stats().lanes, 0)
  h.failWrites(() => false)
  await h.advance(5000)
  assert.deepEqual(h.sender.texts, ['1', '1', '2'])
  assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
})

test('a sender that never answers is given up after two minutes and the message is tried again', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = (_, nth) => (nth === 1 ? 'hang' : 'ack')
  const { id } = await h.enqueue('1')
  await h.advance(125_000, 1000)
  assert.equal(h.sender.sends.length, 2)
  assert.equal((await h.queue.outbox.status(id))?.state, 'SENT')
})

test('stop leaves what is on the wire a few seconds, then lets go; nothing is lost', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = () => 'hang'
  await h.enqueue('1')
  await h.enqueue('2')
  await h.quiet()
  let stopped = false
  const stopping = h.queue.stop().then(() => (stopped = true))
  await h.advance(4000, 1000)
  assert.equal(stopped, false)
  await h.advance(2000, 1000)
  await stopping
  await h.queue.stop()
  assert.equal((await h.rows()).length, 2)
  assert.equal(h.clock.pendingTimers, 0)
  h.sender.outcome = () => 'ack'
  await h.crash()
  await h.quiet()
  assert.deepEqual(h.sender.texts.slice(-2), ['1', '2'])
})

test('chats end with the window: a chat of one message leaves memory when it was sent', async (t) => {
  const h = await startQueue(t)
  await h.enqueue('1', { chat: chatA })
  await h.quiet()
  assert.equal(h.queue.dispatcher.stats().openChats, 0)
})

test('a receipt that comes while the acknowledgement is awaited ends the wait: it is sent, and the next one goes', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }) => (content.text === '1' ? 'hang' : 'ack')
  const { id, waMessageId } = await h.enqueue('1')
  await h.enqueue('2')
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1'])
  const at = h.clock.now()
  await h.queue.dispatcher.recordReceipt({
    instance: h.instance,
    waMessageIds: [waMessageId],
    kind: 'delivered',
    at,
  })
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1', '2'])
  const status = await h.queue.outbox.status(id)
  assert.deepEqual([status?.state, status?.sentAt, status?.deliveredAt], ['DELIVERED', at, at])
  assert.equal((await h.rows()).length, 0)
  assert.deepEqual(
    h.events.filter((name) => /sent|delivered/.test(name)),
    ['outbound.sent', 'outbound.delivered', 'outbound.sent'],
  )
})

test('what was received was sent before, whichever of the two is heard first', async (t) => {
  const h = await startQueue(t)
  const times = async (id: string): Promise<readonly (number | null | undefined)[]> => {
    const status = await h.queue.outbox.status(id as MessageId)
    return [status?.sentAt, status?.deliveredAt]
  }
  const receive = (waMessageId: string, at: number): Promise<void> =>
    h.queue.dispatcher.recordReceipt({
      instance: h.instance,
      waMessageIds: [waMessageId],
      kind: 'delivered',
      at,
    })
  // The acknowledgement comes while the receipt is being written.
  h.sender.outcome = ({ content }) => (content.text === '1' ? 'hang' : 'ack')
  const one = await h.enqueue('1')
  await h.quiet()
  const at = h.clock.now()
  const received = receive(one.waMessageId, at)
  await h.clock.tick(1)
  h.sender.release()
  await received
  await h.quiet()
  assert.deepEqual(await times(one.id), [at, at])
  // The receipt came first, and is written after the message ended.
  const two = await h.enqueue('2')
  await h.quiet()
  const sentAt = h.clock.now()
  await receive(two.waMessageId, sentAt - 1)
  assert.deepEqual(await times(two.id), [sentAt - 1, sentAt - 1])
})
