import assert from 'node:assert/strict'
import { type ChatId, EclusaError, type MessageId } from '@eclusa/kernel'
import type { LoggedEvent } from '@eclusa/storage'
import fc from 'fast-check'
import { exatron, type Harness, type Outcome, sessionError, startQueue, text } from '../harness.ts'

/*
 * Random sequences of what callers, sessions, the clock and crashes do, against the promises: nothing accepted is
 * lost, each message ends in exactly one state, no chat is out of order, never two of a chat on the wire, one
 * WhatsApp id per message, one message per Idempotency-Key, and what was cancelled is never sent.
 */

/** Where the queue keeps its messages. */
export type ModelStore = 'memory' | 'sqlite' | 'postgres'

const STEPS = 60

const chats = ['1', '2', '3'].map((n) => `551190000000${n}@s.whatsapp.net` as ChatId)

type Step =
  | {
      readonly kind: 'enqueue'
      readonly chat: number
      readonly count: number
      readonly fails: readonly Failing[]
      /** One call each, with or without a key, or one for all. */
      readonly how: 'single' | 'keyed' | 'batch'
    }
  | { readonly kind: 'repeat'; readonly which: number }
  | { readonly kind: 'cancel'; readonly which: number }
  | { readonly kind: 'receipt'; readonly which: number; readonly read: boolean }
  | { readonly kind: 'advance'; readonly ms: number }
  | { readonly kind: 'offline' | 'online' | 'release' | 'crash' | 'disk-full' | 'disk-free' }

/** How the first tries of a message end. */
type Failing = 'unknown' | 'refused' | 'offline' | 'hang'

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('enqueue' as const),
      chat: fc.nat(2),
      count: fc.integer({ min: 1, max: 4 }),
      fails: fc.array(fc.constantFrom<Failing>('unknown', 'refused', 'offline', 'hang'), { maxLength: 3 }),
      how: fc.constantFrom('single', 'keyed', 'batch'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('repeat' as const), which: fc.nat(40) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(40) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('receipt' as const), which: fc.nat(40), read: fc.boolean() }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.constantFrom(500, 3000, 20_000) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom('offline', 'online', 'release', 'release', 'crash', 'disk-full', 'disk-free'),
    }),
  },
)

const TERMINAL = new Set(['outbound.sent', 'outbound.failed', 'outbound.cancelled'])

interface Accepted {
  readonly id: MessageId
  readonly chat: ChatId
  readonly words: string
  readonly waMessageId: string
  readonly hasKey: boolean
  /** Its sends when it was cancelled. */
  cancelledAfter: number | null
  received: boolean
}

async function allEvents({ eventLog }: Harness): Promise<readonly LoggedEvent[]> {
  const events: LoggedEvent[] = []
  for (;;) {
    const page = await eventLog.read({ after: events.at(-1)?.seq ?? 0, limit: 1000 })
    if (page.length === 0) return events
    events.push(...page)
  }
}

async function call(
  h: Harness,
  chat: ChatId,
  words: string,
  how: 'single' | 'keyed',
): Promise<readonly Accepted[]> {
  const idempotency = { key: words, bodyHash: words }
  const { id, waMessageId } = await h.enqueue(words, {
    chat,
    maxRetries: 20,
    ...(how === 'keyed' ? { idempotency } : {}),
  })
  return [{ id, chat, words, waMessageId, hasKey: how === 'keyed', cancelledAfter: null, received: false }]
}

async function callBatch(h: Harness, chat: ChatId, words: readonly string[]): Promise<readonly Accepted[]> {
  const { instance } = h
  const results = await h.queue.outbox.enqueueBatch({
    messages: words.map((word) => ({
      tenant: exatron,
      instance,
      chat,
      content: text(word),
      maxRetries: 20,
    })),
  })
  return results.map(({ id, waMessageId }, n) => ({
    id,
    chat,
    words: words[n]!,
    waMessageId,
    hasKey: false,
    cancelledAfter: null,
    received: false,
  }))
}

