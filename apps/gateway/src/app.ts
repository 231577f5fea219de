import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { CacheBudget } from '@eclusa/bounded-cache'
import { contactMigrations } from '@eclusa/contacts'
import { Conversations, flowMigrations } from '@eclusa/flows'
import {
  type ChatId,
  type Clock,
  DAY,
  EclusaError,
  type InstanceId,
  type Logger,
  ninthDigitVariant,
  Places,
  runLoop,
  SECOND,
  systemClock,
  type TenantId,
  TypedEmitter,
  type WaMessageId,
} from '@eclusa/kernel'
import {
  type CareOptions,
  openQueue,
  type PacingOptions,
  type Queue,
  type QueueEvents,
  queueMigrations,
} from '@eclusa/queue'
import {
  AuthStore,
  BaileysEngine,
  checkEngine,
  holdHistories,
  InboundJournal,
  type SessionEvents,
  sessionMigrations,
  SessionPool,
  SharedFacts,
} from '@eclusa/session'
import {
  EventLog,
  loadMigrations,
  type Migration,
  openDatabase,
  openNode,
  type Ownership,
} from '@eclusa/storage'
import { AuditLog } from './audit/audit-log.ts'
import { AuditStore } from './audit/audit-store.ts'
import { type Config, describeConfig, listOf, WHATSAPP_URL } from './config.ts'
import { Demo, wantsDemo } from './demo/demo.ts'
import { LiveView } from './demo/live-view.ts'
import { gatewayErrors } from './errors.ts'
import { openFlows } from './flows.ts'
import { parseAllowList } from './guarded-http/allow-list.ts'
import { GuardedHttp } from './guarded-http/guarded-http.ts'
import { EventStreams } from './events/event-streams.ts'
import { EventForwarder } from './events/sinks/event-forwarder.ts'
import { EventSinkStore } from './events/sinks/event-sink-store.ts'
import { openSinks } from './events/sinks/open-sinks.ts'
import { EventTail } from './events/event-tail.ts'
import { AuditedRequests } from './http/audited-requests.ts'
import { buildHttp, type HttpServer } from './http/server.ts'
import type { DeclaredRoute } from './http/route-rules.ts'
import { installSecret } from './install-secret-store.ts'
import { InstanceStore } from './instances/instance-store.ts'
import { Inbox } from './inbox.ts'
import { Instances } from './instances/instances.ts'
import { ownInstances } from './instances/own-instances.ts'
import { ApiKeyStore } from './keys/api-key-store.ts'
import { ApiKeys } from './keys/api-keys.ts'
import { builtDashboard } from './dashboard/built-dashboard.ts'
import { Logins } from './login/logins.ts'
import { type CachesReport, cachesReport } from './measurements/caches-report.ts'
import { Measurements } from './measurements/measurements.ts'
import { LateFiling } from './late-filing.ts'
import { openLog } from './log.ts'
import type { MachineLimit } from './memory/ceiling.ts'
import { assertFits, type GatewayPlan, planGateway, thisMachine } from './memory/gateway-plan.ts'
import type { GatewayLimits } from './memory/memory-lines.ts'
import { MemoryGovernor } from './memory/governor.ts'
import { MemoryLog } from './memory/memory-log.ts'
import { type MemoryReport, memoryReport } from './memory/memory-report.ts'
import { type MemoryReadings, watchProcess } from './memory/memory-readings.ts'
import { Metrics } from './metrics/metrics.ts'
import { planFields } from './memory/render-plan.ts'
import { tenantShares } from './memory/tenant-shares.ts'
import { TenantRemovals } from './tenants/tenant-removals.ts'
import { TenantStore } from './tenants/tenant-store.ts'
import { TenantTraceStore } from './tenants/tenant-trace-store.ts'
import { Tenants } from './tenants/tenants.ts'
import { ReadyProbe } from './ready-probe-store.ts'
import { rootKeyOf, ServerTrust } from './simulator-trust.ts'
import { openInstallationSealer, sealedTables, Sealing } from './sealing.ts'
import { StopList } from './stop-list.ts'
import { enqueueReply, openPeople, standingFrom } from './people.ts'
import { PersonTraces } from './person-traces.ts'
import { RetentionSweep } from './retention.ts'
import type { Terminal } from './terminal.ts'
import { WEBHOOK_CALL_LIMITS } from './webhooks/attempt.ts'
import { MAX_TESTS, Webhooks } from './webhooks/webhooks.ts'

