import assert from 'node:assert/strict'
import { type ChatId, MINUTE } from '@eclusa/kernel'
import { codeOf } from '@eclusa/kernel/test-kit'
import { openTestDatabase, testEachDatabase as test } from '@eclusa/storage/test-kit'
import { flowMigrations, parseSectorId } from '../src/index.ts'
import {
  acme,
  type Bench,
  benchOn,
  chatOfContact,
  contactOf,
  done,
  openBench,
  originOf,
  shop,
  whyOf,
} from './harness.ts'

const api = { by: 'api' } as const

test('opens one conversation for a contact, and files every message in it once', async (t) => {
  const bench = await openBench(t)
  const { conversations } = bench
  const message = { contact: contactOf(1), chat: chatOfContact(1), at: bench.clock.now() }
  const first = await conversations.receive(originOf(1), message)
  assert.equal(first.isNew, true)
  assert.deepEqual(await conversations.receive(originOf(1), message), {
    ...first,
    conversation: await conversations.get(acme, first.conversation.id),
  })
  const second = await conversations.receive(originOf(2), message)
  assert.equal(second.isNew, false)
  assert.equal(second.conversation.id, first.conversation.id)
  assert.deepEqual(
    (await conversations.history(first.conversation, { after: 0, limit: 100 })).map((one) => [
      one.kind,
      one.journalId,
    ]),
    [
      ['opened', null],
      ['inbound', 1],
      ['inbound', 2],
    ],
  )
  assert.deepEqual(await bench.eventTypes(), ['conversation.opened'])
})

test('makes one conversation of 50 messages of one contact that come at the same time', async (t) => {
  const bench = await openBench(t)
  const received = await Promise.all(Array.from({ length: 50 }, () => bench.write(1)))
  assert.equal(new Set(received.map(({ id }) => id)).size, 1)
  const history = await bench.conversations.history(received[0]!, { after: 0, limit: 100 })
  assert.equal(history.filter(({ kind }) => kind === 'inbound').length, 50)
  assert.equal(history.filter(({ kind }) => kind === 'opened').length, 1)
})

test('gives the line in the order in which it came, as operators have room', async (t) => {
  const bench = await openBench(t)
  const { conversations } = bench
  const sales = await bench.sector('sales')
  const waiting = []
  for (let nth = 1; nth <= 5; nth++) {
    const conversation = await bench.write(nth)
    waiting.push(done(await conversations.waitInLine(conversation, { ...api, sector: sales })))
  }
  assert.deepEqual(await Promise.all(waiting.map((one) => conversations.positionOf(one))), [0, 1, 2, 3, 4])
  const ana = await bench.operator('Ana', 2, [{ sector: sales, skills: [] }])
  await conversations.line.move(acme, sales)
  const assignedTo = async (): Promise<readonly number[]> => {
    const { items } = await conversations.list(acme, { operator: ana.id }, { before: 1e9, limit: 10 })
    return items.map(({ contact }) => Number(contact.slice(4))).toReversed()
  }
  assert.deepEqual(await assignedTo(), [1, 2])
  done(await conversations.close(waiting[0]!, { ...api, reason: 'done' }))
  await conversations.line.move(acme, sales)
  assert.deepEqual(await assignedTo(), [2, 3])
  assert.equal((await conversations.operators.get(acme, ana.id))?.assignedCount, 2)
})

test('refuses an operator without room, and one who is not there', async (t) => {
  const bench = await openBench(t)
  const { conversations } = bench
  const sales = await bench.sector('sales')
  const ana = await bench.operator('Ana', 1, [{ sector: sales, skills: [] }])
  const [one, two] = [await bench.write(1), await bench.write(2)]
  done(await conversations.assign(one, { ...api, operator: ana.id }))
  assert.equal(whyOf(await conversations.assign(two, { ...api, operator: ana.id })), 'OPERATOR_FULL')
  done(await conversations.close(one, { ...api, reason: 'done' }))
  await conversations.operators.change(acme, ana.id, { availability: 'away' })
  assert.equal(whyOf(await conversations.assign(two, { ...api, operator: ana.id })), 'OPERATOR_AWAY')
  done(await conversations.assign(two, { ...api, operator: ana.id, evenIfAway: true }))
  assert.equal(await conversations.lastOperatorOf(acme, contactOf(2)), ana.id)
  assert.equal((await conversations.notClosedOf(shop, contactOf(2)))?.operator, ana.id)
})

