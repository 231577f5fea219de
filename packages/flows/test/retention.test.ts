import assert from 'node:assert/strict'
import { DAY } from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import type { Conversation } from '../src/index.ts'
import { acme, type Bench, contactOf, done, openBench, originOf, shop } from './harness.ts'

const keep = { wordsForMs: 30 * DAY, closedForMs: 365 * DAY }
const forEver = new AbortController().signal

const sweep = (bench: Bench, unsettled: readonly number[] = []) =>
  bench.conversations.retention.sweep(shop, keep, unsettled, forEver)

const wordsOf = async (bench: Bench, conversation: Conversation): Promise<readonly (string | null)[]> =>
  (await bench.conversations.history(conversation, { after: 0, limit: 500 })).map(({ text }) => text)

async function served(bench: Bench, contact: number): Promise<Conversation> {
  const conversation = await bench.write(contact)
  const note = { text: `about ${contact}`, by: 'api' } as const
  done(await bench.conversations.note(conversation, note))
  return done(await bench.conversations.close(conversation, { by: 'api', reason: 'done', comment: 'bye' }))
}

test('takes the words of what is closed first, and the rest in the end; what goes on loses nothing', async (t) => {
  const bench = await openBench(t, { reopenWithinMs: 0 })
  const ana = await bench.operator('ana', 10, [])
  const open = await bench.write(1)
  done(await bench.conversations.note(open, { text: 'still here', by: 'api' }))
  const answered = await bench.write(2)
  done(await bench.conversations.assign(answered, { by: 'api', operator: ana.id }))
  done(await bench.conversations.close(answered, { by: ana.id, reason: 'done', comment: 'bye' }))
  const old = await served(bench, 3)

  await bench.clock.tick(30 * DAY)
  const young = await served(bench, 4)
  assert.deepEqual(
    await sweep(bench),
    { wordsGoneCount: 0, deletedCount: 0 },
    'nothing is older than that yet',
  )
  await bench.clock.tick(1)
  assert.deepEqual(await sweep(bench), { wordsGoneCount: 2, deletedCount: 0 })
  assert.deepEqual(await sweep(bench), { wordsGoneCount: 0, deletedCount: 0 }, 'each once')
  assert.deepEqual(await wordsOf(bench, old), [null, null, null, null], 'that it happened stays')
  assert.deepEqual(await wordsOf(bench, open), [null, null, 'still here'])
  assert.deepEqual(await wordsOf(bench, young), [null, null, 'about 4', 'bye'])

  // Who is asked for after a year is who answered; a day later nobody knows.
  await bench.clock.tick(335 * DAY - 1)
  assert.deepEqual(await sweep(bench), { wordsGoneCount: 1, deletedCount: 0 })
  assert.equal(await bench.conversations.lastOperatorOf(acme, contactOf(2)), ana.id)
  await bench.clock.tick(DAY)
  assert.deepEqual(await sweep(bench), { wordsGoneCount: 0, deletedCount: 2 })
  assert.equal(await bench.conversations.get(acme, old.id), undefined)
  assert.equal(await bench.conversations.lastOperatorOf(acme, contactOf(2)), null)
  const [{ count } = {}] = await bench.database.read(
    'select count(*) as count from "ConversationEntry" where conversation not in (select id from "Conversation")',
    [],
  )
  assert.equal(Number(count), 0, 'no entry is left alone')
  assert.deepEqual(await wordsOf(bench, open), [null, null, 'still here'], 'however old it is')
})

test('begins anew with the words of a conversation that was reopened after it had lost them', async (t) => {
  const bench = await openBench(t, { reopenWithinMs: 0 })
  const conversation = await served(bench, 1)
  await bench.clock.tick(31 * DAY)
  await sweep(bench)
  done(await bench.conversations.reopen(conversation, { by: 'api' }))
  done(await bench.conversations.note(conversation, { text: 'again', by: 'api' }))
  done(await bench.conversations.close(conversation, { by: 'api', reason: 'done' }))
  assert.equal((await sweep(bench)).wordsGoneCount, 0)
  assert.ok((await wordsOf(bench, conversation)).includes('again'))
  await bench.clock.tick(31 * DAY)
  assert.equal((await sweep(bench)).wordsGoneCount, 1)
  assert.ok((await wordsOf(bench, conversation)).every((text) => text === null))
})

test('takes histories of any length and any number of conversations, in steps', async (t) => {
  const bench = await openBench(t, { reopenWithinMs: 0 })
  const long = await bench.write(1)
  await Promise.all(
    Array.from({ length: 1050 }, (_, nth) =>
      bench.conversations.note(long, { text: `note ${nth}`, by: 'api' }),
    ),
  )
  done(await bench.conversations.close(long, { by: 'api', reason: 'done' }))
  for (let contact = 2; contact <= 120; contact++) await served(bench, contact)
  await bench.clock.tick(31 * DAY)
  assert.deepEqual(await sweep(bench), { wordsGoneCount: 120, deletedCount: 0 })
  const [{ count } = {}] = await bench.database.read(
    'select count(*) as count from "ConversationEntry" where sealed is not null',
    [],
  )
  assert.equal(Number(count), 0)
  await bench.clock.tick(365 * DAY)
  // The first of each hundred is held back: those behind it go all the same.
  assert.deepEqual(await sweep(bench, [1]), { wordsGoneCount: 0, deletedCount: 119 })
  assert.deepEqual(await sweep(bench), { wordsGoneCount: 0, deletedCount: 1 })
  assert.deepEqual(await bench.database.read('select id from "ConversationEntry"', []), [])
})

test('never lets a message that walks again open a conversation that was deleted', async (t) => {
  const bench = await openBench(t, { reopenWithinMs: 0 })
  const conversation = await bench.write(1, 77)
  done(await bench.conversations.close(conversation, { by: 'api', reason: 'done' }))
  await bench.clock.tick(400 * DAY)
  // The journal says that message 77 was filed, but never settled.
  assert.equal((await sweep(bench, [77])).deletedCount, 0)
  const again = { contact: contactOf(1), chat: conversation.chat, at: bench.clock.now() }
  const { conversation: same, isNew } = await bench.conversations.receive(originOf(77), again)
  assert.deepEqual([same.id, same.state, isNew], [conversation.id, 'closed', true])
  assert.equal((await sweep(bench)).deletedCount, 1, 'once it is settled')
})
