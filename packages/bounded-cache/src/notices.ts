/** Why an entry left a cache. `shed` when the process as a whole had to give memory back. */
export type RemovalReason = 'evicted' | 'expired' | 'deleted' | 'replaced' | 'shed'

export type RemovalListener<Value> = (key: string, value: Value, reason: RemovalReason) => void

/*
 * Listeners are told when an operation is over and all books are right, so that one may look, write or throw. An
 * operation on one cache may take entries from others; all of them wait here until then.
 */
// bounded by: entries removed in one operation
const waiting: (() => void)[] = []
let telling = false
let warned = false

export function tellLater(tell: () => void): void {
  waiting.push(tell)
}

/** To be called at the end of every operation that may have removed something. Never throws. */
export function tellListeners(): void {
  if (telling || waiting.length === 0) return
  telling = true
  try {
    // What a listener removes is told in the same round, after what came before.
    for (let at = 0; at < waiting.length; at++) {
      try {
        waiting[at]?.()
      } catch (error) {
        if (!warned) {
          warned = true
          process.emitWarning(
            `a listener of a bounded cache threw; the cache is as it should be: ${String(error)}`,
            { code: 'BOUNDED_CACHE_LISTENER' },
          )
        }
      }
    }
  } finally {
    waiting.length = 0
    telling = false
  }
}
