import {
  type Clock,
  EclusaError,
  KIB,
  type Logger,
  MIB,
  type Places,
  SECOND,
  type Timer,
} from '@eclusa/kernel'
import type { EventLog, LoggedEvent } from '@eclusa/storage'
import { gatewayErrors } from '../errors.ts'
import { type EventFilter, matches } from './event-filter.ts'
import type { EventTail } from './event-tail.ts'
import { type LiveEvent, serverSent, type StreamFormat } from './event-text.ts'

/** One read of the log for a client that comes again by itself. */
export interface EventPage {
  readonly events: readonly LoggedEvent[]
  /** Read on after this one: also past events that the filter left out. */
  readonly next: number
  /** Events between the cursor given and these are no longer kept. */
  readonly missed: boolean
}

/** One client's connection, as far as we need it. */
export interface StreamSink {
  /** Calls `onFlushed` once the text left this process, or never will. */
  write(text: string, onFlushed: () => void): void
  /** Bytes written and not yet taken by the system. */
  unsentBytes(): number
  /** A sign of life, which is no text of ours. */
  heartbeat(): void
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
  readonly format: StreamFormat
  readonly filter: EventFilter
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
 * The event log for those who read it live: as a stream (server-sent events, WebSocket) or by pages that wait for what
 * comes (long poll).
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
  // What ends the wait of a page. bounded by: maxStreams
  readonly #waiting = new Set<() => void>()
  #heartbeat: Timer | null = null
  #stopped = false

  constructor(options: EventStreamsOptions) {
    this.#options = options
    this.#maxUnsentEvents = options.maxUnsentEvents ?? 256
    this.#maxUnsentBytes = options.maxUnsentBytes ?? MIB
  }

  get count(): number {
    return this.#streams.size + this.#waiting.size
  }

  /** What clients have not taken: of all together, and of the one that is furthest behind. */
  stats(): { readonly open: number; readonly unsentBytes: number; readonly mostUnsentBytes: number } {
    let unsentBytes = 0
    let mostUnsentBytes = 0
    for (const { sink } of this.#streams) {
      const bytes = sink.unsentBytes()
      unsentBytes += bytes
      mostUnsentBytes = Math.max(mostUnsentBytes, bytes)
    }
    return { open: this.count, unsentBytes, mostUnsentBytes }
  }

  /**
   * Serves `sink` from the event after `after` (null: from now on) until it closes. Returns what to call when the
   * client has gone.
   * @throws GATEWAY_TOO_MANY_STREAMS, GATEWAY_STOPPING
   */
  open(
    sink: StreamSink,
    options: {
      readonly after: number | null
      readonly filter?: EventFilter
      /** Default: server-sent events. */
      readonly format?: StreamFormat
    },
  ): () => void {
    this.#assertRoom()
    const { filter = {}, format = serverSent } = options
    const stream: Stream = {
      sink,
      filter,
      format,
      cursor: options.after ?? 0,
      unsentEvents: 0,
      takenCount: 0,
      closed: false,
      onDrained: null,
      leaveTail: null,
    }
    this.#streams.add(stream)
    this.#heartbeat ??= this.#scheduleHeartbeat()
    if (format.welcome !== null) sink.write(format.welcome, () => {})
    this.#follow(stream, this.#begin(stream, options.after))
    return () => this.#forget(stream)
  }

