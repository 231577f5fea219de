import {
  type ChatId,
  EclusaError,
  type InstanceId,
  makeInstanceId,
  parseTenantId,
  silentLogger,
  TypedEmitter,
} from '@eclusa/kernel'
import { ManualClock, seededRandom, settle } from '@eclusa/kernel/test-kit'
import { type Database, EventLog } from '@eclusa/storage'
import { openTestDatabase, type TestDatabase, testSealer } from '@eclusa/storage/test-kit'
import {
  type CareOptions,
  type ChatContext,
  type ChatStanding,
  type DispatcherLimits,
  type MessageSender,
  openQueue,
  type OutboundMessage,
  type PacingOptions,
  defaultPacing,
  type Queue,
  queueMigrations,
  type QueueEvents,
} from '../src/index.ts'
import { memoryDatabase } from './proof/simulated-world.ts'

export const exatron = parseTenantId('exatron')
export const chatA = '5511900000001@s.whatsapp.net' as ChatId
export const chatB = '5511900000002@s.whatsapp.net' as ChatId
export const text = (words: string) => ({ kind: 'text', text: words }) as const
export const noPacing: PacingOptions = { ...defaultPacing, enabled: false }

/** What a send does when its turn comes: acknowledges (undefined), rejects, or waits for `release`. */
export type Outcome = 'ack' | 'hang' | EclusaError

export function sessionError(
  code: string,
  retry: 'never' | 'later' | 'after-login',
  delivered: 'no' | 'yes' | 'unknown',
): EclusaError {
  return new EclusaError({ code, status: 503, retry, delivered, message: `a scripted ${code}` })
}

/** A sender under the test's control; remembers all it was asked, in order. */
export class ScriptedSender implements MessageSender, ChatContext {
  readonly sends: OutboundMessage[] = []
  /** Everything, as one line each: `markRead 2`, `composing`, `send hello`. */
  readonly seen: string[] = []
  readonly inFlight = new Map<string, OutboundMessage>()
  /** Chats of which two were in flight at once. */
  overlaps = 0
  unreadMessages: { waMessageId: never; addressedAs: string; author: string }[] = []
  unreadWords = 0
  /** Of the contacts of which something is known; the others are in conversation. */
  readonly standings = new Map<string, ChatStanding>()
  /** LIDs whose number is known. */
  readonly numbers = new Map<string, ChatId>()
  presenceFails = false
  outcome: (message: OutboundMessage, nth: number) => Outcome = () => 'ack'
  readonly #clock: ManualClock
  readonly #held: { readonly message: OutboundMessage; readonly end: (outcome: Outcome) => void }[] = []

  constructor(clock: ManualClock) {
    this.#clock = clock
  }

  get texts(): string[] {
    return this.sends.map((message) => message.content.text)
  }

