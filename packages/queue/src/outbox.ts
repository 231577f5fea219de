import {
  type ChatId,
  type Clock,
  DAY,
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
import { type Neighbours, type Statement, storageErrors } from '@eclusa/storage'
import type { ContentStore } from './content-store.ts'
import type { QueueCounts, QueueStats } from './counts.ts'
import type { Endings } from './endings.ts'
import { queueErrors } from './errors.ts'
import type { LiveMessages } from './live-messages.ts'
import type {
  OutboundContent,
  OutboundIdentity,
  OutboundStatus,
  Priority,
  Purpose,
  QueueEvents,
} from './message.ts'
import type { DurableEvent, LivePosition, LiveRow, NewRow, OutboundStore, Replay } from './outbound-store.ts'
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
  /** Default: whether the contact wrote in the last 24 hours decides. */
  readonly purpose?: Purpose
  /** Why; 1 to 200 characters, on record in the event log. Needed when it is urgent and proactive. */
  readonly reason?: string
  /** Not sent before; epoch milliseconds, at most a year ahead. Then it takes its place by acceptance. */
  readonly sendAt?: number
  /** Not sent after; epoch milliseconds. Default: 24 h after acceptance, or after `sendAt`. */
  readonly expiresAt?: number
  /** The same key with the same hash within 24 h answers with the first message. */
  readonly idempotency?: { readonly key: string; readonly bodyHash: string }
  /** What is committed together with the message, and not again for a known key. Inserts of rows of its own only. */
  readonly alongside?: (message: OutboundIdentity) => readonly Statement[]
}

export interface Accepted {
  readonly id: MessageId
  /** In the replay of a batch, that of its first message. */
  readonly waMessageId: WaMessageId
  readonly state: 'PENDING'
  /** True when an idempotency key was known: nothing new was queued. */
  readonly replayed: boolean
  /** Messages of the instance that wait now, this one included. */
  readonly waiting: number
}

/** Messages accepted together, in their order. */
export interface NewBatch {
  /** 1 to 100, of one instance; all are accepted, or none. */
  readonly messages: readonly Omit<NewOutbound, 'idempotency'>[]
  /** The same key with the same hash within 24 h, and until all of them ended, answers with the first ones. */
  readonly idempotency?: { readonly key: string; readonly bodyHash: string }
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
export const MAX_REASON_LENGTH = 200
/** Messages of one batch. */
export const MAX_BATCH = 100
const MAX_SEND_AHEAD_MS = 366 * DAY
const CANCEL_STEP = 500
/** Chats that one step of counting looks at: about 3 ms of the one connection. */
const COUNT_STEP = 1000
/** Rows of each table that one step of forgetting an instance deletes: a few milliseconds of the one connection. */
const FORGET_STEP = 1000

/** Where messages are accepted, asked about and taken back. */
export class Outbox {
  readonly #store: OutboundStore
  readonly #contents: ContentStore
  readonly #counts: QueueCounts
  readonly #live: LiveMessages
  readonly #clock: Clock
  readonly #emitter: TypedEmitter<QueueEvents>
  readonly #endings: Endings
  readonly #listener: OutboxListener
  readonly #neighbours: Neighbours
  readonly #held: (until: number) => void
  readonly #expireAfterMs: number
  readonly #forgetMore: (instance: InstanceId) => Promise<void>
  // Idempotency keys whose first answer is not known yet. bounded by: requests being answered
  readonly #inFlight = new Set<string>()
  #lastSeq: number

  constructor(options: {
    readonly store: OutboundStore
    readonly contents: ContentStore
    readonly counts: QueueCounts
    readonly live: LiveMessages
    readonly clock: Clock
    readonly emitter: TypedEmitter<QueueEvents>
    readonly endings: Endings
    readonly listener: OutboxListener
    readonly neighbours: Neighbours
    /** Is told that a message waits for a time outside of its chat's line. */
    readonly held: (until: number) => void
    readonly expireAfterMs: number
    /** Deletes what else is kept of an instance that is removed. */
    readonly forgetMore: (instance: InstanceId) => Promise<void>
    /** The greatest seq ever given out. */
    readonly lastSeq: number
  }) {
    this.#store = options.store
    this.#contents = options.contents
    this.#counts = options.counts
    this.#live = options.live
    this.#clock = options.clock
    this.#emitter = options.emitter
    this.#endings = options.endings
    this.#listener = options.listener
    this.#neighbours = options.neighbours
    this.#held = options.held
    this.#expireAfterMs = options.expireAfterMs
    this.#forgetMore = options.forgetMore
    this.#lastSeq = options.lastSeq
  }

