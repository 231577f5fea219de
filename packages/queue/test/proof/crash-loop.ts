import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeInstanceId, makeMessageId, silentLogger, systemClock } from '@eclusa/kernel'
import { seededRandom } from '@eclusa/kernel/test-kit'
import { type Database, EventLog, openDatabase } from '@eclusa/storage'
import { type DatabasePlace, testSealer } from '@eclusa/storage/test-kit'
import { queueMigrations, type Priority } from '../../src/index.ts'
import type { Order, Report } from './crash-protocol.ts'
import { type EndState, History, type Message, type SendEnd } from './history.ts'

/*
 * The judge of a queue that dies again and again: starts the process, calls it, is its WhatsApp, kills it, and at the
 * end compares what it saw with what is stored.
 */

const CHATS = 50
const CALLERS = 24
/** Callers pause above this, so that the last drain is short. */
const MAX_WAITING = 300
/** How long one life is: so many answers and sends, or this long when nothing happens, ms. */
const SHORTEST_LIFE = 5
const LONGEST_LIFE = 250
const IDLE_LIFE_MS = 1000
/** A process that does not come up, or does not drain, is as wrong as one that loses. */
const READY_WITHIN_MS = 60_000
const DRAIN_WITHIN_MS = 120_000

export interface CrashLoopOptions {
  readonly place: DatabasePlace
  readonly kills: number
  readonly seed: number
  /** The program that is killed; default ours. A mutant's is another. */
  readonly program?: string
  /** The environment of one life: the disk it runs on. */
  readonly envOf?: (life: number) => Readonly<Record<string, string>>
  /** After each death, before the next life. */
  readonly afterDeath?: (life: number) => void
  /** Ends early, with what is wrong so far: a mutant is caught. */
  readonly untilWrong?: boolean
}

export interface CrashLoopResult {
  readonly kills: number
  readonly accepted: number
  readonly sends: number
  readonly duplicates: number
  readonly cancelled: number
  readonly refused: number
  /** From the order to open until the queue was ready, ms. Told, never asserted. */
  readonly readyMs: readonly number[]
  readonly violations: readonly string[]
}

export async function crashLoop(options: CrashLoopOptions): Promise<CrashLoopResult> {
  const judge = new Judge(options)
  try {
    return await judge.run()
  } finally {
    judge.end()
  }
}

const PRIORITIES: readonly Priority[] = ['urgent', 'normal', 'normal', 'normal', 'normal', 'normal', 'bulk']

class Judge {
  readonly #options: CrashLoopOptions
  readonly #random: () => number
  readonly #history = new History()
  readonly #instance = makeInstanceId()
  readonly #readyMs: number[] = []
  readonly #wrong: string[] = []
  // Messages accepted and not yet known to have ended. bounded by: MAX_WAITING and CALLERS
  readonly #open = new Set<string>()
  #life: Life | null = null
  #next: Life
  #refCount = 0
  #refusedCount = 0
  /** Callers pause. */
  #draining = false
  /** Callers end. */
  #over = false
  // Callers that wait for a new life. bounded by: CALLERS
  #onLife: (() => void)[] = []

  constructor(options: CrashLoopOptions) {
    this.#options = options
    this.#random = seededRandom(options.seed)
    this.#next = this.#spawn()
  }

