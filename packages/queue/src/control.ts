import {
  type ChatId,
  type Clock,
  EclusaError,
  type InstanceId,
  makeMessageId,
  type MessageId,
  parseMessageId,
  type TenantId,
  type TypedEmitter,
} from '@eclusa/kernel'
import type { Neighbours } from '@eclusa/storage'
import type { CareGate } from './care-gate.ts'
import type { ChatMergeStore } from './chat-merge-store.ts'
import type { ColdPause } from './cold-store.ts'
import type { ControlStore, ListedMessage, ListFilter } from './control-store.ts'
import type { QueueCounts, QueueStats } from './counts.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Health } from './health.ts'
import { queueErrors } from './errors.ts'
import { LiveMessage, type LiveMessages } from './live-messages.ts'
import type { OutboundIdentity, OutboundStatus, QueueEvents } from './message.ts'
import type { DurableEvent } from './outbound-store.ts'
import type { Pause } from './pause-store.ts'
import type { Pauses } from './pauses.ts'
import { refOf } from './receipts.ts'
import { type Waiting, whyWaiting } from './why.ts'

/** A page of messages, newest first. */
export interface MessagePage {
  readonly items: readonly OutboundStatus[]
  /** Give it as `before` to go on; null at the end. A page may be empty and not the last. */
  readonly next: MessageId | null
}

/** How the queue of an instance is. */
export interface InstanceQueue extends QueueStats {
  /** When the oldest unfinished message was accepted; epoch milliseconds. */
  readonly oldestAt: number | null
  readonly isOnline: boolean
  /** What people paused of it: itself, its tenant, chats. */
  readonly pauses: readonly Pause[]
  /** WhatsApp restricts it: only conversations flow. */
  readonly coldPause: ColdPause | null
  /** Whether people want what it sends them unasked. */
  readonly health: Health
}

const MAX_PAGE = 500
/** The number before it in its chat is counted up to here. */
const MAX_AHEAD = 1000
const RETRY_STEP = 500

/** What people ask about messages that wait and ended, and do to them. */
export class QueueControl {
  readonly #store: ControlStore
  readonly #merges: ChatMergeStore
  readonly #pauses: Pauses
  readonly #dispatcher: Dispatcher
  readonly #counts: QueueCounts
  readonly #live: LiveMessages
  readonly #care: CareGate
  readonly #clock: Clock
  readonly #emitter: TypedEmitter<QueueEvents>
  readonly #canonical: (instance: InstanceId, chat: ChatId) => Promise<ChatId>
  readonly #neighbours: Neighbours
  readonly #expireAfterMs: number

  constructor(options: {
    readonly store: ControlStore
    readonly merges: ChatMergeStore
    readonly pauses: Pauses
    readonly dispatcher: Dispatcher
    readonly counts: QueueCounts
    readonly live: LiveMessages
    readonly care: CareGate
    readonly clock: Clock
    readonly emitter: TypedEmitter<QueueEvents>
    readonly canonical: (instance: InstanceId, chat: ChatId) => Promise<ChatId>
    readonly neighbours: Neighbours
    readonly expireAfterMs: number
  }) {
    this.#store = options.store
    this.#merges = options.merges
    this.#pauses = options.pauses
    this.#dispatcher = options.dispatcher
    this.#counts = options.counts
    this.#live = options.live
    this.#care = options.care
    this.#clock = options.clock
    this.#emitter = options.emitter
    this.#canonical = options.canonical
    this.#neighbours = options.neighbours
    this.#expireAfterMs = options.expireAfterMs
  }

  /** At most `limit` (1 to 500) messages, newest first, accepted before `before`. @throws KERNEL_BAD_ID */
  async list(
    filter: ListFilter & { readonly before?: MessageId; readonly limit: number },
  ): Promise<MessagePage> {
    const before = filter.before === undefined ? Number.MAX_SAFE_INTEGER : parseMessageId(filter.before).seq
    const limit = Math.min(Math.max(filter.limit, 1), MAX_PAGE)
    const { items, next } = await this.#store.list(filter, before, limit)
    return { items: items.map(statusOf), next: next === null ? null : makeMessageId(next) }
  }

  /** Everything that keeps a message from being sent now; empty when it does not wait. */
  async why(
    id: MessageId,
  ): Promise<{ readonly waits: readonly Waiting[]; readonly expiresAt: number | null }> {
    const row = await this.#store.waiting(parseMessageId(id).seq)
    if (row === undefined || row.status === 'FAILED') return { waits: [], expiresAt: null }
    const { tenant, instance, chat, acceptedAt } = row.identity
    const expiresAt = row.expiresAt ?? acceptedAt + this.#expireAfterMs
    const waits = whyWaiting({
      expiresAt,
      row,
      view: this.#dispatcher.view(row.identity),
      aheadCount: await this.#store.aheadOf(row, MAX_AHEAD),
      paused: {
        tenant: this.#pauses.isTenantPaused(tenant),
        instance: this.#pauses.isInstancePaused(instance),
        chat: this.#pauses.isChatPaused(instance, chat),
      },
      now: this.#clock.now(),
    })
    return { waits, expiresAt }
  }

