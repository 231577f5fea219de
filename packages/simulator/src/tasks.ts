import type { Clock, Timer } from '@eclusa/kernel'

/** So many steps, then one turn of the event loop, so that sockets are read and acks leave during a burst. */
const STEPS_PER_TURN = 16
/** A phone's answers are refused past this; a burst of 50 chats × 20 messages needs 1,000. */
const MAX_STEPS = 200_000

/**
 * The work of phones and contacts: done in order, never inside a connection's stanza loop. Also the owner of every
 * timer of the simulator.
 */
export class Tasks {
  readonly #clock: Clock
  readonly #onError: (error: unknown) => void
  // bounded by: MAX_STEPS
  #steps: (() => void | Promise<void>)[] = []
  // bounded by: what phones and faults have under way; every timer leaves when it fires
  readonly #timers = new Set<Timer>()
  #running = false
  #stopped = false
  #asyncSteps = 0

  constructor(clock: Clock, onError: (error: unknown) => void) {
    this.#clock = clock
    this.#onError = onError
  }

  /** No step waits or runs. Timers are not counted: a contact may answer much later. */
  get idle(): boolean {
    return this.#steps.length === 0 && !this.#running && this.#asyncSteps === 0
  }

  get waiting(): number {
    return this.#steps.length
  }

  add(step: () => void | Promise<void>): void {
    if (this.#stopped) return
    if (this.#steps.length >= MAX_STEPS) {
      this.#onError(new RangeError(`more than ${MAX_STEPS} steps wait; this one is left out`))
      return
    }
    this.#steps.push(step)
    if (!this.#running) {
      this.#running = true
      setImmediate(() => this.#turn())
    }
  }

  /** Does `run` after `delayMs` of the simulator's clock, at once (next turn) for 0. */
  later(delayMs: number, run: () => void | Promise<void>): void {
    if (this.#stopped) return
    if (delayMs <= 0) {
      this.add(run)
      return
    }
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#timers.delete(timer)
      this.add(run)
    })
    this.#timers.add(timer)
  }

  stop(): void {
    this.#stopped = true
    this.#steps = []
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
  }

  #turn(): void {
    const steps = this.#steps.splice(0, STEPS_PER_TURN)
    for (const step of steps) this.#run(step)
    if (this.#steps.length > 0 && !this.#stopped) setImmediate(() => this.#turn())
    else this.#running = false
  }

  #run(step: () => void | Promise<void>): void {
    try {
      const result = step()
      if (result === undefined) return
      this.#asyncSteps += 1
      result.catch(this.#onError).finally(() => (this.#asyncSteps -= 1))
    } catch (error) {
      this.#onError(error)
    }
  }
}
