import type { Clock, ErrorKind, TypedEmitter } from '@eclusa/kernel'
import type { QueueCounts } from './counts.ts'
import type { LiveMessages } from './live-messages.ts'
import type { QueueEvents } from './message.ts'
import type { DurableEvent, EarlyReceipts, LiveRow, OutboundStore } from './outbound-store.ts'
import { failedEvent, sentEvents } from './receipts.ts'

/** Ends messages that wait on disk and shall not be sent (again), without a lane. */
export class Endings {
  readonly #store: OutboundStore
  readonly #counts: QueueCounts
  readonly #live: LiveMessages
  readonly #clock: Clock
  readonly #emitter: TypedEmitter<QueueEvents>

  constructor(options: {
    readonly store: OutboundStore
    readonly counts: QueueCounts
    readonly live: LiveMessages
    readonly clock: Clock
    readonly emitter: TypedEmitter<QueueEvents>
  }) {
    this.#store = options.store
    this.#counts = options.counts
    this.#live = options.live
    this.#clock = options.clock
    this.#emitter = options.emitter
  }

  /**
   * Fails a PENDING message with `why`; one with a receipt did arrive, and ends as such instead. Null when it does not
   * wait any more: taken by a lane, cancelled, or ended.
   */
  async end(row: Pick<LiveRow, 'identity'>, why: ErrorKind): Promise<'failed' | 'arrived' | null> {
    const { identity } = row
    const live = this.#live.bySeq(identity.seq)
    const end = async (): Promise<'failed' | 'arrived' | null> => {
      if (live?.ended === true) return null
      const how = await this.#write(identity, why)
      if (live !== undefined && how !== null) live.ended = true
      return how
    }
    // A receipt is either on the row before this, or finds the tombstone after.
    const how = live === undefined ? await end() : await live.exclusively(end)
    if (live !== undefined && how !== null) this.#live.remove(live)
    return how
  }

  async #write(identity: LiveRow['identity'], why: ErrorKind): Promise<'failed' | 'arrived' | null> {
    const failure = { code: why.code, message: why.message }
    const event = failedEvent(identity, this.#clock.now(), failure)
    const outcome = await this.#store.fail(identity, { failure, status: 'PENDING', event })
    switch (outcome.kind) {
      case 'failed':
        this.#counts.move(identity.tenant, identity.instance, 'PENDING', 'FAILED')
        this.#tell([event])
        return 'failed'
      case 'arrived':
        return (await this.#finish(identity, outcome)) ? 'arrived' : null
      case 'gone':
        return null
      default:
        return outcome satisfies never
    }
  }

  async #finish(identity: LiveRow['identity'], receipts: EarlyReceipts): Promise<boolean> {
    const sentAt = receipts.deliveredAt ?? receipts.readAt ?? this.#clock.now()
    const events = sentEvents(identity, sentAt, receipts)
    if ((await this.#store.finish(identity, { sentAt, status: 'PENDING', events })) === false) return false
    this.#counts.move(identity.tenant, identity.instance, 'PENDING', null)
    this.#tell(events)
    return true
  }

  #tell(events: readonly DurableEvent[]): void {
    for (const { name, event } of events) this.#emitter.emit(name, event)
  }
}
