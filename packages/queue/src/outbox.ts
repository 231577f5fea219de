import {
  type ChatId,
  type Clock,
  EclusaError,
  type InstanceId,
  makeMessageId,
  makeWaMessageId,
  type MessageId,
  parseMessageId,
  type TenantId,
  type TypedEmitter,
  type WaMessageId,
} from '@eclusa/kernel'
import type { QueueCounts, QueueStats } from './counts.ts'
import type { Endings } from './endings.ts'
import { queueErrors } from './errors.ts'
import type { LiveMessages } from './live-messages.ts'
import type { OutboundContent, OutboundIdentity, OutboundStatus, Priority, QueueEvents } from './message.ts'
import type { DurableEvent, LivePosition, LiveRow, OutboundStore } from './outbound-store.ts'
import { refOf } from './receipts.ts'
import { DEFAULT_MAX_RETRIES } from './retry.ts'

export interface NewOutbound {
  readonly tenant: TenantId
  readonly instance: InstanceId
  /** Normalised: the same person under two ids would be two chats without a common order. */
  readonly chat: ChatId
  readonly content: OutboundContent
  /** Default `normal`. */
  readonly priority?: Priority
  /** Tries after the first that may fail, 0 to 20. Default 3. */
  readonly maxRetries?: number
  /** The same key with the same hash within 24 h answers with the first message. */
  readonly idempotency?: { readonly key: string; readonly bodyHash: string }
}

export interface Accepted {
  readonly id: MessageId
  readonly waMessageId: WaMessageId
  readonly state: 'PENDING'
  /** True when an idempotency key was known: nothing new was queued. */
  readonly replayed: boolean
  /** Messages of the instance that wait now, this one included. */
  readonly waiting: number
}

/** Who is told of what the outbox does: the dispatcher. */
export interface OutboxListener {
  /** A row of this chat is on disk. */
  accepted(message: OutboundIdentity, priority: number): void
  /** A row is gone because it was cancelled. */
  cancelled(message: OutboundIdentity): void
  /** Nothing more of this instance is sent. Resolves when nothing of it is under way, at the latest after 10 s. */
  instanceRemoved(instance: InstanceId): Promise<void>
}

const PRIORITIES: Readonly<Record<Priority, number>> = { urgent: 0, normal: 1, bulk: 2 }

/** WhatsApp's own limit of a text, in UTF-16 units. */
export const MAX_TEXT_LENGTH = 65_536
const MAX_RETRIES = 20
const CANCEL_STEP = 500
/** Chats that one step of counting looks at: about 3 ms of the one connection. */
const COUNT_STEP = 1000
/** Rows of each table that one step of forgetting an instance deletes: a few milliseconds of the one connection. */
const FORGET_STEP = 1000

/** Where messages are accepted, asked about and taken back. */
export class Outbox {
  readonly #store: OutboundStore
  readonly #counts: QueueCounts
  readonly #live: LiveMessages
  readonly #clock: Clock
  readonly #emitter: TypedEmitter<QueueEvents>
  readonly #endings: Endings
  readonly #listener: OutboxListener
  #lastSeq: number

  constructor(options: {
    readonly store: OutboundStore
    readonly counts: QueueCounts
    readonly live: LiveMessages
    readonly clock: Clock
    readonly emitter: TypedEmitter<QueueEvents>
    readonly endings: Endings
    readonly listener: OutboxListener
    /** The greatest seq ever given out. */
    readonly lastSeq: number
  }) {
    this.#store = options.store
    this.#counts = options.counts
    this.#live = options.live
    this.#clock = options.clock
    this.#emitter = options.emitter
    this.#endings = options.endings
    this.#listener = options.listener
    this.#lastSeq = options.lastSeq
  }