export interface AppOptions {
  readonly config: Config
  readonly terminal: Terminal
  /** Default: the machine's. */
  readonly clock?: Clock
  /** In [0, 1). Default: Math.random. */
  readonly random?: () => number
  /** What memory there is. Default: this machine's, or its control group's. */
  readonly machine?: MachineLimit
  /** How the memory and the event loop are. Default: watches this process. */
  readonly readings?: MemoryReadings
}

/** A running gateway. */
export interface App {
  /** Where the HTTP API listens. */
  readonly url: string
  /** The key made on this start, to be shown once; null when there was one. */
  readonly freshKey: string | null
  /** What to try the demo with; null when it does not run. */
  readonly demo: Demo['example'] | null
  /** What the HTTP API answers, and to whom. */
  readonly routes: readonly DeclaredRoute[]
  readonly log: Logger
  /** Graceful, within 10 s, idempotent. */
  stop(): Promise<void>
}

/** How long a boot that has numbers to connect waits for a simulator that starts at the same time. */
const SIMULATOR_PATIENCE_MS = 10 * SECOND

/** What is told to who listens, and not kept. */
const LIVE_EVENTS = ['outbound.reading', 'outbound.thinking', 'outbound.typing', 'outbound.sending'] as const

/** Events that show that a contact is there. */
const ANSWERS: ReadonlySet<string> = new Set(['inbound.received', 'inbound.reacted', 'inbound.poll_voted'])

const gatewayMigrations: readonly Migration[] = loadMigrations(new URL('../migrations/', import.meta.url))

