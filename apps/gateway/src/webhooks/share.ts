/**
 * Something of which there is only so much. Whoever is slow has a half of it at most, so that the other half goes round
 * however many are slow: what is taken by one that turns out slow counts against the slow half from then on.
 */
export class Share {
  readonly #max: number
  #taken = 0
  #takenBySlow = 0

  constructor(max: number) {
    this.#max = max
  }

  /** Whether `amount` may be taken. What is larger than all there is may be when nothing else is taken. */
  has(amount: number, isSlow: boolean): boolean {
    if (isSlow && this.#takenBySlow > 0 && this.#takenBySlow + amount > this.#max / 2) return false
    return this.#taken === 0 || this.#taken + amount <= this.#max
  }

  take(amount: number, isSlow: boolean): Taken {
    this.#taken += amount
    if (isSlow) this.#takenBySlow += amount
    let left = amount
    let slow = isSlow
    return {
      setSlow: (now) => {
        if (now !== slow) this.#takenBySlow += now ? left : -left
        slow = now
      },
      giveBack: () => {
        this.#taken -= left
        if (slow) this.#takenBySlow -= left
        left = 0
      },
    }
  }
}

export interface Taken {
  setSlow(isSlow: boolean): void
  /** Idempotent. */
  giveBack(): void
}
