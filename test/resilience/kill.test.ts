import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seededRandom, until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, SimulatorProcess } from '../harness.ts'

const CHATS = 50
const MESSAGES_PER_CHAT = 20
const KILLS = 20
/** A contact asks something after every so many messages it was sent. */
const ASK_EVERY = 10
const QUESTIONS = (CHATS * MESSAGES_PER_CHAT) / ASK_EVERY
const SEED = 20_261_121

const company = '5511900000001'
const contacts = Array.from({ length: CHATS }, (_, index) => `55119100000${String(index).padStart(2, '0')}`)

test('kill -9 at 20 random moments loses nothing, doubles nothing and keeps every chat in order', async (t) => {
  const random = seededRandom(SEED)
  const simulator = await SimulatorProcess.start(t)
  for (const number of contacts) {
    await simulator.call('POST', '/contacts', {
      number,
      name: `Contact ${number.slice(-2)}`,
      autoReceipt: true,
    })
  }
  // The acknowledgement takes a while, as on a real network, so that messages are on the wire when the kill comes.
  await simulator.call('POST', '/faults', { on: 'ack', do: 'delay', ms: 40, times: 1_000_000 })
  const gateway = await GatewayProcess.start(t, { whatsapp: simulator.whatsapp })
  const instance = await gateway.pair(simulator, company)

  const accepted = new Map<string, string[]>()
  const accept = acceptAll(gateway, simulator, instance, accepted)

  let kills = 0
  while (kills < KILLS) {
    const target = (await simulator.accepted()) + 5 + Math.floor(random() * 30)
    await until(async () => (await simulator.accepted()) >= target, `message ${target} is taken over`, 60_000)
    await until(() => processingRows(gateway) > 0, 'a message is on its way', 60_000)
    await gateway.kill()
    // Only a kill that left a row PROCESSING on disk counts.
    if (processingRows(gateway) > 0) kills++
    await gateway.start()
  }
  await accept
  await until(() => queueRows(gateway) === 0, 'the queue is empty', 120_000)

  for (const [number, texts] of accepted) {
    const inbox = await simulator.inbox(number)
    assert.deepEqual(
      inbox.map(({ text }) => text),
      texts,
      `chat ${number.slice(-2)} holds every accepted message once and in order`,
    )
    assert.equal(new Set(inbox.map(({ waMessageId }) => waMessageId)).size, texts.length)
  }

  const stats = await simulator.call<{ acknowledged: { to: string; waMessageId: string }[] }>('GET', '/stats')
  const journalled = await allInbound(gateway, instance)
  const missing = stats.acknowledged.filter(({ waMessageId }) => !journalled.has(waMessageId))
  assert.deepEqual(missing, [], 'every inbound message that was acknowledged stands in the journal')
  await until(
    async () => (await allInbound(gateway, instance)).size >= QUESTIONS,
    'every inbound message arrives',
  )
  await simulator.check()
})

/**
 * Sends all messages, chat by chat in order; a call that the kill cut off is repeated with its Idempotency-Key. The
 * contacts write to the company all the while.
 */
async function acceptAll(
  gateway: GatewayProcess,
  simulator: SimulatorProcess,
  instance: string,
  accepted: Map<string, string[]>,
): Promise<void> {
  await Promise.all(
    contacts.map(async (number) => {
      const texts: string[] = []
      accepted.set(number, texts)
      for (let index = 0; index < MESSAGES_PER_CHAT; index++) {
        const text = `message ${index} to ${number.slice(-2)}`
        await until(
          async () => {
            const response = await gateway
              .fetch(
                'POST',
                `/v1/instances/${instance}/messages`,
                { to: `+${number}`, text },
                {
                  'idempotency-key': `${number}-${index}`,
                },
              )
              .catch(() => undefined)
            if (response !== undefined && response.status !== 202 && response.status < 500) {
              throw new Error(`${response.status} ${await response.text()}`)
            }
            return response?.status === 202
          },
          `message ${index} is accepted`,
          120_000,
        )
        texts.push(text)
        if (index % ASK_EVERY !== 0) continue
        await simulator.call('POST', `/contacts/${number}/send`, { to: company, text: `question ${index}` })
      }
    }),
  )
}

function processingRows(gateway: GatewayProcess): number {
  const [row] = gateway.sql(`SELECT COUNT(*) AS count FROM "MessageQueueItem" WHERE status = 'PROCESSING'`)
  return Number(row?.['count'] ?? 0)
}

function queueRows(gateway: GatewayProcess): number {
  return Number(gateway.sql('SELECT COUNT(*) AS count FROM "MessageQueueItem"')[0]?.['count'] ?? -1)
}

async function allInbound(gateway: GatewayProcess, instance: string): Promise<Set<string>> {
  const ids = new Set<string>()
  let after: number | string | null = 0
  while (after !== null) {
    const page: { items: { waMessageId: string }[]; next: number | string | null } = await gateway.call(
      'GET',
      `/v1/instances/${instance}/inbound?after=${after}`,
    )
    for (const item of page.items) ids.add(item.waMessageId)
    after = page.next
  }
  return ids
}
