import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { until } from '@eclusa/kernel/test-kit'
import { trustsWhatsApp } from '@eclusa/session'
import { createSimulator } from '@eclusa/simulator'
import { startApp } from '../src/app.ts'
import { loadConfig } from '../src/config.ts'
import { Terminal } from '../src/terminal.ts'
import { KEY } from './harness.ts'

const bin = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))

/** Pacing on, but ten times as quick, so that a test takes seconds. */
const QUICK = {
  ECLUSA_PACING_READING_WPM_MIN: '2000',
  ECLUSA_PACING_READING_WPM_MAX: '2500',
  ECLUSA_PACING_THINKING_MIN_MS: '200',
  ECLUSA_PACING_THINKING_MAX_MS: '800',
  ECLUSA_PACING_TYPING_WPM_MIN: '400',
  ECLUSA_PACING_TYPING_WPM_MAX: '600',
}

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-demo-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

interface Started {
  readonly child: ChildProcess
  readonly output: () => string
  /** The exit code; null when it did not end by itself. */
  readonly ended: Promise<number | null>
}

function startDemo(t: TestContext, folder: string): Started {
  const child = spawn(process.execPath, [bin, 'start'], {
    env: {
      PATH: process.env['PATH'],
      ECLUSA_DATA_DIR: join(folder, 'data'),
      ECLUSA_HTTP_PORT: '0',
      ECLUSA_DEMO: 'on',
      ...QUICK,
    },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  t.after(() => void child.kill('SIGKILL'))
  return { child, ended, output: () => output }
}

const READ =
  /^\d\d:\d\d:\d\d {2}(Bakery|Bikes) → \w+ {2}accepted → reading → typing → sent → delivered → read {2}[\d.]+ s {2}“/m

test('the first minute: numbers link themselves, contacts write, answers go out and are read; Ctrl-C ends it', async (t) => {
  const folder = folderOf(t)
  const first = startDemo(t, folder)
  await until(() => READ.test(first.output()), 'a message was read', 60_000)
  const output = first.output()
  assert.match(output, /^\d\d:\d\d:\d\d {2}Ana → Bakery {2}“Good morning! Are you open on Sunday\?”$/m)
  const url = /^Eclusa listens on (http:\/\/127\.0\.0\.1:\d+)$/m.exec(output)?.[1] ?? ''
  const key = /^API key, shown only now: {2}(ecl_\S+)$/m.exec(output)?.[1] ?? ''
  // The curl it shows works as it stands.
  const [, address, to] = /curl (\S+) \\[^']*'(\{.*\})'/.exec(output) ?? []
  assert.ok(address?.startsWith(url))
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const sent = await fetch(address ?? '', { method: 'POST', headers, body: to ?? '' })
  assert.equal(sent.status, 202)
  await until(() => first.output().includes('Ana → Bakery  “Got it, thank you!”'), 'Ana answers', 60_000)
  const listed = (await (await fetch(`${url}/v1/instances`, { headers })).json()) as {
    items: Record<string, unknown>[]
  }
  assert.deepEqual(
    listed.items.map(({ tenant, name, simulated, state }) => ({ tenant, name, simulated, state })),
    [
      ...['Bakery', 'Bikes'].map((name) => ({ tenant: 'demo', name, simulated: true, state: 'online' })),
      { tenant: 'demo-clinic', name: 'Clinic', simulated: true, state: 'online' },
    ],
  )
  await until(() => first.output().includes('the conversation is closed'), 'a visit to the clinic', 120_000)
  assert.deepEqual(visitIn(first.output()), [
    'Davi → Clinic  “Good afternoon”',
    'Clinic  a conversation is opened',
    'Clinic → Davi  “Hello from the clinic! What is it about?”',
    'Davi → Clinic  “1”',
    'Clinic  in line: Appointments',
    'Clinic  assigned to Dora (Appointments)',
    'Clinic → Davi  “Thursday at 10 is free. Eli tells you h…”',
    'Clinic  handed on to Eli (Results)',
    'Clinic → Davi  “Nothing to eat after 22, please.”',
    'Davi → Clinic  “Perfect, thank you!”',
    'Clinic  the conversation is closed',
  ])
  const askedAt = performance.now()
  first.child.kill('SIGINT')
  assert.equal(await first.ended, 0)
  assert.ok(performance.now() - askedAt < 10_000)

  // Started again, the numbers the simulator has forgotten link anew.
  const second = startDemo(t, folder)
  await until(() => READ.test(second.output()), 'a message was read after the restart', 60_000)
  assert.doesNotMatch(second.output(), /ecl_/)
  second.child.kill('SIGTERM')
  assert.equal(await second.ended, 0)
})

/** The lines about the clinic, without times and steps. */
function visitIn(output: string): readonly string[] {
  return output
    .split('\n')
    .filter((line) => line.includes('Clinic'))
    .filter((line) => /^\d\d:\d\d:\d\d {2}/.test(line))
    .map((line) => line.slice(10).replace(/ {2}accepted → .* s(?= {2}“)/, ''))
}

test('the simulator ends with a gateway that is killed', async (t) => {
  const { child, output, ended } = startDemo(t, folderOf(t))
  await until(() => output().includes('gateway started'), 'the demo runs', 60_000)
  const simulator = simulatorPidIn(output())
  child.kill('SIGKILL')
  await ended
  await until(() => !isAlive(simulator), 'the simulator has ended', 10_000)
})

test('a simulator that dies takes the demo with it, not the gateway', async (t) => {
  const { child, output, ended } = startDemo(t, folderOf(t))
  await until(() => output().includes('Pair a real phone'), 'the demo runs', 60_000)
  process.kill(simulatorPidIn(output()), 'SIGKILL')
  await until(() => output().includes('demo ended'), 'the demo has ended', 20_000)
  const url = /^Eclusa listens on (\S+)$/m.exec(output())?.[1] ?? ''
  assert.equal((await fetch(`${url}/readyz`)).status, 200)
  child.kill('SIGTERM')
  assert.equal(await ended, 0)
})

test('starting a real number first ends the demo, hides it, and trusts WhatsApp’s own key again', async (t) => {
  const folder = folderOf(t)
  // Stands in for WhatsApp: what the gateway turns to when the demo is over.
  const whatsapp = await createSimulator()
  whatsapp.addNumber('5511900000301')
  const config = {
    ...loadConfig({
      ECLUSA_DATA_DIR: join(folder, 'data'),
      ECLUSA_HTTP_PORT: '0',
      ECLUSA_API_KEY: KEY,
      ...QUICK,
    }),
    whatsappUrl: whatsapp.url,
    demo: 'on' as const,
  }
  let shown = ''
  const terminal = new Terminal({
    isTTY: true,
    write: (text) => {
      shown += text
    },
    size: () => ({ columns: 80, rows: 24 }),
  })
  const app = await startApp({ config, terminal })
  t.after(async () => {
    await app.stop()
    await whatsapp.stop()
  })
  const call = async (method: string, path: string, body?: object): Promise<Record<string, unknown>> => {
    const response = await fetch(`${app.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return (await response.json()) as Record<string, unknown>
  }
  const instancesOf = async (query = ''): Promise<Record<string, unknown>[]> =>
    (await call('GET', `/v1/instances${query}`))['items'] as Record<string, unknown>[]
  await until(
    async () => (await instancesOf()).every(({ state }) => state === 'online'),
    'the demo is online',
    30_000,
  )
  assert.equal(trustsWhatsApp(), false)
  const simulator = simulatorPidIn(shown)
  assert.equal(isAlive(simulator), true)
  const [demoInstance] = await instancesOf()

  const { id } = await call('POST', '/v1/tenants/acme/instances', { name: 'Front desk' })
  assert.equal((await instancesOf()).length, 4)
  await call('POST', `/v1/instances/${String(id)}/start`)
  assert.equal(trustsWhatsApp(), true)
  assert.equal(isAlive(simulator), false)
  assert.deepEqual(
    (await instancesOf()).map((instance) => instance['id']),
    [id],
  )
  const hidden = await instancesOf('?include=hidden')
  assert.deepEqual(
    hidden.filter(({ simulated }) => simulated === true).map(({ state }) => state),
    ['stopped', 'stopped', 'stopped'],
  )
  const refused = await call('POST', `/v1/instances/${String(demoInstance?.['id'])}/start`)
  assert.equal(refused['code'], 'GATEWAY_SIMULATION_OVER')
  const message = { to: '+5511900000201', text: 'Hello' }
  const lost = await call('POST', `/v1/instances/${String(demoInstance?.['id'])}/messages`, message)
  assert.equal(lost['code'], 'GATEWAY_SIMULATION_OVER')
  await until(async () => (await instancesOf())[0]?.['state'] === 'qr', 'the real number shows its QR code')
})

test('whoever starts a number of the demo while it ends does not keep a real one from starting', async (t) => {
  // Stands in for WhatsApp: what the gateway turns to when the demo is over.
  const whatsapp = await createSimulator()
  const config = {
    ...loadConfig({
      ECLUSA_DATA_DIR: join(folderOf(t), 'data'),
      ECLUSA_HTTP_PORT: '0',
      ECLUSA_API_KEY: KEY,
      ECLUSA_LOG_LEVEL: 'silent',
    }),
    whatsappUrl: whatsapp.url,
    demo: 'on' as const,
  }
  const terminal = new Terminal({ isTTY: false, write: () => {}, size: () => ({ columns: 80, rows: 24 }) })
  const app = await startApp({ config, terminal })
  t.after(async () => {
    await app.stop()
    await whatsapp.stop()
  })
  const call = async (method: string, path: string, body?: object): Promise<Record<string, unknown>> => {
    const response = await fetch(`${app.url}/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return (await response.json()) as Record<string, unknown>
  }
  const listed = async (): Promise<Record<string, unknown>[]> =>
    (await call('GET', '/instances'))['items'] as Record<string, unknown>[]
  await until(
    async () => (await listed()).every(({ state }) => state === 'online'),
    'the demo is online',
    30_000,
  )
  const shops = await listed()
  const { id } = await call('POST', '/tenants/acme/instances', { name: 'Front desk' })

  let isOver = false
  const real = call('POST', `/instances/${String(id)}/start`).finally(() => (isOver = true))
  // oxlint-disable-next-line no-unmodified-loop-condition -- the answer of the other call ends it
  while (!isOver)
    await Promise.all(shops.map((shop) => call('POST', `/instances/${String(shop['id'])}/start`)))
  assert.equal((await real)['state'], 'starting')
  assert.equal(trustsWhatsApp(), true)
  assert.deepEqual(
    (await listed()).map((instance) => instance['id']),
    [id],
  )
})

/** As the log has it, in either of its forms. */
function simulatorPidIn(output: string): number {
  const pid = /simulatorPid(?:":|=)(\d+)/.exec(output)?.[1]
  assert.ok(pid !== undefined)
  return Number(pid)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
