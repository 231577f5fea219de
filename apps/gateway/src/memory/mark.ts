/** A mark that is told once when it is passed, and again only after the value fell well below it: never a flood. */
export class Mark {
  readonly #above: number
  readonly #rearmBelow: number
  #passed = false

  constructor(options: { readonly above: number; readonly rearmBelow: number }) {
    this.#above = options.above
    this.#rearmBelow = options.rearmBelow
  }

  /** Whether this value is worth a warning now. */
  passes(value: number): boolean {
    if (this.#passed) {
      if (value < this.#rearmBelow) this.#passed = false
      return false
    }
    this.#passed = value > this.#above
    return this.#passed
  }
}
