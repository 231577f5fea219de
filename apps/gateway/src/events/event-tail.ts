import { KIB, type Logger } from '@eclusa/kernel'
import type { Database, EventLog, LoggedEvent } from '@eclusa/storage'

/** Called in order of `seq`; must not throw and must not wait. */
export type EventListener = (event: LoggedEvent) => void

/** Events and bytes of one read, handed out at once; between two reads the sockets get their turn. */
const BATCH = 100
const BATCH_BYTES = 256 * KIB

/**
 * The end of the event log as it grows: one reader for all who listen, woken by commits. Who is behind reads the log
 * by itself first and joins when it has caught up. Nothing is read while nobody listens.
 */
export class EventTail {
  readonly #eventLog: EventLog
  readonly #log: Logger
  // bounded by: who joins (event streams: maxStreams; the demo: 1)
  readonly #listeners = new Set<{ readonly listener: EventListener; readonly after: number }>()
  // Up to where the listeners were served.
  #seq = 0
  #reading = false
  #wokenWhileReading = false
  #stopped = false
  readonly #stopWaking: () => void

  constructor(options: { readonly eventLog: EventLog; readonly database: Database; readonly log: Logger }) {
    this.#eventLog = options.eventLog
    this.#log = options.log
    this.#stopWaking = options.database.onCommit(() => this.#wake())
  }

  /**
   * Calls `listener` for each event after `cursor` from now on, and returns its remover; null when the tail is past
   * `cursor` already: then read the log up to its end first, and join with that cursor.
   */
  join(cursor: number, listener: EventListener): (() => void) | null {
    if (this.#listeners.size === 0 && !this.#reading) this.#seq = cursor
    if (cursor < this.#seq) return null
    const entry = { listener, after: cursor }
    this.#listeners.add(entry)
    // What was committed since the caller looked.
    this.#wake()
    return () => this.#listeners.delete(entry)
  }

  /** Calls `listener` for each event that is logged from now on; returns its remover. */
  async follow(listener: EventListener): Promise<() => void> {
    for (;;) {
      const leave = this.join(await this.#eventLog.lastSeq(), listener)
      if (leave !== null) return leave
    }
  }

  stop(): void {
    this.#stopped = true
    this.#stopWaking()
    this.#listeners.clear()
  }

  /** One reading at a time; a wake meanwhile makes it look again. */
  #wake(): void {
    if (this.#reading) {
      this.#wokenWhileReading = true
      return
    }
    if (this.#listeners.size === 0) return
    this.#reading = true
    void this.#read()
  }

  async #read(): Promise<void> {
    try {
      do {
        this.#wokenWhileReading = false
        const { events, isEnd } = await this.#eventLog.readBatch({
          after: this.#seq,
          maxEvents: BATCH,
          maxBytes: BATCH_BYTES,
        })
        for (const event of events) {
          this.#seq = event.seq
          for (const { listener, after } of this.#listeners) if (event.seq > after) listener(event)
        }
        if (!isEnd) this.#wokenWhileReading = true
      } while (this.#wokenWhileReading && this.#listeners.size > 0)
    } catch (error) {
      // The next commit wakes it again, and the log keeps what was not read.
      if (!this.#stopped)
        this.#log.warn({ err: error }, 'reading events failed; trying again at the next commit')
    } finally {
      this.#reading = false
    }
  }
}
