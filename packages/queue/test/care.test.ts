import assert from 'node:assert/strict'
import { test as testOnce } from 'node:test'
import {
  type ChatId,
  EclusaError,
  isDayOfRest,
  makeInstanceId,
  MAX_DAYS_OF_REST,
  type MessageId,
  parseTenantId,
} from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import {
  type CareOptions,
  type ChatStanding,
  checkCare,
  defaultCare,
  defaultPacing,
  quietEndOf,
} from '../src/index.ts'
import { Places } from '../src/places.ts'
import { Rates } from '../src/rates.ts'
import { SendLog } from '../src/send-log.ts'
import { chatA, chatB, exatron, type Harness, noPacing, sessionError, startQueue } from './harness.ts'

const SECOND = 1000
const HOUR = 3_600_000
const DAY = 24 * HOUR
const stranger: ChatStanding = {
  lastInboundAt: null,
  zone: 'America/Sao_Paulo',
  consent: false,
  optedOutAt: null,
}
const agreed: ChatStanding = { ...stranger, consent: true }
const chatOf = (n: number): ChatId => `55119000${String(n).padStart(5, '0')}@s.whatsapp.net` as ChatId

async function careful(
  t: Parameters<typeof startQueue>[0],
  care: Partial<CareOptions> = {},
  pacing = noPacing,
): Promise<Harness> {
  // The rate of a tenant has its own tests.
  const h = await startQueue(t, {
    care: { ...defaultCare, tenant: { everyMs: 0, burst: 1 }, ...care },
    pacing,
  })
  h.sender.standings.set(chatA, stranger)
  return h
}

const inConversation = (h: Harness): ChatStanding => ({ ...stranger, lastInboundAt: h.clock.now() })
const whyOf = async (h: Harness, id: Parameters<Harness['queue']['control']['why']>[0]) =>
  (await h.queue.control.why(id)).waits.map(({ reason, until }) => [reason, until])

test('five messages go at once to a contact in conversation, then one each 6 s; other chats go on', async (t) => {
  const h = await careful(t)
  h.sender.standings.set(chatA, inConversation(h))
  const sentAt: number[] = []
  h.sender.outcome = ({ chat }) => {
    if (chat === chatA) sentAt.push(h.clock.now())
    return 'ack'
  }
  const began = h.clock.now()
  for (let n = 0; n < 8; n++) await h.enqueue(`${n}`)
  await h.enqueue('b', { chat: chatB })
  await h.advance(30 * SECOND, 500)
  assert.deepEqual(
    sentAt.map((at) => at - began),
    [0, 0, 0, 0, 0, 6000, 12_000, 18_000],
  )
  assert(h.sender.sends.findIndex(({ chat }) => chat === chatB) <= 5)
  assert.deepEqual(h.queue.dispatcher.stats().timers, 0)
})

test('a stranger gets one message each 6 s, and no pretence of typing', async (t) => {
  const h = await careful(t, {}, defaultPacing)
  await h.enqueue('1')
  await h.enqueue('2')
  await h.advance(4 * SECOND, 500)
  assert.deepEqual(h.sender.seen, ['send 1'])
  await h.advance(5 * SECOND, 500)
  assert.deepEqual(h.sender.seen, ['send 1', 'send 2'])
  h.sender.standings.set(chatA, agreed)
  await h.enqueue('3')
  await h.advance(60 * SECOND, 500)
  assert.deepEqual(h.sender.seen.slice(2), ['composing', 'send 3'])
})

test('an instance sends to all its chats together no faster than its rate, and says so', async (t) => {
  const h = await careful(t, { instance: { everyMs: 1000, burst: 3 } })
  const ids = []
  for (let n = 0; n < 8; n++) ids.push((await h.enqueue(`${n}`, { chat: chatOf(n) })).id)
  await h.quiet()
  assert.equal(h.sender.sends.length, 3)
  await h.advance(2000, 500)
  assert(h.sender.sends.length <= 6)
  const last = ids.at(-1)!
  assert.equal((await whyOf(h, last))[0]?.[0], 'INSTANCE_RATE')
  await h.advance(5000, 500)
  assert.equal(h.sender.sends.length, 8)
})