  /**
   * Puts a message in its chat's line; it is on disk when this resolves. Concurrent calls share a commit, and their
   * order is the order of the calls.
   * @throws QUEUE_BAD_CONTENT, QUEUE_BAD_TIME, QUEUE_REASON_MISSING, QUEUE_IDEMPOTENCY_MISMATCH, QUEUE_IDEMPOTENCY_IN_FLIGHT, STORAGE_FULL
   */
  async enqueue(message: NewOutbound): Promise<Accepted> {
    const { idempotency, ...one } = message
    const [accepted] = await this.enqueueBatch({
      messages: [one],
      ...(idempotency === undefined ? {} : { idempotency }),
    })
    return accepted as Accepted
  }

  /** `enqueue` for up to 100 at once: all are on disk when it resolves, in their order, or none is. */
  async enqueueBatch({ messages, idempotency }: NewBatch): Promise<readonly Accepted[]> {
    if (messages.length === 0 || messages.length > MAX_BATCH) {
      throw new EclusaError(queueErrors.BAD_CONTENT, {
        message: `messages must be 1 to ${MAX_BATCH}`,
        details: { field: 'messages' },
      })
    }
    const now = this.#clock.now()
    for (const message of messages) {
      checkContent(message.content)
      checkTimes(message, now)
      checkReason(message)
    }
    if (idempotency === undefined) return this.#accept(messages, null)
    const key = `${messages[0]?.instance} ${idempotency.key}`
    if (this.#inFlight.has(key)) throw new EclusaError(queueErrors.IDEMPOTENCY_IN_FLIGHT)
    this.#inFlight.add(key)
    try {
      return await this.#accept(messages, idempotency)
    } finally {
      this.#inFlight.delete(key)
    }
  }

  /**
   * What `enqueue` answers to a key that it knows, for callers who would refuse a new message by now; undefined when the
   * key is new.
   * @throws QUEUE_IDEMPOTENCY_MISMATCH
   */
  async answerTo(
    instance: InstanceId,
    idempotency: { readonly key: string; readonly bodyHash: string },
  ): Promise<Accepted | undefined> {
    const replay = await this.#store.replayOf(instance, idempotency.key)
    return replay === undefined ? undefined : this.#replayed(replay, instance, idempotency)[0]
  }

  async #accept(
    messages: NewBatch['messages'],
    idempotency: { readonly key: string; readonly bodyHash: string } | null,
  ): Promise<readonly Accepted[]> {
    // From here to the write without a pause: the order of seq is the order of the writes. A seq whose write fails is
    // not used again; nothing counts on the next one being there.
    const rows = messages.map((message) => this.#rowOf(message))
    const { replay, isOurs } = await this.#write(rows, idempotency)
    if (replay !== null) return this.#replayed(replay, messages[0]?.instance, idempotency)
    for (const { identity, content, priority, notBefore, event } of rows) {
      this.#emitter.emit(event.name, event.event)
      if (!isOurs) continue
      this.#counts.move(identity.tenant, identity.instance, null, 'PENDING')
      if (notBefore === null) {
        this.#contents.remember(identity.seq, content)
        this.#listener.accepted(identity, priority)
      } else this.#held(notBefore)
    }
    return rows.map(({ identity: { id, waMessageId, instance } }) => ({
      id,
      waMessageId,
      state: 'PENDING',
      replayed: false,
      waiting: this.#counts.waiting(instance),
    }))
  }

  /** Where another process owns the instance, the rows are stored for it, and it is told. */
  async #write(
    rows: readonly NewRow[],
    idempotency: { readonly key: string; readonly bodyHash: string } | null,
  ): Promise<{ readonly replay: Replay | null; readonly isOurs: boolean }> {
    try {
      return { replay: await this.#store.accept(rows, idempotency), isOurs: true }
    } catch (error) {
      if (!(error instanceof EclusaError && error.code === storageErrors.NOT_OWNER.code)) throw error
    }
    const replay = await this.#store.accept(rows, idempotency, true)
    for (const { identity } of rows.slice(0, 1)) this.#neighbours.wake(identity.instance)
    return { replay, isOurs: false }
  }

  #rowOf(message: NewBatch['messages'][number]): NewRow {
    const { tenant, instance, chat, content, purpose = null, reason } = message
    const now = this.#clock.now()
    const seq = ++this.#lastSeq
    const identity: OutboundIdentity = {
      id: makeMessageId(seq),
      seq,
      tenant,
      instance,
      chat,
      waMessageId: makeWaMessageId(),
      acceptedAt: now,
    }
    const notBefore = message.sendAt === undefined || message.sendAt <= now ? null : message.sendAt
    const lastsUntil = notBefore === null ? null : notBefore + this.#expireAfterMs
    return {
      identity,
      content,
      priority: PRIORITIES[message.priority ?? 'normal'],
      maxRetries: Math.min(Math.max(message.maxRetries ?? DEFAULT_MAX_RETRIES, 0), MAX_RETRIES),
      purpose,
      notBefore,
      expiresAt: message.expiresAt ?? lastsUntil,
      alongside: message.alongside?.(identity) ?? [],
      event: {
        name: 'outbound.accepted',
        event: { ...refOf(identity), state: 'PENDING', at: now, ...(reason === undefined ? {} : { reason }) },
      },
    }
  }