test('goes on in the same conversation soon after its end, with who answered it, and in a new one later', async (t) => {
  const bench = await openBench(t)
  const { conversations, clock } = bench
  const sales = await bench.sector('sales')
  const ana = await bench.operator('Ana', 1, [{ sector: sales, skills: [] }])
  const first = await bench.write(1)
  done(await conversations.distribute(first, { by: 'flow', sector: sales }))
  done(await conversations.close(first, { by: ana.id, reason: 'done' }))
  await clock.tick(10 * MINUTE)
  const again = await conversations.receive(originOf(50), {
    contact: contactOf(1),
    chat: chatOfContact(1),
    at: clock.now(),
  })
  assert.deepEqual(
    [again.isNew, again.isReopened, again.conversation.id, again.conversation.operator],
    [false, true, first.id, ana.id],
  )
  // The same message again, also after a crash in the middle of what comes next.
  const message = { contact: contactOf(1), chat: chatOfContact(1), at: clock.now() }
  assert.equal((await conversations.receive(originOf(50), message)).isReopened, true)
  done(await conversations.close(first, { by: ana.id, reason: 'done' }))
  // She has no room now: to the line.
  const other = await bench.write(2)
  done(await conversations.assign(other, { ...api, operator: ana.id }))
  const waits = await bench.write(1)
  assert.deepEqual([waits.id, waits.state, waits.sector], [first.id, 'open', sales])
  assert.notEqual(waits.waitingSince, null)
  done(await conversations.close(first, { by: 'api', reason: 'done' }))
  await clock.tick(10 * MINUTE + 1)
  const later = await bench.write(1)
  assert.notEqual(later.id, first.id)
  assert.equal(whyOf(await conversations.reopen(first, api)), 'ANOTHER_OPEN')
})

test('returns a conversation to where it stood in the line, and a transferred one to the end', async (t) => {
  const bench = await openBench(t)
  const { conversations } = bench
  const sales = await bench.sector('sales')
  const support = await bench.sector('support')
  const ana = await bench.operator('Ana', 1, [{ sector: sales, skills: [] }])
  const [one, two, three] = [await bench.write(1), await bench.write(2), await bench.write(3)]
  for (const each of [one, two, three])
    done(await conversations.distribute(each, { by: 'flow', sector: sales }))
  await conversations.operators.change(acme, ana.id, { availability: 'away' })
  done(await conversations.returnToLine(one, { by: ana.id, comment: 'lunch' }))
  assert.deepEqual(
    await Promise.all([one, two, three].map((each) => conversations.positionOf(each))),
    [0, 1, 2],
  )
  done(await conversations.transferToSector(one, { ...api, sector: support }))
  done(await conversations.transferToSector(one, { ...api, sector: sales, comment: 'wrong place' }))
  assert.deepEqual(
    await Promise.all([one, two, three].map((each) => conversations.positionOf(each))),
    [2, 0, 1],
  )
  const history = await conversations.history(one, { after: 0, limit: 100 })
  assert.deepEqual(
    history.map(({ kind, sector, operator, text }) => [kind, sector, operator, text]),
    [
      ['opened', null, null, null],
      ['inbound', null, null, null],
      ['waiting', 'sales', null, null],
      ['assigned', 'sales', ana.id, null],
      ['waiting', 'sales', ana.id, 'lunch'],
      ['transferred', 'support', null, null],
      ['transferred', 'sales', null, 'wrong place'],
    ],
  )
})