  async run(): Promise<CrashLoopResult> {
    const callers = Array.from({ length: CALLERS }, () => this.#caller())
    while (this.#history.life < this.#options.kills) {
      const life = await this.#start()
      if (life === null) continue
      await life.lives(SHORTEST_LIFE + this.#random() ** 2 * (LONGEST_LIFE - SHORTEST_LIFE))
      await this.#kill(life)
      if (this.#options.untilWrong === true && this.#history.life % 5 === 0 && (await this.#isWrong())) break
    }
    this.#over = true
    const violations = await this.#drain()
    this.#onLife.splice(0).forEach((go) => go())
    await Promise.all(callers)
    const { messages, crashes } = this.#history
    const all = [...messages.values()]
    return {
      kills: crashes.length,
      accepted: all.filter(({ answers }) => answers.length > 0).length,
      sends: all.reduce((sum, { sends }) => sum + sends.length, 0),
      duplicates: this.#history.duplicateCount,
      cancelled: all.filter(({ cancelledAt }) => cancelledAt !== null).length,
      refused: this.#refusedCount,
      readyMs: this.#readyMs,
      violations,
    }
  }

  end(): void {
    this.#life?.kill()
    this.#next.kill()
  }

  /** The next life, open; null when it did not open, which only a broken disk excuses. */
  async #start(env?: Readonly<Record<string, string>>): Promise<Life | null> {
    const life = env === undefined ? this.#next : this.#spawn(env)
    if (env === undefined) this.#next = this.#spawn()
    await life.loaded
    const openedAt = performance.now()
    life.say({
      kind: 'open',
      place: this.#options.place,
      tenant: 'exatron',
      instance: this.#instance,
      pacingMs: this.#random() < 0.3 ? 6 : 0,
      seed: 1 + Math.floor(this.#random() * 1e6),
    })
    const how = await within(READY_WITHIN_MS, 'the process opens its queue', life.opened)
    if (how !== 'ready') {
      // Only with a broken disk; then the next one must come up.
      if (this.#options.envOf === undefined) throw new Error(`the process did not open its queue: ${how}`)
      await this.#kill(life)
      return null
    }
    this.#readyMs.push(Math.round(performance.now() - openedAt))
    this.#life = life
    for (const go of this.#onLife.splice(0)) go()
    return life
  }

  async #kill(life: Life): Promise<void> {
    this.#life = null
    await life.end()
    this.#history.crashed()
    this.#options.afterDeath?.(this.#history.life)
  }

  async #isWrong(): Promise<boolean> {
    const isWrong = (await this.#drain()).length > 0
    this.#draining = false
    return isWrong
  }

  /** A life on a whole disk that ends only when nothing waits; then what is stored is compared with what was seen. */
  async #drain(): Promise<readonly string[]> {
    this.#draining = true
    const life = await this.#start({})
    if (life === null) return ['I1 the queue does not open any more']
    const giveUpAt = performance.now() + DRAIN_WITHIN_MS
    for (;;) {
      const { count, lanes, isOff } = await life.waiting()
      if (count === 0 && lanes === 0) {
        if (isOff) this.#wrong.push('I9 the counters differ from SQL')
        break
      }
      if (performance.now() > giveUpAt) {
        this.#wrong.push(`I7 ${count} messages still wait after ${DRAIN_WITHIN_MS} ms with a session`)
        break
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    life.say({ kind: 'stop' })
    await within(READY_WITHIN_MS, 'the process stops', life.stopped)
    this.#life = null
    return [...this.#wrong, ...this.#history.violations(await readEndState(this.#options.place))]
  }

  /** Calls, waits for its answer, calls again; after a crash it repeats a call that has a key. */
  async #caller(): Promise<void> {
    let unanswered: Call | null = null
    while (!this.#over) {
      const life = this.#life
      if (life === null || this.#draining) {
        await new Promise<void>((resolve) => this.#onLife.push(resolve))
        continue
      }
      if (unanswered === null && this.#open.size >= MAX_WAITING) {
        await new Promise((resolve) => setTimeout(resolve, 2))
        continue
      }
      const call: Call = unanswered ?? this.#newCall()
      unanswered = null
      if ((await this.#call(life, call)) === 'unknown' && call.key !== null) unanswered = call
    }
  }

  #newCall(): Call {
    const ref = `m${this.#refCount++}`
    const chat = `5511900${String(Math.floor(this.#random() * CHATS)).padStart(6, '0')}@s.whatsapp.net`
    const priority = PRIORITIES[Math.floor(this.#random() * PRIORITIES.length)]!
    return { ref, chat, priority, key: this.#random() < 0.3 ? `key-${ref}` : null }
  }

  async #call(life: Life, call: Call): Promise<'answered' | 'refused' | 'unknown'> {
    const { ref } = call
    this.#history.called(ref, call.chat, call.priority)
    const answer = life.answerTo(ref)
    life.say({ kind: 'enqueue', ...call })
    const report = await answer
    if (report?.kind === 'accepted') {
      this.#history.answered(ref, report)
      this.#open.add(ref)
      // A client whose time-out was too short asks again.
      if (call.key !== null && this.#random() < 0.1) life.say({ kind: 'enqueue', ...call })
      if (this.#random() < 0.05) life.say({ kind: 'cancel', ref, id: report.id })
      return 'answered'
    }
    if (report?.kind !== 'refused') return 'unknown'
    this.#refusedCount++
    // These say that nothing is stored; after the others nobody knows.
    if (report.code !== 'STORAGE_FULL') return 'unknown'
    if (call.key === null) this.#history.refused(ref)
    return 'refused'
  }

  #spawn(env?: Readonly<Record<string, string>>): Life {
    const { program, envOf } = this.#options
    return new Life(program ?? PROGRAM, env ?? envOf?.(this.#history.life + 1) ?? {}, {
      send: (life, report) => this.#onSend(life, report),
      cancelled: (ref) => {
        this.#history.cancelled(ref)
        this.#open.delete(ref)
      },
      answered: (report) => this.#history.answered(report.ref, report),
    })
  }

  /** WhatsApp: takes a few milliseconds, and now and then refuses, or loses the message or its acknowledgement. */
  #onSend(life: Life, report: Extract<Report, { kind: 'send' }>): void {
    const { nth, ref, chat, waMessageId } = report
    const end = this.#history.sent(ref, chat, waMessageId)
    const chance = this.#draining ? 1 : this.#random()
    const how: SendEnd = chance < 0.004 ? 'refused' : chance < 0.008 ? 'unknown' : 'acknowledged'
    const finish = (): void => {
      if (life.isDead) return
      if (how === 'unknown') this.#early(life, ref, waMessageId)
      end(how)
      if (how === 'acknowledged') this.#open.delete(ref)
      life.say({ kind: 'send-ended', nth, how: how === 'acknowledged' ? 'ack' : how })
      if (how === 'acknowledged' && this.#random() < 0.3)
        life.say({ kind: 'receipt', waMessageId, read: this.#random() < 0.5 })
    }
    // The receipt is the better acknowledgement: the chat's next may go from here on.
    if (chance > 0.99 && this.#early(life, ref, waMessageId)) end('acknowledged')
    setTimeout(finish, this.#random() * 8)
  }

  /** A receipt that comes before the acknowledgement, or instead of it. */
  #early(life: Life, ref: string, waMessageId: string): boolean {
    if (this.#random() < 0.5) return false
    life.say({ kind: 'receipt', waMessageId, read: false })
    // It may end by the receipt alone, and then is never seen again.
    this.#open.delete(ref)
    return true
  }
}

type Call = Pick<Message, 'ref' | 'chat' | 'priority'> & { readonly key: string | null }

const PROGRAM = fileURLToPath(new URL('./crash-process.ts', import.meta.url))

/** Compiled once for all lives of this process: starting is most of a short life. */
const compileCache = mkdtempSync(join(tmpdir(), 'eclusa-proof-'))
process.once('exit', () => rmSync(compileCache, { recursive: true, force: true }))

/** One process from its start to its death. */
class Life {
  readonly loaded: Promise<void>
  readonly opened: Promise<string>
  readonly stopped: Promise<void>
  isDead = false
  readonly #child: ChildProcess
  readonly #gone: Promise<void>
  // bounded by: CALLERS
  readonly #answers = new Map<string, (report: Report | null) => void>()
  #onWaiting: ((report: Extract<Report, { kind: 'waiting' }>) => void) | null = null
  #died!: () => void
  readonly #death = new Promise<void>((resolve) => (this.#died = resolve))

  constructor(
    program: string,
    env: Readonly<Record<string, string>>,
    on: {
      readonly send: (life: Life, report: Extract<Report, { kind: 'send' }>) => void
      readonly cancelled: (ref: string) => void
      /** An answer that no caller waits for: to a repeated call. */
      readonly answered: (report: Extract<Report, { kind: 'accepted' }>) => void
    },
  ) {
    const child = fork(program, [], {
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache, NODE_OPTIONS: '', ...env },
      execArgv: [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#child = child
    const loaded = Promise.withResolvers<void>()
    const opened = Promise.withResolvers<string>()
    const stopped = Promise.withResolvers<void>()
    this.loaded = loaded.promise
    this.opened = opened.promise
    this.stopped = stopped.promise
    child.on('error', () => undefined)
    child.on('message', (report: Report) => {
      switch (report.kind) {
        case 'loaded':
          return loaded.resolve()
        case 'ready':
          return opened.resolve('ready')
        case 'failed':
          return opened.resolve(report.code)
        case 'accepted':
        case 'refused': {
          const answer = this.#answers.get(report.ref)
          this.#answers.delete(report.ref)
          if (answer !== undefined) answer(report)
          else if (report.kind === 'accepted') on.answered(report)
          return
        }
        case 'cancelled':
          if (report.done) on.cancelled(report.ref)
          return
        case 'send':
          return on.send(this, report)
        case 'waiting':
          this.#onWaiting?.(report)
          return
        case 'stopped':
          return stopped.resolve()
        default:
          report satisfies never
      }
    })
    this.#gone = new Promise((resolve) => {
      // 'close' comes after the last message.
      let isLeft = 2
      const one = (): void => {
        if (--isLeft > 0) return
        this.#died()
        loaded.resolve()
        opened.resolve('dead')
        for (const answer of this.#answers.values()) answer(null)
        this.#answers.clear()
        resolve()
      }
      child.once('exit', one)
      child.once('disconnect', one)
    })
  }

  say(order: Order): void {
    if (this.#child.connected) this.#child.send(order, () => undefined)
  }

  answerTo(ref: string): Promise<Report | null> {
    if (!this.#child.connected) return Promise.resolve(null)
    return new Promise((resolve) => this.#answers.set(ref, resolve))
  }

  waiting(): Promise<Extract<Report, { kind: 'waiting' }>> {
    const answer = new Promise<Extract<Report, { kind: 'waiting' }>>((resolve) => (this.#onWaiting = resolve))
    this.say({ kind: 'waiting' })
    return within(READY_WITHIN_MS, 'the process answers', answer)
  }

  /** Resolves after so many answers and sends, or when it died by itself, or nothing happens. */
  async lives(reports: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, IDLE_LIFE_MS)
    let left = reports
    this.#child.on('message', () => {
      if (--left <= 0) resolve()
    })
    await Promise.race([promise, this.#death])
    clearTimeout(timer)
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** kill -9; resolves when all it said before has been heard. */
  async end(): Promise<void> {
    this.kill()
    await this.#gone
    this.isDead = true
  }
}

async function readEndState(place: DatabasePlace): Promise<EndState> {
  const database = await openDatabase({ ...place, migrations: queueMigrations, log: silentLogger })
  try {
    return await endStateOf(database)
  } finally {
    await database.stop()
  }
}

/** What is stored of the messages. */
export async function endStateOf(database: Database): Promise<EndState> {
  const states = new Map<string, string>()
  const rows = await database.read('select seq, status from "MessageQueueItem"', [])
  for (const row of rows) states.set(makeMessageId(Number(row['seq'])), String(row['status']))
  const tombstones = await database.read('select seq, state from "OutboundTombstone"', [])
  for (const row of tombstones) states.set(makeMessageId(Number(row['seq'])), String(row['state']))
  const ends = new Map<string, string[]>()
  const eventLog = new EventLog({ database, sealer: testSealer(), clock: systemClock })
  for (let after = 0; ;) {
    const events = await eventLog.read({ after, limit: 1000 })
    for (const { seq, type, payload } of events) {
      after = seq
      if (!/^outbound\.(sent|failed|cancelled)$/.test(type)) continue
      const { id } = payload as { id: string }
      ends.set(id, [...(ends.get(id) ?? []), type])
    }
    if (events.length < 1000) break
  }
  return { stateOf: (id) => states.get(id), endsOf: (id) => ends.get(id) ?? [] }
}

async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  const { promise: tooLate, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms)
  try {
    return await Promise.race([promise, tooLate])
  } finally {
    clearTimeout(timer)
  }
}
