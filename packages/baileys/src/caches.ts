import {
  BoundedCache,
  type BoundedCacheOptions,
  type CacheOwner,
  type CacheStats,
} from '@eclusa/bounded-cache'
import type { MessageRetryManager, PossiblyExtendedCacheStore, SignalRepositoryWithLIDStore } from 'baileys'
import { type CacheLimitsOptions, type CacheName, resolveLimits } from './cache-limits.ts'
import { type CacheLog, logPressure, openCacheLog } from './cache-log.ts'
import { accountName, claimDefaultOwner } from './default-budget.ts'
import { asCacheStore, guardCache, type InjectedCache } from './injected-cache.ts'
import { type AskForLids, defaultLidDirectory, type LidDirectory, shareLids } from './lid-directory.ts'

/** The caller's own caches, under the names Baileys gives them. */
export interface OwnCaches {
  readonly userDevicesCache?: InjectedCache | undefined
  readonly msgRetryCounterCache?: InjectedCache | undefined
  readonly callOfferCache?: InjectedCache | undefined
  readonly placeholderResendCache?: InjectedCache | undefined
}

export interface SocketCachesOptions extends OwnCaches {
  /** Other limits than DEFAULT_CACHE_LIMITS for this socket, cache by cache. */
  readonly cacheLimits?: CacheLimitsOptions | undefined
  /**
   * Whose share of a budget the caches of this socket are charged to. Default: an owner for the account in
   * `defaultCacheBudget()`. Sockets may share an owner; closing it is the caller's business.
   */
  readonly cacheOwner?: CacheOwner | undefined
  /** Where numbers' LIDs are shared between sockets. Default: `defaultLidDirectory()`; null shares none. */
  readonly lidDirectory?: LidDirectory | null | undefined
  /** Default: lines on standard output if `BAILEYS_LOG` is `true`. */
  readonly cacheLog?: CacheLog | undefined
  /** Epoch milliseconds for the caches' lives. Default: the owner's, `Date.now` for the default budget. */
  readonly now?: (() => number) | undefined
}

/** A cache of a socket as it stands. */
export interface SocketCacheStats extends CacheStats {
  /** A cache of the caller's holds the entries; what is counted here is what that one failed to keep. */
  readonly isCallers: boolean
  /** Calls of the caller's cache that threw, rejected or took too long. */
  readonly errors: number
}

/**
 * An entry of these that is lost too early loses more than time: a placeholder, a message (upstream takes its absence
 * after 2 s for "arrived" and keeps asking until 8 s after that); a counter, the end of a retry loop.
 */
const RESIDENCY_MS: { readonly [Name in CacheName]?: number } = {
  placeholderResend: 15_000,
  msgRetry: 15_000,
}

/** What a lost entry costs beside others of the budget: cheapest out first. Device lists cost others a pre-key each. */
const WORTH: { readonly [Name in CacheName]: number } = {
  callOffer: 0.25,
  recentMessages: 0.5,
  baseKeys: 0.5,
  sessionRecreation: 0.5,
  placeholderResend: 1,
  lidMapping: 1,
  userDevices: 4,
  retryCounters: 8,
  msgRetry: 8,
}

/** Numbers that WhatsApp has just said to have no LID. */
const LID_ABSENT_LIMIT = { maxEntries: 1_000, ttlMs: 30_000 }

/** Of sent messages kept for resends: a few images with thumbnails. What is not there, `getMessage` is asked for. */
const MAX_RECENT_BYTES = 512 * 1024

/** Caches that upstream touches on read, so that what is in use does not end. */
const EXTENDED_ON_GET: ReadonlySet<CacheName> = new Set(['lidMapping', 'retryCounters'])

/** Small rings that are full in good health; nobody wants to be told. */
const ALWAYS_FULL: ReadonlySet<CacheName> = new Set(['recentMessages', 'baseKeys'])

