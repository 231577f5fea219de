import {
  type ChatId,
  EclusaError,
  HOUR,
  type InstanceId,
  makeInstanceId,
  makeMessageId,
  type MessageId,
  MINUTE,
  parseTenantId,
  SECOND,
  silentLogger,
  TypedEmitter,
} from '@eclusa/kernel'
import { seededRandom } from '@eclusa/kernel/test-kit'
import { EventLog } from '@eclusa/storage'
import { testSealer } from '@eclusa/storage/test-kit'
import {
  defaultPacing,
  type MessageSender,
  openQueue,
  type Priority,
  type Queue,
  type QueueEvents,
} from '../../src/index.ts'
import { type EndState, History, type SendEnd } from './history.ts'
import { SimulatedStore, SimulatedTime } from './simulated-world.ts'

/*
 * The whole queue for 24 simulated hours of 20 tenants, from one seed: bursts of messages, cancels, receipts, sessions
 * that come and go, acknowledgements that get lost, commits that are slow, fail, or succeed without an answer, a wall
 * clock that jumps by an hour, and a process that dies in the middle of any write or between any two steps.
 */

const TENANTS = 20
const CHATS = 3
const HOURS = 24
/** After the last trouble; back-off, clock jumps and the 30 min of a sweep fit in. */
const DRAIN_HOURS = 6
/** A day takes about 4,000. */
const MOST_STEPS = 20_000

export interface SimulationResult {
  readonly seed: number
  readonly violations: readonly string[]
  readonly accepted: number
  readonly sends: number
  readonly crashes: number
}

export async function simulate(seed: number): Promise<SimulationResult> {
  const simulation = new Simulation(seed)
  return simulation.run()
}

interface Life {
  isDead: boolean
  queue: Queue | null
}

class Simulation {
  readonly #seed: number
  readonly #random: () => number
  readonly #time = new SimulatedTime()
  readonly #store: SimulatedStore
  readonly #history = new History()
  readonly #instances: readonly InstanceId[] = Array.from({ length: TENANTS }, () => makeInstanceId())
  readonly #online = new Set<InstanceId>()
  #life: Life = { isDead: true, queue: null }
  #isCalm = false
  #lostAnswer = false
  #writesToDeath = Number.POSITIVE_INFINITY
  #refCount = 0
  readonly #wrong: string[] = []
  readonly #pacing: boolean

