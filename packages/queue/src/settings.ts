import { EclusaError, type InstanceId, type TenantId } from '@eclusa/kernel'
import { queueErrors } from './errors.ts'
import type { Setting, SettingStore } from './setting-store.ts'

/** Of each kind; they are held in memory, because every message asks. */
export const MAX_SETTINGS = 5000

export interface SettingsOptions<Options> {
  readonly store: SettingStore<Options>
  /** What counts for who has none of their own. */
  readonly defaultOf: (tenant: TenantId, instance: InstanceId) => Options
  /** Throws when the options are not valid, naming the field. */
  readonly check: (options: Options) => void
  /** Is told of each change once it is on disk; `instance` null: of all instances of the tenant. */
  readonly changed?: (tenant: TenantId, instance: InstanceId | null) => Promise<void>
  /** Is told of each, also of those that another process made. */
  readonly applies?: (tenant: TenantId, instance: InstanceId | null) => Promise<void>
}

/** What an instance has of its own counts before its tenant's before everybody's, field by field. */
export class Settings<Options extends { readonly enabled: boolean }> {
  readonly #options: SettingsOptions<Options>
  // bounded by: MAX_SETTINGS
  readonly #settings = new Map<string, Setting<Options>>()
  #changeCount = 0

  private constructor(options: SettingsOptions<Options>, settings: readonly Setting<Options>[]) {
    this.#options = options
    for (const setting of settings) this.#settings.set(keyOf(setting.tenant, setting.instance), setting)
  }

  static async open<Options extends { readonly enabled: boolean }>(
    options: SettingsOptions<Options>,
  ): Promise<Settings<Options>> {
    return new Settings(options, await options.store.list())
  }

  /** What counts for an instance now. */
  of(tenant: TenantId, instance: InstanceId): Options {
    const common = this.#options.defaultOf(tenant, instance)
    if (this.#settings.size === 0) return common
    const ofTenant = this.#settings.get(keyOf(tenant, null))
    const own = this.#settings.get(keyOf(tenant, instance))
    if (ofTenant === undefined && own === undefined) return common
    // What is switched off for everybody, to test or to measure, stays off.
    return { ...common, ...ofTenant?.options, ...own?.options, ...(common.enabled ? {} : { enabled: false }) }
  }

  /** What a tenant, or an instance, wants to be different. */
  own(tenant: TenantId, instance: InstanceId | null): Partial<Options> {
    return this.#settings.get(keyOf(tenant, instance))?.options ?? {}
  }

  /**
   * Counts from the next message on, and after a restart. Replaces what was set before.
   * @throws QUEUE_TOO_MANY_SETTINGS, and what the check throws: QUEUE_BAD_PACING, QUEUE_BAD_CARE
   */
  async put(setting: Setting<Options>): Promise<void> {
    const { tenant, instance, options } = setting
    const { store, defaultOf, check, changed, applies } = this.#options
    const key = keyOf(tenant, instance)
    const below = instance === null ? {} : this.own(tenant, null)
    check({ ...defaultOf(tenant, instance ?? ('' as InstanceId)), ...below, ...options })
    if (!this.#settings.has(key) && this.#settings.size >= MAX_SETTINGS) {
      throw new EclusaError(queueErrors.TOO_MANY_SETTINGS)
    }
    await store.put(setting)
    this.#changeCount++
    this.#settings.set(key, setting)
    await changed?.(tenant, instance)
    await applies?.(tenant, instance)
  }

  /** As everybody's again. */
  async delete(tenant: TenantId, instance: InstanceId | null): Promise<void> {
    await this.#options.store.delete(tenant, instance)
    this.#changeCount++
    this.#settings.delete(keyOf(tenant, instance))
    await this.#options.changed?.(tenant, instance)
    await this.#options.applies?.(tenant, instance)
  }

  /** Takes over what another process set. */
  async reload(): Promise<void> {
    for (;;) {
      const before = this.#changeCount
      const stored = await this.#options.store.list()
      if (this.#changeCount !== before) continue
      const old = new Map(this.#settings)
      this.#settings.clear()
      for (const setting of stored) this.#settings.set(keyOf(setting.tenant, setting.instance), setting)
      const different = [...old.values(), ...stored].filter((setting) => {
        const key = keyOf(setting.tenant, setting.instance)
        return textOf(old.get(key)) !== textOf(this.#settings.get(key))
      })
      for (const { tenant, instance } of different) await this.#options.applies?.(tenant, instance)
      return
    }
  }

  /** The instance is removed. */
  async forget(instance: InstanceId): Promise<void> {
    await this.#options.store.forget(instance)
    this.#changeCount++
    for (const [key, setting] of this.#settings) if (setting.instance === instance) this.#settings.delete(key)
  }
}

function textOf(setting: Setting<object> | undefined): string {
  return JSON.stringify(setting?.options ?? {})
}

function keyOf(tenant: TenantId, instance: InstanceId | null): string {
  return `${tenant} ${instance ?? ''}`
}
