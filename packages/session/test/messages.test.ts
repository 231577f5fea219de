import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type InstanceId, MIB, type WaMessageId, wordsOf } from '@eclusa/kernel'
import { until } from '@eclusa/kernel/test-kit'
import { type Bench, chatOf, setup, tenant } from './harness.ts'

const COMPANY = '5511900000001'
const CAROL = '5511910000001'
const DAVE = '5511910000002'

async function inboundTexts(bench: Bench, instance: InstanceId): Promise<(string | null)[]> {
  const { items } = await bench.journal.list({ instance, after: 0, limit: 500, maxBytes: MIB })
  return items.map(({ message }) => wordsOf(message.content))
}

test('a text arrives once, decrypted, under the id it was given, and its receipts come back', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol', autoRead: true })
  const { instance } = await bench.pair(COMPANY)
  const { waMessageId } = await bench.send(instance, chatOf(CAROL), 'good morning')
  await until(() => bench.receipts.length === 2, 'delivered and read')
  assert.deepEqual(
    carol.inbox.map(({ waMessageId, text, from, repeats }) => ({ waMessageId, text, from, repeats })),
    [{ waMessageId, text: 'good morning', from: COMPANY, repeats: 0 }],
  )
  assert.deepEqual(
    bench.receipts.map(({ kind, waMessageIds }) => ({ kind, waMessageIds })),
    [
      { kind: 'delivered', waMessageIds: [waMessageId] },
      { kind: 'read', waMessageIds: [waMessageId] },
    ],
  )
  await bench.simulator.assertClean()
})

for (const addressing of ['pn', 'lid'] as const) {
  test(`what a contact writes is journalled under its number, addressed by ${addressing}`, async (t) => {
    const bench = await setup(t)
    const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
    const { instance, phone } = await bench.pair(COMPANY)
    carol.send(phone, 'is this open?', { addressing })
    await until(async () => (await inboundTexts(bench, instance)).length === 1, 'it is journalled')
    const { items } = await bench.journal.list({ instance, after: 0, limit: 10, maxBytes: MIB })
    assert.deepEqual(
      items.map(({ from, message: { chat, content } }) => ({ from, chat, content })),
      [{ from: `+${CAROL}`, chat: chatOf(CAROL), content: { kind: 'text', text: 'is this open?' } }],
    )
    await bench.simulator.assertClean()
  })
}

test('the contact sees "typing…" and the read receipt, and the journal knows what was read', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  carol.send(phone, 'two words')
  await until(
    async () => (await bench.pool.unread(instance, chatOf(CAROL))).messages.length === 1,
    'it is unread',
  )
  const unread = await bench.pool.unread(instance, chatOf(CAROL))
  assert.equal(unread.lastWordCount, 2)
  await bench.pool.markRead(instance, chatOf(CAROL), unread.messages)
  await bench.pool.setPresence(instance, chatOf(CAROL), 'composing')
  await bench.pool.setPresence(instance, chatOf(CAROL), 'paused')
  await until(() => carol.presence.length === 2, 'presence arrives')
  assert.deepEqual(
    carol.presence.map(({ state }) => state),
    ['composing', 'paused'],
  )
  assert.ok(carol.receipts.some(({ type }) => type === 'read'))
  assert.equal((await bench.pool.unread(instance, chatOf(CAROL))).messages.length, 0)
  await bench.simulator.assertClean()
})

test('of two chats that overlap, what took its key for the own phone first leaves first', async (t) => {
  const held = Promise.withResolvers<void>()
  // bounded by: the two contacts
  const watched = new Map<string, () => void | Promise<void>>()
  const bench = await setup(t, {
    onWrite: async (params) => {
      for (const [address, seen] of watched) if (params.includes(address)) await seen()
    },
  })
  const { instance } = await bench.pair(COMPANY)
  const addresses = []
  for (const number of [CAROL, DAVE]) {
    const { lid } = bench.simulator.addContact(number, { name: number })
    addresses.push(`${lid.split('@')[0]}_1.0`)
    await bench.send(instance, chatOf(number), 'so that there is a session')
  }
  const [carols = '', daves = ''] = addresses
  const firstEncrypted = Promise.withResolvers<void>()
  const secondEncrypted = Promise.withResolvers<void>()
  watched.set(carols, () => {
    firstEncrypted.resolve()
    return held.promise
  })
  watched.set(daves, secondEncrypted.resolve)

  const first = bench.send(instance, chatOf(CAROL), 'encrypted first, and held back before it leaves')
  await firstEncrypted.promise
  const second = bench.send(instance, chatOf(DAVE), 'encrypted second')
  await secondEncrypted.promise
  // What the second could do without waiting for the first, it has done when a later write is through.
  await bench.database.write([{ sql: 'DELETE FROM "InboundMessage" WHERE instance = ?', params: ['none'] }])
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
  held.resolve()
  await Promise.all([first, second])
  await bench.simulator.assertClean()
})