test('a tenant writes to who is not in conversation no faster than its rate, each message at a time of its own', async (t) => {
  const h = await careful(t, { tenant: { everyMs: 30 * SECOND, burst: 2 }, maxNewContactsPerDay: 1000 })
  const other = makeInstanceId()
  h.queue.dispatcher.instanceOnline(other)
  const sentAt = new Map<string, number>()
  const began = h.clock.now()
  h.sender.outcome = ({ content }) => {
    sentAt.set(content.text, (h.clock.now() - began) / SECOND)
    return 'ack'
  }
  const ids: MessageId[] = []
  for (let n = 0; n < 6; n++) {
    h.sender.standings.set(chatOf(n), n % 3 === 0 ? agreed : stranger)
    const more = n % 3 === 0 ? ({ purpose: 'proactive' } as const) : {}
    const instance = n % 2 === 0 ? h.instance : other
    ids.push((await h.enqueue(`${n}`, { chat: chatOf(n), instance, ...more })).id)
    await h.quiet()
  }
  // Conversations flow, and another tenant has a rate of its own.
  await h.enqueue('reply', { chat: chatOf(30) })
  const theirs = makeInstanceId()
  h.queue.dispatcher.instanceOnline(theirs)
  await h.enqueue('theirs', { chat: chatOf(4), instance: theirs, tenant: parseTenantId('other') })
  await h.quiet()
  assert.deepEqual([...sentAt.keys()].toSorted(), ['0', '1', 'reply', 'theirs'])
  assert.deepEqual(await whyOf(h, ids[5]!), [['TENANT_RATE', began + 120 * SECOND]])
  assert.deepEqual(h.queue.dispatcher.stats().lanes, 0)
  // A second one to a chat that waits does not pass the first one.
  await h.enqueue('2 again', { chat: chatOf(2) })
  await h.advance(200 * SECOND, SECOND)
  assert.deepEqual(
    ['2', '3', '4', '5', '2 again'].map((text) => sentAt.get(text)),
    [30, 60, 90, 120, 150],
  )
  // What is not needed any more is given to others with the sweep.
  const more: MessageId[] = []
  for (let n = 10; n < 20; n++) {
    h.sender.standings.set(chatOf(n), stranger)
    more.push((await h.enqueue(`${n}`, { chat: chatOf(n) })).id)
    await h.quiet()
  }
  for (const id of more.slice(0, 9)) await h.queue.outbox.cancel(id).catch(() => undefined)
  await h.queue.sweep.pass()
  await h.advance(31 * SECOND, SECOND)
  assert(sentAt.has('19'), 'it moved up')
})

test('what waits for the rate of a tenant comes in its turn after a crash, and at once when the rate is lifted', async (t) => {
  const h = await careful(t, { tenant: { everyMs: 60 * SECOND, burst: 1 }, maxNewContactsPerDay: 1000 })
  for (let n = 0; n < 5; n++) {
    h.sender.standings.set(chatOf(n), stranger)
    await h.enqueue(`${n}`, { chat: chatOf(n) })
    await h.quiet()
  }
  assert.deepEqual(h.sender.texts, ['0'])
  await h.crash()
  await h.enqueue('1 again', { chat: chatOf(1) })
  await h.advance(70 * SECOND, SECOND)
  assert.deepEqual(h.sender.texts, ['0', '1'])
  await h.queue.limits.put({ tenant: exatron, instance: null, options: { tenant: { everyMs: 0, burst: 1 } } })
  await h.advance(10 * SECOND, SECOND)
  assert.deepEqual(h.sender.texts.slice(2).toSorted(), ['1 again', '2', '3', '4'])
})