  /**
   * Puts a message in its chat's line; it is on disk when this resolves. Concurrent calls share a commit, and their
   * order is the order of the calls.
   * @throws QUEUE_BAD_CONTENT, QUEUE_IDEMPOTENCY_MISMATCH, STORAGE_FULL
   */
  async enqueue(message: NewOutbound): Promise<Accepted> {
    checkContent(message.content)
    const { tenant, instance, chat, content, idempotency = null } = message
    const maxRetries = Math.min(Math.max(message.maxRetries ?? DEFAULT_MAX_RETRIES, 0), MAX_RETRIES)
    const priority = PRIORITIES[message.priority ?? 'normal']
    // From here to the write without a pause: the order of seq is the order of the writes. A seq whose write fails is
    // not used again; nothing counts on the next one being there.
    const seq = ++this.#lastSeq
    const identity: OutboundIdentity = {
      id: makeMessageId(seq),
      seq,
      tenant,
      instance,
      chat,
      waMessageId: makeWaMessageId(),
      acceptedAt: this.#clock.now(),
    }
    const accepted: DurableEvent = {
      name: 'outbound.accepted',
      event: { ...refOf(identity), state: 'PENDING', at: identity.acceptedAt },
    }
    const replay = await this.#store.accept(
      identity,
      { content, priority, maxRetries, idempotency },
      accepted,
    )
    if (replay !== null) {
      if (replay.bodyHash !== idempotency?.bodyHash) throw new EclusaError(queueErrors.IDEMPOTENCY_MISMATCH)
      const waiting = this.#counts.waiting(instance)
      return {
        id: makeMessageId(replay.seq),
        waMessageId: replay.waMessageId,
        state: 'PENDING',
        replayed: true,
        waiting,
      }
    }
    this.#counts.move(tenant, instance, null, 'PENDING')
    this.#emitter.emit(accepted.name, accepted.event)
    this.#listener.accepted(identity, priority)
    const waiting = this.#counts.waiting(instance)
    return { id: identity.id, waMessageId: identity.waMessageId, state: 'PENDING', replayed: false, waiting }
  }

  /** Undefined when there never was such a message, or it ended more than 72 h ago. @throws KERNEL_BAD_ID */
  async status(id: MessageId): Promise<OutboundStatus | undefined> {
    const found = await this.#store.status(parseMessageId(id).seq)
    if (found === undefined) return undefined
    const { onTheWire: _, ...status } = found
    return status
  }

  /**
   * Takes a message back; one that is being typed stops at once. What may have reached WhatsApp cannot be taken back.
   * @throws QUEUE_NOT_FOUND, QUEUE_ON_THE_WIRE, QUEUE_FINISHED
   */
  async cancel(id: MessageId): Promise<OutboundStatus> {
    const { seq } = parseMessageId(id)
    const before = await this.#store.status(seq)
    if (before === undefined) throw new EclusaError(queueErrors.NOT_FOUND)
    const waits = before.state === 'PENDING' || before.state === 'PROCESSING'
    if (!waits) throw new EclusaError(queueErrors.FINISHED, { details: { state: before.state } })
    if (!before.onTheWire && (await this.#cancelRow({ ...before, seq }))) {
      const { onTheWire: _, ...status } = before
      return { ...status, state: 'CANCELLED' }
    }
    // It went on the wire, or ended, while we looked.
    const now = await this.#store.status(seq)
    if (now?.state === 'PENDING' || now?.state === 'PROCESSING')
      throw new EclusaError(queueErrors.ON_THE_WIRE)
    throw new EclusaError(queueErrors.FINISHED, { details: { state: now?.state ?? 'FORGOTTEN' } })
  }

  /**
   * Ends everything of an instance that is being removed; returns how many messages ended. What may have reached
   * WhatsApp fails with QUEUE_INSTANCE_REMOVED instead of being cancelled. What is on the wire gets 5 s to end by
   * itself. End its session first, and accept nothing more for it.
   */
  async cancelInstance(instance: InstanceId): Promise<number> {
    // What comes back from the wire waits again, so it must be back before the rows are read.
    await this.#listener.instanceRemoved(instance)
    let after: LivePosition = { chat: '', priority: 0, seq: 0 }
    let endedCount = 0
    for (;;) {
      const rows = await this.#store.rowsOfInstance(instance, after, CANCEL_STEP)
      const ended = await Promise.all(rows.map((row) => this.#endRow(row)))
      endedCount += ended.filter(Boolean).length
      const last = rows.at(-1)
      if (last === undefined || rows.length < CANCEL_STEP) return endedCount
      after = last.position
    }
  }

  /** `cancelInstance`, then no row of the instance is left in any table; returns how many messages ended. */
  async forgetInstance(instance: InstanceId): Promise<number> {
    const endedCount = await this.cancelInstance(instance)
    while (!(await this.#store.forgetInstanceStep(instance, FORGET_STEP)).isLast);
    this.#counts.forget(instance)
    return endedCount
  }

  stats(instance?: InstanceId): Promise<QueueStats> {
    return Promise.resolve(this.#counts.stats(instance))
  }

  /** How many chats have messages that wait: counted on disk in steps of 1,000, one seek each. */
  async countWaitingChats(): Promise<number> {
    let total = 0
    for (const instance of this.#counts.waitingInstances()) {
      let after: string | null = ''
      while (after !== null) {
        const step: { readonly count: number; readonly last: string | null } =
          await this.#store.countChatsAfter(instance, after, COUNT_STEP)
        total += step.count
        after = step.count < COUNT_STEP ? null : step.last
      }
    }
    return total
  }

  /** What a device asks for again because it could not decrypt it: kept until 24 h after the send. */
  async contentForRetry(
    instance: InstanceId,
    waMessageId: WaMessageId,
  ): Promise<OutboundContent | undefined> {
    const live = this.#live.byWaMessage(instance, waMessageId)
    const waiting = live && (await this.#store.rowContent(live.identity))
    return waiting ?? (await this.#store.sentContent(instance, waMessageId))
  }

  async #cancelRow(identity: OutboundIdentity): Promise<boolean> {
    const cancelled: DurableEvent = {
      name: 'outbound.cancelled',
      event: { ...refOf(identity), state: 'CANCELLED', at: this.#clock.now() },
    }
    const status = await this.#store.cancel(identity, cancelled)
    if (status === false) return false
    this.#counts.move(identity.tenant, identity.instance, status, null)
    this.#emitter.emit(cancelled.name, cancelled.event)
    this.#listener.cancelled(identity)
    return true
  }

  async #endRow(row: LiveRow): Promise<boolean> {
    if (!row.sent) return this.#cancelRow(row.identity)
    return (await this.#endings.end(row, queueErrors.INSTANCE_REMOVED)) !== null
  }
}

function checkContent(content: OutboundContent): void {
  if (content.text.length === 0 || content.text.length > MAX_TEXT_LENGTH) {
    throw new EclusaError(queueErrors.BAD_CONTENT, {
      message: `text must have 1 to ${MAX_TEXT_LENGTH} characters`,
      details: { field: 'text' },
    })
  }
}
