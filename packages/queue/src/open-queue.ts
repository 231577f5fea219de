import { randomBytes } from 'node:crypto'
import type { ChatId, Clock, InstanceId, Lifecycle, Logger, TenantId, TypedEmitter } from '@eclusa/kernel'
import {
  type Database,
  type EventLog,
  loadMigrations,
  type Migration,
  type Neighbours,
  noNeighbours,
  type Ownership,
  type Sealer,
  soleOwnership,
} from '@eclusa/storage'
import { CARE_HOLDS, type CareOptions, checkCare, defaultCare } from './care.ts'
import { CareGate } from './care-gate.ts'
import { ChatMergeStore } from './chat-merge-store.ts'
import { ColdStore } from './cold-store.ts'
import { ChatTraceStore } from './chat-trace-store.ts'
import { ChatTraces } from './chat-traces.ts'
import { QueueControl } from './control.ts'
import { ContentStore } from './content-store.ts'
import { ControlStore } from './control-store.ts'
import { QueueCounts } from './counts.ts'
import {
  DEFAULT_EXPIRE_AFTER_MS,
  DEFAULT_EXPIRE_HELD_AFTER_MS,
  defaultDispatcherLimits,
  Dispatcher,
  type DispatcherLimits,
} from './dispatcher.ts'
import { Endings } from './endings.ts'
import { Handovers } from './handovers.ts'
import { ADMIT_STEP, Holds } from './holds.ts'
import { HealthStore } from './health-store.ts'
import { HoldStore } from './hold-store.ts'
import { LiveMessage, LiveMessages } from './live-messages.ts'
import type { ChatContext, MessageSender, QueueEvents } from './message.ts'
import { OutboundStore } from './outbound-store.ts'
import { Outbox } from './outbox.ts'
import { checkPacing, defaultPacing, type PacingOptions } from './pacing.ts'
import { PauseStore } from './pause-store.ts'
import { Pauses } from './pauses.ts'
import { ProactiveHealth } from './proactive-health.ts'
import { Receipts } from './receipts.ts'
import { type PausedText, RepeatedTexts } from './repeated-texts.ts'
import { Settings } from './settings.ts'
import { SettingStore } from './setting-store.ts'
import { defaultSweepOptions, Sweep, type SweepOptions } from './sweep.ts'

export const queueMigrations: readonly Migration[] = loadMigrations(
  new URL('../migrations/', import.meta.url),
)

export interface QueueOptions {
  /** Opened with `queueMigrations`. */
  readonly database: Database
  readonly sealer: Sealer
  /** Of the database, where other processes use it, too. Default: none do. */
  readonly ownership?: Pick<Ownership, 'owns'>
  readonly neighbours?: Neighbours
  readonly eventLog: EventLog
  readonly clock: Clock
  readonly log: Logger
  readonly emitter: TypedEmitter<QueueEvents>
  readonly sender: MessageSender
  readonly context: ChatContext
  /** For everyone who has none of their own (`Queue.pacing`), or by tenant and instance; asked for each message. */
  readonly pacing?: PacingOptions | ((tenant: TenantId, instance: InstanceId) => PacingOptions)
  /** Rates, new contacts and quiet hours; as `pacing` (`Queue.limits`). Default off: opt-outs and consent count nevertheless. */
  readonly care?: CareOptions | ((tenant: TenantId, instance: InstanceId) => CareOptions)
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number
  readonly limits?: Partial<DispatcherLimits>
  readonly sweep?: Partial<SweepOptions>
  /** Of the installation, 32 bytes: hashes texts that repeat. Default: of this process alone. */
  readonly hashKey?: Uint8Array
  /** A message that waited longer fails with QUEUE_MESSAGE_EXPIRED. Default 24 h. */
  readonly expireAfterMs?: number
  /** The same for one that limits held back for a time that it could live to see. Default 7 days. */
  readonly expireHeldAfterMs?: number
}

/** Texts that went to too many people within an hour. */
export interface PausedTexts {
  /** The newest 500 first. */
  list(): Promise<readonly PausedText[]>
  /** It may go on for 24 hours; false when there is none. */
  allow(id: string): Promise<boolean>
}