test('lets nobody be passed by who needs what is not there, and passes nobody whom the free one can answer', async (t) => {
  const bench = await openBench(t)
  const { conversations } = bench
  const sales = await bench.sector('sales')
  const ana = await bench.operator('Ana', 0, [{ sector: sales, skills: ['english', 'money'] }])
  const bia = await bench.operator('Bia', 0, [{ sector: sales, skills: [] }])
  const wants = ['money', 'french', null, 'english', null] as const
  for (const [nth, skill] of wants.entries()) {
    done(await conversations.waitInLine(await bench.write(nth), { by: 'flow', sector: sales, skill }))
  }
  const order: number[] = []
  for (const id of [bia.id, ana.id, ana.id, ana.id]) {
    const { capacity } = (await conversations.operators.get(acme, id))!
    await conversations.operators.change(acme, id, { capacity: capacity + 1 })
    await conversations.line.move(acme, sales)
    const { items } = await conversations.list(acme, { operator: id }, { before: 1e9, limit: 10 })
    order.push(...items.map(({ contact }) => Number(contact.slice(4))).filter((nth) => !order.includes(nth)))
  }
  assert.deepEqual(order, [2, 0, 3, 4])
})

test('gives turns as the sector wants, and leaves the line of a manual one to the operators', async (t) => {
  const bench = await openBench(t)
  const { conversations } = bench
  const sales = await bench.sector('sales', 'round_robin')
  const names = ['Ana', 'Bia', 'Caio']
  const ids: string[] = []
  for (const name of names) ids.push((await bench.operator(name, 9, [{ sector: sales, skills: [] }])).id)
  const got: string[] = []
  for (let nth = 1; nth <= 6; nth++) {
    const one = done(await conversations.distribute(await bench.write(nth), { by: 'flow', sector: sales }))
    got.push(one.operator!)
    // Who is done at once is not before the others for it.
    if (nth === 1) done(await conversations.close(one, { ...api, reason: 'done' }))
  }
  assert.deepEqual(got.slice(3), got.slice(0, 3))
  assert.deepEqual(new Set(got), new Set(ids))
  const counter = await bench.sector('counter', 'manual')
  const dora = await bench.operator('Dora', 1, [{ sector: counter, skills: [] }])
  const waits = done(await conversations.distribute(await bench.write(7), { by: 'flow', sector: counter }))
  assert.equal(waits.state, 'open')
  assert.equal(done(await conversations.takeFirst(acme, counter, dora.id)).id, waits.id)
  assert.equal(whyOf(await conversations.takeFirst(acme, counter, dora.id)), 'OPERATOR_FULL')
})

test('gives nothing to who is outside of their hours, and lets the line move when these begin', async (t) => {
  const bench = await openBench(t)
  const { conversations, clock } = bench
  const sales = await bench.sector('sales')
  const ana = await bench.operator('Ana', 1, [{ sector: sales, skills: [] }])
  // The clock stands on Monday, 12:00 UTC.
  const week = { monday: [{ from: '12:01', to: '13:00' }] }
  await conversations.operators.change(acme, ana.id, { hours: { zone: 'UTC', week, holidays: [] } })
  const one = done(await conversations.distribute(await bench.write(1), { by: 'flow', sector: sales }))
  assert.equal(one.operator, null)
  assert.equal(whyOf(await conversations.assign(one, { ...api, operator: ana.id })), 'OPERATOR_AWAY')
  await clock.tick(MINUTE)
  await conversations.line.pass()
  assert.equal((await conversations.get(acme, one.id))?.operator, ana.id)
  const { sectors, operators, openedCount } = await conversations.statistics.since(acme, 0)
  const activity = { assignedCount: 1, averageWaitMs: MINUTE, longestWaitMs: MINUTE, closedCount: 0 }
  assert.deepEqual(sectors.get(sales), activity)
  assert.deepEqual(operators.get(ana.id), activity)
  assert.equal(openedCount, 1)
})

