import { openSync, writeSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'
import {
  type ChatId,
  EclusaError,
  type InstanceId,
  type MessageId,
  parseTenantId,
  silentLogger,
  systemClock,
  TypedEmitter,
} from '@eclusa/kernel'
import { seededRandom } from '@eclusa/kernel/test-kit'
import { type Database, EventLog, openDatabase } from '@eclusa/storage'
import { testSealer } from '@eclusa/storage/test-kit'
import {
  defaultPacing,
  type MessageSender,
  openQueue,
  type PacingOptions,
  type Queue,
  type QueueEvents,
  queueMigrations,
} from '../../src/index.ts'
import type { OpenOrder, Order, Report } from './crash-protocol.ts'

/*
 * A process to be killed: a whole queue on a real database. Its callers and its WhatsApp are the judge at the other end
 * of the channel, who outlives it.
 */

/** What was told goes to a file beside the database, too: on a traced disk its place in the trace says when. */
const said = process.env['ECLUSA_PROOF_SAID']
const saidTo = said === undefined ? null : openSync(join(said, `said-${process.pid}`), 'w')

const tell = (report: Report): void => {
  if (saidTo !== null) writeSync(saidTo, `${JSON.stringify(report)}\n`)
  process.send?.(report)
}

let database: Database
let queue: Queue
let instance: InstanceId
let tenant: ReturnType<typeof parseTenantId>
// bounded by: lanes
const sends = new Map<number, (how: 'ack' | 'refused' | 'unknown') => void>()
let sendCount = 0

const sender: MessageSender = {
  async send(message) {
    const nth = sendCount++
    const ended = new Promise<'ack' | 'refused' | 'unknown'>((resolve) => sends.set(nth, resolve))
    tell({
      kind: 'send',
      nth,
      ref: message.content.text,
      chat: message.chat,
      waMessageId: message.waMessageId,
    })
    const how = await ended
    sends.delete(nth)
    if (how === 'ack') return { ackedAt: Date.now() }
    throw new EclusaError({
      code: 'SESSION_REFUSED',
      status: 503,
      retry: 'later',
      delivered: how === 'refused' ? 'no' : 'unknown',
      message: `a scripted ${how}`,
    })
  },
  markRead: () => Promise.resolve(),
  setPresence: () => Promise.resolve(),
}

async function open(order: OpenOrder): Promise<void> {
  tenant = parseTenantId(order.tenant)
  instance = order.instance as InstanceId
  database = await openDatabase({ ...order.place, migrations: queueMigrations, log: silentLogger })
  const emitter = new TypedEmitter<QueueEvents>()
  queue = await openQueue({
    database,
    sealer: testSealer(),
    eventLog: new EventLog({ database, sealer: testSealer(), clock: systemClock }),
    clock: systemClock,
    log: silentLogger,
    emitter,
    sender,
    context: { unread: () => Promise.resolve({ messages: [], lastWordCount: 0 }) },
    pacing: pacingOf(order.pacingMs),
    random: seededRandom(order.seed),
  })
  await queue.start()
  queue.dispatcher.instanceOnline(instance)
}

function pacingOf(ms: number): PacingOptions {
  if (ms === 0) return { ...defaultPacing, enabled: false }
  const range = { min: 0, max: ms }
  return {
    ...defaultPacing,
    thinkingMs: range,
    typingWordsPerMinute: { min: 100_000, max: 200_000 },
    visibleTypingMs: range,
    betweenMs: range,
  }
}

async function obey(order: Order): Promise<void> {
  switch (order.kind) {
    case 'open':
      await open(order).then(
        () => tell({ kind: 'ready' }),
        (error: unknown) => tell({ kind: 'failed', code: codeOf(error) }),
      )
      return
    case 'enqueue': {
      const { ref, chat, priority, key } = order
      await queue.outbox
        .enqueue({
          tenant,
          instance,
          chat: chat as ChatId,
          content: { kind: 'text', text: ref },
          priority,
          maxRetries: 20,
          ...(key === null ? {} : { idempotency: { key, bodyHash: ref } }),
        })
        .then(
          ({ id, waMessageId }) => tell({ kind: 'accepted', ref, id, waMessageId }),
          (error: unknown) => tell({ kind: 'refused', ref, code: codeOf(error) }),
        )
      return
    }
    case 'cancel':
      await queue.outbox.cancel(order.id as MessageId).then(
        () => tell({ kind: 'cancelled', ref: order.ref, done: true }),
        () => tell({ kind: 'cancelled', ref: order.ref, done: false }),
      )
      return
    case 'receipt':
      await queue.dispatcher
        .recordReceipt({
          instance,
          waMessageIds: [order.waMessageId],
          kind: order.read ? 'read' : 'delivered',
          at: Date.now(),
        })
        .catch(() => undefined)
      return
    case 'session':
      if (order.online) queue.dispatcher.instanceOnline(instance)
      else queue.dispatcher.instanceOffline(instance)
      return
    case 'send-ended':
      sends.get(order.nth)?.(order.how)
      return
    case 'waiting': {
      const stats = await queue.outbox.stats()
      const { lanes } = queue.dispatcher.stats()
      const rows = await database.read(
        'select status, count(*) as n from "MessageQueueItem" group by status',
        [],
      )
      const of = (status: string): number => Number(rows.find((row) => row['status'] === status)?.['n'] ?? 0)
      const count = stats.pending + stats.processing
      const isOff =
        of('PENDING') !== stats.pending ||
        of('PROCESSING') !== stats.processing ||
        of('FAILED') !== stats.failed
      tell({ kind: 'waiting', count, lanes, isOff })
      return
    }
    case 'stop':
      await queue.stop()
      await database.stop()
      tell({ kind: 'stopped' })
      process.disconnect()
      return
    default:
      order satisfies never
  }
}

function codeOf(error: unknown): string {
  return error instanceof EclusaError ? error.code : String(error)
}

process.on('message', (order: Order) => void obey(order))
// The judge is gone: nobody would end us.
process.on('disconnect', () => process.exit())
// A killed process does not write it by itself; the next life starts faster.
flushCompileCache()
tell({ kind: 'loaded' })
