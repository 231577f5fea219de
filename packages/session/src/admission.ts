/** At most `maxStarting` sessions log in at a time; the others wait in order. Starting costs CPU that online ones need. */
export class Admission {
  readonly #maxStarting: number
  #starting = 0
  // bounded by: maxSessions, each waits at most once
  readonly #waiting: (() => void)[] = []

  constructor(maxStarting: number) {
    this.#maxStarting = maxStarting
  }

  /** Resolves with the function that gives the place back; calling that twice does no harm. */
  async enter(): Promise<() => void> {
    if (this.#starting >= this.#maxStarting) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
      })
    } else {
      this.#starting++
    }
    let given = false
    return () => {
      if (given) return
      given = true
      const next = this.#waiting.shift()
      if (next === undefined) this.#starting--
      else next()
    }
  }
}
