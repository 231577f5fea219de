import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { proto } from '@eclusa/baileys'
import { DAY, type InboundContent, type InstanceId, MIB, MINUTE } from '@eclusa/kernel'
import { ManualClock, until } from '@eclusa/kernel/test-kit'
import { EventLog } from '@eclusa/storage'
import { testSealer } from '@eclusa/storage/test-kit'
import { type Bench, chatOf, setup, tenant } from './harness.ts'
import { sealVote } from './poll-sealing.ts'

const COMPANY = '5511900000001'
const CAROL = '5511910000001'

async function contents(bench: Bench, instance: InstanceId): Promise<InboundContent[]> {
  const { items } = await bench.journal.list({ instance, after: 0, limit: 500, maxBytes: MIB })
  return items.map(({ message }) => message.content)
}

async function eventsOf(bench: Bench): Promise<{ type: string; payload: object }[]> {
  const clock = { now: () => 0, setTimer: () => ({ cancel: () => {} }) }
  const events = new EventLog({ database: bench.database, sealer: testSealer(), clock })
  const read = await events.read({ after: 0, limit: 1000 })
  return read.map(({ type, payload }) => ({ type, payload }))
}

test('the four messages of CVE-2026-48063 from a stranger change nothing, and each is told of once', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  carol.send(phone, 'hello')
  await until(async () => (await contents(bench, instance)).length === 1, 'they know each other')
  await bench.simulator.settled()
  const state = (): Promise<unknown> =>
    Promise.all([
      bench.store.loadCredentials(instance),
      bench.database.read(
        `SELECT type, id FROM "SignalKey" WHERE type NOT IN ('session', 'pre-key') ORDER BY type, id`,
        [],
      ),
    ])
  const before = await state()
  const { Type } = proto.Message.ProtocolMessage
  const mappings = proto.LIDMigrationMappingSyncPayload.encode({
    pnToLidMappings: [{ pn: 5_511_910_000_009, assignedLid: 666 }],
  }).finish()
  const webMessageInfoBytes = proto.WebMessageInfo.encode({
    key: { remoteJid: '5511910000009@s.whatsapp.net', id: 'FORGED' },
    message: { conversation: 'pay me' },
  }).finish()
  const spoofs: proto.Message.IProtocolMessage[] = [
    {
      type: Type.HISTORY_SYNC_NOTIFICATION,
      historySyncNotification: { syncType: 0, initialHistBootstrapInlinePayload: randomBytes(40) },
    },
    {
      type: Type.APP_STATE_SYNC_KEY_SHARE,
      appStateSyncKeyShare: {
        keys: [{ keyId: { keyId: randomBytes(6) }, keyData: { keyData: randomBytes(32) } }],
      },
    },
    {
      type: Type.LID_MIGRATION_MAPPING_SYNC,
      lidMigrationMappingSyncMessage: { encodedMappingPayload: mappings },
    },
    {
      type: Type.PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE,
      peerDataOperationRequestResponseMessage: {
        peerDataOperationResult: [{ placeholderMessageResendResponse: { webMessageInfoBytes } }],
      },
    },
  ]
  for (const protocolMessage of spoofs) carol.send(phone, { protocolMessage })
  carol.send(phone, 'after')
  await until(async () => (await contents(bench, instance)).length === 2, 'what comes after is here')
  await bench.simulator.settled()
  assert.deepEqual(await state(), before)
  assert.deepEqual(
    (await contents(bench, instance)).map((content) => ('text' in content ? content.text : null)),
    ['hello', 'after'],
  )
  const told = (await eventsOf(bench)).filter(({ type }) => type === 'security.spoofed_protocol_message')
  assert.deepEqual(
    told.map(({ payload }) => [Reflect.get(payload, 'from'), Reflect.get(payload, 'message')]),
    [
      [`+${CAROL}`, 'HISTORY_SYNC_NOTIFICATION'],
      [`+${CAROL}`, 'APP_STATE_SYNC_KEY_SHARE'],
      [`+${CAROL}`, 'LID_MIGRATION_MAPPING_SYNC'],
      [`+${CAROL}`, 'PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE'],
    ],
  )
  await bench.simulator.assertClean()
})

test('a message that comes without its content is journalled when the phone hands it over', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  const { waMessageId } = carol.send(phone, 'I saw your advertisement', { withoutContent: true })
  await until(async () => (await contents(bench, instance)).length === 1, 'it is journalled')
  const { items } = await bench.journal.list({ instance, after: 0, limit: 10, maxBytes: MIB })
  const message = items[0]?.message
  assert.deepEqual(
    [message?.chat, message?.author, message?.waMessageId, message?.content, message?.pushName],
    [chatOf(CAROL), chatOf(CAROL), waMessageId, { kind: 'text', text: 'I saw your advertisement' }, 'Carol'],
  )
  await bench.simulator.assertClean()
})

