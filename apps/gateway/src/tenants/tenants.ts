import { type Clock, EclusaError, type Lifecycle, type Logger, SECOND, type TenantId } from '@eclusa/kernel'
import { Rates } from '@eclusa/queue'
import { type Neighbours, noNeighbours, storageErrors } from '@eclusa/storage'
import type { AuditLog } from '../audit/audit-log.ts'
import type { AuditEntry } from '../audit/audit-store.ts'
import { gatewayErrors } from '../errors.ts'
import type { Tenant, TenantQuotas, TenantState, TenantStore } from './tenant-store.ts'

/** Most tenants there may be; all are held in memory, because every request asks. */
export const MAX_TENANTS = 5000

export const noQuotas: TenantQuotas = {
  instances: null,
  mediaBytes: null,
  apiPerSecond: null,
  apiBurst: null,
  memoryWeight: null,
}

/** Puts who asks to a deed. */
export type Deeds = (
  what: Pick<AuditEntry, 'tenant' | 'action' | 'object' | 'before' | 'after'>,
) => AuditEntry

export interface TenantsOptions {
  readonly store: TenantStore
  readonly audit: AuditLog
  /** Default: no other process uses the database. */
  readonly neighbours?: Neighbours
  readonly clock: Clock
  readonly log: Logger
  /** Of a tenant that has none of its own. */
  readonly apiRate: { readonly perSecond: number; readonly burst: number }
}

/** The customer companies: who they are, what they may have, and whether they may act. */
export class Tenants implements Lifecycle {
  readonly #options: TenantsOptions
  // bounded by: MAX_TENANTS
  #tenants: Map<TenantId, Tenant> = new Map()
  readonly #rates = new Rates(MAX_TENANTS)
  /** Of those being made, so that calls at the same time make one. */
  // bounded by: the requests under way
  readonly #making = new Map<TenantId, Promise<Tenant>>()
  #stopListening = (): void => undefined
  #loading: Promise<void> = Promise.resolve()
  /** Is told of each change of state, also of those that another process made. */
  #stateChanged: (tenant: Tenant, before: TenantState) => void = () => undefined

  private constructor(options: TenantsOptions) {
    this.#options = options
  }

  static async open(options: TenantsOptions): Promise<Tenants> {
    const tenants = new Tenants(options)
    await tenants.reload()
    return tenants
  }

  onStateChange(listener: (tenant: Tenant, before: TenantState) => void): void {
    this.#stateChanged = listener
  }

