import assert from 'node:assert/strict'
import { test as testOnce } from 'node:test'
import { type ChatId, makeInstanceId, type MessageId, parseTenantId } from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { type CareOptions, type ChatStanding, defaultCare } from '../src/index.ts'
import { causeOf, type Health, type HealthFacts, nextHealth } from '../src/health.ts'
import { exatron, type Harness, noPacing, startQueue } from './harness.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const agreed: ChatStanding = { lastInboundAt: null, zone: 'UTC', consent: true, optedOutAt: null }
const chatOf = (n: number): ChatId => `55119000${String(n).padStart(5, '0')}@s.whatsapp.net` as ChatId

const quick: CareOptions = {
  ...defaultCare,
  instance: { everyMs: 0, burst: 1 },
  tenant: { everyMs: 0, burst: 1 },
  maxNewContactsPerDay: 10_000,
  maxSameTextPerHour: 10_000,
  quiet: { from: 0, to: 0 },
}

async function start(t: Parameters<typeof startQueue>[0], care: Partial<CareOptions> = {}): Promise<Harness> {
  return startQueue(t, { care: { ...quick, ...care }, pacing: noPacing })
}

/** Proactive messages to so many people, from the `first` on; each is sent when it resolves, if it may be. */
async function write(h: Harness, first: number, count: number, text = 'news'): Promise<MessageId[]> {
  const ids: MessageId[] = []
  for (let n = first; n < first + count; n++) {
    h.sender.standings.set(chatOf(n), agreed)
    ids.push((await h.enqueue(text, { chat: chatOf(n), purpose: 'proactive' })).id)
    if (n % 20 === 0) await h.quiet()
  }
  await h.quiet()
  return ids
}

/** What they do after it. */
function answer(
  h: Harness,
  first: number,
  count: number,
  more: (now: number) => Partial<ChatStanding>,
): void {
  for (let n = first; n < first + count; n++)
    h.sender.standings.set(chatOf(n), { ...agreed, ...more(h.clock.now()) })
}

/** The first `count` arrive. */
async function deliver(h: Harness, count: number): Promise<void> {
  const waMessageIds = h.sender.sends.slice(0, count).map((message) => message.waMessageId)
  await h.queue.dispatcher.recordReceipt({
    instance: h.instance,
    waMessageIds,
    kind: 'delivered',
    at: h.clock.now(),
  })
  await h.quiet()
}

const levelOf = (h: Harness): Health => h.queue.health.of(h.instance)
const whyOf = async (h: Harness, id: MessageId | undefined) =>
  (await h.queue.control.why(id!)).waits.map(({ reason }) => reason)
const told = async (h: Harness): Promise<readonly string[]> =>
  (await h.eventLog.read({ after: 0, limit: 500 }))
    .map(({ type }) => type)
    .filter((type) => type.startsWith('proactive'))

test('proactive messages that people do not want go slowly, then not at all, until the operator ends it; conversations flow', async (t) => {
  const h = await start(t, { minDeliveredPercent: 0 })
  await write(h, 0, 60)
  assert.equal(h.sender.sends.length, 60)
  await h.advance(MINUTE, MINUTE)
  answer(h, 0, 2, (now) => ({ optedOutAt: now }))
  await h.queue.sweep.pass()
  assert.deepEqual(levelOf(h), { level: 'SLOWED', cause: 'OPT_OUTS', since: h.clock.now() })
  // Four times slower than one a second, the least there is.
  await h.advance(SECOND, SECOND)
  const slow = await write(h, 100, 3)
  assert.equal(h.sender.sends.length, 61)
  assert.deepEqual(await whyOf(h, slow[2]), ['SLOWED'])
  await h.enqueue('a reply', { chat: chatOf(900) })
  await h.quiet()
  assert.equal(h.sender.sends.length, 62)
  await h.crash()
  assert.equal(levelOf(h).level, 'SLOWED')
  await h.advance(9 * SECOND, SECOND)
  assert.equal(h.sender.sends.length, 64)
  // Those who were written to before do not count again.
  await h.queue.sweep.pass()
  assert.equal(levelOf(h).level, 'SLOWED')
  await write(h, 200, 60)
  await h.advance(5 * MINUTE, 4 * SECOND)
  answer(h, 200, 3, (now) => ({ optedOutAt: now }))
  await h.queue.sweep.pass()
  assert.equal(levelOf(h).level, 'PAUSED')
  const sent = h.sender.sends.length
  const [held] = await write(h, 300, 2)
  assert.deepEqual(await whyOf(h, held), ['HEALTH_PAUSED'])
  await h.crash()
  await h.enqueue('another reply', { chat: chatOf(901) })
  await h.advance(HOUR, MINUTE)
  assert.deepEqual(h.sender.texts.slice(sent), ['another reply'])
  assert.deepEqual(await told(h), ['proactive.slowed', 'proactive.paused'])
  await h.queue.health.end(exatron, h.instance)
  await h.advance(10 * SECOND, SECOND)
  assert.equal(h.sender.sends.length, sent + 3)
  await h.queue.sweep.pass()
  assert.equal(levelOf(h).level, 'WELL')
  assert.deepEqual(await told(h), ['proactive.slowed', 'proactive.paused', 'proactive.resumed'])
})

