/** Counts what per-chat order forbids. Like the sender, it counts at the moment of the send. */
export class OrderJudge {
  succeeded = 0
  overlaps = 0
  outOfOrder = 0
  duplicates = 0
  readonly #strict: boolean
  readonly #running = new Map<number, number>()
  readonly #done = new Map<number, Set<number>>()
  readonly #tries = new Map<string, number>()
  #random = 1

  constructor(strict: boolean) {
    this.#strict = strict
  }

  async run(chat: number, n: number): Promise<void> {
    const running = this.#running.get(chat) ?? 0
    if (running > 0) this.overlaps++
    this.#running.set(chat, running + 1)
    const done = this.#done.get(chat) ?? new Set<number>()
    this.#done.set(chat, done)
    if (n > 0 && !done.has(n - 1)) this.outOfOrder++
    if (done.has(n)) this.duplicates++
    try {
      if (this.#strict) {
        await new Promise((resolve) => setTimeout(resolve, this.#next() * 3))
        const key = `${chat}.${n}`
        const tries = (this.#tries.get(key) ?? 0) + 1
        this.#tries.set(key, tries)
        if (tries === 1 && this.#next() < 0.05) throw new Error('a first try that fails')
      }
      if (!done.has(n)) this.succeeded++
      done.add(n)
    } finally {
      this.#running.set(chat, (this.#running.get(chat) ?? 1) - 1)
    }
  }

  /** A fixed sequence, the same for every engine. */
  #next(): number {
    this.#random = (this.#random * 48_271) % 2_147_483_647
    return this.#random / 2_147_483_647
  }
}