test('many messages both ways at once in one chat never use a message key twice and all can be read', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  const count = 60
  const sending = (async (): Promise<void> => {
    for (let index = 0; index < count; index++) await bench.send(instance, chatOf(CAROL), `out ${index}`)
  })()
  for (let index = 0; index < count; index++) carol.send(phone, `in ${index}`)
  await sending
  await until(async () => (await inboundTexts(bench, instance)).length === count, 'all are journalled')
  const expected = Array.from({ length: count }, (_, index) => index)
  assert.deepEqual(
    await inboundTexts(bench, instance),
    expected.map((index) => `in ${index}`),
  )
  assert.deepEqual(
    carol.inbox.map(({ text }) => text),
    expected.map((index) => `out ${index}`),
  )
  await bench.simulator.assertClean()
})

test('two instances that talk to one contact at the same time do not disturb each other', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const first = await bench.pair(COMPANY)
  const second = await bench.pair('5511900000002')
  const texts = Array.from({ length: 20 }, (_, index) => `m${index}`)
  await Promise.all(
    [first, second].map(async ({ instance, phone }) => {
      for (const text of texts) {
        carol.send(phone, text)
        await bench.send(instance, chatOf(CAROL), text)
      }
    }),
  )
  for (const { instance } of [first, second]) {
    await until(
      async () => (await inboundTexts(bench, instance)).length === texts.length,
      'all are journalled',
    )
  }
  for (const { phone } of [first, second]) {
    const received = carol.inbox.filter(({ from }) => from === phone.number)
    assert.deepEqual(
      received.map(({ text }) => text),
      texts,
    )
  }
  await bench.simulator.assertClean()
})

test('messages of a contact that cross a restart spoil no session: every later message can be read at once', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  const rounds = 5
  for (let round = 0; round < rounds; round++) {
    await bench.send(instance, chatOf(CAROL), `out ${round} a`)
    carol.send(phone, `in ${round}`)
    await bench.pool.stopInstance(instance)
    carol.send(phone, `in ${round} meanwhile`)
    await bench.pool.startInstance({ instance, tenant })
    await bench.untilState(instance, 'online')
    carol.send(phone, `in ${round} crossing`)
    await bench.send(instance, chatOf(CAROL), `out ${round} b`)
    await bench.send(instance, chatOf(CAROL), `out ${round} c`)
  }
  await until(async () => (await inboundTexts(bench, instance)).length === rounds * 3, 'all are journalled')
  assert.equal(carol.inbox.length, rounds * 3)
  // Without our guard libsignal steps sessions that it only tried: the contact then finds wrong MACs and asks again.
  assert.equal(bench.simulator.stats.totals['retriesAskedByPhones'], 0)
  await bench.simulator.assertClean()
})

test('what arrived while the instance was offline is journalled in order when it is back', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  await bench.pool.stopInstance(instance)
  const texts = Array.from({ length: 30 }, (_, index) => `while away ${index}`)
  for (const text of texts) carol.send(phone, text)
  await bench.pool.startInstance({ instance, tenant })
  await until(async () => (await inboundTexts(bench, instance)).length === texts.length, 'all are journalled')
  assert.deepEqual(await inboundTexts(bench, instance), texts)
  await bench.simulator.assertClean()
})

test('a message whose receipt was lost is journalled once and gets only a receipt when it comes again', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  const fault = bench.simulator.fault({
    on: 'receipt',
    do: 'lose',
    match: { direction: 'in', contact: CAROL },
  })
  carol.send(phone, 'first')
  carol.send(phone, 'second')
  await until(async () => (await inboundTexts(bench, instance)).length === 2, 'both are journalled')
  await until(() => fault.struck === 2, 'both receipts are lost')
  assert.equal(bench.simulator.acknowledged.length, 0)
  fault.clear()
  bench.simulator.device(COMPANY).drop()
  await until(() => bench.simulator.acknowledged.length === 2, 'both are acknowledged at last')
  await bench.untilState(instance, 'online')
  assert.deepEqual(await inboundTexts(bench, instance), ['first', 'second'])
  const events = await bench.database.read(
    `SELECT COUNT(*) AS count FROM "Event" WHERE type = 'inbound.received'`,
    [],
  )
  assert.equal(events[0]?.['count'], 2)
  await bench.simulator.assertClean()
})

