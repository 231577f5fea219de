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
import { gatewayErrors } from '../errors.ts'
import type { KeyScope } from '../keys/api-key-store.ts'
import type { Instance, InstanceStore } from './instance-store.ts'

/** An instance with what its session shows just now. */
export interface InstanceView extends Omit<Instance, 'wanted'>, SessionView {}

export interface InstancesOptions {
  readonly store: InstanceStore
  readonly sessions: SessionPool
  readonly sessionEvents: TypedEmitter<SessionEvents>
  readonly outbox: Outbox
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
  /** What must be out of the way before a real number connects: the demo. */
  #makeWay: () => Promise<void> = async () => {}
  #simulatorRuns = false

  private constructor(options: InstancesOptions, instances: readonly Instance[]) {
    this.#options = options
    this.#instances = new Map(instances.map((instance) => [instance.id, instance]))
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

  /** What `scope` may see, oldest first; simulated ones only while the simulator runs, unless `hidden`. */
  list(scope: KeyScope, options: { readonly hidden: boolean }): readonly Instance[] {
    return this.all().filter((instance) => {
      const isTheirs = scope === '*' || scope === instance.tenant
      return isTheirs && (!instance.simulated || this.#simulatorRuns || options.hidden)
    })
  }

  /** @throws GATEWAY_INSTANCE_UNKNOWN also when it belongs to another tenant */
  get(id: InstanceId, scope: KeyScope): Instance {
    const instance = this.#instances.get(id)
    if (instance === undefined || (scope !== '*' && scope !== instance.tenant)) {
      throw new EclusaError(gatewayErrors.INSTANCE_UNKNOWN, { details: { field: 'instance' } })
    }
    return instance
  }

  /** Nothing can be done with an instance of the demo while its simulator is not running. @throws GATEWAY_SIMULATION_OVER */
  assertUsable(instance: Instance): void {
    if (instance.simulated && !this.#simulatorRuns) throw new EclusaError(gatewayErrors.SIMULATION_OVER)
  }

  view(instance: Instance): InstanceView {
    const { id, tenant, name, simulated, createdAt, wanted } = instance
    const session = this.#options.sessions.view(id)
    return {
      ...session,
      id,
      tenant,
      name,
      simulated,
      createdAt,
      // Without a session there is only the row to tell a stopped instance from one that never ran.
      state: session.state === 'new' && wanted === 'stopped' ? 'stopped' : session.state,
      since: Math.max(session.since, createdAt),
    }
  }

  /** @throws GATEWAY_TOO_MANY_INSTANCES */
  async create(options: {
    readonly tenant: TenantId
    readonly name: string
    readonly simulated?: boolean
  }): Promise<Instance> {
    const { store, clock, maxInstances, log } = this.#options
    if (this.#instances.size >= maxInstances) throw new EclusaError(gatewayErrors.TOO_MANY_INSTANCES)
    const instance: Instance = {
      id: makeInstanceId(),
      tenant: options.tenant,
      name: options.name,
      simulated: options.simulated ?? false,
      // The demo decides whether its instances run, at each start anew.
      wanted: options.simulated === true ? 'stopped' : 'new',
      createdAt: clock.now(),
    }
    // Taken at once, so that calls made at the same time cannot pass the limit together.
    this.#instances.set(instance.id, instance)
    try {
      await store.insert(instance)
    } catch (error) {
      this.#instances.delete(instance.id)
      throw error
    }
    log.info({ tenant: instance.tenant, instance: instance.id }, 'instance created')
    return instance
  }

  /** Connects it, now and after every restart. The demo ends before a real number connects. @throws GATEWAY_SIMULATION_OVER */
  async start(instance: Instance): Promise<void> {
    this.assertUsable(instance)
    await this.#want(instance, 'started')
    await this.connect(instance)
  }

  /** Connects an instance that is wanted already. @throws GATEWAY_SIMULATION_OVER */
  async connect(instance: Instance): Promise<void> {
    this.assertUsable(instance)
    if (!instance.simulated) await this.#makeWay()
    await this.#options.sessions.startInstance({ instance: instance.id, tenant: instance.tenant })
  }

  /** Disconnects it until it is started again; it stays linked to its number. */
  async stop(instance: Instance): Promise<void> {
    await this.#want(instance, 'stopped')
    await this.#options.sessions.stopInstance(instance.id)
  }

  /** Unlinks it from its number and stops it. */
  async logout(instance: Instance): Promise<void> {
    await this.#want(instance, 'stopped')
    await this.#options.sessions.logoutInstance(instance.id)
  }

  /** Logs out, cancels what waits, and forgets everything of it. Can be repeated when it fails half-way. */
  async delete(instance: Instance): Promise<void> {
    const { sessions, outbox, store, clock, log } = this.#options
    const { id, tenant } = instance
    await this.#want(instance, 'stopped')
    try {
      await withDeadline(clock, LOGOUT_DEADLINE_MS, 'logging out', sessions.logoutInstance(id))
    } catch (error) {
      log.warn(
        { tenant, instance: id, err: error },
        'could not log out: remove the linked device on the phone',
      )
    }
    await sessions.forgetInstance(id)
    this.#instances.delete(id)
    try {
      const cancelled = await outbox.cancelInstance(id)
      await store.delete(id)
      log.info({ tenant, instance: id, cancelled }, 'instance deleted')
    } catch (error) {
      this.#instances.set(id, instance)
      throw error
    }
  }

  /**
   * The eight characters to type into the phone with `digits`; starts the instance when nothing runs.
   * @throws SESSION_ALREADY_PAIRED, SESSION_NOT_WAITING_FOR_CODE
   */
  async requestPairingCode(instance: Instance, digits: string): Promise<string> {
    const { sessions, sessionEvents, clock } = this.#options
    const { state } = sessions.view(instance.id)
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

  async #want(instance: Instance, wanted: Instance['wanted']): Promise<void> {
    await this.#options.store.setWanted(instance.id, wanted)
    if (this.#instances.has(instance.id)) this.#instances.set(instance.id, { ...instance, wanted })
  }
}
