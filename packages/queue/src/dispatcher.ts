import {
  type ChatId,
  type Clock,
  DAY,
  EclusaError,
  type InstanceId,
  type Lifecycle,
  type Logger,
  MIB,
  SECOND,
  type TenantId,
} from '@eclusa/kernel'
import type { CareGate } from './care-gate.ts'
import { Delivery, type DeliveryOptions } from './delivery.ts'
import { DueHeap } from './due-heap.ts'
import { queueErrors } from './errors.ts'
import { type Chat, interrupt, keyOf, type Lane, type Line, newLine, type Next, NO_PRIORITY } from './line.ts'
import type { LiveMessages } from './live-messages.ts'
import type { ChatContext, OutboundIdentity } from './message.ts'
import type { OutboxListener } from './outbox.ts'
import type { OutboundStore } from './outbound-store.ts'
import { hear, Pacer } from './pacer.ts'
import type { Pauses } from './pauses.ts'
import type { Receipt, Receipts } from './receipts.ts'
import { Turns } from './turns.ts'

/** What bounds the dispatcher's memory and the pressure on WhatsApp. */
export interface DispatcherLimits {
  /** Messages being paced or sent at once. */
  readonly maxLanes: number
  readonly maxLanesPerInstance: number
  /** Chats known in memory to have rows; the others are found again by cursor. */
  readonly maxOpenChats: number
  readonly maxOpenChatsPerInstance: number
  /** Content of the messages in lanes; past it no lane starts. */
  readonly maxContentBytes: number
  /** Claims and contents on their way from the database: by so much the bytes above may be passed. */
  readonly maxClaims: number
  /** Content of the newest messages that wait, so that it need not be read. */
  readonly maxRecentBytes: number
  /** Contacts and instances whose rates are known; past it the longest unused is forgotten. */
  readonly maxRates: number
}

export const defaultDispatcherLimits: DispatcherLimits = {
  maxLanes: 2000,
  maxLanesPerInstance: 200,
  maxOpenChats: 20_000,
  maxOpenChatsPerInstance: 2000,
  maxContentBytes: 32 * MIB,
  maxClaims: 256,
  maxRecentBytes: 16 * MIB,
  maxRates: 20_000,
}

export interface DispatcherOptions extends Omit<DeliveryOptions, 'due' | 'pacer' | 'host'> {
  readonly receipts: Receipts
  readonly context: ChatContext
  readonly pauses: Pauses
  readonly limits: DispatcherLimits
  /** The chat proves to be a person's who has another id now. */
  readonly joinChats: (instance: InstanceId, alias: ChatId) => void
}

/** What the dispatcher knows of a waiting message that its row does not say. */
export interface DispatcherView {
  readonly isOnline: boolean
  /** Set while no lane of the instance starts. */
  readonly instanceWaits: { readonly until: number; readonly why: Line['pausedBy'] } | null
  /** Of the chat's lane, if it has one. */
  readonly stage: Lane['stage'] | null
  /** The message in the chat's lane. */
  readonly inLane: number | null
  /** Until when the chat rests between two messages or tries; null when it does not. */
  readonly chatWaitsUntil: number | null
}