/** How often the phone was asked for a message. */
function asked(bench: Bench): number {
  return bench.simulator.totals['contentsAsked'] ?? 0
}

/** WhatsApp has every new device connect anew, after a wait on this clock. */
async function pairBy(clock: ManualClock, bench: Bench): ReturnType<Bench['pair']> {
  const pairing = bench.pair(COMPANY)
  let isPaired = false
  void pairing.finally(() => (isPaired = true)).catch(() => {})
  await untilOn(clock, () => isPaired, 'it is paired')
  return pairing
}

/** As `until`, while the clock goes on: what is read from the disk may set a timer later than the test moves it. */
function untilOn(
  clock: ManualClock,
  condition: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  return until(async () => {
    await clock.tick(10)
    return condition()
  }, what)
}

async function missing(bench: Bench): Promise<number> {
  return (await bench.database.read('SELECT 1 AS one FROM "MissingContent"', [])).length
}

for (const addressing of ['pn', 'lid'] as const) {
  test(`a message without content is asked for again after a restart, by ${addressing}, until it is here`, async (t) => {
    const clock = new ManualClock()
    const bench = await setup(t, { clock })
    const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
    const { instance, phone } = await pairBy(clock, bench)
    const { waMessageId } = carol.send(phone, 'I saw your advertisement', {
      withoutContent: true,
      addressing,
    })
    await until(async () => (await missing(bench)) === 1, 'it is on record')
    await bench.simulator.settled()
    // Before Baileys asks, 2 s after it came; WhatsApp has its acknowledgement and does not deliver it again.
    await bench.pool.stopInstance(instance)
    await bench.pool.startInstance({ instance, tenant })
    await bench.untilState(instance, 'online')
    await bench.simulator.settled()
    assert.deepEqual([await contents(bench, instance), asked(bench)], [[], 0])
    await clock.tick(MINUTE)
    await untilOn(clock, async () => (await contents(bench, instance)).length === 1, 'it is journalled')
    const { items } = await bench.journal.list({ instance, after: 0, limit: 10, maxBytes: MIB })
    const { chat, waMessageId: id, content } = items[0]?.message ?? {}
    assert.deepEqual(
      [chat, id, content],
      [chatOf(CAROL), waMessageId, { kind: 'text', text: 'I saw your advertisement' }],
    )
    await clock.tick(10 * MINUTE)
    await untilOn(clock, async () => (await missing(bench)) === 0, 'nothing is missing')
    assert.equal(asked(bench), 1)
    await bench.simulator.assertClean()
  })
}

test('a message whose content nobody has is asked for seven times, and goes on without it after 14 days', async (t) => {
  const clock = new ManualClock()
  const bench = await setup(t, { clock })
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await pairBy(clock, bench)
  const { waMessageId } = carol.send(phone, 'gone', { withoutContent: 'lost' })
  await until(async () => (await missing(bench)) === 1, 'it is on record')
  await bench.simulator.settled()
  // With it goes Baileys' own question.
  await bench.pool.stopInstance(instance)
  await bench.pool.startInstance({ instance, tenant })
  await bench.untilState(instance, 'online')
  let minutes = 0
  for (const [index, at] of [1, 10, 60, 6 * 60, 24 * 60, 3 * 24 * 60, 7 * 24 * 60].entries()) {
    await clock.tick((at - minutes) * MINUTE)
    minutes = at
    await untilOn(clock, () => asked(bench) > index, `it is asked for after ${at} min`)
    await until(async () => (await nextAsk(bench)) > clock.now(), 'the next time is set')
    assert.equal(asked(bench), index + 1)
  }
  assert.deepEqual(await contents(bench, instance), [])
  await clock.tick(14 * DAY - minutes * MINUTE)
  await untilOn(clock, async () => (await contents(bench, instance)).length === 1, 'it is journalled')
  const { items } = await bench.journal.list({ instance, after: 0, limit: 10, maxBytes: MIB })
  const { author, waMessageId: id, content } = items[0]?.message ?? {}
  assert.deepEqual(
    [author, id, content],
    [chatOf(CAROL), waMessageId, { kind: 'other', name: 'without_content', text: null }],
  )
  assert.deepEqual(
    (await eventsOf(bench)).map(({ type }) => type),
    ['inbound.received'],
  )
  await clock.tick(DAY)
  assert.deepEqual([await missing(bench), asked(bench)], [0, 7])
  await bench.simulator.assertClean()
})

async function nextAsk(bench: Bench): Promise<number> {
  const [row] = await bench.database.read('SELECT ask_at FROM "MissingContent"', [])
  return Number(row?.['ask_at'] ?? 0)
}

