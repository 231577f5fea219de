import { EclusaError, type InstanceId, type TenantId } from '@eclusa/kernel'
import { queueErrors } from './errors.ts'
import type { PacingSetting, PacingSettingStore } from './pacing-setting-store.ts'
import { checkPacing, type PacingOptions } from './pacing.ts'

/** Each is held in memory, because every message asks. */
export const MAX_SETTINGS = 5000

/** The pacing of each instance: its own before its tenant's before everybody's, field by field. */
export class PacingSettings {
  readonly #store: PacingSettingStore
  readonly #defaultOf: (tenant: TenantId, instance: InstanceId) => PacingOptions
  // bounded by: MAX_SETTINGS
  readonly #settings = new Map<string, PacingSetting>()

  private constructor(
    store: PacingSettingStore,
    defaultOf: (tenant: TenantId, instance: InstanceId) => PacingOptions,
    settings: readonly PacingSetting[],
  ) {
    this.#store = store
    this.#defaultOf = defaultOf
    for (const setting of settings) this.#settings.set(keyOf(setting.tenant, setting.instance), setting)
  }

  static async open(
    store: PacingSettingStore,
    defaultOf: (tenant: TenantId, instance: InstanceId) => PacingOptions,
  ): Promise<PacingSettings> {
    return new PacingSettings(store, defaultOf, await store.list())
  }

  /** What counts for an instance now. */
  of(tenant: TenantId, instance: InstanceId): PacingOptions {
    const common = this.#defaultOf(tenant, instance)
    if (this.#settings.size === 0) return common
    const ofTenant = this.#settings.get(keyOf(tenant, null))
    const own = this.#settings.get(keyOf(tenant, instance))
    if (ofTenant === undefined && own === undefined) return common
    // What is switched off for everybody, to test or to measure, stays off.
    return { ...common, ...ofTenant?.options, ...own?.options, ...(common.enabled ? {} : { enabled: false }) }
  }

  /** What a tenant, or an instance, wants to be different. */
  own(tenant: TenantId, instance: InstanceId | null): Partial<PacingOptions> {
    return this.#settings.get(keyOf(tenant, instance))?.options ?? {}
  }

  /**
   * Counts from the next message on, and after a restart. Replaces what was set before.
   * @throws QUEUE_BAD_PACING, QUEUE_TOO_MANY_SETTINGS
   */
  async put(setting: PacingSetting): Promise<void> {
    const { tenant, instance, options } = setting
    const key = keyOf(tenant, instance)
    const below = instance === null ? {} : this.own(tenant, null)
    checkPacing({ ...this.#defaultOf(tenant, instance ?? ('' as InstanceId)), ...below, ...options })
    if (!this.#settings.has(key) && this.#settings.size >= MAX_SETTINGS) {
      throw new EclusaError(queueErrors.TOO_MANY_SETTINGS)
    }
    await this.#store.put(setting)
    this.#settings.set(key, setting)
  }

  /** As everybody's again. */
  async delete(tenant: TenantId, instance: InstanceId | null): Promise<void> {
    await this.#store.delete(tenant, instance)
    this.#settings.delete(keyOf(tenant, instance))
  }

  /** The instance is removed. */
  async forget(instance: InstanceId): Promise<void> {
    await this.#store.forget(instance)
    for (const [key, setting] of this.#settings) if (setting.instance === instance) this.#settings.delete(key)
  }
}

function keyOf(tenant: TenantId, instance: InstanceId | null): string {
  return `${tenant} ${instance ?? ''}`
}
