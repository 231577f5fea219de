import { DEFAULT_CACHE_TTLS as UPSTREAM_TTLS } from 'baileys'

/** How many entries a cache may hold, and how long one lives, in milliseconds. */
export interface CacheLimit {
  readonly maxEntries: number
  readonly ttlMs: number
}

/** The caches of one socket by name. */
export type CacheName =
  | 'userDevices'
  | 'lidMapping'
  | 'msgRetry'
  | 'callOffer'
  | 'placeholderResend'
  | 'recentMessages'
  | 'sessionRecreation'
  | 'retryCounters'
  | 'baseKeys'

export type CacheLimits = { readonly [Name in CacheName]: CacheLimit }

/** A limit as a caller writes it. What is left out, or is no limit at all (0, −1, NaN, Infinity), is the default. */
export interface CacheLimitOptions {
  readonly maxEntries?: number | undefined
  readonly ttlMs?: number | undefined
  /** `maxEntries` as node-cache calls it. */
  readonly maxKeys?: number | undefined
  /** `ttlMs` as node-cache calls it, in seconds. */
  readonly stdTTL?: number | undefined
  /** Expired entries always go: their memory is what this package exists to give back. `false` only warns. */
  readonly deleteOnExpire?: boolean | undefined
  /** Why a cap above 50,000 is needed; without one there is a warning. */
  readonly reason?: string | undefined
}

export type CacheLimitsOptions = { readonly [Name in CacheName]?: CacheLimitOptions | undefined }

/** The most keys of each cache: the table of the caches as their users know them. */
export const DEFAULT_CACHE_MAX_KEYS = Object.freeze({
  /** Signal keys kept in memory in front of the key store, per socket. */
  SIGNAL_STORE: 10_000,
  /** Counters of resends, per socket. */
  MSG_RETRY: 10_000,
  CALL_OFFER: 500,
  /** Device lists by user, per socket. */
  USER_DEVICES: 5_000,
  PLACEHOLDER_RESEND: 5_000,
  /** LID and number of a contact are two entries. */
  LID_PER_SOCKET: 2_000,
  /** Shared by all sockets of the process. */
  LID_GLOBAL: 10_000,
})

/** How long an entry lives, in seconds. Upstream's four, and what it left out. */
export const DEFAULT_CACHE_TTLS = Object.freeze({
  ...UPSTREAM_TTLS,
  PLACEHOLDER_RESEND: 3_600,
  /** From its last use: a mapping does not change, and the key store holds it. */
  LID_PER_SOCKET: 3_600,
  LID_GLOBAL: 3_600,
})

/**
 * Caps of one socket. The last four bound what the table above does not know of: the retry manager's maps, which
 * upstream leaves without a cap or with a timer per entry. Recent messages stay few because `getMessage` answers from
 * the database.
 */
export const DEFAULT_CACHE_LIMITS: CacheLimits = Object.freeze({
  userDevices: limit(DEFAULT_CACHE_MAX_KEYS.USER_DEVICES, DEFAULT_CACHE_TTLS.USER_DEVICES),
  lidMapping: limit(DEFAULT_CACHE_MAX_KEYS.LID_PER_SOCKET, DEFAULT_CACHE_TTLS.LID_PER_SOCKET),
  msgRetry: limit(DEFAULT_CACHE_MAX_KEYS.MSG_RETRY, DEFAULT_CACHE_TTLS.MSG_RETRY),
  callOffer: limit(DEFAULT_CACHE_MAX_KEYS.CALL_OFFER, DEFAULT_CACHE_TTLS.CALL_OFFER),
  placeholderResend: limit(DEFAULT_CACHE_MAX_KEYS.PLACEHOLDER_RESEND, DEFAULT_CACHE_TTLS.PLACEHOLDER_RESEND),
  recentMessages: limit(64, 300),
  sessionRecreation: limit(2_000, 7_200),
  retryCounters: limit(2_000, 900),
  baseKeys: limit(256, 900),
})

/** A cap above this is more often a slip than a wish. */
const UNUSUAL_MAX_ENTRIES = 50_000

/** What is odd about a limit that a caller gave; `used` is what holds instead or nevertheless. */
export interface LimitWarning {
  readonly cache: CacheName
  readonly message: string
  readonly given: number | boolean
  readonly used: number | boolean
}

/** The limits that hold, and what to tell the caller about those given. Nothing given ever means "unlimited". */
export function resolveLimits(given: CacheLimitsOptions = {}): {
  readonly limits: CacheLimits
  readonly warnings: readonly LimitWarning[]
} {
  const warnings: LimitWarning[] = []
  const names = Object.keys(DEFAULT_CACHE_LIMITS) as CacheName[]
  const limits = names.map((name) => [name, resolveLimit(name, given[name] ?? {}, warnings)])
  return { limits: Object.fromEntries(limits) as CacheLimits, warnings }
}

function resolveLimit(cache: CacheName, given: CacheLimitOptions, warnings: LimitWarning[]): CacheLimit {
  const { maxEntries: defaultMax, ttlMs: defaultTtlMs } = DEFAULT_CACHE_LIMITS[cache]
  const wantedMax = given.maxEntries ?? given.maxKeys
  const maxEntries = wantedMax !== undefined && isCap(wantedMax) ? wantedMax : defaultMax
  if (wantedMax !== undefined && wantedMax !== maxEntries) {
    const message = 'a cache has a cap of at least 1 and never none; the default holds'
    warnings.push({ cache, message, given: wantedMax, used: maxEntries })
  }
  if (maxEntries > UNUSUAL_MAX_ENTRIES && given.reason === undefined) {
    const message = 'a cap above 50,000 needs a reason: give one as `reason`, or a lower cap'
    warnings.push({ cache, message, given: maxEntries, used: maxEntries })
  }
  const wantedTtlMs = given.ttlMs ?? (given.stdTTL === undefined ? undefined : given.stdTTL * 1_000)
  const ttlMs = wantedTtlMs !== undefined && isLife(wantedTtlMs) ? wantedTtlMs : defaultTtlMs
  if (wantedTtlMs !== undefined && wantedTtlMs !== ttlMs) {
    const message = 'an entry has a life above 0 and not for ever; the default holds'
    warnings.push({ cache, message, given: wantedTtlMs, used: ttlMs })
  }
  if (given.deleteOnExpire === false) {
    const message = 'expired entries are freed in any case: keeping them is what fills a process'
    warnings.push({ cache, message, given: false, used: true })
  }
  return { maxEntries, ttlMs }
}

function isCap(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1
}

function isLife(value: number): boolean {
  return Number.isFinite(value) && value > 0
}

function limit(maxEntries: number, ttlSeconds: number): CacheLimit {
  return Object.freeze({ maxEntries, ttlMs: ttlSeconds * 1_000 })
}
