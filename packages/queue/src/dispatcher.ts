import {
  type ChatId,
  type Clock,
  DAY,
  EclusaError,
  type ErrorKind,
  type InstanceId,
  type Lifecycle,
  type Logger,
  MIB,
  SECOND,
  type TenantId,
  type TypedEmitter,
} from '@eclusa/kernel'
import type { QueueCounts } from './counts.ts'
import { type Due, DueHeap } from './due-heap.ts'
import { queueErrors } from './errors.ts'
import { LiveMessage, type LiveMessages } from './live-messages.ts'
import type {
  ChatContext,
  LiveEventName,
  MessageSender,
  OutboundFailure,
  OutboundIdentity,
  OutboundMessage,
  QueueEvents,
} from './message.ts'
import type { OutboxListener } from './outbox.ts'
import type { Claimed, Head, OutboundStore } from './outbound-store.ts'
import { pauseBetween, planPacing, type PacingOptions } from './pacing.ts'
import { failedEvent, type Receipt, type Receipts, refOf, sentEvents } from './receipts.ts'
import { decideRetry, limitedForMs, type RetryDecision, sendFailureOf, type SendFailure } from './retry.ts'
import { Turns } from './turns.ts'

/** What bounds the dispatcher's memory and the pressure on WhatsApp. */
export interface DispatcherLimits {
  /** Messages being paced or sent at once. */
  readonly maxLanes: number
  readonly maxLanesPerInstance: number
  /** Chats known in memory to have rows; the others are found again by cursor. */
  readonly maxOpenChats: number
  readonly maxOpenChatsPerInstance: number
  /** Sealed content of the messages in lanes; past it no lane starts. */
  readonly maxContentBytes: number
  /** Claims on their way to the database: by so much the bytes above may be passed. */
  readonly maxClaims: number
}

export const defaultDispatcherLimits: DispatcherLimits = {
  maxLanes: 2000,
  maxLanesPerInstance: 200,
  maxOpenChats: 20_000,
  maxOpenChatsPerInstance: 2000,
  maxContentBytes: 32 * MIB,
  maxClaims: 256,
}

export interface DispatcherOptions {
  readonly store: OutboundStore
  readonly counts: QueueCounts
  readonly live: LiveMessages
  readonly receipts: Receipts
  readonly sender: MessageSender
  readonly context: ChatContext
  readonly clock: Clock
  readonly log: Logger
  readonly emitter: TypedEmitter<QueueEvents>
  /** In [0, 1). */
  readonly random: () => number
  readonly pacingOf: (tenant: TenantId, instance: InstanceId) => PacingOptions
  readonly limits: DispatcherLimits
  readonly expireAfterMs: number
}

/** Document 1: a message that waited longer is not sent any more. */
export const DEFAULT_EXPIRE_AFTER_MS = DAY
/** The sender has a shorter deadline of its own; this one only catches a sender that forgot it. */
export const SEND_DEADLINE_MS: number = 120 * SECOND
/** Presence and read marks are courtesy: none holds a message up for longer. */
const COURTESY_DEADLINE_MS = 5 * SECOND
/** WhatsApp drops "typing…" after about 10 s without a renewal. */
const RENEW_TYPING_MS = 10 * SECOND
/** After SESSION_OFFLINE an instance is tried again by itself, in case nobody tells us that it came back. */
const PROBE_OFFLINE_MS = 30 * SECOND
const STOP_WITHIN_MS = 5 * SECOND
/** What is on the wire of an instance that is being removed ends by itself so long; then nobody waits for it. */
const REMOVE_WITHIN_MS = 5 * SECOND
/** A chat whose database write failed tries again after 1 s, 2 s, 4 s … 30 s. */
const MAX_DATABASE_BACKOFF_MS = 30 * SECOND
/** Chats read per step when the window is refilled, so that no step holds the connection long. */
const REFILL_STEP = 50
const NO_PRIORITY = 9

