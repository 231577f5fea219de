import assert from 'node:assert/strict'
import { seededRandom, until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, type Scope, SimulatorProcess } from '../harness.ts'

/*
 * Many contacts write at once to one number whose flow gives them to sectors, operators answer and close, and the
 * gateway is killed at random all the while. What is on disk in the end is read from outside and judged: every message
 * in exactly one conversation, never two open of a contact, lines in order, no operator over capacity, and nothing
 * that WhatsApp was told of as received is missing (N2).
 */

export interface InboundStorm {
  readonly contacts: number
  readonly messagesPerContact: number
  readonly operators: number
  readonly kills: number
  readonly seed: number
}

export interface InboundStormResult {
  readonly kills: number
  readonly messages: number
  readonly conversations: number
  readonly assignments: number
  /** Assignments out of a waiting line. */
  readonly fromLine: number
}

const company = '5511900000001'
const tenant = 'exatron'
const SECTORS = ['sales', 'support', 'billing', 'other'] as const
const CAPACITY = 2

/** @throws AssertionError when any of it does not hold */
export async function stormInbound(t: Scope, storm: InboundStorm): Promise<InboundStormResult> {
  const random = seededRandom(storm.seed)
  const numbers = Array.from({ length: storm.contacts }, (_, index) => String(5_511_910_000_000 + index))
  const simulator = await SimulatorProcess.start(t)
  for (const number of numbers) {
    await simulator.call('POST', '/contacts', { number, name: `Contact ${number.slice(-3)}` })
  }
  const gateway = await GatewayProcess.start(t, {
    whatsapp: simulator.whatsapp,
    // Every close is for good, so that a contact has several conversations one after the other.
    env: { ECLUSA_LIMITS: 'off', ECLUSA_CONVERSATIONS_REOPEN_WITHIN_MS: '0' },
  })
  await openDesk(gateway, storm.operators)
  const instance = await gateway.pair(simulator, company)

  const expected = storm.contacts * storm.messagesPerContact
  const work = { isOver: false }
  const writing = writeAll(simulator, numbers, storm.messagesPerContact)
  const answering = answerAll(gateway, random, work)
  // Failures are told when they are awaited.
  for (const each of [writing, answering]) each.catch(() => undefined)

  const settled = (): number =>
    countOf(gateway, `"InboundMessage" WHERE from_me = 0 AND settled_at IS NOT NULL`)
  for (let kill = 1; kill <= storm.kills; kill++) {
    // Spread over the whole of it, and in the middle of something.
    const target = Math.floor((expected * (kill - random())) / (storm.kills + 1))
    await until(() => settled() >= target, `message ${target} is settled`, 120_000)
    await gateway.kill()
    await gateway.start()
  }
  await writing
  await until(() => settled() >= expected, 'every message is settled', 180_000)
  work.isOver = true
  await answering
  await gateway.stop()

  judgeMessages(gateway, instance, expected)
  await judgeReceipts(gateway, simulator)
  judgeOneOpen(gateway)
  const { assignments, fromLine } = judgeAssignments(gateway)
  return {
    kills: storm.kills,
    messages: expected,
    conversations: countOf(gateway, '"Conversation"'),
    assignments,
    fromLine,
  }
}

/** Four sectors, operators of two of them each, and a menu that asks for the sector. */
async function openDesk(gateway: GatewayProcess, operators: number): Promise<void> {
  const path = `/v1/tenants/${tenant}`
  for (const [index, id] of SECTORS.entries()) {
    await gateway.call('POST', `${path}/sectors`, {
      id,
      name: id,
      isDefault: index === 0,
      rule: 'least_busy',
    })
  }
  for (let index = 0; index < operators; index++) {
    const sectors = [SECTORS[index % 4], SECTORS[(index + 1) % 4]].map((sector) => ({ sector }))
    const made = await gateway.call<{ id: string }>('POST', `${path}/operators`, {
      name: `Operator ${index}`,
      capacity: CAPACITY,
      sectors,
    })
    await gateway.call('PATCH', `${path}/operators/${made.id}`, { availability: 'online' })
  }
  await publishFlow(gateway)
}

async function publishFlow(gateway: GatewayProcess): Promise<void> {
  const assign = (sector: string): object => ({
    id: sector,
    kind: 'assign',
    to: { sector, rule: 'least_busy' },
  })
  const document = {
    format: 1,
    starts: 'everybody',
    start: 'menu',
    steps: [
      {
        id: 'menu',
        kind: 'menu',
        text: 'Which department?',
        options: SECTORS.map((sector) => ({ label: sector, words: [sector], next: sector })),
        tries: 3,
        again: 'Please answer with a number.',
        timeOut: { minutes: 60, next: 'person' },
        fallback: 'person',
      },
      ...SECTORS.map(assign),
      { id: 'person', kind: 'hand_over' },
    ],
  }
  await gateway.call('PUT', `/v1/tenants/${tenant}/flows/departments`, document)
  await gateway.call('POST', `/v1/tenants/${tenant}/flows/departments/publish`, {})
}

/** All contacts at once, each in its own order: a greeting, the number of a sector, and what else they have to say. */
async function writeAll(
  simulator: SimulatorProcess,
  numbers: readonly string[],
  messagesPerContact: number,
): Promise<void> {
  await Promise.all(
    numbers.map(async (number, contact) => {
      for (let index = 0; index < messagesPerContact; index++) {
        // Every other message is a good answer to the menu of a conversation that has just begun.
        const text = index % 2 === 0 ? `hello ${index}` : String(1 + (contact % SECTORS.length))
        await simulator.call('POST', `/contacts/${number}/send`, { to: company, text })
      }
    }),
  )
}

