import {
  type ChatId,
  type InstanceId,
  makeInstanceId,
  parseTenantId,
  silentLogger,
  systemClock,
  TypedEmitter,
} from '@eclusa/kernel'
import { EventLog, openDatabase } from '@eclusa/storage'
import { type DatabasePlace, testSealer } from '@eclusa/storage/test-kit'
import { defaultPacing, openQueue, queueMigrations } from '../../src/index.ts'

/*
 * A process of its own, so that its memory is that of the queue alone: fills a backlog, opens it anew, sends some of it
 * while new messages come in, and prints its figures as one line of JSON. Argument: the order as JSON.
 */

interface BacklogOrder {
  readonly place: DatabasePlace
  readonly mode: 'fill' | 'serve'
  readonly rows: number
  readonly chats: number
  /** The last chat holds a fifth of all rows, the oldest. */
  readonly isHot: boolean
  readonly sends: number
}

export interface BacklogFigures {
  readonly rssBeforeMib: number
  readonly rssOpenMib: number
  readonly rssWorstMib: number
  readonly readyMs: number
  readonly sendsPerSecond: number
  readonly acceptP50Ms: number
  readonly acceptP99Ms: number
  readonly outOfOrder: number
  readonly openChats: number
}

const order = JSON.parse(process.argv[2] ?? '{}') as BacklogOrder
const tenant = parseTenantId('exatron')
const INSTANCES = 100
const rss = (): number => Math.round(process.memoryUsage.rss() / 2 ** 20)
const rssBeforeMib = rss()
const database = await openDatabase({ ...order.place, migrations: queueMigrations, log: silentLogger })
const known = await database.read('select distinct instance from "MessageQueueItem" order by instance', [])
const instances = known.map((row) => row['instance'] as InstanceId)
while (instances.length < INSTANCES) instances.push(makeInstanceId())
const firstSeen = new Map<string, number>()
let outOfOrder = 0
let sendCount = 0
let onEnough = (): void => undefined
const sealer = testSealer()
const openedAt = performance.now()
const queue = await openQueue({
  database,
  sealer,
  eventLog: new EventLog({ database, sealer, clock: systemClock }),
  clock: systemClock,
  log: silentLogger,
  emitter: new TypedEmitter(),
  sender: {
    send({ instance, chat, seq }) {
      const key = `${instance}|${chat}`
      if ((firstSeen.get(key) ?? 0) > seq) outOfOrder++
      // bounded by: sends of this run
      firstSeen.set(key, seq)
      if (++sendCount >= order.sends) onEnough()
      return Promise.resolve({ ackedAt: Date.now() })
    },
    markRead: () => Promise.resolve(),
    setPresence: () => Promise.resolve(),
  },
  context: { unread: () => Promise.resolve({ messages: [], lastWordCount: 0 }) },
  pacing: { ...defaultPacing, enabled: false },
})

function enqueue(chat: number, text: string): Promise<unknown> {
  return queue.outbox.enqueue({
    tenant,
    instance: instances[chat % INSTANCES]!,
    chat: `${chat}@s.whatsapp.net` as ChatId,
    content: { kind: 'text', text },
  })
}

async function fill(): Promise<void> {
  const text = 'x'.repeat(250)
  const hot = order.isHot ? Math.floor(order.rows / 5) : 0
  let next = 0
  const caller = async (): Promise<void> => {
    while (next < order.rows) {
      const n = next++
      await enqueue(n < hot ? 0 : n % order.chats, text)
    }
  }
  await Promise.all(Array.from({ length: 256 }, caller))
}

async function serve(): Promise<BacklogFigures> {
  await queue.start()
  const enough = new Promise<void>((resolve) => (onEnough = resolve))
  const rssOpenMib = rss()
  let rssWorstMib = rssOpenMib
  const startedAt = performance.now()
  for (const instance of instances) queue.dispatcher.instanceOnline(instance)
  const over = new AbortController()
  let readyMs = 0
  let openChats = 0
  const latencies: number[] = []
  const callers = (async () => {
    for (let n = 0; !over.signal.aborted; n++) {
      const calledAt = performance.now()
      await enqueue(n % order.chats, 'new')
      latencies.push(performance.now() - calledAt)
      if (readyMs === 0 && sendCount > 0) readyMs = performance.now() - openedAt
      rssWorstMib = Math.max(rssWorstMib, rss())
      openChats = Math.max(openChats, queue.dispatcher.stats().openChats)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  })()
  await enough
  const seconds = (performance.now() - startedAt) / 1000
  over.abort()
  await callers
  latencies.sort((a, b) => a - b)
  const at = (share: number): number =>
    Math.round((latencies[Math.floor(latencies.length * share)] ?? 0) * 10) / 10
  return {
    rssBeforeMib,
    rssOpenMib,
    rssWorstMib,
    readyMs: Math.round(readyMs),
    sendsPerSecond: Math.round(order.sends / seconds),
    acceptP50Ms: at(0.5),
    acceptP99Ms: at(0.99),
    outOfOrder,
    openChats,
  }
}

if (order.mode === 'fill') await fill()
else process.stdout.write(`${JSON.stringify(await serve())}\n`)
await queue.stop()
await database.stop()
process.exit()
