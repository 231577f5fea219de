import type { TestContext } from 'node:test'
import type { CacheBudget } from '@eclusa/bounded-cache'
import {
  chatOfNumber,
  type ChatId,
  type Clock,
  type InstanceId,
  type Logger,
  makeInstanceId,
  makeWaMessageId,
  parseTenantId,
  silentLogger,
  systemClock,
  type TenantId,
  TypedEmitter,
  type WaMessageId,
} from '@eclusa/kernel'
import { until } from '@eclusa/kernel/test-kit'
import { createSimulator, type NumberPhone, type Simulator, type SimulatorOptions } from '@eclusa/simulator'
import { type Database, EventLog } from '@eclusa/storage'
import { openTestDatabase, testSealer } from '@eclusa/storage/test-kit'
import {
  AuthStore,
  BaileysEngine,
  InboundJournal,
  type OutboundContent,
  type Receipt,
  type SessionEvents,
  sessionMigrations,
  SessionPool,
  type SessionView,
  SharedFacts,
} from '../src/index.ts'

export const tenant: TenantId = parseTenantId('exatron')

/** A pool of sessions on a real database against a real simulator; what the rest of the gateway does stands here. */
export interface Bench {
  readonly simulator: Simulator
  readonly pool: SessionPool
  readonly journal: InboundJournal
  readonly store: AuthStore
  readonly database: Database
  /** Receipts in the order they were recorded. */
  readonly receipts: (Receipt & { readonly instance: InstanceId })[]
  /** States in the order they were shown. */
  readonly states: { readonly instance: InstanceId; readonly view: SessionView }[]
  /** What was sent, for retry requests. */
  readonly sent: Map<string, OutboundContent>
  newInstance(): InstanceId
  /** Links an instance to a new number and resolves when it is online. */
  pair(number: string): Promise<{ readonly instance: InstanceId; readonly phone: NumberPhone }>
  send(
    instance: InstanceId,
    chat: ChatId,
    text: string,
    id?: WaMessageId,
  ): Promise<{ waMessageId: WaMessageId; ackedAt: number }>
  untilState(instance: InstanceId, state: SessionView['state']): Promise<SessionView>
  /** Everything of this process as after a crash: a second pool on the same database, the first one cut off. */
  anotherPool(): SessionPool
}

export interface BenchOptions {
  readonly simulator?: SimulatorOptions
  readonly ackTimeoutMs?: number
  readonly maxStarting?: number
  readonly maxSessions?: number
  readonly clock?: Clock
  readonly log?: Logger
  readonly cacheBudget?: CacheBudget
  readonly cacheLimits?: ConstructorParameters<typeof BaileysEngine>[0]['cacheLimits']
  /** Told each read of the database; a throw makes it fail, as a broken disk would. */
  readonly onRead?: (sql: string, params: readonly unknown[]) => void
  /** Told each write before it is made, which waits for it. */
  readonly onWrite?: (params: readonly unknown[]) => void | Promise<void>
  /** Called before a retry request is answered. */
  readonly onRetry?: () => Promise<void>
  /** Called before a receipt counts as recorded. */
  readonly onReceipt?: (receipt: Receipt) => Promise<void>
}

export async function setup(t: TestContext, options: BenchOptions = {}): Promise<Bench> {
  const opened = await openTestDatabase(t, sessionMigrations)
  const database: Database = {
    dialect: opened.database.dialect,
    write: async (statements, more) => {
      await options.onWrite?.(statements.flatMap(({ params }) => params ?? []))
      return opened.database.write(statements, more)
    },
    read: async (sql, params) => {
      options.onRead?.(sql, params)
      return opened.database.read(sql, params)
    },
    onCommit: (listener) => opened.database.onCommit(listener),
    stats: () => opened.database.stats(),
    stop: () => opened.database.stop(),
  }
  const simulator = await createSimulator({ skipPreKeyUpload: true, ...options.simulator })
  const restoreKey = simulator.trust()
  const clock = options.clock ?? systemClock
  const sealer = testSealer()
  const store = new AuthStore({ database, sealer, clock, tenantOf: () => tenant })
  const facts = new SharedFacts({ database, sealer, clock, tenantOf: () => tenant })
  const journal = new InboundJournal({
    database,
    sealer,
    clock,
    events: new EventLog({ database, sealer, clock }),
  })
  const receipts: Bench['receipts'] = []
  const states: Bench['states'] = []
  const sent = new Map<string, OutboundContent>()
  const events = new TypedEmitter<SessionEvents>()
  events.on('session.changed', ({ instance, view }) => states.push({ instance, view }))
  const pools: SessionPool[] = []
  const makePool = (): SessionPool => {
    const pool = new SessionPool({
      engine: new BaileysEngine({
        store,
        clock,
        ...(options.cacheLimits === undefined ? {} : { cacheLimits: options.cacheLimits }),
      }),
      facts,
      ...(options.cacheBudget === undefined ? {} : { cacheBudget: options.cacheBudget }),
      url: simulator.url,
      ackTimeoutMs: options.ackTimeoutMs ?? 10_000,
      maxStarting: options.maxStarting ?? 8,
      maxSessions: options.maxSessions ?? 100,
      store,
      journal,
      ports: {
        receipt: async (instance, receipt) => {
          await options.onReceipt?.(receipt)
          receipts.push({ ...receipt, instance })
        },
        contentForRetry: async (_instance, waMessageId) => {
          await options.onRetry?.()
          return sent.get(waMessageId)
        },
      },
      events,
      clock,
      random: () => 0.5,
      log: options.log ?? silentLogger,
    })
    pools.push(pool)
    return pool
  }
  const pool = makePool()
  t.after(async () => {
    for (const each of pools) await each.stop()
    await simulator.stop()
    restoreKey()
  })

  const bench: Bench = {
    simulator,
    pool,
    journal,
    store,
    database,
    receipts,
    states,
    sent,
    newInstance: makeInstanceId,
    async pair(number) {
      const instance = makeInstanceId()
      const phone = simulator.addNumber(number, { name: `Number ${number.slice(-2)}` })
      await pool.startInstance({ instance, tenant })
      const { qr } = await bench.untilState(instance, 'qr')
      await phone.scanQr(qr?.text ?? '')
      await bench.untilState(instance, 'online')
      return { instance, phone }
    },
    async send(instance, chat, text, waMessageId = makeWaMessageId()) {
      const content: OutboundContent = { kind: 'text', text }
      sent.set(waMessageId, content)
      const signal = new AbortController().signal
      const { ackedAt } = await pool.send({ instance, chat, waMessageId, content }, signal)
      return { waMessageId, ackedAt }
    },
    async untilState(instance, state) {
      await until(() => pool.view(instance).state === state, `the session is ${state}`).catch(
        (error: unknown) => {
          const { state: shown, reason } = pool.view(instance)
          throw new Error(`${String(error)}; it is ${shown} ${reason?.code ?? ''}`)
        },
      )
      return pool.view(instance)
    },
    anotherPool: makePool,
  }
  return bench
}

export const chatOf = (number: string): ChatId => chatOfNumber(number)
