import {
  type ChatId,
  type Clock,
  EclusaError,
  type ErrorKind,
  type InstanceId,
  type Logger,
  SECOND,
  type TenantId,
} from '@eclusa/kernel'
import type { TypedEmitter } from '@eclusa/kernel'
import type { CareOptions, HoldReason } from './care.ts'
import type { CareGate } from './care-gate.ts'
import { contentBytes, type ContentStore } from './content-store.ts'
import type { QueueCounts } from './counts.ts'
import type { DueHeap } from './due-heap.ts'
import { queueErrors } from './errors.ts'
import type { Holds } from './holds.ts'
import { type Chat, type Lane, type Line, type Next, NO_PRIORITY, pacingSignal } from './line.ts'
import { LiveMessage, type LiveMessages } from './live-messages.ts'
import type {
  MessageSender,
  OutboundContent,
  OutboundFailure,
  OutboundIdentity,
  OutboundMessage,
  Purpose,
  QueueEvents,
} from './message.ts'
import type { Claimed, Finish, Head, OutboundStore } from './outbound-store.ts'
import type { Pacer } from './pacer.ts'
import { pauseBetween, type PacingOptions } from './pacing.ts'
import { failedEvent, sentEvents } from './receipts.ts'
import { decideRetry, limitedForMs, type RetryDecision, type SendFailure, sendFailureOf } from './retry.ts'

/** The sender has a shorter deadline of its own; this one only catches a sender that forgot it. */
export const SEND_DEADLINE_MS: number = 120 * SECOND
/** After SESSION_OFFLINE an instance is tried again by itself, in case nobody tells us that it came back. */
const PROBE_OFFLINE_MS = 30 * SECOND
/** A rate that keeps a message waiting for longer does so on disk, not in a lane. */
const MAX_WAIT_IN_LANE_MS = 10 * SECOND
/** Answers by which WhatsApp says that strangers are to be left alone. */
const RESTRICTIONS: readonly string[] = ['SESSION_ACCOUNT_RESTRICTED', 'SESSION_RATE_LIMITED']

/** How a lane goes about it. */
interface Mode {
  readonly pacing: PacingOptions
  /** The claim was the beginning of the send. */
  readonly sendNow: boolean
}

/** After a message: what the chat does, or the lane goes on with the next, which is claimed. */
type AfterMessage = Next | { readonly kind: 'claimed'; readonly claimed: Claimed }

/** A message as it was before this try. */
interface Before {
  readonly attempts: number
  readonly sentAt: number | null
  readonly maxRetries: number
  /** Of its own; null: none. */
  readonly expiresAt: number | null
  readonly epoch: number
  readonly cold: { readonly isAnswered: boolean; readonly wasPaused: boolean } | null
}

/** What a delivery tells of the instance, beyond its own message. */
export interface DeliveryHost {
  /** No lane of the instance starts for so long; those that only pace wait again. */
  pause(line: Line, why: Line['pausedBy'], forMs: number): void
  /** The chat proves to be a person's who has another id now. */
  joinChats(instance: InstanceId, alias: ChatId): void
  /** A claim's place is free again. */
  claimEnded(): void
  isStopping(): boolean
  /** The lane may take its chat's next without a turn. */
  mayGoOn(lane: Lane): boolean
}

export interface DeliveryOptions {
  readonly store: OutboundStore
  readonly contents: ContentStore
  /** Contents on their way from disk at once. */
  readonly limits: { readonly maxClaims: number }
  readonly counts: QueueCounts
  readonly live: LiveMessages
  readonly holds: Holds
  readonly care: CareGate
  readonly pacer: Pacer
  readonly sender: MessageSender
  readonly due: DueHeap
  readonly clock: Clock
  readonly log: Logger
  readonly emitter: TypedEmitter<QueueEvents>
  readonly random: () => number
  readonly pacingOf: (tenant: TenantId, instance: InstanceId) => PacingOptions
  readonly careOf: (tenant: TenantId, instance: InstanceId) => CareOptions
  readonly expireAfterMs: number
  readonly host: DeliveryHost
  /** The id under which a person's chat is queued, as far as it is known now. */
  readonly canonical: (instance: InstanceId, chat: ChatId) => Promise<ChatId>
}

