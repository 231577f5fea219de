import { type Clock, type Logger, type Places, SECOND, sleep, type Timer } from '@eclusa/kernel'
import type { EventLog, LoggedEvent, Statement } from '@eclusa/storage'
import type { GuardedHttp } from '../guarded-http/guarded-http.ts'
import { attempt, type Outcome } from './attempt.ts'
import type { DeliveryLog } from './delivery-log-store.ts'
import { webhookErrors } from './errors.ts'
import type { Recorded, Recorder } from './recorder.ts'
import type { RetrySchedule } from './retry-schedule.ts'
import type { Share, Taken } from './share.ts'
import { wants } from './subscription.ts'
import type { Told } from './told.ts'
import type { HeldEvent, WaitingEvent, WaitingStore } from './waiting-store.ts'
import type { StoredWebhook, WebhookStore } from './webhook-store.ts'
import {
  type DisabledReason,
  DOWN_AFTER_FAILURES,
  MAX_CALLS_OF_ONE,
  MAX_DEAD,
  MAX_WAITING,
  MAX_WINDOW,
  MAX_WINDOW_BYTES,
  messageIdOf,
  SLOW_AFTER_MS,
  type Webhook,
  type WebhookState,
} from './webhook.ts'
import { isOurEnd, type Write } from './write.ts'

export interface EndpointParts {
  readonly store: WebhookStore
  readonly waiting: WaitingStore
  readonly deliveries: DeliveryLog
  readonly eventLog: EventLog
  readonly http: GuardedHttp
  readonly schedule: RetrySchedule
  readonly recorder: Recorder
  readonly write: Write
  /** Calls under way, of all endpoints. */
  readonly calls: Share
  /** Bytes of events held, of all endpoints. */
  readonly bytes: Share
  /** Reads under way, of all endpoints. */
  readonly reads: Places
  readonly tell: (event: LoggedEvent) => Told
  readonly disableAfterMs: number
  readonly clock: Clock
  readonly log: Logger
  /** It may have something to send now. */
  readonly onReady: (endpoint: Endpoint) => void
  /** A call of it has ended, and left room for others. */
  readonly onEnded: (endpoint: Endpoint) => void
  /** It could not take an event for want of bytes, and wants its next `step` when there are some. */
  readonly onStarved: (endpoint: Endpoint) => void
}

/** An event in memory, on its way. */
interface Held {
  told: Told
  readonly bytes: Taken
  state: 'ready' | 'flying' | 'settled'
  /** Its row, when it waits on disk. */
  readonly row: WaitingEvent | null
}

/** Rows in memory at once. */
const MAX_ROWS = MAX_CALLS_OF_ONE
/** Calls at once while it is slow or fails. */
const MAX_CALLS_WHEN_SLOW = MAX_CALLS_OF_ONE / 2
/** What the database refused is asked of it again after this. */
const RETRY_MS = SECOND

/**
 * One endpoint: reads the log from its cursor on, sends in the order of each chat, chats side by side.
 *
 * | its events come from | when                                                           | and go to                             |
 * |----------------------|----------------------------------------------------------------|---------------------------------------|
 * | the tail             | it has read all there is, and nothing waits on disk            | the window                            |
 * | reads of its own     | otherwise; while it is down only one at each of its probe times | the window, or behind what waits      |
 * | rows on disk         | they are due                                                   | out, later, or the list of the dead   |
 *
 * What fails leaves the window for a row, and with it what is behind it in its chat; so the cursor moves on, and other
 * chats go on. When several fresh events fail in a row the endpoint is down: what is new then stays in the log.
 */
