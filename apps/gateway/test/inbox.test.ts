import assert from 'node:assert/strict'
import type { Conversation } from '@eclusa/flows'
import { settle, until } from '@eclusa/kernel/test-kit'
import { openDatabase } from '@eclusa/storage'
import { eachDatabase, testEachDatabase } from '@eclusa/storage/test-kit'
import { silentLogger } from '@eclusa/kernel'
import {
  acme,
  chatOfContact,
  type InboxBench,
  inboxBenchOn,
  openInboxBench,
  shop,
  STEPS,
} from './inbox-bench.ts'

/** Nothing is left to do, and nothing was done twice: each message is in one conversation, once. */
async function assertOnce(bench: InboxBench, messages: number): Promise<readonly Conversation[]> {
  await until(async () => (await bench.unsettled()) === 0, 'everything is settled')
  const page = { before: Number.MAX_SAFE_INTEGER, limit: 500 }
  const { items: conversations } = await bench.conversations.list(acme, {}, page)
  const filed = await bench.database.read(
    `SELECT journal_id FROM "ConversationEntry" WHERE kind = 'inbound' ORDER BY journal_id`,
    [],
  )
  const ids = filed.map((row) => Number(row['journal_id']))
  assert.equal(new Set(ids).size, ids.length, 'no message is in the history twice')
  assert.equal(ids.length, messages, 'each message is in the history')
  assert.equal(bench.heard.length, messages, 'each message is heard once')
  return conversations
}

/** In the order in which each contact wrote. */
function assertOrder(bench: InboxBench): void {
  const last = new Map<string, number>()
  for (const line of bench.heard) {
    const [contact = '', text = ''] = line.split(' ')
    assert.ok(Number(text) > (last.get(contact) ?? -1), `${line} came before its turn`)
    last.set(contact, Number(text))
  }
}

const hang = (): Promise<void> => new Promise(() => {})

testEachDatabase('takes each chat in order, and none waits for another', async (t) => {
  const bench = await openInboxBench(t, {
    meddle: (step, when, text) =>
      step === 'flow' && when === 'before' && text === 'stuck' ? hang() : undefined,
  })
  await bench.receive(1, 'stuck')
  for (let turn = 0; turn < 5; turn++) {
    for (const contact of [1, 2, 3]) await bench.receive(contact, String(turn))
  }
  await until(() => bench.heard.length === 10, 'the others are done')
  assertOrder(bench)
  assert.equal(bench.heard.filter((line) => line.startsWith('001')).length, 0)
  await bench.restart()
  await until(() => bench.heard.length === 16, 'the first is done, too')
  assert.deepEqual(
    bench.heard.filter((line) => line.startsWith('001')),
    ['001 stuck', '001 0', '001 1', '001 2', '001 3', '001 4'],
  )
  await assertOnce(bench, 16)
})

for (const step of STEPS) {
  for (const when of ['before', 'after'] as const) {
    testEachDatabase(`a crash ${when} ${step} loses nothing and does nothing twice`, async (t) => {
      const reached = { count: 0 }
      const bench = await openInboxBench(t, {
        meddle: (at, side) => {
          if (at !== step || side !== when) return undefined
          reached.count++
          return hang()
        },
      })
      for (const contact of [1, 2]) for (const text of ['0', '1']) await bench.receive(contact, text)
      await until(() => reached.count === 2, 'both are there')
      await bench.restart()
      const conversations = await assertOnce(bench, 4)
      assert.equal(conversations.length, 2)
      assertOrder(bench)
      const types = await bench.eventTypes()
      assert.equal(types.filter((type) => type === 'conversation.opened').length, 2)
      assert.equal(types.filter((type) => type === 'inbound.received').length, 4)
    })
  }
}

testEachDatabase('a restart in the middle changes nothing', async (t) => {
  let steps = 0
  const bench = await openInboxBench(t, { meddle: () => (++steps > 150 ? hang() : undefined) })
  for (let turn = 0; turn < 4; turn++) {
    for (let contact = 0; contact < 20; contact++) await bench.receive(contact, String(turn))
  }
  await until(() => steps > 150, 'it is in the middle')
  await bench.restart()
  const conversations = await assertOnce(bench, 80)
  assert.equal(conversations.length, 20)
  assertOrder(bench)
})

