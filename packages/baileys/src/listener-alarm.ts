import type { EventEmitter } from 'node:events'
import type { UserFacingSocketConfig, WASocket } from 'baileys'

/** Listeners of one event that nobody needs; whoever has more forgets to take them off. */
const MAX_LISTENERS = 50
/** `close` and `error` have one for each query in flight. */
const MAX_QUERY_LISTENERS = 1_000
const OF_QUERIES: ReadonlySet<string | symbol> = new Set(['close', 'error'])

export interface ListenerStats {
  /** All listeners of the connection and of the events. */
  readonly connection: number
  readonly events: number
  /** Events whose listeners are more than a correct program has. */
  readonly alarms: number
}

/** Counts listeners, which upstream allows without a limit, and warns once for an event that has too many. */
export function watchListeners(
  socket: WASocket,
  log: NonNullable<UserFacingSocketConfig['logger']>,
): () => ListenerStats {
  const connection = socket.ws as unknown as EventEmitter
  const events = innerEmitter(socket.ev)
  // bounded by: MAX_LISTENERS names; a program that invents events is wrong already
  const alarmed = new Set<string>()
  const watch = (emitter: EventEmitter, what: string): void => {
    emitter.on('newListener', (event: string | symbol) => {
      const max = OF_QUERIES.has(event) ? MAX_QUERY_LISTENERS : MAX_LISTENERS
      const listeners = emitter.listenerCount(event) + 1
      const name = `${what} ${String(event)}`
      if (listeners <= max || alarmed.has(name) || alarmed.size >= MAX_LISTENERS) return
      alarmed.add(name)
      log.warn(
        { event: String(event), listeners, max },
        `too many listeners of ${what}: take them off when done`,
      )
    })
  }
  watch(connection, 'the connection')
  watch(events, 'events')
  // Node's own warning comes at 10, which a program with several parts has.
  events.setMaxListeners(0)
  return () => ({ connection: total(connection), events: total(events), alarms: alarmed.size })
}

/** What the event buffer keeps to itself; `on` gives it away. @throws Error when it does not */
function innerEmitter(ev: WASocket['ev']): EventEmitter {
  const nothing = (): void => {}
  const inner: unknown = ev.on('connection.update', nothing)
  ev.off('connection.update', nothing)
  if (typeof inner !== 'object' || inner === null || !('listenerCount' in inner))
    throw new Error(
      "Baileys' events cannot be counted any more; this release is made for another version of it",
    )
  return inner as EventEmitter
}

function total(emitter: EventEmitter): number {
  return emitter.eventNames().reduce((sum, event) => sum + emitter.listenerCount(event), 0)
}
