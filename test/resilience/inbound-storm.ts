import { seededRandom, until } from '@eclusa/kernel/test-kit'
import { makeTestSchema, runSql } from '@eclusa/storage/test-kit'
import { GatewayProcess, type Scope, SimulatorProcess } from '../harness.ts'
import { type Evidence, judge, type Judged } from './inbound-judge.ts'

/*
 * Many contacts write at once to one number whose flow gives them to sectors, operators answer and close, and the
 * gateway is killed at random all the while. What is on disk in the end is read from outside and judged.
 */

export interface InboundStorm {
  readonly contacts: number
  readonly messagesPerContact: number
  readonly operators: number
  readonly kills: number
  readonly seed: number
}

export interface InboundStormResult extends Judged {
  readonly kills: number
  readonly messages: number
  readonly conversations: number
  /** What was judged. */
  readonly evidence: Evidence
}

const company = '5511900000001'
const tenant = 'exatron'
const SECTORS = ['sales', 'support', 'billing', 'other'] as const
export const CAPACITY = 2

/** @throws AssertionError when any of it does not hold */
export async function stormInbound(t: Scope, storm: InboundStorm): Promise<InboundStormResult> {
  const random = seededRandom(storm.seed)
  const numbers = Array.from({ length: storm.contacts }, (_, index) => String(5_511_910_000_000 + index))
  const simulator = await SimulatorProcess.start(t)
  for (const number of numbers) {
    await simulator.call('POST', '/contacts', { number, name: `Contact ${number.slice(-3)}` })
  }
  const { url, drop } = await makeTestSchema(t)
  t.after(drop)
  const gateway = await GatewayProcess.start(t, {
    whatsapp: simulator.whatsapp,
    // Every close is for good, so that a contact has several conversations one after the other.
    env: {
      ECLUSA_LIMITS: 'off',
      ECLUSA_CONVERSATIONS_REOPEN_WITHIN_MS: '0',
      ECLUSA_DATABASE_URL: url,
    },
  })
  const sql = async (text: string): Promise<readonly Row[]> =>
    url === '' ? gateway.sql(text) : ((await runSql(url, text)) as readonly Row[])
  await openDesk(gateway, storm.operators)
  const instance = await gateway.pair(simulator, company)

  const expected = storm.contacts * storm.messagesPerContact
  const work = { isOver: false }
  const writing = writeAll(simulator, numbers, storm.messagesPerContact)
  const answering = answerAll(gateway, random, work)
  // Failures are told when they are awaited.
  for (const each of [writing, answering]) each.catch(() => undefined)

  const settled = async (): Promise<number> => {
    const where = 'from_me = 0 AND settled_at IS NOT NULL'
    const [row] = await sql(`SELECT COUNT(*) AS count FROM "InboundMessage" WHERE ${where}`)
    return Number(row?.['count'])
  }
  for (let kill = 1; kill <= storm.kills; kill++) {
    // Spread over the whole of it, and in the middle of something.
    const target = Math.floor((expected * (kill - random())) / (storm.kills + 1))
    await until(async () => (await settled()) >= target, `message ${target} is settled`, 120_000)
    await gateway.kill()
    await gateway.start()
  }
  await writing
  await until(async () => (await settled()) >= expected, 'every message is settled', 180_000)
  work.isOver = true
  await answering
  await gateway.stop()

  const evidence = await readEvidence(sql, { instance, simulator })
  return {
    ...judge(evidence, { messages: expected, capacity: CAPACITY }),
    kills: storm.kills,
    messages: expected,
    conversations: new Set(evidence.entries.map(({ conversation }) => conversation)).size,
    evidence,
  }
}

type Row = Readonly<Record<string, unknown>>

async function readEvidence(
  sql: (text: string) => Promise<readonly Row[]>,
  of: { readonly instance: string; readonly simulator: SimulatorProcess },
): Promise<Evidence> {
  const numberOrNull = (value: unknown): number | null => (value === null ? null : Number(value))
  const textOrNull = (value: unknown): string | null => (typeof value === 'string' ? value : null)
  const journal = await sql(
    `SELECT id, chat, wa_message_id, settled_at, set_aside_at FROM "InboundMessage"
     WHERE instance = '${of.instance}' AND from_me = 0`,
  )
  const entries = await sql(
    `SELECT entry.id, conversation, kind, entry.sector, entry.operator, journal_id, contact
     FROM "ConversationEntry" AS entry JOIN "Conversation" AS owner ON owner.id = entry.conversation ORDER BY entry.id`,
  )
  const operators = await sql('SELECT assigned_count FROM "Operator"')
  const stats = await of.simulator.call<{ acknowledged: { waMessageId: string }[] }>('GET', '/stats')
  return {
    journal: journal.map((row) => ({
      id: Number(row['id']),
      chat: String(row['chat']),
      waMessageId: String(row['wa_message_id']),
      isSettled: row['settled_at'] !== null && row['set_aside_at'] === null,
    })),
    entries: entries.map((row) => ({
      conversation: String(row['conversation']),
      contact: String(row['contact']),
      kind: String(row['kind']),
      sector: textOrNull(row['sector']),
      operator: textOrNull(row['operator']),
      journalId: numberOrNull(row['journal_id']),
    })),
    assignedCounts: operators.map((row) => Number(row['assigned_count'])),
    acknowledged: stats.acknowledged.map(({ waMessageId }) => waMessageId),
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
