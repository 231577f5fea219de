import type { Clock, InstanceId } from '@eclusa/kernel'
import type { ClosedConversation, RetentionStore } from './retention-store.ts'

/** Conversations looked at in one step. */
const STEP = 100
/** Of those, under way at the same time: they share commits. */
const AT_ONCE = 10

/** How long something is kept, from the close on; in milliseconds. */
export interface KeepClosed {
  readonly wordsForMs: number
  /** Longer than a conversation can be reopened by its contact. */
  readonly closedForMs: number
}

/** How many conversations a sweep shortened to what happened, and how many it deleted. */
export interface SweptClosed {
  readonly wordsGoneCount: number
  readonly deletedCount: number
}

/** What of closed conversations goes by age: first the words, later the rest. */
export class Retention {
  readonly #store: RetentionStore
  readonly #clock: Clock

  constructor(options: { readonly store: RetentionStore; readonly clock: Clock }) {
    this.#store = options.store
    this.#clock = options.clock
  }

  /**
   * One pass over the closed conversations of an instance, in steps, until `signal` aborts.
   *
   * @param unsettled messages of `instance` that may still walk through the inbox, by their journal ids: their
   * conversations stay, because a message whose entry is gone would open a conversation anew
   */
  async sweep(
    instance: InstanceId,
    keep: KeepClosed,
    unsettled: readonly number[],
    signal: AbortSignal,
  ): Promise<SweptClosed> {
    const now = this.#clock.now()
    const held = await this.#store.holding(instance, unsettled)
    const pass = async (
      before: number,
      withWords: boolean,
      take: (one: ClosedConversation) => Promise<void>,
    ): Promise<number> => {
      let count = 0
      let skipped = 0
      while (!signal.aborted) {
        const page = { limit: STEP, offset: skipped, withWords }
        const found = await this.#store.closedBefore(instance, before, page)
        const some = found.filter(({ id }) => withWords || !held.has(id))
        skipped += found.length - some.length
        for (let from = 0; from < some.length && !signal.aborted; from += AT_ONCE) {
          const together = some.slice(from, from + AT_ONCE)
          await Promise.all(together.map(take))
          count += together.length
        }
        if (found.length < STEP) break
      }
      return count
    }
    // What is to be deleted altogether need not lose its words before.
    const deletedCount = await pass(now - keep.closedForMs, false, (one) => this.#store.forget(one))
    const wordsGoneCount = await pass(now - keep.wordsForMs, true, (one) => this.#store.forgetWords(one, now))
    return { wordsGoneCount, deletedCount }
  }
}