testOnce('a place that nobody comes for in time is lost, and past the bound nobody is given one', () => {
  const places = new Places<string>(2, 60 * SECOND)
  const rate = { everyMs: 10 * SECOND, burst: 1 }
  const of = (seq: number, now: number, within = DAY) => places.of('a', seq, { rate, now, within })
  assert.deepEqual([of(1, 0), of(2, 0), of(3, 0), of(4, 0), of(5, 0)], [0, 10_000, 20_000, 30_000, 30_000])
  assert.equal(places.size, 2)
  assert.deepEqual([of(2, 5000), of(2, 10_000), of(2, 11_000)], [10_000, 10_000, 11_000])
  places.done(2)
  assert.equal(places.size, 1)
  assert.equal(of(3, 20_000 + HOUR), 20_000 + HOUR)
  // Too late for it, so the place stays free for others.
  assert.equal(of(6, 20_000 + HOUR, 20_000 + HOUR + 10_000), 30_000 + HOUR)
  assert.equal(of(7, 20_000 + HOUR), 30_000 + HOUR)
  assert.deepEqual([...places.counts(20_000 + HOUR)], [['a', 1]])
  places.free('a')
  assert.equal(of(8, 20_000 + HOUR), 20_000 + HOUR)
  assert.equal(places.size, 0)
})

test('new contacts past the budget of a day wait for the next one without holding conversations up or taking memory', async (t) => {
  const h = await careful(t, { maxNewContactsPerDay: 3, instance: { everyMs: 0, burst: 1 } })
  for (let n = 0; n < 50; n++) h.sender.standings.set(chatOf(n), stranger)
  const ids = []
  for (let n = 0; n < 50; n++)
    ids.push((await h.enqueue(`${n}`, { chat: chatOf(n), expiresAt: h.clock.now() + 60 * DAY })).id)
  await h.advance(10 * SECOND, 1000)
  assert.equal(h.sender.sends.length, 3)
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 1, timers: 0 })
  assert.equal((await whyOf(h, ids[40]!))[0]?.[0], 'NEW_CONTACT_BUDGET')
  // Who is in conversation is no new contact, and who was written to is none any more.
  await h.enqueue('answer', { chat: chatB })
  await h.enqueue('again', { chat: h.sender.sends[0]!.chat })
  await h.crash()
  await h.advance(7 * SECOND, 1000)
  assert.deepEqual(h.sender.texts.slice(3).toSorted(), ['again', 'answer'])
  await h.advance(DAY, HOUR)
  assert.equal(h.sender.sends.length, 8)
})

