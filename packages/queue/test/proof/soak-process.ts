import {
  type ChatId,
  type Clock,
  type InstanceId,
  makeInstanceId,
  MIB,
  parseTenantId,
  SECOND,
  silentLogger,
  systemClock,
  TypedEmitter,
} from '@eclusa/kernel'
import { EventLog, openDatabase } from '@eclusa/storage'
import { type DatabasePlace, testSealer } from '@eclusa/storage/test-kit'
import { defaultPacing, openQueue, queueMigrations } from '../../src/index.ts'

/*
 * A process of its own, so that its memory is that of the queue alone: a hundred tenants with a hundred chats each, in
 * all of which somebody reads, thinks and types all the time. Prints one line of JSON. Argument: the order as JSON.
 */

interface SoakOrder {
  readonly place: DatabasePlace
  readonly seconds: number
}

export interface SoakFigures {
  readonly chats: number
  readonly sends: number
  /** Chats in which nothing was sent. */
  readonly idleChats: number
  readonly outOfOrder: number
  readonly overlaps: number
  readonly mostLanes: number
  readonly rssWorstMib: number
  /** Living memory and RSS over the second half; least squares. */
  readonly heapMibPerHour: number
  readonly rssMibPerHour: number
  readonly timerLateP50Ms: number
  readonly timerLateP99Ms: number
  readonly cpuPercent: number
  /** When all sessions have gone: lanes and chats in memory, and messages as they wait or are marked. */
  readonly left: number
  readonly waiting: number
  readonly processing: number
}

const TENANTS = 100
const CHATS_OF_TENANT = 100
const CHATS = TENANTS * CHATS_OF_TENANT
/** People take their time: 10,000 of them send about 250 messages a second. */
const PACING = { ...defaultPacing, thinkingMs: { min: 20 * SECOND, max: 50 * SECOND } }

const { place, seconds } = JSON.parse(process.argv[2] ?? '{}') as SoakOrder

// One in so many ms of lateness. bounded by: MAX_LATE_MS
const MAX_LATE_MS = 10_000
const late = new Uint32Array(MAX_LATE_MS + 1)
const clock: Clock = {
  now: systemClock.now,
  setTimer(delayMs, run) {
    const due = performance.now() + delayMs
    return systemClock.setTimer(delayMs, () => {
      late[Math.min(MAX_LATE_MS, Math.max(0, Math.round(performance.now() - due)))]!++
      run()
    })
  },
}

const database = await openDatabase({ ...place, migrations: queueMigrations, log: silentLogger })
const sealer = testSealer()
const sentOf = new Uint32Array(CHATS)
const seqOf = new Float64Array(CHATS)
const inFlight = new Uint8Array(CHATS)
let sends = 0
let outOfOrder = 0
let overlaps = 0
let isOver = false

const queue = await openQueue({
  database,
  sealer,
  eventLog: new EventLog({ database, sealer, clock }),
  clock,
  log: silentLogger,
  emitter: new TypedEmitter(),
  sender: {
    async send({ chat, seq, content }) {
      const index = Number.parseInt(chat, 10)
      if (inFlight[index]!++ > 0) overlaps++
      if (seqOf[index]! >= seq) outOfOrder++
      seqOf[index] = seq
      await new Promise((resolve) => setTimeout(resolve, 50))
      inFlight[index]!--
      sends++
      sentOf[index]!++
      // The next of the chat is there before this one has ended.
      if (!isOver && content.kind === 'text') void enqueue(index)
      return { ackedAt: clock.now() }
    },
    markRead: () => Promise.resolve(),
    setPresence: () => Promise.resolve(),
  },
  context: { unread: () => Promise.resolve({ messages: [], lastWordCount: 12 }) },
  pacing: PACING,
  limits: { maxLanes: CHATS, maxLanesPerInstance: CHATS_OF_TENANT },
})
const instances: readonly InstanceId[] = Array.from({ length: TENANTS }, () => makeInstanceId())

function enqueue(index: number): Promise<unknown> {
  const tenant = index % TENANTS
  return queue.outbox.enqueue({
    tenant: parseTenantId(`tenant-${tenant}`),
    instance: instances[tenant]!,
    chat: `${index}@s.whatsapp.net` as ChatId,
    content: { kind: 'text', text: 'some words that a person would type to another' },
  })
}

await queue.start()
for (const instance of instances) queue.dispatcher.instanceOnline(instance)
for (let index = 0; index < CHATS; index += 500)
  await Promise.all(Array.from({ length: 500 }, (_, n) => enqueue(index + n)))

const samples: { readonly at: number; readonly rss: number; readonly heap: number }[] = []
let mostLanes = 0
const startedAt = performance.now()
const cpuBefore = process.cpuUsage()
late.fill(0)
while (performance.now() - startedAt < seconds * SECOND) {
  await new Promise((resolve) => setTimeout(resolve, Math.max(SECOND, (seconds * SECOND) / 500)))
  const { rss, heapUsed } = process.memoryUsage()
  samples.push({ at: (performance.now() - startedAt) / 3_600_000, rss: rss / MIB, heap: heapUsed / MIB })
  mostLanes = Math.max(mostLanes, queue.dispatcher.stats().lanes)
}
const cpu = process.cpuUsage(cpuBefore)
const lateCounts = [...late]
isOver = true
const idleChats = sentOf.filter((count) => count === 0).length
// Everybody leaves in the middle of a word: what was typed waits again, and nothing of it stays in memory.
for (const instance of instances) queue.dispatcher.instanceOffline(instance)
const giveUpAt = performance.now() + 30 * SECOND
const inMemory = (): number => queue.dispatcher.stats().lanes + queue.dispatcher.stats().openChats
while (inMemory() > 0 && performance.now() < giveUpAt)
  await new Promise((resolve) => setTimeout(resolve, 100))
const left = inMemory()
const { pending, processing } = await queue.outbox.stats()

function perHour(of: (sample: (typeof samples)[number]) => number): number {
  const half = samples.slice(samples.length / 2)
  const meanAt = half.reduce((sum, { at }) => sum + at, 0) / half.length
  const mean = half.reduce((sum, sample) => sum + of(sample), 0) / half.length
  const above = half.reduce((sum, sample) => sum + (sample.at - meanAt) * (of(sample) - mean), 0)
  const below = half.reduce((sum, { at }) => sum + (at - meanAt) ** 2, 0)
  return Math.round((above / below) * 10) / 10
}

function latenessAt(share: number): number {
  const all = lateCounts.reduce((sum, count) => sum + count, 0)
  let seen = 0
  return lateCounts.findIndex((count) => (seen += count) >= all * share)
}

const figures: SoakFigures = {
  chats: CHATS,
  sends,
  idleChats,
  outOfOrder,
  overlaps,
  mostLanes,
  rssWorstMib: Math.round(Math.max(...samples.map(({ rss }) => rss))),
  heapMibPerHour: perHour(({ heap }) => heap),
  rssMibPerHour: perHour(({ rss }) => rss),
  timerLateP50Ms: latenessAt(0.5),
  timerLateP99Ms: latenessAt(0.99),
  cpuPercent: Math.round((cpu.user + cpu.system) / 10_000 / seconds),
  left,
  waiting: pending,
  processing,
}
process.stdout.write(`${JSON.stringify(figures)}\n`)
await queue.stop()
await database.stop()
process.exit()
