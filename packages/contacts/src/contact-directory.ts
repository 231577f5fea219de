import {
  type ChatId,
  type Clock,
  type ContactId,
  EclusaError,
  type InboundOrigin,
  type InstanceId,
  makeContactId,
  MINUTE,
  personKey,
  type TenantId,
} from '@eclusa/kernel'
import { type LoggedEvent, type Statement, storageErrors } from '@eclusa/storage'
import {
  bad,
  type Contact,
  type ContactChange,
  contactLimits,
  type ContactNote,
  parseText,
  withChange,
} from './contact.ts'
import type { ContactCaches } from './contact-caches.ts'
import type { ContactMerge, ContactStore } from './contact-store.ts'
import { contactErrors } from './errors.ts'

/** How a contact wrote. */
export interface Sighting {
  /** As WhatsApp spells it. */
  readonly address: ChatId
  /** The LID of that number, or the number of that LID; null when only one is known. */
  readonly alias: ChatId | null
  readonly pushName: string | null
  /** Epoch milliseconds. */
  readonly at: number
}

/** `lastSeenAt` is this exact: a contact who sends twenty messages is written once. */
const SEEN_EVERY_MS = MINUTE
/** A message that was under way with the id of the one that is gone has come through by then. */
const RETELL_AFTER_MS = MINUTE / 2
/** Others must have changed the same contact so many times in a row. */
const MAX_TRIES = 20
const MAX_PUSH_NAME = 128

/**
 * One contact for every person, over numbers, LIDs and the two spellings of Brazilian numbers. Uniqueness is the
 * database's: whoever loses a race looks again and finds what the winner made.
 */
export class ContactDirectory {
  readonly #store: ContactStore
  readonly #caches: ContactCaches
  readonly #clock: Clock
  readonly #merged: (merge: ContactMerge) => Promise<void>
  #tellAt = 0

  constructor(options: {
    readonly store: ContactStore
    readonly caches: ContactCaches
    readonly clock: Clock
    /**
     * Changes `from` into `to` wherever rows name contacts. Called at once, until it has succeeded, and once more half a
     * minute later for what was under way. Nobody is met while it fails.
     */
    readonly merged: (merge: ContactMerge) => Promise<void>
  }) {
    this.#store = options.store
    this.#caches = options.caches
    this.#clock = options.clock
    this.#merged = options.merged
  }

  /**
   * The contact who wrote: made, brought up to date, or made one of two when number and LID prove to be one person. Then
   * the older one stays. May be called again for the same message.
   * @throws CONTACT_BUSY
   */
  async seen(
    { tenant, instance }: Pick<InboundOrigin, 'tenant' | 'instance'>,
    sighting: Sighting,
  ): Promise<ContactId> {
    await this.#tellMerges()
    const cached = this.#caches.get(tenant, instance, sighting.address)
    if (cached !== undefined && addressesWith(cached, sighting) === null && !isRenamed(cached, sighting)) {
      if (!isSeenLater(cached, sighting)) return cached.id
      if (await this.#store.seen(cached.id, sighting.at)) {
        this.#caches.set(instance, sighting.address, { ...cached, lastSeenAt: sighting.at })
        return cached.id
      }
      // Merged or erased since.
    }
    const contact = await this.#settle(() => this.#meet(tenant, sighting))
    this.#caches.set(instance, sighting.address, contact)
    return contact.id
  }