for (const type of ['lid-mapping', 'device-list', 'session']) {
  test(`a failed read of ${type} costs the connection, not the message`, async (t) => {
    let armed = false
    let failures = 0
    const bench = await setup(t, {
      onRead: (sql, params) => {
        if (!armed || failures > 0 || !sql.includes('SignalKey') || params[1] !== type) return
        failures++
        throw new Error('disk error')
      },
    })
    const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
    const { instance, phone } = await bench.pair(COMPANY)
    armed = true
    carol.send(phone, 'first words', { addressing: 'pn' })
    await until(async () => (await inboundTexts(bench, instance)).length === 1, 'it is journalled after all')
    assert.equal(failures, 1, 'the read failed')
    assert.deepEqual(await inboundTexts(bench, instance), ['first words'])
    await bench.untilState(instance, 'online')
    await bench.simulator.assertClean()
  })
}

test('a retry request whose content could not be read comes again and is answered', async (t) => {
  let failures = 1
  const bench = await setup(t, {
    onRetry: () => (failures-- > 0 ? Promise.reject(new Error('disk error')) : Promise.resolve()),
  })
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance } = await bench.pair(COMPANY)
  await bench.send(instance, chatOf(CAROL), 'before')
  await until(() => carol.inbox.length === 1, 'the first arrives')
  carol.goOffline()
  const { waMessageId } = await bench.send(instance, chatOf(CAROL), 'to be asked for again')
  carol.reinstall()
  carol.goOnline()
  await until(
    () => carol.inbox.some(({ waMessageId: id }) => id === waMessageId),
    'the second request is answered',
  )
})

test('a send that hangs before its frame is written is given up at the deadline, and the connection rebuilt', async (t) => {
  const bench = await setup(t, { ackTimeoutMs: 500 })
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance } = await bench.pair(COMPANY)
  // The recipient's devices are told at once; what Baileys asks next, for the own account's, long after the deadline.
  const fault = bench.simulator.fault({
    on: 'iq',
    do: 'delay',
    ms: 4_000,
    match: { xmlns: 'usync' },
    after: 1,
  })
  const connections = bench.simulator.stats.connections.total
  await assert.rejects(bench.send(instance, chatOf(CAROL), 'stuck'), { code: 'SESSION_ACK_TIMEOUT' })
  assert.equal(bench.simulator.accepted.length, 0, 'no frame was written')
  fault.clear()
  await until(() => bench.simulator.stats.connections.total > connections, 'a new connection is made')
  await bench.untilState(instance, 'online')
  await bench.send(instance, chatOf(CAROL), 'after it')
  await until(() => carol.inbox.some(({ text }) => text === 'after it'), 'messages flow')
})

test('a receipt is acknowledged to WhatsApp only when it is recorded, and comes again when it was not', async (t) => {
  let failures = 1
  const bench = await setup(t, {
    onReceipt: () => (failures-- > 0 ? Promise.reject(new Error('disk full')) : Promise.resolve()),
  })
  bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance } = await bench.pair(COMPANY)
  const { waMessageId } = await bench.send(instance, chatOf(CAROL), 'hello')
  await until(() => bench.receipts.length === 1, 'the receipt comes again')
  assert.deepEqual(bench.receipts[0]?.waMessageIds, [waMessageId])
  await bench.untilState(instance, 'online')
  await bench.simulator.assertClean()
})

test('a recipient that could not decrypt gets the message again, also from a process that never sent it', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance } = await bench.pair(COMPANY)
  await bench.send(instance, chatOf(CAROL), 'before')
  await until(() => carol.inbox.length === 1, 'the first arrives')
  carol.goOffline()
  const { waMessageId } = await bench.send(instance, chatOf(CAROL), 'sent by the first process')
  await bench.pool.stop()
  carol.reinstall()
  const later = bench.anotherPool()
  await later.startInstance({ instance, tenant })
  await until(() => later.view(instance).state === 'online', 'the second process is online')
  carol.goOnline()
  await until(() => carol.inbox.some(({ waMessageId: id }) => id === waMessageId), 'the retry is answered')
  assert.equal(carol.inbox.at(-1)?.text, 'sent by the first process')
})

test('a number that is not on WhatsApp is told at once and nothing is sent', async (t) => {
  const bench = await setup(t)
  const { instance } = await bench.pair(COMPANY)
  await assert.rejects(bench.send(instance, chatOf('5511999999999'), 'anybody?'), {
    code: 'SESSION_NUMBER_UNKNOWN',
    retry: 'never',
    delivered: 'no',
  })
  await bench.simulator.assertClean()
})

