import { copyFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import {
  type ChatId,
  EclusaError,
  makeInstanceId,
  parseTenantId,
  silentLogger,
  systemClock,
  TypedEmitter,
} from '@eclusa/kernel'
import { seededRandom } from '@eclusa/kernel/test-kit'
import { EventLog, openDatabase, type OpenedDatabase } from '@eclusa/storage'
import { testSealer } from '@eclusa/storage/test-kit'
import { defaultPacing, openQueue, type Queue, queueMigrations } from '../../src/index.ts'
import { endStateOf } from './crash-loop.ts'
import { History } from './history.ts'

/*
 * A process on a disk shim that opens a queue again and again, each time on a fresh disk of which another call fails,
 * and once more when the disk is whole. Prints one line of JSON. Argument: the order as JSON.
 */

interface FaultOrder {
  readonly folder: string
  readonly faults: number
  readonly seed: number
}

export interface FaultFigures {
  readonly faults: number
  readonly accepted: number
  readonly refused: number
  /** Lives whose database did not even open. */
  readonly unopened: number
  readonly sends: number
  readonly violations: readonly string[]
}

/** Calls of a life, about; the fault is at any of them. */
const MOST_CALLS = 150
const MESSAGES = 12
const CHATS = 3
const QUIET_WITHIN_MS = 150
const DRAIN_WITHIN_MS = 20_000
const KINDS = ['eio', 'enospc', 'short'] as const

const { folder, faults, seed } = JSON.parse(process.argv[2] ?? '{}') as FaultOrder
const file = join(folder, 'eclusa.db')
const random = seededRandom(seed)
const sum = { accepted: 0, refused: 0, unopened: 0, sends: 0 }
const violations: string[] = []

// With its tables, so that the fault is among the queue's own calls and not among those of the migrations.
const template = `${folder}.template`
await (await openDatabase({ file, migrations: queueMigrations, log: silentLogger })).stop()
copyFileSync(file, template)

for (let nth = 0; nth < faults; nth++) {
  const kind = KINDS[nth % KINDS.length]!
  const from = 1 + Math.floor(random() * MOST_CALLS)
  const count = kind === 'eio' ? 1 : 2 + Math.floor(random() * 10)
  const wrong = await oneFault(`${kind} ${from} ${count}`)
  violations.push(...wrong.map((line) => `${kind} at call ${from}: ${line}`))
}
rmSync(template)
process.stdout.write(`${JSON.stringify({ faults, ...sum, violations })}\n`)
process.exit()

async function oneFault(fault: string): Promise<readonly string[]> {
  for (const name of readdirSync(folder)) rmSync(join(folder, name))
  copyFileSync(template, file)
  const history = new History()
  const instance = makeInstanceId()
  arm(fault)
  const life = await open(history, instance).catch((error: unknown) => {
    if (!(error instanceof EclusaError)) throw error
    return null
  })
  if (life === null) sum.unopened++
  else {
    await Promise.all(Array.from({ length: CHATS }, (_, chat) => call(life.queue, history, instance, chat)))
    await drained(life.queue, QUIET_WITHIN_MS)
    await end(life)
  }
  history.crashed()
  arm('none 0 0')
  const heir = await open(history, instance)
  const isDrained = await drained(heir.queue, DRAIN_WITHIN_MS)
  const endState = await endStateOf(heir.database)
  await end(heir)
  sum.sends += [...history.messages.values()].reduce((all, { sends }) => all + sends.length, 0)
  return [
    ...(isDrained ? [] : ['I7 messages still wait']),
    ...damageOf(file),
    ...history.violations(endState),
  ]
}

function arm(fault: string): void {
  writeFileSync(join(folder, 'arm'), fault)
}

async function open(
  history: History,
  instance: ReturnType<typeof makeInstanceId>,
): Promise<{ readonly database: OpenedDatabase; readonly queue: Queue }> {
  const database = await openDatabase({ file, migrations: queueMigrations, log: silentLogger })
  try {
    const sealer = testSealer()
    const queue = await openQueue({
      database,
      sealer,
      eventLog: new EventLog({ database, sealer, clock: systemClock }),
      clock: systemClock,
      log: silentLogger,
      emitter: new TypedEmitter(),
      sender: {
        async send({ chat, content, waMessageId }) {
          const end = history.sent(content.kind === 'text' ? content.text : '', chat, waMessageId)
          await new Promise((resolve) => setImmediate(resolve))
          end('acknowledged')
          return { ackedAt: systemClock.now() }
        },
        markRead: () => Promise.resolve(),
        setPresence: () => Promise.resolve(),
      },
      context: { unread: () => Promise.resolve({ messages: [], lastWordCount: 0 }) },
      pacing: { ...defaultPacing, enabled: false },
    })
    await queue.start()
    queue.dispatcher.instanceOnline(instance)
    return { database, queue }
  } catch (error) {
    await database.stop().catch(() => undefined)
    throw error
  }
}

async function call(
  queue: Queue,
  history: History,
  instance: ReturnType<typeof makeInstanceId>,
  nth: number,
): Promise<void> {
  const chat = `${nth}@s.whatsapp.net` as ChatId
  for (let n = 0; n < MESSAGES / CHATS; n++) {
    const ref = `m${nth}.${n}`
    history.called(ref, chat, 'normal')
    try {
      const content = { kind: 'text', text: ref } as const
      history.answered(
        ref,
        await queue.outbox.enqueue({ tenant: parseTenantId('exatron'), instance, chat, content }),
      )
      sum.accepted++
    } catch (error) {
      if (!(error instanceof EclusaError)) throw error
      // Of the others nobody knows whether they are stored.
      if (error.code === 'STORAGE_FULL') history.refused(ref)
      sum.refused++
    }
  }
}

async function drained(queue: Queue, withinMs: number): Promise<boolean> {
  const giveUpAt = performance.now() + withinMs
  while (performance.now() < giveUpAt) {
    const { pending, processing } = await queue.outbox.stats()
    if (pending + processing === 0 && queue.dispatcher.stats().lanes === 0) return true
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return false
}

async function end({
  database,
  queue,
}: {
  readonly database: OpenedDatabase
  readonly queue: Queue
}): Promise<void> {
  await queue.stop().catch(() => undefined)
  await database.stop().catch(() => undefined)
}

function damageOf(path: string): string[] {
  const database = new DatabaseSync(path)
  try {
    const rows = database.prepare('pragma integrity_check').all()
    return rows.map((row) => String(row['integrity_check'])).filter((line) => line !== 'ok')
  } finally {
    database.close()
  }
}