test('each new contact past the budget gets a time of its own, and its message lives to see it', async (t) => {
  const h = await careful(t, { maxNewContactsPerDay: 2 })
  const began = h.clock.now()
  const ids: MessageId[] = []
  for (let n = 10; n < 16; n++) {
    h.sender.standings.set(chatOf(n), stranger)
    ids.push((await h.enqueue(`${n}`, { chat: chatOf(n) })).id)
    await h.quiet()
    await h.advance(60_000, 10_000)
  }
  assert.deepEqual(h.sender.texts, ['10', '11'])
  const untilOf = async (nth: number): Promise<unknown> => {
    const [held] = await whyOf(h, ids[nth]!)
    return [held?.[0], Math.floor(((held?.[1] as number) - began) / 60_000) / 60]
  }
  assert.deepEqual(await Promise.all([2, 3, 4, 5].map(untilOf)), [
    ['NEW_CONTACT_BUDGET', 24],
    ['NEW_CONTACT_BUDGET', Math.floor(24 * 60 + 1) / 60],
    ['NEW_CONTACT_BUDGET', 48],
    ['NEW_CONTACT_BUDGET', Math.floor(48 * 60 + 1) / 60],
  ])
  await h.advance(26 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.deepEqual(h.sender.texts.slice(2), ['12', '13'])
  await h.crash()
  await h.advance(26 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.deepEqual(h.sender.texts.slice(4), ['14', '15'])
})

test('a new contact for whom no time comes in time is told so and expires as ever; a time nobody needs is free again', async (t) => {
  const h = await careful(t, { maxNewContactsPerDay: 1 })
  const ids: MessageId[] = []
  for (let n = 10; n < 19; n++) {
    h.sender.standings.set(chatOf(n), stranger)
    ids.push((await h.enqueue(`${n}`, { chat: chatOf(n) })).id)
    await h.quiet()
  }
  const heldOf = async (nth: number) => (await h.queue.control.why(ids[nth]!)).waits[0]?.message ?? ''
  assert.doesNotMatch(await heldOf(6), /expires/)
  assert.match(await heldOf(7), /; it expires before it may go$/)
  for (const id of ids.slice(1, 4)) await h.queue.outbox.cancel(id)
  await h.queue.sweep.pass()
  await h.quiet()
  assert.doesNotMatch(await heldOf(7), /expires/)
  for (const n of [20, 21]) {
    h.sender.standings.set(chatOf(n), stranger)
    ids.push((await h.enqueue(`${n}`, { chat: chatOf(n) })).id)
    await h.quiet()
  }
  assert.doesNotMatch(await heldOf(9), /expires/)
  assert.match(await heldOf(10), /expires/)
  await h.advance(25 * HOUR, HOUR)
  await h.queue.sweep.pass()
  assert.equal((await h.queue.outbox.status(ids[10]!))?.failure?.code, 'QUEUE_MESSAGE_EXPIRED')
  await h.advance(6 * DAY, 2 * HOUR)
  assert.deepEqual(h.sender.texts, ['10', '14', '15', '16', '17', '18', '20'])
})

test('one contact gets so many messages in an hour and in a day; the rest keep their order, other chats go on', async (t) => {
  const ceilings = { maxPerContactHour: 3, maxPerContactDay: 5, conversation: { everyMs: 0, burst: 1 } }
  const h = await careful(t, ceilings)
  h.sender.standings.set(chatA, { ...stranger, lastInboundAt: h.clock.now() + 40 * HOUR })
  const began = h.clock.now()
  const ids = []
  for (let n = 1; n <= 7; n++) ids.push((await h.enqueue(`${n}`)).id)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1', '2', '3'])
  assert.deepEqual(await whyOf(h, ids[4]!), [['CONTACT_LIMIT', began + HOUR]])
  await h.enqueue('other', { chat: chatB })
  await h.advance(HOUR - 1000, 1000 * 60)
  await h.enqueue('8')
  await h.advance(2000, 1000)
  assert.deepEqual(h.sender.texts.slice(3), ['other', '4', '5'])
  assert.deepEqual(await whyOf(h, ids[6]!), [['CONTACT_LIMIT', began + DAY]])
  await h.advance(DAY, HOUR)
  assert.deepEqual(h.sender.texts.slice(6), ['6', '7', '8'])
  for (let n = 9; n <= 13; n++) await h.enqueue(`${n}`)
  await h.quiet()
  assert.deepEqual(h.sender.texts.slice(9), ['9', '10'])
  // After a restart nobody knows how many it were.
  await h.crash()
  assert.deepEqual(h.sender.texts.slice(9), ['9', '10', '11', '12', '13'])
  assert.deepEqual(h.queue.dispatcher.stats().lanes, 0)
})

test('messages of a held chat keep their order when they come back, also one accepted in the meantime', async (t) => {
  const h = await careful(t, { maxNewContactsPerDay: 0 })
  for (const words of ['1', '2', '3']) await h.enqueue(words)
  await h.quiet()
  await h.enqueue('4')
  await h.quiet()
  assert.deepEqual(h.sender.texts, [])
  h.sender.standings.set(chatA, inConversation(h))
  await h.queue.dispatcher.inboundArrived(h.instance, chatA)
  await h.enqueue('5')
  await h.advance(10 * SECOND, 500)
  assert.deepEqual(h.sender.texts, ['1', '2', '3', '4', '5'])
})

test('proactive messages wait for the morning where the contact is; replies and who is awake do not', async (t) => {
  const h = await careful(t, {}, noPacing)
  h.sender.standings.set(chatA, agreed)
  // 12:00 UTC is 09:00 there; 23:30 UTC is 20:30.
  await h.advance(11.5 * HOUR, HOUR)
  const night = h.clock.now()
  const { id } = await h.enqueue('news', { purpose: 'proactive' })
  await h.quiet()
  assert.deepEqual(await whyOf(h, id), [['QUIET_HOURS', Date.UTC(2026, 0, 6, 11)]])
  h.sender.standings.set(chatB, { ...agreed, lastInboundAt: night - 10 * 60_000 })
  await h.enqueue('to one awake', { purpose: 'proactive', chat: chatB })
  h.sender.standings.set(chatOf(5), stranger)
  await h.enqueue('no news', { chat: chatOf(5) })
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['to one awake', 'no news'])
  await h.advance(Date.UTC(2026, 0, 6, 11) - night + 7000, 600_000)
  assert.deepEqual(h.sender.texts.slice(2), ['news'])
})

test('a proactive message that was not answered is followed by none within a day, two by none at all', async (t) => {
  const h = await careful(t)
  h.sender.standings.set(chatA, agreed)
  await h.enqueue('1', { purpose: 'proactive' })
  const { id } = await h.enqueue('2', { purpose: 'proactive', expiresAt: h.clock.now() + 9 * DAY })
  await h.enqueue('3', { purpose: 'proactive', expiresAt: h.clock.now() + 9 * DAY })
  await h.advance(HOUR, 600_000)
  assert.deepEqual(h.sender.texts, ['1'])
  assert.equal((await whyOf(h, id))[0]?.[0], 'UNANSWERED')
  await h.advance(5 * DAY, HOUR)
  assert.deepEqual(h.sender.texts, ['1', '2'])
  h.sender.standings.set(chatA, { ...agreed, lastInboundAt: h.clock.now() })
  await h.queue.dispatcher.inboundArrived(h.instance, chatA)
  await h.advance(10 * SECOND, SECOND)
  assert.deepEqual(h.sender.texts, ['1', '2', '3'])
})

test('who opted out gets nothing until they write again, and proactive messages not even then; limits off or on', async (t) => {
  const h = await careful(t, { enabled: false })
  const optedOutAt = h.clock.now()
  const failed = async (more: object = {}): Promise<string | undefined> => {
    const { id } = await h.enqueue('x', more)
    await h.quiet()
    return (await h.queue.outbox.status(id))?.failure?.code
  }
  h.sender.standings.set(chatA, { ...stranger, optedOutAt, lastInboundAt: optedOutAt })
  assert.equal(await failed(), 'CONTACT_OPTED_OUT')
  assert.equal(await failed({ purpose: 'reply' }), 'CONTACT_OPTED_OUT')
  const before = await h.enqueue('accepted before', { sendAt: optedOutAt + 1500 })
  await h.advance(1000)
  h.sender.standings.set(chatA, { ...stranger, optedOutAt, lastInboundAt: h.clock.now() })
  assert.equal(await failed(), undefined)
  assert.equal(await failed({ purpose: 'proactive' }), 'CONTACT_OPTED_OUT')
  assert.equal(await failed({ purpose: 'automatic' }), 'CONTACT_OPTED_OUT')
  await h.advance(1000)
  assert.equal((await h.queue.outbox.status(before.id))?.failure?.code, 'CONTACT_OPTED_OUT')
  h.sender.standings.set(chatA, stranger)
  assert.equal(await failed({ purpose: 'proactive' }), 'CONTACT_CONSENT_MISSING')
  h.sender.standings.set(chatA, agreed)
  assert.equal(await failed({ purpose: 'proactive' }), undefined)
  assert.equal(h.sender.sends.length, 2)
})

test('an opt-out counts for what is tried again, is being typed, or waits for its time; not for its own confirmation', async (t) => {
  const h = await careful(t, {}, defaultPacing)
  const optOut = (): void =>
    void h.sender.standings.set(chatA, { ...agreed, optedOutAt: h.clock.now(), lastInboundAt: h.clock.now() })
  const talks = (): void => void h.sender.standings.set(chatA, { ...agreed, lastInboundAt: h.clock.now() })
  const codeOfMessage = async ({ id }: { readonly id: Parameters<typeof h.queue.outbox.status>[0] }) =>
    (await h.queue.outbox.status(id))?.failure?.code

  talks()
  h.sender.outcome = () => sessionError('SESSION_RATE_LIMITED', 'later', 'no')
  const retried = await h.enqueue('tried again')
  await h.advance(60 * SECOND, 500)
  assert.deepEqual(new Set(h.sender.texts), new Set(['tried again']))
  optOut()
  h.sender.sends.length = 0
  h.sender.outcome = () => 'ack'
  await h.advance(HOUR, 60_000)
  assert.equal(await codeOfMessage(retried), 'CONTACT_OPTED_OUT')

  talks()
  h.sender.seen.length = 0
  const typed = await h.enqueue('typed '.repeat(20))
  await h.advance(10 * SECOND, 500)
  assert(h.sender.seen.includes('composing'))
  optOut()
  await h.advance(60 * SECOND, 500)
  assert.equal(await codeOfMessage(typed), 'CONTACT_OPTED_OUT')

  talks()
  const later = await h.enqueue('later', { sendAt: h.clock.now() + HOUR })
  optOut()
  await h.enqueue('you get nothing more', { purpose: 'confirmation' })
  await h.advance(2 * HOUR, 60_000)
  assert.equal(await codeOfMessage(later), 'CONTACT_OPTED_OUT')
  assert.deepEqual(h.sender.texts, ['you get nothing more'])
})

for (const [code, retry] of [
  ['SESSION_ACCOUNT_RESTRICTED', 'never'],
  ['SESSION_RATE_LIMITED', 'later'],
] as const) {
  test(`${code} to a stranger pauses cold chats, visibly and over a crash, while conversations flow`, async (t) => {
    const h = await careful(t)
    const restricted = sessionError(code, retry, 'no')
    let isRestricted = true
    h.sender.outcome = ({ chat }) => (isRestricted && chat !== chatB ? restricted : 'ack')
    const cold = await h.enqueue('cold')
    await h.quiet()
    const until = h.clock.now() + HOUR
    assert.deepEqual(await whyOf(h, cold.id), [['COLD_PAUSED', until]])
    assert.equal((await h.rows())[0]?.['attempts'], 0)
    h.sender.standings.set(chatOf(1), stranger)
    const other = await h.enqueue('other cold', { chat: chatOf(1) })
    await h.enqueue('answer', { chat: chatB })
    await h.crash()
    await h.advance(20 * SECOND, SECOND)
    assert.deepEqual(h.sender.texts, ['cold', 'answer'])
    assert.deepEqual(await whyOf(h, other.id), [['COLD_PAUSED', until]])
    const { coldPause } = await h.queue.control.instance(exatron, h.instance)
    assert.deepEqual(coldPause, { until, code, count: 1 })
    assert.deepEqual(
      h.events.filter((name) => name === 'cold_chats.paused'),
      ['cold_chats.paused'],
    )
    isRestricted = false
    await h.advance(HOUR, 60_000)
    await h.advance(10 * SECOND, SECOND)
    assert.deepEqual(h.sender.texts.slice(2).toSorted(), ['cold', 'other cold'])
    assert.equal((await h.queue.control.instance(exatron, h.instance)).coldPause, null)
  })
}

test('an instance has its own limits before its tenant’s before everybody’s, at once for what they held, and over a crash', async (t) => {
  const h = await careful(t, { maxNewContactsPerDay: 0 })
  await h.enqueue('held')
  await h.quiet()
  assert.deepEqual(h.sender.texts, [])
  await h.queue.limits.put({ tenant: exatron, instance: null, options: { maxNewContactsPerDay: 1 } })
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['held'])
  const own = { tenant: exatron, instance: h.instance, options: { quiet: { from: 0, to: 1439 } } }
  await h.queue.limits.put(own)
  await h.crash()
  assert.equal(h.queue.limits.of(exatron, h.instance).maxNewContactsPerDay, 1)
  h.sender.standings.set(chatOf(9), agreed)
  const { id } = await h.enqueue('in a long night', { purpose: 'proactive', chat: chatOf(9) })
  await h.quiet()
  assert.equal((await whyOf(h, id))[0]?.[0], 'NEW_CONTACT_BUDGET')
  await h.queue.limits.put({ ...own, options: { ...own.options, maxNewContactsPerDay: 9 } })
  await h.quiet()
  assert.equal((await whyOf(h, id))[0]?.[0], 'QUIET_HOURS')
  await h.queue.limits.put({ ...own, options: { enabled: false } })
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['held', 'in a long night'])
  await assert.rejects(
    h.queue.limits.put({ ...own, options: { zone: 'Mars/Olympus' } }),
    (error: EclusaError) => error.code === 'QUEUE_BAD_CARE' && error.details['field'] === 'zone',
  )
  await h.queue.limits.delete(exatron, h.instance)
  const told = (await h.eventLog.read({ after: 0, limit: 100 })).filter(
    ({ type }) => type === 'limits.changed',
  )
  assert.deepEqual(
    told.map(({ instance, payload }) => [
      instance === null,
      Object.keys((payload as { options: object }).options),
    ]),
    [
      [true, ['maxNewContactsPerDay']],
      [false, ['quiet']],
      [false, ['quiet', 'maxNewContactsPerDay']],
      [false, ['enabled']],
      [false, []],
    ],
  )
})

