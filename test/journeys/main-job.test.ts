import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { API_KEY, GatewayProcess, type Message, SimulatorProcess } from '../harness.ts'

const COMPANY = '5511900000001'
const CAROL = '5511910000001'

test('a company links its number, writes, is answered, and hears of it as an event', async (t) => {
  const simulator = await SimulatorProcess.start(t)
  await simulator.call('POST', '/contacts', {
    number: CAROL,
    name: 'Carol',
    autoReceipt: true,
    autoRead: true,
  })
  const gateway = await GatewayProcess.start(t, { whatsapp: simulator.whatsapp })
  const instance = await gateway.pair(simulator, COMPANY)
  const events = await followEvents(t, gateway)

  const { id, state } = await gateway.send(instance, CAROL, 'Your order is ready.')
  assert.equal(state, 'PENDING')
  const read = await gateway.untilMessage(id, 'READ')
  assert.equal(read.failure, null)
  const times = [read.acceptedAt, read.sentAt, read.deliveredAt, read.readAt].map((at) =>
    Date.parse(at ?? ''),
  )
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
    'accepted, sent, delivered, read, in this order',
  )
  const [arrived] = await simulator.inbox(CAROL)
  assert.equal(arrived?.text, 'Your order is ready.')
  assert.equal(arrived?.waMessageId, read.waMessageId)

  await simulator.call('POST', `/contacts/${CAROL}/send`, { to: COMPANY, text: 'On my way!' })
  await until(
    () => events.some(({ type }) => type === 'inbound.received'),
    'the answer comes out as an event',
  )
  const { items } = await gateway.call<{ items: { from: string; text: string }[] }>(
    'GET',
    `/v1/instances/${instance}/inbound?after=0`,
  )
  assert.deepEqual(
    items.map(({ from, text }) => ({ from, text })),
    [{ from: `+${CAROL}`, text: 'On my way!' }],
  )
  assert.deepEqual(
    events
      .map(({ type }) => type)
      .filter((type) => type.startsWith('outbound.') || type.startsWith('inbound.')),
    ['outbound.accepted', 'outbound.sent', 'outbound.delivered', 'outbound.read', 'inbound.received'],
  )
  assert.equal(gateway.count('"MessageQueueItem"'), 0)
  await simulator.check()
})

test('with pacing on the contact sees its message read, then "typing…", then the answer', async (t) => {
  const simulator = await SimulatorProcess.start(t)
  await simulator.call('POST', '/contacts', {
    number: CAROL,
    name: 'Carol',
    autoReceipt: true,
    autoRead: false,
  })
  const gateway = await GatewayProcess.start(t, {
    whatsapp: simulator.whatsapp,
    env: {
      ECLUSA_PACING: 'on',
      ECLUSA_PACING_THINKING_MIN_MS: '50',
      ECLUSA_PACING_THINKING_MAX_MS: '100',
      ECLUSA_PACING_MAX_READING_MS: '100',
      ECLUSA_PACING_VISIBLE_TYPING_MIN_MS: '100',
      ECLUSA_PACING_VISIBLE_TYPING_MAX_MS: '200',
      ECLUSA_PACING_MAX_TYPING_MS: '300',
    },
  })
  const instance = await gateway.pair(simulator, COMPANY)
  const { waMessageId } = await simulator.call<{ waMessageId: string }>('POST', `/contacts/${CAROL}/send`, {
    to: COMPANY,
    text: 'Are you open?',
  })
  await until(async () => gateway.count('"InboundMessage"') === 1, 'the question is journalled')
  const { id } = await gateway.send(instance, CAROL, 'Until six.')
  await gateway.untilMessage(id, 'DELIVERED')

  const { receipts } = await simulator.call<{
    receipts: { waMessageId: string; type: string; at: number }[]
  }>('GET', `/contacts/${CAROL}/receipts`)
  const { presence } = await simulator.call<{ presence: { state: string; at: number }[] }>(
    'GET',
    `/contacts/${CAROL}/presence`,
  )
  const [answer] = await simulator.inbox(CAROL)
  const readAt =
    receipts.find((receipt) => receipt.waMessageId === waMessageId && receipt.type === 'read')?.at ?? NaN
  const typingAt = presence.find(({ state }) => state === 'composing')?.at ?? NaN
  assert.ok(readAt <= typingAt, 'read before typing')
  assert.ok(typingAt <= (answer?.at ?? NaN), 'typing before the answer')
  await simulator.check()
})

