/** The last `max` items, in order. */
export class Ring<T> {
  readonly #max: number
  // bounded by: #max (trimmed in steps, so up to 1.25 × #max are held)
  #items: T[] = []
  #dropped = 0

  constructor(max: number) {
    this.#max = max
  }

  push(item: T): void {
    this.#items.push(item)
    if (this.#items.length > this.#max * 1.25 + 16) {
      this.#dropped += this.#items.length - this.#max
      this.#items = this.#items.slice(-this.#max)
    }
  }

  /** Oldest first. */
  get items(): readonly T[] {
    return this.#items.length > this.#max ? this.#items.slice(-this.#max) : this.#items
  }

  /** How many were ever pushed. */
  get total(): number {
    return this.#dropped + this.#items.length
  }
}