/** All caches of one socket. */
export class SocketCaches {
  /** Who pays; undefined with a clock of the caller's and no owner. */
  readonly owner: CacheOwner | undefined
  readonly #options: SocketCachesOptions
  readonly #log: CacheLog
  readonly #account: string
  readonly #release: () => void
  // bounded by: CacheName
  readonly #byName: { readonly [Name in CacheName]: BoundedCache<unknown> }
  readonly #lidAbsent: BoundedCache<true>
  // bounded by: recentMessages.maxEntries, through onRemove; upstream's index from message id to key
  readonly #recentKeys = new Map<string, string>()
  // bounded by: the four names of OwnCaches
  readonly #errors = new Map<CacheName, number>()

  /** `warn` is told of limits that cannot be meant. */
  constructor(
    options: SocketCachesOptions & {
      readonly ownJid: string | undefined
      readonly warn: (fields: object, message: string) => void
    },
  ) {
    this.#options = options
    this.#log = options.cacheLog ?? openCacheLog()
    const { limits, warnings } = resolveLimits(options.cacheLimits)
    for (const { message, ...fields } of warnings) {
      options.warn(fields, message)
      this.#log.line('Cache option', `${fields.cache}Cache`, { ...fields, message })
    }
    this.#account = options.cacheOwner?.name ?? accountName(options.ownJid)
    const claim =
      options.cacheOwner === undefined && options.now === undefined
        ? claimDefaultOwner(this.#account)
        : undefined
    this.#release = claim?.release ?? ((): void => {})
    const owner = options.cacheOwner ?? claim?.owner
    this.owner = owner
    const charged = owner === undefined ? {} : { owner }
    const clocked = options.now === undefined ? {} : { now: options.now }
    this.#lidAbsent = new BoundedCache({ name: 'lidAbsent', ...LID_ABSENT_LIMIT, ...clocked, ...charged })
    const caches = (Object.keys(limits) as CacheName[]).map((name) => {
      const { maxEntries, ttlMs } = limits[name]
      this.#log.line('Cache initialized', `${name}Cache`, {
        maxKeys: maxEntries,
        ttl: `${ttlMs / 1_000}s`,
        account: this.#account,
      })
      return [
        name,
        new BoundedCache<unknown>({ ...this.#cacheOptions(name), ...limits[name], ...clocked, ...charged }),
      ]
    })
    this.#byName = Object.fromEntries(caches) as { readonly [Name in CacheName]: BoundedCache<unknown> }
  }

  /** What Baileys is to be given: our caches, or the caller's with a guard around them. */
  stores(): {
    readonly userDevicesCache: PossiblyExtendedCacheStore
    readonly msgRetryCounterCache: PossiblyExtendedCacheStore
    readonly callOfferCache: PossiblyExtendedCacheStore
    readonly placeholderResendCache: PossiblyExtendedCacheStore
  } {
    const { userDevicesCache, msgRetryCounterCache, callOfferCache, placeholderResendCache } = this.#options
    return {
      userDevicesCache: this.#store('userDevices', userDevicesCache),
      msgRetryCounterCache: this.#store('msgRetry', msgRetryCounterCache),
      callOfferCache: this.#store('callOffer', callOfferCache),
      placeholderResendCache: this.#store('placeholderResend', placeholderResendCache),
    }
  }

  /** Our cache for upstream's, which has neither cap nor budget and arms a timer per entry. */
  boundRepository(repository: SignalRepositoryWithLIDStore): void {
    replaceField(repository.lidMapping, 'mappingCache', this.#byName.lidMapping)
  }

  /** The search for a number's LID at WhatsApp, answered from what other sockets have found where that is known. */
  shareLids(server: string, ask: AskForLids): AskForLids {
    const { lidDirectory: directory = defaultLidDirectory() } = this.#options
    return shareLids(ask, { directory, server, absent: this.#lidAbsent })
  }

  boundRetryManager(manager: MessageRetryManager | null | undefined): void {
    if (manager === null || manager === undefined) return
    replaceField(manager, 'recentMessagesMap', this.#byName.recentMessages)
    replaceField(manager, 'messageKeyIndex', this.#recentKeys)
    replaceField(manager, 'sessionRecreateHistory', this.#byName.sessionRecreation)
    replaceField(manager, 'retryCounters', this.#byName.retryCounters)
    replaceField(manager, 'baseKeys', this.#byName.baseKeys)
  }

  stats(): readonly SocketCacheStats[] {
    const { userDevicesCache, msgRetryCounterCache, callOfferCache, placeholderResendCache } = this.#options
    const callers: { readonly [Name in CacheName]?: InjectedCache | undefined } = {
      userDevices: userDevicesCache,
      msgRetry: msgRetryCounterCache,
      callOffer: callOfferCache,
      placeholderResend: placeholderResendCache,
    }
    return (Object.keys(this.#byName) as CacheName[]).map((name) => ({
      ...this.#byName[name].stats(),
      isCallers: callers[name] !== undefined,
      errors: this.#errors.get(name) ?? 0,
    }))
  }

  /** Frees what is past its life; returns how many entries. */
  sweep(): number {
    return Object.values(this.#byName).reduce((freed, cache) => freed + cache.sweep(), 0)
  }

  /** Gives all memory back; from now on every look is a miss and nothing is kept. The caller's caches stay as they are. */
  close(): void {
    for (const cache of Object.values(this.#byName)) cache.dispose()
    this.#lidAbsent.dispose()
    this.#release()
  }

  #cacheOptions(name: CacheName): Omit<BoundedCacheOptions<unknown>, 'maxEntries' | 'ttlMs'> {
    const residencyMs = RESIDENCY_MS[name]
    return {
      name,
      worth: WORTH[name],
      extendOnGet: EXTENDED_ON_GET.has(name),
      ...(residencyMs === undefined ? {} : { minResidencyMs: residencyMs }),
      ...(name === 'recentMessages'
        ? { maxBytes: MAX_RECENT_BYTES, onRemove: (key): void => this.#forgetRecent(key) }
        : {}),
      ...(this.#log.enabled && !ALWAYS_FULL.has(name)
        ? { onPressure: (event): void => logPressure(this.#log, event, this.#account) }
        : {}),
    }
  }

  #forgetRecent(key: string): void {
    const id = key.slice(key.lastIndexOf('\0') + 1)
    if (this.#recentKeys.get(id) === key) this.#recentKeys.delete(id)
  }

  #store(name: CacheName, injected: InjectedCache | undefined): PossiblyExtendedCacheStore {
    if (injected === undefined) return asCacheStore(this.#byName[name])
    const onError = (error: unknown): void => {
      const errors = (this.#errors.get(name) ?? 0) + 1
      this.#errors.set(name, errors)
      // Told when their number has doubled: a broken cache fails at every message.
      if ((errors & (errors - 1)) === 0) {
        const message = error instanceof Error ? error.name : typeof error
        this.#log.line('Cache error', `${name}Cache`, { errors, error: message, account: this.#account })
      }
    }
    return guardCache({ injected, ours: this.#byName[name], holdsState: name !== 'userDevices', onError })
  }
}

/** Upstream's own cache gives way to ours, which has the methods upstream calls: get, set, delete, has, clear. */
function replaceField(
  owner: object,
  field: string,
  cache: BoundedCache<unknown> | Map<string, string>,
): void {
  const old: unknown = Reflect.get(owner, field)
  if (typeof old !== 'object' || old === null || !('get' in old && 'set' in old && 'delete' in old)) {
    throw new Error(
      `Baileys keeps no cache in ${field} any more; this release is made for another version of it`,
    )
  }
  if ('clear' in old && typeof old.clear === 'function') old.clear()
  Reflect.set(owner, field, cache)
}
