import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type ChatId,
  chatOfNumber,
  DAY,
  type InboundContent,
  type InboundMessage,
  KIB,
  makeInstanceId,
  makeWaMessageId,
  MIB,
  MINUTE,
  parseTenantId,
  type WaMessageId,
  wordsOf,
} from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { EventLog } from '@eclusa/storage'
import { openTestDatabase, testEachDatabase, testSealer } from '@eclusa/storage/test-kit'
import { InboundJournal, sessionMigrations } from '../src/index.ts'

test('a page ends with the message that reaches its bytes, and pages together lose and repeat nothing', async (t) => {
  const { database } = await openTestDatabase(t, sessionMigrations)
  const clock = new ManualClock()
  const sealer = testSealer()
  const events = new EventLog({ database, sealer, clock })
  const journal = new InboundJournal({ database, sealer, events, clock })
  const instance = makeInstanceId()
  const sizes = [10, 40_000, 10, 10, 30_000, 50_000, 10]
  for (const [index, size] of sizes.entries()) {
    const chat = '5511900000001@s.whatsapp.net' as never
    await database.write(
      journal.append(parseTenantId('acme'), instance, {
        chat,
        author: chat,
        addressedAs: chat,
        waMessageId: makeWaMessageId(),
        fromMe: false,
        alias: null,
        content: { kind: 'text', text: String(index).repeat(size) },
        quoted: null,
        mentions: [],
        pushName: null,
        sentAt: clock.now(),
      }),
    )
  }
  const pages = async (maxBytes: number): Promise<number[][]> => {
    const found: number[][] = []
    let after: number | null = 0
    while (after !== null) {
      const { items, next }: Awaited<ReturnType<typeof journal.list>> = await journal.list({
        instance,
        after,
        limit: 500,
        maxBytes,
      })
      if (next !== null) found.push(items.map(({ message }) => wordsOf(message.content)?.length ?? 0))
      after = next
    }
    return found
  }
  assert.deepEqual(await pages(MIB), [sizes])
  assert.deepEqual(await pages(32 * KIB), [[10, 40_000], [10, 10, 30_000, 50_000], [10]])
  assert.deepEqual(
    await pages(1),
    sizes.map((size) => [size]),
    'one at least comes',
  )
})

const CAROL = chatOfNumber('5511900000001')
const forEver = new AbortController().signal

function messageFrom(
  chat: ChatId,
  content: InboundContent,
  more: Partial<InboundMessage> = {},
): InboundMessage {
  return {
    chat,
    author: chat,
    addressedAs: chat,
    waMessageId: makeWaMessageId(),
    fromMe: false,
    alias: null,
    content,
    quoted: null,
    mentions: [],
    pushName: null,
    sentAt: 0,
    ...more,
  }
}