  async start(): Promise<void> {
    const { neighbours = noNeighbours, log } = this.#options
    this.#stopListening = neighbours.onWake((instances) => {
      if (instances !== null) return
      this.reload().catch((error: unknown) => log.error({ err: error }, 'the tenants could not be read'))
    })
  }

  async stop(): Promise<void> {
    this.#stopListening()
    await this.#loading
  }

  /** By id. */
  list(): readonly Tenant[] {
    return [...this.#tenants.values()]
  }

  get(id: TenantId): Tenant | undefined {
    return this.#tenants.get(id)
  }

  /** @throws GATEWAY_TENANT_UNKNOWN */
  named(id: TenantId): Tenant {
    const tenant = this.#tenants.get(id)
    if (tenant === undefined) throw unknown()
    return tenant
  }

  /** It is there and not on its way out. @throws GATEWAY_TENANT_UNKNOWN, GATEWAY_TENANT_LEAVING */
  assertStays(id: TenantId): Tenant {
    const tenant = this.named(id)
    if (tenant.state === 'deleting') throw leaving()
    return tenant
  }

  /** It may act. @throws GATEWAY_TENANT_UNKNOWN, GATEWAY_TENANT_LEAVING, GATEWAY_TENANT_SUSPENDED */
  assertActive(id: TenantId): void {
    if (this.assertStays(id).state === 'suspended') throw new EclusaError(gatewayErrors.TENANT_SUSPENDED)
  }

  isActive(id: TenantId): boolean {
    return this.#tenants.get(id)?.state === 'active'
  }

  /** A call of one of its keys. @throws GATEWAY_TOO_MANY_REQUESTS with when the next may come */
  takeCall(id: TenantId): void {
    const { clock, apiRate } = this.#options
    const quotas = this.#tenants.get(id)?.quotas ?? noQuotas
    const rate = {
      everyMs: SECOND / (quotas.apiPerSecond ?? apiRate.perSecond),
      burst: quotas.apiBurst ?? Math.max(apiRate.burst, quotas.apiPerSecond ?? 0),
    }
    const now = clock.now()
    const freeAt = this.#rates.freeAt(id, rate, now)
    if (freeAt > now) {
      throw new EclusaError(gatewayErrors.TOO_MANY_REQUESTS, { details: { retryAfterMs: freeAt - now } })
    }
    this.#rates.take(id, rate, now)
  }

  /** A tenant comes to be with its first instance too. @throws GATEWAY_TENANT_LEAVING, GATEWAY_TENANT_REMOVED, GATEWAY_TOO_MANY_TENANTS */
  async ensure(id: TenantId): Promise<Tenant> {
    const known = this.#tenants.get(id)
    if (known !== undefined) return this.assertStays(id)
    return this.#make({ id, name: id, quotas: noQuotas }, null)
  }

  /** @throws GATEWAY_TENANT_EXISTS, GATEWAY_TENANT_REMOVED, GATEWAY_TOO_MANY_TENANTS */
  async create(wanted: Pick<Tenant, 'id' | 'name' | 'quotas'>, deeds: Deeds): Promise<Tenant> {
    if (this.#tenants.has(wanted.id) || this.#making.has(wanted.id)) {
      throw new EclusaError(gatewayErrors.TENANT_EXISTS, { details: { field: 'id' } })
    }
    return this.#make(wanted, deeds)
  }

  /**
   * @param ifVersion null: whatever it was before
   * @throws GATEWAY_TENANT_UNKNOWN, GATEWAY_TENANT_LEAVING, GATEWAY_TENANT_CHANGED
   */
  async change(
    id: TenantId,
    change: Partial<Pick<Tenant, 'name' | 'quotas' | 'state'>>,
    options: { readonly ifVersion: number | null; readonly action: string; readonly deeds: Deeds },
  ): Promise<Tenant> {
    return this.changeWith(id, change, { ...options, more: () => [] })
  }

  /** The same, with what else is to be stored in that unit. */
  async changeWith(
    id: TenantId,
    change: Partial<Pick<Tenant, 'name' | 'quotas' | 'state'>>,
    options: {
      readonly ifVersion: number | null
      readonly action: string
      readonly deeds: Deeds
      readonly more: () => ReturnType<TenantStore['removalInsertion']>[]
    },
  ): Promise<Tenant> {
    const { store, audit, clock } = this.#options
    const before = this.assertStays(id)
    if (options.ifVersion !== null && options.ifVersion !== before.version) throw changed()
    const after = { ...before, ...change, version: before.version + 1, changedAt: clock.now() }
    const entry = options.deeds({
      tenant: id,
      action: options.action,
      object: { tenant: id },
      before: shownChange(before),
      after: shownChange(after),
    })
    try {
      await audit.write([store.update(after), ...options.more()], entry)
    } catch (error) {
      const isConflict = error instanceof EclusaError && error.code === storageErrors.CONFLICT.code
      if (!isConflict) throw error
      await this.reload()
      throw changed(error)
    }
    await this.#told()
    return after
  }

  /** It is gone: after everything of it. */
  async forget(
    id: TenantId,
    more: readonly ReturnType<TenantStore['deletion']>[],
    entry: AuditEntry,
  ): Promise<void> {
    const { store, audit } = this.#options
    await audit.write([store.deletion(id), ...more], entry)
    await this.#told()
  }

  /** Takes over what is in the table. */
  reload(): Promise<void> {
    const mine = this.#loading.then(() => this.#load())
    this.#loading = mine.catch(() => undefined)
    return mine
  }

  async #load(): Promise<void> {
    const old = this.#tenants
    this.#tenants = new Map(
      (await this.#options.store.list(MAX_TENANTS)).map((tenant) => [tenant.id, tenant]),
    )
    for (const tenant of this.#tenants.values()) {
      const before = old.get(tenant.id)?.state ?? tenant.state
      if (before !== tenant.state) this.#stateChanged(tenant, before)
    }
  }

  #make(wanted: Pick<Tenant, 'id' | 'name' | 'quotas'>, deeds: Deeds | null): Promise<Tenant> {
    const { id } = wanted
    const running = this.#making.get(id)
    if (running !== undefined) return running
    const making = this.#insert(wanted, deeds).finally(() => this.#making.delete(id))
    this.#making.set(id, making)
    return making
  }

  async #insert(wanted: Pick<Tenant, 'id' | 'name' | 'quotas'>, deeds: Deeds | null): Promise<Tenant> {
    const { store, audit, clock } = this.#options
    if (this.#tenants.size + this.#making.size >= MAX_TENANTS)
      throw new EclusaError(gatewayErrors.TOO_MANY_TENANTS)
    // Logs, receipts and caches still speak of the one before.
    if (await store.wasRemoved(wanted.id)) {
      throw new EclusaError(gatewayErrors.TENANT_REMOVED, { details: { field: 'tenant' } })
    }
    const now = clock.now()
    const tenant: Tenant = { ...wanted, state: 'active', version: 1, createdAt: now, changedAt: now }
    const insertion = store.insertion(tenant)
    if (deeds === null) await store.write([insertion])
    else {
      const { id } = tenant
      const after = shownChange(tenant)
      const deed = { tenant: id, action: 'tenant.made', object: { tenant: id }, before: null, after }
      await audit.write([insertion], deeds(deed))
    }
    await this.#told()
    return tenant
  }

  async #told(): Promise<void> {
    await this.reload()
    this.#options.neighbours?.wake(null)
  }
}

function shownChange({ name, state, quotas }: Tenant): object {
  return { name, state, quotas }
}

function unknown(): EclusaError {
  return new EclusaError(gatewayErrors.TENANT_UNKNOWN, { details: { field: 'tenant' } })
}

function leaving(): EclusaError {
  return new EclusaError(gatewayErrors.TENANT_LEAVING, { details: { field: 'tenant' } })
}

function changed(cause?: unknown): EclusaError {
  return new EclusaError(gatewayErrors.TENANT_CHANGED, { details: { field: 'if-match' }, cause })
}
