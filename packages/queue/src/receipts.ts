import type { InstanceId, Logger, TypedEmitter } from '@eclusa/kernel'
import type { LiveMessage, LiveMessages } from './live-messages.ts'
import type { OutboundFailure, OutboundIdentity, QueueEvents } from './message.ts'
import type { DurableEvent, EarlyReceipts, OutboundStore, Tombstone } from './outbound-store.ts'

export interface Receipt {
  readonly instance: InstanceId
  readonly waMessageIds: readonly string[]
  readonly kind: 'delivered' | 'read'
  /** Epoch milliseconds. */
  readonly at: number
}

/** Tries to place one receipt while its message ends at the same moment. Two are enough; the rest is for luck. */
const MAX_TRIES = 5

/**
 * Puts receipts where their message is: on the row while it is live (a receipt before the acknowledgement means that
 * WhatsApp has it), on the tombstone after. Never moves a message back; what is unknown is not ours and ignored.
 */
export class Receipts {
  readonly #store: OutboundStore
  readonly #live: LiveMessages
  readonly #emitter: TypedEmitter<QueueEvents>
  readonly #log: Logger

  constructor(options: {
    readonly store: OutboundStore
    readonly live: LiveMessages
    readonly emitter: TypedEmitter<QueueEvents>
    readonly log: Logger
  }) {
    this.#store = options.store
    this.#live = options.live
    this.#emitter = options.emitter
    this.#log = options.log
  }

  /** On disk when it resolves. */
  async record(receipt: Receipt): Promise<void> {
    await Promise.all(receipt.waMessageIds.map((waMessageId) => this.#recordOne(receipt, waMessageId)))
  }

  async #recordOne(receipt: Receipt, waMessageId: string): Promise<void> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const live = this.#live.byWaMessage(receipt.instance, waMessageId)
      if (live !== undefined && (await live.exclusively(() => this.#onRow(live, receipt)))) return
      const tombstone = await this.#store.tombstone(receipt.instance, waMessageId)
      // It may have become live between the look above and this read: then look again.
      if (tombstone === undefined && this.#live.byWaMessage(receipt.instance, waMessageId) === undefined)
        return
      if (tombstone !== undefined && (await this.#onTombstone(tombstone, receipt))) return
    }
    this.#log.warn(
      { instance: receipt.instance, kind: receipt.kind },
      'a receipt found no place; it is dropped',
    )
  }

  async #onRow(live: LiveMessage, { kind, at }: Receipt): Promise<boolean> {
    if (live.ended) return false
    const already = kind === 'read' ? live.readAt : live.receivedAt
    if (already !== null) return true
    const deliveredAt = live.deliveredAt ?? at
    const readAt = kind === 'read' ? at : live.readAt
    if (!(await this.#store.recordOnRow(live.identity, deliveredAt, readAt))) return false
    live.deliveredAt = deliveredAt
    live.readAt = readAt
    live.onReceived?.(deliveredAt)
    return true
  }

  /** True when there is nothing more to do for this receipt. */
  async #onTombstone(tombstone: Tombstone, { kind, at }: Receipt): Promise<boolean> {
    const { state } = tombstone
    if (state !== 'SENT' && !(state === 'DELIVERED' && kind === 'read')) return true
    const deliveredAt = tombstone.deliveredAt ?? at
    const readAt = kind === 'read' ? at : null
    // Heard before the message ended, and written after it: what was received was sent.
    const sentAt = tombstone.sentAt === null ? null : Math.min(tombstone.sentAt, deliveredAt)
    const events: DurableEvent[] = []
    if (tombstone.deliveredAt === null) events.push(deliveredEvent(tombstone, deliveredAt))
    if (readAt !== null) events.push(readEvent(tombstone, readAt))
    const after = { state: readAt === null ? 'DELIVERED' : 'READ', sentAt, deliveredAt, readAt } as const
    if (!(await this.#store.recordOnTombstone(tombstone, after, events))) return false
    for (const { name, event } of events) this.#emitter.emit(name, event)
    return true
  }
}

/** What there is to tell when WhatsApp has a message, with what receipts said before. */
export function sentEvents(
  message: Omit<OutboundIdentity, 'seq'>,
  sentAt: number,
  { deliveredAt, readAt }: EarlyReceipts,
): DurableEvent[] {
  const events: DurableEvent[] = [
    { name: 'outbound.sent', event: { ...refOf(message), state: 'SENT', at: sentAt } },
  ]
  const receivedAt = deliveredAt ?? readAt
  if (receivedAt !== null) events.push(deliveredEvent(message, receivedAt))
  if (readAt !== null) events.push(readEvent(message, readAt))
  return events
}

export function failedEvent(
  message: Omit<OutboundIdentity, 'seq'>,
  at: number,
  failure: OutboundFailure,
): DurableEvent {
  return { name: 'outbound.failed', event: { ...refOf(message), state: 'FAILED', at, failure } }
}

function deliveredEvent(message: Omit<OutboundIdentity, 'seq'>, at: number): DurableEvent {
  return { name: 'outbound.delivered', event: { ...refOf(message), state: 'DELIVERED', at } }
}

function readEvent(message: Omit<OutboundIdentity, 'seq'>, at: number): DurableEvent {
  return { name: 'outbound.read', event: { ...refOf(message), state: 'READ', at } }
}

/** What every event says about its message. */
export function refOf(message: Omit<OutboundIdentity, 'seq'>): Omit<OutboundIdentity, 'seq' | 'acceptedAt'> {
  const { id, tenant, instance, chat, waMessageId } = message
  return { id, tenant, instance, chat, waMessageId }
}