  /** Also under the id of one that was merged into it. @throws CONTACT_UNKNOWN */
  async get(tenant: TenantId, id: ContactId): Promise<Contact> {
    const found = await this.#store.get(tenant, id)
    if (found !== undefined) return found
    const into = await this.#store.mergedInto(tenant, id)
    const other = into && (await this.#store.get(tenant, into))
    if (other === undefined) throw new EclusaError(contactErrors.UNKNOWN, { details: { field: 'contact' } })
    return other
  }

  /** Who is behind an address; with `instance` through its cache. */
  async at(
    tenant: TenantId,
    address: ChatId,
    instance: InstanceId | null = null,
  ): Promise<Contact | undefined> {
    const cached = instance === null ? undefined : this.#caches.get(tenant, instance, address)
    if (cached !== undefined) return cached
    const [found] = await this.#store.find(tenant, address, null)
    if (found !== undefined && instance !== null) this.#caches.set(instance, address, found)
    return found
  }

  /**
   * With `ifVersion` only that version is changed. Nothing is written when nothing differs.
   * @throws CONTACT_UNKNOWN, CONTACT_BAD_INPUT naming the field, CONTACT_CHANGED, CONTACT_BUSY
   */
  async change(
    tenant: TenantId,
    id: ContactId,
    change: ContactChange,
    ifVersion: number | null = null,
  ): Promise<Contact> {
    return this.#settle(async () => {
      const before = await this.get(tenant, id)
      if (ifVersion !== null && before.version !== ifVersion) throw new EclusaError(contactErrors.CHANGED)
      return this.#write(before, withChange(before, change))
    })
  }

  /** The contact at `address`, made when there is none, with the change. @throws as `change` */
  async put(
    tenant: TenantId,
    address: ChatId,
    change: ContactChange,
  ): Promise<{ readonly contact: Contact; readonly outcome: 'created' | 'changed' | 'unchanged' }> {
    return this.#settle(async () => {
      const [before] = await this.#store.find(tenant, address, null)
      if (before !== undefined) {
        const contact = await this.#write(before, withChange(before, change))
        return { contact, outcome: contact === before ? 'unchanged' : 'changed' }
      }
      const contact = withChange(this.#new(tenant, [address]), change)
      await this.#store.insert(contact)
      return { contact, outcome: 'created' }
    })
  }

  /** By their ids, `after` not included; empty at the end. At most `limit`. */
  page(
    tenant: TenantId,
    options: { readonly after: string; readonly limit: number; readonly tag?: string },
  ): Promise<readonly Contact[]> {
    return this.#store.page(tenant, options)
  }

  async notes(tenant: TenantId, id: ContactId): Promise<readonly ContactNote[]> {
    return this.#store.notes(tenant, (await this.get(tenant, id)).id)
  }

  /** @throws CONTACT_UNKNOWN, CONTACT_BAD_INPUT also when there are as many as there may be */
  async addNote(
    tenant: TenantId,
    id: ContactId,
    note: { readonly by: string; readonly text: string },
  ): Promise<void> {
    const text = parseText(note.text, 'text', contactLimits.note)
    if (text === null) throw bad('text', 'must not be empty')
    const contact = await this.get(tenant, id)
    if (await this.#store.addNote(tenant, contact.id, { ...note, text }, contactLimits.notes)) return
    throw bad('notes', `must be at most ${contactLimits.notes}: remove one first`)
  }

  /** False when there is no such note. @throws CONTACT_UNKNOWN */
  async removeNote(tenant: TenantId, id: ContactId, note: number): Promise<boolean> {
    return this.#store.removeNote((await this.get(tenant, id)).id, note)
  }

  /**
   * Nothing is left of the contact, in the unit with `more`; how many rows went, by table. What else is kept of the person
   * must be gone before: this is what it is found by. @throws CONTACT_UNKNOWN, CONTACT_BUSY
   */
  async erase(
    tenant: TenantId,
    id: ContactId,
    more: readonly Statement[],
  ): Promise<Readonly<Record<string, number>>> {
    return this.#settle(async () => {
      const contact = await this.get(tenant, id)
      const rows = await this.#store.erase(contact, more)
      this.#caches.forget(contact)
      return rows
    })
  }

  /**
   * An event that perhaps another process caused: of who has another address now, or is no more, nothing stays in
   * memory. Other changes may be seen here up to 30 min later by who asks with an instance.
   */
  heard({ type, payload }: Pick<LoggedEvent, 'type' | 'payload'>): void {
    if (!['contact.addressed', 'contact.merged', 'contact.erased'].includes(type)) return
    const { contact, from } = payload as { readonly contact?: string; readonly from?: string }
    for (const id of [contact, from]) if (id !== undefined) this.#caches.forgetId(id)
  }

  /** Tells of merges again: those of a while ago, those that a crash or a failure came before. */
  async #tellMerges(): Promise<void> {
    if (this.#clock.now() < this.#tellAt) return
    for (;;) {
      const merges = await this.#store.untold()
      for (const merge of merges) {
        await this.#merged(merge)
        await this.#store.told(merge)
      }
      if (merges.length === 0) break
    }
    this.#tellAt = Number.POSITIVE_INFINITY
  }

  async #meet(tenant: TenantId, sighting: Sighting): Promise<Contact> {
    const { address, alias, at } = sighting
    const [first, second] = await this.#store.find(tenant, address, alias)
    if (first === undefined) {
      const addresses = inOrder(alias === null ? [address] : [address, alias])
      const contact = { ...this.#new(tenant, addresses), pushName: pushNameOf(sighting), lastSeenAt: at }
      await this.#store.insert(contact)
      return contact
    }
    const kept = second === undefined ? first : await this.#merge(first, second)
    const addresses = addressesWith(kept, sighting)
    if (addresses === null && !isRenamed(kept, sighting)) {
      if (!isSeenLater(kept, sighting)) return kept
      if (!(await this.#store.seen(kept.id, at))) throw lostRace()
      return { ...kept, lastSeenAt: at }
    }
    return this.#write(kept, {
      ...kept,
      addresses: addresses ?? kept.addresses,
      pushName: pushNameOf(sighting) ?? kept.pushName,
      lastSeenAt: Math.max(kept.lastSeenAt ?? 0, at),
    })
  }

  async #merge(kept: Contact, gone: Contact): Promise<Contact> {
    const changedAt = this.#clock.now()
    const merged = { ...mergeOf(kept, gone), changedAt, version: kept.version + 1 }
    await this.#store.merge(kept, gone, merged)
    this.#caches.forget(merged)
    this.#tellAt = 0
    await this.#merged({ tenant: kept.tenant, from: gone.id, to: kept.id })
    this.#tellAt = this.#clock.now() + RETELL_AFTER_MS
    return merged
  }

  async #write(before: Contact, changed: Contact): Promise<Contact> {
    if (JSON.stringify(changed) === JSON.stringify(before)) return before
    const after = {
      ...changed,
      address: changed.addresses[0] ?? before.address,
      changedAt: this.#clock.now(),
      version: before.version + 1,
    }
    await this.#store.update(before, after)
    this.#caches.forget(after)
    return after
  }

  /** Again and again as long as others were faster. */
  async #settle<T>(attempt: () => Promise<T>): Promise<T> {
    for (let nth = 1; ; nth++) {
      try {
        return await attempt()
      } catch (error) {
        const isRace = error instanceof EclusaError && error.code === storageErrors.CONFLICT.code
        if (!isRace) throw error
        if (nth === MAX_TRIES) throw new EclusaError(contactErrors.BUSY, { cause: error })
      }
    }
  }

  #new(tenant: TenantId, addresses: readonly ChatId[]): Contact {
    const now = this.#clock.now()
    return {
      id: makeContactId(),
      tenant,
      address: addresses[0] as ChatId,
      addresses,
      name: null,
      pushName: null,
      picture: null,
      zone: null,
      tags: [],
      fields: {},
      createdAt: now,
      lastSeenAt: null,
      changedAt: now,
      version: 1,
    }
  }
}

