/** One holder at a time per key, in order of arrival. */
export class KeyedLock {
  // bounded by: the calls in flight; a key leaves with its last holder
  readonly #tails = new Map<string, Promise<void>>()

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key)
    const { promise: tail, resolve: release } = Promise.withResolvers<void>()
    this.#tails.set(key, tail)
    try {
      await before
      return await work()
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key)
      release()
    }
  }

  get size(): number {
    return this.#tails.size
  }
}
