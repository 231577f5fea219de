import {
  type Clock,
  EclusaError,
  type Lifecycle,
  type Logger,
  MINUTE,
  Places,
  runLoop,
  SECOND,
  sleep,
  type TenantId,
} from '@eclusa/kernel'
import type {
  Database,
  EventLog,
  LoggedEvent,
  Neighbours,
  Ownership,
  Sealer,
  Statement,
} from '@eclusa/storage'
import type { EventTail } from '../events/event-tail.ts'
import { toldEvent } from '../events/event-text.ts'
import type { GuardedHttp } from '../guarded-http/guarded-http.ts'
import { attempt, type Outcome } from './attempt.ts'
import { type Delivery, DeliveryLog, KEEP_DELIVERIES_FOR_MS } from './delivery-log-store.ts'
import { Endpoint, type EndpointParts } from './endpoint.ts'
import { webhookErrors } from './errors.ts'
import { Recorder } from './recorder.ts'
import { RetrySchedule } from './retry-schedule.ts'
import { Share } from './share.ts'
import { makeSecret } from './signature.ts'
import { wants } from './subscription.ts'
import { tell } from './told.ts'
import { type DeadEvent, type WaitingEvent, WaitingStore } from './waiting-store.ts'
import {
  makeWebhookId,
  MAX_DEAD,
  MAX_WAITING,
  MAX_WEBHOOKS_OF_TENANT,
  type Webhook,
  type WebhookId,
  type WebhookInput,
  type WebhookLimits,
  type WebhookState,
} from './webhook.ts'
import { type StoredWebhook, WebhookStore } from './webhook-store.ts'
import { fencedWrite, WEBHOOKS } from './write.ts'

export interface WebhooksOptions {
  readonly database: Database
  readonly ownership: Ownership
  readonly neighbours: Neighbours
  readonly sealer: Sealer
  readonly eventLog: EventLog
  readonly tail: EventTail
  /** With the limits of WEBHOOK_CALL_LIMITS. */
  readonly http: GuardedHttp
  /** Of the hashes of chats in the line. */
  readonly hashKey: Uint8Array
  readonly limits: WebhookLimits
  /** Nothing but failures for this long disables an endpoint. */
  readonly disableAfterMs: number
  /** Pauses between tries are divided by it. */
  readonly retryDivisor: number
  readonly clock: Clock
  /** In [0, 1). */
  readonly random: () => number
  readonly log: Logger
}

/** How an endpoint does, with what only the database knows. */
export interface WebhookHealth extends WebhookState {
  /** Up to MAX_WAITING. */
  readonly waiting: number
  /** Up to MAX_DEAD. */
  readonly dead: number
  readonly isDown: boolean
  /** Of the last 100 tries, milliseconds; null without any. */
  readonly p95TookMs: number | null
  /** From event to delivery. */
  readonly p95AgeMs: number | null
}

/** Events to send again. */
export type Replay =
  | { readonly event: number }
  | { readonly after: number; readonly until: number }
  | { readonly since: number }
  | { readonly dead: true }

export interface Replayed {
  readonly count: number
  /** The last event looked at: go on after it when `isComplete` is false. */
  readonly lastEvent: number
  readonly isComplete: boolean
}

const KEEP_DEAD_FOR_MS = KEEP_DELIVERIES_FOR_MS
const SWEEP_EVERY_MS = 10 * MINUTE
/** Cursors that moved past what is not for their endpoints are saved so often. */
const SAVE_EVERY_MS = 30 * SECOND
const MAX_READS = 4
/** Tests under way; the next waits. */
export const MAX_TESTS = 4
const TEST_WITHIN_MS = 20 * SECOND
/** Calls under way get so long to end when the gateway stops. */
const STOP_WITHIN_MS = SECOND / 2
/** Events looked at by one replay. */
const MAX_REPLAYED = 10_000
const REPLAY_PAGE = { maxEvents: 200, maxBytes: 262_144 }

/**
 * Sends events to the endpoints of tenants: each at least once, with one id, in the order of its chat; or it stands in
 * the list of what was given up. One process of those that share a database sends, under a lease.
 */