/** Numbers first: messages go to the number. Of several, those before stay before. */
function inOrder(addresses: readonly ChatId[]): readonly ChatId[] {
  const isLid = (address: ChatId): boolean => address.endsWith('@lid')
  return [...addresses.filter((one) => !isLid(one)), ...addresses.filter(isLid)].slice(
    0,
    contactLimits.addresses,
  )
}

/** With what is new in a sighting, the newest first, spelled as WhatsApp does; null when nothing is. Pure. */
function addressesWith(contact: Contact, { address, alias }: Sighting): readonly ChatId[] | null {
  const told = alias === null ? [address] : [address, alias]
  if (told.every((one) => contact.addresses.includes(one))) return null
  const toldPeople = new Set(told.map(personKey))
  return inOrder([...told, ...contact.addresses.filter((one) => !toldPeople.has(personKey(one)))])
}

function isRenamed(contact: Contact, sighting: Sighting): boolean {
  const pushName = pushNameOf(sighting)
  return pushName !== null && pushName !== contact.pushName
}

function isSeenLater({ lastSeenAt }: Contact, { at }: Sighting): boolean {
  return lastSeenAt === null || at >= lastSeenAt + SEEN_EVERY_MS
}

function pushNameOf({ pushName }: Sighting): string | null {
  const text = pushName?.toWellFormed().slice(0, MAX_PUSH_NAME).trim() ?? ''
  return text === '' ? null : text.toWellFormed()
}

/** What both are known for; where they differ, the one that stays is right. Pure. */
function mergeOf(kept: Contact, gone: Contact): Contact {
  const newest = (kept.lastSeenAt ?? 0) >= (gone.lastSeenAt ?? 0) ? [kept, gone] : [gone, kept]
  const addresses = inOrder([...new Set(newest.flatMap((one) => one.addresses))])
  return {
    ...kept,
    address: addresses[0] as ChatId,
    addresses,
    name: kept.name ?? gone.name,
    pushName: newest[0]?.pushName ?? newest[1]?.pushName ?? null,
    picture: kept.picture ?? gone.picture,
    zone: kept.zone ?? gone.zone,
    tags: [...new Set([...kept.tags, ...gone.tags])].slice(0, contactLimits.tags).toSorted(),
    fields: Object.fromEntries(
      Object.entries({ ...gone.fields, ...kept.fields }).slice(0, contactLimits.fields),
    ),
    lastSeenAt: newest[0]?.lastSeenAt ?? null,
  }
}

function lostRace(): EclusaError {
  return new EclusaError(storageErrors.CONFLICT)
}
