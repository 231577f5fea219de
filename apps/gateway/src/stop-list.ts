import { type Clock, type Logger, silentLogger, systemClock, withDeadline } from '@eclusa/kernel'

interface Entry {
  readonly what: string
  readonly withinMs: number
  readonly stop: () => Promise<void>
}

/** What was started, to be stopped in reverse. Nothing that hangs or fails keeps the rest from being stopped. */
export class StopList {
  // bounded by: the parts of app.ts
  readonly #entries: Entry[] = []
  #log: Logger = silentLogger
  #clock: Clock = systemClock
  #running: Promise<void> | null = null

  /** Where to tell of parts that did not stop, once there is a log. */
  use(log: Logger, clock: Clock): void {
    this.#log = log
    this.#clock = clock
  }

  /** @param withinMs after this the next part's turn comes, whether or not this one is done */
  add(what: string, withinMs: number, stop: () => Promise<void>): void {
    this.#entries.push({ what, withinMs, stop })
  }

  /** Idempotent. */
  run(): Promise<void> {
    this.#running ??= this.#run()
    return this.#running
  }

  async #run(): Promise<void> {
    for (const { what, withinMs, stop } of this.#entries.toReversed()) {
      try {
        await withDeadline(this.#clock, withinMs, `stopping ${what}`, stop())
      } catch (error) {
        this.#log.warn({ part: what, err: error }, 'a part did not stop as it should')
      }
    }
  }
}