/** Starts everything, in the order in which it depends on each other; whatever was started is stopped in reverse. */
export async function startApp(options: AppOptions): Promise<App> {
  const { config, terminal } = options
  const clock = options.clock ?? systemClock
  const random = options.random ?? Math.random
  const stops = new StopList()
  try {
    checkEngine()

    // Memory: everything that outlives a call has its place under the ceiling, or nothing starts.
    const plan = planGateway(config, options.machine ?? thisMachine())
    assertFits(plan, config)
    const { limits } = plan

    // Storage: nothing else holds state.
    const dataDir = resolve(config.dataDir)
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    const place = placeOf(config, { dataDir, limits, stops })
    const database = await openDatabase({
      ...place,
      migrations: [
        ...sessionMigrations,
        ...queueMigrations,
        ...contactMigrations,
        ...flowMigrations,
        ...gatewayMigrations,
      ],
      log: openLog({ ...logOptions(config, terminal), hashKey: new Uint8Array(32) }),
    })
    stops.add('the database', 0.8 * SECOND, () => database.stop())
    const keyFile = config.keyFile === '' ? `${dataDir}.key` : resolve(config.keyFile)
    const sealer = await openInstallationSealer(config, { database, keyFile, clock })
    const hashKey = await installSecret({ database, sealer, name: 'log-hash' })
    const log = openLog({ ...logOptions(config, terminal), hashKey })
    stops.use(log, clock)
    logPlan(plan, log)
    if (!config.pacing) log.warn({}, 'pacing is off: messages are not typed (ECLUSA_PACING=off)')
    if (config.limits === 'off')
      log.warn({}, 'limits are off: messages go out at full speed (ECLUSA_LIMITS=off)')

    // Before anything acts for an instance.
    const { ownership } = database
    const instanceStore = new InstanceStore(database)
    const known = await instanceStore.list(Number.MAX_SAFE_INTEGER)
    await ownInstances(
      ownership,
      known.map(({ id }) => id),
      { clock, log },
    )

    for (const { tenant } of known) await sealer.prepareUnlessDestroyed(tenant)
    const tenantOf = (instance: InstanceId): TenantId => {
      const tenant = instanceStore.tenantOf(instance)
      assert.ok(tenant !== undefined, 'an instance that has data has a tenant')
      return tenant
    }

    const caches = new CacheBudget({
      maxBytes: plan.cacheBytes,
      now: () => clock.now(),
      setTimer: (delayMs, run) => clock.setTimer(delayMs, run),
      onEvent: (event) => log.debug({ ...event }, 'the cache budget is in use'),
    })
    stops.add('the cache budget', 0.1 * SECOND, async () => caches.dispose())

    // What happened, in order and to be replayed.
    const events = new EventLog({ database, sealer, clock })
    const tail = new EventTail({ eventLog: events, database, log })
    stops.add('the event tail', 0.1 * SECOND, async () => tail.stop())

    // Who may do what, and who did.
    const audit = new AuditLog({
      store: new AuditStore(database),
      clock,
      key: await installSecret({ database, sealer, name: 'audit-chain' }),
    })
    const tenantStore = new TenantStore(database)
    const tenants = await Tenants.open({
      store: tenantStore,
      audit,
      neighbours: database.neighbours,
      clock,
      log,
      apiRate: { perSecond: config.apiPerSecond, burst: config.apiBurst },
    })
    // Whoever has instances is one, however its row was lost.
    for (const { tenant } of known) if (tenants.get(tenant) === undefined) await tenants.ensure(tenant)
    const weightOf = (tenant: string): number | null =>
      tenants.get(tenant as TenantId)?.quotas.memoryWeight ?? null
    const cacheShareOf = tenantShares(config, plan.cacheBytes, weightOf)

    // Who writes to us.
    const people = openPeople({
      database,
      sealer,
      events,
      clock,
      maxInstances: config.maxInstances,
      ownerOf: (tenant) => caches.owner(tenant, cacheShareOf(tenant)),
      hashKey: await installSecret({ database, sealer, name: 'contact-hash' }),
      ports: {
        async merged({ tenant, from, to }) {
          await conversations.traces.merged(tenant, from, to)
          await flows.runs.merged({ tenant, from, to })
        },
        async standingChanged(tenant, addresses) {
          for (const { id } of instances.all().filter((instance) => instance.tenant === tenant)) {
            for (const address of addresses) await dispatcher.standingChanged(id, address)
          }
        },
        enqueue: (message) =>
          enqueueReply(message, {
            outbox,
            conversations,
            canonicalChat: (instance, chat) => sessions.canonicalChat(instance, chat),
          }),
      },
    })
    const { directory } = people
    if (database.dialect === 'postgres') {
      const leave = await tail.follow((event) => directory.heard(event))
      stops.add('listening to other nodes', 0.1 * SECOND, async () => leave())
    }

    // Out: queue and sessions, joined by ports.
    const onError = (error: unknown): void => log.error({ err: error }, 'a listener failed')
    const queueEvents = new TypedEmitter<QueueEvents>({ onError })
    const sessionEvents = new TypedEmitter<SessionEvents>({ onError })
    const journal = new InboundJournal({ database, sealer, events, clock })
    const joinChats = (instance: InstanceId, aliases: readonly ChatId[]): void => {
      filing.numbersLearnt(instance, aliases).catch((error: unknown) => {
        log.warn(
          { instance, err: error },
          'what was sent to a number is not filed yet with its LID; trying again when they write',
        )
      })
      queue.control.joinChats(instance, aliases).catch((error: unknown) => {
        log.warn(
          { instance, err: error },
          'two chats of one person were not joined; trying again before they send',
        )
      })
    }
    const authStore = new AuthStore({ database, sealer, clock, tenantOf, numbersLearnt: joinChats })
    const sessions = new SessionPool({
      engine: new BaileysEngine({
        store: authStore,
        clock,
        keepAliveMs: config.sessionKeepAliveMs,
        maxHistoryBytes: limits.maxHistoryBytes,
      }),
      url: config.whatsappUrl,
      ackTimeoutMs: config.sessionAckTimeoutMs,
      maxStarting: limits.maxStarting,
      maxSessions: plan.sessions,
      store: authStore,
      journal,
      facts: new SharedFacts({ database, sealer, clock, tenantOf }),
      ports: {
        journalled: (tenant, instance, chat) => {
          inbox.arrived(tenant, instance, chat)
          const variant = ninthDigitVariant(chat)
          // They wrote under this one of their two numbers, so that is the one.
          if (variant !== null) joinChats(instance, [variant])
        },
        receipt: (instance, receipt) => queue.dispatcher.recordReceipt({ instance, ...receipt }),
        contentForRetry: (instance, waMessageId) =>
          queue.outbox.contentForRetry(instance, waMessageId as WaMessageId),
      },
      events: sessionEvents,
      cacheBudget: caches,
      cacheShareOf,
      clock,
      random,
      log,
    })
    const standing = standingFrom(people, journal)
    const care = { real: careOf(config, false), simulated: careOf(config, true) }
    const queue = await openQueue({
      database,
      ownership,
      neighbours: database.neighbours,
      sealer,
      clock,
      log,
      random,
      eventLog: events,
      emitter: queueEvents,
      sender: sessions,
      context: {
        unread: (instance, chat) => sessions.unread(instance, chat),
        canonical: (instance, chat) => sessions.canonicalChat(instance, chat),
        standing,
      },
      pacing: pacingOf(config),
      hashKey: await installSecret({ database, sealer, name: 'text-hash' }),
      limits: limits.queue,
      care: () => (sessions.isSimulated ? care.simulated : care.real),
      expireAfterMs: config.queueExpireAfterMs,
      expireHeldAfterMs: config.queueExpireHeldAfterMs,
      sweep: {
        everyMs: config.queueSweepEveryMs,
        keepFailedForMs: config.queueKeepFailedForMs,
        keepTerminalForMs: config.queueKeepTerminalForMs,
        keepSentContentForMs: config.queueKeepSentForMs,
        keepIdempotencyForMs: config.queueKeepKeysForMs,
      },
    })
    const { outbox, dispatcher } = queue

    // In: what contacts write, through contacts and conversations, each message once.
    const conversations = new Conversations({
      database,
      sealer,
      events,
      clock,
      log,
      reopenWithinMs: config.conversationsReopenWithinMs,
      renamed: (conversation, chat) => filing.file(conversation, chat),
    })
    const filing = new LateFiling({
      conversations,
      directory,
      traces: () => queue.traces,
      canonicalChat: (instance, chat) => sessions.canonicalChat(instance, chat),
    })
    const allowed = parseAllowList(config.outgoingAllow)
    if ('fault' in allowed) throw new Error(allowed.fault)
    const outgoing = new GuardedHttp({ allow: allowed, clock })
    const flows = openFlows({
      database,
      sealer,
      events,
      clock,
      log,
      ownership,
      conversations,
      directory,
      outbox,
      canonicalChat: (instance, chat) => sessions.canonicalChat(instance, chat),
      http: outgoing,
    })
    const inbox = new Inbox({
      journal,
      ports: {
        contacts: directory,
        care: people.care,
        conversations,
        flows: {
          isWaiting: (origin, contact) => flows.runner.isWaiting(origin, contact),
          async hear(origin, by) {
            const { contact, conversation, heard, message } = by
            await flows.runner.hear(origin, by)
            const { operator } =
              (await conversations.get(conversation.tenant, conversation.id)) ?? conversation
            await people.autoReplies.hear(origin, {
              contact,
              chat: message.chat,
              operator,
              heard,
              isToldElsewhere: () => flows.tellsHours(origin, contact),
            })
          },
        },
      },
      ownership,
      limits: limits.inbox,
      clock,
      log,
    })

    let demo: Demo | null = null
    stops.add('the demo', 0.8 * SECOND, async () => demo?.end())
    stops.add('sessions', 1.8 * SECOND, () => sessions.stop())
    await queue.start()
    stops.add('the queue', 5.2 * SECOND, () => queue.stop())
    await conversations.start()
    stops.add('conversations', 0.5 * SECOND, () => conversations.stop())
    await flows.start()
    stops.add('flows', 0.5 * SECOND, () => flows.stop())
    for (const { tenant, id } of known) inbox.instanceTaken(tenant, id)
    await inbox.start()
    stops.add('the inbox', 1.2 * SECOND, () => inbox.stop())
    const record = (type: string, event: QueueEvents['queue.warned' | 'cold_chats.paused']): void => {
      const { tenant, instance, ...payload } = event
      database
        .write([events.append({ tenant, instance, type, payload })])
        .catch((error: unknown) => log.error({ tenant, instance, err: error }, 'an event was not stored'))
    }
    queueEvents.on('queue.warned', (warning) => {
      log.warn(warning, 'many messages wait: is the instance online, and is pacing as fast as they come?')
      record('queue.warned', warning)
    })
    queueEvents.on('cold_chats.paused', (pause) => record('cold_chats.paused', pause))
    if (config.pacing || config.limits !== 'off') {
      const leave = await tail.follow(({ type, instance, payload }) => {
        if (instance === null || !ANSWERS.has(type)) return
        dispatcher.inboundArrived(instance, (payload as { chat: ChatId }).chat).catch((error: unknown) => {
          log.warn({ instance, err: error }, 'what waits for an answer of this contact goes at its time')
        })
      })
      stops.add('listening to contacts', 0.1 * SECOND, async () => leave())
    }
    sessionEvents.on('session.changed', ({ tenant, instance, view, previous }) => {
      if (view.state === previous) return
      if (view.state === 'online') dispatcher.instanceOnline(instance)
      else if (previous === 'online') dispatcher.instanceOffline(instance)
      const { state, reason } = view
      database
        .write([
          events.append({ tenant, instance, type: 'session.changed', payload: { state, previous, reason } }),
        ])
        .catch((error: unknown) =>
          log.error({ tenant, instance, err: error }, 'a session event was not stored'),
        )
    })
    const trust = new ServerTrust({
      url: config.whatsappUrl,
      use: (rootKey) => sessions.useServer({ url: config.whatsappUrl, rootKey }),
      clock,
      log,
    })
    const instances = await Instances.open({
      store: instanceStore,
      tenants,
      ownership,
      maxInstances: config.maxInstances,
      settleServer: () => trust.settle(),
      sessions,
      sessionEvents,
      outbox,
      eventLog: events,
      prepareTenant: (tenant) => sealer.prepare(tenant),
      async forgetMore(instance) {
        await flows.runs.forgetInstance(instance)
        await conversations.traces.forgetInstance(instance)
      },
      clock,
      log,
    })
    const stopFollowing = followOwnership({ ownership, instances, sessions, inbox, queue, log })
    stops.add('following ownership', 0.1 * SECOND, async () => stopFollowing())
    const retention = new RetentionSweep({
      journal,
      conversations,
      instances: () => instances.all().map(({ id }) => id),
      ownership,
      keep: { wordsForMs: config.wordsKeepForMs, closedForMs: config.conversationsKeepClosedForMs },
      clock,
      log,
    })
    await retention.start()
    stops.add('the sweep of what is too old', 0.5 * SECOND, () => retention.stop())
    const holder = 'node' in place ? place.node : 'the only one'
    const sinkStore = new EventSinkStore({ database, clock })
    const forwarders = (await openSinks(config)).map(
      (sink) =>
        new EventForwarder({ sink, holder, store: sinkStore, eventLog: events, database, clock, log }),
    )
    for (const forwarder of forwarders) {
      stops.add('handing events to a broker', 0.5 * SECOND, () => forwarder.stop())
      await forwarder.start()
    }
    const sweepEvents = async (): Promise<number> =>
      events.sweep({ keepForMs: config.eventsKeepForMs, maxPerTenant: config.eventsMaxPerTenant })
    stops.add(
      'the sweep of events',
      0.2 * SECOND,
      startSweep({ sweep: sweepEvents, what: 'old events', config, clock, log }),
    )
    const sealing = new Sealing({
      sealer,
      database,
      tables: sealedTables((id) => instanceStore.tenantOf(id)),
      rotateAfterMs: config.dataKeysRotateAfterMs,
      clock,
      log,
    })
    await sealing.start()
    stops.add('the care of keys', 0.2 * SECOND, () => sealing.stop())

    const governor = new MemoryGovernor({
      readings: options.readings ?? watchProcess(),
      limits: {
        ceilingBytes: plan.ceilingBytes,
        heapLimitBytes: plan.oldSpaceBytes,
        outsideBytes: plan.outsideBytes,
      },
      valves: {
        setCacheShare: (share) => resized(caches, Math.max(1, Math.floor(plan.cacheBytes * share))),
        holdHistory: holdHistories,
        holdMedia: () => {},
        holdStarts: (held) => (held ? sessions.holdStarts() : sessions.letStartsGo()),
      },
      events,
      database,
      clock,
      log,
    })
    stops.add('the governor of memory', 0.1 * SECOND, async () => {
      await governor.stop()
      // It is the process that is held, not this gateway.
      holdHistories(false)
    })
    await governor.start()

    // Life: the demo, or the numbers of before. Which server it is must be settled before anybody can start a session.
    const toStart = instances
      .all()
      .filter(
        ({ tenant, simulated, wanted, rest }) =>
          !simulated && wanted === 'started' && rest === null && tenants.isActive(tenant),
      )
    await trust.settle(toStart.length > 0 ? SIMULATOR_PATIENCE_MS : 0)
    if (wantsDemo({ ...config, ownServer: config.whatsappUrl !== WHATSAPP_URL }, instances.hasReal)) {
      demo = await Demo.start({
        instances,
        sessions,
        sessionEvents,
        outbox,
        queueEvents,
        conversations,
        flows,
        tail,
        clock,
        random,
        log,
        view: new LiveView(terminal),
        whatsappUrl: config.whatsappUrl,
        rootKeyOf: (whatsappUrl) => rootKeyOf(whatsappUrl, { clock, log, patienceMs: SIMULATOR_PATIENCE_MS }),
      }).catch((error: unknown) => {
        log.error({ err: error }, 'the demo could not be started; the gateway works without it')
        return null
      })
    } else if (config.demo === 'on') {
      log.warn(
        {},
        'ECLUSA_DEMO is on, but a real instance exists: real numbers come first, the demo stays off',
      )
    }
    for (const instance of toStart) {
      instances.connect(instance).catch((error: unknown) => {
        log.error(
          { tenant: instance.tenant, instance: instance.id, err: error },
          'an instance could not be started',
        )
      })
    }

    // In: the HTTP API.
    const sweepAudit = async (): Promise<number> => audit.sweep(config.auditKeepDays * DAY)
    stops.add(
      'the sweep of the audit log',
      0.2 * SECOND,
      startSweep({ sweep: sweepAudit, what: 'old entries of the audit log', config, clock, log }),
    )
    const keys = await ApiKeys.open({
      store: new ApiKeyStore(database),
      audit,
      neighbours: database.neighbours,
      clock,
      log,
      preset: config.apiKey,
    })
    stops.add('keys', 0.2 * SECOND, () => keys.stop())
    await keys.start()
    const logins = await Logins.open({ database, sealer, keys, clock, log })
    const ready = new ReadyProbe({ database, clock })
    const reads = new Places(limits.http.maxReads)
    const streams = new EventStreams({
      eventLog: events,
      tail,
      clock,
      log,
      maxStreams: config.eventsMaxStreams,
      maxUnsentBytesOfAll: limits.http.maxUnsentBytes,
      reads,
    })
    const report = (): MemoryReport => memoryReport({ plan, governor, caches, streams })
    const memoryLog = new MemoryLog({
      outbox,
      contacts: () => people.caches.counts(),
      memory: () => report().now,
      everyMs: config.memoryReportEveryMs,
      clock,
      log,
    })
    stops.add('the memory line', 0.1 * SECOND, () => memoryLog.stop())
    await memoryLog.start()
    for (const type of LIVE_EVENTS) {
      queueEvents.on(type, ({ tenant, instance, ...payload }) =>
        streams.tell({ type, at: payload.at, tenant, instance, payload }),
      )
    }
    const webhooks = new Webhooks({
      database,
      ownership,
      neighbours: database.neighbours,
      sealer,
      eventLog: events,
      tail,
      http: new GuardedHttp({
        allow: allowed,
        clock,
        // Its own calls wait in its own line.
        limits: { ...WEBHOOK_CALL_LIMITS, maxCalls: limits.webhooks.maxCalls + MAX_TESTS, maxWaiting: 1 },
      }),
      hashKey: await installSecret({ database, sealer, name: 'webhook-hash' }),
      limits: limits.webhooks,
      disableAfterMs: config.webhooksDisableAfterMs,
      retryDivisor: config.webhooksRetryDivisor,
      clock,
      random,
      log,
    })
    stops.add('webhooks', 0.8 * SECOND, () => webhooks.stop())
    await webhooks.start()
    const removals = new TenantRemovals({
      store: tenantStore,
      traces: new TenantTraceStore(database),
      tenants,
      keys,
      instances,
      async forgetMore(tenant) {
        if (queue.control.isTenantPaused(tenant))
          await queue.control.resume({ tenant, instance: null, chat: null })
        await queue.pacing.delete(tenant, null)
        await queue.limits.delete(tenant, null)
        const theirHooks = await webhooks.list(tenant)
        for (const { id } of theirHooks) await webhooks.remove(id)
        const theirUsers = logins.users.list().filter(({ reach }) => reach === tenant)
        for (const { name } of theirUsers) {
          await logins.endAllOf('user', name)
          await logins.users.remove(name)
        }
        return { Webhook: theirHooks.length, LoginUser: theirUsers.length }
      },
      destroyKey: (tenant) => sealer.destroyKey(tenant),
      clock,
      log,
    })
    tenants.onStateChange(({ id }) => {
      if (!tenants.isActive(id)) keys.interrupt(id)
      instances.tenantChanged(id).catch((error: unknown) => {
        log.error({ tenant: id, err: error }, 'sessions of a tenant were not stopped, or not started again')
      })
    })
    stops.add('tenants', 0.3 * SECOND, async () => {
      await removals.stop()
      await tenants.stop()
    })
    await tenants.start()
    await removals.start()
    const measurements = new Measurements({
      gauges: async () => {
        const { pending, processing } = await outbox.stats()
        const { rssBytes, heapUsedBytes, externalBytes, cacheBytes, lagMs } = report().now
        return {
          waiting: pending + processing,
          online: instances.all().filter(({ id }) => sessions.view(id).state === 'online').length,
          rssBytes,
          heapBytes: heapUsedBytes,
          externalBytes,
          cacheBytes,
          lagMs,
        }
      },
      clock,
      log,
    })
    stops.add('measuring', 0.1 * SECOND, () => measurements.stop())
    await measurements.start()
    const dashboard = config.dashboard ? builtDashboard() : null
    if (config.dashboard && dashboard === null)
      log.warn({}, 'the dashboard is not built: "npm start" builds it, or "node apps/dashboard/build.ts"')
    const cachesNow = (): CachesReport =>
      cachesReport([...sessions.cacheStats(), ...people.caches.stats()], caches)
    const metrics = new Metrics({
      memory: report,
      caches: cachesNow,
      queue: () =>
        Promise.all(instances.all().map(async ({ tenant, id }) => ({ tenant, ...(await outbox.stats(id)) }))),
      sessions: () => instances.all().map(({ id }) => sessions.view(id).state),
      activeFlows: () => flows.runner.getActiveFlowsStats().total,
      database: () => database.stats(),
      sinks: () => Promise.all(forwarders.map((forwarder) => forwarder.state())),
    })
    const stopCounting = await tail.follow((event) => {
      measurements.count(event.type)
      metrics.countEvent(event)
    })
    stops.add('counting events', 0.1 * SECOND, async () => stopCounting())
    const { http, routes } = await buildHttp({
      keys,
      tenants,
      removals,
      audit,
      audited: new AuditedRequests({ audit, instances, outbox, conversations, webhooks, hashKey }),
      trustedProxies: listOf(config.trustedProxies),
      logins,
      prepareTenant: (tenant) => sealer.prepare(tenant),
      instances,
      queue,
      people,
      personTraces: new PersonTraces({
        people,
        queue,
        journal,
        conversations: conversations.traces,
        flowRuns: flows.runs,
        events,
        instances,
        canonicalChat: (instance, chat) => sessions.canonicalChat(instance, chat),
        clock,
        log,
      }),
      standing,
      canonicalChat: (instance, chat) => sessions.canonicalChat(instance, chat),
      journal,
      inbox,
      conversations,
      filing,
      flows,
      outgoing,
      streams,
      forwarders,
      webhooks,
      ready,
      memory: report,
      caches: cachesNow,
      metrics,
      measurements,
      settings: describeConfig(),
      dashboard,
      sealing,
      limits: limits.http,
      apiPages: config.httpApiPages,
      reads,
      clock,
      log,
    })
    stops.add('HTTP', 0.8 * SECOND, async () => {
      ready.stop()
      streams.stop()
      await http.close()
    })
    const url = await listen(http, config)
    log.info({ url, instances: instances.all().length }, 'gateway started')
    return { url, freshKey: keys.fresh, demo: demo?.example ?? null, routes, log, stop: () => stops.run() }
  } catch (error) {
    await stops.run()
    throw error
  }
}