  /** To the head of its chat, and due at once; care still applies. @throws QUEUE_NOT_FOUND, QUEUE_NOT_WAITING */
  async moveToNow(id: MessageId): Promise<void> {
    const row = await this.#store.waiting(parseMessageId(id).seq)
    if (row === undefined) throw new EclusaError(queueErrors.NOT_WAITING)
    if (!(await this.#store.moveToNow(row.identity, this.#expireAfterMs)))
      throw new EclusaError(queueErrors.NOT_WAITING)
    this.#dispatcher.changed(row.identity)
  }

  /** A failed message waits again, with as many tries as at first. @throws QUEUE_NOT_FAILED */
  async retry(id: MessageId): Promise<void> {
    const row = await this.#store.waiting(parseMessageId(id).seq)
    if (row?.status !== 'FAILED' || !(await this.#retry(row.identity))) {
      throw new EclusaError(queueErrors.NOT_FAILED)
    }
  }

  /** All failed messages of an instance whose text is still kept; how many wait again. */
  async retryFailed(instance: InstanceId): Promise<number> {
    let after = { chat: '', seq: 0 }
    let count = 0
    for (;;) {
      const failed = await this.#store.failedOf(instance, after, RETRY_STEP)
      const retried = await Promise.all(failed.map((identity) => this.#retry(identity)))
      count += retried.filter(Boolean).length
      const last = failed.at(-1)
      if (last === undefined || failed.length < RETRY_STEP) return count
      after = { chat: last.chat, seq: last.seq }
    }
  }

  /**
   * Nothing of it starts until it is resumed, also after a restart; what is being typed stops, what is on the wire
   * ends. Messages are accepted all the same.
   * @throws QUEUE_TOO_MANY_PAUSES
   */
  async pause(what: Pause): Promise<void> {
    await this.#pauses.pause(what)
    this.#dispatcher.paused(what)
    this.#neighbours.wake(what.instance)
  }

  async resume(what: Pause): Promise<void> {
    await this.#pauses.resume(what)
    this.#dispatcher.resumed(what)
    this.#neighbours.wake(what.instance)
  }

  /**
   * More is known of who `aliases` are: what waits under an id that is not a person's only one joins the line of the
   * other, in order of acceptance.
   */
  async joinChats(instance: InstanceId, aliases: readonly ChatId[]): Promise<void> {
    if (this.#counts.waiting(instance) === 0) return
    for (const from of await this.#merges.withRows(instance, aliases)) {
      const to = await this.#canonical(instance, from)
      if (to === from) continue
      await this.#dispatcher.merge(instance, from, to, async () => {
        await this.#merges.merge(instance, from, to)
        await this.#pauses.reload()
      })
    }
  }

  /** How the queue of an instance is. */
  async instance(tenant: TenantId, instance: InstanceId): Promise<InstanceQueue> {
    const [oldestAt, coldPause] = await Promise.all([
      this.#store.oldestOf(instance),
      this.#care.coldPause(instance),
    ])
    const now = this.#clock.now()
    return {
      ...this.#counts.stats(instance),
      oldestAt,
      isOnline: this.#dispatcher.view({ instance, chat: '' as ChatId }).isOnline,
      pauses: this.#pauses.of(tenant, instance),
      health: this.#care.health(instance),
      coldPause: coldPause !== null && coldPause.until > now ? coldPause : null,
    }
  }

  isTenantPaused(tenant: TenantId): boolean {
    return this.#pauses.isTenantPaused(tenant)
  }

  async #retry(identity: OutboundIdentity): Promise<boolean> {
    const event: DurableEvent = {
      name: 'outbound.retried',
      event: { ...refOf(identity), state: 'PENDING', at: this.#clock.now() },
    }
    const retried = await this.#store.retry(identity, this.#expireAfterMs, event)
    if (retried === undefined) return false
    if (retried.sent && this.#live.bySeq(identity.seq) === undefined) {
      // Its receipt may still come; that ends it without another send.
      const row = { processing: false, unconfirmed: true, deliveredAt: null, readAt: null }
      this.#live.add(new LiveMessage(identity, row))
    }
    this.#counts.move(identity.tenant, identity.instance, 'FAILED', 'PENDING')
    this.#emitter.emit(event.name, event.event)
    this.#dispatcher.accepted(identity, 1)
    return true
  }
}

function statusOf({ identity, ...rest }: ListedMessage): OutboundStatus {
  const { seq: _, ...who } = identity
  return { ...who, ...rest }
}
