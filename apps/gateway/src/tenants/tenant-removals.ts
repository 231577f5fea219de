import {
  type Clock,
  EclusaError,
  type Lifecycle,
  type Logger,
  randomBase32,
  runLoop,
  SECOND,
  type TenantId,
} from '@eclusa/kernel'
import { gatewayErrors } from '../errors.ts'
import type { Instances } from '../instances/instances.ts'
import type { ApiKeys } from '../keys/api-keys.ts'
import type { Removal, TenantStore } from './tenant-store.ts'
import type { TenantTraceStore } from './tenant-trace-store.ts'
import type { Deeds, Tenants } from './tenants.ts'

export interface TenantRemovalsOptions {
  readonly store: TenantStore
  readonly traces: TenantTraceStore
  readonly tenants: Tenants
  readonly keys: Pick<ApiKeys, 'revokeAll'>
  readonly instances: Pick<Instances, 'all' | 'delete'>
  /** Removes what is held in memory, too, of a tenant that has no instance any more; returns what goes, by table. */
  readonly forgetMore: (tenant: TenantId) => Promise<Readonly<Record<string, number>>>
  /** What of it was sealed can be read by nobody any more, in backups neither. */
  readonly destroyKey: (tenant: TenantId) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

/** A removal that failed half-way goes on after this. */
const AGAIN_AFTER_MS = 30 * SECOND
/** Rows may come while others go, at first: what was on its way is stored. */
const MAX_PASSES = 5

/**
 * Removes everything of deleted tenants, one tenant after the other, in small steps: keys, sessions and instances, rows,
 * and last its own row, which is the receipt's end. What was done is on disk with each step, so that a crash in between
 * means going on.
 */
export class TenantRemovals implements Lifecycle {
  readonly #options: TenantRemovalsOptions
  readonly #ending = new AbortController()
  #loop: Promise<void> | null = null
  #pass: Promise<void> = Promise.resolve()

  constructor(options: TenantRemovalsOptions) {
    this.#options = options
  }

  /**
   * From the answer on nobody can act for the tenant; the rest is removed in the background, also after a restart.
   * @throws GATEWAY_TENANT_UNKNOWN, GATEWAY_TENANT_LEAVING
   */
  async begin(tenant: TenantId, by: { readonly keyId: string; readonly deeds: Deeds }): Promise<Removal> {
    const { store, tenants, clock } = this.#options
    const removal: Removal = {
      id: `rem_${randomBase32(20)}`,
      tenant,
      askedBy: by.keyId,
      removed: {},
      begunAt: clock.now(),
      endedAt: null,
    }
    await tenants.changeWith(
      tenant,
      { state: 'deleting' },
      {
        ifVersion: null,
        action: 'tenant.deleted',
        deeds: by.deeds,
        more: () => [store.removalInsertion(removal)],
      },
    )
    void this.#goOn()
    return removal
  }

  /** Newest first. */
  list(limit: number): Promise<readonly Removal[]> {
    return this.#options.store.removals(limit)
  }

  /** @throws GATEWAY_REMOVAL_UNKNOWN */
  async get(id: string): Promise<Removal> {
    const removal = await this.#options.store.removal(id)
    if (removal === undefined) throw new EclusaError(gatewayErrors.REMOVAL_UNKNOWN)
    return removal
  }

  async start(): Promise<void> {
    const { clock, log } = this.#options
    const onError = (error: unknown): void => log.error({ err: error }, 'looking for removals failed')
    this.#loop ??= runLoop(
      { clock, everyMs: AGAIN_AFTER_MS, onError },
      () => this.#goOn(),
      this.#ending.signal,
    )
  }

  async stop(): Promise<void> {
    this.#ending.abort()
    await this.#loop
    await this.#pass
  }

  #goOn(): Promise<void> {
    this.#pass = this.#pass.then(async () => {
      const { store, log } = this.#options
      if (this.#ending.signal.aborted) return
      const isLate = (error: unknown): void => {
        if (!this.#ending.signal.aborted) log.error({ err: error }, 'a tenant is not removed yet; it goes on')
      }
      try {
        // One that fails holds up no other.
        for (const removal of await store.removalsUnderWay()) await this.#remove(removal).catch(isLate)
      } catch (error) {
        isLate(error)
      }
    })
    return this.#pass
  }

  async #remove(begun: Removal): Promise<void> {
    const { store, tenants, keys, instances, forgetMore, destroyKey, clock, log } = this.#options
    const { tenant } = begun
    const { signal } = this.#ending
    let removal = begun
    const adding = (what: string, count: number): Removal => {
      const removed = { ...removal.removed, [what]: (removal.removed[what] ?? 0) + count }
      return { ...removal, removed }
    }
    await keys.revokeAll(tenant)
    for (const instance of instances.all().filter((one) => one.tenant === tenant)) {
      signal.throwIfAborted()
      await instances.delete(instance)
      removal = adding('Instance', 1)
      await store.write([store.removalUpdate(removal)])
    }
    for (const [what, count] of Object.entries(await forgetMore(tenant))) removal = adding(what, count)
    await store.write([store.removalUpdate(removal)])
    for (
      let pass = 1;
      (await this.#removeRows(tenant, (what, count) => (removal = adding(what, count)))) > 0;
      pass++
    ) {
      if (pass === MAX_PASSES) throw new Error('rows of a tenant that is removed keep coming')
    }
    await destroyKey(tenant)
    removal = { ...removal, endedAt: clock.now() }
    await tenants.forget(tenant, [store.removalUpdate(removal)], {
      tenant,
      keyId: removal.askedBy,
      person: null,
      addressHash: null,
      requestId: null,
      action: 'tenant.removed',
      outcome: 'done',
      object: { tenant, removal: removal.id },
      before: null,
      after: removal.removed,
    })
    log.info({ tenant, removal: removal.id, removed: removal.removed }, 'a tenant was removed')
  }

  /** One pass through all tables; returns how many rows went. */
  async #removeRows(tenant: TenantId, add: (what: string, count: number) => Removal): Promise<number> {
    const { store, traces } = this.#options
    let total = 0
    for (const table of await traces.tables()) {
      for (let count = 0; ;) {
        this.#ending.signal.throwIfAborted()
        count = await traces.step(table, tenant, (found) => [store.removalUpdate(add(table.name, found))])
        if (count === 0) break
        total += count
      }
    }
    return total
  }
}
