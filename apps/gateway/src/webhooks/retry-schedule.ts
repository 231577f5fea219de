import { DOWN_AFTER_FAILURES, RETRY_AFTER_MS } from './webhook.ts'

/** When what failed is tried again. */
export class RetrySchedule {
  readonly #random: () => number
  readonly #divisor: number

  /** @param options.divisor every pause is divided by it: 1, but in tests of days */
  constructor(options: { readonly random: () => number; readonly divisor: number }) {
    this.#random = options.random
    this.#divisor = options.divisor
  }

  /** The pause after so many failed tries, up to a fifth longer so that what failed together does not come together; null: it is given up. */
  pauseAfter(failures: number): number | null {
    const pause = RETRY_AFTER_MS[failures - 1]
    return pause === undefined ? null : Math.ceil((pause / this.#divisor) * (1 + this.#random() / 5))
  }

  /** Who has failed so long, without anything between, and then answers, gets all that waits at once. */
  get longOutage(): number {
    return (RETRY_AFTER_MS[1] ?? 0) / this.#divisor
  }

  /** The pause until an endpoint that is down is tried with the next fresh event: 5 s, doubled with each that fails, up to 5 min. */
  probeAfter(failures: number): number {
    const [first = 0, most = 0] = RETRY_AFTER_MS
    const pause = Math.min(most, first * 2 ** Math.min(failures - DOWN_AFTER_FAILURES, 10))
    return Math.ceil(pause / this.#divisor)
  }
}
