import assert from 'node:assert/strict'
import { test as testOnce } from 'node:test'
import { EclusaError } from '@eclusa/kernel'
import { seededRandom } from '@eclusa/kernel/test-kit'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { defaultPacing } from '../src/index.ts'
import { pauseBetween, planPacing } from '../src/pacing.ts'
import { chatA, exatron, type Harness, noPacing, startQueue } from './harness.ts'

const words = (count: number): string => Array.from({ length: count }, () => 'word').join(' ')

/*
 * What the defaults come to, in seconds: reading at 200–250 words a minute, at most 60 s; thinking 2–8 s; typing at 40–60
 * words a minute, at most 30 s and visible for at least 1–3 s.
 *
 * | words | reads       | thinks | types   |
 * |-------|-------------|--------|---------|
 * | 1     | 0.24–0.30   | 2–8    | 1–3     |
 * | 20    | 4.8–6.0     | 2–8    | 20–30   |
 * | 200   | 48–60       | 2–8    | 30      |
 */
const TABLE = [
  { count: 1, read: [0.24, 0.3], type: [1, 3] },
  { count: 20, read: [4.8, 6], type: [20, 30] },
  { count: 200, read: [48, 60], type: [30, 30] },
] as const

for (const { count, read, type } of TABLE) {
  testOnce(
    `a message of ${count} words is read, thought about and typed within the ranges of the table`,
    () => {
      const seen = { read: [] as number[], think: [] as number[], type: [] as number[] }
      const random = seededRandom(count)
      for (let n = 0; n < 2000; n++) {
        const plan = planPacing({
          hasUnread: true,
          unreadWords: count,
          text: words(count),
          options: defaultPacing,
          random,
        })
        for (const { kind, forMs } of plan) seen[kind].push(forMs / 1000)
      }
      const ranges = { read, think: [2, 8], type } as const
      for (const [kind, [least, most]] of Object.entries(ranges)) {
        const all = seen[kind as keyof typeof seen]
        const lowest = Math.min(...all)
        const highest = Math.max(...all)
        assert(lowest >= least - 1e-9 && highest <= most + 1e-9, `${kind}: ${lowest} to ${highest}`)
        // The whole range is used, not only its middle.
        const spread = most - least
        assert(
          lowest <= least + spread * 0.01 && highest >= most - spread * 0.01,
          `${kind}: ${lowest} to ${highest}`,
        )
      }
    },
  )
}

testOnce(
  'the same seed plans the same, another one another, and the pause between two messages is 0.5 to 2 s',
  () => {
    const planOf = (seed: number) =>
      planPacing({
        hasUnread: true,
        unreadWords: 9,
        text: words(9),
        options: defaultPacing,
        random: seededRandom(seed),
      })
    assert.deepEqual(planOf(1), planOf(1))
    assert.notDeepEqual(planOf(1), planOf(2))
    const random = seededRandom(3)
    const pauses = Array.from({ length: 2000 }, () => pauseBetween(defaultPacing, random))
    assert(Math.min(...pauses) >= 500 && Math.max(...pauses) <= 2000)
  },
)

async function untilTyping(h: Harness): Promise<void> {
  for (let n = 0; n < 400 && h.sender.seen.at(-1) !== 'composing'; n++) await h.advance(100)
  assert.equal(h.sender.seen.at(-1), 'composing')
}

test('a message that comes in while one is typed makes it read, think and type again, once', async (t) => {
  const h = await startQueue(t, { pacing: defaultPacing })
  await h.enqueue(words(20))
  await untilTyping(h)
  h.sender.unreadMessages = [{ waMessageId: 'A1' as never, addressedAs: 'x', author: 'x' }]
  h.sender.unreadWords = 10
  await h.queue.dispatcher.inboundArrived(h.instance, chatA)
  await h.quiet()
  assert.deepEqual(h.sender.seen, ['composing', 'paused'])
  await untilTyping(h)
  assert.deepEqual(h.sender.seen, ['composing', 'paused', 'markRead 1', 'composing'])
  await h.queue.dispatcher.inboundArrived(h.instance, chatA)
  await h.advance(60_000, 500)
  assert.equal(h.sender.seen.filter((one) => one === 'paused').length, 1)
  assert.equal(h.sender.sends.length, 1)
  assert.deepEqual(
    h.events.filter((name) => name === 'outbound.typing'),
    ['outbound.typing', 'outbound.typing'],
  )
})

test('“typing…” is renewed while it lasts, and never again after the message', async (t) => {
  const h = await startQueue(t, { pacing: defaultPacing })
  await h.enqueue(words(200))
  await h.advance(120_000, 500)
  const composing = h.sender.seen.filter((one) => one === 'composing').length
  // 30 s of typing, renewed each 8 s.
  assert.equal(composing, 4)
  assert.match(h.sender.seen.at(-1) ?? '', /^send/)
})

test('a crash in the middle of typing types again and sends once, under the same WhatsApp id', async (t) => {
  const h = await startQueue(t, { pacing: defaultPacing })
  const { waMessageId } = await h.enqueue(words(20))
  await h.enqueue('next')
  await untilTyping(h)
  await h.crash()
  const [row] = await h.rows()
  assert.deepEqual([row?.['attempts'], row?.['sentAt']], [0, null])
  await h.advance(120_000, 500)
  assert.deepEqual(h.sender.texts, [words(20), 'next'])
  assert.equal(h.sender.sends[0]?.waMessageId, waMessageId)
  assert.equal(h.sender.sends[0]?.attempts, 1)
})

test('an instance has its own pacing before its tenant’s before everybody’s, from the next message on and over a crash', async (t) => {
  const h = await startQueue(t, { pacing: defaultPacing })
  const off = { tenant: exatron, instance: h.instance, options: { enabled: false } }
  await h.queue.pacing.put({ tenant: exatron, instance: null, options: { maxTypingMs: 1 } })
  await h.queue.pacing.put(off)
  await h.crash()
  await h.enqueue('at once')
  await h.quiet()
  assert.deepEqual(h.sender.seen, ['send at once'])
  await h.queue.pacing.delete(exatron, h.instance)
  assert.equal(h.queue.pacing.of(exatron, h.instance).maxTypingMs, 1)
  await h.enqueue('typed')
  await h.quiet()
  assert.equal(h.sender.sends.length, 1)
  await h.advance(15_000, 500)
  assert.deepEqual(h.sender.seen.slice(1), ['composing', 'send typed'])
  await assert.rejects(
    h.queue.pacing.put({ ...off, options: { thinkingMs: { min: 2, max: 1 } } }),
    (error: EclusaError) => error.code === 'QUEUE_BAD_PACING' && error.details['field'] === 'thinkingMs',
  )
  assert.equal(h.queue.pacing.of(exatron, h.instance).thinkingMs.max, 8000)
})

test('pacing that is off for everybody, to test or to measure, stays off', async (t) => {
  const h = await startQueue(t, { pacing: noPacing })
  await h.queue.pacing.put({ tenant: exatron, instance: null, options: { enabled: true } })
  assert.equal(h.queue.pacing.of(exatron, h.instance).enabled, false)
})
