import { type Clock, type Logger, SECOND, sleep } from '@eclusa/kernel'
import type { Statement } from '@eclusa/storage'
import { isOurEnd, type Write } from './write.ts'

/** Whose state is saved with the tries that led to it. */
export interface Recorded {
  /** The statement that saves how it stands now. */
  save(): Statement
}

/** Tries not yet on disk, past which nothing more is tried. */
export const MAX_UNSAVED = 1000
/** Statements of one unit. */
const MAX_UNIT = 500
const RETRY_MS = SECOND

/**
 * Writes down what was delivered: a unit at a time, with all that came meanwhile in the next. What a crash takes away
 * is delivered again.
 */
export class Recorder {
  readonly #write: Write
  readonly #clock: Clock
  readonly #log: Logger
  readonly #onRoom: () => void
  // bounded by: MAX_UNSAVED, and a call of each endpoint more
  #tries: Statement[] = []
  // bounded by: endpoints
  readonly #changed = new Set<Recorded>()
  #isRunning = false
  #flush: Promise<void> = Promise.resolve()
  readonly #end = new AbortController()

  constructor(options: {
    readonly write: Write
    readonly clock: Clock
    readonly log: Logger
    /** Is told when there is room again. */
    readonly onRoom: () => void
  }) {
    this.#write = options.write
    this.#clock = options.clock
    this.#log = options.log
    this.#onRoom = options.onRoom
  }

  get isFull(): boolean {
    return this.#tries.length >= MAX_UNSAVED
  }

  add(whose: Recorded, ...tries: readonly Statement[]): void {
    this.#tries.push(...tries)
    this.#changed.add(whose)
    if (this.#isRunning || this.#end.signal.aborted) return
    this.#isRunning = true
    this.#flush = this.#run()
  }

  /** Resolves when all that was added is on disk, or cannot be brought there any more. */
  settled(): Promise<void> {
    return this.#flush
  }

  stop(): void {
    this.#end.abort()
  }

  async #run(): Promise<void> {
    // What ends in the same turn goes together.
    await Promise.resolve()
    while (this.#changed.size > 0 && !this.#end.signal.aborted) {
      const wasFull = this.isFull
      const tries = this.#tries.splice(0, MAX_UNIT)
      // Where an endpoint stands may only be saved when all its tries are.
      const changed = this.#tries.length === 0 ? [...this.#changed] : []
      for (const one of changed) this.#changed.delete(one)
      try {
        await this.#write([...tries, ...changed.map((one) => one.save())])
      } catch (error) {
        if (isOurEnd(error)) break
        this.#tries.unshift(...tries)
        for (const one of changed) this.#changed.add(one)
        this.#log.error({ err: error }, 'what webhooks delivered could not be stored; trying again')
        await sleep(this.#clock, RETRY_MS, this.#end.signal).catch(() => undefined)
      }
      if (wasFull && !this.isFull) this.#onRoom()
    }
    this.#isRunning = false
  }
}