/** An instance that is online, or still has lanes. */
interface Line {
  readonly instance: InstanceId
  /** Known with its first chat. */
  tenant: TenantId
  online: boolean
  /** Counts `instanceOnline`: an offline error from before the last one is old news. */
  epoch: number
  /** Set while it backs off or probes. */
  pause: Due | null
  limitedCount: number
  // bounded by: maxLanesPerInstance
  readonly lanes: Set<Lane>
  // Chats that may start, oldest first. bounded by: maxOpenChatsPerInstance
  readonly ready: Set<Chat>
  // bounded by: maxOpenChatsPerInstance
  readonly chats: Set<Chat>
  /** Chats after this id may have rows that the window does not know; null when it knows all. */
  cursor: string | null
  /** A chat behind the cursor found no place: go round once more. */
  missed: boolean
  /** Resolved when the line is forgotten: offline, and nothing under way. */
  readonly idle: PromiseWithResolvers<void>
}

/**
 * A chat in the window:
 *
 * | state   | means                                             | left by                                  |
 * |---------|---------------------------------------------------|------------------------------------------|
 * | ready   | may have a message that is due                    | its turn → busy                          |
 * | busy    | has a lane: its head is claimed, paced, sent      | the lane's end → ready, waiting, closed  |
 * | waiting | its head is due later, or it pauses               | the time, or a more urgent message       |
 * | closed  | left the window: no rows, or the instance is away | –                                        |
 */
interface Chat {
  readonly line: Line
  readonly id: ChatId
  state: 'ready' | 'busy' | 'waiting' | 'closed'
  due: Due | null
  /** What waits has this priority; a message before it ends the wait. Null: nothing ends it early. */
  waitsFor: number | null
  /** The most urgent priority accepted while busy; NO_PRIORITY when none. */
  arrived: number
  /** Acknowledged, but the write that says so failed: it is written again, never sent again. */
  unfinished: { readonly live: LiveMessage; readonly sentAt: number } | null
  databaseFailures: number
}

interface Lane {
  readonly chat: Chat
  /** Ends a pacing wait at once. */
  readonly pacing: AbortController
  /** Handed to the sender; ends when we stop. */
  readonly sending: AbortController
  why: 'cancelled' | 'away' | 'stopping' | null
  live: LiveMessage | null
  /** Of the claimed message. */
  priority: number
  onTheWire: boolean
  /** Ends the wait for a send whose end nobody will learn; null while there is none. */
  giveUp: ((why: ErrorKind) => void) | null
}

/** What a chat does after a lane. */
type Next =
  | { readonly kind: 'empty' }
  | { readonly kind: 'again' }
  | { readonly kind: 'wait'; readonly until: number; readonly for: number | null }

/**
 * Decides in memory which chat goes next, and walks its head through pacing, the send and the write that ends it.
 * SQL is the log: each step is on disk before the next one begins. One lane per chat; tenants and their instances
 * take turns.
 */
export class Dispatcher implements Lifecycle, OutboxListener {
  readonly #options: DispatcherOptions
  readonly #clock: Clock
  readonly #log: Logger
  readonly #store: OutboundStore
  readonly #live: LiveMessages
  readonly #due: DueHeap
  // bounded by: instances online, or with lanes
  readonly #lines = new Map<InstanceId, Line>()
  // bounded by: maxOpenChats (and one per lane of an instance that went away)
  readonly #chats = new Map<string, Chat>()
  readonly #turns = new Turns<Line>()
  // Lines with rows the window may not know. bounded by: #lines
  readonly #backlog = new Set<Line>()
  #laneCount = 0
  #claimCount = 0
  #contentBytes = 0
  #refilling = false
  #running = false
  #stopped: Promise<void> | null = null
  #onNoLanes: (() => void) | null = null

  constructor(options: DispatcherOptions) {
    this.#options = options
    this.#clock = options.clock
    this.#log = options.log
    this.#store = options.store
    this.#live = options.live
    this.#due = new DueHeap(options.clock)
  }

  /** Lets instances go as they come online. */
  start(): Promise<void> {
    if (this.#stopped === null) {
      this.#running = true
      this.#pump()
    }
    return Promise.resolve()
  }

  /** What is being paced waits again; what is on the wire gets up to 5 s to end. Nothing is lost either way. */
  stop(): Promise<void> {
    this.#stopped ??= this.#finish()
    return this.#stopped
  }

