import { createHmac, randomBytes } from 'node:crypto'
import { getHeapStatistics } from 'node:v8'
import { CacheBudget, type CacheOwner } from '@eclusa/bounded-cache'

const MIB = 1024 * 1024
/** Enough for 100 busy accounts, and what a heap of 1 GiB can spare. */
const MAX_BYTES = 256 * MIB
const HEAP_SHARE = 0.25

let budget: CacheBudget | undefined

/**
 * What the caches of all sockets without a `cacheOwner` share: min(256 MiB, 25 % of the heap limit), made on first use.
 * `defaultCacheBudget().resize(bytes)` changes it.
 */
export function defaultCacheBudget(): CacheBudget {
  budget ??= new CacheBudget({
    maxBytes: Math.min(MAX_BYTES, HEAP_SHARE * getHeapStatistics().heap_size_limit),
  })
  return budget
}

// bounded by: sockets that are open and have no cacheOwner; sockets by account
const openSockets = new Map<string, number>()

/** The share of an account in the default budget, and what gives it back: freed when its last socket has closed. */
export function claimDefaultOwner(account: string): {
  readonly owner: CacheOwner
  readonly release: () => void
} {
  openSockets.set(account, (openSockets.get(account) ?? 0) + 1)
  const owner = defaultCacheBudget().owner(account)
  let released = false
  const release = (): void => {
    if (released) return
    released = true
    const left = (openSockets.get(account) ?? 1) - 1
    if (left > 0) {
      openSockets.set(account, left)
      return
    }
    openSockets.delete(account)
    owner.close()
  }
  return { owner, release }
}

/** Numbers are few enough to be guessed from a hash without a key. */
const nameKey = randomBytes(16)
let unlinked = 0

/** A name for an account that tells nobody its number, the same while the process lives; one of its own before it is linked. */
export function accountName(ownJid: string | undefined): string {
  if (ownJid === undefined) return `unlinked-${++unlinked}`
  return `account-${createHmac('sha256', nameKey).update(ownJid).digest('hex').slice(0, 12)}`
}