/** SQLite in the data folder, or PostgreSQL as the node that the folder stands for. */
function placeOf(
  { databaseUrl }: Config,
  options: { readonly dataDir: string; readonly limits: GatewayLimits; readonly stops: StopList },
):
  | { readonly file: string; readonly pageCacheBytes: number; readonly maxThreadBytes: number }
  | { readonly url: string; readonly node: string } {
  const { dataDir, limits, stops } = options
  if (databaseUrl === '') {
    return {
      file: join(dataDir, 'eclusa.db'),
      pageCacheBytes: limits.pageCacheBytes,
      maxThreadBytes: limits.storageThreadBytes,
    }
  }
  const node = openNode(dataDir)
  stops.add('the node', 0.1 * SECOND, async () => node.release())
  return { url: databaseUrl, node: node.id }
}

/** An instance that is lost has no session from that moment; one that is taken back connects again. */
function followOwnership(options: {
  readonly ownership: Ownership
  readonly instances: Instances
  readonly sessions: SessionPool
  readonly inbox: Inbox
  readonly queue: Queue
  readonly log: Logger
}): () => void {
  const { ownership, instances, sessions, inbox, queue, log } = options
  return ownership.onChange((id, owned) => {
    // What was accepted for whoever owned it meanwhile.
    if (owned) void queue.look()
    const instance = instances.all().find((one) => one.id === id)
    if (instance === undefined) return
    const { tenant, wanted, rest } = instance
    if (owned) inbox.instanceTaken(tenant, id)
    else inbox.instanceLost(id)
    const change =
      owned && wanted === 'started' && rest === null && instances.mayConnect(instance)
        ? instances.connect(instance)
        : sessions.stopInstance(id)
    change.catch((error: unknown) =>
      log.error({ tenant, instance: id, err: error }, 'a change of owner failed'),
    )
  })
}

