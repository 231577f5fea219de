import {
  type Clock,
  EclusaError,
  KIB,
  type Logger,
  MIB,
  type Places,
  SECOND,
  type TenantId,
  type Timer,
} from '@eclusa/kernel'
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
  /** Events a live client may leave unsent; past it nothing more is written until it has taken them. Default 256. */
  readonly maxUnsentEvents?: number
  /** Bytes, likewise; passed by one event at most. Default 1 MiB. */
  readonly maxUnsentBytes?: number
  /** Bytes that all clients together may leave unsent: each has an equal part, at least 64 KiB. Default 64 MiB. */
  readonly maxUnsentBytesOfAll?: number
  /** Reads of replaying clients at once. Default: as many as there are. */
  readonly reads?: Places
}

/** Proxies close what is silent for 30 to 60 s. */
const HEARTBEAT_MS = 15 * SECOND
/** Events and bytes of one read: with what is unsent, all that a replaying client holds in memory. */
const BATCH = 100
const BATCH_BYTES = 256 * KIB
/** What each client may leave untaken however many there are. */
export const LEAST_UNSENT_BYTES: number = 64 * KIB
/** A client that takes nothing of what it was given for this long is dropped. */
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
  /** Grows with each text that the client took. */
  takenCount: number
  /** Wakes the replay that waits for the client to take what it was given. */
  onDrained: (() => void) | null
  /** Set while it is live. */
  leaveTail: (() => void) | null
}

/**
 * The event log as server-sent events.
 *
 * | a client is | served by                                                    | until                                |
 * |-------------|--------------------------------------------------------------|--------------------------------------|
 * | replaying   | reads of its own, each when it has taken what it was given   | caught up → live; stalled → dropped  |
 * | live        | the tail, together with all others                           | too much unsent → replaying          |
 * | dropped     | a `resync` event, then nothing                               | it comes back with `Last-Event-ID`   |
 *
 * Nothing is lost from the log, so nobody is dropped for a burst: only who takes nothing for 30 s.
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
      takenCount: 0,
      closed: false,
      onDrained: null,
      leaveTail: null,
    }
    this.#streams.add(stream)
    this.#heartbeat ??= this.#scheduleHeartbeat()
    sink.write('retry: 2000\n: welcome\n\n', () => {})
    this.#follow(stream, this.#begin(stream, options.after))
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

  /** Replays from its cursor, when what comes first is done, and goes live. */
  #follow(stream: Stream, first: Promise<void>): void {
    first
      .then(() => this.#replay(stream))
      .catch((error: unknown) => {
        this.#options.log.error({ err: error }, 'an event stream failed')
        this.#drop(stream, 'failed')
      })
  }

  /** Puts the cursor where the client wants to begin, and says so when that is not possible. */
  async #begin(stream: Stream, after: number | null): Promise<void> {
    const { eventLog } = this.#options
    const newest = await eventLog.lastSeq()
    if (after === null || after > newest) stream.cursor = newest
    if (after !== null && (after > newest || (await this.#isSwept(after, newest)))) {
      this.#write(stream, resync(stream.cursor, 'some events are no longer kept'))
    }
  }

  async #replay(stream: Stream): Promise<void> {
    const { eventLog } = this.#options
    while (!stream.closed) {
      const newestNow = await eventLog.lastSeq()
      const leave = await this.#options.reads?.enter()
      let isEnd: boolean
      try {
        const batch = await eventLog.readBatch({
          after: stream.cursor,
          maxEvents: BATCH,
          maxBytes: Math.min(BATCH_BYTES, this.#mostUnsentBytes() / 4),
          ...(stream.tenant === undefined ? {} : { tenant: stream.tenant }),
        })
        for (const event of batch.events) this.#deliver(stream, event)
        isEnd = batch.isEnd
      } finally {
        leave?.()
      }
      if (!isEnd) {
        await this.#drained(stream)
        continue
      }
      if (stream.closed) return
      stream.cursor = Math.max(stream.cursor, newestNow)
      stream.leaveTail = this.#options.tail.join(stream.cursor, (event) => this.#deliverLive(stream, event))
      if (stream.leaveTail !== null) return
    }
  }

  #deliverLive(stream: Stream, event: LoggedEvent): void {
    if (stream.tenant !== undefined && stream.tenant !== event.tenant) return
    this.#deliver(stream, event)
    const isOver =
      stream.unsentEvents > this.#maxUnsentEvents || stream.sink.unsentBytes() > this.#mostUnsentBytes()
    // It goes on by itself, at its own pace, so that it holds neither memory nor the others.
    if (isOver && stream.leaveTail !== null) {
      stream.leaveTail()
      stream.leaveTail = null
      this.#follow(stream, this.#drained(stream))
    }
  }

  #mostUnsentBytes(): number {
    const share = (this.#options.maxUnsentBytesOfAll ?? 64 * MIB) / Math.max(1, this.#streams.size)
    return Math.min(this.#maxUnsentBytes, Math.max(LEAST_UNSENT_BYTES, share))
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
  }

  #write(stream: Stream, text: string): void {
    stream.unsentEvents++
    stream.sink.write(text, () => {
      stream.unsentEvents--
      stream.takenCount++
      if (stream.unsentEvents === 0) stream.onDrained?.()
    })
  }

  /** Resolves when the client took all it was given, was closed, or was dropped for taking too long. */
  #drained(stream: Stream): Promise<void> {
    if (stream.unsentEvents === 0 || stream.closed) return Promise.resolve()
    return new Promise((resolve) => {
      const watch = (takenBefore: number): Timer =>
        this.#options.clock.setTimer(STALLED_AFTER_MS, () => {
          if (stream.takenCount > takenBefore) timer = watch(stream.takenCount)
          else this.#drop(stream, 'the client reads too slowly')
        })
      let timer = watch(stream.takenCount)
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
