import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, SimulatorProcess } from '../test/harness.ts'
import type { Probe } from './memory-probe.ts'
import { BenchScope, report, round } from './report.ts'

/*
 * Messages per second and CPU per message through the gateway (HTTP, durable queue, session, acknowledgement, tombstone,
 * receipts; pacing off), beside a bare Baileys `sendMessage` loop, in turn and in one run. Both are timed from the
 * first call until the last message is decrypted at its contact. The simulator runs in a process of its own and takes
 * part of the same two cores in both cases.
 */

const CONTACTS = 50
const MESSAGES = 1_500
const ROUNDS = 5
const CALLERS = 32

const contacts = Array.from(
  { length: CONTACTS },
  (_, index) => `55119200000${String(index).padStart(2, '0')}`,
)

interface Round {
  readonly perSecond: number
  readonly cpuMsPerMessage: number
}

const scope = new BenchScope()
const folder = mkdtempSync(path.join(tmpdir(), 'eclusa-bench-'))
scope.after(() => rmSync(folder, { recursive: true, force: true }))
try {
  const simulator = await SimulatorProcess.start(scope)
  for (const number of contacts) {
    await simulator.call('POST', '/contacts', { number, name: number, autoReceipt: true, autoRead: false })
  }
  const gateway = await GatewayProcess.start(scope, {
    whatsapp: simulator.whatsapp,
    env: { ECLUSA_LOG_LEVEL: 'warn' },
    nodeArgs: ['--expose-gc', '--import', path.join(import.meta.dirname, 'memory-probe.ts')],
  })
  const instance = await gateway.pair(simulator, '5511900000001')
  const inMemory = await startBare(simulator, '5511900000002')
  const inFiles = await startBare(simulator, '5511900000003', folder)

  // Sessions with every contact exist before anything is timed.
  await roundOfGateway(simulator, gateway, instance, CONTACTS)
  for (const bare of [inMemory, inFiles]) await roundOfBare(simulator, bare, CONTACTS)

  const ours: Round[] = []
  const memory: Round[] = []
  const files: Round[] = []
  for (let turn = 0; turn < ROUNDS; turn++) {
    ours.push(await roundOfGateway(simulator, gateway, instance, MESSAGES))
    memory.push(await roundOfBare(simulator, inMemory, MESSAGES))
    files.push(await roundOfBare(simulator, inFiles, MESSAGES))
  }
  const ratios = (theirs: readonly Round[]): number[] =>
    ours.map(({ perSecond }, index) => round(perSecond / (theirs[index]?.perSecond ?? 1)))
  report('messages', 'npm run bench:messages', {
    messagesPerRound: MESSAGES,
    chats: CONTACTS,
    gateway: summary(ours),
    bareBaileysKeysInMemory: {
      ...summary(memory),
      ratios: ratios(memory),
      medianRatio: median(ratios(memory)),
    },
    bareBaileysKeysInFiles: { ...summary(files), ratios: ratios(files), medianRatio: median(ratios(files)) },
    aim: { ratio: 0.8 },
  })
  await simulator.check()
} finally {
  await scope.close()
}

async function roundOfGateway(
  simulator: SimulatorProcess,
  gateway: GatewayProcess,
  instance: string,
  count: number,
): Promise<Round> {
  const before = await received(simulator)
  const cpuBefore = (await gateway.ask<Probe>('cpu')).cpuMicros
  const startedAt = performance.now()
  let next = 0
  const caller = async (): Promise<void> => {
    while (next < count) {
      const index = next++
      await gateway.call('POST', `/v1/instances/${instance}/messages`, {
        to: `+${contacts[index % CONTACTS]}`,
        text: `message ${index}`,
      })
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  await until(async () => (await received(simulator)) >= before + count, 'all have arrived', 120_000)
  const seconds = (performance.now() - startedAt) / 1000
  const cpuMicros = (await gateway.ask<Probe>('cpu')).cpuMicros - cpuBefore
  return { perSecond: round(count / seconds, 1), cpuMsPerMessage: round(cpuMicros / 1000 / count) }
}

async function roundOfBare(simulator: SimulatorProcess, bare: ChildProcess, count: number): Promise<Round> {
  const before = await received(simulator)
  const cpuBefore = (await ask<{ cpuMicros: number }>(bare, 'cpu')).cpuMicros
  const startedAt = performance.now()
  await ask(bare, { contacts, count })
  await until(async () => (await received(simulator)) >= before + count, 'all have arrived', 120_000)
  const seconds = (performance.now() - startedAt) / 1000
  const cpuMicros = (await ask<{ cpuMicros: number }>(bare, 'cpu')).cpuMicros - cpuBefore
  return { perSecond: round(count / seconds, 1), cpuMsPerMessage: round(cpuMicros / 1000 / count) }
}

/** Contacts send one delivery receipt for each message they have decrypted. */
async function received(simulator: SimulatorProcess): Promise<number> {
  const { totals } = await simulator.call<{ totals: { receiptsOut: number } }>('GET', '/stats?lists=no')
  return totals.receiptsOut
}

async function startBare(simulator: SimulatorProcess, number: string, keys = ''): Promise<ChildProcess> {
  await simulator.call('POST', '/numbers', { number, name: 'Bare' })
  const child = fork(path.join(import.meta.dirname, 'bare-baileys.ts'), [
    simulator.whatsapp,
    simulator.control,
    number,
    keys,
  ])
  scope.after(() => {
    child.kill('SIGKILL')
  })
  await new Promise((resolve) => child.once('message', resolve))
  return child
}

function ask<T>(child: ChildProcess, question: object | string): Promise<T> {
  return new Promise((resolve) => {
    child.once('message', (answer) => resolve(answer as T))
    child.send(question)
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
