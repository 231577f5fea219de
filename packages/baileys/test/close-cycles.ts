/*
 * Opens, uses and closes sockets over and over in a process of its own, and counts what is left of them: run with
 * `node --expose-gc --no-flush-bytecode close-cycles.ts <cycles of each kind>`; prints one JSON object. The simulator runs in another
 * process, so that its memory is not counted.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { until } from '@eclusa/kernel/test-kit'
import {
  type AuthenticationCreds,
  type BoundedSocket,
  Browsers,
  closeSocket,
  countSockets,
  initAuthCreds,
  makeWASocket,
  WA_CERT_DETAILS,
} from '../src/index.ts'
import { Rows, silentLogger } from './rig.ts'

/** How the life of a socket ends. */
export const KINDS = ['used', 'queries', 'handshake', 'dropped'] as const
export type Kind = (typeof KINDS)[number]

export interface KindResult {
  readonly kind: Kind
  readonly cycles: number
  /** Sockets still in memory after collection. */
  readonly alive: number
  /** Heap and external memory that stayed, per socket. */
  readonly bytesPerSocket: number
  /** Queries in flight that were rejected, of those made. */
  readonly rejected: number
  readonly queries: number
  readonly ms: number
}

/** V8 keeps code and type feedback of what runs for the first time; that is no leak. */
const MAX_WARM_UP = 100
const QUERIES = 20
const NUMBER = '5511900000001'
const CONTACT = '5521900000001'

const MAIN = fileURLToPath(new URL('../../simulator/src/main.ts', import.meta.url))

interface Account {
  readonly creds: AuthenticationCreds
  readonly keys: Rows
}

let alive = 0
const registry = new FinalizationRegistry(() => {
  alive -= 1
})
let rejected = 0
let queries = 0

async function main(cycles: number): Promise<readonly KindResult[]> {
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
  const call = async (path: string, body: object = {}): Promise<void> => {
    const answer = await fetch(`${control}${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      // The server closes what is idle, on a busy machine in the moment that a request is sent.
      headers: { connection: 'close' },
    })
    assert.ok(answer.ok, `${path}: ${await answer.text()}`)
  }
  const make = (account: Account): BoundedSocket =>
    makeWASocket({
      waWebSocketUrl: whatsapp,
      logger: silentLogger,
      browser: Browsers.ubuntu('Chrome'),
      auth: { creds: account.creds, keys: account.keys },
      // The thread that reads histories ends some time after the last one, and would hide what stays.
      shouldSyncHistoryMessage: () => false,
    })
  await call('/numbers', { number: NUMBER, biz: 'Loja' })
  await call('/contacts', { number: CONTACT })
  const account = { creds: initAuthCreds(), keys: new Rows() }
  await link(account, make, call)
  const results: KindResult[] = []
  for (const kind of KINDS) {
    const cycle = (): Promise<void> => oneCycle(kind, account, make, call)
    // One client takes what waits for it now and then, so that its mailbox does not grow.
    for (let i = 0; i < Math.min(cycles, MAX_WARM_UP); i++) await cycle()
    await collect()
    alive = rejected = queries = 0
    const before = memory()
    const startedAt = performance.now()
    for (let i = 0; i < cycles; i++) await cycle()
    await collect()
    results.push({
      kind,
      cycles,
      alive,
      bytesPerSocket: Math.round((memory() - before) / cycles),
      rejected,
      queries,
      ms: Math.round(performance.now() - startedAt),
    })
  }
  assert.equal(countSockets().notCollected, 0)
  child.kill()
  return results
}

async function oneCycle(
  kind: Kind,
  account: Account,
  make: (account: Account) => BoundedSocket,
  call: (path: string, body?: object) => Promise<void>,
): Promise<void> {
  const socket = make(account)
  alive += 1
  registry.register(socket, undefined)
  if (kind === 'handshake') {
    await new Promise((turn) => setImmediate(turn))
    await closeSocket(socket, { graceMs: 200 })
    return
  }
  let isOpen = false
  let isClosed = false
  let messages = 0
  socket.ev.on('connection.update', ({ connection }) => {
    if (connection === 'open') isOpen = true
    if (connection === 'close') isClosed = true
  })
  socket.ev.on('messages.upsert', () => (messages += 1))
  await until(() => isOpen, 'open')
  switch (kind) {
    case 'used':
      await call(`/contacts/${CONTACT}/send`, { to: NUMBER, text: 'x'.repeat(1_000) })
      await until(() => messages > 0, 'the message')
      await socket.sendMessage(`${CONTACT}@s.whatsapp.net`, { text: 'y'.repeat(1_000) })
      break
    case 'queries':
      for (let i = 0; i < QUERIES; i++) {
        queries += 1
        socket.waitForMessage(`never-answered-${i}`).catch(() => (rejected += 1))
      }
      break
    case 'dropped':
      await call(`/devices/${NUMBER}/drop`)
      await until(() => isClosed, 'the end')
      return
  }
  await closeSocket(socket, { graceMs: 500 })
}

async function link(
  account: Account,
  make: (account: Account) => BoundedSocket,
  call: (path: string, body?: object) => Promise<void>,
): Promise<void> {
  const socket = make(account)
  let scanned: Promise<void> | undefined
  let isClosed = false
  socket.ev.on('connection.update', ({ qr, connection }) => {
    if (qr !== undefined) scanned ??= call(`/numbers/${NUMBER}/scan`, { qr })
    if (connection === 'close') isClosed = true
  })
  await until(() => isClosed, 'linked')
  await scanned
  await closeSocket(socket, { ended: true })
}

function memory(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Finalizers run in tasks of their own, and what they free needs another collection. */
async function collect(): Promise<void> {
  const gc = globalThis.gc
  assert.ok(gc !== undefined, 'run with --expose-gc')
  for (let round = 0; round < 5; round++) {
    await gc({ type: 'major', execution: 'async' })
    await new Promise((turn) => setTimeout(turn, 20))
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const results = await main(Number(process.argv[2] ?? 30))
  process.stdout.write(`${JSON.stringify(results)}\n`)
  process.exit(0)
}
