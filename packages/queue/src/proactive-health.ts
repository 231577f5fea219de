import { type Clock, DAY, type InstanceId, type Logger, type TenantId } from '@eclusa/kernel'
import type { CareOptions, ChatStanding } from './care.ts'
import {
  ANSWERED_AFTER_MS,
  ANSWERS_COUNT_FOR_MS,
  causeOf,
  type Health,
  type HealthFacts,
  MIN_SAMPLE,
  nextHealth,
  type Share,
} from './health.ts'
import type { HealthStore, InstanceHealth, WrittenTo } from './health-store.ts'
import type { ChatContext } from './message.ts'

const WELL: Health = { level: 'WELL', cause: null, since: 0 }

/**
 * Whether people want what an instance sends them unasked, by what is on disk: who was written to, what arrived, who
 * wrote back and who opted out. Measured with each sweep; what follows survives a restart.
 */
export class ProactiveHealth {
  readonly #store: HealthStore
  readonly #context: ChatContext
  readonly #optionsOf: (tenant: TenantId, instance: InstanceId) => CareOptions
  readonly #owns: (instance: InstanceId) => boolean
  readonly #changed: (instance: InstanceId) => Promise<void>
  readonly #clock: Clock
  readonly #log: Logger
  // bounded by: instances
  readonly #healths = new Map<InstanceId, InstanceHealth>()

  private constructor(options: ProactiveHealthOptions, healths: readonly InstanceHealth[]) {
    this.#store = options.store
    this.#context = options.context
    this.#optionsOf = options.optionsOf
    this.#owns = options.owns
    this.#changed = options.changed
    this.#clock = options.clock
    this.#log = options.log
    for (const known of healths) this.#healths.set(known.instance, known)
  }

  static async open(options: ProactiveHealthOptions): Promise<ProactiveHealth> {
    return new ProactiveHealth(options, await options.store.list())
  }

  of(instance: InstanceId): Health {
    return this.#healths.get(instance)?.health ?? WELL
  }

  /** One look at each instance of this process. */
  async measure(signal?: AbortSignal): Promise<void> {
    const instances = (await this.#store.active()).filter((instance) => this.#owns(instance))
    if (instances.length === 0) return
    const delivered = await this.#store.delivered((instance) => this.of(instance).since)
    for (const instance of instances) {
      if (signal?.aborted === true) return
      const tenant = this.#healths.get(instance)?.tenant ?? (await this.#store.tenantOf(instance))
      if (tenant !== null)
        await this.#measure(tenant, instance, delivered.get(instance) ?? { of: 0, count: 0 })
    }
  }

  /** A person says that it may go on; what was until now does not count any more. */
  async end(tenant: TenantId, instance: InstanceId): Promise<void> {
    if (this.of(instance).level === 'WELL') return
    await this.#set({ tenant, instance, health: { ...WELL, since: this.#clock.now() } }, null)
  }

  /** Takes over what another process found or ended. */
  async reload(): Promise<void> {
    for (const known of await this.#store.list()) {
      const { instance, health } = known
      const before = this.of(instance)
      this.#healths.set(instance, known)
      if (health.level !== before.level && this.#owns(instance)) await this.#changed(instance)
    }
  }

  async forget(instance: InstanceId): Promise<void> {
    await this.#store.forget(instance)
    this.#healths.delete(instance)
  }

  async #measure(tenant: TenantId, instance: InstanceId, delivered: Share): Promise<void> {
    const health = this.of(instance)
    const options = this.#optionsOf(tenant, instance)
    // Nothing ends a pause but a person.
    if (health.level === 'PAUSED' || !options.enabled) return
    const facts = { delivered, ...(await this.#answersOf(tenant, instance, health.since)) }
    const next = nextHealth(health, causeOf(facts, options), this.#clock.now())
    if (next !== health) await this.#set({ tenant, instance, health: next }, facts)
  }

  async #answersOf(
    tenant: TenantId,
    instance: InstanceId,
    since: number,
  ): Promise<Pick<HealthFacts, 'replies' | 'optOuts'>> {
    const now = this.#clock.now()
    const whose = { tenant, instance }
    const [older, newer] = await Promise.all([
      this.#store.writtenTo(whose, Math.max(since, now - ANSWERS_COUNT_FOR_MS), now - ANSWERED_AFTER_MS),
      this.#store.writtenTo(whose, Math.max(since, now - DAY), now),
    ])
    return {
      replies: await this.#share(older, ({ lastInboundAt }, at) => (lastInboundAt ?? 0) > at),
      optOuts: await this.#share(newer, ({ optedOutAt }, at) => (optedOutAt ?? 0) > at),
    }
  }

  /** Of whom `holds` is true after they were written to; too few are not looked at. */
  async #share(
    contacts: readonly WrittenTo[],
    holds: (standing: ChatStanding, writtenAt: number) => boolean,
  ): Promise<Share> {
    if (contacts.length < MIN_SAMPLE) return { of: contacts.length, count: 0 }
    let count = 0
    for (const contact of contacts) {
      const standing = await this.#context.standing?.(contact)
      if (standing !== undefined && holds(standing, contact.lastAt)) count++
    }
    return { of: contacts.length, count }
  }

  async #set(changed: InstanceHealth, facts: HealthFacts | null): Promise<void> {
    const { tenant, instance, health } = changed
    await this.#store.put(changed, facts)
    this.#healths.set(instance, changed)
    const { level, cause } = health
    const told = { tenant, instance, cause, facts }
    if (level === 'WELL') this.#log.info(told, 'proactive messages of this instance go on as ever')
    if (level === 'SLOWED')
      this.#log.warn(
        told,
        'people do not want the proactive messages of this instance: they go four times slower',
      )
    if (level === 'PAUSED')
      this.#log.error(
        told,
        'people still do not want the proactive messages of this instance: none goes until you end it',
      )
    await this.#changed(instance)
  }
}

export interface ProactiveHealthOptions {
  readonly store: HealthStore
  readonly context: ChatContext
  readonly optionsOf: (tenant: TenantId, instance: InstanceId) => CareOptions
  readonly owns: (instance: InstanceId) => boolean
  /** Is told once it is on disk. */
  readonly changed: (instance: InstanceId) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}