testEachDatabase(
  'takes the content of what is old and done with, and knows each message ever after',
  async (t) => {
    const { database } = await openTestDatabase(t, sessionMigrations)
    const clock = new ManualClock()
    const sealer = testSealer()
    const journal = new InboundJournal({
      database,
      sealer,
      events: new EventLog({ database, sealer, clock }),
      clock,
    })
    const instance = makeInstanceId()
    const write = async (message: InboundMessage): Promise<InboundMessage> => {
      await database.write(journal.append(parseTenantId('acme'), instance, message, new Uint8Array(32)))
      return message
    }
    const listed = async (): Promise<readonly (string | null)[]> =>
      (await journal.list({ instance, after: 0, limit: 500, maxBytes: MIB })).items.map(({ message }) =>
        wordsOf(message.content),
      )
    const sweep = (): Promise<number> => journal.forgetContent(instance, clock.now() - 30 * DAY, forEver)

    const stuck = await write(messageFrom(CAROL, { kind: 'text', text: 'stuck' }))
    const poll = await write(
      messageFrom(CAROL, { kind: 'poll', text: 'Lunch?', options: ['yes', 'no'], maxChoices: 1 }),
    )
    for (let nth = 0; nth < 700; nth++) {
      await write(messageFrom(CAROL, { kind: 'text', text: `${nth}` }, { fromMe: nth % 2 === 1 }))
    }
    const unsettled = await journal.unsettledChats(instance, 0, 1000)
    for (const { id } of unsettled.slice(1)) await journal.settle(instance, id)
    const [waiting] = await journal.unsettledOf(instance, CAROL, { limit: 1, maxBytes: KIB })
    assert.ok(waiting !== undefined)
    await journal.setAside(parseTenantId('acme'), instance, waiting, 'no room')
    await clock.tick(30 * DAY)
    const young = await write(messageFrom(CAROL, { kind: 'text', text: 'young' }))
    for (const { id } of await journal.unsettledChats(instance, 0, 1000)) await journal.settle(instance, id)
    assert.equal(await sweep(), 0, 'nothing is older than that yet')
    await clock.tick(1)
    assert.equal(await sweep(), 701)
    assert.equal(await sweep(), 0, 'each once')

    assert.deepEqual(await listed(), ['stuck', 'young'], 'what waits for a person keeps its content')
    assert.deepEqual(
      (await journal.ofPerson(instance, [CAROL], 0)).map(({ message }) => wordsOf(message.content)),
      ['stuck', 'young'],
    )
    assert.deepEqual(await journal.ofIds(instance, [unsettled[1]?.id ?? 0], MIB), [])
    const key = { author: CAROL, waMessageId: poll.waMessageId }
    assert.equal(await journal.poll(instance, CAROL, key), undefined)
    const [row] = await database.read(
      'SELECT COUNT(*) AS count FROM "InboundMessage" WHERE length(sealed) > 0 AND instance = ?',
      [instance],
    )
    assert.equal(Number(row?.['count']), 2, 'nothing of it is on disk')

    // WhatsApp hands it over again: it is known, and nothing comes of it.
    assert.equal(await journal.has(instance, CAROL, CAROL, poll.waMessageId), true)
    await write({ ...poll, content: { kind: 'text', text: 'again' } })
    assert.deepEqual(await listed(), ['stuck', 'young'])
    assert.equal(await journal.lastInboundAt(instance, CAROL), clock.now() - 1)
    assert.deepEqual(await journal.unsettledBefore(instance, clock.now(), 10), [unsettled[0]?.id])
    assert.deepEqual(await journal.unsettledBefore(instance, 0, 10), [])
    const { items } = await journal.setAsideList({ instance, after: 0, limit: 10, maxBytes: MIB })
    assert.deepEqual(
      items.map(({ message }) => message.waMessageId),
      [stuck.waMessageId],
    )
    const missing = journal.missing(parseTenantId('acme'), instance)
    const came = { chat: CAROL, author: CAROL, remoteJid: CAROL, participant: null, fromMe: false, sentAt: 0 }
    for (const id of ['A', 'B', 'A']) await missing.add({ ...came, waMessageId: id as WaMessageId }, MINUTE)
    assert.deepEqual([await missing.due(10), await missing.nextAt()], [[], clock.now() + MINUTE])
    await clock.tick(MINUTE)
    const [first, second] = await missing.due(10)
    assert(first !== undefined && second !== undefined)
    assert.deepEqual(first, { ...came, waMessageId: 'A', cameAt: clock.now() - MINUTE })
    await missing.askAgain(new Map([[first, clock.now() + 1]]))
    assert.deepEqual(await missing.due(10), [second])
    await missing.remove(second)
    assert.deepEqual([await missing.due(10), await missing.nextAt()], [[], clock.now() + 1])
    assert.equal(await journal.forgetPerson(instance, [CAROL]), 703, 'rows without content go too')
    assert.equal(await missing.nextAt(), null, 'nor is anything asked for of whom was forgotten')
    await assert.rejects(missing.giveUp(first, messageFrom(CAROL, { kind: 'other', name: 'x', text: null })))
    assert.deepEqual(await listed(), [])
    assert.equal(young.chat, CAROL)
  },
)
