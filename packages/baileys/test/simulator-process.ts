import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { until } from '@eclusa/kernel/test-kit'
import {
  type AuthenticationCreds,
  type BoundedSocket,
  type BoundedSocketConfig,
  Browsers,
  closeSocket,
  initAuthCreds,
  makeWASocket,
  type SignalKeyStore,
  WA_CERT_DETAILS,
} from '../src/index.ts'
import { Rows, silentLogger } from './rig.ts'

const MAIN = fileURLToPath(new URL('../../simulator/src/main.ts', import.meta.url))

export interface LinkedAccount {
  readonly creds: AuthenticationCreds
  readonly keys: SignalKeyStore
}

/** The simulator in another process, so that a measurement of this one's memory does not count it. */
export interface SimulatorProcess {
  /** Asks its control API; the answer. */
  call(path: string, body?: object): Promise<unknown>
  make(account: LinkedAccount, config?: Partial<BoundedSocketConfig>): BoundedSocket
  /** Makes a number and credentials linked to it. */
  link(number: string, keys?: SignalKeyStore): Promise<LinkedAccount>
  stop(): void
}

export async function simulatorProcess(): Promise<SimulatorProcess> {
  const child = spawn(process.execPath, [MAIN, '--port', '0', '--skip-pre-keys', '--parent'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const line = await new Promise<string>((resolve) =>
    createInterface({ input: child.stdout }).once('line', resolve),
  )
  const { whatsapp, control } = JSON.parse(line) as { whatsapp: string; control: string }
  const root = (await (await fetch(new URL('/root-key', whatsapp.replace('ws:', 'http:')))).json()) as {
    publicKey: string
  }
  ;(WA_CERT_DETAILS as { PUBLIC_KEY: Buffer }).PUBLIC_KEY = Buffer.from(root.publicKey, 'base64')

  const call: SimulatorProcess['call'] = async (path, body = {}) => {
    const answer = await fetch(`${control}${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      // The server closes what is idle, on a busy machine in the moment that a request is sent.
      headers: { connection: 'close' },
    })
    const text = await answer.text()
    assert.ok(answer.ok, `${path}: ${text}`)
    return JSON.parse(text) as unknown
  }

  const make: SimulatorProcess['make'] = (account, config = {}) =>
    makeWASocket({
      waWebSocketUrl: whatsapp,
      logger: silentLogger,
      browser: Browsers.ubuntu('Chrome'),
      auth: { creds: account.creds, keys: account.keys },
      // The thread that reads histories ends some time after the last one, and would hide what stays.
      shouldSyncHistoryMessage: () => false,
      ...config,
    })

  const link: SimulatorProcess['link'] = async (number, keys = new Rows()) => {
    await call('/numbers', { number, biz: 'Loja' })
    const account = { creds: initAuthCreds(), keys }
    const socket = make(account)
    let scanned: Promise<unknown> | undefined
    let isClosed = false
    socket.ev.on('connection.update', ({ qr, connection }) => {
      if (qr !== undefined) scanned ??= call(`/numbers/${number}/scan`, { qr })
      if (connection === 'close') isClosed = true
    })
    await until(() => isClosed, 'linked')
    await scanned
    await closeSocket(socket, { ended: true })
    return account
  }

  return { call, make, link, stop: () => void child.kill() }
}

export function liveBytes(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Finalizers run in tasks of their own, and what they free needs another collection. */
export async function collect(): Promise<void> {
  const gc = globalThis.gc
  assert.ok(gc !== undefined, 'run with --expose-gc')
  for (let round = 0; round < 5; round++) {
    await gc({ type: 'major', execution: 'async' })
    await new Promise((turn) => setTimeout(turn, 20))
  }
}
