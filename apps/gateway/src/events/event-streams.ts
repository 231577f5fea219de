import { type Clock, EclusaError, type Logger, MIB, SECOND, type TenantId, type Timer } from '@eclusa/kernel'
import type { EventLog, LoggedEvent } from '@eclusa/storage'
import { gatewayErrors } from '../errors.ts'
import type { EventTail } from './event-tail.ts'

/** One client's connection, as far as we need it. */
export interface StreamSink {
  /** Calls `onFlushed` once the text left this process, or never will. */
  write(text: string, onFlushed: () => void): void
  /** Bytes written and not yet taken by the system. */
  unsentBytes(): number
  /** Closes after what was written. */
  end(): void
  /** Closes at once. */
  destroy(): void
}

export interface EventStreamsOptions {
  readonly eventLog: EventLog
  readonly tail: EventTail
  readonly clock: Clock
  readonly log: Logger
  /** Streams at once; one more gets GATEWAY_TOO_MANY_STREAMS. */
  readonly maxStreams: number
  /** Events a client may leave unsent before it is dropped. Default 256. */
  readonly maxUnsentEvents?: number
  /** Bytes a client may leave unsent before it is dropped. Default 1 MiB. */
  readonly maxUnsentBytes?: number
}

/** Proxies close what is silent for 30 to 60 s. */
const HEARTBEAT_MS = 15 * SECOND
/** Events of one read: what a replaying client holds in memory at most. */
const BATCH = 100
/** A replaying client that takes nothing for this long is dropped. */
const STALLED_AFTER_MS = 30 * SECOND
/** A dropped client that does not even take its last words is cut off after this long. */
const LAST_WORDS_MS = 5 * SECOND

interface Stream {
  readonly sink: StreamSink
  readonly tenant: TenantId | undefined
  /** Seq of the last event written. */
  cursor: number
  unsentEvents: number
  closed: boolean
  /** Wakes the replay that waits for the client to take what it was given. */
  onDrained: (() => void) | null
  /** Set while it is live. */
  leaveTail: (() => void) | null
}

/**
 * The event log as server-sent events. A client first replays by itself, a batch at a time as fast as it reads; once
 * it has caught up it is live and served by the tail together with all others. A live client that leaves too much unsent gets a `resync` event and is dropped; it may come back with its `Last-Event-ID`, for
 * nothing is lost from the log.
 */
export class EventStreams {
  readonly #options: EventStreamsOptions
  readonly #maxUnsentEvents: number
  readonly #maxUnsentBytes: number
  // bounded by: maxStreams
  readonly #streams = new Set<Stream>()
  #heartbeat: Timer | null = null
  #stopped = false

  constructor(options: EventStreamsOptions) {
    this.#options = options
    this.#maxUnsentEvents = options.maxUnsentEvents ?? 256
    this.#maxUnsentBytes = options.maxUnsentBytes ?? MIB
  }

  get count(): number {
    return this.#streams.size
  }

  /**
   * Serves `sink` from the event after `after` (null: from now on) until it closes; `tenant` sees its own events
   * only. Returns what to call when the client has gone.
   * @throws GATEWAY_TOO_MANY_STREAMS, GATEWAY_STOPPING
   */
  open(sink: StreamSink, options: { readonly after: number | null; readonly tenant?: TenantId }): () => void {
    if (this.#stopped) throw new EclusaError(gatewayErrors.STOPPING)
    if (this.#streams.size >= this.#options.maxStreams) throw new EclusaError(gatewayErrors.TOO_MANY_STREAMS)
    const stream: Stream = {
      sink,
      tenant: options.tenant,
      cursor: options.after ?? 0,
      unsentEvents: 0,
      closed: false,
      onDrained: null,
      leaveTail: null,
    }
    this.#streams.add(stream)
    this.#heartbeat ??= this.#scheduleHeartbeat()
    sink.write('retry: 2000\n: welcome\n\n', () => {})
    this.#replay(stream, options.after).catch((error: unknown) => {
      this.#options.log.error({ err: error }, 'an event stream failed')
      this.#drop(stream, 'failed')
    })
    return () => this.#forget(stream)
  }

  /** Ends all streams and takes no more. */
  stop(): void {
    this.#stopped = true
    this.#heartbeat?.cancel()
    this.#heartbeat = null
    for (const stream of this.#streams) {
      this.#forget(stream)
      stream.sink.end()
    }
  }