  /** How much is in memory now. */
  stats(): {
    readonly lanes: number
    readonly openChats: number
    readonly lines: number
    readonly timers: number
  } {
    return {
      lanes: this.#laneCount,
      openChats: this.#chats.size,
      lines: this.#lines.size,
      timers: this.#due.size,
    }
  }

  /** The session came up: rows of the instance may go. */
  instanceOnline(instance: InstanceId): void {
    if (this.#stopped !== null) return
    let line = this.#lines.get(instance)
    if (line === undefined) this.#lines.set(instance, (line = newLine(instance)))
    line.online = true
    line.epoch++
    line.pause?.cancel()
    line.pause = null
    line.cursor = ''
    line.missed = false
    this.#backlog.add(line)
    this.#consider(line)
    this.#pump()
  }

  /** The session went away: what is being paced waits again, what is on the wire ends as it ends. */
  instanceOffline(instance: InstanceId): void {
    const line = this.#lines.get(instance)
    if (line === undefined) return
    line.online = false
    line.pause?.cancel()
    line.pause = null
    line.cursor = null
    this.#backlog.delete(line)
    this.#interrupt(line, 'away')
    // Its rows stay; `instanceOnline` finds them again. Until then it holds no memory.
    for (const chat of line.chats) {
      if (chat.state !== 'busy' && chat.unfinished === null) this.#close(chat)
    }
    this.#consider(line)
    this.#forgetIfIdle(line)
    this.#pump()
  }

  /** Durable when it resolves; late, repeated and out-of-order receipts are harmless. */
  recordReceipt(receipt: Receipt): Promise<void> {
    return this.#options.receipts.record(receipt)
  }

  accepted(message: OutboundIdentity, priority: number): void {
    const line = this.#lines.get(message.instance)
    if (line === undefined || !line.online) return
    const chat = this.#chats.get(keyOf(message))
    if (chat === undefined) {
      if (this.#mayOpen(line)) this.#open(line, message.tenant, message.chat)
      else {
        if (line.cursor === null) line.cursor = ''
        else line.missed = true
        this.#backlog.add(line)
      }
    } else if (chat.state === 'busy') {
      chat.arrived = Math.min(chat.arrived, priority)
    } else if (chat.state === 'waiting' && chat.waitsFor !== null && priority < chat.waitsFor) {
      this.#makeReady(chat)
    }
    this.#pump()
  }

  cancelled(message: OutboundIdentity): void {
    const chat = this.#chats.get(keyOf(message))
    // It may have been the head for which the chat waits.
    if (chat?.state === 'waiting' && chat.waitsFor !== null) this.#makeReady(chat)
    const live = this.#live.bySeq(message.seq)
    if (live !== undefined) {
      live.ended = true
      this.#live.remove(live)
      for (const lane of chat?.line.lanes ?? []) {
        if (lane.live === live) interrupt(lane, 'cancelled')
      }
    }
    this.#pump()
  }

  async instanceRemoved(instance: InstanceId): Promise<void> {
    this.instanceOffline(instance)
    const line = this.#lines.get(instance)
    if (line === undefined) return
    await this.#idle(line)
    for (const lane of line.lanes) lane.giveUp?.(queueErrors.INSTANCE_REMOVED)
    // Now only writes are left.
    await this.#idle(line)
  }

  /** Resolves when the line has nothing under way any more, at the latest after 5 s. */
  async #idle(line: Line): Promise<void> {
    const { promise: enough, resolve } = Promise.withResolvers<void>()
    const due = this.#due.add(this.#clock.now() + REMOVE_WITHIN_MS, resolve)
    await Promise.race([line.idle.promise, enough])
    due.cancel()
  }

  async #finish(): Promise<void> {
    this.#running = false
    for (const line of this.#lines.values()) {
      line.pause?.cancel()
      line.pause = null
      this.#interrupt(line, 'stopping')
    }
    if (this.#laneCount > 0) {
      await new Promise<void>((resolve) => {
        this.#onNoLanes = resolve
        this.#due.add(this.#clock.now() + STOP_WITHIN_MS, resolve)
      })
    }
    for (const line of this.#lines.values()) for (const lane of line.lanes) lane.sending.abort()
    this.#due.clear()
    for (const line of this.#lines.values()) line.idle.resolve()
    this.#chats.clear()
    this.#lines.clear()
    this.#backlog.clear()
  }

  // —— which chat goes next ——

  /** Starts lanes while there is room, then reads more chats if the window has room. */
  #pump(): void {
    while (this.#mayStartLane()) {
      const line = this.#turns.next()
      if (line === undefined) break
      for (const chat of line.ready) {
        this.#startLane(chat)
        break
      }
    }
    if (this.#backlog.size > 0) void this.#refill()
  }

  #mayStartLane(): boolean {
    const { maxLanes, maxClaims, maxContentBytes } = this.#options.limits
    return (
      this.#running &&
      this.#laneCount < maxLanes &&
      this.#claimCount < maxClaims &&
      this.#contentBytes < maxContentBytes
    )
  }

  /** In or out of the turns, as its state says. */
  #consider(line: Line): void {
    const may =
      line.online &&
      line.pause === null &&
      line.ready.size > 0 &&
      line.lanes.size < this.#options.limits.maxLanesPerInstance
    if (may) this.#turns.add(line)
    else this.#turns.remove(line)
  }

