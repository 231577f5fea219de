import { CacheBudget } from '@eclusa/bounded-cache'
import { contactMigrations } from '@eclusa/contacts'
import { Conversations, flowMigrations } from '@eclusa/flows'
import {
  type ChatId,
  type Clock,
  type InstanceId,
  ninthDigitVariant,
  parseInstanceId,
  parseTenantId,
  silentLogger,
  type Timer,
  TypedEmitter,
} from '@eclusa/kernel'
import { seededRandom } from '@eclusa/kernel/test-kit'
import {
  type CareOptions,
  type MessageSender,
  openQueue,
  type PacingOptions,
  type Queue,
  type QueueEvents,
  queueMigrations,
} from '@eclusa/queue'
import { InboundJournal, sessionMigrations } from '@eclusa/session'
import { type Database, EventLog, loadMigrations, type Migration, soleOwnership } from '@eclusa/storage'
import { testSealer } from '@eclusa/storage/test-kit'
import { type GatewayFlows, openFlows } from '../../src/flows.ts'
import type { GuardedHttp } from '../../src/guarded-http/guarded-http.ts'
import { Inbox } from '../../src/inbox.ts'
import type { Instances } from '../../src/instances/instances.ts'
import { enqueueReply, openPeople, type People, standingFrom } from '../../src/people.ts'
import { PersonTraces } from '../../src/person-traces.ts'

export const acme = parseTenantId('acme')
export const shops: readonly InstanceId[] = ['ins_00000000000000000000', 'ins_00000000000000000001'].map(
  (id) => parseInstanceId(id),
)

export const modelMigrations: readonly Migration[] = [
  ...sessionMigrations,
  ...queueMigrations,
  ...contactMigrations,
  ...flowMigrations,
  ...loadMigrations(new URL('../../migrations/', import.meta.url)),
]

const KEY = new Uint8Array(32).fill(3)

/** One life of the gateway's process: the parts that messages pass, joined as `app.ts` joins them. */
export interface GatewayProcess {
  readonly queue: Queue
  readonly people: People
  readonly conversations: Conversations
  readonly flows: GatewayFlows
  readonly inbox: Inbox
  readonly journal: InboundJournal
  readonly personTraces: PersonTraces
  readonly canonicalChat: (instance: InstanceId, chat: ChatId) => Promise<ChatId>
  /** A session committed a message. */
  journalled(instance: InstanceId, chat: ChatId): void
  /** In the order in which the gateway starts them. */
  start(): Promise<void>
  /** As when its process is told to end. */
  stop(): Promise<void>
  /** It is gone: from now on nothing of it takes place, and nothing it waits for comes. */
  kill(): void
}

export interface ProcessOptions {
  readonly database: Database
  readonly clock: Clock
  readonly pacing: PacingOptions
  readonly care: CareOptions
  /** Where the wire would be. */
  readonly sender: MessageSender
  /** LIDs whose number the engine has learnt. */
  readonly numbers: ReadonlyMap<string, ChatId>
  /** Answers of the server that flows ask. */
  readonly lookup: (signal: AbortSignal) => Promise<unknown>
  /** Called when a message begins its walk; what it throws fails the walk. */
  readonly walks: () => void
  readonly seed: number
}

