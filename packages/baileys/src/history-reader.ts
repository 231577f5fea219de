import { Worker } from 'node:worker_threads'
import type { HistoryRows } from './history-scan.ts'
import type { HistoryAnswer, HistoryNext, HistoryRefusal, HistoryTask } from './history-thread.ts'

/** Inflated bytes of one history notification. */
export const MAX_INFLATED_BYTES: number = 64 * 1024 * 1024
/** Objects of a batch and the protobuf classes; the bytes of a history are outside of the heap. */
const THREAD_HEAP_MB = 40
const THREAD_YOUNG_MB = 4
/** The thread ends when it has had nothing to do for this long: it costs some 30 MB. */
const IDLE_MS = 10_000
const NEXT: HistoryNext = { kind: 'next' }
/** Histories that wait for their turn in this process, and the bytes that came with them. */
const MAX_WAITING = 1_000
const MAX_WAITING_BYTES = 8 * 1024 * 1024

/** Why a history was not, or not wholly, read. */
export type HistoryFailure = HistoryRefusal | 'not-found' | 'busy' | 'stopped' | 'thread-died'

export class HistoryError extends Error {
  readonly reason: HistoryFailure

  constructor(reason: HistoryFailure, message: string) {
    super(message)
    this.reason = reason
  }
}

interface HistoryJob {
  /** Called when it is this history's turn, so that only one at a time is in memory. */
  readonly load: () => Promise<{ readonly bytes: Uint8Array; readonly mediaKey: Uint8Array | undefined }>
  readonly syncType: number
  readonly rows: boolean
  readonly maxInflatedBytes: number
  /** In memory while it waits: a history that came within its notification. */
  readonly waitingBytes: number
  /** The next batch is read when this has resolved. */
  readonly take: (rows: HistoryRows, last: boolean) => Promise<void>
  readonly signal: AbortSignal
}

/**
 * Reads histories in a thread of its own, one after another for the whole process, with a limit on what one may
 * inflate to and on the thread's memory. A history that breaks a limit costs itself, nothing else.
 */
class HistoryReader {
  #thread: Worker | undefined
  #idleTimer: NodeJS.Timeout | undefined
  #turn: Promise<void> = Promise.resolve()
  #waiting = 0
  #waitingBytes = 0
  #held: PromiseWithResolvers<void> | undefined

  /** While it is held no further history is begun. */
  hold(held: boolean): void {
    if (held) {
      this.#held ??= Promise.withResolvers()
      return
    }
    this.#held?.resolve()
    this.#held = undefined
  }

  /** @throws HistoryError */
  async read(job: HistoryJob): Promise<void> {
    const { waitingBytes } = job
    const isFull = this.#waiting > 0 && this.#waitingBytes + waitingBytes > MAX_WAITING_BYTES
    if (isFull || this.#waiting >= MAX_WAITING)
      throw new HistoryError('busy', 'too many histories wait already')
    this.#waiting += 1
    this.#waitingBytes += waitingBytes
    const mine = this.#turn.then(() => this.#readNow(job))
    this.#turn = mine.catch(() => {})
    try {
      await mine
    } finally {
      this.#waiting -= 1
      this.#waitingBytes -= waitingBytes
    }
  }

  async #untilLetGo(signal: AbortSignal): Promise<void> {
    while (this.#held !== undefined && !signal.aborted) {
      const { promise: aborted, resolve } = Promise.withResolvers<void>()
      const onAbort = (): void => resolve()
      signal.addEventListener('abort', onAbort, { once: true })
      await Promise.race([this.#held.promise, aborted])
      signal.removeEventListener('abort', onAbort)
    }
  }

  async #readNow(job: HistoryJob): Promise<void> {
    await this.#untilLetGo(job.signal)
    if (job.signal.aborted) throw stopped()
    const { bytes, mediaKey } = await job.load()
    clearTimeout(this.#idleTimer)
    const thread = this.#open()
    try {
      await this.#converse(thread, job, {
        kind: 'read',
        bytes,
        mediaKey,
        syncType: job.syncType,
        rows: job.rows,
        maxInflatedBytes: job.maxInflatedBytes,
      })
    } catch (error) {
      // In the middle of a history, or no longer alive.
      this.#close(thread)
      throw error
    }
    this.#idleTimer = setTimeout(() => this.#close(thread), IDLE_MS)
    this.#idleTimer.unref()
  }

  async #converse(thread: Worker, { take, signal }: HistoryJob, task: HistoryTask): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onAnswer = (answer: HistoryAnswer): void => {
      if (answer.kind === 'refused') {
        reject(new HistoryError(answer.reason, answer.message))
        return
      }
      take(answer.rows, answer.last).then(() => {
        if (answer.last) resolve()
        else thread.postMessage(NEXT, [])
      }, reject)
    }
    const onEnd = (error: unknown): void =>
      reject(new HistoryError('thread-died', error instanceof Error ? error.message : 'the thread ended'))
    const onAbort = (): void => reject(stopped())
    thread.on('message', onAnswer)
    thread.once('error', onEnd)
    thread.once('exit', onEnd)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      thread.postMessage(task, isWhole(task.bytes) ? [task.bytes.buffer] : [])
      await promise
    } finally {
      thread.off('message', onAnswer)
      thread.off('error', onEnd)
      thread.off('exit', onEnd)
      signal.removeEventListener('abort', onAbort)
    }
  }

  #open(): Worker {
    this.#thread ??= new Worker(new URL('./history-thread.ts', import.meta.url), {
      name: 'history',
      // Not the parent's flags: a test runner's or a debugger's would follow us here.
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MB, maxYoungGenerationSizeMb: THREAD_YOUNG_MB },
    })
    this.#thread.unref()
    return this.#thread
  }

  #close(thread: Worker): void {
    if (this.#thread === thread) this.#thread = undefined
    // It may die of its own limit on the way.
    thread.on('error', () => {})
    void thread.terminate()
  }
}

/** One for the process. */
export const historyReader: HistoryReader = new HistoryReader()

/** Lets histories wait, or go on, in this process: for times when memory is scarce. */
export function holdHistories(held: boolean): void {
  historyReader.hold(held)
}

function isWhole(bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength
}

function stopped(): HistoryError {
  return new HistoryError('stopped', 'the socket was closed')
}