  #mayOpen(line: Line): boolean {
    const { maxOpenChats, maxOpenChatsPerInstance } = this.#options.limits
    return this.#chats.size < maxOpenChats && line.chats.size < maxOpenChatsPerInstance
  }

  #open(line: Line, tenant: TenantId, id: ChatId): void {
    line.tenant = tenant
    const chat: Chat = {
      line,
      id,
      state: 'ready',
      due: null,
      waitsFor: null,
      arrived: NO_PRIORITY,
      unfinished: null,
      databaseFailures: 0,
    }
    this.#chats.set(keyOf({ instance: line.instance, chat: id }), chat)
    line.chats.add(chat)
    line.ready.add(chat)
    this.#consider(line)
  }

  #close(chat: Chat): void {
    if (chat.state === 'closed') return
    chat.due?.cancel()
    chat.due = null
    chat.state = 'closed'
    chat.line.ready.delete(chat)
    chat.line.chats.delete(chat)
    this.#chats.delete(keyOf({ instance: chat.line.instance, chat: chat.id }))
  }

  #makeReady(chat: Chat): void {
    chat.due?.cancel()
    chat.due = null
    // What is acknowledged needs no session and no turn, only its write.
    if (chat.unfinished !== null) {
      if (this.#stopped === null) this.#startLane(chat)
      return
    }
    if (!chat.line.online) {
      this.#close(chat)
      this.#forgetIfIdle(chat.line)
      return
    }
    chat.state = 'ready'
    chat.line.ready.add(chat)
    this.#consider(chat.line)
  }

  #forgetIfIdle(line: Line): void {
    if (line.online || line.lanes.size > 0 || line.chats.size > 0) return
    this.#lines.delete(line.instance)
    line.idle.resolve()
  }

  /** Opens chats that wait on disk, lines in turn, a step at a time, until the window is full or knows all. */
  async #refill(): Promise<void> {
    if (this.#refilling || !this.#running) return
    this.#refilling = true
    try {
      for (;;) {
        const line = this.#nextToRefill()
        if (line === undefined) return
        await this.#refillStep(line)
        this.#pump()
      }
    } catch (error) {
      this.#log.debug({ code: codeOf(error) }, 'reading waiting chats failed; trying again in a second')
      if (this.#running) this.#due.add(this.#clock.now() + SECOND, () => this.#pump())
    } finally {
      this.#refilling = false
    }
  }

  #nextToRefill(): Line | undefined {
    if (!this.#running) return undefined
    for (const line of this.#backlog) {
      if (!this.#mayOpen(line)) continue
      this.#backlog.delete(line)
      this.#backlog.add(line)
      return line
    }
    return undefined
  }

  async #refillStep(line: Line): Promise<void> {
    const { cursor, epoch } = line
    if (cursor === null) {
      this.#backlog.delete(line)
      return
    }
    const chats = await this.#store.chatsAfter(line.instance, cursor, REFILL_STEP)
    // It went away, or away and back, in the meantime: this answer is for a round that is over.
    if (!line.online || line.epoch !== epoch) return
    for (const { chat, tenant } of chats) {
      if (!this.#chats.has(keyOf({ instance: line.instance, chat }))) {
        // The cursor stays before the first that found no place.
        if (!this.#mayOpen(line)) return
        this.#open(line, tenant, chat)
      }
      line.cursor = chat
    }
    if (chats.length < REFILL_STEP) {
      line.cursor = line.missed ? '' : null
      line.missed = false
      if (line.cursor === null) this.#backlog.delete(line)
    }
  }

  // —— one lane ——

  #startLane(chat: Chat): void {
    const { line } = chat
    line.ready.delete(chat)
    chat.state = 'busy'
    chat.waitsFor = null
    chat.arrived = NO_PRIORITY
    const lane: Lane = {
      chat,
      pacing: new AbortController(),
      sending: new AbortController(),
      why: null,
      live: null,
      priority: NO_PRIORITY,
      onTheWire: false,
      giveUp: null,
    }
    line.lanes.add(lane)
    this.#laneCount++
    this.#consider(line)
    void this.#runLane(lane)
  }

  async #runLane(lane: Lane): Promise<void> {
    const { chat } = lane
    let next: Next = { kind: 'again' }
    try {
      next = await this.#deliver(lane)
      chat.databaseFailures = 0
    } catch (error) {
      const waitMs = Math.min(SECOND * 2 ** Math.min(chat.databaseFailures++, 10), MAX_DATABASE_BACKOFF_MS)
      next = { kind: 'wait', until: this.#clock.now() + waitMs, for: null }
      this.#log.warn(
        { instance: chat.line.instance, code: codeOf(error), waitMs },
        'a step of a message failed; its chat tries again by itself',
      )
    } finally {
      chat.line.lanes.delete(lane)
      this.#laneCount--
      this.#log.debug({ instance: chat.line.instance, next: next.kind }, 'lane freed')
      this.#afterLane(chat, next)
      if (this.#laneCount === 0) this.#onNoLanes?.()
    }
  }

  #afterLane(chat: Chat, next: Next): void {
    const { line } = chat
    const arrived = chat.arrived < NO_PRIORITY
    if (this.#stopped !== null) {
      this.#close(chat)
    } else if (next.kind === 'wait' && (line.online || chat.unfinished !== null)) {
      const early = next.for !== null && chat.arrived < next.for
      if (early) this.#makeReady(chat)
      else this.#wait(chat, next)
    } else if (!line.online || (next.kind === 'empty' && !arrived)) {
      this.#close(chat)
    } else {
      this.#makeReady(chat)
    }
    this.#consider(line)
    this.#forgetIfIdle(line)
    this.#pump()
  }

  #wait(chat: Chat, next: Extract<Next, { kind: 'wait' }>): void {
    chat.state = 'waiting'
    chat.waitsFor = next.for
    chat.due = this.#due.add(next.until, () => {
      chat.due = null
      this.#makeReady(chat)
      this.#pump()
    })
  }

  /** Takes the chat's head as far as it goes; throws only when the database does. */
  async #deliver(lane: Lane): Promise<Next> {
    const { chat } = lane
    if (chat.unfinished !== null) {
      const { live, sentAt } = chat.unfinished
      return this.#end(chat, live, sentAt)
    }
    const { instance } = chat.line
    const pacing = this.#options.pacingOf(chat.line.tenant, instance)
    const claimed = await this.#claim(chat, !pacing.enabled)
    if (claimed === undefined) {
      const head = await this.#store.head(instance, chat.id)
      return head === undefined ? { kind: 'empty' } : this.#nextOf(head, 0)
    }
    this.#contentBytes += claimed.contentBytes
    try {
      return await this.#walk(lane, claimed, pacing)
    } finally {
      this.#contentBytes -= claimed.contentBytes
    }
  }

  async #claim(chat: Chat, sendNow: boolean): Promise<Claimed | undefined> {
    this.#claimCount++
    try {
      return await this.#store.claim(chat.line.instance, chat.id, sendNow)
    } finally {
      this.#claimCount--
      // A claim's place may be all that others waited for.
      queueMicrotask(() => this.#pump())
    }
  }

  async #walk(lane: Lane, claimed: Claimed, pacing: PacingOptions): Promise<Next> {
    const { identity, content } = claimed
    const live = this.#liveOf(claimed)
    lane.live = live
    lane.priority = claimed.priority
    const received = live.receivedAt
    // WhatsApp had it before the last crash or time-out: not sent again.
    if (received !== null) return this.#end(lane.chat, live, received)
    if (identity.acceptedAt <= this.#clock.now() - this.#options.expireAfterMs) {
      return this.#fail(lane.chat, live, queueErrors.MESSAGE_EXPIRED)
    }
    if (content === null) {
      return this.#fail(lane.chat, live, {
        code: 'STORAGE_SEAL_BROKEN',
        message: 'The stored content does not open',
      })
    }
    const before = { attempts: claimed.attempts - (pacing.enabled ? 0 : 1), sentAt: claimed.sentAt }
    const message: OutboundMessage = { ...identity, content, attempts: before.attempts + 1 }
    if (pacing.enabled) {
      // A message that was on the wire has been typed already.
      const mayGo = live.unconfirmed || before.attempts > 0 || (await this.#pace(lane, message, pacing))
      if (!mayGo || lane.why !== null) return this.#putBack(lane, live, before)
      if (!(await this.#store.markSent(identity.seq))) return this.#gone(live)
    } else if (lane.why !== null || !lane.chat.line.online) {
      return this.#putBack(lane, live, before)
    }
    return this.#send(lane, live, message, { ...before, maxRetries: claimed.maxRetries })
  }

  /** False when it was cut short. */
  async #pace(lane: Lane, message: OutboundMessage, pacing: PacingOptions): Promise<boolean> {
    const { sender, random } = this.#options
    const { instance, chat } = message
    const unread = await this.#unreadOf(message)
    const plan = planPacing({
      hasUnread: unread.messages.length > 0,
      unreadWords: unread.lastWordCount,
      text: message.content.text,
      options: pacing,
      random,
    })
    for (const { kind, forMs } of plan) {
      if (lane.why !== null) return false
      const until = this.#clock.now() + forMs
      switch (kind) {
        case 'read':
          this.#tell('outbound.reading', message)
          await this.#due.wait(until, lane.pacing.signal)
          if (lane.why === null) {
            await this.#courtesy('read mark', () => sender.markRead(instance, chat, unread.messages))
          }
          break
        case 'think':
          this.#tell('outbound.thinking', message)
          await this.#due.wait(until, lane.pacing.signal)
          break
        case 'type':
          this.#tell('outbound.typing', message)
          await this.#type(lane, message, until)
          break
        default:
          return kind satisfies never
      }
    }
    return lane.why === null
  }

  async #type(lane: Lane, { instance, chat }: OutboundMessage, until: number): Promise<void> {
    const { sender } = this.#options
    do {
      await this.#courtesy('presence', () => sender.setPresence(instance, chat, 'composing'))
      await this.#due.wait(Math.min(until, this.#clock.now() + RENEW_TYPING_MS), lane.pacing.signal)
    } while (lane.why === null && this.#clock.now() < until)
    if (lane.why !== null)
      await this.#courtesy('presence', () => sender.setPresence(instance, chat, 'paused'))
  }

  async #unreadOf({ instance, chat }: OutboundMessage): ReturnType<ChatContext['unread']> {
    let unread: Awaited<ReturnType<ChatContext['unread']>> = { messages: [], lastWordCount: 0 }
    await this.#courtesy('unread messages', async () => {
      unread = await this.#options.context.unread(instance, chat)
    })
    return unread
  }

  async #send(
    lane: Lane,
    live: LiveMessage,
    message: OutboundMessage,
    before: { readonly attempts: number; readonly sentAt: number | null; readonly maxRetries: number },
  ): Promise<Next> {
    const { line } = lane.chat
    const epoch = line.epoch
    this.#tell('outbound.sending', message)
    lane.onTheWire = true
    let ackedAt: number
    try {
      ackedAt = (await this.#withDeadline(lane, message)).ackedAt
    } catch (error) {
      return await this.#afterFailedSend(lane, live, sendFailureOf(error), { ...before, epoch })
    } finally {
      lane.onTheWire = false
    }
    line.limitedCount = 0
    return this.#end(lane.chat, live, ackedAt)
  }

  async #withDeadline(lane: Lane, message: OutboundMessage): Promise<{ readonly ackedAt: number }> {
    const { promise: tooLate, reject } = Promise.withResolvers<never>()
    const giveUp = (why: ErrorKind): void => {
      lane.sending.abort()
      reject(new EclusaError(why))
    }
    lane.giveUp = giveUp
    const due = this.#due.add(this.#clock.now() + SEND_DEADLINE_MS, () => giveUp(queueErrors.SEND_TIMEOUT))
    try {
      return await Promise.race([this.#options.sender.send(message, lane.sending.signal), tooLate])
    } finally {
      lane.giveUp = null
      due.cancel()
    }
  }

  async #afterFailedSend(
    lane: Lane,
    live: LiveMessage,
    failure: SendFailure,
    before: {
      readonly attempts: number
      readonly sentAt: number | null
      readonly maxRetries: number
      readonly epoch: number
    },
  ): Promise<Next> {
    const { chat } = lane
    const { seq, instance } = live.identity
    const attempts = before.attempts + 1
    if (failure.delivered === 'unknown') live.unconfirmed = true
    // A receipt is the better acknowledgement.
    const received = live.receivedAt
    if (received !== null) return this.#end(chat, live, received)
    // We gave it up ourselves: as after a crash, the try does not count.
    if (this.#stopped !== null && lane.sending.signal.aborted) {
      return this.#putBack(lane, live, {
        attempts: before.attempts,
        sentAt: before.sentAt ?? this.#clock.now(),
      })
    }
    const { random } = this.#options
    const decision = decideRetry({ failure, attempts, maxRetries: before.maxRetries, random })
    this.#log.debug({ instance, seq, code: failure.code, attempts, decision: decision.kind }, 'send failed')
    return this.#carryOut(decision, lane, live, failure, { ...before, attempts })
  }

  #carryOut(
    decision: RetryDecision,
    lane: Lane,
    live: LiveMessage,
    failure: SendFailure,
    tried: { readonly attempts: number; readonly sentAt: number | null; readonly epoch: number },
  ): Promise<Next> {
    const { chat } = lane
    const uncounted = { attempts: tried.attempts - 1, sentAt: tried.sentAt ?? this.#clock.now() }
    switch (decision.kind) {
      case 'sent':
        return this.#end(chat, live, this.#clock.now())
      case 'fail':
        return this.#fail(chat, live, failure)
      case 'retry': {
        const retryAt = this.#clock.now() + decision.afterMs
        return this.#putBack(lane, live, { attempts: tried.attempts, sentAt: uncounted.sentAt, retryAt })
      }
      case 'instance-offline':
        // Unless it came online after this send began.
        if (chat.line.epoch === tried.epoch) this.#pause(chat.line, PROBE_OFFLINE_MS)
        return this.#putBack(lane, live, uncounted)
      case 'instance-limited':
        if (chat.line.pause === null) {
          const forMs = limitedForMs(++chat.line.limitedCount, this.#options.random)
          this.#log.warn(
            { instance: chat.line.instance, forMs },
            'WhatsApp limits this instance; it sends again by itself, send less if this repeats',
          )
          this.#pause(chat.line, forMs)
        }
        return this.#putBack(lane, live, uncounted)
      default:
        return decision satisfies never
    }
  }

  /** No lane of the instance starts for so long; those that only pace wait again. */
  #pause(line: Line, forMs: number): void {
    line.pause?.cancel()
    line.pause = this.#due.add(this.#clock.now() + forMs, () => {
      line.pause = null
      this.#consider(line)
      this.#pump()
    })
    this.#interrupt(line, 'away')
    this.#consider(line)
  }

  #interrupt(line: Line, why: 'away' | 'stopping'): void {
    for (const lane of line.lanes) if (!lane.onTheWire) interrupt(lane, why)
  }

  // —— the writes that move or end a message ——

  /** WhatsApp has it. */
  async #end(chat: Chat, live: LiveMessage, sentAt: number): Promise<Next> {
    chat.unfinished = { live, sentAt }
    const { identity } = live
    const { events, result } = await live.exclusively(async () => {
      const events = sentEvents(identity, sentAt, live)
      const result = await this.#store.finish(identity, { sentAt, status: 'PROCESSING', events })
      live.ended = true
      return { events, result }
    })
    chat.unfinished = null
    this.#live.remove(live)
    if (result === false) {
      this.#log.error(
        { instance: identity.instance, seq: identity.seq },
        'a sent message had no row any more',
      )
      return { kind: 'again' }
    }
    this.#options.counts.move(identity.tenant, identity.instance, 'PROCESSING', null)
    for (const { name, event } of events) this.#options.emitter.emit(name, event)
    if (result.next === undefined) return { kind: 'empty' }
    const pacing = this.#options.pacingOf(identity.tenant, identity.instance)
    return this.#nextOf(result.next, pauseBetween(pacing, this.#options.random))
  }

  async #fail(chat: Chat, live: LiveMessage, why: OutboundFailure): Promise<Next> {
    const { identity } = live
    const failure = { code: why.code, message: why.message }
    const event = failedEvent(identity, this.#clock.now(), failure)
    const outcome = await live.exclusively(async () => {
      const mayBeDelivered = live.unconfirmed
      const outcome = await this.#store.fail(identity, {
        failure,
        status: 'PROCESSING',
        mayBeDelivered,
        event,
      })
      if (outcome.kind === 'arrived') {
        live.deliveredAt = outcome.deliveredAt
        live.readAt = outcome.readAt
      } else live.ended = true
      return outcome
    })
    // A receipt that came while the last try was failing: it did arrive.
    if (outcome.kind === 'arrived') return this.#end(chat, live, live.receivedAt ?? this.#clock.now())
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
    const { seq, tenant, instance } = live.identity
    const { attempts, retryAt = null } = row
    // While nobody knows whether it arrived it cannot be cancelled, and its receipt counts.
    const sentAt = live.unconfirmed ? row.sentAt : null
    if (!(await this.#store.putBack(seq, { attempts, retryAt, sentAt }))) return this.#gone(live)
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

  #tell(name: LiveEventName, message: OutboundMessage): void {
    this.#options.emitter.emit(name, { ...refOf(message), state: 'PROCESSING', at: this.#clock.now() })
  }

  /** What may fail or hang without harm to the message. */
  async #courtesy(what: string, ask: () => Promise<void>): Promise<void> {
    const { promise: tooLate, resolve } = Promise.withResolvers<void>()
    const due = this.#due.add(this.#clock.now() + COURTESY_DEADLINE_MS, resolve)
    try {
      await Promise.race([ask(), tooLate])
    } catch (error) {
      this.#log.debug({ what, code: codeOf(error) }, 'a courtesy failed; the message goes on')
    } finally {
      due.cancel()
    }
  }
}

function newLine(instance: InstanceId): Line {
  return {
    instance,
    tenant: '' as TenantId,
    online: false,
    epoch: 0,
    pause: null,
    limitedCount: 0,
    lanes: new Set(),
    ready: new Set(),
    chats: new Set(),
    cursor: null,
    missed: false,
    idle: Promise.withResolvers<void>(),
  }
}

function interrupt(lane: Lane, why: 'cancelled' | 'away' | 'stopping'): void {
  lane.why ??= why
  lane.pacing.abort()
}

function keyOf({ instance, chat }: { readonly instance: InstanceId; readonly chat: ChatId }): string {
  return `${instance}|${chat}`
}

function codeOf(error: unknown): string {
  return error instanceof EclusaError ? error.code : String(error)
}