/** Operators who close what they have, sooner or later, until the work is over. */
async function answerAll(
  gateway: GatewayProcess,
  random: () => number,
  work: { readonly isOver: boolean },
): Promise<void> {
  while (!work.isOver) {
    const page = await gateway
      .fetch('GET', `/v1/tenants/${tenant}/conversations?state=assigned&limit=50`)
      .then((response) => response.json() as Promise<{ items?: { id: string }[] }>)
      .catch(() => ({ items: [] }))
    for (const { id } of page.items ?? []) {
      if (random() < 0.5)
        await gateway.fetch('POST', `/v1/conversations/${id}/close`, {}).catch(() => undefined)
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Each message that was written is journalled once, settled, and in the history of exactly one conversation. */
function judgeMessages(gateway: GatewayProcess, instance: string, expected: number): void {
  const journalled = gateway.sql(
    `SELECT id, settled_at, set_aside_at FROM "InboundMessage" WHERE instance = '${instance}' AND from_me = 0`,
  )
  assert.equal(journalled.length, expected, 'every message that was written is journalled once')
  assert.ok(journalled.every((row) => row['settled_at'] !== null && row['set_aside_at'] === null))
  const filed = gateway.sql(
    `SELECT journal_id, COUNT(*) AS n FROM "ConversationEntry" WHERE kind = 'inbound' GROUP BY journal_id`,
  )
  assert.equal(filed.length, expected, 'every message is in a conversation')
  assert.ok(
    filed.every((row) => row['n'] === 1),
    'no message is in two conversations',
  )
  // In a chat, the order of the history is the order of the journal.
  const order = gateway.sql(
    `SELECT message.chat AS chat, entry.journal_id AS journal_id FROM "ConversationEntry" AS entry
     JOIN "InboundMessage" AS message ON message.id = entry.journal_id
     WHERE entry.kind = 'inbound' ORDER BY entry.id`,
  )
  const last = new Map<unknown, number>()
  for (const row of order) {
    const id = Number(row['journal_id'])
    assert.ok(id > (last.get(row['chat']) ?? 0), 'messages of a chat are filed in their order')
    last.set(row['chat'], id)
  }
}

/** N2: what WhatsApp was told of as received stands in the journal. */
async function judgeReceipts(gateway: GatewayProcess, simulator: SimulatorProcess): Promise<void> {
  const { acknowledged } = await simulator.call<{ acknowledged: { waMessageId: string }[] }>('GET', '/stats')
  const known = new Set(
    gateway.sql('SELECT wa_message_id FROM "InboundMessage"').map((row) => row['wa_message_id']),
  )
  assert.deepEqual(
    acknowledged.filter(({ waMessageId }) => !known.has(waMessageId)),
    [],
  )
}

/** From the history, not from the index that promises it: a contact's next conversation begins after the last closed. */
function judgeOneOpen(gateway: GatewayProcess): void {
  const entries = gateway.sql(
    `SELECT conversation.contact AS contact, entry.conversation AS id, entry.kind AS kind
     FROM "ConversationEntry" AS entry JOIN "Conversation" AS conversation ON conversation.id = entry.conversation
     WHERE entry.kind IN ('opened', 'reopened', 'closed') ORDER BY entry.id`,
  )
  const open = new Map<unknown, unknown>()
  for (const { contact, id, kind } of entries) {
    if (kind === 'closed') {
      assert.equal(open.get(contact), id)
      open.delete(contact)
      continue
    }
    assert.equal(open.get(contact), undefined, 'a contact has two conversations that are not closed')
    open.set(contact, id)
  }
}

/** Replays who waited and who got whom: first come, first served, and nobody above capacity at any moment. */
function judgeAssignments(gateway: GatewayProcess): { assignments: number; fromLine: number } {
  const entries = gateway.sql(
    `SELECT id, conversation, kind, sector, operator FROM "ConversationEntry"
     WHERE kind IN ('waiting', 'assigned', 'closed') ORDER BY id`,
  )
  const lines = new Map<unknown, unknown[]>()
  const has = new Map<unknown, Set<unknown>>()
  const operatorOf = new Map<unknown, unknown>()
  let assignments = 0
  let fromLine = 0
  const leaveLines = (conversation: unknown): void => {
    for (const [sector, line] of lines)
      lines.set(
        sector,
        line.filter((id) => id !== conversation),
      )
  }
  for (const { conversation, kind, sector, operator } of entries) {
    if (kind === 'waiting') {
      lines.set(sector, [...(lines.get(sector) ?? []), conversation])
    } else if (kind === 'closed') {
      leaveLines(conversation)
      has.get(operatorOf.get(conversation))?.delete(conversation)
    } else {
      assignments++
      const line = lines.get(sector) ?? []
      if (line.includes(conversation)) {
        fromLine++
        assert.equal(line[0], conversation, `the line of ${String(sector)} is not served in order`)
      }
      leaveLines(conversation)
      const theirs = has.get(operator) ?? new Set()
      theirs.add(conversation)
      has.set(operator, theirs)
      operatorOf.set(conversation, operator)
      assert.ok(theirs.size <= CAPACITY, 'an operator has more than they can take')
    }
  }
  assert.equal(countOf(gateway, `"Operator" WHERE assigned_count > ${CAPACITY}`), 0)
  return { assignments, fromLine }
}

function countOf(gateway: GatewayProcess, from: string): number {
  return Number(gateway.sql(`SELECT COUNT(*) AS count FROM ${from}`)[0]?.['count'] ?? -1)
}
