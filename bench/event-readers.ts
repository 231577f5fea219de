import { connect, type Socket } from 'node:net'
import { until } from '@eclusa/kernel/test-kit'
import { API_KEY, GatewayProcess } from '../test/harness.ts'
import { BenchScope, report, round } from './report.ts'

/*
 * 200 clients read the events of one gateway as a stream: 30 all of them, the others those of one instance. 20 of the 30
 * take nothing while 40,000 events of another instance come as fast as they are accepted, more than the buffers of the
 * two systems hold. Half of those read on after 32 s, when the gateway is about to drop them, the others never; both
 * then come back with the last id they saw. Judged by what each client received: every event once and in order. How
 * late events come is measured before that, at 50 events a second.
 */

const READERS = 200
const STALLED = 20
const READ_ALL = 30
const CALM_EVENTS = 1000
const CALM_EVERY_MS = 20
const BURST = 400
const PER_CALL = 100

class Reader {
  readonly ids: number[] = []
  readonly lateMs: number[] = []
  resyncs = 0
  stalled = false
  #socket: Socket
  #text = ''
  readonly #url: URL
  readonly #query: string

  constructor(gatewayUrl: string, query: string) {
    this.#url = new URL(gatewayUrl)
    this.#query = query
    this.#socket = this.#open(null)
  }

  stall(): void {
    this.stalled = true
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** A new connection that goes on after the last event it has. */
  comeBack(): void {
    this.#socket.destroy()
    this.#text = ''
    this.#socket = this.#open(this.ids.at(-1) ?? 0)
  }

  close(): void {
    this.#socket.destroy()
  }

  #open(after: number | null): Socket {
    const socket = connect(Number(this.#url.port), this.#url.hostname)
    socket.setEncoding('utf8')
    const last = after === null ? '' : `Last-Event-ID: ${after}\r\n`
    socket.write(
      `GET /v1/events${this.#query} HTTP/1.1\r\nHost: ${this.#url.host}\r\nAccept: text/event-stream\r\n${last}Authorization: Bearer ${API_KEY}\r\n\r\n`,
    )
    socket.on('data', (chunk: string) => this.#read(chunk))
    socket.on('error', () => {})
    return socket
  }

  #read(chunk: string): void {
    const now = Date.now()
    this.#text += chunk
    const messages = this.#text.split('\n\n')
    this.#text = messages.pop() ?? ''
    for (const message of messages) {
      if (message.includes('event: resync')) this.resyncs++
      const id = /^id: (\d+)$/m.exec(message)?.[1]
      if (id === undefined) continue
      this.ids.push(Number(id))
      if (!this.stalled) this.lateMs.push(now - Date.parse(/"at":"([^"]+)"/.exec(message)?.[1] ?? ''))
    }
  }
}

const scope = new BenchScope()
try {
  const gateway = await GatewayProcess.start(scope, {
    whatsapp: 'ws://127.0.0.1:9/ws/chat',
    env: { ECLUSA_LOG_LEVEL: 'error', ECLUSA_EVENTS_MAX_STREAMS: String(READERS + 10) },
  })
  const instance = () => gateway.call<{ id: string }>('POST', '/v1/tenants/acme/instances', { name: 'bench' })
  const [{ id }, { id: busy }] = [await instance(), await instance()]
  const readers = Array.from(
    { length: READERS },
    (_, n) => new Reader(gateway.url, n < READ_ALL ? '' : `?instance=${id}`),
  )
  scope.after(() => readers.forEach((reader) => reader.close()))
  const streams = async () =>
    (await gateway.call<{ eventStreams: Record<string, number> }>('GET', '/v1/memory')).eventStreams
  await until(async () => (await streams())['open'] === READERS, 'all read', 30_000)

  for (let n = 0; n < CALM_EVENTS; n++) {
    const next = new Promise((resolve) => setTimeout(resolve, CALM_EVERY_MS))
    await gateway.send(id, '5511999990000', 'hello')
    await next
  }
  const newest = async () => (await gateway.call<{ next: number }>('GET', '/v1/events')).next
  const calm = await newest()
  await until(() => readers.every(({ ids }) => ids.at(-1) === calm), 'all have the calm ones', 60_000)
  const lateMs = readers.flatMap((reader) => reader.lateMs).toSorted((a, b) => a - b)

  const stalled = readers.slice(0, STALLED)
  const others = readers.slice(STALLED)
  for (const reader of stalled) reader.stall()
  const stalledAt = Date.now()
  let mostUnsentBytes = 0
  const messages = Array.from({ length: PER_CALL }, () => ({ to: '+5511999990000', text: 'hello' }))
  for (let n = 0; n < BURST; n++) {
    await gateway.call('POST', `/v1/instances/${busy}/messages/batch`, { messages })
    mostUnsentBytes = Math.max(mostUnsentBytes, (await streams())['mostUnsentBytes'] ?? 0)
  }
  await gateway.send(id, '5511999990000', 'the last')
  const all = await newest()
  await until(() => others.every(({ ids }) => ids.at(-1) === all), 'the others have all', 120_000)
  const othersHadAllAfterMs = Date.now() - stalledAt
  const resumed = stalled.slice(0, STALLED / 2)
  // Whoever is dropped has 5 s to hear why.
  await until(
    async () => {
      const { open, mostUnsentBytes: most = 0 } = await streams()
      mostUnsentBytes = Math.max(mostUnsentBytes, most)
      return open === READERS - STALLED
    },
    'the stalled are dropped',
    120_000,
  )
  for (const reader of resumed) reader.resume()
  await until(() => resumed.every(({ resyncs }) => resyncs > 0), 'they are told', 30_000)
  const told = resumed.filter(({ resyncs }) => resyncs > 0).length
  for (const reader of stalled) reader.comeBack()
  await until(() => stalled.every(({ ids }) => ids.at(-1) === all), 'they have all', 60_000)

  const isWhole = ({ ids }: Reader): boolean => ids.length === all && ids.every((seq, at) => seq === at + 1)
  const isOfOne = ({ ids }: Reader): boolean =>
    ids.length === calm + 1 && ids.at(-1) === all && ids.every((seq, at) => at === calm || seq === at + 1)
  report('event-readers', 'npm run bench:event-readers', {
    readers: READERS,
    stalled: STALLED,
    events: all,
    lateMs: {
      median: lateMs[Math.floor(lateMs.length / 2)],
      p99: lateMs[Math.floor(lateMs.length * 0.99)],
    },
    othersHadAllAfterSeconds: round(othersHadAllAfterMs / 1000, 1),
    mostUnsentKibOfAReader: Math.round(mostUnsentBytes / 1024),
    toldToResync: `${told} of ${resumed.length} that read on when they were dropped`,
    everyEventOnceAndInOrder: {
      steady: others.slice(0, READ_ALL - STALLED).every(isWhole),
      ofOneInstance: others.slice(READ_ALL - STALLED).every(isOfOne),
      cameBack: stalled.every(isWhole),
    },
    aim: { mostUnsentKib: 1024, p99Ms: 500 },
  })
} finally {
  await scope.close()
}