testOnce('quiet hours end in the morning of the zone, also in the night in which its clocks change', () => {
  const weekday = { quietSundays: false, holidays: [] }
  const quiet = { ...weekday, quiet: { from: 20 * 60, to: 8 * 60 } }
  const end = (iso: string, zone: string): string | null => {
    const at = quietEndOf(Date.parse(iso), quiet, zone)
    return at === null ? null : new Date(at).toISOString()
  }
  assert.equal(end('2026-01-05T12:00:00Z', 'America/Sao_Paulo'), null)
  assert.equal(end('2026-01-05T22:59:59Z', 'America/Sao_Paulo'), null)
  assert.equal(end('2026-01-05T23:00:00Z', 'America/Sao_Paulo'), '2026-01-06T11:00:00.000Z')
  assert.equal(end('2026-01-06T10:59:59Z', 'America/Sao_Paulo'), '2026-01-06T11:00:00.000Z')
  assert.equal(end('2026-01-06T11:00:00Z', 'America/Sao_Paulo'), null)
  // Lisbon puts its clocks forward on 29 March 2026 and back on 25 October.
  assert.equal(end('2026-03-28T22:00:00Z', 'Europe/Lisbon'), '2026-03-29T07:00:00.000Z')
  assert.equal(end('2026-10-24T22:00:00Z', 'Europe/Lisbon'), '2026-10-25T08:00:00.000Z')
  assert.equal(quietEndOf(0, { ...weekday, quiet: { from: 60, to: 60 } }, 'UTC'), null)
  assert.equal(quietEndOf(13 * HOUR, { ...weekday, quiet: { from: 12 * 60, to: 14 * 60 } }, 'UTC'), 14 * HOUR)
})

