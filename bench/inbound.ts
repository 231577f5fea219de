import { type ChildProcess, fork } from 'node:child_process'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { createSimulator, type NumberPhone, type Simulator } from '@eclusa/simulator'
import { GatewayProcess } from '../test/harness.ts'
import type { Probe } from './memory-probe.ts'
import { BenchScope, report, round } from './report.ts'

/*
 * Contacts who write for the first time, each one message, from the wire to `conversation.assigned`: decrypted, in the
 * journal, contact made, conversation opened, given to an operator, all on disk. Beside bare Baileys that receives as
 * many from as many new contacts and only counts them. Then the same from contacts who are known, whose messages go
 * into the conversation that they have. The simulator runs in this process, on the same two cores in both cases.
 *
 * `--contacts 50000` measures memory: that many distinct contacts write to one instance, one message each.
 */

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    messages: { type: 'string', default: '400' },
    contacts: { type: 'string', default: '0' },
  },
})
const ROUNDS = Number(values.rounds)
const MESSAGES = Number(values.messages)
const MEMORY_CONTACTS = Number(values.contacts)
/** Messages a second while latency is measured: a busy desk, far from what the process can take. */
const PACE_PER_SECOND = 20
const PACED = 400
/** Messages that the simulator has sent and nobody has received: as many as a real connection would hold. */
const IN_FLIGHT = 100
const TENANT = 'exatron'

interface Round {
  readonly perSecond: number
  readonly cpuMsPerMessage: number
}

const scope = new BenchScope()
try {
  const simulator = await createSimulator({
    skipPreKeyUpload: true,
    maxAccounts: MEMORY_CONTACTS + ROUNDS * MESSAGES * 2 + PACED + 1000,
    maxTranscript: 10,
    maxInbox: 10,
  })
  scope.after(() => simulator.stop())
  const gateway = await GatewayProcess.start(scope, {
    whatsapp: simulator.url,
    env: { ECLUSA_LOG_LEVEL: 'warn', ECLUSA_LIMITS: 'off' },
    nodeArgs: ['--expose-gc', '--import', path.join(import.meta.dirname, 'memory-probe.ts')],
  })
  await openDesk(gateway)
  const shop = simulator.addNumber('5511900000001', { name: 'Shop' })
  await gateway.link({ name: 'shop', tenant: TENANT, scan: async (qr) => void (await shop.scanQr(qr)) })
  const results =
    MEMORY_CONTACTS > 0 ? await memory(simulator, gateway, shop) : await rates(simulator, gateway, shop)
  const suffix =
    MEMORY_CONTACTS > 0
      ? { name: 'inbound-memory', args: ` -- --contacts ${MEMORY_CONTACTS}` }
      : { name: 'inbound', args: '' }
  report(suffix.name, `npm run bench:inbound${suffix.args}`, results)
} finally {
  await scope.close()
}

async function rates(
  simulator: Simulator,
  gateway: GatewayProcess,
  shop: NumberPhone,
): Promise<Record<string, unknown>> {
  const rival = simulator.addNumber('5511900000002', { name: 'Bare' })
  const bare = await startBare(simulator, rival)
  const fresh = peopleOf(simulator)
  const assigned = (): Promise<number> => countAssigned(gateway)
  const settled = (): Promise<number> => countSettled(gateway)
  const heard = async (): Promise<number> => (await askBare(bare)).received
  const cpuOfGateway = async (): Promise<number> => (await gateway.ask<Probe>('cpu')).cpuMicros
  const cpuOfBare = async (): Promise<number> => (await askBare(bare)).cpuMicros

  await oneRound(fresh(50), shop, assigned, cpuOfGateway)
  await oneRound(fresh(50), rival, heard, cpuOfBare)
  const first: Round[] = []
  const firstBare: Round[] = []
  const known: Round[] = []
  const knownBare: Round[] = []
  for (let turn = 0; turn < ROUNDS; turn++) {
    const ours = fresh(MESSAGES)
    const theirs = fresh(MESSAGES)
    first.push(await oneRound(ours, shop, assigned, cpuOfGateway))
    firstBare.push(await oneRound(theirs, rival, heard, cpuOfBare))
    known.push(await oneRound(ours, shop, settled, cpuOfGateway))
    knownBare.push(await oneRound(theirs, rival, heard, cpuOfBare))
  }
  return {
    messagesPerRound: MESSAGES,
    firstMessageToAssigned: { gateway: summary(first), bareBaileysReceiving: summary(firstBare) },
    laterMessageToSettled: { gateway: summary(known), bareBaileysReceiving: summary(knownBare) },
    firstMessageToAssignedMs: await latency(fresh, gateway, shop),
  }
}

