import {
  type Clock,
  EclusaError,
  type InstanceId,
  type Logger,
  makeInstanceId,
  SECOND,
  type TenantId,
  type TypedEmitter,
  withDeadline,
} from '@eclusa/kernel'
import type { Outbox } from '@eclusa/queue'
import type { SessionEvents, SessionPool, SessionView } from '@eclusa/session'
import type { EventLog, Ownership } from '@eclusa/storage'
import { gatewayErrors } from '../errors.ts'
import { type Caller, maySee } from '../keys/scopes.ts'
import type { Tenants } from '../tenants/tenants.ts'
import type { Instance, InstanceChange, InstanceStore } from './instance-store.ts'

/** An instance with what its session shows just now. */
export interface InstanceView extends Omit<Instance, 'wanted' | 'number' | 'rest'>, SessionView {}

export interface InstancesOptions {
  readonly store: InstanceStore
  readonly tenants: Pick<Tenants, 'ensure' | 'isActive'>
  readonly ownership: Pick<Ownership, 'take' | 'release'>
  readonly sessions: SessionPool
  readonly sessionEvents: TypedEmitter<SessionEvents>
  readonly outbox: Outbox
  readonly eventLog: EventLog
  /** The tenant has a key of its own, before anything of it is stored. */
  readonly prepareTenant: (tenant: TenantId) => Promise<void> | undefined
  /** Deletes what else is kept of an instance: its conversations. */
  readonly forgetMore: (instance: InstanceId) => Promise<unknown>
  /** Settles where sessions connect, before the first one does. */
  readonly settleServer: () => Promise<void>
  readonly clock: Clock
  readonly log: Logger
  readonly maxInstances: number
}

/** How long deleting waits for WhatsApp to take note of the logout; without it the phone lists a dead device. */
const LOGOUT_DEADLINE_MS = 5 * SECOND
/** How long asking for a pairing code waits for the session to be ready for one. */
const CODE_DEADLINE_MS = 20 * SECOND

/** The instances of all tenants: rows on disk, each also here, so that no request has to look them up. */
export class Instances {
  readonly #options: InstancesOptions
  // bounded by: maxInstances
  readonly #instances: Map<InstanceId, Instance>
  // Being deleted: unknown to everybody. bounded by: maxInstances
  readonly #deleting = new Map<InstanceId, Promise<void>>()
  /** What must be out of the way before a real number connects: the demo. */
  #makeWay: () => Promise<void> = async () => {}
  #simulatorRuns = false