test('makes one of two conversations when their contacts prove to be one, with everything in order', async (t) => {
  const bench = await openBench(t)
  const { conversations } = bench
  const sales = await bench.sector('sales')
  const ana = await bench.operator('Ana', 2, [{ sector: sales, skills: [] }])
  const older = await bench.write(1)
  const younger = await bench.write(2)
  await bench.write(1)
  await bench.write(2)
  done(await conversations.assign(younger, { ...api, operator: ana.id }))
  await conversations.owners.set(acme, contactOf(1), ana.id)
  await conversations.traces.merged(acme, contactOf(1), contactOf(2))
  await conversations.traces.merged(acme, contactOf(1), contactOf(2))
  const kept = await conversations.notClosedOf(shop, contactOf(2))
  assert.deepEqual([kept?.id, kept?.operator], [older.id, ana.id])
  // One that was on its way under the old name.
  assert.equal((await bench.write(1)).id, older.id)
  const history = await conversations.history(older, { after: 0, limit: 100 })
  assert.deepEqual(
    history.filter(({ kind }) => kind === 'inbound').map(({ journalId }) => journalId),
    [1, 2, 3, 4, 5],
  )
  assert.equal((await conversations.get(acme, younger.id))?.closeReason, 'merged')
  assert.equal(whyOf(await conversations.reopen(younger, api)), 'MERGED')
  assert.equal((await conversations.operators.get(acme, ana.id))?.assignedCount, 1)
  assert.equal(await conversations.ownerOf(acme, contactOf(2)), ana.id)
  done(await conversations.close(older, { ...api, reason: 'done' }))
  assert.equal((await bench.write(2)).id, older.id)
})

test('gives a person out as a whole, and forgets them as a whole', async (t) => {
  const bench = await openBench(t, { reopenWithinMs: 0 })
  const { conversations, database } = bench
  const sales = await bench.sector('sales')
  const ana = await bench.operator('Ana', 2, [{ sector: sales, skills: [] }])
  const first = await bench.write(1)
  done(await conversations.note(first, { text: 'wants a discount', by: ana.id, key: 'a' }))
  done(await conversations.note(first, { text: 'wants a discount', by: ana.id, key: 'a' }))
  done(await conversations.close(first, { ...api, reason: 'done' }))
  const second = await bench.write(1)
  done(await conversations.assign(second, { ...api, operator: ana.id }))
  const stays = await bench.write(2)
  const pages = await Array.fromAsync(conversations.traces.exportContact(acme, contactOf(1)))
  assert.deepEqual(
    pages.map(({ conversation, entries }) => [conversation.id, entries.length]),
    [
      [second.id, 3],
      [first.id, 4],
    ],
  )
  assert(pages[1]?.entries.some(({ text }) => text === 'wants a discount'))
  assert.deepEqual(await conversations.traces.forgetContact(acme, contactOf(1)), {
    conversationCount: 2,
    entryCount: 7,
  })
  const left = await database.read('select conversation from "ConversationEntry"', [])
  assert.deepEqual(new Set(left.map((row) => row['conversation'])), new Set([stays.id]))
  assert.equal((await conversations.operators.get(acme, ana.id))?.assignedCount, 0)
  await conversations.traces.forgetInstance(shop)
  await conversations.traces.forgetTenant(acme)
  for (const table of ['Conversation', 'ConversationEntry', 'Sector', 'Operator', 'OperatorSector']) {
    assert.deepEqual(await database.read(`select * from "${table}"`, []), [])
  }
})