/** Document 1: a message that waited longer is not sent any more. */
export const DEFAULT_EXPIRE_AFTER_MS = DAY
export const DEFAULT_EXPIRE_HELD_AFTER_MS = 7 * DAY
const STOP_WITHIN_MS = 5 * SECOND
/** What is on the wire of an instance that is being removed ends by itself so long; then nobody waits for it. */
const REMOVE_WITHIN_MS = 5 * SECOND
/** A chat whose database write failed tries again after 1 s, 2 s, 4 s … 30 s. */
const MAX_DATABASE_BACKOFF_MS = 30 * SECOND
/** More find one another later, when one of them is about to send. */
const MAX_MERGING = 1000
/** Chats read per step when the window is refilled, so that no step holds the connection long. */
const REFILL_STEP = 50

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
  readonly #care: CareGate
  readonly #pauses: Pauses
  readonly #delivery: Delivery
  // Sessions that are up, also while their instance is paused. bounded by: sessions
  readonly #online = new Set<InstanceId>()
  // bounded by: instances online, or with lanes
  readonly #lines = new Map<InstanceId, Line>()
  // bounded by: maxOpenChats (and one per lane of an instance that went away)
  readonly #chats = new Map<string, Chat>()
  readonly #turns = new Turns<Line>()
  // Chats that do not start while they become one. bounded by: MAX_MERGING
  readonly #merging = new Set<string>()
  // Lines with rows the window may not know. bounded by: #lines
  readonly #backlog = new Set<Line>()
  #laneCount = 0
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
    this.#care = options.care
    this.#pauses = options.pauses
    this.#delivery = new Delivery({
      ...options,
      due: this.#due,
      pacer: new Pacer({ ...options, due: this.#due }),
      host: {
        pause: (line, why, forMs) => this.#pause(line, why, forMs),
        claimEnded: () => this.#pump(),
        joinChats: (instance, alias) => options.joinChats(instance, alias),
        isStopping: () => this.#stopped !== null,
        mayGoOn: (lane) => this.#mayGoOn(lane),
      },
    })
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
    this.#online.add(instance)
    if (!this.#pauses.isInstancePaused(instance)) this.#admit(instance)
  }

  /** The session went away: what is being paced waits again, what is on the wire ends as it ends. */
  instanceOffline(instance: InstanceId): void {
    this.#online.delete(instance)
    this.#withdraw(instance)
  }

  /** A person paused it, or its chats: like a session that went away, for as long as they want. */
  paused(what: {
    readonly tenant: TenantId
    readonly instance: InstanceId | null
    readonly chat: ChatId | null
  }): void {
    const { tenant, instance, chat } = what
    if (instance !== null && chat !== null) {
      this.#withdrawChat(instance, chat)
    } else if (instance !== null) {
      this.#withdraw(instance)
    } else {
      for (const line of this.#lines.values()) if (line.tenant === tenant) this.#withdraw(line.instance)
    }
  }

  /**
   * Two addresses prove to be one person's: what waits under `from` stands in the line of `to`, by acceptance. Neither
   * chat sends meanwhile; what is on the wire ends first. Nothing happens while one of the two is being merged already.
   */
  async merge(instance: InstanceId, from: ChatId, to: ChatId, move: () => Promise<void>): Promise<void> {
    const chats = [from, to]
    const keys = chats.map((chat) => keyOf({ instance, chat }))
    if (keys.some((key) => this.#merging.has(key)) || this.#merging.size >= MAX_MERGING) return
    for (const key of keys) this.#merging.add(key)
    try {
      await Promise.all(
        chats.map(async (chat) => {
          this.#withdrawChat(instance, chat)
          const open = this.#chats.get(keyOf({ instance, chat }))
          if (open === undefined) return
          await new Promise<void>((resolve) => {
            open.onClosed = resolve
          })
        }),
      )
      await move()
      this.#live.rename(instance, from, to)
    } finally {
      for (const key of keys) this.#merging.delete(key)
      const line = this.#lines.get(instance)
      if (line?.online === true) {
        this.#lookAgain(line)
        this.#pump()
      }
    }
  }

  resumed(what: {
    readonly tenant: TenantId
    readonly instance: InstanceId | null
    readonly chat: ChatId | null
  }): void {
    const { instance } = what
    for (const online of instance === null ? this.#online : [instance]) {
      if (!this.#online.has(online) || this.#pauses.isInstancePaused(online)) continue
      const line = this.#lines.get(online)
      if (line?.online !== true) this.#admit(online)
      // Its rows are found again by a round through the chats.
      else this.#lookAgain(line)
    }
    this.#pump()
  }

  /** The contact wrote: a message that is being typed begins anew, and what care held back takes its place. */
  async inboundArrived(instance: InstanceId, chat: ChatId): Promise<void> {
    const open = this.#chats.get(keyOf({ instance, chat }))
    for (const lane of open?.line.lanes ?? []) if (lane.chat === open) hear(lane)
    await this.standingChanged(instance, chat)
  }

  /** Something else is known of the contact now: what care held back takes its place, and is judged anew. */
  async standingChanged(instance: InstanceId, chat: ChatId): Promise<void> {
    const line = this.#lines.get(instance)
    if (line === undefined) return
    if ((await this.#care.release(instance, chat)) === 0) return
    const open = this.#chats.get(keyOf({ instance, chat }))
    if (open?.state === 'busy') open.arrived = Math.min(open.arrived, NO_PRIORITY - 1)
    else this.#lookAgain(line)
    this.#pump()
  }

  /** What `message` waits for, as far as it is known here. */
  view({ instance, chat }: Pick<OutboundIdentity, 'instance' | 'chat'>): DispatcherView {
    const line = this.#lines.get(instance)
    const open = this.#chats.get(keyOf({ instance, chat }))
    const lane = [...(line?.lanes ?? [])].find((one) => one.chat === open)
    const isPausing = line !== undefined && line.pause !== null
    return {
      isOnline: this.#online.has(instance),
      instanceWaits: isPausing ? { until: line.pausedUntil, why: line.pausedBy } : null,
      stage: lane?.stage ?? null,
      inLane: lane?.live?.identity.seq ?? null,
      chatWaitsUntil: open?.state === 'waiting' ? open.waitsUntil : null,
    }
  }

  #admit(instance: InstanceId): void {
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

  #withdraw(instance: InstanceId): void {
    const line = this.#lines.get(instance)
    if (line === undefined) return
    line.online = false
    line.pause?.cancel()
    line.pause = null
    line.cursor = null
    this.#backlog.delete(line)
    this.#interrupt(line, 'away')
    // Its rows stay; `#admit` finds them again. Until then it holds no memory.
    for (const chat of line.chats) {
      if (chat.state !== 'busy' && chat.unfinished === null) this.#close(chat)
    }
    this.#consider(line)
    this.#forgetIfIdle(line)
    this.#pump()
  }

  #withdrawChat(instance: InstanceId, chat: ChatId): void {
    const open = this.#chats.get(keyOf({ instance, chat }))
    for (const lane of open?.line.lanes ?? []) {
      if (lane.chat === open && !lane.onTheWire) interrupt(lane, 'away')
    }
    if (open !== undefined && open.state !== 'busy' && open.unfinished === null) this.#close(open)
  }

  #lookAgain(line: Line): void {
    if (line.cursor === null) line.cursor = ''
    else line.missed = true
    this.#backlog.add(line)
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
      else this.#lookAgain(line)
    } else if (chat.state === 'busy') {
      chat.arrived = Math.min(chat.arrived, priority)
    } else if (chat.state === 'waiting' && chat.waitsFor !== null && priority < chat.waitsFor) {
      this.#makeReady(chat)
    }
    this.#pump()
  }

  /** The head of the message's chat may have become due, or another one. */
  changed(message: OutboundIdentity): void {
    const chat = this.#chats.get(keyOf(message))
    if (chat?.state === 'waiting' && chat.waitsFor !== null) this.#makeReady(chat)
    else this.accepted(message, 0)
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
    for (const chat of this.#chats.values()) chat.onClosed?.()
    this.#chats.clear()
    this.#lines.clear()
    this.#online.clear()
    this.#backlog.clear()
  }

  // —— which chat goes next ——

  /** Starts lanes while there is room, then reads more chats if the window has room. */
  #pump(): void {
    while (this.#mayStartLane()) {
      const line = this.#turns.next()
      if (line === undefined) break
      const freeAt = this.#care.instanceFreeAt(line.tenant, line.instance)
      if (freeAt > this.#clock.now()) {
        this.#rest(line, 'INSTANCE_RATE', freeAt)
        continue
      }
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
      this.#delivery.claimCount < maxClaims &&
      this.#delivery.contentBytes < maxContentBytes
    )
  }

  /** The lane may take its chat's next at once: nobody waits for its place, and the chat is one that needs no look. */
  #mayGoOn({ chat, why, sending }: Lane): boolean {
    const { line, id } = chat
    return (
      this.#running &&
      why === null &&
      !sending.signal.aborted &&
      line.online &&
      line.pause === null &&
      this.#turns.isEmpty &&
      chat.onClosed === null &&
      !id.endsWith('@lid') &&
      !this.#isBarred(line.instance, id)
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

  #isBarred(instance: InstanceId, chat: ChatId): boolean {
    const isMerging = this.#merging.size > 0 && this.#merging.has(keyOf({ instance, chat }))
    return isMerging || this.#pauses.isChatPaused(instance, chat)
  }

  /** Unless a person paused it. */
  #open(line: Line, tenant: TenantId, id: ChatId): void {
    line.tenant = tenant
    if (this.#pauses.isTenantPaused(tenant)) {
      this.#withdraw(line.instance)
      return
    }
    if (this.#isBarred(line.instance, id)) return
    const chat: Chat = {
      line,
      id,
      state: 'ready',
      due: null,
      waitsUntil: 0,
      waitsFor: null,
      arrived: NO_PRIORITY,
      unfinished: null,
      databaseFailures: 0,
      onClosed: null,
      claimInDoubt: false,
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
    chat.onClosed?.()
  }

  #makeReady(chat: Chat): void {
    chat.due?.cancel()
    chat.due = null
    // What is acknowledged needs no session and no turn, only its write.
    if (chat.unfinished !== null) {
      if (this.#stopped === null) this.#startLane(chat)
      return
    }
    if (!chat.line.online || this.#isBarred(chat.line.instance, chat.id)) {
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
    for (const { chat, tenant, inLine } of chats) {
      if (inLine && !this.#chats.has(keyOf({ instance: line.instance, chat }))) {
        // The cursor stays before the first that found no place.
        if (!this.#mayOpen(line)) return
        this.#open(line, tenant, chat)
        // It turned out that its tenant is paused.
        if (!line.online) return
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
      pacing: null,
      stage: 'claiming',
      heard: 'no',
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
      next = await this.#delivery.deliver(lane)
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
    const isMerging = chat.onClosed !== null && chat.unfinished === null
    if (this.#stopped !== null || isMerging) {
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
    chat.waitsUntil = next.until
    chat.due = this.#due.add(next.until, () => {
      chat.due = null
      this.#makeReady(chat)
      this.#pump()
    })
  }

  /** No lane of the instance starts for so long; those that only pace wait again. */
  #pause(line: Line, why: Line['pausedBy'], forMs: number): void {
    this.#rest(line, why, this.#clock.now() + forMs)
    this.#interrupt(line, 'away')
  }

  /** No lane of the instance starts until then. */
  #rest(line: Line, why: Line['pausedBy'], until: number): void {
    line.pause?.cancel()
    line.pausedBy = why
    line.pausedUntil = until
    line.pause = this.#due.add(until, () => {
      line.pause = null
      this.#consider(line)
      this.#pump()
    })
    this.#consider(line)
  }

  #interrupt(line: Line, why: 'away' | 'stopping'): void {
    for (const lane of line.lanes) if (!lane.onTheWire) interrupt(lane, why)
  }
}

function codeOf(error: unknown): string {
  return error instanceof EclusaError ? error.code : String(error)
}