export class Endpoint implements Recorded {
  readonly #parts: EndpointParts
  #webhook: Webhook
  #state: Omit<WebhookState, 'cursor'>
  /** Everything up to here was looked at. */
  #readTo: number
  #savedCursor: number
  // In order of seq. bounded by: MAX_WINDOW
  readonly #window: Held[] = []
  // By seq. bounded by: MAX_ROWS
  readonly #rows = new Map<number, Held>()
  // Lanes with a call under way, or an outcome that is not stored yet. bounded by: MAX_CALLS_OF_ONE
  readonly #busy = new Set<string>()
  #flying = 0
  #slowFlying = 0
  #freshFailures = 0
  #probeAt = 0
  /** Nothing that it wants is known to stand behind `#readTo`. */
  #isCaughtUp = false
  #lastOffered = 0
  #isLoading = false
  /** Grows whenever what is being read of the log must be read anew. */
  #epoch = 0
  /** Likewise for rows. */
  #rowEpoch = 0
  /** Something may wait on disk. */
  #hasWaiting = true
  /** As much waits on disk as may. */
  #isFull = false
  /** Events on their way to disk. */
  #toDisk = 0
  /** When rows are to be looked for; null when none waits for a time. */
  #nextDueAt: number | null = 0
  /** Bytes of the event that found no room. */
  #needs = 0
  #timer: Timer | null = null
  #timerAt = Number.POSITIVE_INFINITY
  /** Begin nothing more. */
  #isStopped = false
  readonly #cut = new AbortController()

  constructor({ webhook, state }: StoredWebhook, parts: EndpointParts) {
    const { cursor, ...rest } = state
    this.#webhook = webhook
    this.#state = rest
    this.#readTo = cursor
    this.#savedCursor = cursor
    this.#parts = parts
  }

  get webhook(): Webhook {
    return this.#webhook
  }

  get state(): WebhookState {
    return { ...this.#state, cursor: this.#cursor }
  }

  /** Fresh events stay in the log, but one now and then that finds out whether it answers again. */
  get isDown(): boolean {
    return this.#freshFailures >= DOWN_AFTER_FAILURES
  }

  /** Its cursor has moved past events that are not for it. */
  get isUnsaved(): boolean {
    return this.#cursor !== this.#savedCursor
  }

  get isFlying(): boolean {
    return this.#flying > 0
  }

  get #isOn(): boolean {
    return this.#webhook.enabled && !this.#isStopped
  }