export async function openProcess(options: ProcessOptions): Promise<GatewayProcess> {
  const life = { isDead: false }
  const database = mortal(options.database, life)
  const clock = mortalClock(options.clock, life)
  const sealer = testSealer()
  const log = silentLogger
  const events = new EventLog({ database, sealer, clock })
  const journal = new InboundJournal({ database, sealer, events, clock })
  const instances = {
    all: () => shops.map((id) => ({ id, tenant: acme })),
  } as unknown as Instances
  const canonicalChat = async (_: InstanceId, chat: ChatId): Promise<ChatId> =>
    options.numbers.get(chat) ?? chat
  const caches = new CacheBudget({ maxBytes: 64 * 1024 * 1024, now: () => clock.now() })
  const people = openPeople({
    database,
    sealer,
    events,
    clock,
    maxInstances: shops.length,
    ownerOf: (tenant) => caches.owner(tenant, {}),
    hashKey: KEY,
    ports: {
      async merged({ tenant, from, to }) {
        await conversations.traces.merged(tenant, from, to)
        await flows.runs.merged({ tenant, from, to })
      },
      async standingChanged(_, addresses) {
        for (const shop of shops) {
          for (const address of addresses) await queue.dispatcher.standingChanged(shop, address)
        }
      },
      enqueue: (message) => enqueueReply(message, { outbox: queue.outbox, conversations, canonicalChat }),
    },
  })
  const queue = await openQueue({
    database,
    sealer,
    eventLog: events,
    clock,
    log,
    emitter: new TypedEmitter<QueueEvents>(),
    random: seededRandom(options.seed),
    sender: options.sender,
    context: {
      unread: (instance, chat) => journal.unread(instance, chat),
      canonical: canonicalChat,
      standing: standingFrom(people, journal),
    },
    hashKey: KEY,
    pacing: options.pacing,
    care: options.care,
  })
  const conversations = new Conversations({ database, sealer, events, clock, log })
  const flows = openFlows({
    database,
    sealer,
    events,
    clock,
    log,
    ownership: soleOwnership,
    conversations,
    directory: people.directory,
    outbox: queue.outbox,
    canonicalChat,
    http: {
      send: async ({ signal }: { readonly signal: AbortSignal }) => ({
        status: 200,
        body: Buffer.from(JSON.stringify(await options.lookup(signal))),
      }),
    } as unknown as GuardedHttp,
  })
  const inbox = new Inbox({
    journal,
    ports: {
      contacts: people.directory,
      care: people.care,
      conversations,
      flows: {
        async isWaiting(origin, contact) {
          options.walks()
          return flows.runner.isWaiting(origin, contact)
        },
        async hear(origin, by) {
          const { contact, conversation, heard, message } = by
          await flows.runner.hear(origin, by)
          const { operator } = (await conversations.get(conversation.tenant, conversation.id)) ?? conversation
          await people.autoReplies.hear(origin, {
            contact,
            chat: message.chat,
            operator,
            heard,
            isToldElsewhere: () => flows.tellsHours(origin, contact),
          })
        },
      },
    },
    ownership: soleOwnership,
    clock,
    log,
  })
  const joinChats = (instance: InstanceId, aliases: readonly ChatId[]): void =>
    void queue.control.joinChats(instance, aliases).catch(() => undefined)
  const personTraces = new PersonTraces({
    people,
    queue,
    journal,
    conversations: conversations.traces,
    flowRuns: flows.runs,
    events,
    instances,
    canonicalChat,
    clock,
    log,
  })
  return {
    queue,
    people,
    conversations,
    flows,
    inbox,
    journal,
    personTraces,
    canonicalChat,
    journalled(instance, chat) {
      inbox.arrived(acme, instance, chat)
      const variant = ninthDigitVariant(chat)
      joinChats(instance, [...(variant === null ? [] : [variant]), ...options.numbers.keys()] as ChatId[])
      queue.dispatcher.inboundArrived(instance, chat).catch(() => undefined)
    },
    async start() {
      await queue.start()
      await conversations.start()
      await flows.start()
      for (const shop of shops) inbox.instanceTaken(acme, shop)
      await inbox.start()
    },
    async stop() {
      await inbox.stop()
      await flows.stop()
      await conversations.stop()
      await queue.stop()
      life.isDead = true
    },
    kill() {
      life.isDead = true
      // Timers that are pending are its own too; they find it dead.
      caches.dispose()
    },
  }
}

const never = <T>(): Promise<T> => new Promise<T>(() => {})

/** What was called before the end takes place, and nobody hears of it. */
function mortal(inner: Database, life: { readonly isDead: boolean }): Database {
  const answered = async <T>(call: () => Promise<T>): Promise<T> => {
    if (life.isDead) return never()
    try {
      const answer = await call()
      return life.isDead ? await never<T>() : answer
    } catch (error) {
      if (life.isDead) return never()
      throw error
    }
  }
  return {
    dialect: inner.dialect,
    write: (statements, options) => answered(() => inner.write(statements, options)),
    read: (sql, params) => answered(() => inner.read(sql, params)),
    onCommit: (listener) => inner.onCommit(() => (life.isDead ? undefined : listener())),
    stats: () => inner.stats(),
    stop: async () => undefined,
  }
}

function mortalClock(inner: Clock, life: { readonly isDead: boolean }): Clock {
  return {
    now: () => inner.now(),
    setTimer: (delayMs, run): Timer =>
      inner.setTimer(delayMs, () => {
        if (!life.isDead) run()
      }),
  }
}
