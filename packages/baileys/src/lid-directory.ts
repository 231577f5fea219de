import { BoundedCache, type CacheOwner } from '@eclusa/bounded-cache'
import { DEFAULT_CACHE_MAX_KEYS, DEFAULT_CACHE_TTLS } from './cache-limits.ts'
import { defaultCacheBudget } from './default-budget.ts'

/**
 * Which LID a number has, shared by the sockets of a process: they ask WhatsApp about the same people.
 *
 * Only one direction, and only what WhatsApp itself has answered, may be shared. A number's LID is told to everybody who
 * knows the number. The number behind a LID is not: a LID is what people are shown who do not know it, so this is never
 * looked up here. And what a phone or a message claims goes into the account's own store alone, since a false claim
 * of one account would send the messages of all others elsewhere.
 */
export interface LidDirectory {
  /** The LID of a number's JID at a server. */
  get(server: string, pn: string): string | undefined
  set(server: string, pn: string, lid: string): void
  readonly size: number
}

export function openLidDirectory(
  options: { readonly owner?: CacheOwner; readonly maxEntries?: number; readonly now?: () => number } = {},
): LidDirectory {
  const { owner, maxEntries = DEFAULT_CACHE_MAX_KEYS.LID_GLOBAL, now } = options
  const cache = new BoundedCache<string>({
    name: 'lidGlobal',
    maxEntries,
    ttlMs: DEFAULT_CACHE_TTLS.LID_GLOBAL * 1_000,
    ...(owner === undefined ? {} : { owner }),
    ...(now === undefined ? {} : { now }),
  })
  const keyOf = (server: string, pn: string): string => `${server}\0${pn}`
  return {
    get: (server, pn) => cache.get(keyOf(server, pn)),
    set: (server, pn, lid) => void cache.set(keyOf(server, pn), lid),
    get size() {
      return cache.size
    },
  }
}

let shared: LidDirectory | undefined

/** The one of the process: 10,000 numbers for an hour, charged to the default budget. */
export function defaultLidDirectory(): LidDirectory {
  shared ??= openLidDirectory({ owner: defaultCacheBudget().owner('lid-directory') })
  return shared
}

interface LidPair {
  readonly pn: string
  readonly lid: string
}

/** Upstream's search for the LIDs of numbers at WhatsApp. */
export type AskForLids = (pns: string[]) => Promise<LidPair[] | undefined>

/**
 * `ask`, answered from the directory where that knows; what WhatsApp answers is kept there. That a number has no LID is
 * remembered in `absent` for a moment and for this socket only: upstream asks again with each message to it, and an
 * account that is answered nothing must not speak for others.
 */
export function shareLids(
  ask: AskForLids,
  known: {
    readonly directory: LidDirectory | null
    readonly server: string
    readonly absent: BoundedCache<true>
  },
): AskForLids {
  const { directory, server, absent } = known
  return async (pns) => {
    const pairs: LidPair[] = []
    const unknown: string[] = []
    for (const pn of pns) {
      const lid = directory?.get(server, pn)
      if (lid !== undefined) pairs.push({ pn, lid })
      else if (!absent.has(pn)) unknown.push(pn)
    }
    if (unknown.length === 0) return pairs
    const answer = (await ask(unknown)) ?? []
    for (const { pn, lid } of answer) directory?.set(server, pn, lid)
    const answered = new Set(answer.map(({ pn }) => pn))
    for (const pn of unknown) if (!answered.has(pn)) absent.set(pn, true)
    return [...pairs, ...answer]
  }
}