async function run(h: Harness, steps: readonly Step[]): Promise<readonly Accepted[]> {
  const accepted: Accepted[] = []
  const plans = new Map<string, readonly Failing[]>()
  /** Texts that may have got to the phone. */
  const reached = new Set<string>()
  let healing = false
  h.sender.outcome = ({ content }, nth): Outcome => {
    const failing = healing ? undefined : plans.get(content.text)?.[nth - 1]
    if (failing !== 'refused' && failing !== 'offline') reached.add(content.text)
    switch (failing) {
      case undefined:
        return 'ack'
      case 'hang':
        return 'hang'
      case 'unknown':
        return sessionError('SESSION_ACK_LATE', 'later', 'unknown')
      case 'refused':
        return sessionError('SESSION_REFUSED', 'later', 'no')
      case 'offline':
        return sessionError('SESSION_OFFLINE', 'later', 'no')
      default:
        return failing satisfies never
    }
  }
  for (const [at, one] of steps.entries()) {
    switch (one.kind) {
      case 'enqueue': {
        const chat = chats[one.chat]!
        const { how } = one
        const words = Array.from({ length: one.count }, (_, n) => `${at}.${n}`)
        for (const word of words) plans.set(word, one.fails)
        const results = await Promise.allSettled(
          how === 'batch' ? [callBatch(h, chat, words)] : words.map((word) => call(h, chat, word, how)),
        )
        for (const result of results) if (result.status === 'fulfilled') accepted.push(...result.value)
        break
      }
      case 'repeat': {
        const known = accepted[one.which % Math.max(accepted.length, 1)]
        if (known === undefined || !known.hasKey) break
        const [again] = await call(h, known.chat, known.words, 'keyed').catch((error: unknown) => {
          assert(error instanceof EclusaError)
          return []
        })
        if (again !== undefined) assert.equal(again.id, known.id, 'another message for the same key')
        break
      }
      case 'cancel': {
        const message = accepted[one.which % Math.max(accepted.length, 1)]
        if (message === undefined) break
        try {
          await h.queue.outbox.cancel(message.id)
          message.cancelledAfter = h.sender.texts.filter((words) => words === message.words).length
        } catch (error) {
          assert(error instanceof EclusaError)
        }
        break
      }
      case 'receipt': {
        const message = accepted[one.which % Math.max(accepted.length, 1)]
        // A phone confirms only what it got.
        if (message === undefined || !reached.has(message.words)) break
        const kind = one.read ? 'read' : 'delivered'
        const receipt = {
          instance: h.instance,
          waMessageIds: [message.waMessageId],
          kind,
          at: h.clock.now(),
        } as const
        await h.queue.dispatcher.recordReceipt(receipt).then(
          () => (message.received = true),
          (error: unknown) => assert(error instanceof EclusaError),
        )
        break
      }
      case 'advance':
        await h.advance(one.ms, 500)
        break
      case 'offline':
        h.queue.dispatcher.instanceOffline(h.instance)
        break
      case 'online':
        h.queue.dispatcher.instanceOnline(h.instance)
        break
      case 'release':
        h.sender.release()
        break
      case 'crash':
        // A process does not come up on a full disk.
        h.failWrites(() => false)
        await h.crash()
        break
      case 'disk-full':
        h.failWrites(() => true)
        break
      case 'disk-free':
        h.failWrites(() => false)
        break
      default:
        one satisfies never
    }
    if (at % 3 === 0) await h.quiet()
  }
  healing = true
  const giveUpAt = h.clock.now() + 600_000
  h.failWrites(() => false)
  h.sender.release()
  h.queue.dispatcher.instanceOnline(h.instance)
  // Also a chat without rows may still wait after a write that failed.
  do {
    await h.advance(60_000, 5000)
    h.sender.release()
  } while ((await h.rows()).length > 0 && h.clock.now() < giveUpAt)
  await h.quiet()
  return accepted
}

/** So many sequences from one seed. @throws with the shortest sequence that breaks a promise, and how to repeat it */
export async function checkModel({
  store,
  runs,
  seed,
}: {
  readonly store: ModelStore
  readonly runs: number
  readonly seed: number
}): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: STEPS }), async (steps) => {
      const ends: (() => Promise<void>)[] = []
      const h = await startQueue({ after: (end) => ends.unshift(end) }, { dialect: store })
      try {
        const accepted = await run(h, steps)
        assert.deepEqual(await h.rows(), [], 'every row has gone')
        assert.equal(h.sender.overlaps, 0, 'two of a chat at once')
        const logged = await allEvents(h)
        for (const message of accepted) {
          const sends = h.sender.sends.filter(({ content }) => content.text === message.words)
          const status = await h.queue.outbox.status(message.id)
          const ends = logged.filter(
            ({ type, payload }) => TERMINAL.has(type) && 'id' in payload && payload.id === message.id,
          )
          assert.equal(ends.length, 1, 'not exactly one terminal event')
          if (message.cancelledAfter !== null) {
            assert.equal(status?.state, 'CANCELLED')
            assert.equal(sends.length, message.cancelledAfter, 'sent after its cancel')
            continue
          }
          assert(sends.length > 0, `${message.words} was never sent`)
          assert(
            status?.state === 'SENT' || status?.state === 'DELIVERED' || status?.state === 'READ',
            status?.state,
          )
          if (message.received) assert.notEqual(status.state, 'SENT', 'a durable receipt was lost')
          assert.deepEqual(new Set(sends.map((sent) => sent.waMessageId)), new Set([message.waMessageId]))
        }
        for (const chat of chats) {
          const sent = h.sender.sends.filter((message) => message.chat === chat).map(({ seq }) => seq)
          const firsts = [...new Set(sent)]
          assert.deepEqual(
            firsts,
            firsts.toSorted((a, b) => a - b),
            'out of order',
          )
          // A later message only begins when the earlier has ended, so no earlier one comes again after it.
          assert.deepEqual(
            sent,
            sent.toSorted((a, b) => a - b),
            'an earlier one came again after a later one',
          )
        }
        assert.deepEqual(await h.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
        assert.equal(h.queue.dispatcher.stats().lanes, 0)
        assert.equal(h.queue.dispatcher.stats().openChats, 0)
      } finally {
        for (const end of ends) await end()
      }
    }),
    { numRuns: runs, seed },
  )
}