function logOptions(config: Config, terminal: Terminal): Omit<Parameters<typeof openLog>[0], 'hashKey'> {
  const format = config.logFormat === 'auto' ? (terminal.isLive ? 'pretty' : 'json') : config.logFormat
  // On a terminal all lines pass the one that redraws its bottom; a pipe gets them synchronously.
  return {
    level: config.logLevel,
    format,
    ...(terminal.isLive ? { write: (line) => terminal.print(line) } : {}),
  }
}

/** Another bound for the caches; returns the bytes that were freed. */
function resized(caches: CacheBudget, maxBytes: number): number {
  const before = caches.usedBytes
  caches.resize(maxBytes)
  return before - caches.usedBytes
}

function logPlan(plan: GatewayPlan, log: Logger): void {
  log.info(planFields(plan), 'memory planned: "eclusa memory" shows every line of it')
  if (plan.sessions < plan.sessionsAsked) {
    log.warn(
      { sessions: plan.sessions, asked: plan.sessionsAsked },
      'fewer sessions than ECLUSA_MAX_INSTANCES fit under the ceiling: raise ECLUSA_MEMORY_CEILING for more',
    )
  }
}

function pacingOf(config: Config): PacingOptions {
  return {
    enabled: config.pacing,
    readingWordsPerMinute: { min: config.pacingReadingWpmMin, max: config.pacingReadingWpmMax },
    maxReadingMs: config.pacingMaxReadingMs,
    thinkingMs: { min: config.pacingThinkingMinMs, max: config.pacingThinkingMaxMs },
    typingWordsPerMinute: { min: config.pacingTypingWpmMin, max: config.pacingTypingWpmMax },
    maxTypingMs: config.pacingMaxTypingMs,
    visibleTypingMs: { min: config.pacingVisibleTypingMinMs, max: config.pacingVisibleTypingMaxMs },
    betweenMs: { min: config.pacingBetweenMinMs, max: config.pacingBetweenMaxMs },
  }
}