testEachDatabase(
  'a message that fails five times is set aside with its reason, and its chat goes on',
  async (t) => {
    const tries: number[] = []
    let isBroken = true
    const bench = await openInboxBench(t, {
      meddle: (step, when, text) => {
        if (step !== 'flow' || when !== 'before' || text !== 'poison' || !isBroken) return
        tries.push(bench.clock.now())
        throw new Error('no room for 5511910000001\nand more')
      },
    })
    await bench.receive(1, 'poison')
    await bench.receive(1, 'next')
    await bench.receive(2, 'other')
    await until(() => bench.heard.includes('002 other'), 'other chats do not wait')
    for (const rest of [1_000, 2_000, 4_000, 8_000]) {
      // A walk has a timer too, its deadline: what counts is the rest's.
      await until(
        () => bench.inbox.stats().walking === 0 && bench.clock.pendingTimers === 1,
        'the chat rests',
      )
      const before = tries.length
      await bench.clock.tick(rest - 1)
      assert.equal(tries.length, before, 'not before its time')
      await bench.clock.tick(1)
      await until(() => tries.length === before + 1, 'it is tried again')
    }
    await until(() => bench.heard.includes('001 next'), 'its chat goes on')
    assert.equal(tries.length, 5)
    const page = { instance: shop, after: 0, limit: 10, maxBytes: 100_000 }
    const { items } = await bench.journal.setAsideList(page)
    assert.deepEqual(
      items.map(({ message, reason, attempts }) => ({ chat: message.chat, reason, attempts })),
      [{ chat: chatOfContact(1), reason: 'no room for …', attempts: 5 }],
    )
    assert.equal((await bench.eventTypes()).filter((type) => type === 'inbound.set_aside').length, 1)

    isBroken = false
    const id = items[0]?.id ?? 0
    await bench.inbox.retry(acme, shop, id)
    await until(() => bench.heard.includes('001 poison'), 'a person lets it try again')
    await assertOnce(bench, 3)
    await assert.rejects(bench.inbox.retry(acme, shop, id), { code: 'GATEWAY_NOT_SET_ASIDE' })
    await assert.rejects(bench.inbox.drop(shop, id), { code: 'GATEWAY_NOT_SET_ASIDE' })
  },
)

testEachDatabase('a message that is dropped is done with', async (t) => {
  const bench = await openInboxBench(t, {
    meddle: (step) => {
      if (step === 'seen') throw new Error('never')
    },
  })
  await bench.receive(1, 'poison')
  const page = { instance: shop, after: 0, limit: 10, maxBytes: 100_000 }
  await until(async () => {
    await bench.clock.tick(1_000)
    return (await bench.journal.setAsideList(page)).items.length === 1
  }, 'it is set aside')
  const [item] = (await bench.journal.setAsideList(page)).items
  await bench.inbox.drop(shop, item?.id ?? 0)
  assert.equal((await bench.journal.setAsideList(page)).items.length, 0)
  await bench.restart()
  await settle()
  assert.equal(await bench.unsettled(), 0)
  assert.deepEqual(bench.heard, [])
})

testEachDatabase('a message that kills the process is set aside, and no other one with it', async (t) => {
  // Each process dies as soon as it is at the poison, with the others in the middle of their way.
  const dies = { deaths: 0, now: false }
  const meddle = (step: string, when: string, text: string): Promise<void> | void => {
    if (step === 'care' && when === 'before' && text === 'poison') {
      dies.deaths++
      dies.now = true
    }
    return dies.now ? hang() : undefined
  }
  const bench = await openInboxBench(t, { meddle })
  for (let contact = 0; contact < 8; contact++) {
    await bench.receive(contact, contact === 5 ? 'poison' : '0')
    await bench.receive(contact, '1')
  }
  for (let process = 0; process < 12; process++) {
    await until(async () => dies.now || (await bench.unsettled()) === 0, 'it dies, or is done')
    if (!dies.now) break
    dies.now = false
    await bench.restart(meddle)
  }
  const page = { instance: shop, after: 0, limit: 10, maxBytes: 100_000 }
  const { items } = await bench.journal.setAsideList(page)
  assert.deepEqual(
    items.map(({ message, reason }) => [message.chat, reason]),
    [[chatOfContact(5), 'it did not end in five tries']],
  )
  assert.ok(dies.deaths <= 6, `${dies.deaths} processes died of it`)
  assert.equal(bench.heard.length, 15)
})

testEachDatabase('holds no more chats in memory than its limits, however many have messages', async (t) => {
  const most = { chats: 0, walking: 0 }
  const bench = await openInboxBench(t, {
    limits: { maxWalking: 3, maxChats: 8 },
    meddle: () => {
      const { chats, walking } = bench.inbox.stats()
      most.chats = Math.max(most.chats, chats)
      most.walking = Math.max(most.walking, walking)
    },
  })
  for (let turn = 0; turn < 3; turn++) {
    for (let contact = 0; contact < 40; contact++) await bench.receive(contact, String(turn))
  }
  await assertOnce(bench, 120)
  assertOrder(bench)
  assert.ok(most.chats <= 4, `one instance has half of the room, and had ${most.chats}`)
  assert.equal(most.walking, 3)
  await until(() => bench.inbox.stats().lines === 0, 'nothing is left in memory')
  assert.deepEqual(bench.inbox.stats(), { chats: 0, walking: 0, lines: 0 })
})

