import assert from 'node:assert/strict'
import { test as testOnce } from 'node:test'
import { type ChatId, makeInstanceId, parseTenantId } from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { chatA, exatron, sessionError, startQueue, text } from './harness.ts'

const HOUR = 3_600_000
const MESSAGES_PER_HOUR = 1000
const HOURS = 48

test('48 hours at 1,000 messages an hour, 1 % failing: the table holds what is active, no history, and nothing stays in memory', async (t) => {
  const h = await startQueue(t)
  const refused = sessionError('SESSION_NOT_ON_WHATSAPP', 'never', 'no')
  h.sender.outcome = ({ content }) => (content.text.endsWith('00') ? refused : 'ack')
  const instances = [h.instance, makeInstanceId(), makeInstanceId(), makeInstanceId()]
  for (const instance of instances) h.queue.dispatcher.instanceOnline(instance)
  await h.queue.sweep.start()
  const ask = async (sql: string) => (await h.database.read(sql, [])).map((row) => Object.values(row))
  const highest = { count: 0, ageMs: 0 }
  for (let hour = 0; hour < HOURS; hour++) {
    // Ten bursts an hour, over 200 chats.
    for (let burst = 0; burst < 10; burst++) {
      await Promise.all(
        Array.from({ length: MESSAGES_PER_HOUR / 10 }, (_, n) =>
          h.enqueue(`${hour}.${burst}${String(n).padStart(2, '0')}`, {
            instance: instances[n % instances.length]!,
            chat: `55119000${String((burst % 2) * 100 + n).padStart(5, '0')}@s.whatsapp.net` as ChatId,
          }),
        ),
      )
      await h.advance(HOUR / 10, HOUR / 20)
      // Remembering what was sent is the test's own memory, not the queue's.
      h.sender.sends.length = 0
      h.sender.seen.length = 0
      h.events.length = 0
    }
    // As they stand in the post-mortem.
    const [[count] = []] = await ask('SELECT COUNT(*) FROM "MessageQueueItem"')
    const byStatus = await ask('SELECT status, COUNT(*) FROM "MessageQueueItem" GROUP BY status')
    const [[oldest, newest] = []] = await ask(
      'SELECT MIN("createdAt"), MAX("createdAt") FROM "MessageQueueItem"',
    )
    highest.count = Math.max(highest.count, Number(count))
    assert.equal(typeof oldest === 'string', Number(count) > 0)
    if (typeof oldest === 'string') {
      const ageMs = h.clock.now() - Date.parse(`${oldest.replace(' ', 'T')}Z`)
      assert(ageMs >= 0, `${oldest} is no time that has been`)
      highest.ageMs = Math.max(highest.ageMs, ageMs)
      assert(String(newest) >= oldest)
    }
    assert.deepEqual(
      byStatus.map(([status]) => status),
      Number(count) === 0 ? [] : ['FAILED'],
    )
    assert.equal(
      byStatus.reduce((sum, [, n]) => sum + Number(n), 0),
      Number(count),
    )
    assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: Number(count) })
  }
  assert(highest.count <= 2000, `${highest.count} rows`)
  assert(highest.count > 0, 'failed ones are kept for an hour')
  assert(highest.ageMs <= 2 * HOUR, `${highest.ageMs} ms old`)
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 4, timers: 0 })
  // 72 h of facts, 24 h of texts and no keys.
  const [[contents] = []] = await ask('SELECT COUNT(*) FROM "OutboundContent"')
  assert(Number(contents) <= 25 * MESSAGES_PER_HOUR)
})

// The order is the dispatcher's, in memory: one database is enough.
testOnce('100,000 messages of one tenant do not delay the single message of another', async (t) => {
  const h = await startQueue(t, {
    online: false,
    limits: { maxLanes: 50, maxLanesPerInstance: 50, maxClaims: 16 },
  })
  for (let batch = 0; batch < 1000; batch += 20) {
    await Promise.all(
      Array.from({ length: 20 }, (_, nth) =>
        h.queue.outbox.enqueueBatch({
          messages: Array.from({ length: 100 }, (__, n) => ({
            tenant: exatron,
            instance: h.instance,
            chat: `5511${900_000_000 + (batch + nth) * 100 + n}@s.whatsapp.net` as ChatId,
            content: text('x'),
          })),
        }),
      ),
    )
  }
  const other = makeInstanceId()
  let isFull: () => void = () => {}
  const full = new Promise<void>((resolve) => (isFull = resolve))
  let isSent: (before: number) => void = () => {}
  const sent = new Promise<number>((resolve) => (isSent = resolve))
  h.sender.outcome = ({ instance }) => {
    if (instance === other) isSent(h.sender.sends.length - 1)
    if (h.sender.sends.length === 500) isFull()
    return 'ack'
  }
  h.queue.dispatcher.instanceOnline(h.instance)
  h.queue.dispatcher.instanceOnline(other)
  await full
  const acceptedAfter = h.sender.sends.length
  await h.enqueue('theirs', { tenant: parseTenantId('other'), instance: other, chat: chatA })
  const sentBefore = await sent
  // What was under way when it was accepted, and what its own two commits took.
  assert(sentBefore - acceptedAfter < 1000, `${sentBefore - acceptedAfter} others went first`)
  const { pending } = await h.queue.outbox.stats(h.instance)
  assert(pending > 90_000)
  h.queue.dispatcher.instanceOffline(h.instance)
  await h.quiet()
})
