import { BoundedCache, type CacheOwner, type CacheStats } from '@eclusa/bounded-cache'
import { type ChatId, type Clock, type InstanceId, MINUTE, personKey, type TenantId } from '@eclusa/kernel'
import type { Contact } from './contact.ts'

/** Document 1: 1,000 contacts an instance, for 30 min; the memory line warns above 800. */
export const CONTACTS_PER_INSTANCE = 1000
const TTL_MS = 30 * MINUTE

interface InstanceContacts {
  /** Of the tenant; it closes when the tenant's last session ends, and takes its caches with it. */
  readonly owner: CacheOwner | undefined
  readonly cache: BoundedCache<Contact>
}

/** Contacts that wrote lately, by instance and address: the store is behind it. */
export class ContactCaches {
  readonly #clock: Clock
  readonly #maxInstances: number
  readonly #ownerOf: (tenant: TenantId) => CacheOwner | undefined
  // bounded by: maxInstances; past it the one unused for longest goes
  readonly #caches = new Map<InstanceId, InstanceContacts>()

  constructor(options: {
    readonly clock: Clock
    readonly maxInstances: number
    /** Whose share of the one cache budget a tenant's contacts come out of. */
    readonly ownerOf: (tenant: TenantId) => CacheOwner | undefined
  }) {
    this.#clock = options.clock
    this.#maxInstances = options.maxInstances
    this.#ownerOf = options.ownerOf
  }

  get(tenant: TenantId, instance: InstanceId, address: ChatId): Contact | undefined {
    const contact = this.#of(tenant, instance).get(personKey(address))
    return contact?.tenant === tenant ? contact : undefined
  }

  set(instance: InstanceId, address: ChatId, contact: Contact): void {
    this.#of(contact.tenant, instance).set(personKey(address), contact)
  }

  /** Whatever instance kept them. */
  forget(contact: Pick<Contact, 'addresses'>): void {
    for (const { cache } of this.#caches.values()) {
      for (const address of contact.addresses) cache.delete(personKey(address))
    }
  }

  /** For when the addresses are not known here. O(contacts kept). */
  forgetId(id: string): void {
    for (const { cache } of this.#caches.values()) {
      for (const key of cache.keys()) if (cache.peek(key)?.id === id) cache.delete(key)
    }
  }

  /** Contacts kept: of all instances, and of the one with most. */
  counts(): { readonly total: number; readonly most: number } {
    const sizes = [...this.#caches.values()].map(({ cache }) => cache.size)
    return { total: sizes.reduce((sum, size) => sum + size, 0), most: Math.max(0, ...sizes) }
  }

  /** How each of them does. */
  stats(): readonly CacheStats[] {
    return [...this.#caches.values()].map(({ cache }) => cache.stats())
  }

  clear(): void {
    for (const { cache } of this.#caches.values()) cache.dispose()
    this.#caches.clear()
  }

  #of(tenant: TenantId, instance: InstanceId): BoundedCache<Contact> {
    const owner = this.#ownerOf(tenant)
    const known = this.#caches.get(instance)
    this.#caches.delete(instance)
    const contacts = known?.owner === owner && known !== undefined ? known : this.#make(owner, known)
    this.#caches.set(instance, contacts)
    if (this.#caches.size > this.#maxInstances) {
      const [oldest, { cache }] = this.#caches.entries().next().value as [InstanceId, InstanceContacts]
      cache.dispose()
      this.#caches.delete(oldest)
    }
    return contacts.cache
  }

  #make(owner: CacheOwner | undefined, before: InstanceContacts | undefined): InstanceContacts {
    before?.cache.dispose()
    const cache = new BoundedCache<Contact>({
      name: 'contacts',
      maxEntries: CONTACTS_PER_INSTANCE,
      ttlMs: TTL_MS,
      ...(owner === undefined ? { now: () => this.#clock.now() } : { owner }),
    })
    return { owner, cache }
  }
}