for (const addressing of ['pn', 'lid'] as const) {
  test(`reactions, edits, deletions and votes come with what they are about, addressed by ${addressing}`, async (t) => {
    const bench = await setup(t)
    const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
    const { instance, phone } = await bench.pair(COMPANY)
    const { waMessageId: first } = carol.send(phone, 'hello', { addressing })
    const secret = randomBytes(32)
    const { waMessageId: poll } = carol.send(
      phone,
      {
        messageContextInfo: { messageSecret: secret },
        pollCreationMessageV3: { name: 'Lunch?', options: [{ optionName: 'yes' }, { optionName: 'no' }] },
      },
      { addressing },
    )
    const { Type } = proto.Message.ProtocolMessage
    const own = { fromMe: true, remoteJid: phone.jid }
    const jid = addressing === 'pn' ? carol.jid : carol.lid
    const messages: proto.IMessage[] = [
      { reactionMessage: { key: { ...own, id: first }, text: '👍' } },
      {
        protocolMessage: {
          type: Type.MESSAGE_EDIT,
          key: { ...own, id: first },
          editedMessage: { conversation: 'hello!' },
        },
      },
      {
        pollUpdateMessage: {
          pollCreationMessageKey: { ...own, id: poll },
          vote: sealVote(['no'], { secret, pollId: poll, creator: jid, voter: jid }),
        },
      },
      {
        pollUpdateMessage: {
          pollCreationMessageKey: { ...own, id: 'UNKNOWN' },
          vote: sealVote(['no'], { secret, pollId: 'UNKNOWN', creator: jid, voter: jid }),
        },
      },
      { protocolMessage: { type: Type.REVOKE, key: { ...own, id: first } } },
    ]
    for (const message of messages) carol.send(phone, message, { addressing })
    await until(async () => (await contents(bench, instance)).length === 7, 'all are journalled')
    const author = chatOf(CAROL)
    const target = { waMessageId: first, author }
    assert.deepEqual((await contents(bench, instance)).slice(2), [
      { kind: 'reaction', target, text: '👍' },
      { kind: 'edit', target, text: 'hello!' },
      { kind: 'poll_vote', target: { waMessageId: poll, author }, choices: ['no'] },
      { kind: 'poll_vote', target: { waMessageId: 'UNKNOWN', author }, choices: null },
      { kind: 'delete', target },
    ])
    const types = (await eventsOf(bench)).map(({ type }) => type)
    assert.deepEqual(types, [
      'inbound.received',
      'inbound.received',
      'inbound.reacted',
      'inbound.edited',
      'inbound.poll_voted',
      'inbound.poll_voted',
      'inbound.deleted',
    ])
    await bench.simulator.assertClean()
  })
}

test('a message that could not be decrypted at first joins up with its content, once', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  carol.send(phone, 'one')
  await until(async () => (await contents(bench, instance)).length === 1, 'they know each other')
  bench.simulator.fault({ on: 'deliver', do: 'error', times: 1 })
  const { waMessageId } = carol.send(phone, 'two')
  await until(async () => (await contents(bench, instance)).length === 2, 'it came again')
  carol.send(phone, 'three')
  await until(async () => (await contents(bench, instance)).length === 3, 'and the next')
  const { items } = await bench.journal.list({ instance, after: 0, limit: 10, maxBytes: MIB })
  assert.deepEqual(
    items.map(({ message }) => message.content),
    ['one', 'two', 'three'].map((text) => ({ kind: 'text', text })),
  )
  assert.equal(items[1]?.message.waMessageId, waMessageId)
})

test('what came while the instance was away is like what comes live', async (t) => {
  const bench = await setup(t)
  const carol = bench.simulator.addContact(CAROL, { name: 'Carol' })
  const { instance, phone } = await bench.pair(COMPANY)
  carol.send(phone, 'live')
  await until(async () => (await contents(bench, instance)).length === 1, 'it is journalled')
  await bench.pool.stopInstance(instance)
  const location = { degreesLatitude: 1, degreesLongitude: 2, name: 'here' }
  carol.send(phone, 'away')
  carol.send(phone, { locationMessage: location })
  await bench.pool.startInstance({ instance, tenant: 'exatron' as never })
  await until(async () => (await contents(bench, instance)).length === 3, 'it is journalled, too')
  carol.send(phone, 'live again')
  await until(async () => (await contents(bench, instance)).length === 4, 'in order')
  assert.deepEqual(
    (await contents(bench, instance)).map(({ kind }) => kind),
    ['text', 'text', 'location', 'text'],
  )
  const types = (await eventsOf(bench)).map(({ type }) => type)
  assert.deepEqual(types, Array(4).fill('inbound.received'))
  await bench.simulator.assertClean()
})