  async send(message: OutboundMessage, signal: AbortSignal): Promise<{ ackedAt: number }> {
    this.sends.push(message)
    this.seen.push(`send ${message.content.text}`)
    const key = `${message.instance}|${message.chat}`
    if (this.inFlight.has(key)) this.overlaps++
    this.inFlight.set(key, message)
    try {
      const nth = this.sends.filter(({ id }) => id === message.id).length
      let outcome = this.outcome(message, nth)
      while (outcome === 'hang') {
        outcome = await new Promise<Outcome>((resolve, reject) => {
          this.#held.push({ message, end: resolve })
          signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true })
        })
      }
      if (outcome !== 'ack') throw outcome
      return { ackedAt: this.#clock.now() }
    } finally {
      this.inFlight.delete(key)
    }
  }

  /** Ends all sends that hang. */
  release(outcome: Outcome = 'ack'): void {
    for (const { end } of this.#held.splice(0)) end(outcome)
  }

  markRead(_: InstanceId, __: ChatId, messages: readonly unknown[]): Promise<void> {
    this.seen.push(`markRead ${messages.length}`)
    return this.presenceFails ? Promise.reject(new Error('no')) : Promise.resolve()
  }

  setPresence(_: InstanceId, __: ChatId, presence: string): Promise<void> {
    this.seen.push(presence)
    return this.presenceFails ? Promise.reject(new Error('no')) : Promise.resolve()
  }

  standing({ chat }: { readonly chat: ChatId }): Promise<ChatStanding> {
    const inConversation = { lastInboundAt: this.#clock.now(), zone: null, consent: false, optedOutAt: null }
    return Promise.resolve(this.standings.get(chat) ?? inConversation)
  }

  canonical(_: InstanceId, chat: ChatId): Promise<ChatId> {
    return Promise.resolve(this.numbers.get(chat) ?? chat)
  }

  unread(): ReturnType<ChatContext['unread']> {
    return Promise.resolve({ messages: this.unreadMessages, lastWordCount: this.unreadWords })
  }
}

/** The real database, with writes that fail when the test says so. */
class FailingDatabase implements Database {
  readonly #inner: Database
  readonly #fails: (sql: string) => boolean
  readonly #loses: (sql: string) => boolean

  get dialect(): Database['dialect'] {
    return this.#inner.dialect
  }

  constructor(inner: Database, fails: (sql: string) => boolean, loses: (sql: string) => boolean) {
    this.#inner = inner
    this.#fails = fails
    this.#loses = loses
  }

  write(...parameters: Parameters<Database['write']>): ReturnType<Database['write']> {
    const [statements] = parameters
    if (statements.some(({ sql }) => this.#fails(sql))) {
      return Promise.reject(sessionError('STORAGE_FULL', 'later', 'no'))
    }
    const written = this.#inner.write(...parameters)
    if (!statements.some(({ sql }) => this.#loses(sql))) return written
    return written.then(() => Promise.reject(sessionError('STORAGE_OUTCOME_UNKNOWN', 'later', 'unknown')))
  }

  read(...parameters: Parameters<Database['read']>): ReturnType<Database['read']> {
    return this.#inner.read(...parameters)
  }

  onCommit(listener: () => void): () => void {
    return this.#inner.onCommit(listener)
  }

  stats(): ReturnType<Database['stats']> {
    return this.#inner.stats()
  }

  stop(): Promise<void> {
    return this.#inner.stop()
  }
}

export interface Harness {
  readonly clock: ManualClock
  readonly sender: ScriptedSender
  readonly instance: InstanceId
  /** Names of events, in order, without the instance. */
  readonly events: string[]
  readonly queue: Queue
  readonly database: Database
  readonly eventLog: EventLog
  /** Writes whose SQL it holds for fail. */
  failWrites(when: (sql: string) => boolean): void
  /** Writes whose SQL it holds for are stored, and fail nevertheless. */
  loseAnswers(when: (sql: string) => boolean): void
  enqueue(
    words: string,
    options?: Partial<Parameters<Queue['outbox']['enqueue']>[0]>,
  ): ReturnType<Queue['outbox']['enqueue']>
  /** Waits until nothing is under way in the database. */
  quiet(): Promise<void>
  /** Moves the clock on in small steps, letting the database answer between them. */
  advance(ms: number, stepMs?: number): Promise<void>
  /** The end without a goodbye: a new queue on the same file, the old one cut off. */
  crash(): Promise<void>
  rows(): Promise<readonly Record<string, unknown>[]>
}

export async function startQueue(
  t: { after(run: () => Promise<void>): void },
  options: {
    pacing?: PacingOptions
    care?: CareOptions
    limits?: Partial<DispatcherLimits>
    online?: boolean
    /** Which instances it serves; default all. */
    owns?: () => boolean
    seed?: number
    /** Which database; where `t` is not the test's own. In memory it is SQLite without a thread and a disk. */
    dialect?: Database['dialect'] | 'memory'
  } = {},
): Promise<Harness> {
  const clock = new ManualClock()
  const { dialect } = options
  const db =
    dialect === 'memory'
      ? inMemory()
      : await openTestDatabase(t, queueMigrations, dialect === undefined ? {} : { dialect })
  const sender = new ScriptedSender(clock)
  const instance = makeInstanceId()
  const events: string[] = []
  let fails: (sql: string) => boolean = () => false
  let loses: (sql: string) => boolean = () => false
  let cutOff: () => void = () => undefined

  const open = async (): Promise<{ queue: Queue; eventLog: EventLog }> => {
    let dead = false
    cutOff = () => (dead = true)
    const database = new FailingDatabase(
      db.database,
      (sql) => dead || fails(sql),
      (sql) => loses(sql),
    )
    const emitter = new TypedEmitter<QueueEvents>()
    for (const name of EVENT_NAMES) emitter.on(name, () => events.push(name))
    const eventLog = new EventLog({ database, sealer: testSealer(), clock })
    const queue = await openQueue({
      database,
      sealer: testSealer(),
      eventLog,
      clock,
      log: silentLogger,
      emitter,
      sender,
      context: sender,
      hashKey: new Uint8Array(32),
      ...(options.owns === undefined ? {} : { ownership: { owns: options.owns } }),
      pacing: options.pacing ?? noPacing,
      random: seededRandom(options.seed ?? 1),
      limits: options.limits ?? {},
      ...(options.care === undefined ? {} : { care: options.care }),
    })
    await queue.dispatcher.start()
    if (options.online !== false) queue.dispatcher.instanceOnline(instance)
    return { queue, eventLog }
  }

  let current = await open()
  const harness: Harness = {
    clock,
    sender,
    instance,
    events,
    get queue() {
      return current.queue
    },
    get eventLog() {
      return current.eventLog
    },
    get database() {
      return db.database
    },
    failWrites(when) {
      fails = when
    },
    loseAnswers(when) {
      loses = when
    },
    enqueue: (words, more) =>
      current.queue.outbox.enqueue({ tenant: exatron, instance, chat: chatA, content: text(words), ...more }),
    async quiet() {
      for (let calm = 0; calm < 4;) {
        await settle(1)
        calm = db.database.stats().waitingCount === 0 ? calm + 1 : 0
      }
    },
    async advance(ms, stepMs = 100) {
      await harness.quiet()
      for (let left = ms; left > 0; left -= stepMs) {
        await clock.tick(Math.min(stepMs, left))
        await harness.quiet()
      }
    },
    async crash() {
      cutOff()
      void current.queue.stop()
      sender.release(
        new EclusaError({ code: 'X', status: 500, retry: 'later', delivered: 'unknown', message: 'gone' }),
      )
      sender.inFlight.clear()
      await harness.quiet()
      await db.reopen()
      current = await open()
      await harness.quiet()
    },
    rows: async () =>
      (await db.database.read('select * from "MessageQueueItem" order by seq', [])).map((row) => ({
        ...row,
      })),
  }
  t.after(async () => {
    sender.outcome = () => 'ack'
    sender.release()
    const stopped = current.queue.stop()
    // Also after a test that failed with a send still hanging.
    await clock.tick(6000)
    await stopped
  })
  return harness
}

function inMemory(): Pick<TestDatabase, 'database' | 'reopen'> {
  const database = memoryDatabase()
  return { database, reopen: async () => database }
}

const EVENT_NAMES = [
  'outbound.accepted',
  'outbound.reading',
  'outbound.thinking',
  'outbound.typing',
  'outbound.sending',
  'outbound.sent',
  'outbound.delivered',
  'outbound.read',
  'outbound.failed',
  'outbound.cancelled',
  'outbound.retried',
  'queue.warned',
  'cold_chats.paused',
] as const