testOnce(
  'Sundays and holidays are quiet from midnight to midnight of the zone, with the nights around them',
  () => {
    const times = {
      quiet: { from: 20 * 60, to: 8 * 60 },
      quietSundays: true,
      holidays: ['12-25', '2026-12-24', '02-29'],
    }
    const end = (iso: string, more = {}): string | null => {
      const at = quietEndOf(Date.parse(iso), { ...times, ...more }, 'America/Sao_Paulo')
      return at === null ? null : new Date(at).toISOString()
    }
    // Saturday evening to Monday morning.
    assert.equal(end('2026-01-03T22:59:00Z'), null)
    assert.equal(end('2026-01-03T23:00:00Z'), '2026-01-05T11:00:00.000Z')
    assert.equal(end('2026-01-04T15:00:00Z'), '2026-01-05T11:00:00.000Z')
    assert.equal(end('2026-01-04T15:00:00Z', { quietSundays: false }), null)
    // Without nights the day itself.
    assert.equal(end('2026-01-04T02:59:00Z', { quiet: { from: 0, to: 0 } }), null)
    assert.equal(end('2026-01-04T03:00:00Z', { quiet: { from: 0, to: 0 } }), '2026-01-05T03:00:00.000Z')
    // 24 December in 2026 alone, the 25th always; 27 December 2026 is a Sunday.
    assert.equal(end('2026-12-24T15:00:00Z'), '2026-12-26T11:00:00.000Z')
    assert.equal(end('2027-12-24T15:00:00Z'), null)
    assert.equal(end('2027-12-25T15:00:00Z'), '2027-12-27T11:00:00.000Z')
    assert.equal(end('2028-02-29T15:00:00Z'), '2028-03-01T11:00:00.000Z')
    assert.deepEqual(
      ['12-25', '02-29', '2028-02-29', '2027-02-29', '13-01', '1-1', '2026-12-25T00', ''].map(isDayOfRest),
      [true, true, true, false, false, false, false, false],
    )
  },
)

