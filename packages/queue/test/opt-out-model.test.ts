import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HOUR, MINUTE, SECOND } from '@eclusa/kernel'
import fc from 'fast-check'
import { type ChatStanding, defaultCare, defaultPacing, refusalOf } from '../src/index.ts'
import { chatA, chatB, noPacing, sessionError, startQueue } from './harness.ts'

const nobody: ChatStanding = { lastInboundAt: null, zone: null, consent: true, optedOutAt: null }

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('send' as const), chat: fc.nat(1), how: fc.nat(5) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('optOut' as const), chat: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('write' as const), chat: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('optIn' as const), chat: fc.nat(1) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.constantFrom(SECOND, 7000, MINUTE, HOUR),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('fail' as const),
      how: fc.constantFrom('no' as const, 'unknown' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('crash' as const, 'retryFailed' as const) }) },
)

for (const pacing of [noPacing, defaultPacing]) {
  const how = pacing.enabled ? 'typed' : 'sent at once'
  test(`no message reaches who opted out: new, ${how}, scheduled, tried again, after a crash`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
        const ends: (() => Promise<void>)[] = []
        const h = await startQueue(
          { after: (end) => void ends.push(end) },
          { care: { ...defaultCare, quiet: { from: 0, to: 0 } }, pacing, dialect: 'sqlite' },
        )
        try {
          await walk(h, steps)
        } finally {
          for (const end of ends.toReversed()) await end()
        }
      }),
      { numRuns: 20, seed: 31 },
    )
  })
}

type Step = typeof step extends fc.Arbitrary<infer One> ? One : never

async function walk(h: Awaited<ReturnType<typeof startQueue>>, steps: readonly Step[]): Promise<void> {
  const chats = [chatA, chatB]
  const purposes = [undefined, 'reply', 'proactive'] as const
  let failure: 'no' | 'unknown' | null = null
  for (const chat of chats) h.sender.standings.set(chat, nobody)
  h.sender.outcome = ({ chat, content, acceptedAt }) => {
    const standing = h.sender.standings.get(chat) ?? nobody
    const purpose = content.text.startsWith('proactive') ? 'proactive' : null
    assert.equal(
      refusalOf({ purpose, acceptedAt }, standing),
      null,
      `"${content.text}" went to who opted out`,
    )
    const fails = failure
    failure = null
    return fails === null ? 'ack' : sessionError('SESSION_RATE_LIMITED', 'later', fails)
  }
  for (const one of steps) {
    const chat = 'chat' in one ? chats[one.chat]! : chatA
    const standing = h.sender.standings.get(chat) ?? nobody
    const change = async (changed: Partial<ChatStanding>): Promise<void> => {
      // The message by which they say so has its own instant.
      await h.advance(1)
      h.sender.standings.set(chat, { ...standing, ...changed })
    }
    switch (one.do) {
      case 'send': {
        const purpose = purposes[one.how % 3]
        await h.enqueue(`${purpose ?? 'plain'} ${'word '.repeat(8)}`, {
          chat,
          ...(purpose === undefined ? {} : { purpose }),
          ...(one.how > 2 ? { sendAt: h.clock.now() + HOUR / 2 } : {}),
        })
        break
      }
      case 'optOut':
        await h.quiet()
        await change({ optedOutAt: h.clock.now() + 1, lastInboundAt: h.clock.now() })
        await h.queue.dispatcher.standingChanged(h.instance, chat)
        break
      case 'write':
        await change({ lastInboundAt: h.clock.now() + 1 })
        await h.queue.dispatcher.inboundArrived(h.instance, chat)
        break
      case 'optIn':
        await change({ optedOutAt: null })
        await h.queue.dispatcher.standingChanged(h.instance, chat)
        break
      case 'wait':
        await h.advance(one.ms, Math.max(500, one.ms / 20))
        break
      case 'fail':
        failure = one.how
        break
      case 'crash':
        await h.crash()
        break
      case 'retryFailed':
        await h.queue.control.retryFailed(h.instance).catch(() => undefined)
        break
      default:
        one satisfies never
    }
  }
  await h.advance(2 * HOUR, 5 * MINUTE)
}