  #replayed(
    replay: Replay,
    instance: InstanceId | undefined,
    idempotency: { readonly bodyHash: string } | null,
  ): readonly Accepted[] {
    if (replay.bodyHash !== idempotency?.bodyHash) throw new EclusaError(queueErrors.IDEMPOTENCY_MISMATCH)
    const waiting = instance === undefined ? 0 : this.#counts.waiting(instance)
    return Array.from({ length: replay.messageCount }, (_, nth) => ({
      id: makeMessageId(replay.seq + nth),
      waMessageId: replay.waMessageId,
      state: 'PENDING',
      replayed: true,
      waiting,
    }))
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
   * Takes back everything of a chat that was never handed to WhatsApp. `onTheWire`: what may have reached it, and goes
   * on.
   */
  async cancelChat(
    instance: InstanceId,
    chat: ChatId,
  ): Promise<{ readonly cancelled: number; readonly onTheWire: number }> {
    let after = { priority: -1, seq: 0 }
    let cancelled = 0
    let onTheWire = 0
    for (;;) {
      const rows = await this.#store.rowsOfChat(instance, chat, after, CANCEL_STEP)
      const ended = await Promise.all(
        rows.map(async (row) => !row.sent && (await this.#cancelRow(row.identity))),
      )
      cancelled += ended.filter(Boolean).length
      // What went on the wire while we looked, and did not end there.
      onTheWire += rows.filter((row, nth) => row.sent && ended[nth] === false).length
      const last = rows.at(-1)
      if (last === undefined || rows.length < CANCEL_STEP) return { cancelled, onTheWire }
      after = last.position
    }
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
    await this.#forgetMore(instance)
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
    const waiting = live && (await this.#contents.read(live.identity))
    return waiting ?? (await this.#contents.readSent(instance, waMessageId)) ?? undefined
  }

  /** What a message says, whatever became of it, as long as that is kept. */
  async contentOf({ id, ...message }: OutboundStatus): Promise<OutboundContent | null> {
    return this.#contents.read({ seq: parseMessageId(id).seq, ...message })
  }

  async #cancelRow(identity: OutboundIdentity): Promise<boolean> {
    const cancelled: DurableEvent = {
      name: 'outbound.cancelled',
      event: { ...refOf(identity), state: 'CANCELLED', at: this.#clock.now() },
    }
    const status = await this.#store.cancel(identity, cancelled)
    if (status === false) return false
    this.#contents.take(identity.seq)
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

/** Whoever passes others to write to somebody unasked says why. */
function checkReason({
  priority,
  purpose,
  reason,
}: Pick<NewOutbound, 'priority' | 'purpose' | 'reason'>): void {
  const isNeeded = priority === 'urgent' && purpose === 'proactive'
  if (reason === undefined ? isNeeded : reason.length === 0 || reason.length > MAX_REASON_LENGTH)
    throw new EclusaError(queueErrors.REASON_MISSING, { details: { field: 'reason' } })
}

function checkTimes({ sendAt, expiresAt }: Pick<NewOutbound, 'sendAt' | 'expiresAt'>, now: number): void {
  const bad = (field: string, rule: string): EclusaError =>
    new EclusaError(queueErrors.BAD_TIME, { message: `${field} ${rule}`, details: { field } })
  if (sendAt !== undefined && !(sendAt <= now + MAX_SEND_AHEAD_MS)) {
    throw bad('sendAt', 'must be a time within a year from now')
  }
  if (expiresAt !== undefined && !(expiresAt > Math.max(now, sendAt ?? 0))) {
    throw bad('expiresAt', 'must be in the future, and after sendAt')
  }
}