testOnce('a rate lets its burst go at once, then one each interval, and whole ones are forgotten', () => {
  const rates = new Rates(20_000)
  const rate = { everyMs: 6000, burst: 5 }
  assert.deepEqual(
    Array.from({ length: 8 }, () => rates.take('a', rate, 1000)),
    [1000, 1000, 1000, 1000, 1000, 7000, 13_000, 19_000],
  )
  assert.equal(rates.freeAt('a', rate, 1000), 25_000)
  assert.equal(rates.freeAt('b', rate, 1000), 1000)
  rates.take('b', rate, 100_000)
  assert.equal(rates.size, 1)
  for (let n = 0; n < 30_000; n++) rates.take(`${n}`, rate, 100_000)
  assert.equal(rates.size, 20_000)
})

testOnce('the log of sends forgets what is a day ago, and the longest unused when there is too much', () => {
  const sent = new SendLog(100)
  const ceilings = { maxPerContactHour: 2, maxPerContactDay: 3 }
  for (const at of [0, 1000]) sent.add('a', at)
  assert.equal(sent.freeAt('a', ceilings, 1000), HOUR)
  sent.add('a', HOUR)
  assert.equal(sent.freeAt('a', ceilings, 2 * HOUR), DAY)
  assert.equal(sent.freeAt('b', ceilings, 2 * HOUR), 2 * HOUR)
  for (let n = 0; n < 150; n++) sent.add(`${n}`, 2 * HOUR)
  assert.equal(sent.size, 100)
  assert.equal(sent.freeAt('a', ceilings, 2 * HOUR), 2 * HOUR)
  for (let n = 0; n < 5000; n++) sent.add('busy', 2 * HOUR)
  assert.equal(sent.size, 1)
  sent.add('b', 3 * DAY)
  assert.equal(sent.size, 1)
})

