/*
 * Opens, uses and closes sockets over and over in a process of its own, and counts what is left of them: run with
 * `node --expose-gc --no-flush-bytecode close-cycles.ts <cycles of each kind>`; prints one JSON object. The simulator runs in another
 * process, so that its memory is not counted.
 */
import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { until } from '@eclusa/kernel/test-kit'
import { type BoundedSocket, closeSocket, countSockets } from '../src/index.ts'
import { collect, type LinkedAccount, liveBytes, simulatorProcess } from './simulator-process.ts'

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

let alive = 0
const registry = new FinalizationRegistry(() => {
  alive -= 1
})
let rejected = 0
let queries = 0

async function main(cycles: number): Promise<readonly KindResult[]> {
  const { call, make, link, stop } = await simulatorProcess()
  const account = await link(NUMBER)
  await call('/contacts', { number: CONTACT })
  const results: KindResult[] = []
  for (const kind of KINDS) {
    const cycle = (): Promise<void> => oneCycle(kind, account, make, call)
    // One client takes what waits for it now and then, so that its mailbox does not grow.
    for (let i = 0; i < Math.min(cycles, MAX_WARM_UP); i++) await cycle()
    await collect()
    alive = rejected = queries = 0
    const before = liveBytes()
    const startedAt = performance.now()
    for (let i = 0; i < cycles; i++) await cycle()
    await collect()
    results.push({
      kind,
      cycles,
      alive,
      bytesPerSocket: Math.round((liveBytes() - before) / cycles),
      rejected,
      queries,
      ms: Math.round(performance.now() - startedAt),
    })
  }
  assert.equal(countSockets().notCollected, 0)
  stop()
  return results
}

async function oneCycle(
  kind: Kind,
  account: LinkedAccount,
  make: (account: LinkedAccount) => BoundedSocket,
  call: (path: string, body?: object) => Promise<unknown>,
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

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const results = await main(Number(process.argv[2] ?? 30))
  process.stdout.write(`${JSON.stringify(results)}\n`)
  process.exit(0)
}