/** Care is for people: a simulator has none, unless it is asked for. */
function careOf(config: Config, isSimulated: boolean): CareOptions {
  const { limitsContactEveryMs: everyMs } = config
  return {
    enabled: config.limits === 'on' || (config.limits === 'auto' && !isSimulated),
    conversation: { everyMs, burst: config.limitsContactBurst },
    cold: { everyMs, burst: 1 },
    instance: { everyMs: config.limitsInstanceEveryMs, burst: config.limitsInstanceBurst },
    maxPerContactHour: config.limitsContactPerHour,
    maxPerContactDay: config.limitsContactPerDay,
    tenant: { everyMs: config.limitsTenantEveryMs, burst: config.limitsTenantBurst },
    maxNewContactsPerDay: config.limitsNewContactsPerDay,
    quiet: { from: config.limitsQuietFromHour * 60, to: config.limitsQuietToHour * 60 },
    maxSameTextPerHour: config.limitsSameTextPerHour,
    minDeliveredPercent: config.limitsMinDeliveredPercent,
    minRepliesPercent: config.limitsMinRepliesPercent,
    maxOptOutsPercent: config.limitsMaxOptOutsPercent,
    quietSundays: config.limitsQuietSundays,
    holidays: listOf(config.limitsHolidays),
    zone: config.limitsZone,
  }
}

/** Forgets what is old, a step at a time; returns what ends it. */
function startSweep(o: {
  readonly sweep: () => Promise<number>
  /** That goes. */
  readonly what: string
  readonly config: Config
  readonly clock: Clock
  readonly log: Logger
}): () => Promise<void> {
  const end = new AbortController()
  const onError = (error: unknown): void =>
    o.log.error({ err: error }, `deleting ${o.what} failed; it comes again`)
  const loop = runLoop(
    { clock: o.clock, everyMs: o.config.queueSweepEveryMs, onError },
    async () => {
      const swept = await o.sweep()
      if (swept > 0) o.log.info({ swept }, `${o.what} deleted`)
    },
    end.signal,
  )
  return async () => {
    end.abort()
    await loop
  }
}

/** @throws GATEWAY_ADDRESS_IN_USE */
async function listen(http: HttpServer, config: Config): Promise<string> {
  const { httpHost: host, httpPort: port } = config
  try {
    return await http.listen({ host, port })
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE') {
      throw new EclusaError(gatewayErrors.ADDRESS_IN_USE, {
        message: `Another program already listens on ${host}:${port}: set ECLUSA_HTTP_PORT to a free port`,
        cause,
      })
    }
    throw cause
  }
}
