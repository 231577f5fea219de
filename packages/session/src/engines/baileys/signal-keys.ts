import { AsyncLocalStorage } from 'node:async_hooks'
import {
  boundedKeys,
  parseKey,
  serialiseKey,
  type SignalDataSet,
  type SignalDataTypeMap,
  type SignalKeyStore,
  UNCACHED_KEY_TYPES,
} from '@eclusa/baileys'
import { BoundedCache, type CacheOwner, type CacheStats } from '@eclusa/bounded-cache'
import { type Clock, EclusaError, type InstanceId, MINUTE, SECOND, withDeadline } from '@eclusa/kernel'
import type { Statement } from '@eclusa/storage'
import type { AuthStore, KeyChange } from '../../auth-store.ts'
import { sessionErrors } from '../../errors.ts'

/** Cap and life of the Signal key cache of one instance (document 2). Issue "2" adds the byte budget. */
const SIGNAL_KEY_CACHE_ENTRIES = 10_000
const SIGNAL_KEY_CACHE_TTL_MS: number = 5 * MINUTE

/**
 * Longest wait for the database. A call that hung would hold up other instances, because libsignal's queue is shared
 * by the whole process.
 */
const DATABASE_DEADLINE_MS = 10 * SECOND

/** An absent value, cached so that asking again costs no read. */
const ABSENT = ''

/** How libsignal marks the one session of a record that is not closed. */
const OPEN_SESSION = '"closed":-1'

/** What is under way inside `inUnit`. */
interface Unit {
  /** Commits together with the keys. */
  together: readonly Statement[]
  /** Settles when all of it is on disk. */
  written: Promise<void> | undefined
}

/**
 * Baileys' key store on our database. Reads: cache, then database. Writes take effect in the order they are made, so
 * the cache may show a value that is still on its way to the disk; after a failed write the cache forgets the keys,
 * because nobody knows what is on disk. Values are kept as JSON: what is handed out is always a copy, since Baileys
 * changes what it gets.
 */
export class SignalKeys implements SignalKeyStore {
  readonly [boundedKeys] = true
  readonly #instance: InstanceId
  readonly #store: AuthStore
  readonly #clock: Clock
  readonly #onFailure: (error: unknown) => void
  readonly #cache: BoundedCache<string>
  readonly #unit = new AsyncLocalStorage<Unit>()
  // bounded by: the reads in flight; tells a read that its key was written meanwhile
  readonly #filling = new Map<string, symbol>()
  #retired = false