  /** Tells the streams that are live what goes on just now; who has much unsent misses it. */
  tell(event: LiveEvent): void {
    for (const stream of this.#streams) {
      if (stream.leaveTail === null || !matches(stream.filter, event) || this.#isOver(stream)) continue
      this.#write(stream, stream.format.event(event))
    }
  }

  /**
   * What came after `after` (null: from now on), oldest first, up to 256 KiB of it; when there is nothing yet, waits
   * for the first of it, at most `waitMs` or until `signal`.
   * @throws GATEWAY_TOO_MANY_STREAMS, GATEWAY_STOPPING
   */
  async page(options: {
    readonly after: number | null
    /** Up to 1,000. */
    readonly limit: number
    readonly waitMs: number
    readonly filter: EventFilter
    readonly signal: AbortSignal
  }): Promise<EventPage> {
    this.#assertRoom()
    const { filter, limit, waitMs, signal } = options
    const { cursor, missed } = await this.#beginning(options.after, filter)
    const end = this.#options.clock.now() + waitMs
    let next = cursor
    for (;;) {
      const newestNow = await this.#options.eventLog.lastSeq()
      const batch = await this.#readBatch(next, { filter, maxEvents: limit, maxBytes: BATCH_BYTES })
      const events = batch.events.filter((event) => matches(filter, event))
      next = Math.max(batch.events.at(-1)?.seq ?? next, batch.isEnd ? newestNow : next)
      const leftMs = end - this.#options.clock.now()
      if (events.length > 0 || missed || signal.aborted || leftMs <= 0) {
        return { events, next, missed }
      }
      if (batch.isEnd) await this.#wait(next, filter, leftMs, signal)
    }
  }

  /** Until an event comes after `cursor`, `forMs` are over, or nobody waits any more. */
  async #wait(cursor: number, filter: EventFilter, forMs: number, signal: AbortSignal): Promise<void> {
    this.#assertRoom()
    const { clock, tail } = this.#options
    await new Promise<void>((resolve) => {
      const done = (): void => {
        leave?.()
        timer.cancel()
        signal.removeEventListener('abort', done)
        this.#waiting.delete(done)
        resolve()
      }
      const timer = clock.setTimer(forMs, done)
      this.#waiting.add(done)
      signal.addEventListener('abort', done)
      // null: the tail is past it already, so there is something to read.
      const leave = tail.join(cursor, (event) => {
        if (matches(filter, event)) done()
      })
      if (leave === null) done()
    })
    if (this.#stopped) throw new EclusaError(gatewayErrors.STOPPING)
  }

  #assertRoom(): void {
    if (this.#stopped) throw new EclusaError(gatewayErrors.STOPPING)
    if (this.count >= this.#options.maxStreams) throw new EclusaError(gatewayErrors.TOO_MANY_STREAMS)
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
    for (const done of this.#waiting) done()
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
    const { cursor, missed } = await this.#beginning(after, stream.filter)
    stream.cursor = cursor
    if (missed) this.#write(stream, stream.format.resync(cursor, 'some events are no longer kept'))
  }

  /** Where to read from, and whether what the client asks for is still there. */
  async #beginning(
    after: number | null,
    { tenant }: EventFilter,
  ): Promise<{ readonly cursor: number; readonly missed: boolean }> {
    const { eventLog } = this.#options
    const newest = await eventLog.lastSeq()
    if (after === null) return { cursor: newest, missed: false }
    if (after > newest) return { cursor: newest, missed: true }
    return { cursor: after, missed: await eventLog.wasSwept(after, tenant) }
  }

  async #replay(stream: Stream): Promise<void> {
    const { eventLog } = this.#options
    while (!stream.closed) {
      const newestNow = await eventLog.lastSeq()
      const { events, isEnd } = await this.#readBatch(stream.cursor, {
        filter: stream.filter,
        maxEvents: BATCH,
        maxBytes: Math.min(BATCH_BYTES, this.#mostUnsentBytes() / 4),
      })
      for (const event of events) this.#deliver(stream, event)
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

  async #readBatch(
    after: number,
    options: { readonly filter: EventFilter; readonly maxEvents: number; readonly maxBytes: number },
  ): Promise<{ readonly events: readonly LoggedEvent[]; readonly isEnd: boolean }> {
    const { filter, ...most } = options
    const leave = await this.#options.reads?.enter()
    try {
      return await this.#options.eventLog.readBatch({
        after,
        ...most,
        ...(filter.tenant === undefined ? {} : { tenant: filter.tenant }),
      })
    } finally {
      leave?.()
    }
  }

  #deliverLive(stream: Stream, event: LoggedEvent): void {
    this.#deliver(stream, event)
    // It goes on by itself, at its own pace, so that it holds neither memory nor the others.
    if (this.#isOver(stream) && stream.leaveTail !== null) {
      stream.leaveTail()
      stream.leaveTail = null
      this.#follow(stream, this.#drained(stream))
    }
  }

  #isOver({ unsentEvents, sink }: Stream): boolean {
    return unsentEvents > this.#maxUnsentEvents || sink.unsentBytes() > this.#mostUnsentBytes()
  }

  #mostUnsentBytes(): number {
    const share = (this.#options.maxUnsentBytesOfAll ?? 64 * MIB) / Math.max(1, this.#streams.size)
    return Math.min(this.#maxUnsentBytes, Math.max(LEAST_UNSENT_BYTES, share))
  }

  #deliver(stream: Stream, event: LoggedEvent): void {
    if (stream.closed) return
    stream.cursor = event.seq
    if (matches(stream.filter, event)) this.#write(stream, stream.format.event(event))
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
    stream.sink.write(stream.format.resync(stream.cursor, why), () => timer.cancel())
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
        if (stream.unsentEvents === 0) stream.sink.heartbeat()
      }
      if (this.#streams.size > 0 && !this.#stopped) this.#heartbeat = this.#scheduleHeartbeat()
    })
  }
}