/** Takes the head of a chat through care, pacing, the send and the write that ends it. One call per lane. */
export class Delivery {
  readonly #options: DeliveryOptions
  readonly #store: OutboundStore
  readonly #contents: ContentStore
  readonly #live: LiveMessages
  readonly #holds: Holds
  readonly #care: CareGate
  readonly #pacer: Pacer
  readonly #due: DueHeap
  readonly #clock: Clock
  readonly #log: Logger
  readonly #host: DeliveryHost
  #claimCount = 0
  #contentBytes = 0
  #readCount = 0
  // Lanes whose content is read in its turn. bounded by: maxLanes
  readonly #readers: (() => void)[] = []

  constructor(options: DeliveryOptions) {
    this.#options = options
    this.#store = options.store
    this.#contents = options.contents
    this.#live = options.live
    this.#holds = options.holds
    this.#care = options.care
    this.#pacer = options.pacer
    this.#due = options.due
    this.#clock = options.clock
    this.#log = options.log
    this.#host = options.host
  }

  /** Claims on their way to the database. */
  get claimCount(): number {
    return this.#claimCount
  }

  /** Content of the messages in lanes. */
  get contentBytes(): number {
    return this.#contentBytes
  }

  /** Takes the chat's head as far as it goes, and what follows at once; throws only when the database does. */
  async deliver(lane: Lane): Promise<Next> {
    const { chat } = lane
    const { instance, tenant } = chat.line
    const pacing = this.#options.pacingOf(tenant, instance)
    const sendNow = !pacing.enabled && !this.#options.careOf(tenant, instance).enabled
    const how: Mode = { pacing, sendNow }
    let claimed: Claimed
    if (chat.unfinished === null) {
      if (chat.id.endsWith('@lid')) {
        // The number behind it may have become known since these were accepted, also while nobody listened.
        const to = await this.#options.canonical(instance, chat.id)
        if (to !== chat.id) {
          this.#host.joinChats(instance, chat.id)
          return { kind: 'wait', until: this.#clock.now() + SECOND, for: null }
        }
      }
      const freeAt = this.#care.contactFreeAt(tenant, instance, chat.id)
      if (freeAt > this.#clock.now()) return { kind: 'wait', until: freeAt, for: null }
      const first = await this.#claim(chat, sendNow)
      if (first === undefined) return this.#whatFollows(chat, 0)
      claimed = first
    } else {
      const { live, sentAt } = chat.unfinished
      const next = await this.#end(lane, live, sentAt, how)
      if (next.kind !== 'claimed') return next
      claimed = next.claimed
    }
    for (;;) {
      const next = await this.#carry(lane, claimed, how)
      if (next.kind !== 'claimed') return next
      claimed = next.claimed
      lane.stage = 'claiming'
      lane.heard = 'no'
    }
  }

  /** A claimed message with what it says, which is counted as long as it is carried. */
  async #carry(lane: Lane, claimed: Claimed, how: Mode): Promise<AfterMessage> {
    const { identity } = claimed
    const content = this.#contents.take(identity.seq) ?? (await this.#readContent(claimed))
    const bytes = content === null ? 0 : contentBytes(content)
    this.#contentBytes += bytes
    try {
      return await this.#walk(lane, claimed, content, how)
    } finally {
      this.#contentBytes -= bytes
    }
  }

  /** A few at a time: a text may be long, and lanes are many. */
  async #readContent({ identity }: Claimed): Promise<OutboundContent | null> {
    while (this.#readCount >= this.#options.limits.maxClaims) {
      await new Promise<void>((resolve) => this.#readers.push(resolve))
    }
    this.#readCount++
    try {
      return await this.#contents.read(identity)
    } finally {
      this.#readCount--
      this.#readers.shift()?.()
    }
  }

  /** The chat's head is not due, or it has none. */
  async #whatFollows(chat: Chat, pauseMs: number): Promise<Next> {
    const head = await this.#store.head(chat.line.instance, chat.id)
    return head === undefined ? { kind: 'empty' } : this.#nextOf(head, pauseMs)
  }

