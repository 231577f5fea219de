import {
  type Clock,
  DAY,
  HOUR,
  type InstanceId,
  type Lifecycle,
  type Logger,
  MINUTE,
  runLoop,
} from '@eclusa/kernel'
import type { ColdStore } from './cold-store.ts'
import type { QueueCounts } from './counts.ts'
import type { Endings } from './endings.ts'
import { queueErrors } from './errors.ts'
import type { ForgettableTable, OutboundStore } from './outbound-store.ts'

/** How long what has ended is kept. */
export interface SweepOptions {
  readonly everyMs: number
  readonly keepFailedForMs: number
  readonly keepTerminalForMs: number
  readonly keepSentContentForMs: number
  readonly keepIdempotencyForMs: number
}

export const defaultSweepOptions: SweepOptions = {
  everyMs: 30 * MINUTE,
  keepFailedForMs: HOUR,
  keepTerminalForMs: 72 * HOUR,
  keepSentContentForMs: DAY,
  keepIdempotencyForMs: DAY,
}

export interface SweepResult {
  /** Waited too long: now FAILED with QUEUE_MESSAGE_EXPIRED. */
  readonly expired: number
  readonly removedFailed: number
  readonly forgottenTombstones: number
  readonly forgottenContents: number
  readonly forgottenKeys: number
}

/** Rows a step looks at: a few milliseconds of the one connection. */
const STEP = 1000

/** Expires what waited too long and deletes what was kept long enough, at boot and every 30 min. */
export class Sweep implements Lifecycle {
  readonly #store: OutboundStore
  readonly #cold: ColdStore
  readonly #counts: QueueCounts
  readonly #endings: Endings
  readonly #clock: Clock
  readonly #log: Logger
  readonly #options: SweepOptions
  readonly #owns: (instance: InstanceId) => boolean
  readonly #placesFreed: (instance: InstanceId) => Promise<void>
  readonly #freeUnusedPlaces: () => Promise<void>
  readonly #measure: (signal?: AbortSignal) => Promise<void>
  readonly #expireAfterMs: number
  readonly #end = new AbortController()
  #loop: Promise<void> | null = null

  constructor(options: {
    readonly store: OutboundStore
    readonly cold: ColdStore
    readonly counts: QueueCounts
    readonly endings: Endings
    readonly clock: Clock
    readonly log: Logger
    readonly options: SweepOptions
    /** Whether this process serves the instance: the rows of others are theirs to end. */
    readonly owns: (instance: InstanceId) => boolean
    /** Is told of an instance of which new contacts do not need their places any more. */
    readonly placesFreed: (instance: InstanceId) => Promise<void>
    /** Times at the rate of a tenant that nobody needs any more are given to others. */
    readonly freeUnusedPlaces: () => Promise<void>
    /** Looks at how people take what they did not ask for. */
    readonly measure: (signal?: AbortSignal) => Promise<void>
    readonly expireAfterMs: number
  }) {
    this.#store = options.store
    this.#cold = options.cold
    this.#counts = options.counts
    this.#endings = options.endings
    this.#clock = options.clock
    this.#log = options.log
    this.#options = options.options
    this.#owns = options.owns
    this.#placesFreed = options.placesFreed
    this.#freeUnusedPlaces = options.freeUnusedPlaces
    this.#measure = options.measure
    this.#expireAfterMs = options.expireAfterMs
  }

  start(): Promise<void> {
    this.#loop ??= runLoop(
      {
        clock: this.#clock,
        everyMs: this.#options.everyMs,
        onError: (error) => this.#log.error({ err: error }, 'the sweep failed; it comes again by itself'),
      },
      async (signal) => {
        await this.pass(signal)
      },
      this.#end.signal,
    )
    return Promise.resolve()
  }

  async stop(): Promise<void> {
    this.#end.abort()
    await this.#loop
  }

  /** One whole pass, in steps of 1,000 rows; other reads and writes go between the steps. */
  async pass(signal?: AbortSignal): Promise<SweepResult> {
    const beganAt = this.#clock.now()
    const { keepTerminalForMs, keepSentContentForMs, keepIdempotencyForMs } = this.#options
    const result: SweepResult = {
      ...(await this.#sweepRows(signal)),
      forgottenTombstones: await this.#forget('OutboundTombstone', keepTerminalForMs, signal),
      forgottenContents: await this.#forget('OutboundContent', keepSentContentForMs, signal),
      forgottenKeys: await this.#forget('IdempotencyKey', keepIdempotencyForMs, signal),
    }
    for (;;) {
      const freed = await this.#cold.freeUnused()
      // Who waits behind the gap moves up.
      for (const instance of freed) if (this.#owns(instance)) await this.#placesFreed(instance)
      const swept = (await this.#cold.sweepStep()) + freed.size
      if (swept === 0 || signal?.aborted === true) break
    }
    await this.#freeUnusedPlaces()
    await this.#measure(signal)
    const { pending, processing, failed } = this.#counts.stats()
    // The operator's own words, so that what greps for them finds them.
    this.#log.info(
      { ...result, pending, processing, failed, tookMs: this.#clock.now() - beganAt },
      `queue swept: removed ${result.removedFailed} processed more than ${spoken(this.#options.keepFailedForMs)} ago, ` +
        `expired ${result.expired} | PENDING: ${pending}, PROCESSING: ${processing}, FAILED: ${failed}`,
    )
    return result
  }

  async #sweepRows(signal?: AbortSignal): Promise<Pick<SweepResult, 'expired' | 'removedFailed'>> {
    const now = this.#clock.now()
    let expired = 0
    let removedFailed = 0
    let after = 0
    for (;;) {
      const step = await this.#store.sweepStep(
        after,
        STEP,
        now - this.#expireAfterMs,
        now - this.#options.keepFailedForMs,
      )
      // One that a lane took since it was read is the lane's to expire.
      const ended = await Promise.all(
        step.expired
          .filter(({ identity }) => this.#owns(identity.instance))
          .map((row) => this.#endings.end(row, queueErrors.MESSAGE_EXPIRED)),
      )
      expired += ended.filter((how) => how === 'failed').length
      const failed = step.failed.filter(({ instance }) => this.#owns(instance))
      removedFailed += await this.#store.removeFailed(failed.map(({ seq }) => seq))
      for (const { tenant, instance } of failed) this.#counts.move(tenant, instance, 'FAILED', null)
      if (step.lastSeq === null || signal?.aborted === true) return { expired, removedFailed }
      after = step.lastSeq
    }
  }

  async #forget(table: ForgettableTable, keepForMs: number, signal?: AbortSignal): Promise<number> {
    const before = this.#clock.now() - keepForMs
    let forgotten = 0
    let after = 0
    for (;;) {
      const step = await this.#store.forgetStep(table, after, STEP, before)
      forgotten += step.deletedCount
      if (step.lastSeq === null || signal?.aborted === true) return forgotten
      after = step.lastSeq
    }
  }
}

function spoken(ms: number): string {
  return ms % HOUR === 0 ? `${ms / HOUR} h` : `${Math.round(ms / MINUTE)} min`
}