  constructor(options: {
    readonly instance: InstanceId
    readonly store: AuthStore
    readonly clock: Clock
    /** Who pays for the cache; without it there is its cap only. */
    readonly cacheOwner?: CacheOwner | undefined
    /** The database failed: nothing may be acknowledged any more on this connection. */
    readonly onFailure: (error: unknown) => void
  }) {
    this.#instance = options.instance
    this.#store = options.store
    this.#clock = options.clock
    this.#onFailure = options.onFailure
    this.#cache = new BoundedCache({
      name: 'signalKeys',
      maxEntries: SIGNAL_KEY_CACHE_ENTRIES,
      ttlMs: SIGNAL_KEY_CACHE_TTL_MS,
      extendOnGet: true,
      now: () => options.clock.now(),
      ...(options.cacheOwner === undefined ? {} : { owner: options.cacheOwner }),
    })
  }

  async get<Type extends keyof SignalDataTypeMap>(
    type: Type,
    ids: string[],
  ): Promise<{ [id: string]: SignalDataTypeMap[Type] }> {
    const values: { [id: string]: SignalDataTypeMap[Type] } = {}
    const missing: string[] = []
    for (const id of ids) {
      const cached = this.#cache.get(cacheKey(type, id))
      if (cached === undefined) missing.push(id)
      else if (cached !== ABSENT) values[id] = parseKey(type, cached)
    }
    if (missing.length > 0) {
      for (const [id, json] of await this.#read(type, missing)) values[id] = parseKey(type, json)
    }
    return values
  }

  /** Whether there is a session that messages can be sent through, from its JSON alone. */
  async hasOpenSession(address: string): Promise<boolean> {
    const json =
      this.#cache.get(cacheKey('session', address)) ?? (await this.#read('session', [address])).get(address)
    return json?.includes(OPEN_SESSION) ?? false
  }

  async set(data: SignalDataSet): Promise<void> {
    // Baileys has work under way that outlives its socket; it must not write into what comes after.
    if (this.#retired) throw new EclusaError(sessionErrors.OFFLINE)
    const changes: KeyChange[] = []
    for (const [type, values] of Object.entries(data)) {
      for (const [id, value] of Object.entries(values ?? {})) {
        changes.push({
          type,
          id,
          value: value === null || value === undefined ? null : serialiseKey(type, id, value),
        })
      }
    }
    const unit = this.#unit.getStore()
    if (unit === undefined) return this.#write(changes, [])
    const written = this.#write(changes, unit.together)
    unit.together = []
    unit.written = unit.written === undefined ? written : Promise.all([unit.written, written]).then(() => {})
    // Awaited at the end of the unit; until then a failure must not count as unhandled.
    unit.written.catch(() => {})
  }

  async clear(): Promise<void> {
    this.#cache.clear()
    await this.#store.forget(this.#instance)
  }

  /**
   * Runs `work` so that what it gives to `together` commits with the keys it writes, and so that its writes are only
   * begun in it: `written` settles when they are on disk. Whoever comes next may go on from the new keys at once, but
   * nothing that was made with them may leave before.
   */
  async inUnit<T>(
    work: (together: (statements: readonly Statement[]) => void) => Promise<T>,
  ): Promise<{ readonly result: T; readonly written: Promise<void> }> {
    const unit: Unit = { together: [], written: undefined }
    const result = await this.#unit.run(unit, () =>
      work((statements) => {
        unit.together = statements
      }),
    )
    const written =
      unit.together.length > 0 ? this.#write([], unit.together) : (unit.written ?? Promise.resolve())
    written.catch(() => {})
    return { result, written }
  }

  /** From now on nothing is written: the connection is over. */
  retire(): void {
    this.#retired = true
    this.#cache.dispose()
  }

  sweep(): void {
    this.#cache.sweep()
  }

  stats(): CacheStats {
    return this.#cache.stats()
  }

  async #write(changes: readonly KeyChange[], together: readonly Statement[]): Promise<void> {
    for (const { type, id, value } of changes) {
      const key = cacheKey(type, id)
      this.#filling.delete(key)
      if (!UNCACHED_KEY_TYPES.has(type)) this.#cache.set(key, value ?? ABSENT)
    }
    try {
      await this.#withDeadline('write', this.#store.writeKeys(this.#instance, changes, together))
    } catch (error) {
      for (const { type, id } of changes) this.#cache.delete(cacheKey(type, id))
      this.#onFailure(error)
      throw error
    }
  }

  async #read(type: string, ids: readonly string[]): Promise<Map<string, string>> {
    const mine = Symbol(type)
    for (const id of ids) this.#filling.set(cacheKey(type, id), mine)
    try {
      const found = await this.#withDeadline('read', this.#store.readKeys(this.#instance, type, ids))
      for (const id of UNCACHED_KEY_TYPES.has(type) ? [] : ids) {
        if (this.#filling.get(cacheKey(type, id)) === mine)
          this.#cache.set(cacheKey(type, id), found.get(id) ?? ABSENT)
      }
      return found
    } catch (error) {
      // Baileys would take it for "no session" or refuse the message to WhatsApp: it must not get to say anything.
      this.#onFailure(error)
      throw error
    } finally {
      for (const id of ids) {
        if (this.#filling.get(cacheKey(type, id)) === mine) this.#filling.delete(cacheKey(type, id))
      }
    }
  }

  #withDeadline<T>(what: string, work: Promise<T>): Promise<T> {
    return withDeadline(this.#clock, DATABASE_DEADLINE_MS, `signal key ${what}`, work)
  }
}

function cacheKey(type: string, id: string): string {
  return `${type}\0${id}`
}