for (const [code, expected] of [
  [429, { code: 'SESSION_RATE_LIMITED', retry: 'later' }],
  [463, { code: 'SESSION_ACCOUNT_RESTRICTED', retry: 'never' }],
  [479, { code: 'SESSION_STALE_DEVICES', retry: 'later' }],
  [500, { code: 'SESSION_REFUSED', retry: 'later' }],
] as const) {
  test(`an acknowledgement with error ${code} is ${expected.code}`, async (t) => {
    const bench = await setup(t)
    const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
    const { instance } = await bench.pair(COMPANY)
    bench.simulator.fault({ on: 'ack', do: 'error', code, times: 1 })
    const waMessageId = '3EB0000000000000000001' as WaMessageId
    await assert.rejects(bench.send(instance, chatOf(CAROL), 'hello', waMessageId), {
      ...expected,
      delivered: 'no',
    })
    await bench.send(instance, chatOf(CAROL), 'hello', waMessageId)
    await until(() => carol.inbox.length === 1, 'the second try arrives')
    await bench.simulator.assertClean()
  })
}

test('an acknowledgement that never comes rebuilds the connection, and the same id again reaches the contact once', async (t) => {
  const bench = await setup(t, { ackTimeoutMs: 300 })
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance } = await bench.pair(COMPANY)
  bench.simulator.fault({ on: 'ack', do: 'lose', times: 1 })
  const connections = bench.simulator.stats.connections.total
  const waMessageId = '3EB0000000000000000002' as WaMessageId
  await assert.rejects(bench.send(instance, chatOf(CAROL), 'hello', waMessageId), {
    code: 'SESSION_ACK_TIMEOUT',
    delivered: 'unknown',
  })
  await until(() => bench.simulator.stats.connections.total > connections, 'a new connection is made')
  await bench.untilState(instance, 'online')
  await bench.send(instance, chatOf(CAROL), 'hello', waMessageId)
  await until(() => carol.inbox[0]?.repeats === 1, 'the repeat is dropped by id')
  assert.equal(carol.inbox.length, 1)
})

test('sending without a connection says so at once', async (t) => {
  const bench = await setup(t)
  const { instance } = await bench.pair(COMPANY)
  await bench.pool.stopInstance(instance)
  await assert.rejects(bench.send(instance, chatOf(CAROL), 'hello'), {
    code: 'SESSION_OFFLINE',
    delivered: 'no',
  })
})

test('a connection that breaks while a message waits for its acknowledgement leaves it uncertain, not lost', async (t) => {
  const bench = await setup(t)
  bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance } = await bench.pair(COMPANY)
  bench.simulator.fault({ on: 'ack', do: 'dropConnection', times: 1 })
  await assert.rejects(bench.send(instance, chatOf(CAROL), 'hello'), {
    code: 'SESSION_OFFLINE',
    delivered: 'unknown',
  })
  await bench.untilState(instance, 'online')
})

for (const [name, strike, code] of [
  ['a dropped TCP connection (428)', 'drop', 'SESSION_SERVER_ENDED'],
  ['a closed WebSocket (428)', 'close', 'SESSION_SERVER_ENDED'],
  ['an unknown stream error (500)', 'streamError', 'SESSION_BAD_SESSION'],
] as const) {
  test(`${name} is reconnected by itself`, async (t) => {
    const bench = await setup(t)
    const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
    const { instance } = await bench.pair(COMPANY)
    bench.states.length = 0
    bench.simulator.device(COMPANY)[strike]()
    await bench.untilState(instance, 'reconnecting')
    await bench.untilState(instance, 'online')
    assert.equal(bench.states.find(({ view }) => view.state === 'reconnecting')?.view.reason?.code, code)
    await bench.send(instance, chatOf(CAROL), 'still here')
    await until(() => carol.inbox.length === 1, 'messages flow')
    await bench.simulator.assertClean()
  })
}

for (const [reason, state, code] of [
  [402, 'banned', 'SESSION_BANNED'],
  [403, 'failed', 'SESSION_LOCKED'],
  [405, 'failed', 'SESSION_CLIENT_OUTDATED'],
] as const) {
  test(`a login refused with ${reason} leaves the instance ${state}, with the reason`, async (t) => {
    const bench = await setup(t)
    const { instance } = await bench.pair(COMPANY)
    const device = bench.simulator.device(COMPANY)
    device.refuseLogin({ reason })
    device.drop()
    const view = await bench.untilState(instance, state)
    assert.equal(view.reason?.code, code)
    assert.ok((await bench.store.loadCredentials(instance)) !== undefined)
    device.allowLogin()
    await bench.pool.startInstance({ instance, tenant })
    await bench.untilState(instance, 'online')
  })
}

test('a conflict (440) is left to a person instead of two processes throwing each other out', async (t) => {
  const bench = await setup(t)
  const { instance } = await bench.pair(COMPANY)
  bench.simulator.device(COMPANY).conflict()
  const view = await bench.untilState(instance, 'failed')
  assert.equal(view.reason?.code, 'SESSION_REPLACED')
})
