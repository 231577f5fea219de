/**
 * Typed events inside the process. A listener that throws does not stop the others; its error goes to `onError`.
 * Durable events are rows, not these.
 */
export class TypedEmitter<Events extends { [Name in keyof Events]: unknown }> {
  // bounded by: the names in Events × maxListeners
  readonly #listeners = new Map<keyof Events, Set<(payload: never) => void>>()
  readonly #maxListeners: number
  readonly #onError: (error: unknown) => void

  constructor(options: { readonly maxListeners?: number; readonly onError?: (error: unknown) => void } = {}) {
    this.#maxListeners = options.maxListeners ?? 64
    this.#onError =
      options.onError ??
      ((error): void => {
        queueMicrotask(() => {
          throw error
        })
      })
  }

  /** Adds a listener and returns the function that removes it. @throws RangeError past `maxListeners` of one name */
  on<Name extends keyof Events>(name: Name, listener: (payload: Events[Name]) => void): () => void {
    let listeners = this.#listeners.get(name)
    if (listeners === undefined) this.#listeners.set(name, (listeners = new Set()))
    if (listeners.size >= this.#maxListeners) {
      throw new RangeError(
        `more than ${this.#maxListeners} listeners of ${String(name)}: one of them is never removed`,
      )
    }
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  emit<Name extends keyof Events>(name: Name, payload: Events[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        listener(payload as never)
      } catch (error) {
        this.#onError(error)
      }
    }
  }
}