  constructor(seed: number) {
    this.#seed = seed
    this.#random = seededRandom(seed)
    this.#pacing = seed % 2 === 0
    this.#store = new SimulatedStore(this.#time, {
      latencyMs: () => (!this.#isCalm && this.#chance(0.002) ? 5 * SECOND : 1 + this.#random() * 4),
      outcome: () => {
        if (this.#isCalm || !this.#chance(0.004)) return 'ok'
        if (this.#chance(0.5)) return 'fails'
        this.#lostAnswer = true
        return 'answer-lost'
      },
      dies: () => {
        if (this.#isCalm || --this.#writesToDeath > 0) return 'no'
        this.#writesToDeath = Number.POSITIVE_INFINITY
        return this.#chance(0.5) ? 'before' : 'after'
      },
    })
  }

  async run(): Promise<SimulationResult> {
    await this.#open()
    for (const [index, instance] of this.#instances.entries()) {
      this.#every(8 * HOUR, () => this.#burst(index, instance))
      this.#every(5 * HOUR, () => this.#flap(instance))
    }
    this.#every(3 * HOUR, () => (this.#writesToDeath = 1 + Math.floor(this.#random() * 40)))
    this.#every(6 * HOUR, () => this.#die())
    this.#every(8 * HOUR, () => this.#time.jump(this.#chance(0.5) ? HOUR : -HOUR))
    await this.#passTo(HOURS * HOUR)
    this.#isCalm = true
    for (const instance of this.#instances) this.#online.add(instance)
    // A fresh process, so that also what a lost answer left in memory alone is gone.
    if (this.#lostAnswer) this.#die()
    else for (const instance of this.#instances) this.#life.queue?.dispatcher.instanceOnline(instance)
    await this.#passTo((HOURS + DRAIN_HOURS) * HOUR)
    await this.#judgeRest()
    const all = [...this.#history.messages.values()]
    return {
      seed: this.#seed,
      violations: [...this.#wrong, ...this.#history.violations(this.#endState())],
      accepted: all.filter(({ answers }) => answers.length > 0).length,
      sends: all.reduce((sum, { sends }) => sum + sends.length, 0),
      crashes: this.#history.life,
    }
  }

  async #passTo(untilMs: number): Promise<void> {
    for (let left = MOST_STEPS; await this.#time.step(untilMs); left--) {
      if (left > 0) continue
      this.#wrong.push(`I7 it goes round in circles: more than ${MOST_STEPS} steps`)
      return
    }
  }

  #chance(share: number): boolean {
    return this.#random() < share
  }

  /** Again and again until all is calm, on average every so many ms. */
  #every(ms: number, run: () => void): void {
    this.#time.after(-Math.log(1 - this.#random()) * ms, () => {
      if (this.#isCalm) return
      run()
      this.#every(ms, run)
    })
  }

  async #open(): Promise<void> {
    const life: Life = { isDead: false, queue: null }
    this.#life = life
    const clock = this.#time.clockOf(life)
    const database = this.#store.open(life, () => this.#die())
    const sealer = testSealer()
    const range = { min: 0, max: 5 * SECOND }
    const opening = openQueue({
      database,
      sealer,
      eventLog: new EventLog({ database, sealer, clock }),
      clock,
      log: silentLogger,
      emitter: new TypedEmitter<QueueEvents>(),
      sender: this.#sender(life),
      context: { unread: () => Promise.resolve({ messages: [], lastWordCount: 0 }) },
      pacing: { ...defaultPacing, enabled: this.#pacing, thinkingMs: range },
      random: this.#random,
    })
    opening.then(
      async (queue) => {
        if (life.isDead) return
        life.queue = queue
        await queue.start()
        for (const instance of this.#online) queue.dispatcher.instanceOnline(instance)
      },
      // A process that does not come up is started again.
      () => {
        if (!life.isDead) this.#die()
      },
    )
    await Promise.resolve()
  }

  #die(): void {
    if (this.#life.isDead) return
    this.#life.isDead = true
    this.#history.crashed()
    this.#time.after(1 + this.#random() * 3 * SECOND, () => void this.#open())
  }

  #flap(instance: InstanceId): void {
    this.#online.delete(instance)
    this.#life.queue?.dispatcher.instanceOffline(instance)
    this.#time.after(this.#random() * 20 * MINUTE, () => {
      this.#online.add(instance)
      if (!this.#life.isDead) this.#life.queue?.dispatcher.instanceOnline(instance)
    })
  }

  #burst(index: number, instance: InstanceId): void {
    if (!this.#online.has(instance) && this.#chance(0.5)) this.#online.add(instance)
    if (this.#online.has(instance) && !this.#life.isDead)
      this.#life.queue?.dispatcher.instanceOnline(instance)
    const chat = `55119${index}000${Math.floor(this.#random() * CHATS)}@s.whatsapp.net` as ChatId
    const size = 1 + Math.floor(this.#random() * 7)
    for (let n = 0; n < size; n++)
      this.#time.after(this.#random() * 30 * SECOND, () => this.#call(index, instance, chat))
  }

  #call(
    index: number,
    instance: InstanceId,
    chat: ChatId,
    again?: { ref: string; priority: Priority },
  ): void {
    const life = this.#life
    if (life.isDead || life.queue === null) return
    const chance = this.#random()
    const priority = again?.priority ?? (chance < 0.1 ? 'urgent' : chance < 0.9 ? 'normal' : 'bulk')
    const ref = again?.ref ?? `m${this.#refCount++}`
    const hasKey = again !== undefined || this.#chance(0.3)
    this.#history.called(ref, `${instance}|${chat}`, priority)
    life.queue.outbox
      .enqueue({
        tenant: parseTenantId(`tenant-${index}`),
        instance,
        chat,
        content: { kind: 'text', text: ref },
        priority,
        maxRetries: 20,
        ...(hasKey ? { idempotency: { key: ref, bodyHash: ref } } : {}),
      })
      .then(
        ({ id, waMessageId }) => {
          if (life.isDead) return
          this.#history.answered(ref, { id, waMessageId })
          if (this.#chance(0.08)) this.#time.after(this.#random() * 5 * SECOND, () => this.#cancel(ref, id))
          if (hasKey && this.#chance(0.2))
            this.#time.after(this.#random() * HOUR, () =>
              this.#call(index, instance, chat, { ref, priority }),
            )
        },
        (error: unknown) => {
          if (!(error instanceof EclusaError)) this.#wrong.push(`enqueue failed with ${String(error)}`)
          else if (error.code === 'STORAGE_FULL' && !hasKey && !life.isDead) this.#history.refused(ref)
        },
      )
  }

  #cancel(ref: string, id: MessageId): void {
    const life = this.#life
    if (life.isDead || life.queue === null) return
    life.queue.outbox.cancel(id).then(
      () => {
        if (!life.isDead) this.#history.cancelled(ref)
      },
      () => undefined,
    )
  }

  #sender(life: Life): MessageSender {
    return {
      send: ({ instance, chat, content, waMessageId }) =>
        new Promise((resolve, reject) => {
          if (life.isDead) return
          const end = this.#history.sent(content.text, `${instance}|${chat}`, waMessageId)
          const fail = (code: string, delivered: 'no' | 'unknown', how: SendEnd): void => {
            end(how)
            reject(new EclusaError({ code, status: 503, retry: 'later', delivered, message: code }))
          }
          this.#time.after(20 + this.#random() * 200, () => {
            if (life.isDead) return
            if (!this.#online.has(instance)) return fail('SESSION_OFFLINE', 'no', 'refused')
            const chance = this.#isCalm ? 1 : this.#random()
            if (chance < 0.01) return fail('SESSION_REFUSED', 'no', 'refused')
            if (chance < 0.03) {
              // The acknowledgement is lost, or the message; a receipt may tell.
              if (chance < 0.015) this.#receive(life, instance, waMessageId)
              return fail('SESSION_ACK_LATE', 'unknown', 'unknown')
            }
            if (chance > 0.98) this.#receive(life, instance, waMessageId)
            end('acknowledged')
            resolve({ ackedAt: 0 + this.#time.clockOf(life).now() })
            if (chance > 0.5)
              this.#time.after(this.#random() * MINUTE, () => this.#receive(life, instance, waMessageId))
          })
        }),
      markRead: () => Promise.resolve(),
      setPresence: () => Promise.resolve(),
    }
  }

  #receive(life: Life, instance: InstanceId, waMessageId: string): void {
    if (life.isDead || life.queue === null) return
    const at = this.#time.clockOf(life).now()
    const receipt = { instance, waMessageIds: [waMessageId], kind: 'delivered', at } as const
    life.queue.dispatcher.recordReceipt(receipt).catch(() => undefined)
  }

  /** I7 and I9: nothing waits any more, no lane is left, and the counters are those of SQL. */
  async #judgeRest(): Promise<void> {
    const { queue } = this.#life
    if (queue === null) {
      this.#wrong.push('I7 the process does not come up')
      return
    }
    const stats = await queue.outbox.stats()
    const rows = this.#store.sql
      .prepare('select status, count(*) as n from "MessageQueueItem" group by status')
      .all()
    const of = (status: string): number => Number(rows.find((row) => row['status'] === status)?.['n'] ?? 0)
    const waiting = of('PENDING') + of('PROCESSING')
    if (waiting > 0) this.#wrong.push(`I7 ${waiting} messages still wait after ${DRAIN_HOURS} calm hours`)
    const isOff =
      stats.pending !== of('PENDING') ||
      stats.processing !== of('PROCESSING') ||
      stats.failed !== of('FAILED')
    if (isOff)
      this.#wrong.push(`I9 the counters say ${JSON.stringify(stats)}, SQL says ${JSON.stringify(rows)}`)
    const { lanes, openChats } = queue.dispatcher.stats()
    if (lanes > 0 || openChats > 0)
      this.#wrong.push(`I7 ${lanes} lanes and ${openChats} chats are left in memory`)
  }

  #endState(): EndState {
    const states = new Map<string, string>()
    const put = (sql: string): void => {
      for (const row of this.#store.sql.prepare(sql).all())
        states.set(makeMessageId(Number(row['seq'])), String(row['state']))
    }
    put('select seq, status as state from "MessageQueueItem"')
    put('select seq, state from "OutboundTombstone"')
    const ends = new Map<string, string[]>()
    const rows = this.#store.sql
      .prepare(`select * from "Event" where type like 'outbound.%' order by seq`)
      .all()
    for (const row of rows) {
      const type = String(row['type'])
      if (!/^outbound\.(sent|failed|cancelled)$/.test(type)) continue
      const { id } = JSON.parse(String(row['payload'])) as { id: string }
      ends.set(id, [...(ends.get(id) ?? []), type])
    }
    return { stateOf: (id) => states.get(id), endsOf: (id) => ends.get(id) ?? [] }
  }
}