export class Webhooks implements Lifecycle {
  readonly #options: WebhooksOptions
  readonly #store: WebhookStore
  readonly #waiting: WaitingStore
  readonly #deliveries: DeliveryLog
  readonly #calls: Share
  readonly #recorder: Recorder
  readonly #parts: EndpointParts
  readonly #tests = new Places(MAX_TESTS)
  // bounded by: maxWebhooks
  readonly #endpoints = new Map<WebhookId, Endpoint>()
  // bounded by: maxWebhooks
  readonly #byTenant = new Map<TenantId, Set<Endpoint>>()
  // Endpoints with something to send, in turn. bounded by: maxWebhooks
  readonly #ready = new Set<Endpoint>()
  // bounded by: maxWebhooks
  readonly #starved = new Set<Endpoint>()
  #isPumping = false
  #leaveTail: (() => void) | null = null
  #stopFollowing: (() => void) | null = null
  #stopHearing: (() => void) | null = null
  readonly #end = new AbortController()
  #loops: Promise<unknown> | null = null
  #onIdle: (() => void) | null = null
  /** One change of what this process sends at a time. */
  #change: Promise<void> = Promise.resolve()

  constructor(options: WebhooksOptions) {
    const { clock, database, eventLog, hashKey, http, limits, log, sealer } = options
    this.#options = options
    this.#store = new WebhookStore({ database, sealer })
    this.#waiting = new WaitingStore(database)
    this.#deliveries = new DeliveryLog(database)
    this.#calls = new Share(limits.maxCalls)
    const write = fencedWrite(database)
    this.#recorder = new Recorder({ write, clock, log, onRoom: () => this.#pump() })
    this.#parts = {
      store: this.#store,
      waiting: this.#waiting,
      deliveries: this.#deliveries,
      eventLog,
      http,
      schedule: new RetrySchedule({ random: options.random, divisor: options.retryDivisor }),
      recorder: this.#recorder,
      write,
      calls: this.#calls,
      bytes: new Share(limits.maxEventBytes),
      reads: new Places(MAX_READS),
      tell: (event) => tell(event, hashKey),
      disableAfterMs: options.disableAfterMs,
      clock,
      log,
      onReady: (endpoint) => {
        this.#ready.add(endpoint)
        this.#pump()
      },
      onEnded: () => this.#ended(),
      onStarved: (endpoint) => this.#starved.add(endpoint),
    }
  }

  /** Sends from now on, as soon as no other process does. */
  async start(): Promise<void> {
    const { clock, log, neighbours, ownership } = this.#options
    this.#stopHearing = neighbours.onWake((instances) => {
      if (instances === null || instances.includes(WEBHOOKS)) this.#then(() => this.#refresh())
    })
    this.#stopFollowing = ownership.onChange((id, owned) => {
      if (id === WEBHOOKS) this.#then(() => (owned ? this.#begin() : this.#cease()))
    })
    if (await ownership.take(WEBHOOKS)) this.#then(() => this.#begin())
    await this.#change
    const loop = (everyMs: number, what: string, pass: () => Promise<void>): Promise<void> =>
      runLoop(
        { clock, everyMs, onError: (error) => log.error({ err: error }, `${what} failed; it comes again`) },
        pass,
        this.#end.signal,
      )
    this.#loops = Promise.all([
      loop(SAVE_EVERY_MS, 'saving how far webhooks are', async () => this.save()),
      loop(SWEEP_EVERY_MS, 'sweeping what webhooks delivered', () => this.sweep()),
    ])
  }

  /** Begins no call more, and gives those under way a second. What has not ended comes again at the next start. */
  async stop(): Promise<void> {
    this.#end.abort()
    this.#stopFollowing?.()
    this.#stopHearing?.()
    await this.#change
    await this.#cease()
    this.#recorder.stop()
    await this.#loops
    await this.#options.ownership.release(WEBHOOKS)
  }

  /** Those of a tenant, the oldest first. */
  async list(tenant: TenantId): Promise<readonly Webhook[]> {
    return (await this.#store.listOf(tenant)).map(({ webhook }) => webhook)
  }

  /** @throws WEBHOOK_UNKNOWN */
  async get(id: WebhookId): Promise<Webhook> {
    return (await this.#find(id)).webhook
  }

  /**
   * Gets the events from now on. Its secret is in the answer, and nowhere again.
   * @throws HTTP_ADDRESS_REFUSED, WEBHOOK_LIMIT_REACHED
   */
  async create(tenant: TenantId, input: WebhookInput): Promise<Webhook> {
    const { clock, eventLog, http, limits } = this.#options
    http.check(input.url)
    const now = clock.now()
    const webhook: Webhook = {
      ...input,
      id: makeWebhookId(),
      tenant,
      enabled: true,
      disabledReason: null,
      disabledAt: null,
      createdAt: now,
      changedAt: now,
      secrets: [{ secret: makeSecret(), until: null }],
    }
    const cursor = await eventLog.lastSeq()
    const isMade = await this.#store.insert(webhook, {
      cursor,
      maxOfTenant: MAX_WEBHOOKS_OF_TENANT,
      maxOfAll: limits.maxWebhooks,
    })
    if (!isMade) throw new EclusaError(webhookErrors.LIMIT_REACHED)
    const stored = this.#leaveTail === null ? undefined : await this.#store.find(webhook.id)
    if (stored !== undefined) this.#serve(stored)
    this.#options.neighbours.wake(WEBHOOKS)
    return webhook
  }

  /**
   * @param options.fromNow when it is enabled: what happened while it was not is not sent
   * @throws HTTP_ADDRESS_REFUSED, WEBHOOK_UNKNOWN
   */
  async change(
    id: WebhookId,
    change: Partial<WebhookInput & Pick<Webhook, 'enabled'>>,
    options: { readonly fromNow?: boolean } = {},
  ): Promise<Webhook> {
    const { clock, eventLog, http } = this.#options
    if (change.url !== undefined) http.check(change.url)
    const fromNow = options.fromNow === true ? await eventLog.lastSeq() : undefined
    return this.#update(
      id,
      (before) => {
        const changedAt = clock.now()
        const after = { ...before, ...change, changedAt }
        if (after.enabled) return { ...after, disabledReason: null, disabledAt: null }
        return before.enabled ? { ...after, disabledReason: 'asked', disabledAt: changedAt } : after
      },
      fromNow,
    )
  }

  /** A new secret; the one before signs too for `overlapMs`. @throws WEBHOOK_UNKNOWN */
  async rotate(
    id: WebhookId,
    overlapMs: number,
  ): Promise<{ readonly webhook: Webhook; readonly secret: string }> {
    const { clock } = this.#options
    const secret = makeSecret()
    const webhook = await this.#update(id, (before) => {
      const now = clock.now()
      const [last] = before.secrets
      const old =
        last === undefined || overlapMs === 0 ? [] : [{ secret: last.secret, until: now + overlapMs }]
      return { ...before, changedAt: now, secrets: [{ secret, until: null }, ...old] }
    })
    return { webhook, secret }
  }

  /** With all that waits for it. @throws WEBHOOK_UNKNOWN */
  async remove(id: WebhookId): Promise<void> {
    const { webhook } = await this.#find(id)
    await this.change(id, { enabled: false })
    this.#forget(id)
    // The endpoint last: after a crash it is still there, to be removed again.
    while (await this.#waiting.forgetStep(id));
    await this.#options.database.write([this.#store.delete(webhook.id)])
    this.#options.neighbours.wake(WEBHOOKS)
  }

  /** One call with an event `webhook.test`, now; it is not tried again. @throws WEBHOOK_UNKNOWN */
  async test(id: WebhookId): Promise<Outcome> {
    const { clock, database, http } = this.#options
    const { webhook } = await this.#find(id)
    return this.#tests.run(async () => {
      const abort = new AbortController()
      const timer = clock.setTimer(TEST_WITHIN_MS, () => abort.abort())
      const at = clock.now()
      const { tenant, instance } = webhook
      const event = toldEvent({ at, tenant, instance, type: TEST, payload: { webhook: id } })
      try {
        const messageId = `msg_${makeWebhookId().slice('whk_'.length)}_test`
        const call = {
          http,
          clock,
          webhook,
          id: messageId,
          body: JSON.stringify(event),
          signal: abort.signal,
        }
        const made = await attempt(call)
        const outcome: Outcome =
          made.kind === 'stopped' ? { ...made, kind: 'failed', error: 'HTTP_DEADLINE_PASSED (test)' } : made
        const { kind, ...rest } = outcome
        const now = clock.now()
        await database.write([
          this.#deliveries.add(id, {
            ...rest,
            seq: null,
            type: TEST,
            at: now,
            attempt: 1,
            isDelivered: kind === 'delivered',
            ageMs: now - at,
          }),
        ])
        return outcome
      } finally {
        timer.cancel()
      }
    })
  }

  /**
   * Sends events again, those the endpoint wants of them, under the ids they had: in their order, before what is new in
   * their chats.
   * @throws WEBHOOK_UNKNOWN, WEBHOOK_DISABLED, WEBHOOK_EVENT_UNKNOWN
   */
  async replay(id: WebhookId, what: Replay): Promise<Replayed> {
    const { webhook } = await this.#find(id)
    if (!webhook.enabled) throw new EclusaError(webhookErrors.DISABLED)
    const cursor = (await this.#state(id)).cursor
    if ('dead' in what) return this.#raiseDead(id)
    if ('event' in what) {
      const done = await this.#replayRange(webhook, what.event - 1, Math.min(what.event, cursor))
      if (done.count === 0) throw new EclusaError(webhookErrors.EVENT_UNKNOWN)
      return done
    }
    if ('since' in what) {
      const first = await this.#options.eventLog.firstSince(what.since)
      return this.#replayRange(webhook, first - 1, cursor)
    }
    return this.#replayRange(webhook, what.after, Math.min(what.until, cursor))
  }

  async health(id: WebhookId): Promise<WebhookHealth> {
    const state = await this.#state(id)
    const [waiting, dead, p95] = await Promise.all([
      this.#waiting.count(id, MAX_WAITING),
      this.#waiting.countDead(id, MAX_DEAD),
      this.#deliveries.p95(id),
    ])
    const isDown = this.#endpoints.get(id)?.isDown ?? false
    return { ...state, waiting, dead, isDown, p95TookMs: p95.tookMs, p95AgeMs: p95.ageMs }
  }

  deliveries(
    id: WebhookId,
    page: { readonly before: number; readonly limit: number },
  ): Promise<readonly Delivery[]> {
    return this.#deliveries.list(id, page)
  }

  waiting(id: WebhookId, after: number, limit: number): Promise<readonly WaitingEvent[]> {
    return this.#waiting.list(id, after, limit)
  }

  dead(id: WebhookId, after: number, limit: number): Promise<readonly DeadEvent[]> {
    return this.#waiting.listDead(id, after, limit)
  }

  /** Saves cursors that moved without anything being sent. Every 30 s by itself. */
  save(): void {
    for (const endpoint of this.#endpoints.values()) if (endpoint.isUnsaved) this.#recorder.add(endpoint)
  }

  /** Deletes what was kept long enough, in steps. Every 10 min by itself. */
  async sweep(): Promise<void> {
    if (!this.#options.ownership.owns(WEBHOOKS)) return
    const now = this.#options.clock.now()
    const goOn = (more: boolean): boolean => more && !this.#end.signal.aborted
    while (goOn(await this.#deliveries.sweepOld(now - KEEP_DELIVERIES_FOR_MS)));
    for (const id of this.#endpoints.keys()) {
      while (goOn(await this.#deliveries.sweepSurplus(id)));
      while (goOn(await this.#waiting.sweepDead(id, now - KEEP_DEAD_FOR_MS)));
    }
  }

  #then(work: () => Promise<void>): void {
    this.#change = this.#change.then(work).catch((error: unknown) => {
      this.#options.log.error({ err: error }, 'webhooks could not be taken up; trying again')
      return sleep(this.#options.clock, SECOND, this.#end.signal).then(
        () => this.#then(work),
        () => undefined,
      )
    })
  }

  /** Takes up every endpoint where its cursor stands. */
  async #begin(): Promise<void> {
    const { limits, log, ownership, tail } = this.#options
    if (this.#end.signal.aborted || this.#leaveTail !== null || !ownership.owns(WEBHOOKS)) return
    const stored = await this.#store.listAll(limits.maxWebhooks + 1)
    if (stored.length > limits.maxWebhooks) {
      log.error({ max: limits.maxWebhooks }, 'more webhooks exist than ECLUSA_WEBHOOKS_MAX: some get nothing')
    }
    this.#leaveTail = await tail.follow((event) => this.#heard(event))
    for (const one of stored.slice(0, limits.maxWebhooks)) this.#serve(one)
  }

  /** What other processes changed. */
  async #refresh(): Promise<void> {
    const { limits } = this.#options
    if (this.#leaveTail === null || this.#end.signal.aborted) return
    const stored = await this.#store.listAll(limits.maxWebhooks)
    const known = new Set(stored.map(({ webhook }) => webhook.id))
    for (const id of this.#endpoints.keys()) if (!known.has(id)) this.#forget(id)
    for (const one of stored) {
      const endpoint = this.#endpoints.get(one.webhook.id)
      if (endpoint === undefined) this.#serve(one)
      // What it changed itself may not be stored yet.
      else if (one.webhook.changedAt > endpoint.webhook.changedAt) {
        endpoint.change(one.webhook, { fromNow: one.state.cursor })
      } else endpoint.waits()
    }
  }

  async #cease(): Promise<void> {
    this.#leaveTail?.()
    this.#leaveTail = null
    const endpoints = [...this.#endpoints.values()]
    for (const endpoint of endpoints) endpoint.stop()
    await this.#untilIdle(endpoints)
    this.save()
    await this.#recorder.settled()
    for (const { webhook } of endpoints) this.#forget(webhook.id)
  }

  async #untilIdle(endpoints: readonly Endpoint[]): Promise<void> {
    const isIdle = (): boolean => endpoints.every(({ isFlying }) => !isFlying)
    const cut = this.#options.clock.setTimer(STOP_WITHIN_MS, () => {
      for (const endpoint of endpoints) endpoint.cut()
    })
    while (!isIdle()) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    cut.cancel()
    for (const endpoint of endpoints) endpoint.cut()
  }

  #serve(stored: StoredWebhook): void {
    const { id, tenant } = stored.webhook
    if (this.#endpoints.has(id)) return
    const endpoint = new Endpoint(stored, this.#parts)
    this.#endpoints.set(id, endpoint)
    const ofTenant = this.#byTenant.get(tenant) ?? new Set()
    this.#byTenant.set(tenant, ofTenant.add(endpoint))
    endpoint.step()
  }

  #forget(id: WebhookId): void {
    const endpoint = this.#endpoints.get(id)
    if (endpoint === undefined) return
    endpoint.stop()
    this.#endpoints.delete(id)
    this.#ready.delete(endpoint)
    this.#starved.delete(endpoint)
    const { tenant } = endpoint.webhook
    const ofTenant = this.#byTenant.get(tenant)
    ofTenant?.delete(endpoint)
    if (ofTenant?.size === 0) this.#byTenant.delete(tenant)
  }

  #heard(event: LoggedEvent): void {
    const endpoints = this.#byTenant.get(event.tenant)
    if (endpoints === undefined) return
    const told = this.#parts.tell(event)
    for (const endpoint of endpoints) endpoint.offer(told)
  }

  /** Begins calls, one endpoint after the other, while there is room. */
  #pump(): void {
    if (this.#isPumping) return
    this.#isPumping = true
    for (const endpoint of this.#ready) {
      const how = endpoint.start()
      if (how === 'full') continue
      this.#ready.delete(endpoint)
      // Behind the others, where its turn comes again.
      if (how === 'started') this.#ready.add(endpoint)
    }
    this.#isPumping = false
  }

  #ended(): void {
    this.#onIdle?.()
    const starved = [...this.#starved]
    this.#starved.clear()
    for (const endpoint of starved) endpoint.step()
    this.#pump()
  }

  async #find(id: WebhookId): Promise<StoredWebhook> {
    const found = await this.#store.find(id)
    if (found === undefined) throw new EclusaError(webhookErrors.UNKNOWN)
    return found
  }

  /** As it is in memory, else as it was last stored. */
  async #state(id: WebhookId): Promise<WebhookState> {
    return this.#endpoints.get(id)?.state ?? (await this.#find(id)).state
  }

  async #update(id: WebhookId, change: (before: Webhook) => Webhook, fromNow?: number): Promise<Webhook> {
    const before = this.#endpoints.get(id)?.webhook ?? (await this.#find(id)).webhook
    const after = change(before)
    const { database, neighbours } = this.#options
    const [result] = await database.write([
      this.#store.update(after),
      ...(fromNow === undefined ? [] : [this.#store.moveOn(id, fromNow)]),
    ])
    if (result?.changes !== 1) throw new EclusaError(webhookErrors.UNKNOWN)
    this.#endpoints.get(id)?.change(after, fromNow === undefined ? {} : { fromNow })
    neighbours.wake(WEBHOOKS)
    return after
  }

  /** Events after `after` up to `until` into the line, a page a unit. */
  async #replayRange(webhook: Webhook, after: number, until: number): Promise<Replayed> {
    const { database, eventLog } = this.#options
    const { id, tenant } = webhook
    let count = 0
    let looked = 0
    for (let last = after; ;) {
      const { events, isEnd } = await eventLog.readBatch({ after: last, tenant, ...REPLAY_PAGE })
      const page = events.filter(({ seq }) => seq <= until)
      const wanted = page.filter((event) => wants(webhook, event))
      const room = MAX_WAITING - (await this.#waiting.count(id, MAX_WAITING))
      if (wanted.length > room) return { count, lastEvent: last, isComplete: false }
      if (wanted.length > 0) {
        await database.write(wanted.flatMap((event) => this.#again(id, this.#lineOf(event))))
        this.#wake(id)
      }
      count += wanted.length
      looked += page.length
      last = page.at(-1)?.seq ?? last
      if (isEnd || page.length < events.length) return { count, lastEvent: last, isComplete: true }
      if (looked >= MAX_REPLAYED) return { count, lastEvent: last, isComplete: false }
    }
  }

  async #raiseDead(id: WebhookId): Promise<Replayed> {
    let count = 0
    for (let last = 0; ;) {
      const dead = await this.#waiting.listDead(id, last, REPLAY_PAGE.maxEvents)
      const room = MAX_WAITING - (await this.#waiting.count(id, MAX_WAITING))
      if (dead.length > room) return { count, lastEvent: last, isComplete: false }
      if (dead.length > 0) {
        await this.#options.database.write(dead.flatMap((one) => this.#again(id, one)))
        this.#wake(id)
      }
      count += dead.length
      last = dead.at(-1)?.seq ?? last
      if (dead.length < REPLAY_PAGE.maxEvents) return { count, lastEvent: last, isComplete: true }
    }
  }

  /** There is something on disk for it. */
  #wake(id: WebhookId): void {
    const endpoint = this.#endpoints.get(id)
    if (endpoint === undefined) this.#options.neighbours.wake(WEBHOOKS)
    else endpoint.waits()
  }

  #again(id: WebhookId, line: { seq: number; type: string; lane: string }): readonly Statement[] {
    const now = this.#options.clock.now()
    return [
      this.#waiting.raise(id, line.seq),
      this.#waiting.hold(id, line, { attempts: 0, dueAt: now, now, error: null }),
    ]
  }

  #lineOf(event: LoggedEvent): { seq: number; type: string; lane: string } {
    const { lane } = this.#parts.tell(event)
    return { seq: event.seq, type: event.type, lane }
  }
}

const TEST = 'webhook.test'