  private constructor(options: InstancesOptions, instances: readonly Instance[]) {
    this.#options = options
    this.#instances = new Map(instances.map((instance) => [instance.id, instance]))
    options.sessionEvents.on('session.changed', (change) => this.#remember(change))
  }

  static async open(options: InstancesOptions): Promise<Instances> {
    // More than may be made now may be there from before the setting was lowered: all are served.
    return new Instances(options, await options.store.list(Number.MAX_SAFE_INTEGER))
  }

  /** While the simulator runs its instances are listed and may start; `makeWay` ends it before a real one starts. */
  simulatorStarted(makeWay: () => Promise<void>): void {
    this.#simulatorRuns = true
    this.#makeWay = makeWay
  }

  /** From now on none of its instances starts; who would start a real one still waits for `makeWay`. */
  simulatorStopping(): void {
    this.#simulatorRuns = false
  }

  simulatorStopped(): void {
    this.#simulatorRuns = false
    this.#makeWay = async () => {}
  }

  get hasReal(): boolean {
    return this.all().some((instance) => !instance.simulated)
  }

  all(): readonly Instance[] {
    return [...this.#instances.values()]
  }

  /** What the caller may see, oldest first; simulated ones only while the simulator runs, unless `hidden`. */
  list(caller: Caller, options: { readonly hidden: boolean }): readonly Instance[] {
    return this.all().filter((instance) => {
      const { id, tenant } = instance
      if (this.#deleting.has(id) || !maySee(caller, { tenant, instance: id })) return false
      return !instance.simulated || this.#simulatorRuns || options.hidden
    })
  }

  /** @throws GATEWAY_INSTANCE_UNKNOWN also when it is not for this caller */
  get(id: InstanceId, caller: Caller): Instance {
    const instance = this.#instances.get(id)
    if (instance === undefined || this.#deleting.has(id)) throw unknown()
    if (!maySee(caller, { tenant: instance.tenant, instance: id })) throw unknown()
    return instance
  }

  /**
   * Nothing can be done with an instance that is being deleted, nor with one of the demo while its simulator is not
   * running.
   * @throws GATEWAY_INSTANCE_UNKNOWN, GATEWAY_SIMULATION_OVER, GATEWAY_TENANT_SUSPENDED
   */
  assertUsable(instance: Instance): void {
    if (!this.#instances.has(instance.id) || this.#deleting.has(instance.id)) throw unknown()
    if (instance.simulated && !this.#simulatorRuns) throw new EclusaError(gatewayErrors.SIMULATION_OVER)
    if (!this.#options.tenants.isActive(instance.tenant))
      throw new EclusaError(gatewayErrors.TENANT_SUSPENDED)
  }

  view(instance: Instance): InstanceView {
    // The caller's may be from before it was started or stopped.
    const { id, tenant, name, simulated, createdAt, wanted, number, rest } =
      this.#instances.get(instance.id) ?? instance
    const session = this.#options.sessions.view(id)
    let shown: Pick<SessionView, 'state' | 'reason' | 'since'> = session
    // Without a session there is only the row to tell one that rests or is stopped from one that never ran.
    if (session.state === 'new' && rest !== null) {
      shown = { state: rest.state, reason: rest.reason, since: rest.at }
    } else if (session.state === 'new' && wanted === 'stopped') {
      shown = { ...session, state: 'stopped' }
    }
    const { state, reason, since } = shown
    return {
      ...session,
      id,
      tenant,
      name,
      simulated,
      createdAt,
      state,
      reason,
      // What unlinks it is stored a moment later.
      number: isUnlinked(state) ? null : (session.number ?? number),
      since: Math.max(since, createdAt),
    }
  }

  /** @throws GATEWAY_TOO_MANY_INSTANCES, GATEWAY_TENANT_FULL, and what keeps a tenant from being made */
  async create(options: {
    readonly tenant: TenantId
    readonly name: string
    readonly simulated?: boolean
  }): Promise<Instance> {
    const { store, tenants, ownership, clock, maxInstances, log } = this.#options
    const { quotas } = await tenants.ensure(options.tenant)
    const theirs = this.all().filter(({ tenant, simulated }) => tenant === options.tenant && !simulated)
    if (options.simulated !== true && theirs.length >= (quotas.instances ?? Infinity)) {
      throw new EclusaError(gatewayErrors.TENANT_FULL)
    }
    if (this.#instances.size >= maxInstances) throw new EclusaError(gatewayErrors.TOO_MANY_INSTANCES)
    const instance: Instance = {
      id: makeInstanceId(),
      tenant: options.tenant,
      name: options.name,
      simulated: options.simulated ?? false,
      // The demo decides whether its instances run, at each start anew.
      wanted: options.simulated === true ? 'stopped' : 'new',
      createdAt: clock.now(),
      number: null,
      rest: null,
    }
    // Taken at once, so that calls made at the same time cannot pass the limit together.
    this.#instances.set(instance.id, instance)
    try {
      // Nobody else can know its id yet.
      await ownership.take(instance.id)
      await this.#options.prepareTenant(instance.tenant)
      await store.insert(instance)
    } catch (error) {
      this.#instances.delete(instance.id)
      await ownership.release(instance.id)
      throw error
    }
    log.info({ tenant: instance.tenant, instance: instance.id }, 'instance created')
    return instance
  }

  /**
   * Connects it, now and after every restart. The demo ends before a real number connects.
   * @throws GATEWAY_INSTANCE_UNKNOWN, GATEWAY_SIMULATION_OVER
   */
  async start(instance: Instance): Promise<void> {
    this.assertUsable(instance)
    await this.#change(instance, { wanted: 'started', rest: null })
    await this.connect(instance)
  }

  /** Connects an instance that is wanted already. @throws GATEWAY_INSTANCE_UNKNOWN, GATEWAY_SIMULATION_OVER */
  async connect(instance: Instance): Promise<void> {
    this.assertUsable(instance)
    if (!instance.simulated) {
      await this.#makeWay()
      await this.#options.settleServer()
      // It may have been deleted meanwhile; from here to its session there is no wait.
      this.assertUsable(instance)
    }
    await this.#options.sessions.startInstance({ instance: instance.id, tenant: instance.tenant })
  }

  mayConnect({ tenant }: Instance): boolean {
    return this.#options.tenants.isActive(tenant)
  }

  /** The sessions of a tenant that is suspended rest; those that were wanted connect again when it is active. */
  async tenantChanged(tenant: TenantId): Promise<void> {
    const { sessions, tenants } = this.#options
    const isActive = tenants.isActive(tenant)
    for (const instance of this.all().filter((one) => one.tenant === tenant)) {
      if (!isActive) await sessions.stopInstance(instance.id)
      else if (instance.wanted === 'started' && instance.rest === null) await this.connect(instance)
    }
  }

  /** Disconnects it until it is started again; it stays linked to its number. */
  async stop(instance: Instance): Promise<void> {
    await this.#change(instance, { wanted: 'stopped', rest: null })
    await this.#options.sessions.stopInstance(instance.id)
  }

  /** Unlinks it from its number and stops it. */
  async logout(instance: Instance): Promise<void> {
    const { sessions, clock } = this.#options
    await this.#change(instance, { wanted: 'stopped' })
    await sessions.logoutInstance(instance.id)
    // Also when it had no session to say so.
    const rest = { state: 'logged_out', reason: null, at: clock.now() } as const
    await this.#change(instance, { number: null, rest })
  }

  /**
   * Logs out, cancels what waits, and forgets everything of it: session, messages, events, row. Nobody can reach it
   * from the first moment on. Can be repeated when it fails half-way.
   */
  delete(instance: Instance): Promise<void> {
    const { id } = instance
    const running = this.#deleting.get(id)
    if (running !== undefined) return running
    if (!this.#instances.has(id)) return Promise.resolve()
    const deletion = this.#delete(instance).finally(() => this.#deleting.delete(id))
    this.#deleting.set(id, deletion)
    return deletion
  }

  async #delete(instance: Instance): Promise<void> {
    const { sessions, outbox, eventLog, forgetMore, store, ownership, clock, log } = this.#options
    const { id, tenant } = instance
    await this.#change(instance, { wanted: 'stopped' })
    try {
      await withDeadline(clock, LOGOUT_DEADLINE_MS, 'logging out', sessions.logoutInstance(id))
    } catch (error) {
      log.warn(
        { tenant, instance: id, err: error },
        'could not log out: remove the linked device on the phone',
      )
    }
    await sessions.forgetInstance(id)
    const cancelled = await outbox.forgetInstance(id)
    await forgetMore(id)
    await eventLog.forgetInstance(tenant, id)
    // Last: while it is there, a deletion that failed half-way can be repeated.
    await store.delete(id)
    this.#instances.delete(id)
    await ownership.release(id)
    log.info({ tenant, instance: id, cancelled }, 'instance deleted')
  }

  /**
   * The eight characters to type into the phone with `digits`; starts the instance when nothing runs.
   * @throws SESSION_ALREADY_PAIRED, SESSION_NOT_WAITING_FOR_CODE
   */
  async requestPairingCode(instance: Instance, digits: string): Promise<string> {
    const { sessions, sessionEvents, clock } = this.#options
    const { state } = this.view(instance)
    if (state === 'new' || state === 'stopped' || state === 'logged_out' || state === 'failed') {
      await this.start(instance)
    }
    const { promise: settled, resolve } = Promise.withResolvers<void>()
    const look = (): void => {
      if (sessions.view(instance.id).state !== 'starting') resolve()
    }
    const stopListening = sessionEvents.on('session.changed', look)
    try {
      look()
      await withDeadline(clock, CODE_DEADLINE_MS, 'getting ready for a pairing code', settled)
    } finally {
      stopListening()
    }
    return sessions.requestPairingCode(instance.id, digits)
  }

  /** Keeps what the session of a real instance says for the time when there is none. */
  #remember({ instance: id, view }: SessionEvents['session.changed']): void {
    const instance = this.#instances.get(id)
    if (instance === undefined || instance.simulated) return
    switch (view.state) {
      case 'online':
        if (view.number !== instance.number) this.#note(instance, { number: view.number })
        return
      case 'logged_out':
      case 'banned':
      case 'failed': {
        const { state, reason, since: at } = view
        this.#note(instance, {
          rest: { state, reason, at },
          // What is logged out has no number any more; the others still have theirs.
          ...(state === 'logged_out' ? { number: null } : {}),
        })
        return
      }
      case 'new':
      case 'qr':
      case 'code':
        // Nobody is linked.
        if (instance.number !== null) this.#note(instance, { number: null })
        return
      case 'starting':
      case 'syncing':
      case 'reconnecting':
      case 'stopped':
        return
      default:
        view.state satisfies never
    }
  }

  #note(instance: Instance, change: Partial<InstanceChange>): void {
    this.#change(instance, change).catch((error: unknown) => {
      const { tenant, id } = instance
      this.#options.log.error({ tenant, instance: id, err: error }, 'the state of an instance was not stored')
    })
  }

  /** On disk first. */
  async #change(instance: Instance, change: Partial<InstanceChange>): Promise<void> {
    await this.#options.store.update(instance.id, change)
    const current = this.#instances.get(instance.id)
    if (current !== undefined) this.#instances.set(instance.id, { ...current, ...change })
  }
}

function isUnlinked(state: SessionView['state']): boolean {
  return state === 'logged_out' || state === 'qr' || state === 'code'
}

function unknown(): EclusaError {
  return new EclusaError(gatewayErrors.INSTANCE_UNKNOWN, { details: { field: 'instance' } })
}