test('1,000 messages over 50 chats arrive once each and in order, and the queue is empty', async (t) => {
  const simulator = await SimulatorProcess.start(t)
  const contacts = Array.from({ length: 50 }, (_, index) => `55119200000${String(index).padStart(2, '0')}`)
  for (const number of contacts)
    await simulator.call('POST', '/contacts', { number, name: number, autoReceipt: true })
  const gateway = await GatewayProcess.start(t, { whatsapp: simulator.whatsapp })
  const instance = await gateway.pair(simulator, COMPANY)
  await Promise.all(
    contacts.map(async (number) => {
      for (let index = 0; index < 20; index++) await gateway.send(instance, number, `message ${index}`)
    }),
  )
  await until(() => gateway.count('"MessageQueueItem"') === 0, 'the queue is empty', 120_000)
  for (const number of contacts) {
    const inbox = await simulator.inbox(number)
    assert.deepEqual(
      inbox.map(({ text }) => text),
      Array.from({ length: 20 }, (_, index) => `message ${index}`),
    )
    assert.deepEqual([...new Set(inbox.map(({ repeats }) => repeats))], [0])
  }
  await simulator.check()
})

test('a person’s number and LID are one chat, also when the pair is learnt after messages to both were accepted', async (t) => {
  const simulator = await SimulatorProcess.start(t)
  const { lid } = await simulator.call<{ lid: string }>('POST', '/contacts', {
    number: CAROL,
    name: 'Carol',
    autoReceipt: true,
  })
  const gateway = await GatewayProcess.start(t, { whatsapp: simulator.whatsapp })
  const instance = await gateway.pair(simulator, COMPANY)
  await gateway.call('POST', `/v1/instances/${instance}/queue/pause`)
  const path = `/v1/instances/${instance}/messages`
  const ids: string[] = []
  for (const [index, to] of [lid, `+${CAROL}`, lid, `+${CAROL}`].entries())
    ids.push((await gateway.call<{ id: string }>('POST', path, { to, text: `message ${index}` })).id)
  const chats = (): readonly unknown[] =>
    gateway.sql('SELECT DISTINCT chat FROM "MessageQueueItem" ORDER BY chat').map((row) => row['chat'])
  assert.equal(chats().length, 2, 'nobody knows yet that they are one')
  await simulator.call('POST', `/contacts/${CAROL}/send`, { to: COMPANY, text: 'Hello', addressing: 'lid' })
  await until(() => chats().length === 1, 'the two lines are one')
  assert.deepEqual(chats(), [`${CAROL}@s.whatsapp.net`])
  await gateway.call('POST', `/v1/instances/${instance}/queue/resume`)
  for (const id of ids) await gateway.untilMessage(id, 'DELIVERED')
  assert.deepEqual(
    (await simulator.inbox(CAROL)).map(({ text }) => text),
    ids.map((_, index) => `message ${index}`),
  )
  await simulator.check()
})

test('a second gateway on the same data refuses with a clear sentence', async (t) => {
  const simulator = await SimulatorProcess.start(t)
  const first = await GatewayProcess.start(t, { whatsapp: simulator.whatsapp })
  const second = await GatewayProcess.prepare(t, { whatsapp: simulator.whatsapp, folder: first.folder })
  await assert.rejects(second.start(), /Another Eclusa process is using this database/)
  assert.equal((await first.fetch('GET', '/readyz')).status, 200)
})

test('after a graceful stop everything accepted is still there and is sent by the next start', async (t) => {
  const simulator = await SimulatorProcess.start(t)
  await simulator.call('POST', '/contacts', { number: CAROL, name: 'Carol', autoReceipt: true })
  const gateway = await GatewayProcess.start(t, { whatsapp: simulator.whatsapp })
  const instance = await gateway.pair(simulator, COMPANY)
  await gateway.call('POST', `/v1/instances/${instance}/stop`)
  const ids: string[] = []
  for (let index = 0; index < 5; index++)
    ids.push((await gateway.send(instance, CAROL, `message ${index}`)).id)
  assert.equal(await gateway.stop(), 0)
  await gateway.start()
  const waiting = await gateway.call<Message>('GET', `/v1/messages/${ids[0]}`)
  assert.equal(waiting.state, 'PENDING')
  await gateway.call('POST', `/v1/instances/${instance}/start`)
  for (const id of ids) await gateway.untilMessage(id, 'DELIVERED')
  assert.deepEqual(
    (await simulator.inbox(CAROL)).map(({ text }) => text),
    ids.map((_, index) => `message ${index}`),
  )
  await simulator.check()
})

/** Reads the event stream until the test ends. */
async function followEvents(
  t: { after(run: () => unknown): void },
  gateway: GatewayProcess,
): Promise<{ type: string }[]> {
  const events: { type: string }[] = []
  const over = new AbortController()
  t.after(() => over.abort())
  const response = await fetch(`${gateway.url}/v1/events`, {
    headers: { accept: 'text/event-stream', authorization: `Bearer ${API_KEY}` },
    signal: over.signal,
  })
  void (async (): Promise<void> => {
    let text = ''
    try {
      for await (const chunk of response.body ?? []) {
        text += Buffer.from(chunk).toString()
        const parts = text.split('\n\n')
        text = parts.pop() ?? ''
        for (const part of parts) {
          // Without an id it only tells what goes on just now.
          const type = /^id: .*\nevent: (.*)$/m.exec(part)?.[1]
          if (type !== undefined) events.push({ type })
        }
      }
    } catch {
      // the test is over
    }
  })()
  return events
}