  get #cursor(): number {
    const first = this.#window.find(({ state }) => state !== 'settled')
    return first === undefined ? this.#readTo : first.told.event.seq - 1
  }

  get #isSlow(): boolean {
    return this.#state.isSlow || this.#slowFlying > 0 || this.isDown
  }

  save(): Statement {
    this.#savedCursor = this.#cursor
    return this.#parts.store.saveState(this.#webhook.id, this.state)
  }

  /** What was changed of it counts from now on, but for events that are in memory. */
  change(webhook: Webhook, options: { readonly fromNow?: number } = {}): void {
    const wasEnabled = this.#webhook.enabled
    this.#webhook = webhook
    if (!webhook.enabled) {
      this.#rest()
      return
    }
    if (!wasEnabled) {
      this.#freshFailures = 0
      this.#state = { ...this.#state, failingSince: null, lastError: null }
    }
    if (options.fromNow !== undefined) {
      this.#dropReady()
      this.#readTo = Math.max(this.#readTo, options.fromNow)
    }
    this.#epoch++
    this.#parts.recorder.add(this)
    this.waits()
  }

  /** Rows may have come from elsewhere: looks for them. */
  waits(): void {
    this.#epoch++
    this.#hasWaiting = true
    this.#lookForRows()
    this.step()
  }

  /** An event of its tenant from the tail; every one of them, in order. */
  offer(told: Told): void {
    const { seq } = told.event
    this.#lastOffered = seq
    if (seq <= this.#readTo) return
    if (this.#isCaughtUp && !wants(this.#webhook, told.event)) {
      this.#readTo = seq
      return
    }
    const mayTake = this.#isCaughtUp && this.#isOn && !this.#hasWaiting && this.#mayTakeFresh()
    // What is not taken is in the log; it is read from there when its turn comes.
    if (!mayTake || !this.#hold(told)) this.#isCaughtUp = false
    this.step()
  }

  /** Reads what it may send next, says when there is something, and sets its alarm. */
  step(): void {
    if (!this.#isOn) return
    if (!this.#isLoading && (this.#hasRowsToLoad() || this.#hasFreshToLoad())) {
      this.#isLoading = true
      void this.#load()
    }
    this.#arm()
    if (this.#next() !== null) this.#parts.onReady(this)
  }

  /** Begins the next call; `full` when there is one to make and no room for it, `idle` when there is none. */
  start(): 'started' | 'full' | 'idle' {
    const held = this.#isOn ? this.#next() : null
    if (held === null) return 'idle'
    if (!this.#parts.calls.has(1, this.#isSlow)) return 'full'
    void this.#fly(held)
    return 'started'
  }

  /** Begins nothing more. What is under way ends by itself. */
  stop(): void {
    this.#isStopped = true
    this.#rest()
    for (const held of this.#window) if (held.state === 'ready') held.bytes.giveBack()
  }

  /** Ends what is under way. */
  cut(): void {
    this.#cut.abort()
  }

  #rest(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#timerAt = Number.POSITIVE_INFINITY
    this.#dropReady()
    for (const [seq, held] of this.#rows) {
      if (held.state !== 'ready') continue
      held.bytes.giveBack()
      this.#rows.delete(seq)
    }
    this.#nextDueAt = 0
  }

  /** Forgets events at the end of the window that nobody has begun to send: they are read again. */
  #dropReady(): void {
    this.#epoch++
    this.#isCaughtUp = false
    for (let last = this.#window.at(-1); last?.state === 'ready'; last = this.#window.at(-1)) {
      last.bytes.giveBack()
      this.#window.pop()
      this.#readTo = last.told.event.seq - 1
    }
  }

  /** Some may be due: what a search under way finds may be old. */
  #lookForRows(): void {
    this.#rowEpoch++
    this.#nextDueAt = 0
    this.#isFull = false
  }

  #mayTakeFresh(): boolean {
    return this.isDown ? this.#isProbeTime() && this.#window.length === 0 : this.#window.length < MAX_WINDOW
  }

  #isProbeTime(): boolean {
    return this.#parts.clock.now() >= this.#probeAt && this.#window.every(({ state }) => state !== 'flying')
  }

  #next(): Held | null {
    const maxCalls = this.#isSlow ? MAX_CALLS_WHEN_SLOW : MAX_CALLS_OF_ONE
    if (this.#flying >= maxCalls || this.#parts.recorder.isFull) return null
    const isFree = (held: Held): boolean => held.state === 'ready' && !this.#busy.has(held.told.lane)
    for (const held of this.#rows.values()) if (isFree(held)) return held
    if (this.isDown && !this.#isProbeTime()) return null
    // In order: the first of a lane comes before those behind it.
    return this.#window.find(isFree) ?? null
  }

  /** Takes an event into memory; false when there is no room. */
  #hold(told: Told, row: WaitingEvent | null = null): boolean {
    const { bytes } = this.#parts
    const needs = told.body.length
    if (!bytes.has(needs, this.#isSlow)) {
      this.#needs = needs
      this.#parts.onStarved(this)
      return false
    }
    const held: Held = { told, row, bytes: bytes.take(needs, this.#isSlow), state: 'ready' }
    if (row !== null) {
      this.#rows.set(row.seq, held)
    } else {
      this.#window.push(held)
      this.#readTo = told.event.seq
    }
    return true
  }

  #hasRowsToLoad(): boolean {
    const { clock } = this.#parts
    return (
      this.#nextDueAt !== null &&
      this.#nextDueAt <= clock.now() &&
      this.#rows.size < MAX_ROWS &&
      this.#hasBytes()
    )
  }

  #hasFreshToLoad(): boolean {
    if (this.#isCaughtUp || this.#isFull || this.#toDisk > 0 || !this.#hasBytes()) return false
    return this.isDown ? this.#mayTakeFresh() : this.#window.length < MAX_WINDOW / 2
  }

  #hasBytes(): boolean {
    if (this.#needs === 0) return true
    if (!this.#parts.bytes.has(this.#needs, this.#isSlow)) {
      this.#parts.onStarved(this)
      return false
    }
    this.#needs = 0
    return true
  }

  async #load(): Promise<void> {
    const { clock, log, reads } = this.#parts
    try {
      if (this.#hasRowsToLoad()) await reads.run(() => this.#loadRows())
      if (this.#isOn && this.#hasFreshToLoad()) await reads.run(() => this.#loadFresh())
    } catch (error) {
      if (!isOurEnd(error) && this.#isOn) {
        log.warn(
          { webhook: this.#webhook.id, err: error },
          'events for a webhook could not be read; trying again',
        )
      }
      await sleep(clock, RETRY_MS, this.#cut.signal).catch(() => undefined)
    } finally {
      this.#isLoading = false
    }
    this.step()
  }

  /** Brings what is due into memory. */
  async #loadRows(): Promise<void> {
    const { clock, eventLog, waiting } = this.#parts
    const { id, tenant } = this.#webhook
    const epoch = this.#rowEpoch
    const now = clock.now()
    const due = await waiting.due(id, now, MAX_ROWS)
    for (const row of due) {
      if (this.#rows.has(row.seq) || this.#rows.size >= MAX_ROWS) continue
      const [event] = await eventLog.read({ after: row.seq - 1, limit: 1, tenant })
      if (!this.#isOn || this.#rows.has(row.seq)) return
      if (event?.seq !== row.seq) await this.#giveUp(row, row.attempts, webhookErrors.EVENT_FORGOTTEN.code)
      else if (!this.#hold(this.#parts.tell(event), row)) return
    }
    // All that are due are in memory, or so many that one must leave first.
    const next = due.length === MAX_ROWS ? now : await waiting.nextDueAt(id, now)
    if (epoch !== this.#rowEpoch) return
    this.#nextDueAt = next
    if (next === null && due.length === 0 && this.#rows.size === 0) this.#hasWaiting = false
  }

  /** Reads on in the log. */
  async #loadFresh(): Promise<void> {
    const { eventLog, log, waiting } = this.#parts
    const { id, tenant } = this.#webhook
    const epoch = this.#epoch
    const isStale = (): boolean => epoch !== this.#epoch || !this.#isOn
    if (this.#hasWaiting && (await waiting.count(id, MAX_WAITING)) >= MAX_WAITING) {
      if (!isStale()) this.#isFull = true
      log.warn(
        { webhook: id, tenant, waiting: MAX_WAITING },
        'a webhook gets nothing new until some of what waits is delivered',
      )
      return
    }
    const after = this.#readTo
    const newest = await eventLog.lastSeq()
    const page = { after, maxEvents: MAX_WINDOW, maxBytes: MAX_WINDOW_BYTES, tenant }
    let { events, isEnd } = await eventLog.readBatch(page)
    if (await eventLog.wasSwept(after, tenant)) {
      // Read before the sweep, they would hide the gap.
      ;({ events, isEnd } = await eventLog.readBatch(page))
      if (isStale()) return
      await this.#tellMissed(after, events[0]?.seq ?? newest + 1)
    }
    const told = events.filter((event) => wants(this.#webhook, event)).map((event) => this.#parts.tell(event))
    const lanes = [...new Set(told.map(({ lane }) => lane))]
    const waits =
      this.#hasWaiting && lanes.length > 0 ? await waiting.lanesWaiting(id, lanes) : new Set<string>()
    for (const one of told) {
      if (isStale()) return
      if (waits.has(one.lane)) {
        await this.#write([this.#behind(one)])
        if (isStale()) return
        this.#readTo = one.event.seq
        this.#nextDueAt = Math.min(this.#nextDueAt ?? Number.POSITIVE_INFINITY, this.#parts.clock.now())
      } else if (!this.#mayTakeFresh() || !this.#hold(one)) {
        return
      }
    }
    if (isStale()) return
    this.#readTo = Math.max(this.#readTo, isEnd ? newest : (events.at(-1)?.seq ?? newest))
    this.#isCaughtUp = isEnd && this.#readTo >= this.#lastOffered
    if (this.#cursor - this.#savedCursor > SAVE_EVERY) this.#parts.recorder.add(this)
  }

  async #fly(held: Held): Promise<void> {
    const { calls, clock, http, log } = this.#parts
    const { lane } = held.told
    const isProbe = this.isDown
    held.state = 'flying'
    this.#busy.add(lane)
    this.#flying++
    const call = calls.take(1, this.#isSlow)
    let isLate = false
    const late = clock.setTimer(SLOW_AFTER_MS, () => {
      isLate = true
      this.#slowFlying++
      call.setSlow(true)
      held.bytes.setSlow(true)
    })
    const webhook = this.#webhook
    const outcome = await attempt({
      http,
      clock,
      webhook,
      id: messageIdOf(webhook.id, held.told.event.seq),
      body: held.told.body,
      signal: this.#cut.signal,
    })
    late.cancel()
    if (isLate) this.#slowFlying--
    call.giveBack()
    if (outcome.kind !== 'stopped') {
      this.#state = { ...this.#state, isSlow: isLate || outcome.kind !== 'delivered' }
    }
    try {
      await this.#settle(held, outcome, isProbe)
    } catch (error) {
      if (!isOurEnd(error) && !this.#cut.signal.aborted) {
        log.error(
          { webhook: webhook.id, err: error },
          'what became of a webhook call could not be stored; it comes again',
        )
      }
    }
    this.#busy.delete(lane)
    this.#flying--
    this.#leave(held)
    this.#parts.onEnded(this)
    this.step()
  }

  /** Out of memory, when all before it have left; what is not settled comes again. */
  #leave(held: Held): void {
    const isSettled = held.state === 'settled'
    if (!isSettled) held.state = 'ready'
    if (held.row !== null) {
      if (!isSettled && this.#isOn) return
      held.bytes.giveBack()
      this.#rows.delete(held.row.seq)
      // The next of its lane may be due.
      this.#lookForRows()
      return
    }
    for (const one of this.#window) if (one.state === 'settled') empty(one)
    while (this.#window[0]?.state === 'settled') this.#window.shift()
    if (!this.#isOn) this.#dropReady()
  }

  async #settle(held: Held, outcome: Outcome, isProbe: boolean): Promise<void> {
    const { recorder } = this.#parts
    const now = this.#parts.clock.now()
    const tried = this.#tried(held, outcome, now)
    switch (outcome.kind) {
      case 'stopped':
        return
      case 'delivered': {
        const hurries = this.#noteSuccess(now)
        if (held.row === null) {
          held.state = 'settled'
          recorder.add(this, tried)
        } else {
          await this.#write([...this.#parts.waiting.leave(this.#webhook.id, lineOf(held.told), now), tried])
          held.state = 'settled'
          recorder.add(this)
        }
        if (hurries) await this.#hurry(now)
        return
      }
      case 'gone':
        await this.#write([tried])
        await this.#disable('gone', now)
        return
      case 'failed':
        this.#noteFailure(held, outcome, { now, isProbe })
        await (held.row === null
          ? this.#failFresh(held, tried, outcome)
          : this.#failRow(held, held.row, tried, outcome))
        held.state = 'settled'
        recorder.add(this)
        if (now - (this.#state.failingSince ?? now) >= this.#parts.disableAfterMs)
          await this.#disable('failing', now)
        return
      default:
        outcome.kind satisfies never
    }
  }

  /** To disk, and what is behind it in its lane with it; the lane is kept busy meanwhile. */
  async #failFresh(held: Held, tried: Statement, { error }: Outcome): Promise<void> {
    const { clock, schedule, waiting } = this.#parts
    const now = clock.now()
    const dueAt = now + (schedule.pauseAfter(1) ?? 0)
    this.#epoch++
    this.#hasWaiting = true
    this.#toDisk++
    try {
      const line = lineOf(held.told)
      await this.#write([waiting.hold(this.#webhook.id, line, { attempts: 1, dueAt, now, error }), tried])
      for (;;) {
        const behind = this.#window.filter(({ state, told }) => state === 'ready' && told.lane === line.lane)
        if (behind.length === 0) break
        await this.#write(behind.map(({ told }) => this.#behind(told)))
        for (const one of behind) {
          one.state = 'settled'
          one.bytes.giveBack()
        }
      }
    } finally {
      this.#toDisk--
      this.#epoch++
      this.#lookForRows()
    }
  }

  async #failRow(held: Held, row: WaitingEvent, tried: Statement, outcome: Outcome): Promise<void> {
    const { clock, schedule, waiting } = this.#parts
    const now = clock.now()
    // One that came before its time, because the receiver seemed to answer again, takes nothing from the schedule.
    const isEarly = now < row.plannedAt
    const attempts = row.attempts + (isEarly ? 0 : 1)
    const pause = schedule.pauseAfter(isEarly ? 1 : attempts)
    const error = outcome.error ?? ''
    if (pause === null) {
      await this.#giveUp(row, attempts, error, tried)
      return
    }
    const plannedAt = Math.max(now + pause, isEarly ? row.plannedAt : 0)
    await this.#write([
      waiting.putOff(this.#webhook.id, held.told.event.seq, { attempts, plannedAt, error }),
      tried,
    ])
  }

  /** To the dead; those behind it go on. */
  async #giveUp(
    row: WaitingEvent,
    attempts: number,
    error: string,
    ...tried: readonly Statement[]
  ): Promise<void> {
    const { clock, eventLog, log, waiting } = this.#parts
    const { id, tenant } = this.#webhook
    const { seq, type, lane, since } = row
    const now = clock.now()
    // Nobody is told of what tells of webhooks: two that fail would tell each other without end.
    const told = type.startsWith('webhook.')
      ? []
      : [
          eventLog.append({
            tenant,
            instance: null,
            type: 'webhook.gave_up',
            payload: { webhook: id, event: seq, type, error },
          }),
        ]
    await this.#write([
      ...waiting.leave(id, row, now),
      waiting.giveUp(id, { seq, type, lane, attempts, error, since, deadAt: now }),
      ...told,
      ...tried,
    ])
    this.#lookForRows()
    log.warn(
      { webhook: id, tenant, event: seq, type, code: error },
      'an event was given up: see the dead list of the webhook',
    )
    if ((await waiting.countDead(id, MAX_DEAD)) >= MAX_DEAD) await this.#disable('dead_list_full', now)
  }

  /** True when what waits should come at once. */
  #noteSuccess(now: number): boolean {
    const { failingSince } = this.#state
    const wasLong = failingSince !== null && now - failingSince >= this.#parts.schedule.longOutage
    const hurries = this.#hasWaiting && (this.isDown || wasLong)
    this.#freshFailures = 0
    this.#state = { ...this.#state, lastSuccessAt: now, failingSince: null, lastError: null }
    return hurries
  }

  async #hurry(now: number): Promise<void> {
    await this.#write([this.#parts.waiting.hurry(this.#webhook.id, now)])
    this.#lookForRows()
  }

  #noteFailure({ row }: Held, { error }: Outcome, { now, isProbe }: { now: number; isProbe: boolean }): void {
    this.#state = { ...this.#state, failingSince: this.#state.failingSince ?? now, lastError: error }
    // What waits fails by itself, maybe for a reason of its own; fresh events tell how the endpoint is.
    if (row !== null) return
    // Calls that went out together are one sign, not several.
    this.#freshFailures = isProbe
      ? this.#freshFailures + 1
      : Math.min(this.#freshFailures + 1, DOWN_AFTER_FAILURES)
    if (!this.isDown) return
    this.#probeAt = now + this.#parts.schedule.probeAfter(this.#freshFailures)
    this.#dropReady()
  }

  async #disable(reason: DisabledReason, now: number): Promise<void> {
    const { eventLog, log, store } = this.#parts
    const { id, tenant } = this.#webhook
    if (!this.#webhook.enabled) return
    const { lastError: code } = this.#state
    this.#webhook = {
      ...this.#webhook,
      enabled: false,
      disabledReason: reason,
      disabledAt: now,
      changedAt: now,
    }
    this.#rest()
    await this.#write([
      store.disable(this.#webhook),
      this.save(),
      eventLog.append({
        tenant,
        instance: null,
        type: 'webhook.disabled',
        payload: { webhook: id, reason, code },
      }),
    ])
    log.warn(
      { webhook: id, tenant, reason, code },
      'a webhook was disabled: its events wait in the log until it is enabled',
    )
  }

  /** Events after `after` and before `before` are no longer in the log. */
  async #tellMissed(after: number, before: number): Promise<void> {
    const { clock, eventLog, log } = this.#parts
    const { id, tenant } = this.#webhook
    this.#state = { ...this.#state, missed: { after, before, at: clock.now() } }
    this.#readTo = before - 1
    await this.#write([
      this.save(),
      eventLog.append({
        tenant,
        instance: null,
        type: 'webhook.missed',
        payload: { webhook: id, after, before },
      }),
    ])
    log.warn(
      { webhook: id, tenant, after, before },
      'a webhook was so late that events were swept before it: they are not delivered',
    )
  }

  #behind(told: Told): Statement {
    const now = this.#parts.clock.now()
    return this.#parts.waiting.hold(this.#webhook.id, lineOf(told), {
      attempts: 0,
      dueAt: now,
      now,
      error: null,
    })
  }

  #tried({ told, row }: Held, outcome: Outcome, now: number): Statement {
    const { seq, type, at } = told.event
    const { kind, ...rest } = outcome
    const attemptNumber = 1 + (row?.attempts ?? 0)
    return this.#parts.deliveries.add(this.#webhook.id, {
      ...rest,
      seq,
      type,
      at: now,
      attempt: attemptNumber,
      isDelivered: kind === 'delivered',
      ageMs: Math.max(0, now - at),
    })
  }

  /** Until it is stored, or cannot be any more. */
  async #write(statements: readonly Statement[]): Promise<void> {
    const { clock, log, write } = this.#parts
    for (;;) {
      try {
        await write(statements)
        return
      } catch (error) {
        if (isOurEnd(error) || this.#cut.signal.aborted) throw error
        log.error(
          { webhook: this.#webhook.id, err: error },
          'what became of webhook calls could not be stored; trying again',
        )
        await sleep(clock, RETRY_MS, this.#cut.signal)
      }
    }
  }

  #arm(): void {
    const now = this.#parts.clock.now()
    const dueAt =
      this.#nextDueAt !== null && this.#nextDueAt > now ? this.#nextDueAt : Number.POSITIVE_INFINITY
    const probeAt =
      this.isDown && !this.#isCaughtUp && this.#probeAt > now ? this.#probeAt : Number.POSITIVE_INFINITY
    const at = Math.min(dueAt, probeAt)
    if (at === this.#timerAt) return
    this.#timer?.cancel()
    this.#timerAt = at
    this.#timer =
      at === Number.POSITIVE_INFINITY
        ? null
        : this.#parts.clock.setTimer(at - now, () => {
            this.#timer = null
            this.#timerAt = Number.POSITIVE_INFINITY
            this.step()
          })
  }
}

/** Events that are not for it, past which its cursor is saved all the same. */
const SAVE_EVERY = 1000

function lineOf({ event, lane }: Told): HeldEvent {
  return { seq: event.seq, type: event.type, lane }
}

/** Only its place is needed any more. */
function empty(held: Held): void {
  held.bytes.giveBack()
  held.told = { ...held.told, event: { ...held.told.event, payload: {} }, body: '' }
}