  async #replay(stream: Stream, after: number | null): Promise<void> {
    const { eventLog } = this.#options
    const newest = await eventLog.lastSeq()
    if (after === null || after > newest) stream.cursor = newest
    if (after !== null && (after > newest || (await this.#isSwept(after, newest)))) {
      this.#write(stream, resync(stream.cursor, 'some events are no longer kept'))
    }
    while (!stream.closed) {
      const newestNow = await eventLog.lastSeq()
      const batch = await eventLog.read({
        after: stream.cursor,
        limit: BATCH,
        ...(stream.tenant === undefined ? {} : { tenant: stream.tenant }),
      })
      for (const event of batch) this.#deliver(stream, event)
      if (batch.length === BATCH) {
        await this.#drained(stream)
        continue
      }
      if (stream.closed) return
      stream.cursor = Math.max(stream.cursor, newestNow)
      stream.leaveTail = this.#options.tail.join(stream.cursor, (event) => {
        if (stream.tenant === undefined || stream.tenant === event.tenant) this.#deliver(stream, event)
      })
      if (stream.leaveTail !== null) return
    }
  }

  /** Whether the event after `after` was already deleted: then the client has missed something for good. */
  async #isSwept(after: number, newest: number): Promise<boolean> {
    if (after >= newest) return false
    const [oldest] = await this.#options.eventLog.read({ after: 0, limit: 1 })
    return oldest === undefined || oldest.seq > after + 1
  }

  #deliver(stream: Stream, event: LoggedEvent): void {
    if (stream.closed) return
    stream.cursor = event.seq
    this.#write(stream, textOf(event))
    const isOver =
      stream.unsentEvents > this.#maxUnsentEvents || stream.sink.unsentBytes() > this.#maxUnsentBytes
    if (isOver) this.#drop(stream, 'the client reads too slowly')
  }

  #write(stream: Stream, text: string): void {
    stream.unsentEvents++
    stream.sink.write(text, () => {
      stream.unsentEvents--
      if (stream.unsentEvents === 0) stream.onDrained?.()
    })
  }

  /** Resolves when the client took all it was given, was closed, or was dropped for taking too long. */
  #drained(stream: Stream): Promise<void> {
    if (stream.unsentEvents === 0 || stream.closed) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#options.clock.setTimer(STALLED_AFTER_MS, () => {
        this.#drop(stream, 'the client reads too slowly')
      })
      stream.onDrained = () => {
        timer.cancel()
        stream.onDrained = null
        resolve()
      }
    })
  }

  #drop(stream: Stream, why: string): void {
    if (stream.closed) return
    this.#forget(stream)
    const timer = this.#options.clock.setTimer(LAST_WORDS_MS, () => stream.sink.destroy())
    stream.sink.write(resync(stream.cursor, why), () => timer.cancel())
    stream.sink.end()
    this.#options.log.warn(
      { why, cursor: stream.cursor },
      'an event stream was dropped; its client may reconnect',
    )
  }

  #forget(stream: Stream): void {
    stream.closed = true
    this.#streams.delete(stream)
    stream.leaveTail?.()
    stream.onDrained?.()
  }

  #scheduleHeartbeat(): Timer {
    return this.#options.clock.setTimer(HEARTBEAT_MS, () => {
      this.#heartbeat = null
      for (const stream of this.#streams) {
        // Who has not taken the last event needs no sign of life.
        if (stream.unsentEvents === 0) stream.sink.write(': heartbeat\n\n', () => {})
      }
      if (this.#streams.size > 0 && !this.#stopped) this.#heartbeat = this.#scheduleHeartbeat()
    })
  }
}

/** One event as text; the JSON has no line end in it, so one `data:` line is enough. */
function textOf(event: LoggedEvent): string {
  const { seq, at, tenant, instance, type, payload } = event
  const body = JSON.stringify({ id: seq, type, at: new Date(at).toISOString(), tenant, instance, payload })
  return `id: ${seq}\nevent: ${type}\ndata: ${body}\n\n`
}

/** Tells the client that its view may have holes: read the state again, then go on from `id`. */
function resync(cursor: number, why: string): string {
  return `event: resync\ndata: ${JSON.stringify({ id: cursor, why })}\n\n`
}