/** At a steady pace, from the moment a contact sends until the commit that assigns its conversation. */
async function latency(
  fresh: (count: number) => Contact[],
  gateway: GatewayProcess,
  shop: NumberPhone,
): Promise<Record<string, number>> {
  const before = await countAssigned(gateway)
  const sentAt = new Map<string, number>()
  const startedAt = performance.now()
  for (const [index, contact] of fresh(PACED).entries()) {
    const dueMs = (index * 1000) / PACE_PER_SECOND - (performance.now() - startedAt)
    if (dueMs > 0) await new Promise((resolve) => setTimeout(resolve, dueMs))
    sentAt.set(contact.jid, Date.now())
    contact.send(shop, 'hello')
  }
  await until(async () => (await countAssigned(gateway)) >= before + PACED, 'all are assigned')
  const rows = gateway.sql('SELECT chat, assigned_at FROM "Conversation" WHERE assigned_at IS NOT NULL')
  const waits = rows
    .flatMap((row) => {
      const sent = sentAt.get(String(row['chat']))
      return sent === undefined ? [] : [Number(row['assigned_at']) - sent]
    })
    .toSorted((a, b) => a - b)
  const at = (share: number): number =>
    waits[Math.min(waits.length - 1, Math.floor(waits.length * share))] ?? 0
  return { perSecond: PACE_PER_SECOND, messages: waits.length, p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

async function memory(
  simulator: Simulator,
  gateway: GatewayProcess,
  shop: NumberPhone,
): Promise<Record<string, unknown>> {
  const fresh = peopleOf(simulator)
  const samples: Record<string, unknown>[] = []
  const step = Math.max(1, Math.floor(MEMORY_CONTACTS / 5))
  for (let done = 0; done < MEMORY_CONTACTS; done += step) {
    await oneRound(
      fresh(step),
      shop,
      () => countAssigned(gateway),
      async () => 0,
    )
    const { rss, heapUsed, external } = await gateway.ask<Probe>('memory')
    const mib = (bytes: number): number => round(bytes / 2 ** 20, 1)
    samples.push({
      contacts: done + step,
      rssMib: mib(rss),
      heapMib: mib(heapUsed),
      externalMib: mib(external),
    })
    process.stderr.write(`${JSON.stringify(samples.at(-1))}\n`)
  }
  return { contacts: MEMORY_CONTACTS, afterCollection: samples }
}

/** Each contact sends one message, `IN_FLIGHT` at a time; ends when `arrived` has grown by all of them. */
async function oneRound(
  contacts: readonly Contact[],
  to: NumberPhone,
  arrived: () => Promise<number>,
  cpuMicros: () => Promise<number>,
): Promise<Round> {
  const before = await arrived()
  const cpuBefore = await cpuMicros()
  const startedAt = performance.now()
  let sent = 0
  while (sent < contacts.length) {
    const end = Math.min(contacts.length, sent + IN_FLIGHT)
    for (; sent < end; sent++) contacts[sent]?.send(to, `message ${sent}`)
    const enough = before + sent - IN_FLIGHT / 2
    await until(async () => (await arrived()) >= enough, 'half of them have arrived')
  }
  await until(async () => (await arrived()) >= before + sent, 'all have arrived')
  const seconds = (performance.now() - startedAt) / 1000
  return {
    perSecond: round(sent / seconds, 1),
    cpuMsPerMessage: round(((await cpuMicros()) - cpuBefore) / 1000 / sent),
  }
}

type Contact = ReturnType<Simulator['addContact']>

/** Looks every 20 ms: reading a table of 50,000 rows costs both processes. */
async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const giveUpAt = performance.now() + 300_000
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`not within 5 min: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** New contacts of the simulator, each handed out once. */
function peopleOf(simulator: Simulator): (count: number) => Contact[] {
  let next = 5_521_000_000_000
  return (count) =>
    Array.from({ length: count }, () => simulator.addContact(String(next++), { name: 'Someone' }))
}

/** One sector and operators with room for everybody. */
async function openDesk(gateway: GatewayProcess): Promise<void> {
  const desk = `/v1/tenants/${TENANT}`
  await gateway.call('POST', `${desk}/sectors`, { id: 'front', name: 'Front', isDefault: true })
  for (let index = 0; index < 100; index++) {
    const { id } = await gateway.call<{ id: string }>('POST', `${desk}/operators`, {
      name: `Operator ${index}`,
      capacity: 1000,
      sectors: [{ sector: 'front' }],
    })
    await gateway.call('PATCH', `${desk}/operators/${id}`, { availability: 'online' })
  }
}

async function countAssigned(gateway: GatewayProcess): Promise<number> {
  return gateway.count(`"Conversation" WHERE state = 'assigned'`)
}

async function countSettled(gateway: GatewayProcess): Promise<number> {
  return gateway.count('"InboundMessage" WHERE settled_at IS NOT NULL')
}

async function startBare(simulator: Simulator, phone: NumberPhone): Promise<ChildProcess> {
  const child = fork(path.join(import.meta.dirname, 'bare-receiver.ts'), [simulator.url])
  scope.after(() => {
    child.kill('SIGKILL')
  })
  await new Promise<void>((resolve) => {
    child.on('message', (told: { qr?: string; ready?: boolean }) => {
      if (told.qr !== undefined) void phone.scanQr(told.qr)
      if (told.ready === true) resolve()
    })
  })
  child.removeAllListeners('message')
  return child
}

function askBare(child: ChildProcess): Promise<{ received: number; cpuMicros: number }> {
  return new Promise((resolve) => {
    child.once('message', (answer) => resolve(answer as { received: number; cpuMicros: number }))
    child.send('count')
  })
}

function summary(rounds: readonly Round[]): Record<string, unknown> {
  return {
    perSecond: rounds.map(({ perSecond }) => perSecond),
    medianPerSecond: median(rounds.map(({ perSecond }) => perSecond)),
    medianCpuMsPerMessage: median(rounds.map(({ cpuMsPerMessage }) => cpuMsPerMessage)),
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}