testOnce('limits that make no sense are refused, naming the field', () => {
  for (const [wrong, field] of [
    [{ cold: { everyMs: -1, burst: 1 } }, 'cold'],
    [{ instance: { everyMs: 1, burst: 0 } }, 'instance'],
    [{ maxNewContactsPerDay: -1 }, 'maxNewContactsPerDay'],
    [{ quiet: { from: 0, to: 1440 } }, 'quiet'],
    [{ zone: 'Brazil' }, 'zone'],
    [{ tenant: { everyMs: -1, burst: 1 } }, 'tenant'],
    [{ holidays: ['2027-02-29'] }, 'holidays'],
    [{ holidays: ['25/12'] }, 'holidays'],
    [{ maxSameTextPerHour: 0 }, 'maxSameTextPerHour'],
    [{ minRepliesPercent: 101 }, 'minRepliesPercent'],
    [{ holidays: Array.from({ length: MAX_DAYS_OF_REST + 1 }, () => '12-25') }, 'holidays'],
    [{ maxPerContactDay: 0 }, 'maxPerContactDay'],
    [{ maxPerContactHour: 1001 }, 'maxPerContactHour'],
  ] as const) {
    assert.throws(
      () => checkCare({ ...defaultCare, ...wrong }),
      (error: EclusaError) => error.code === 'QUEUE_BAD_CARE' && error.details['field'] === field,
    )
  }
})
