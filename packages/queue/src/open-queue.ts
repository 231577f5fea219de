import type { Clock, InstanceId, Lifecycle, Logger, TenantId, TypedEmitter } from '@eclusa/kernel'
import { type Database, type EventLog, loadMigrations, type Migration, type Sealer } from '@eclusa/storage'
import { QueueCounts } from './counts.ts'
import {
  DEFAULT_EXPIRE_AFTER_MS,
  defaultDispatcherLimits,
  Dispatcher,
  type DispatcherLimits,
} from './dispatcher.ts'
import { Endings } from './endings.ts'
import { LiveMessage, LiveMessages } from './live-messages.ts'
import type { ChatContext, MessageSender, QueueEvents } from './message.ts'
import { OutboundStore } from './outbound-store.ts'
import { Outbox } from './outbox.ts'
import { checkPacing, defaultPacing, type PacingOptions } from './pacing.ts'
import { Receipts } from './receipts.ts'
import { defaultSweepOptions, Sweep, type SweepOptions } from './sweep.ts'

export const queueMigrations: readonly Migration[] = loadMigrations(
  new URL('../migrations/', import.meta.url),
)

export interface QueueOptions {
  /** Opened with `queueMigrations`. */
  readonly database: Database
  readonly sealer: Sealer
  readonly eventLog: EventLog
  readonly clock: Clock
  readonly log: Logger
  readonly emitter: TypedEmitter<QueueEvents>
  readonly sender: MessageSender
  readonly context: ChatContext
  /** For everyone, or by tenant and instance (asked for each message; checked by whoever stores it). */
  readonly pacing?: PacingOptions | ((tenant: TenantId, instance: InstanceId) => PacingOptions)
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number
  readonly limits?: Partial<DispatcherLimits>
  readonly sweep?: Partial<SweepOptions>
  /** A message that waited longer fails with QUEUE_MESSAGE_EXPIRED. Default 24 h. */
  readonly expireAfterMs?: number
}

/** The queue's parts. Start the dispatcher, then the sweep; stop them before the database. */
export interface Queue extends Lifecycle {
  readonly outbox: Outbox
  readonly dispatcher: Dispatcher
  readonly sweep: Sweep
}

/**
 * Puts the parts of the queue together and brings back what a crash interrupted. Nothing is sent before `start`.
 * @throws QUEUE_BAD_PACING
 */
export async function openQueue(options: QueueOptions): Promise<Queue> {
  const { database, sealer, eventLog, clock, log, emitter, sender, context } = options
  const pacing = options.pacing ?? defaultPacing
  if (typeof pacing !== 'function') checkPacing(pacing)
  const { expireAfterMs = DEFAULT_EXPIRE_AFTER_MS } = options
  const store = new OutboundStore({ database, sealer, eventLog, clock })
  const counts = new QueueCounts(emitter)
  const live = new LiveMessages()
  const dispatcher = new Dispatcher({
    store,
    counts,
    live,
    receipts: new Receipts({ store, live, emitter, log }),
    sender,
    context,
    clock,
    log,
    emitter,
    random: options.random ?? Math.random,
    pacingOf: typeof pacing === 'function' ? pacing : () => pacing,
    limits: { ...defaultDispatcherLimits, ...options.limits },
    expireAfterMs,
  })
  const lastSeq = await store.lastSeq()
  // Before anyone can enqueue: what a crash left PROCESSING waits again, and the counters begin with what is there.
  const { counts: groups, unconfirmed } = await store.recover()
  for (const { tenant, instance, status, count } of groups) counts.move(tenant, instance, null, status, count)
  for (const { identity, deliveredAt, readAt } of unconfirmed) {
    live.add(new LiveMessage(identity, { processing: false, unconfirmed: true, deliveredAt, readAt }))
  }
  const endings = new Endings({ store, counts, live, clock, emitter })
  const outbox = new Outbox({ store, counts, live, clock, emitter, endings, listener: dispatcher, lastSeq })
  const sweep = new Sweep({
    store,
    counts,
    endings,
    clock,
    log,
    options: { ...defaultSweepOptions, ...options.sweep },
    expireAfterMs,
  })
  return {
    outbox,
    dispatcher,
    sweep,
    async start() {
      await dispatcher.start()
      await sweep.start()
    },
    async stop() {
      await Promise.all([sweep.stop(), dispatcher.stop()])
    },
  }
}
