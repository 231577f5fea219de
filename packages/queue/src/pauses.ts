import { type ChatId, EclusaError, type InstanceId, type TenantId } from '@eclusa/kernel'
import { queueErrors } from './errors.ts'
import type { Pause, PauseStore } from './pause-store.ts'

/** Each is held in memory, because every message asks. */
export const MAX_PAUSES = 5000

/** What people paused, on disk and here. Messages are accepted all the same; they wait. */
export class Pauses {
  readonly #store: PauseStore
  // bounded by: MAX_PAUSES
  readonly #pauses = new Map<string, Pause>()
  // Tenants of the instances that a pause names. bounded by: MAX_PAUSES
  readonly #instances = new Map<InstanceId, TenantId>()
  #changeCount = 0

  private constructor(store: PauseStore, pauses: readonly Pause[]) {
    this.#store = store
    for (const pause of pauses) this.#add(pause)
  }

  static async open(store: PauseStore): Promise<Pauses> {
    return new Pauses(store, await store.list())
  }

  isTenantPaused(tenant: TenantId): boolean {
    return this.#pauses.has(keyOf({ tenant, instance: null, chat: null }))
  }

  /** By itself, not by its tenant. */
  isInstancePaused(instance: InstanceId): boolean {
    return this.#instances.has(instance)
  }

  isChatPaused(instance: InstanceId, chat: ChatId): boolean {
    // Nearly always nothing is, and a key made anew must be hashed.
    return this.#pauses.size > 0 && this.#pauses.has(keyOf({ tenant: '' as TenantId, instance, chat }))
  }

  /** On disk when it resolves. @throws QUEUE_TOO_MANY_PAUSES */
  async pause(pause: Pause): Promise<void> {
    if (!this.#pauses.has(keyOf(pause)) && this.#pauses.size >= MAX_PAUSES) {
      throw new EclusaError(queueErrors.TOO_MANY_PAUSES)
    }
    await this.#store.insert(pause)
    this.#add(pause)
  }

  /** On disk when it resolves. */
  async resume(pause: Pause): Promise<void> {
    await this.#store.delete(pause)
    this.#remove(pause)
  }

  /** Takes over what another process paused and resumed; what is different now. */
  async reload(): Promise<{ readonly paused: readonly Pause[]; readonly resumed: readonly Pause[] }> {
    for (;;) {
      const before = this.#changeCount
      const stored = new Map((await this.#store.list()).map((pause) => [keyOf(pause), pause]))
      // Somebody paused or resumed here meanwhile: the list may be from before that.
      if (this.#changeCount !== before) continue
      const paused = [...stored.values()].filter((pause) => !this.#pauses.has(keyOf(pause)))
      const resumed = [...this.#pauses.values()].filter((pause) => !stored.has(keyOf(pause)))
      for (const pause of resumed) this.#remove(pause)
      for (const pause of paused) this.#add(pause)
      return { paused, resumed }
    }
  }

  /** Of one instance, its tenant's included; those of its chats, too. */
  of(tenant: TenantId, instance: InstanceId): readonly Pause[] {
    return [...this.#pauses.values()].filter(
      (pause) => pause.instance === instance || (pause.instance === null && pause.tenant === tenant),
    )
  }

  /** The instance is removed. */
  async forget(instance: InstanceId): Promise<void> {
    await this.#store.forget(instance)
    for (const pause of this.#pauses.values()) if (pause.instance === instance) this.#remove(pause)
  }

  #add(pause: Pause): void {
    this.#changeCount++
    this.#pauses.set(keyOf(pause), pause)
    if (pause.instance !== null && pause.chat === null) this.#instances.set(pause.instance, pause.tenant)
  }

  #remove(pause: Pause): void {
    this.#changeCount++
    this.#pauses.delete(keyOf(pause))
    if (pause.instance !== null && pause.chat === null) this.#instances.delete(pause.instance)
  }
}

/** An instance belongs to one tenant, so its own pauses need not name it. */
function keyOf({ tenant, instance, chat }: Pause): string {
  return instance === null ? `tenant ${tenant}` : `${instance} ${chat ?? ''}`
}
