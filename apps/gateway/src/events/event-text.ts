import type { LoggedEvent } from '@eclusa/storage'

/** What goes on just now: told to who listens, and not kept. */
export type LiveEvent = Omit<LoggedEvent, 'seq'>

/** An event as the API tells it. */
export interface ToldEvent {
  /** Its place in the log: the cursor. Null when it is not kept. */
  readonly id: number | null
  readonly type: string
  readonly at: string
  readonly tenant: string
  /** Null when it is about none. */
  readonly instance: string | null
  readonly payload: Record<string, unknown>
}

export function toldEvent(event: LoggedEvent | LiveEvent): ToldEvent {
  const { at, tenant, instance, type, payload } = event
  const id = 'seq' in event ? event.seq : null
  return { id, type, at: new Date(at).toISOString(), tenant, instance, payload: { ...payload } }
}

/** How a stream words what it tells. */
export interface StreamFormat {
  readonly welcome: string | null
  event(event: LoggedEvent | LiveEvent): string
  /** That the client's view may have holes: read the state again, then go on from `id`. */
  resync(id: number, why: string): string
}

/** Server-sent events. The JSON has no line end in it, so one `data:` line is enough. */
export const serverSent: StreamFormat = {
  welcome: 'retry: 2000\n: welcome\n\n',
  event(event) {
    // Without an id the client's cursor stays where it was.
    const id = 'seq' in event ? `id: ${event.seq}\n` : ''
    return `${id}event: ${event.type}\ndata: ${JSON.stringify(toldEvent(event))}\n\n`
  },
  resync: (id, why) => `event: resync\ndata: ${JSON.stringify({ id, why })}\n\n`,
}

/** One JSON text a WebSocket message. */
export const jsonMessages: StreamFormat = {
  welcome: null,
  event: (event) => JSON.stringify(toldEvent(event)),
  resync: (id, why) => JSON.stringify({ type: 'resync', id, why }),
}
