import assert from 'node:assert/strict'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { acme, chatOfContact, contactOf, done, openBench, originOf, shop, whyOf } from './harness.ts'

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
