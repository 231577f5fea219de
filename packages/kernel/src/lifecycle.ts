import { type Clock, sleep } from './clock.ts'

/**
 * Anything long-lived. May be stopped twice, and stopped before it was started; after `stop` resolves it holds no
 * timer, listener or socket.
 */
export interface Lifecycle {
  start(): Promise<void>
  stop(): Promise<void>
}

export interface LoopOptions {
  readonly clock: Clock
  /** From the end of one pass to the beginning of the next. */
  readonly everyMs: number
  readonly onError: (error: unknown) => void
}

/** Runs `pass` at once and then every `everyMs` until the signal aborts. Tests call `pass` itself. */
export async function runLoop(
  options: LoopOptions,
  pass: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await pass(signal)
    } catch (error) {
      if (!signal.aborted) options.onError(error)
    }
    try {
      await sleep(options.clock, options.everyMs, signal)
    } catch {
      return
    }
  }
}
