import { createHmac } from 'node:crypto'
import { type Clock, EclusaError, type TenantId } from '@eclusa/kernel'
import { type Statement, storageErrors } from '@eclusa/storage'
import type { AuditEntry, AuditStore, ChainedEntry, ChainEnd } from './audit-store.ts'

/** Makes the statement that adds one entry; call it as often as there are entries, in the order of the statements. */
export type AddEntry = (entry: AuditEntry) => Statement

/** What a walk over the chain found. */
export interface ChainReport {
  readonly entryCount: number
  /** The first entry that is not as it was written, or does not follow the one before; null: all are right. */
  readonly brokenAt: number | null
}

const FIRST_HASH = new Uint8Array(32)
/** Rows of one step, of a walk or of the sweep: a few milliseconds of the connection. */
const STEP = 500
/** Another process may have added to the chain meanwhile, each time. */
const MAX_TRIES = 5

/**
 * What was done by whom, as a chain of rows on disk. Each row's HMAC covers its own words and the hash before, under a
 * key that is sealed: whoever has only the database can make no other row look right. One entry is added after the other,
 * those that wait together in one commit.
 */
export class AuditLog {
  readonly #store: AuditStore
  readonly #clock: Clock
  readonly #key: Uint8Array
  // bounded by: the requests under way, each waits for its own
  #waiting: { readonly entry: AuditEntry; readonly done: (error?: unknown) => void }[] = []
  #turn: Promise<unknown> = Promise.resolve()
  /** The newest entry; undefined when the table must be asked. */
  #end: ChainEnd | undefined

  constructor(options: { readonly store: AuditStore; readonly clock: Clock; readonly key: Uint8Array }) {
    this.#store = options.store
    this.#clock = options.clock
    this.#key = options.key
  }

  /** Resolves when the entry is on disk: then the act may begin. */
  record(entry: AuditEntry): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ entry, done: (error) => (error === undefined ? resolve() : reject(error)) })
    if (this.#waiting.length === 1) void this.#inTurn(() => this.#drain())
    return promise
  }

  /**
   * For acts that are statements themselves: `work` puts what `add` makes into the same unit as the act, so that neither
   * is stored without the other. It may be called again when another process added to the chain meanwhile.
   */
  together<T>(work: (add: AddEntry) => Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      try {
        return await this.#chained(work)
      } finally {
        // Whether the unit was stored is the caller's to know (an answer that is replayed stores nothing).
        this.#end = undefined
      }
    })
  }

  /** The same for statements that are known beforehand. */
  write(statements: readonly Statement[], entry: AuditEntry): Promise<void> {
    return this.together((add) => this.#store.write([...statements, add(entry)]))
  }

  /** Newest first; `tenant` sees its own only. */
  list(options: {
    readonly before: number
    readonly limit: number
    readonly tenant?: TenantId | undefined
  }): Promise<readonly ChainedEntry[]> {
    return this.#store.list(options)
  }

  /** Walks the whole chain, a step at a time. */
  async verify(signal?: AbortSignal): Promise<ChainReport> {
    let end = (await this.#store.anchor()) ?? { seq: 0, hash: FIRST_HASH }
    for (let entryCount = 0; ;) {
      const step = await this.#store.after(end.seq, STEP)
      for (const entry of step) {
        const isNext = entry.seq === end.seq + 1 && same(entry.previousHash, end.hash)
        if (!isNext || !same(entry.hash, this.#hashOf(entry))) return { entryCount, brokenAt: entry.seq }
        end = entry
        entryCount++
      }
      if (step.length < STEP || signal?.aborted === true) return { entryCount, brokenAt: null }
    }
  }

  /** Deletes entries older than `keepForMs`, a step at a time; returns how many. */
  async sweep(keepForMs: number): Promise<number> {
    const before = this.#clock.now() - keepForMs
    for (let swept = 0; ;) {
      const count = await this.#store.sweepStep(before, STEP)
      swept += count
      if (count < STEP) return swept
    }
  }

  async #drain(): Promise<void> {
    // Those that come while it is written are the next commit.
    const taken = this.#waiting
    this.#waiting = []
    try {
      await this.#chained((add) => this.#store.write(taken.map(({ entry }) => add(entry))))
      for (const { done } of taken) done()
    } catch (error) {
      for (const { done } of taken) done(error)
    }
  }

  async #chained<T>(work: (add: AddEntry) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      let end = this.#end ?? (await this.#store.end()) ?? { seq: 0, hash: FIRST_HASH }
      this.#end = undefined
      const began = end.seq
      try {
        const result = await work((entry) => {
          const link = this.#linked(entry, end)
          end = link
          return this.#store.insertion(link)
        })
        this.#end = end
        return result
      } catch (error) {
        const isConflict = error instanceof EclusaError && error.code === storageErrors.CONFLICT.code
        if (!isConflict || tries === MAX_TRIES) throw error
        // When nobody added to the chain, it was the act's own.
        if (((await this.#store.end())?.seq ?? 0) === began) throw error
      }
    }
  }

  #linked(entry: AuditEntry, { seq, hash: previousHash }: ChainEnd): ChainedEntry {
    const link = { ...entry, seq: seq + 1, at: this.#clock.now(), previousHash }
    return { ...link, hash: this.#hashOf(link) }
  }

  #hashOf(link: Omit<ChainedEntry, 'hash'>): Uint8Array {
    const { seq, at, tenant, keyId, person, addressHash, requestId, action, outcome } = link
    const { object, before, after, previousHash } = link
    const words = [
      seq,
      at,
      tenant,
      keyId,
      person,
      addressHash,
      requestId,
      action,
      outcome,
      object,
      before,
      after,
    ]
    return createHmac('sha256', this.#key).update(previousHash).update(JSON.stringify(words)).digest()
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work)
    this.#turn = mine.catch(() => undefined)
    return mine
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
