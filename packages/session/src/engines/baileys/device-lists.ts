import {
  type BinaryNode,
  type CacheLimit,
  getBinaryNodeChildren,
  type InjectedCache,
  jidDecode,
} from '@eclusa/baileys'
import {
  BoundedCache,
  type CacheOwner,
  type SharedStore,
  TieredCache,
  type TieredCacheStats,
} from '@eclusa/bounded-cache'
import { type Clock, MINUTE } from '@eclusa/kernel'

/** Lists that changed while they may have been asked for: longer than a query may take. */
const CHANGED_LIMIT = { maxEntries: 1_000, ttlMs: MINUTE, minResidencyMs: MINUTE }

/** How a list is written down; another number here makes all stored ones unknown. */
const ENCODING = 1

/**
 * The devices of contacts, by user: in memory, behind it in the database, behind that at WhatsApp. Of all caches this is
 * the one whose loss costs others: Baileys then asks WhatsApp again, and for each contact it asks about it renews the
 * session, which uses up one of the contact's pre-keys.
 *
 * A stale list is worse than none: a message misses a new device, or goes to a removed one. So a list lives as long as
 * `limit` says from when WhatsApp was asked, in whichever tier it is, and goes from both when WhatsApp tells of a
 * change or a recipient could not decrypt. What WhatsApp tells while we are offline comes with the next login; what it
 * would keep for longer than a list lives is not needed. A new link of the account starts anew.
 */
export class DeviceLists implements InjectedCache {
  readonly #tiers: TieredCache<unknown>
  /** Changed since somebody last missed them here: an answer of WhatsApp that comes now may be from before. */
  readonly #changed: BoundedCache<true>

  constructor(options: {
    readonly store: SharedStore
    /** Of this link of the account. */
    readonly registrationId: number
    readonly limit: CacheLimit
    readonly cacheOwner: CacheOwner | undefined
    readonly clock: Clock
    readonly random?: () => number
    readonly onError?: (error: unknown) => void
  }) {
    const { clock, limit, cacheOwner, random, onError } = options
    const charged = { now: () => clock.now(), ...(cacheOwner === undefined ? {} : { owner: cacheOwner }) }
    this.#changed = new BoundedCache({ name: 'changedDevices', ...CHANGED_LIMIT, worth: 8, ...charged })
    this.#tiers = new TieredCache({
      memory: { name: 'userDevices', ...limit, worth: 4, ...charged },
      store: options.store,
      prefix: `devices/${ENCODING}/${options.registrationId}/`,
      setTimer: (delayMs, run) => clock.setTimer(delayMs, run),
      ...(random === undefined ? {} : { random }),
      ...(onError === undefined ? {} : { onError }),
    })
  }

  async get(user: string): Promise<unknown> {
    return (await this.mget([user]))[user]
  }

  async mget(users: string[]): Promise<Record<string, unknown>> {
    const found = await this.#tiers.getMany(users)
    for (const user of users) if (!found.has(user)) this.#changed.delete(user)
    return Object.fromEntries(found)
  }

  set(user: string, devices: unknown): Promise<void> {
    return this.mset([{ key: user, value: devices }])
  }

  mset(lists: readonly { readonly key: string; readonly value: unknown }[]): Promise<void> {
    const current = lists.filter(({ key }) => !this.#changed.has(key))
    return this.#tiers.setMany(new Map(current.map(({ key, value }) => [key, value])))
  }

  /** Baileys: the list of this user has changed. */
  del(user: string): Promise<void> {
    return this.changed([user])
  }

  mdel(users: string[]): Promise<void> {
    return this.changed(users)
  }

  /** WhatsApp tells of a change: gone from both tiers, and an answer that is on its way is not kept. */
  changed(users: readonly string[]): Promise<void> {
    for (const user of users) this.#changed.set(user, true)
    return this.#tiers.delete(users)
  }

  /** There is reason to doubt these. Gone from both tiers. */
  doubt(users: readonly string[]): Promise<void> {
    return this.#tiers.delete(users)
  }

  flushAll(): void {
    this.#tiers.flush()
  }

  sweep(): void {
    this.#tiers.sweep()
    this.#changed.sweep()
  }

  stats(): TieredCacheStats {
    return this.#tiers.stats()
  }

  dispose(): void {
    this.#tiers.dispose()
    this.#changed.dispose()
  }
}

/** The users whose devices a notification of type `devices` is about, under each name it gives them. */
export function usersOf(notification: BinaryNode): string[] {
  const changes = Array.isArray(notification.content) ? notification.content : []
  const devices = changes.flatMap((change) => getBinaryNodeChildren(change, 'device'))
  const jids = [
    notification.attrs['from'],
    notification.attrs['lid'],
    ...devices.flatMap(({ attrs }) => [attrs['jid'], attrs['lid']]),
  ]
  return [...new Set(jids.map((jid) => jidDecode(jid)?.user).filter((user) => user !== undefined))]
}
