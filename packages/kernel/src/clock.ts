import { EclusaError } from './errors.ts'
import { kernelErrors } from './kernel-errors.ts'

/** Time, as everything in Eclusa asks for it. Tests pass a ManualClock. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number
  /** Calls `run` once after `delayMs` (at least 0, at most 24 days); the owner must cancel it or let it fire. */
  setTimer(delayMs: number, run: () => void): Timer
}

export interface Timer {
  /** Idempotent; a timer that has fired ignores it. */
  cancel(): void
}

/** The machine's clock. Its timers keep the process alive until they fire or are cancelled. */
export const systemClock: Clock = {
  now: () => Date.now(),
  setTimer(delayMs, run) {
    const handle = setTimeout(run, Math.max(0, delayMs))
    return { cancel: () => clearTimeout(handle) }
  },
}

/** Resolves after `delayMs`, or rejects with the signal's reason as soon as it aborts. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason)
      return
    }
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    const onAbort = (): void => {
      timer.cancel()
      reject(signal?.reason)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/**
 * The promise's own outcome, or KERNEL_DEADLINE_PASSED after `deadlineMs`. The work itself is not stopped: the
 * caller must not rely on it having ended.
 */
export async function withDeadline<T>(
  clock: Clock,
  deadlineMs: number,
  what: string,
  work: Promise<T>,
): Promise<T> {
  const { promise: tooLate, reject } = Promise.withResolvers<never>()
  const timer = clock.setTimer(deadlineMs, () => {
    reject(new EclusaError(kernelErrors.DEADLINE_PASSED, { details: { what, deadlineMs } }))
  })
  try {
    return await Promise.race([work, tooLate])
  } finally {
    timer.cancel()
  }
}
