import assert from 'node:assert/strict'
import type { Clock, Timer } from '../src/clock.ts'
import { EclusaError } from '../src/errors.ts'

export { seededRandom } from '../src/random.ts'

/** A clock that moves only when told to. Timers fire in order of their due time, microtasks run between them. */
export class ManualClock implements Clock {
  #now: number
  #order = 0
  // bounded by: the test that uses it
  readonly #timers = new Set<{ readonly dueAt: number; readonly order: number; readonly run: () => void }>()

  constructor(startAt: number = Date.UTC(2026, 0, 5, 12)) {
    this.#now = startAt
  }

  now(): number {
    return this.#now
  }

  setTimer(delayMs: number, run: () => void): Timer {
    // Whole milliseconds, as the machine's clock has them.
    const timer = { dueAt: this.#now + Math.ceil(Math.max(0, delayMs)), order: this.#order++, run }
    this.#timers.add(timer)
    return { cancel: () => this.#timers.delete(timer) }
  }

  get pendingTimers(): number {
    return this.#timers.size
  }

  /** Moves on by `ms`, firing what falls due on the way, including timers set by those. */
  async tick(ms: number): Promise<void> {
    const until = this.#now + ms
    for (;;) {
      await settle()
      const next = [...this.#timers]
        .filter((timer) => timer.dueAt <= until)
        .toSorted((a, b) => a.dueAt - b.dueAt || a.order - b.order)[0]
      if (next === undefined) break
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.dueAt)
      next.run()
    }
    this.#now = until
    await settle()
  }
}

/** Lets promises and I/O that is already done come through: a few turns of the event loop, no waiting on time. */
export async function settle(turns = 3): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Resolves when `condition` holds, looking again each turn of the event loop; fails with `what` after `withinMs` of real time. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 20_000,
): Promise<void> {
  const giveUpAt = performance.now() + withinMs
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`not within ${withinMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** The code of the EclusaError that `work` ends with, or 'no error'; fails on an error of another kind. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
  } catch (error) {
    assert(error instanceof EclusaError)
    return error.code
  }
  return 'no error'
}