/** The queue's parts. Start the dispatcher, then the sweep; stop them before the database. */
export interface Queue extends Lifecycle {
  readonly outbox: Outbox
  readonly control: QueueControl
  readonly traces: ChatTraces
  readonly pacing: Settings<PacingOptions>
  readonly limits: Settings<CareOptions>
  readonly health: ProactiveHealth
  readonly texts: PausedTexts
  readonly dispatcher: Dispatcher
  readonly sweep: Sweep
  /** Looks at what other processes wrote for instances of this one, now; while it runs it looks when it is woken. */
  look(): Promise<void>
}

/**
 * Puts the parts of the queue together and brings back what a crash interrupted. Nothing is sent before `start`.
 * @throws QUEUE_BAD_PACING, QUEUE_BAD_CARE
 */
export async function openQueue(options: QueueOptions): Promise<Queue> {
  const { database, sealer, eventLog, clock, log, emitter, sender, context } = options
  const { ownership = soleOwnership, neighbours = noNeighbours } = options
  const pacing = options.pacing ?? defaultPacing
  if (typeof pacing !== 'function') checkPacing(pacing)
  const { expireAfterMs = DEFAULT_EXPIRE_AFTER_MS } = options
  const care = options.care ?? { ...defaultCare, enabled: false }
  if (typeof care !== 'function') checkCare(care)
  const limits = { ...defaultDispatcherLimits, ...options.limits }
  const contents = new ContentStore({ database, sealer, maxRecentBytes: limits.maxRecentBytes })
  const store = new OutboundStore({ database, contents, eventLog, clock })
  const holdStore = new HoldStore({ database, clock })
  const cold = new ColdStore({ database, clock })
  const pauses = await Pauses.open(new PauseStore({ database, clock }))
  const pacings = await Settings.open({
    store: new SettingStore<PacingOptions>({
      database,
      eventLog,
      clock,
      kind: { table: 'PacingSetting', changed: 'pacing.changed' },
    }),
    defaultOf: typeof pacing === 'function' ? pacing : () => pacing,
    check: checkPacing,
    changed: async (_, instance) => neighbours.wake(instance),
  })
  const limitsOf = await Settings.open({
    store: new SettingStore<CareOptions>({
      database,
      eventLog,
      clock,
      kind: { table: 'LimitSetting', changed: 'limits.changed' },
    }),
    defaultOf: typeof care === 'function' ? care : () => care,
    check: checkCare,
    changed: async (_, instance) => neighbours.wake(instance),
    // What the old limits held back is judged by the new ones.
    applies: async (tenant, instance) => {
      const whose = instance === null ? { tenant } : { instance }
      while ((await cold.freeHeld(whose)) > 0);
      gate.freePlaces(whose)
      await holds.release(whose, CARE_HOLDS)
    },
  })
  const careOf = (tenant: TenantId, instance: InstanceId): CareOptions => limitsOf.of(tenant, instance)
  const canonical = async (instance: InstanceId, chat: ChatId): Promise<ChatId> =>
    (await context.canonical?.(instance, chat)) ?? chat
  const counts = new QueueCounts(emitter)
  const live = new LiveMessages()
  const health = await ProactiveHealth.open({
    store: new HealthStore({ database, eventLog, clock }),
    context,
    optionsOf: careOf,
    owns: (instance) => ownership.owns(instance),
    // What was held by the one is judged by the other.
    changed: async (instance) => {
      neighbours.wake(instance)
      gate.freePlaces({ instance })
      await holds.release({ instance }, ['HEALTH_PAUSED', 'SLOWED'])
    },
    clock,
    log,
  })
  const texts = new RepeatedTexts({
    database,
    eventLog,
    clock,
    log,
    key: options.hashKey ?? randomBytes(32),
  })
  const gate = new CareGate({
    context,
    cold,
    holds: holdStore,
    health,
    texts,
    optionsOf: careOf,
    clock,
    log,
    emitter,
    maxRates: limits.maxRates,
    expireHeldAfterMs: options.expireHeldAfterMs ?? DEFAULT_EXPIRE_HELD_AFTER_MS,
  })
  const holds = new Holds({
    store: holdStore,
    clock,
    log,
    owns: (instance) => ownership.owns(instance),
    admitted: (message, priority) => dispatcher.accepted(message, priority),
  })
  const dispatcher = new Dispatcher({
    store,
    contents,
    counts,
    live,
    holds,
    care: gate,
    pauses,
    receipts: new Receipts({ store, live, emitter, log }),
    sender,
    context,
    clock,
    log,
    emitter,
    random: options.random ?? Math.random,
    pacingOf: (tenant, instance) => pacings.of(tenant, instance),
    careOf,
    limits,
    expireAfterMs,
    canonical,
    joinChats: (instance, alias) => {
      control.joinChats(instance, [alias]).catch((error: unknown) => {
        log.warn(
          { instance, err: error },
          'two chats of one person were not joined; trying again with their next message',
        )
      })
    },
  })
  const lastSeq = await store.lastSeq()
  // What others accepted since the last time is counted with the rest.
  for (const instance of await holdStore.handedOver()) {
    if (ownership.owns(instance)) {
      while ((await holdStore.takeOver(instance, ADMIT_STEP)).length === ADMIT_STEP);
    }
  }
  // Before anyone can enqueue: what a crash left PROCESSING waits again, and the counters begin with what is there.
  const { counts: groups, unconfirmed } = await store.recover((instance) => ownership.owns(instance))
  for (const { tenant, instance, status, count } of groups) counts.move(tenant, instance, null, status, count)
  for (const { identity, deliveredAt, readAt } of unconfirmed) {
    live.add(new LiveMessage(identity, { processing: false, unconfirmed: true, deliveredAt, readAt }))
  }
  const endings = new Endings({ store, counts, live, clock, emitter })
  const outbox = new Outbox({
    store,
    contents,
    counts,
    live,
    clock,
    emitter,
    endings,
    listener: dispatcher,
    neighbours,
    held: (until) => holds.dueAt(until),
    expireAfterMs,
    forgetMore: async (instance) => {
      await cold.forget(instance)
      await pauses.forget(instance)
      await pacings.forget(instance)
      await limitsOf.forget(instance)
      await health.forget(instance)
    },
    lastSeq,
  })
  const sweep = new Sweep({
    store,
    cold,
    counts,
    endings,
    clock,
    log,
    options: { ...defaultSweepOptions, ...options.sweep },
    owns: (instance) => ownership.owns(instance),
    placesFreed: async (instance) => {
      while ((await cold.freeHeld({ instance })) > 0);
      await holds.release({ instance }, ['NEW_CONTACT_BUDGET'])
    },
    freeUnusedPlaces: async () => {
      for (const { whose, reason } of await gate.unusedPlaces()) {
        gate.freePlaces(whose)
        await holds.release(whose, [reason])
      }
    },
    measure: async (signal) => {
      while ((await texts.sweepStep()) > 0);
      await health.measure(signal)
    },
    expireAfterMs,
  })
  const control = new QueueControl({
    store: new ControlStore({ database, eventLog, clock }),
    merges: new ChatMergeStore({ database, clock }),
    pauses,
    dispatcher,
    counts,
    live,
    care: gate,
    clock,
    emitter,
    canonical,
    neighbours,
    expireAfterMs,
  })
  const handovers = new Handovers({
    store: holdStore,
    holds,
    pauses,
    settings: [pacings, limitsOf, health],
    counts,
    dispatcher,
    ownership,
    log,
  })
  let stopListening = (): void => undefined
  // They are counted anew after a restart: nothing is held for one any more.
  await holds.release(null, ['CONTACT_LIMIT'])
  await holds.open()
  return {
    outbox,
    control,
    traces: new ChatTraces({ store: new ChatTraceStore(database), outbox, control, counts }),
    pacing: pacings,
    limits: limitsOf,
    health,
    texts: {
      list: () => texts.list(),
      async allow(id) {
        const allowed = await texts.allow(id)
        if (allowed) await holds.release(null, ['SAME_TEXT'])
        return allowed
      },
    },
    dispatcher,
    sweep,
    async start() {
      await dispatcher.start()
      await sweep.start()
      stopListening = neighbours.onWake(() => void handovers.look())
    },
    look: () => handovers.look(),
    async stop() {
      stopListening()
      await Promise.all([holds.stop(), sweep.stop(), dispatcher.stop()])
    },
  }
}