test('too few that arrive, or who write back, slow an instance down; enough of both do not, and others are not touched', async (t) => {
  const h = await start(t)
  const other = makeInstanceId()
  h.queue.dispatcher.instanceOnline(other)
  await write(h, 0, 60)
  // 45 of 60 arrive: 75 %.
  await deliver(h, 45)
  await h.queue.sweep.pass()
  await h.advance(2 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.equal(levelOf(h).level, 'WELL')
  // 6 of 60 answer: 10 %.
  answer(h, 0, 6, (now) => ({ lastInboundAt: now }))
  await h.advance(23 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.equal(levelOf(h).level, 'WELL')
  answer(h, 0, 1, () => ({}))
  await h.queue.sweep.pass()
  assert.deepEqual([levelOf(h).level, levelOf(h).cause], ['SLOWED', 'REPLIES'])
  assert.equal(h.queue.health.of(other).level, 'WELL')
  // Two days without another cause.
  await h.advance(2 * DAY, 12 * HOUR)
  await h.queue.sweep.pass()
  assert.equal(levelOf(h).level, 'WELL')
  // Nobody gets these.
  await h.advance(SECOND, SECOND)
  await write(h, 100, 60)
  await h.advance(2 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.deepEqual([levelOf(h).level, levelOf(h).cause], ['SLOWED', 'DELIVERY'])
})

test('one text to more than 50 people within an hour is paused whichever tenants send it, over a crash, until it is allowed', async (t) => {
  const h = await start(t, { maxSameTextPerHour: 50 })
  const theirs = makeInstanceId()
  h.queue.dispatcher.instanceOnline(theirs)
  await write(h, 0, 30, 'Big  sale!')
  for (let n = 30; n < 50; n++) {
    h.sender.standings.set(chatOf(n), agreed)
    await h.enqueue('BIG sale', {
      chat: chatOf(n),
      purpose: 'proactive',
      instance: theirs,
      tenant: parseTenantId('other'),
    })
    await h.quiet()
  }
  assert.equal(h.sender.sends.length, 50)
  await h.crash()
  h.queue.dispatcher.instanceOnline(theirs)
  // The 50 may get it again, another text goes, and so does a reply.
  await write(h, 60, 1, 'big sale')
  const [another] = await write(h, 61, 1, 'Small sale')
  await h.enqueue('big sale', { chat: chatOf(62) })
  await h.quiet()
  assert.deepEqual(h.sender.texts.slice(50).toSorted(), ['Small sale', 'big sale'])
  assert.deepEqual(await whyOf(h, another), [])
  const [held] = await write(h, 63, 1, 'big-sale')
  assert.deepEqual(await whyOf(h, held), ['SAME_TEXT'])
  assert.deepEqual(await told(h), ['proactive.text_paused'])
  const [paused] = await h.queue.texts.list()
  assert.deepEqual([paused?.tenant, paused?.allowed], [exatron, false])
  assert.match(paused!.id, /^[\w-]{22}$/)
  const kept = JSON.stringify([
    await h.database.read('select * from "ProactiveText"', []),
    await h.database.read('select * from "PausedText"', []),
  ])
  assert(!/sale|55119/i.test(kept), 'neither words nor numbers')
  assert.equal(await h.queue.texts.allow('unknown'), false)
  assert.equal(await h.queue.texts.allow(paused!.id), true)
  await h.advance(SECOND, SECOND)
  assert.equal(h.sender.sends.length, 54)
  await h.advance(2 * DAY, DAY)
  await h.queue.sweep.pass()
  for (const table of ['ProactiveText', 'PausedText'])
    assert.deepEqual(await h.database.read(`select * from "${table}"`, []), [], table)
})

testOnce('health needs a sample of 50, gets worse a step at a time, and is measured anew after each', () => {
  const none = { of: 0, count: 0 }
  const facts = (more: Partial<HealthFacts>): HealthFacts => ({
    delivered: none,
    replies: none,
    optOuts: none,
    ...more,
  })
  assert.equal(causeOf(facts({}), defaultCare), null)
  assert.equal(causeOf(facts({ optOuts: { of: 49, count: 49 } }), defaultCare), null)
  assert.equal(causeOf(facts({ optOuts: { of: 50, count: 1 } }), defaultCare), null)
  assert.equal(causeOf(facts({ optOuts: { of: 50, count: 2 } }), defaultCare), 'OPT_OUTS')
  assert.equal(causeOf(facts({ delivered: { of: 100, count: 70 } }), defaultCare), null)
  assert.equal(causeOf(facts({ delivered: { of: 100, count: 69 } }), defaultCare), 'DELIVERY')
  assert.equal(causeOf(facts({ replies: { of: 49, count: 0 } }), defaultCare), null)
  assert.equal(causeOf(facts({ replies: { of: 50, count: 4 } }), defaultCare), 'REPLIES')
  const off = { minDeliveredPercent: 0, minRepliesPercent: 0, maxOptOutsPercent: 100 }
  const worst = {
    delivered: { of: 99, count: 0 },
    replies: { of: 99, count: 0 },
    optOuts: { of: 99, count: 99 },
  }
  assert.equal(causeOf(worst, off), null)

  const well: Health = { level: 'WELL', cause: null, since: 0 }
  assert.equal(nextHealth(well, null, 5), well)
  const slowed = nextHealth(well, 'REPLIES', 5)
  assert.deepEqual(slowed, { level: 'SLOWED', cause: 'REPLIES', since: 5 })
  assert.equal(nextHealth(slowed, null, 2 * DAY), slowed)
  assert.deepEqual(nextHealth(slowed, null, 2 * DAY + 5), { level: 'WELL', cause: null, since: 2 * DAY + 5 })
  const paused = nextHealth(slowed, 'DELIVERY', 6)
  assert.deepEqual(paused, { level: 'PAUSED', cause: 'DELIVERY', since: 6 })
  assert.equal(nextHealth(paused, null, 99 * DAY), paused)
})
