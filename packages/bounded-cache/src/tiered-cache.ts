import { BoundedCache, type BoundedCacheOptions, type CacheStats } from './bounded-cache.ts'
import { type SetTimer, unrefTimer } from './expiry.ts'

/** What a shared store keeps of a fact. */
export interface SharedFact {
  /** As it was encoded; null for "there is none". */
  readonly value: string | null
  /** When the source was asked, epoch milliseconds. */
  readonly fetchedAt: number
  /** From when on nobody may use it. */
  readonly expiresAt: number
}

/**
 * A store that processes share, or that outlives them: a table, a Redis. Every method may fail or hang; the cache in
 * front of it bears that. Of two facts with one key the one fetched later stays.
 */
export interface SharedStore {
  /** Those found; keys that are absent are left out. */
  read(keys: readonly string[]): Promise<ReadonlyMap<string, SharedFact>>
  write(facts: ReadonlyMap<string, SharedFact>): Promise<void>
  remove(keys: readonly string[]): Promise<void>
}

export interface TieredCacheOptions<Value> {
  /** The tier in memory; `ttlMs` is the life of a fact in both tiers, counted from when the source was asked. */
  readonly memory: Omit<
    BoundedCacheOptions<unknown>,
    'extendOnGet' | 'sizeOf' | 'onRemove' | 'minResidencyMs'
  >
  readonly store: SharedStore
  /**
   * Stands before each key in the store: what these facts are, whose, in which encoding. Another prefix makes all of
   * them unknown at once.
   */
  readonly prefix: string
  readonly encode?: (value: Value) => string
  /** What it throws on is treated as absent. */
  readonly decode?: (text: string) => Value
  /** Life of "there is none". Default and at most 30 s. */
  readonly absentTtlMs?: number
  /** Longest wait for the store. Default 1,000. */
  readonly deadlineMs?: number
  /** In [0, 1), for lives that do not all end at once. Default Math.random. */
  readonly random?: () => number
  /** For the deadlines. Default: timers that keep no process alive. */
  readonly setTimer?: SetTimer
  /** The store failed; told to its owner, borne here. */
  readonly onError?: (error: unknown) => void
}

export interface TieredCacheStats extends CacheStats {
  /** Found in the store after a miss in memory. */
  readonly sharedHits: number
  readonly sharedMisses: number
  readonly sharedErrors: number
  /** Whether the store is not read at the moment. */
  readonly isStoreAvoided: boolean
}

const MAX_ABSENT_TTL_MS = 30_000
const DEADLINE_MS = 1_000
/** Part of a life that is left to chance; only ever shorter. */
const JITTER = 0.1
/** Failures in a row after which the store is left alone for a while. */
const MAX_FAILURES = 3
const PAUSE_MS = 30_000

/** A fact in memory; `value` null for "there is none". */
interface Held<Value> {
  readonly value: Value | null
  readonly expiresAt: number
}

/**
 * Facts in memory in front of a store that processes share. For facts that the source can always tell again: what is
 * lost costs a question, what is stale costs more. Therefore:
 *
 * - a fact lives `ttlMs` from when the source was asked, whichever tier it is in; nothing is served past that;
 * - "there is none" lives at most 30 s;
 * - `delete` takes effect in memory at once, in the store before it resolves; a read that was under way keeps nothing;
 * - operations on one key reach the store one after another;
 * - when the store failed to take a change, it is not read again until everything in it has expired; when it fails
 *   three times in a row, it is left alone for 30 s. Memory and the source go on meanwhile;
 * - after a gap in what tells of changes, the owner calls `flush`.
 */
export class TieredCache<Value> {
  readonly #options: TieredCacheOptions<Value>
  readonly #memory: BoundedCache<Held<Value>>
  readonly #now: () => number
  readonly #absentTtlMs: number
  // bounded by: the reads in flight; a key that is set or deleted meanwhile leaves it
  readonly #reading = new Map<string, Promise<Held<Value> | undefined>>()
  // bounded by: as #reading; loads of `fetch`
  readonly #loading = new Map<string, Promise<Value | null>>()
  // bounded by: the changes on their way to the store, each for at most its deadline and those before it
  readonly #changing = new Map<string, Promise<void>>()
  #failures = 0
  /** Until then the store is left alone. */
  #pausedUntil = -Infinity
  /** Until then it may hold what is no longer true, and is not read. */
  #distrustedUntil = -Infinity
  #sharedHits = 0
  #sharedMisses = 0
  #sharedErrors = 0

