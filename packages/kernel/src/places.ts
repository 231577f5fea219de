/** At most so many at a time; the others wait in order of arrival. While it is held nobody enters. */
export class Places {
  readonly #max: number
  #taken = 0
  #held = false
  // bounded by: the callers that wait for their turn
  readonly #waiting: (() => void)[] = []

  constructor(max: number) {
    this.#max = max
  }

  get taken(): number {
    return this.#taken
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Resolves with the function that gives the place back; calling that twice does no harm. */
  async enter(): Promise<() => void> {
    if (this.#held || this.#taken >= this.#max) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
      })
    } else {
      this.#taken++
    }
    let given = false
    return () => {
      if (given) return
      given = true
      this.#taken--
      this.#admit()
    }
  }

  /** Runs `work` in a place of its own. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const leave = await this.enter()
    try {
      return await work()
    } finally {
      leave()
    }
  }

  /** Whoever is inside stays; whoever comes waits until it is let go. */
  hold(): void {
    this.#held = true
  }

  letGo(): void {
    this.#held = false
    this.#admit()
  }

  /** Gives what is free to those who wait, in the same turn, so that nobody who comes later is before them. */
  #admit(): void {
    while (!this.#held && this.#taken < this.#max) {
      const next = this.#waiting.shift()
      if (next === undefined) return
      this.#taken++
      next()
    }
  }
}
