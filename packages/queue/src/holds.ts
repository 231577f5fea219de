import {
  type Clock,
  DAY,
  EclusaError,
  type InstanceId,
  type Logger,
  SECOND,
  type Timer,
} from '@eclusa/kernel'
import type { HoldReason } from './care.ts'
import type { Due, Hold, HoldStore, Whose } from './hold-store.ts'
import type { OutboundIdentity } from './message.ts'
import type { OutboxListener } from './outbox.ts'

/** Messages that take their places in one write. */
export const ADMIT_STEP = 500
/** A clock's timer reaches 24 days. */
const MAX_TIMER_MS = 20 * DAY
/** What is due of instances that other processes own is looked at again so often, in case one of them becomes ours. */
const LOOK_EVERY_MS = 30 * SECOND

/**
 * Messages that are not to be sent yet: for later, or held back by care. They stand outside of their chat's line, on
 * disk alone, and one timer waits for the first of them.
 */
export class Holds {
  readonly #store: HoldStore
  readonly #clock: Clock
  readonly #log: Logger
  readonly #owns: (instance: InstanceId) => boolean
  readonly #admitted: OutboxListener['accepted']
  #timer: Timer | null = null
  #timerDueAt = Number.POSITIVE_INFINITY
  #pass: Promise<void> | null = null
  #stopped = false

  constructor(options: {
    readonly store: HoldStore
    readonly clock: Clock
    readonly log: Logger
    /** Whether this process serves the instance: the rows of others are theirs to move. */
    readonly owns: (instance: InstanceId) => boolean
    /** Is told of each that took its place. */
    readonly admitted: OutboxListener['accepted']
  }) {
    this.#store = options.store
    this.#clock = options.clock
    this.#log = options.log
    this.#owns = options.owns
    this.#admitted = options.admitted
  }

  /** Finds what was held before a restart. */
  async open(): Promise<void> {
    this.dueAt((await this.#store.nextDueAt(0)) ?? Number.POSITIVE_INFINITY)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#pass
  }

  /** Something is held until then. */
  dueAt(at: number): void {
    if (this.#stopped || at >= this.#timerDueAt) return
    this.#timer?.cancel()
    this.#timerDueAt = at
    const delayMs = Math.min(Math.max(at - this.#clock.now(), 0), MAX_TIMER_MS)
    this.#timer = this.#clock.setTimer(delayMs, () => this.#fire())
  }

  /** @returns false when the row is gone */
  async hold(message: OutboundIdentity, how: Hold): Promise<boolean> {
    const held = await this.#store.hold(message, how)
    if (held) this.dueAt(how.until)
    return held
  }

  /** Whatever is held for one of `reasons`, of instances that this process serves, takes its place; null: of all. */
  async release(whose: Whose | null, reasons: readonly HoldReason[]): Promise<void> {
    const instances =
      whose !== null && 'instance' in whose
        ? [whose.instance]
        : await this.#store.instancesHeld(reasons, whose?.tenant ?? null)
    for (const instance of instances) if (this.#owns(instance)) await this.#release(instance, reasons)
  }

  async #release(instance: InstanceId, reasons: readonly HoldReason[]): Promise<void> {
    for (;;) {
      const released = await this.#store.releaseSome(instance, reasons, ADMIT_STEP)
      for (const { identity, priority } of released) this.#admitted(identity, priority)
      if (released.length < ADMIT_STEP || this.#stopped) return
    }
  }

  #fire(): void {
    this.#timer = null
    this.#timerDueAt = Number.POSITIVE_INFINITY
    // One after another: a message that became due during a pass is found by the next.
    this.#pass = (this.#pass ?? Promise.resolve()).then(() => this.#admit())
  }

  async #admit(): Promise<void> {
    try {
      const now = this.#clock.now()
      let last: Pick<Due, 'seq' | 'notBefore'> = { seq: 0, notBefore: 0 }
      let areOthers = false
      for (;;) {
        if (this.#stopped) return
        const due = await this.#store.due(now, last, ADMIT_STEP)
        const ours = due.filter(({ instance }) => this.#owns(instance))
        areOthers ||= ours.length < due.length
        const admitted = await this.#store.admit(ours.map(({ seq }) => seq))
        for (const { identity, priority } of admitted) this.#admitted(identity, priority)
        last = due.at(-1) ?? last
        if (due.length < ADMIT_STEP) break
      }
      if (areOthers) this.dueAt(now + LOOK_EVERY_MS)
      this.dueAt((await this.#store.nextDueAt(now)) ?? Number.POSITIVE_INFINITY)
    } catch (error) {
      if (this.#stopped) return
      const code = error instanceof EclusaError ? error.code : String(error)
      this.#log.warn({ code }, 'messages that are due could not take their places; trying again in a second')
      this.dueAt(this.#clock.now() + SECOND)
    }
  }
}
