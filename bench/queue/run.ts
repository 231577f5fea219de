import { engines, type EngineName } from './engines.ts'
import { OrderJudge } from './order-judge.ts'

/*
 * One engine in a process of its own: accepts, then drains, or resumes after a kill, and tells its parent the figures.
 * Argument: the order as JSON.
 */

export interface Order {
  readonly engine: EngineName
  readonly mode: 'throughput' | 'strict' | 'hang' | 'resume'
  /** SQLite file, Redis port or PostgreSQL URL. */
  readonly place: string
  readonly chats: number
  readonly perChat: number
  readonly callers: number
  /** A phase ends after this, however far it is; its rate is that of what was done. */
  readonly phaseMs: number
}

export interface Figures {
  readonly acceptPerSecond: number
  readonly acceptCpuMicros: number
  readonly drainPerSecond: number
  readonly drainCpuMicros: number
  readonly drained: number
  /** Messages that ran while another of their chat did. */
  readonly overlaps: number
  /** Messages that began before their predecessor had succeeded. */
  readonly outOfOrder: number
  readonly duplicates: number
  readonly rssMib: number
}

const order = JSON.parse(process.argv[2] ?? '{}') as Order
const engine = await engines[order.engine](order.place)
const PAYLOAD = 'x'.repeat(250)

switch (order.mode) {
  case 'throughput':
  case 'strict':
    tell(await throughput())
    break
  case 'hang':
    await hang()
    break
  case 'resume':
    await resume()
    break
  default:
    order.mode satisfies never
}
process.exit()

async function throughput(): Promise<Figures> {
  const { chats, perChat, callers, phaseMs } = order
  const acceptFrom = mark()
  let accepted = 0
  const nextOf = Array.from({ length: chats }, () => 0)
  const caller = async (first: number): Promise<void> => {
    for (let n = 0; n < perChat; n++) {
      for (let chat = first; chat < chats; chat += callers) {
        if (performance.now() - acceptFrom.at > phaseMs) return
        await engine.enqueue(chat, n, PAYLOAD)
        nextOf[chat] = n + 1
        accepted++
      }
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, index) => caller(index)))
  const accept = since(acceptFrom)
  // What an engine that is too slow for the phase lacks comes in as it likes best, untimed.
  for (const [chat, from] of nextOf.entries()) {
    if (from < perChat) await engine.fill(chat, from, perChat, PAYLOAD)
  }
  const total = chats * perChat
  const judge = new OrderJudge(order.mode === 'strict')
  const { promise: done, resolve } = Promise.withResolvers<void>()
  const drainFrom = mark()
  const timer = setTimeout(resolve, phaseMs)
  await engine.drain(async (chat, n) => {
    await judge.run(chat, n)
    if (judge.succeeded >= total) resolve()
  })
  await done
  clearTimeout(timer)
  const drain = since(drainFrom)
  const drained = judge.succeeded
  return {
    acceptPerSecond: accepted / accept.seconds,
    acceptCpuMicros: accept.cpuMicros / accepted,
    drainPerSecond: drained / drain.seconds,
    drainCpuMicros: drain.cpuMicros / Math.max(drained, 1),
    drained,
    overlaps: judge.overlaps,
    outOfOrder: judge.outOfOrder,
    duplicates: judge.duplicates,
    rssMib: process.memoryUsage.rss() / 2 ** 20,
  }
}

/** 20 chats with a handler that does not end; the parent kills us. */
async function hang(): Promise<void> {
  for (let chat = 0; chat < order.chats; chat++)
    for (let n = 0; n < 3; n++) await engine.enqueue(chat, n, PAYLOAD)
  let running = 0
  await engine.drain(async () => {
    if (++running === order.chats) process.send?.('in flight')
    await new Promise(() => undefined)
  })
  await new Promise(() => setInterval(() => undefined, 1000))
}

/** Until the message that the kill interrupted runs again, in all chats. */
async function resume(): Promise<void> {
  const again = new Set<number>()
  const { promise, resolve } = Promise.withResolvers<void>()
  await engine.drain((chat, n) => {
    if (n === 0) again.add(chat)
    if (again.size === order.chats) resolve()
    return Promise.resolve()
  })
  await promise
  tell({ resumed: again.size })
}

function tell(answer: Figures | { readonly resumed: number }): void {
  process.send?.(answer)
}

function mark(): { readonly at: number; readonly cpu: number } {
  const { user, system } = process.cpuUsage()
  return { at: performance.now(), cpu: user + system }
}

function since({ at, cpu }: ReturnType<typeof mark>): {
  readonly seconds: number
  readonly cpuMicros: number
} {
  const { user, system } = process.cpuUsage()
  return { seconds: (performance.now() - at) / 1000, cpuMicros: user + system - cpu }
}