  constructor(options: TieredCacheOptions<Value>) {
    this.#options = options
    this.#memory = new BoundedCache(options.memory)
    this.#now = options.memory.owner?.now ?? options.memory.now ?? Date.now
    this.#absentTtlMs = Math.min(
      options.absentTtlMs ?? MAX_ABSENT_TTL_MS,
      MAX_ABSENT_TTL_MS,
      options.memory.ttlMs,
    )
  }

  /** From memory, else from the store; undefined when neither knows, or both know that there is none. */
  async get(key: string): Promise<Value | undefined> {
    return (await this.getMany([key])).get(key)
  }

  /** As `get`, with one read of the store for all of them. */
  async getMany(keys: readonly string[]): Promise<Map<string, Value>> {
    const held = await this.#lookUp(keys)
    const found = new Map<string, Value>()
    for (const [key, { value }] of held) if (value !== null) found.set(key, value)
    return found
  }

  /** As `get`, and asks the source when neither tier knows: once, however many wait for it. Null: there is none. */
  async fetch(key: string, load: (key: string) => Promise<Value | null>): Promise<Value | null> {
    const held = (await this.#lookUp([key])).get(key)
    if (held !== undefined) return held.value
    const underWay = this.#loading.get(key)
    if (underWay !== undefined) return underWay
    const askedAt = this.#now()
    const loading = load(key)
    this.#loading.set(key, loading)
    try {
      const value = await loading
      // Deleted or set meanwhile: what was loaded may be older than that.
      if (this.#loading.get(key) === loading) {
        this.#loading.delete(key)
        await this.#keep(new Map([[key, value]]), askedAt)
      }
      return value
    } finally {
      if (this.#loading.get(key) === loading) this.#loading.delete(key)
    }
  }

  /** `fetchedAt`: when the source was asked. Default now. */
  set(key: string, value: Value, fetchedAt: number = this.#now()): Promise<void> {
    return this.#keep(new Map([[key, value]]), fetchedAt)
  }

  setMany(values: ReadonlyMap<string, Value>, fetchedAt: number = this.#now()): Promise<void> {
    return this.#keep(values, fetchedAt)
  }

  /** The fact has changed. Gone from memory when this returns, from the store when it resolves; never rejects. */
  delete(keys: readonly string[]): Promise<void> {
    this.#forget(keys)
    return this.#change(keys, () => this.#options.store.remove(keys.map((key) => this.#sharedKey(key))))
  }

  /** Forgets what is in memory: news may have been missed. The store keeps what its own life allows. */
  flush(): void {
    this.#reading.clear()
    this.#loading.clear()
    this.#memory.clear()
  }

  stats(): TieredCacheStats {
    return {
      ...this.#memory.stats(),
      sharedHits: this.#sharedHits,
      sharedMisses: this.#sharedMisses,
      sharedErrors: this.#sharedErrors,
      isStoreAvoided: this.#isStoreAvoided,
    }
  }

  sweep(): number {
    return this.#memory.sweep()
  }

  /** Keeps nothing in memory from now on. Idempotent. */
  dispose(): void {
    this.flush()
    this.#memory.dispose()
  }

  async #lookUp(keys: readonly string[]): Promise<Map<string, Held<Value>>> {
    const found = new Map<string, Held<Value>>()
    const missing: string[] = []
    const waiting: Promise<void>[] = []
    const use = (key: string, held: Held<Value> | undefined): void => {
      if (held !== undefined) found.set(key, held)
    }
    for (const key of new Set(keys)) {
      const held = this.#memory.get(key)
      const underWay = this.#reading.get(key)
      if (held !== undefined) use(key, held)
      else if (underWay !== undefined) waiting.push(underWay.then((read) => use(key, read)))
      else missing.push(key)
    }
    if (missing.length > 0 && !this.#isStoreAvoided) {
      const reading = this.#read(missing)
      for (const key of missing) {
        const one = reading.then((facts) => facts.get(key))
        this.#reading.set(key, one)
        waiting.push(one.then((held) => this.#arrived(key, one, held)).then((held) => use(key, held)))
      }
    }
    await Promise.all(waiting)
    return found
  }

  /** What was read stays in memory, unless the key was set or deleted meanwhile. */
  #arrived(
    key: string,
    reading: Promise<Held<Value> | undefined>,
    held: Held<Value> | undefined,
  ): Held<Value> | undefined {
    if (this.#reading.get(key) !== reading) return this.#memory.peek(key)
    this.#reading.delete(key)
    if (held !== undefined) this.#remember(key, held)
    return held
  }

  /** Never rejects: what cannot be read is absent. */
  async #read(keys: readonly string[]): Promise<Map<string, Held<Value>>> {
    const held = new Map<string, Held<Value>>()
    try {
      await Promise.all(this.#changesOf(keys))
      if (this.#isStoreAvoided) return held
      const facts = await this.#inTime(this.#options.store.read(keys.map((key) => this.#sharedKey(key))))
      this.#failures = 0
      for (const key of keys) {
        const fact = facts.get(this.#sharedKey(key))
        const fresh = fact === undefined ? undefined : this.#open(fact)
        if (fresh === undefined) this.#sharedMisses++
        else this.#sharedHits++
        if (fresh !== undefined) held.set(key, fresh)
      }
    } catch (error) {
      this.#failed(error)
    }
    return held
  }

  /** A fact from the store, if it may still be used here. */
  #open(fact: SharedFact): Held<Value> | undefined {
    const now = this.#now()
    const lifeMs = fact.value === null ? this.#absentTtlMs : this.#options.memory.ttlMs
    const expiresAt = Math.min(fact.expiresAt, fact.fetchedAt + lifeMs)
    // One from the future comes from a clock that is wrong: how old it is, nobody knows.
    if (!(expiresAt > now) || !(fact.fetchedAt <= now)) return undefined
    if (fact.value === null) return { value: null, expiresAt }
    const decode = this.#options.decode ?? ((text: string): Value => JSON.parse(text) as Value)
    try {
      return { value: decode(fact.value), expiresAt }
    } catch {
      return undefined
    }
  }

  #keep(values: ReadonlyMap<string, Value | null>, fetchedAt: number): Promise<void> {
    this.#forget([...values.keys()])
    const { encode = JSON.stringify, memory, random = Math.random } = this.#options
    const facts = new Map<string, SharedFact>()
    for (const [key, value] of values) {
      const lifeMs = value === null ? this.#absentTtlMs : memory.ttlMs
      const expiresAt = fetchedAt + Math.ceil(lifeMs * (1 - JITTER * random()))
      if (expiresAt <= this.#now()) continue
      this.#remember(key, { value, expiresAt })
      facts.set(this.#sharedKey(key), { value: value === null ? null : encode(value), fetchedAt, expiresAt })
    }
    if (facts.size === 0) return Promise.resolve()
    return this.#change([...values.keys()], () => this.#options.store.write(facts))
  }

  #remember(key: string, held: Held<Value>): void {
    const ttlMs = held.expiresAt - this.#now()
    if (ttlMs > 0) this.#memory.set(key, held, { ttlMs })
  }

  #forget(keys: readonly string[]): void {
    for (const key of keys) {
      this.#reading.delete(key)
      this.#loading.delete(key)
      this.#memory.delete(key)
    }
  }

  /** After the changes of these keys that are on their way. Never rejects. */
  async #change(keys: readonly string[], change: () => Promise<void>): Promise<void> {
    const before = this.#changesOf(keys)
    const run = async (): Promise<void> => {
      await Promise.all(before)
      if (this.#now() < this.#pausedUntil) {
        this.#distrust()
        return
      }
      try {
        await this.#inTime(change())
        this.#failures = 0
      } catch (error) {
        this.#distrust()
        this.#failed(error)
      }
    }
    const changing = run()
    for (const key of keys) this.#changing.set(key, changing)
    await changing
    for (const key of keys) if (this.#changing.get(key) === changing) this.#changing.delete(key)
  }

  #changesOf(keys: readonly string[]): Promise<void>[] {
    return keys.map((key) => this.#changing.get(key)).filter((one) => one !== undefined)
  }

  get #isStoreAvoided(): boolean {
    return this.#now() < Math.max(this.#pausedUntil, this.#distrustedUntil)
  }

  /** The store missed a change. Whatever it holds now has expired after one life. */
  #distrust(): void {
    this.#distrustedUntil = this.#now() + this.#options.memory.ttlMs
  }

  #failed(error: unknown): void {
    this.#sharedErrors++
    this.#failures++
    if (this.#failures >= MAX_FAILURES) this.#pausedUntil = this.#now() + PAUSE_MS
    this.#options.onError?.(error)
  }

  async #inTime<T>(work: Promise<T>): Promise<T> {
    const deadlineMs = this.#options.deadlineMs ?? DEADLINE_MS
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = (this.#options.setTimer ?? unrefTimer)(deadlineMs, () =>
      reject(new Error(`the shared store did not answer within ${deadlineMs} ms`)),
    )
    try {
      return await Promise.race([work, late])
    } finally {
      timer.cancel()
    }
  }

  #sharedKey(key: string): string {
    return this.#options.prefix + key
  }
}