testEachDatabase('what is no message to us passes no port; what we wrote elsewhere is history', async (t) => {
  const steps: string[] = []
  const bench = await openInboxBench(t, {
    meddle: (step, when) => {
      if (when === 'before') steps.push(step)
    },
  })
  await bench.receive(1, 'hi')
  await until(() => bench.heard.length === 1, 'a conversation is there')
  await bench.receive(1, 'from the phone', { fromMe: true, author: '5511900000000@s.whatsapp.net' as never })
  const target = { waMessageId: 'X' as never, author: chatOfContact(1) }
  await bench.receive(1, '', { content: { kind: 'reaction', target, text: '👍' } })
  await bench.receive(1, '', { content: { kind: 'edit', target, text: 'better' } })
  await bench.receive(1, '', { content: { kind: 'delete', target } })
  await bench.receive(1, '', { content: { kind: 'poll_vote', target, choices: ['yes'] } })
  await bench.receive(1, 'to all', { chat: '1203@g.us' as never })
  await until(async () => (await bench.unsettled()) === 0, 'all is settled')
  assert.deepEqual(steps, [...STEPS])
  const page = { before: Number.MAX_SAFE_INTEGER, limit: 10 }
  const { items } = await bench.conversations.list(acme, {}, page)
  const history = await bench.conversations.history(items[0]!, { after: 0, limit: 10 })
  assert.deepEqual(
    history.filter(({ kind }) => kind === 'inbound').map(({ actor }) => actor),
    ['contact', 'system'],
  )
  assert.deepEqual(
    (await bench.eventTypes()).filter((type) => type.startsWith('inbound.')),
    [
      'inbound.received',
      'inbound.reacted',
      'inbound.edited',
      'inbound.deleted',
      'inbound.poll_voted',
      'inbound.received',
    ],
  )
})

testEachDatabase('a database that fails counts against no message', async (t) => {
  let isDown = false
  const bench = await openInboxBench(t, {
    wrap: (database) => ({
      ...database,
      dialect: database.dialect,
      write: async (...args) => {
        if (isDown) throw new Error('the disk is gone')
        return database.write(...args)
      },
      read: (...args) => database.read(...args),
      onCommit: (listener) => database.onCommit(listener),
      stats: () => database.stats(),
      stop: () => database.stop(),
    }),
    meddle: (step) => {
      if (step === 'flow' && bench.clock.now() < until10) isDown = true
    },
  })
  const until10 = bench.clock.now() + 600_000
  await bench.receive(1, '0')
  await until(() => isDown, 'the disk fails')
  for (let minute = 0; minute < 11; minute++) {
    await bench.clock.tick(60_000)
    await settle()
  }
  isDown = false
  await until(async () => {
    await bench.clock.tick(30_000)
    return (await bench.unsettled()) === 0
  }, 'it goes on when the disk is back')
  assert.deepEqual(bench.heard, ['001 0'])
  assert.equal((await bench.eventTypes()).includes('inbound.set_aside'), false)
})

testEachDatabase(
  'begins nothing for an instance that another process owns, and goes on when it is back',
  async (t) => {
    let owned = true
    const bench = await openInboxBench(t, { ownership: { owns: () => owned } })
    await bench.receive(1, '0')
    await until(() => bench.heard.length === 1, 'the first is done')
    owned = false
    bench.inbox.instanceLost(shop)
    await bench.receive(1, '1')
    await settle()
    assert.equal(bench.heard.length, 1)
    owned = true
    bench.inbox.instanceTaken(acme, shop)
    await assertOnce(bench, 2)
  },
)

eachDatabase(({ dialect, test, open }) => {
  if (dialect === 'sqlite') return

  test('a node that takes over an instance ends what the other began, once', async (t) => {
    const { place, database } = await open(t, [])
    await database.stop()
    const { contactMigrations } = await import('@eclusa/contacts')
    const { flowMigrations } = await import('@eclusa/flows')
    const { sessionMigrations } = await import('@eclusa/session')
    const migrations = [...sessionMigrations, ...contactMigrations, ...flowMigrations]
    const nodes = []
    for (const node of ['a', 'b']) {
      const opened = await openDatabase({ ...place, node, migrations, log: silentLogger })
      t.after(() => opened.stop())
      nodes.push(opened)
    }
    const [a, b] = nodes as [(typeof nodes)[0], (typeof nodes)[0]]
    await a.ownership.take(shop)
    let steps = 0
    const first = await inboxBenchOn(t, a, {
      ownership: a.ownership,
      meddle: () => (++steps > 40 ? hang() : undefined),
    })
    for (let turn = 0; turn < 3; turn++) {
      for (let contact = 0; contact < 10; contact++) await first.receive(contact, String(turn))
    }
    await until(() => steps > 40, 'it is in the middle')
    // As if its lease had not been renewed: the other takes the instance while this one still walks.
    await a.ownership.release(shop)
    assert.equal(await b.ownership.take(shop), true)
    const second = await inboxBenchOn(t, b, { ownership: b.ownership })
    await until(async () => (await second.unsettled()) === 0, 'everything is settled')
    const filed = await b.read(
      `SELECT journal_id, count(*) AS count FROM "ConversationEntry" WHERE kind = 'inbound' GROUP BY journal_id`,
      [],
    )
    assert.equal(filed.length, 30)
    assert.ok(filed.every((row) => Number(row['count']) === 1))
    assertOrder(second)
  })
})
