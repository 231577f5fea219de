import assert from 'node:assert/strict'
import { seededRandom, until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, type InboxEntry, type Scope, SimulatorProcess } from '../harness.ts'

/*
 * The whole gateway against the simulator, killed again and again while chats are served and contacts write: what the
 * callers were told, what the contacts hold, and what is stored must fit together (I1 to I5, N1 to N6; of N3 what
 * the log of events holds).
 */

export interface GatewayKills {
  readonly kills: number
  readonly chats: number
  readonly messagesPerChat: number
  readonly seed: number
}

export interface GatewayKillsResult {
  readonly kills: number
  readonly accepted: number
  readonly inbound: number
  /** Copies that contacts got under the same id, and dropped. */
  readonly repeats: number
}

/** A contact asks something after every so many messages it was sent. */
const ASK_EVERY = 10
const company = '5511900000001'

/** @throws AssertionError when any of it does not hold */
export async function killGateway(t: Scope, options: GatewayKills): Promise<GatewayKillsResult> {
  const { chats, messagesPerChat } = options
  const random = seededRandom(options.seed)
  const contacts = Array.from({ length: chats }, (_, index) => `55119100000${String(index).padStart(2, '0')}`)
  const questions = chats * Math.ceil(messagesPerChat / ASK_EVERY)
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
  // A receipt before it would be the better acknowledgement.
  const late = { on: 'receipt', do: 'delay', ms: 80, times: 1_000_000, match: { direction: 'out' } }
  await simulator.call('POST', '/faults', late)
  const gateway = await GatewayProcess.start(t, { whatsapp: simulator.whatsapp })
  const instance = await gateway.pair(simulator, company)

  // bounded by: chats, and messages of a chat
  const accepted = new Map<string, Accepted[]>()
  const accept = acceptAll(gateway, simulator, { instance, contacts, messagesPerChat, accepted })
  // A failure of the callers is told when they are awaited.
  accept.catch(() => undefined)

  let kills = 0
  while (kills < options.kills) {
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

  const waMessageIds = await judgeStates(gateway, [...accepted.values()].flat())
  let repeats = 0
  for (const [number, messages] of accepted) {
    const inbox = await simulator.inbox(number)
    repeats += judgeInbox(
      number,
      inbox,
      messages.map(({ id, text }) => ({ text, waMessageId: waMessageIds.get(id) })),
    )
  }
  assert(repeats <= kills * chats, `I5: ${repeats} repeats after ${kills} kills of ${chats} chats`)

  const stats = await simulator.call<{ acknowledged: { to: string; waMessageId: string }[] }>('GET', '/stats')
  const journalled = await allInbound(gateway, instance)
  const missing = stats.acknowledged.filter(({ waMessageId }) => !journalled.has(waMessageId))
  assert.deepEqual(missing, [], 'every inbound message that was acknowledged stands in the journal')
  await until(
    async () => (await allInbound(gateway, instance)).size >= questions,
    'every inbound message arrives',
  )
  // Each can be read from the log of events, and none twice: what every hook and stream is fed from.
  const [events] = gateway.sql(`SELECT COUNT(*) AS n FROM "Event" WHERE type = 'inbound.received'`)
  assert.equal(Number(events?.['n']), gateway.count('"InboundMessage"'), 'one event per inbound message')
  await simulator.check()
  return { kills, accepted: waMessageIds.size, inbound: questions, repeats }
}

interface Accepted {
  readonly id: string
  readonly text: string
}

/** I1, I2, I4, N4, N5: every accepted message once, in order, under the id that its caller was told. */
function judgeInbox(
  number: string,
  inbox: readonly InboxEntry[],
  told: readonly { readonly text: string; readonly waMessageId: string | undefined }[],
): number {
  const got = inbox.map(({ text, waMessageId }) => ({ text, waMessageId }))
  assert.deepEqual(got, told, `chat ${number.slice(-2)} holds every accepted message once and in order`)
  return inbox.reduce((sum, entry) => sum + entry.repeats, 0)
}

/** N1: each id that was answered with 202 has ended once, and accepted = ended + waiting. Gives their WhatsApp ids. */
async function judgeStates(
  gateway: GatewayProcess,
  messages: readonly Accepted[],
): Promise<ReadonlyMap<string, string>> {
  // bounded by: messages
  const waMessageIds = new Map<string, string>()
  for (const { id } of messages) {
    const message = await gateway.message(id)
    assert.match(message.state, /^(SENT|DELIVERED|READ)$/, `${id} is ${message.state}`)
    waMessageIds.set(id, message.waMessageId)
  }
  assert.equal(gateway.count('"OutboundTombstone"'), messages.length, 'accepted = ended')
  const types = gateway.sql(
    `SELECT type, COUNT(*) AS n FROM "Event" WHERE type LIKE 'outbound.%' GROUP BY type`,
  )
  const of = (type: string): number => Number(types.find((row) => row['type'] === type)?.['n'] ?? 0)
  assert.equal(of('outbound.accepted'), messages.length, 'one event per accepted message')
  assert.equal(of('outbound.sent'), messages.length, 'one terminal event per message')
  assert.equal(of('outbound.failed') + of('outbound.cancelled'), 0)
  return waMessageIds
}

/**
 * Sends all messages, chat by chat in order; a call that the kill cut off is repeated with its Idempotency-Key. The
 * contacts write to the company all the while.
 */
async function acceptAll(
  gateway: GatewayProcess,
  simulator: SimulatorProcess,
  run: {
    readonly instance: string
    readonly contacts: readonly string[]
    readonly messagesPerChat: number
    readonly accepted: Map<string, Accepted[]>
  },
): Promise<void> {
  const { instance, contacts, messagesPerChat, accepted } = run
  await Promise.all(
    contacts.map(async (number) => {
      const messages: Accepted[] = []
      accepted.set(number, messages)
      for (let index = 0; index < messagesPerChat; index++) {
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
            if (response?.status !== 202) return false
            // A kill may cut the answer off in the middle.
            const answer = (await response.json().catch(() => undefined)) as
              | Omit<Accepted, 'text'>
              | undefined
            if (answer !== undefined) messages.push({ id: answer.id, text })
            return answer !== undefined
          },
          `message ${index} is accepted`,
          120_000,
        )
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
