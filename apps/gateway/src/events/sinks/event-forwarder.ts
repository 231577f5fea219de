import {
  type Clock,
  KIB,
  type Lifecycle,
  type Logger,
  MINUTE,
  randomBase32,
  SECOND,
  type Timer,
} from '@eclusa/kernel'
import type { Database, EventLog, LoggedEvent } from '@eclusa/storage'
import { type EventSink, sinkMessage } from './event-sink.ts'
import type { EventSinkStore, SinkPlace } from './event-sink-store.ts'

/** Events and bytes read at once: all that is held in memory. */
const BATCH = 200
export const SINK_BATCH_BYTES: number = 256 * KIB
/** How long a process that hands on has it for itself; longer than a batch may take. */
const HOLD_MS: number = 2 * MINUTE
/** Without a commit of ours, it looks this often: another process may have written. */
const LOOK_EVERY_MS = 5 * SECOND
const MIN_PAUSE_MS = SECOND
const MAX_PAUSE_MS: number = MINUTE

export interface EventForwarderOptions {
  readonly sink: EventSink
  /** The same after a restart of this node, so that it takes its own back at once; no other node's. */
  readonly holder: string
  readonly store: EventSinkStore
  readonly eventLog: EventLog
  readonly database: Database
  readonly clock: Clock
  readonly log: Logger
}

export interface ForwarderState {
  readonly name: EventSink['name']
  /** Id of the last event that the broker confirmed; null before the first start. */
  readonly cursor: number | null
  /** Events of the log that come after it, or were swept before the broker had them. */
  readonly behind: number
  /** Since when it fails without a success; null while it does not. */
  readonly failingSince: number | null
}

/**
 * Hands the event log to a broker: from the moment it is first set up on, each event at least once under one id, those
 * of an instance in their order. What was not confirmed is published again, after a crash too.
 */
export class EventForwarder implements Lifecycle {
  readonly #options: EventForwarderOptions
  #loop: Promise<void> | null = null
  #stopped = false
  #failingSince: number | null = null
  #wake: (() => void) | null = null
  #wokenMeanwhile = false
  #stopWaking: (() => void) | null = null

  constructor(options: EventForwarderOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { sink, store, eventLog, database } = this.#options
    await store.begin(sink.name, { origin: randomBase32(12), seq: await eventLog.lastSeq() })
    this.#stopWaking = database.onCommit(() => this.#woken())
    this.#loop ??= this.#run()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#stopWaking?.()
    this.#woken()
    await this.#options.sink.stop()
    await this.#loop
  }

  async state(): Promise<ForwarderState> {
    const { sink, store, eventLog } = this.#options
    const [place, last] = await Promise.all([store.place(sink.name), eventLog.lastSeq()])
    const cursor = place?.seq ?? null
    return {
      name: sink.name,
      cursor,
      behind: cursor === null ? 0 : Math.max(0, last - cursor),
      failingSince: this.#failingSince,
    }
  }

  async #run(): Promise<void> {
    const { sink, store, clock, log } = this.#options
    for (let pauseMs = MIN_PAUSE_MS; !this.#stopped;) {
      try {
        const isEnd = await this.#pass()
        if (this.#failingSince !== null) log.info({ sink: sink.name }, 'events reach the broker again')
        this.#failingSince = null
        pauseMs = MIN_PAUSE_MS
        if (isEnd) await this.#wait(LOOK_EVERY_MS, { mayWake: true })
      } catch (error) {
        if (this.#stopped) break
        if (this.#failingSince === null) {
          log.warn(
            { sink: sink.name, err: error },
            'events do not reach the broker: they wait in the log, and are lost to it after ECLUSA_EVENTS_KEEP_FOR_MS',
          )
        }
        this.#failingSince ??= clock.now()
        await this.#wait(pauseMs, { mayWake: false })
        pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)
      }
    }
    await store.release(sink.name, this.#options.holder).catch(() => {})
  }

  /** One batch; whether it was the last there is. */
  async #pass(): Promise<boolean> {
    const { sink, store, eventLog, log } = this.#options
    const place = await store.place(sink.name)
    if (place === null) return true
    const { events, isEnd } = await eventLog.readBatch({
      after: place.seq,
      maxEvents: BATCH,
      maxBytes: SINK_BATCH_BYTES,
    })
    const last = events.at(-1)
    // Nothing is written while there is nothing to hand on: a write would wake us again.
    if (last === undefined) return true
    if (!(await store.hold(sink.name, this.#options.holder, HOLD_MS))) return true
    // Somebody else was faster.
    if ((await store.place(sink.name))?.seq !== place.seq) return false
    if (await eventLog.wasSwept(place.seq)) {
      log.error({ sink: sink.name, after: place.seq }, 'events were swept before the broker had them')
    }
    await this.#publish(events, place)
    await store.moveTo(sink.name, last.seq)
    return isEnd
  }

  /** Those of an instance one after the other, instances side by side. */
  async #publish(events: readonly LoggedEvent[], { origin }: SinkPlace): Promise<void> {
    const lines = Map.groupBy(events, ({ instance }) => instance)
    const ends = await Promise.allSettled(
      [...lines.values()].map(async (line) => {
        for (const event of line) await this.#options.sink.publish(sinkMessage(origin, event))
      }),
    )
    const failure = ends.find((end) => end.status === 'rejected')
    if (failure !== undefined) throw failure.reason
  }

  #woken(): void {
    if (this.#wake === null) this.#wokenMeanwhile = true
    else this.#wake()
  }

  async #wait(forMs: number, { mayWake }: { readonly mayWake: boolean }): Promise<void> {
    const wasWoken = mayWake && this.#wokenMeanwhile
    this.#wokenMeanwhile = false
    if (wasWoken || this.#stopped) return
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#wake = null
        timer.cancel()
        resolve()
      }
      const timer: Timer = this.#options.clock.setTimer(forMs, done)
      this.#wake = (): void => {
        if (mayWake || this.#stopped) done()
      }
    })
  }
}
