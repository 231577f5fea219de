import { EclusaError, type InstanceId, type Logger } from '@eclusa/kernel'
import type { Ownership } from '@eclusa/storage'
import type { QueueCounts } from './counts.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { HoldStore } from './hold-store.ts'
import { ADMIT_STEP, type Holds } from './holds.ts'
import type { Pauses } from './pauses.ts'

/** What can read its rows again. */
interface Reloadable {
  reload(): Promise<unknown>
}

/**
 * What other processes on the same database did for instances of this one: messages they accepted, what they paused and
 * set. Messages of this process and of others each keep their order in a chat; between the two nobody promises one.
 */
export class Handovers {
  readonly #store: HoldStore
  readonly #holds: Holds
  readonly #pauses: Pauses
  // bounded by: what the queue is composed of
  readonly #settings: readonly Reloadable[]
  readonly #counts: QueueCounts
  readonly #dispatcher: Dispatcher
  readonly #ownership: Pick<Ownership, 'owns'>
  readonly #log: Logger
  #looking: Promise<void> | null = null
  #lookAgain = false

  constructor(options: {
    readonly store: HoldStore
    readonly holds: Holds
    readonly pauses: Pauses
    readonly settings: readonly Reloadable[]
    readonly counts: QueueCounts
    readonly dispatcher: Dispatcher
    readonly ownership: Pick<Ownership, 'owns'>
    readonly log: Logger
  }) {
    this.#store = options.store
    this.#holds = options.holds
    this.#pauses = options.pauses
    this.#settings = options.settings
    this.#counts = options.counts
    this.#dispatcher = options.dispatcher
    this.#ownership = options.ownership
    this.#log = options.log
  }

  /** Never rejects: what one look misses the next one finds. Looks asked for during one are one more. */
  look(): Promise<void> {
    this.#lookAgain = true
    this.#looking ??= this.#look().finally(() => (this.#looking = null))
    return this.#looking
  }

  async #look(): Promise<void> {
    while (this.#lookAgain) {
      this.#lookAgain = false
      try {
        await this.#takeOver()
        const { paused, resumed } = await this.#pauses.reload()
        for (const settings of this.#settings) await settings.reload()
        for (const pause of paused) this.#dispatcher.paused(pause)
        for (const pause of resumed) this.#dispatcher.resumed(pause)
      } catch (error) {
        const code = error instanceof EclusaError ? error.code : String(error)
        this.#log.warn(
          { code },
          'what other processes wrote could not be read; looking again in half a minute',
        )
      }
    }
  }

  async #takeOver(): Promise<void> {
    for (const instance of await this.#store.handedOver()) {
      if (this.#ownership.owns(instance)) await this.#takeOverOf(instance)
    }
  }

  async #takeOverOf(instance: InstanceId): Promise<void> {
    for (;;) {
      const rows = await this.#store.takeOver(instance, ADMIT_STEP)
      for (const { identity, priority, notBefore } of rows) {
        this.#counts.move(identity.tenant, identity.instance, null, 'PENDING')
        if (notBefore === null) this.#dispatcher.accepted(identity, priority)
        else this.#holds.dueAt(notBefore)
      }
      if (rows.length < ADMIT_STEP) return
    }
  }
}
