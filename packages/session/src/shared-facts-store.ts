import type { SharedFact, SharedStore } from '@eclusa/bounded-cache'
import { type Clock, type InstanceId, MINUTE, type TenantId } from '@eclusa/kernel'
import type { Database, Sealer, WriteOptions } from '@eclusa/storage'

/** Ids of one `SELECT`; asks are padded to a power of two so that few statements are prepared. */
const MAX_KEYS_PER_READ = 256
const SWEEP_EVERY_MS = 5 * MINUTE
const SWEEP_STEP = 1_000

/**
 * The tier behind a session's caches of facts that it would else ask WhatsApp for again: in the database, sealed, by
 * instance. It outlives a connection and a process, and whoever runs the instance next finds it. Never shared between
 * instances: WhatsApp tells of changes only to who has asked.
 */
export class SharedFacts {
  readonly #database: Database
  readonly #sealer: Sealer
  readonly #clock: Clock
  readonly #tenantOf: (instance: InstanceId) => TenantId
  #sweptAt = -Infinity

  constructor(options: {
    readonly database: Database
    readonly sealer: Sealer
    readonly clock: Clock
    readonly tenantOf: (instance: InstanceId) => TenantId
  }) {
    this.#database = options.database
    this.#sealer = options.sealer
    this.#clock = options.clock
    this.#tenantOf = options.tenantOf
  }

  of(instance: InstanceId): SharedStore {
    return {
      read: (keys) => this.#read(instance, keys),
      write: (facts) => this.#write(instance, facts),
      remove: (keys) => this.#remove(instance, keys),
    }
  }

  /** Deletes all facts of an instance. */
  async forget(instance: InstanceId): Promise<void> {
    await this.#database.write(
      [{ sql: 'DELETE FROM "SharedFact" WHERE instance = ?', params: [instance] }],
      factsOf(instance),
    )
  }

  /** Deletes what has expired, 1,000 at a time; returns how many. Does nothing within 5 min of the last time. */
  async sweep(): Promise<number> {
    const now = this.#clock.now()
    if (now - this.#sweptAt < SWEEP_EVERY_MS) return 0
    this.#sweptAt = now
    for (let sweptCount = 0; ;) {
      const [result] = await this.#database.write([
        {
          sql:
            'DELETE FROM "SharedFact" WHERE (instance, key) IN ' +
            '(SELECT instance, key FROM "SharedFact" WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)',
          params: [now, SWEEP_STEP],
        },
      ])
      const changes = result?.changes ?? 0
      sweptCount += changes
      if (changes < SWEEP_STEP) return sweptCount
    }
  }

  async #read(instance: InstanceId, keys: readonly string[]): Promise<Map<string, SharedFact>> {
    const found = new Map<string, SharedFact>()
    for (let from = 0; from < keys.length; from += MAX_KEYS_PER_READ) {
      const asked = padToPowerOfTwo(keys.slice(from, from + MAX_KEYS_PER_READ))
      const rows = await this.#database.read(
        'SELECT key, sealed, fetched_at, expires_at FROM "SharedFact" ' +
          `WHERE instance = ? AND key IN (${asked.map(() => '?').join(', ')})`,
        [instance, ...asked],
      )
      await this.#sealer.know(rows.map((row) => row['sealed']))
      for (const row of rows) {
        const key = String(row['key'])
        const sealed = row['sealed'] as Uint8Array
        const opened = this.#sealer.open(sealed, context(instance, key), this.#tenantOf(instance))
        found.set(key, {
          value: JSON.parse(Buffer.from(opened).toString('utf8')) as string | null,
          fetchedAt: Number(row['fetched_at']),
          expiresAt: Number(row['expires_at']),
        })
      }
    }
    return found
  }

  async #write(instance: InstanceId, facts: ReadonlyMap<string, SharedFact>): Promise<void> {
    await this.#database.write(
      [...facts].map(([key, { value, fetchedAt, expiresAt }]) => ({
        sql:
          'INSERT INTO "SharedFact" (instance, key, sealed, fetched_at, expires_at) VALUES (?, ?, ?, ?, ?) ' +
          'ON CONFLICT (instance, key) DO UPDATE SET sealed = excluded.sealed, fetched_at = excluded.fetched_at, ' +
          'expires_at = excluded.expires_at WHERE excluded.fetched_at >= "SharedFact".fetched_at',
        params: [
          instance,
          key,
          this.#sealer.seal(
            Buffer.from(JSON.stringify(value), 'utf8'),
            context(instance, key),
            this.#tenantOf(instance),
          ),
          fetchedAt,
          expiresAt,
        ],
      })),
      factsOf(instance),
    )
  }

  async #remove(instance: InstanceId, keys: readonly string[]): Promise<void> {
    await this.#database.write(
      keys.map((key) => ({
        sql: 'DELETE FROM "SharedFact" WHERE instance = ? AND key = ?',
        params: [instance, key],
      })),
      factsOf(instance),
    )
  }
}

/** Written by the instance's owner alone: WhatsApp tells nobody else when they change. */
function factsOf(instance: InstanceId): WriteOptions {
  return { instance, rows: `facts|${instance}` }
}

function context(instance: InstanceId, key: string): string {
  return `SharedFact|${instance}|${key}`
}

function padToPowerOfTwo(keys: readonly string[]): readonly string[] {
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, keys.length)))
  const last = keys.at(-1)
  return last === undefined ? keys : [...keys, ...Array.from({ length: wanted - keys.length }, () => last)]
}