  async #claim(chat: Chat, sendNow: boolean): Promise<Claimed | undefined> {
    const { instance, tenant } = chat.line
    this.#claimCount++
    const inDoubt = chat.claimInDoubt
    chat.claimInDoubt = true
    try {
      const claimed = await this.#store.claim({ tenant, instance, chat: chat.id }, { sendNow, inDoubt })
      chat.claimInDoubt = false
      return claimed
    } finally {
      this.#claimCount--
      // A claim's place may be all that others waited for.
      queueMicrotask(() => this.#host.claimEnded())
    }
  }

  async #walk(
    lane: Lane,
    claimed: Claimed,
    content: OutboundContent | null,
    how: Mode,
  ): Promise<AfterMessage> {
    const { identity } = claimed
    const live = this.#liveOf(claimed)
    lane.live = live
    lane.priority = claimed.priority
    const received = live.receivedAt
    // WhatsApp had it before the last crash or time-out: not sent again.
    if (received !== null) return this.#end(lane, live, received, how)
    const expiresAt = claimed.expiresAt ?? identity.acceptedAt + this.#options.expireAfterMs
    if (expiresAt <= this.#clock.now()) return this.#fail(lane, live, queueErrors.MESSAGE_EXPIRED, how)
    if (content === null) {
      return this.#fail(
        lane,
        live,
        { code: 'STORAGE_SEAL_BROKEN', message: 'The stored content does not open' },
        how,
      )
    }
    const before: Before = {
      attempts: claimed.attempts - (how.sendNow ? 1 : 0),
      sentAt: claimed.sentAt,
      maxRetries: claimed.maxRetries,
      expiresAt: claimed.expiresAt,
      epoch: lane.chat.line.epoch,
      cold: null,
    }
    const message: OutboundMessage = { ...identity, content, attempts: before.attempts + 1 }
    // What was on the wire has been judged and typed already; but the contact may have opted out since.
    if (live.unconfirmed || before.attempts > 0) {
      const failure = await this.#care.refusal(identity, claimed.purpose)
      if (failure !== null) return this.#fail(lane, live, failure, how)
      return this.#start(lane, live, message, before, how)
    }
    const passage = await this.#care.pass(identity, {
      purpose: claimed.purpose,
      expiresAt: claimed.expiresAt,
      text: content.text,
    })
    switch (passage.kind) {
      case 'refuse':
        return this.#fail(lane, live, passage.failure, how)
      case 'hold':
        return this.#hold(lane, live, passage, before)
      case 'again':
        return this.#putBack(lane, live, before)
      case 'go':
        return this.#pass(lane, live, message, { ...before, cold: passage.cold }, how, {
          ...passage,
          purpose: claimed.purpose,
        })
      default:
        return passage satisfies never
    }
  }

  /** Waits for its place among the others, and is read, thought about and typed. */
  async #pass(
    lane: Lane,
    live: LiveMessage,
    message: OutboundMessage,
    before: Before,
    how: Mode,
    o: { readonly at: number; readonly mayType: boolean; readonly purpose: Purpose | null },
  ): Promise<AfterMessage> {
    const { at, mayType, purpose } = o
    const now = this.#clock.now()
    if (at > now + MAX_WAIT_IN_LANE_MS) return this.#putBack(lane, live, { ...before, retryAt: at })
    if (at > now) {
      lane.stage = 'waiting'
      await this.#due.wait(at, pacingSignal(lane))
    }
    // To somebody who is neither in conversation nor agreed, a reading and typing person would be a pretence.
    if (lane.why === null && how.pacing.enabled && mayType) await this.#pacer.walk(lane, message, how.pacing)
    if (lane.why === null && this.#clock.now() > now) {
      // They may have opted out meanwhile.
      const failure = await this.#care.refusal(live.identity, purpose)
      if (failure !== null && lane.why === null) return this.#fail(lane, live, failure, how)
    }
    return this.#start(lane, live, message, before, how)
  }

  /** The send begins, on disk first. */
  async #start(
    lane: Lane,
    live: LiveMessage,
    message: OutboundMessage,
    before: Before,
    how: Mode,
  ): Promise<AfterMessage> {
    if (lane.why !== null || !lane.chat.line.online) return this.#putBack(lane, live, before)
    if (before.cold !== null) await this.#care.sending(live.identity, before.cold)
    if (!how.sendNow && !(await this.#store.markSent(live.identity))) return this.#gone(live)
    return this.#send(lane, live, message, before, how)
  }

  /** Out of its chat's line until a time. */
  async #hold(
    lane: Lane,
    live: LiveMessage,
    why: {
      readonly reason: HoldReason
      readonly until: number
      readonly wholeChat: boolean
      readonly expiresAt: number | null
    },
    row: { readonly attempts: number },
  ): Promise<Next> {
    if (lane.why === 'cancelled') return this.#gone(live)
    const { identity } = live
    const { attempts } = row
    const held = await live.exclusively(async () => {
      const held = await this.#holds.hold(identity, { ...why, attempts, sentAt: null })
      if (held) live.processing = false
      return held
    })
    if (!held) return this.#gone(live)
    this.#options.counts.move(identity.tenant, identity.instance, 'PROCESSING', 'PENDING')
    this.#live.remove(live)
    this.#log.debug(
      { instance: identity.instance, seq: identity.seq, reason: why.reason },
      'message held back',
    )
    return { kind: 'again' }
  }

  async #send(
    lane: Lane,
    live: LiveMessage,
    message: OutboundMessage,
    before: Before,
    how: Mode,
  ): Promise<AfterMessage> {
    const { line } = lane.chat
    const { epoch } = line
    lane.stage = 'sending'
    this.#pacer.tell('outbound.sending', message)
    lane.onTheWire = true
    let ackedAt: number
    try {
      ackedAt = (await this.#withDeadline(lane, live, message)).ackedAt
    } catch (error) {
      return await this.#afterFailedSend(lane, live, sendFailureOf(error), { ...before, epoch }, how)
    } finally {
      lane.onTheWire = false
    }
    line.limitedCount = 0
    if (before.cold?.wasPaused === true) await this.#care.passed(live.identity)
    return this.#end(lane, live, ackedAt, how)
  }

  /** Ends with the acknowledgement, a receipt, which is the better one, or the deadline. */
  #withDeadline(
    lane: Lane,
    live: LiveMessage,
    message: OutboundMessage,
  ): Promise<{ readonly ackedAt: number }> {
    return new Promise((resolve, reject) => {
      const ended = (): void => {
        if (lane.giveUp === giveUp) lane.giveUp = null
        live.onReceived = null
        due.cancel()
      }
      const giveUp = (why: ErrorKind): void => {
        ended()
        lane.sending.abort()
        reject(new EclusaError(why))
      }
      lane.giveUp = giveUp
      live.onReceived = (at) => {
        ended()
        // Nobody waits for the other one any more.
        lane.sending.abort()
        resolve({ ackedAt: at })
      }
      const due = this.#due.add(this.#clock.now() + SEND_DEADLINE_MS, () => giveUp(queueErrors.SEND_TIMEOUT))
      this.#options.sender.send(message, lane.sending.signal).then(
        (answer) => {
          ended()
          resolve(answer)
        },
        (error: unknown) => {
          ended()
          reject(error)
        },
      )
    })
  }

  async #afterFailedSend(
    lane: Lane,
    live: LiveMessage,
    failure: SendFailure,
    before: Before,
    how: Mode,
  ): Promise<AfterMessage> {
    const { seq, instance } = live.identity
    const attempts = before.attempts + 1
    if (failure.delivered === 'unknown') live.unconfirmed = true
    // A receipt is the better acknowledgement.
    const received = live.receivedAt
    if (received !== null) return this.#end(lane, live, received, how)
    // We gave it up ourselves: as after a crash, the try does not count.
    if (this.#host.isStopping() && lane.sending.signal.aborted) {
      return this.#putBack(lane, live, {
        attempts: before.attempts,
        sentAt: before.sentAt ?? this.#clock.now(),
      })
    }
    // Of somebody we may not write to first, only such chats learn; conversations flow.
    if (before.cold !== null && RESTRICTIONS.includes(failure.code)) {
      return this.#hold(
        lane,
        live,
        await this.#care.restricted(live.identity, failure.code, before.expiresAt),
        before,
      )
    }
    const { random } = this.#options
    const decision = decideRetry({ failure, attempts, maxRetries: before.maxRetries, random })
    this.#log.debug({ instance, seq, code: failure.code, attempts, decision: decision.kind }, 'send failed')
    return this.#carryOut(decision, lane, live, failure, { ...before, attempts }, how)
  }

  #carryOut(
    decision: RetryDecision,
    lane: Lane,
    live: LiveMessage,
    failure: SendFailure,
    tried: { readonly attempts: number; readonly sentAt: number | null; readonly epoch: number },
    how: Mode,
  ): Promise<AfterMessage> {
    const { chat } = lane
    const uncounted = { attempts: tried.attempts - 1, sentAt: tried.sentAt ?? this.#clock.now() }
    switch (decision.kind) {
      case 'sent':
        return this.#end(lane, live, this.#clock.now(), how)
      case 'fail':
        return this.#fail(lane, live, failure, how)
      case 'retry': {
        const retryAt = this.#clock.now() + decision.afterMs
        return this.#putBack(lane, live, { attempts: tried.attempts, sentAt: uncounted.sentAt, retryAt })
      }
      case 'instance-offline':
        // Unless it came online after this send began.
        if (chat.line.epoch === tried.epoch) this.#host.pause(chat.line, 'OFFLINE', PROBE_OFFLINE_MS)
        return this.#putBack(lane, live, uncounted)
      case 'instance-limited':
        if (chat.line.pause === null || chat.line.pausedBy === 'INSTANCE_RATE') {
          const forMs = limitedForMs(++chat.line.limitedCount, this.#options.random)
          this.#log.warn(
            { instance: chat.line.instance, forMs },
            'WhatsApp limits this instance; it sends again by itself, send less if this repeats',
          )
          this.#host.pause(chat.line, 'LIMITED', forMs)
        }
        return this.#putBack(lane, live, uncounted)
      default:
        return decision satisfies never
    }
  }

  // —— the writes that move or end a message ——

  /** WhatsApp has it. The same write claims the chat's next where that may go at once. */
  async #end(lane: Lane, live: LiveMessage, ackAt: number, how: Mode): Promise<AfterMessage> {
    const { chat } = lane
    // Then the answer to the write before may have been lost, and the row have ended with it.
    const isAgain = chat.unfinished !== null
    chat.unfinished = { live, sentAt: ackAt }
    const { identity } = live
    const claims = how.sendNow && this.#host.mayGoOn(lane)
    if (claims) chat.arrived = NO_PRIORITY
    const { events, result } = await live.exclusively(async () => {
      // A receipt can be heard before the acknowledgement; what was received was sent.
      const sentAt = Math.min(ackAt, live.receivedAt ?? ackAt)
      const events = sentEvents(identity, sentAt, live)
      const finish: Finish = { sentAt, status: 'PROCESSING', events }
      const result = claims
        ? await this.#finishAndClaim(chat, identity, finish)
        : await this.#store.finish(identity, finish)
      live.ended = true
      return { events, result }
    })
    chat.unfinished = null
    this.#live.remove(live)
    if (result === false && !isAgain) {
      this.#log.error(
        { instance: identity.instance, seq: identity.seq },
        'a sent message had no row any more',
      )
      return { kind: 'again' }
    }
    this.#options.counts.move(identity.tenant, identity.instance, 'PROCESSING', null)
    for (const { name, event } of events) this.#options.emitter.emit(name, event)
    if (result === false) return { kind: 'again' }
    if ('claimed' in result) {
      const { claimed } = result
      return claimed === undefined ? this.#whatFollows(chat, 0) : { kind: 'claimed', claimed }
    }
    if (result.next === undefined) return { kind: 'empty' }
    return this.#nextOf(result.next, pauseBetween(how.pacing, this.#options.random))
  }

  async #finishAndClaim(
    chat: Chat,
    identity: OutboundIdentity,
    finish: Finish,
  ): Promise<{ readonly claimed: Claimed | undefined } | false> {
    const inDoubt = chat.claimInDoubt
    chat.claimInDoubt = true
    const result = await this.#store.finishAndClaim(identity, finish, { sendNow: true, inDoubt })
    // Without a row to end there was no claim either, and what was in doubt still is.
    chat.claimInDoubt = result === false && inDoubt
    return result
  }

  async #fail(lane: Lane, live: LiveMessage, why: OutboundFailure, how: Mode): Promise<AfterMessage> {
    const { identity } = live
    const failure = { code: why.code, message: why.message }
    const event = failedEvent(identity, this.#clock.now(), failure)
    const outcome = await live.exclusively(async () => {
      const outcome = await this.#store.fail(identity, { failure, status: 'PROCESSING', event })
      if (outcome.kind === 'arrived') {
        live.deliveredAt = outcome.deliveredAt
        live.readAt = outcome.readAt
      } else live.ended = true
      return outcome
    })
    // A receipt that came while the last try was failing: it did arrive.
    if (outcome.kind === 'arrived') return this.#end(lane, live, live.receivedAt ?? this.#clock.now(), how)
    this.#live.remove(live)
    if (outcome.kind === 'gone') return { kind: 'again' }
    this.#options.counts.move(identity.tenant, identity.instance, 'PROCESSING', 'FAILED')
    this.#options.emitter.emit(event.name, event.event)
    return { kind: 'again' }
  }

  /** As it was before this lane, or with one more try and a time for the next. */
  async #putBack(
    lane: Lane,
    live: LiveMessage,
    row: { readonly attempts: number; readonly sentAt: number | null; readonly retryAt?: number },
  ): Promise<Next> {
    if (lane.why === 'cancelled') return this.#gone(live)
    const { tenant, instance } = live.identity
    const { attempts, retryAt = null } = row
    // While nobody knows whether it arrived it cannot be cancelled, and its receipt counts.
    const sentAt = live.unconfirmed ? row.sentAt : null
    if (!(await this.#store.putBack(live.identity, { attempts, retryAt, sentAt }))) return this.#gone(live)
    this.#options.counts.move(tenant, instance, 'PROCESSING', 'PENDING')
    live.processing = false
    if (!live.unconfirmed) this.#live.remove(live)
    if (retryAt === null) return { kind: 'again' }
    return { kind: 'wait', until: retryAt, for: lane.priority }
  }

  /** Cancelled under our hands; whoever cancelled it has counted it. */
  #gone(live: LiveMessage): Promise<Next> {
    live.ended = true
    this.#live.remove(live)
    return Promise.resolve({ kind: 'again' })
  }

  #nextOf(head: Head, pauseMs: number): Next {
    const now = this.#clock.now()
    if (head.retryAt !== null && head.retryAt > now) {
      return { kind: 'wait', until: Math.max(head.retryAt, now + pauseMs), for: head.priority }
    }
    return pauseMs > 0 ? { kind: 'wait', until: now + pauseMs, for: null } : { kind: 'again' }
  }

  /** The claimed message as live; it may have been before. */
  #liveOf(claimed: Claimed): LiveMessage {
    const { identity } = claimed
    let live = this.#live.bySeq(identity.seq)
    if (live === undefined) {
      live = new LiveMessage(identity, {
        processing: false,
        unconfirmed: false,
        deliveredAt: claimed.receiptDeliveredAt,
        readAt: claimed.receiptReadAt,
      })
      this.#live.add(live)
    }
    if (!live.processing) {
      live.processing = true
      this.#options.counts.move(identity.tenant, identity.instance, 'PENDING', 'PROCESSING')
    }
    return live
  }
}