test('files an answer that was under way with whom the conversation is now, and nowhere once they are forgotten', async (t) => {
  const bench = await openBench(t)
  const { conversations, database } = bench
  const older = await bench.write(1)
  const younger = await bench.write(2)
  const answer = (messageSeq: number) =>
    conversations.plan.outboundEntry(younger, { messageSeq, text: `answer ${messageSeq}`, by: 'api' })
  const [late, later] = [answer(1), answer(2)]
  await conversations.traces.merged(acme, contactOf(2), contactOf(1))
  await database.write([late])
  const history = await conversations.history(older, { after: 0, limit: 100 })
  assert.deepEqual([history.at(-1)?.kind, history.at(-1)?.text], ['outbound', 'answer 1'])
  await conversations.traces.forgetContact(acme, contactOf(1))
  await database.write([later])
  assert.deepEqual(await database.read('select * from "ConversationEntry"', []), [])
})

test('files what was sent under another name before the contact writes under it, once, and again after a failure', async (t) => {
  const { database } = await openTestDatabase(t, flowMigrations)
  const sent = [5, 6, 7].map((seq) => ({ messageSeq: seq, text: seq === 6 ? null : `order ${seq}`, at: seq }))
  let isBroken = true
  const bench: Bench = benchOn(t, database, {
    renamed: async (conversation, chat) => {
      assert.notEqual(conversation.chat, chat)
      await bench.conversations.fileSent(conversation, sent)
      if (isBroken) throw new Error('cut off')
    },
  })
  const conversation = await bench.write(1)
  const lid = '77001@lid' as ChatId
  const message = { contact: contactOf(1), chat: lid, at: bench.clock.now() }
  await assert.rejects(bench.conversations.receive(originOf(2), message), /cut off/)
  isBroken = false
  await bench.conversations.receive(originOf(2), message)
  await bench.conversations.receive(originOf(3), message)
  const history = await bench.conversations.history(conversation, { after: 0, limit: 500 })
  assert.deepEqual(
    history.map(({ kind, messageSeq, text, actor, at }) => [kind, messageSeq, text, actor, at < 10]),
    [
      ['opened', null, null, 'contact', false],
      ['inbound', null, null, 'contact', false],
      ['outbound', 5, 'order 5', 'api', true],
      ['outbound', 6, null, 'api', true],
      ['outbound', 7, 'order 7', 'api', true],
      ['inbound', null, null, 'contact', false],
      ['inbound', null, null, 'contact', false],
    ],
  )
  done(await bench.conversations.close(conversation, { by: 'api', reason: 'done' }))
  await bench.conversations.fileSent(conversation, [{ messageSeq: 8, text: 'late', at: 8 }])
  await bench.conversations.rename(conversation, chatOfContact(1))
  const after = await bench.conversations.history(conversation, { after: 0, limit: 500 })
  assert.equal(after.length, history.length + 1, 'what is closed is closed')
  assert.equal((await bench.conversations.get(acme, conversation.id))?.chat, lid)
})

test('finds a place for who names no sector, also where there is none', async (t) => {
  const bench = await openBench(t)
  const { conversations } = bench
  const one = done(await conversations.waitInLine(await bench.write(1), { by: 'flow', sector: null }))
  assert.equal(one.sector, 'general')
  assert.equal(
    await codeOf(conversations.sectors.delete(acme, parseSectorId('general'))),
    'CONVERSATION_SECTOR_IN_USE',
  )
  const sales = await bench.sector('sales')
  await conversations.sectors.change(acme, sales, { isDefault: true })
  done(await conversations.close(one, { ...api, reason: 'done' }))
  await conversations.sectors.delete(acme, parseSectorId('general'))
  const next = done(await conversations.waitInLine(await bench.write(2), { by: 'flow', sector: null }))
  assert.equal(next.sector, sales)
})

test('never gives one operator more than they have room for, whoever asks', async (t) => {
  const here = await openBench(t)
  const sales = await here.sector('sales')
  const ana = await here.operator('Ana', 2, [{ sector: sales, skills: [] }])
  const all = []
  for (let nth = 1; nth <= 20; nth++) all.push(await here.write(nth))
  const outcomes = await Promise.all(
    all.map((one) => here.conversations.assign(one, { by: 'api', operator: ana.id })),
  )
  assert.equal(outcomes.filter((outcome) => outcome.done).length, 2)
})
