import type { Expiry } from './expiry.ts'

/** What takes bytes back from a cache: the budget, its owner, the expiry. */
export interface Evictable {
  /**
   * Seconds since the entry that would go was used, divided by its worth; -1 when there is none. Entries younger than
   * the cache's residency count only `evenResident`.
   */
  idleSeconds(nowSeconds: number, evenResident: boolean): number
  /** Removes the least recently used entry; the bytes freed. */
  evictOldest(reason: 'evicted' | 'shed'): number
  /** Removes an entry whose life is over. */
  expireSlot(slot: number): void
  /** Its place in the list of its owner. */
  index: number
}

/** Whom a cache's bytes are charged to. */
export interface Account {
  readonly name: string
  readonly now: () => number
  readonly expiry: Expiry
  /** Largest charge of one entry. */
  readonly maxEntryBytes: number
  enlist(cache: Evictable): void
  delist(cache: Evictable): void
  /** Evicts until `bytes` more fit; false when that cannot be. */
  makeRoom(bytes: number): boolean
  /** `bytes` more, or with a negative number fewer, are in use. */
  charge(bytes: number): void
  refused(): void
}
