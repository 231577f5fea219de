import type { ChatId, Clock, InstanceId, TenantId } from '@eclusa/kernel'
import type {
  Database,
  SealedPlace,
  SealedTable,
  Sealer,
  SqlValue,
  Statement,
  WriteOptions,
} from '@eclusa/storage'

/** One Signal key to write; `null` deletes it. `value` is JSON. */
export interface KeyChange {
  readonly type: string
  readonly id: string
  readonly value: string | null
}

/** Ids of one `SELECT`; asks are padded to a power of two so that few statements are prepared. */
const MAX_IDS_PER_READ = 256

/** Credentials and Signal keys on disk, sealed; every write is durable when it resolves. */
export class AuthStore {
  readonly #database: Database
  readonly #sealer: Sealer
  readonly #clock: Clock
  readonly #tenantOf: (instance: InstanceId) => TenantId
  readonly #numbersLearnt: ((instance: InstanceId, lids: readonly ChatId[]) => void) | undefined

  constructor(options: {
    readonly database: Database
    readonly sealer: Sealer
    readonly clock: Clock
    readonly tenantOf: (instance: InstanceId) => TenantId
    /** Is told of LIDs whose number is known from now on. */
    readonly numbersLearnt?: (instance: InstanceId, lids: readonly ChatId[]) => void
  }) {
    this.#numbersLearnt = options.numbersLearnt
    this.#database = options.database
    this.#sealer = options.sealer
    this.#clock = options.clock
    this.#tenantOf = options.tenantOf
  }

  /** The credentials as JSON, or undefined for an instance that was never linked. */
  async loadCredentials(instance: InstanceId): Promise<string | undefined> {
    const [row] = await this.#database.read('SELECT sealed FROM "Credential" WHERE instance = ?', [instance])
    if (row === undefined) return undefined
    await this.#sealer.know([row['sealed']])
    return this.#open(instance, row['sealed'], credentialContext(instance))
  }

  async saveCredentials(instance: InstanceId, json: string): Promise<void> {
    const sealed = this.#seal(instance, json, credentialContext(instance))
    await this.#database.write(
      [
        {
          sql:
            'INSERT INTO "Credential" (instance, sealed, updated_at) VALUES (?, ?, ?) ' +
            'ON CONFLICT (instance) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at',
          params: [instance, sealed, this.#clock.now()],
        },
      ],
      rowsOf(instance),
    )
  }

  /** The values found, as JSON by id. */
  async readKeys(instance: InstanceId, type: string, ids: readonly string[]): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    for (let from = 0; from < ids.length; from += MAX_IDS_PER_READ) {
      const asked = padToPowerOfTwo(ids.slice(from, from + MAX_IDS_PER_READ))
      const marks = asked.map(() => '?').join(', ')
      const rows = await this.#database.read(
        `SELECT id, sealed FROM "SignalKey" WHERE instance = ? AND type = ? AND id IN (${marks})`,
        [instance, type, ...asked],
      )
      await this.#sealer.know(rows.map((row) => row['sealed']))
      for (const row of rows) {
        const id = String(row['id'])
        found.set(id, this.#open(instance, row['sealed'], keyContext(instance, type, id)))
      }
    }
    return found
  }

  /** Writes keys and whatever else must commit together with them: rows of the same instance, and events. */
  async writeKeys(
    instance: InstanceId,
    changes: readonly KeyChange[],
    together: readonly Statement[] = [],
  ): Promise<void> {
    const statements = changes.map(({ type, id, value }): Statement => {
      if (value === null) {
        return {
          sql: 'DELETE FROM "SignalKey" WHERE instance = ? AND type = ? AND id = ?',
          params: [instance, type, id],
        }
      }
      return {
        sql:
          'INSERT INTO "SignalKey" (instance, type, id, sealed) VALUES (?, ?, ?, ?) ' +
          'ON CONFLICT (instance, type, id) DO UPDATE SET sealed = excluded.sealed',
        params: [instance, type, id, this.#seal(instance, value, keyContext(instance, type, id))],
      }
    })
    await this.#database.write([...statements, ...together], rowsOf(instance))
    const lids = lidsOf(changes)
    if (lids.length > 0) this.#numbersLearnt?.(instance, lids)
  }

  /** Deletes every key and the credentials of an instance. */
  async forget(instance: InstanceId): Promise<void> {
    await this.#database.write(
      [
        { sql: 'DELETE FROM "Credential" WHERE instance = ?', params: [instance] },
        { sql: 'DELETE FROM "SignalKey" WHERE instance = ?', params: [instance] },
      ],
      rowsOf(instance),
    )
  }

  #seal(instance: InstanceId, text: string, context: string): Uint8Array {
    return this.#sealer.seal(Buffer.from(text, 'utf8'), context, this.#tenantOf(instance))
  }

  #open(instance: InstanceId, sealed: SqlValue | undefined, context: string): string {
    const plain = this.#sealer.open(sealed as Uint8Array, context, this.#tenantOf(instance))
    return Buffer.from(plain).toString('utf8')
  }
}

/** Keys and inbound messages of an instance are written by its owner alone, and touched by no one else. */
export function rowsOf(instance: InstanceId): WriteOptions {
  return { instance, rows: `session|${instance}` }
}

/** LIDs that got a number: as the engine keeps its pairs. */
function lidsOf(changes: readonly KeyChange[]): readonly ChatId[] {
  return changes.flatMap(({ type, id, value }) =>
    type === 'lid-mapping' && value !== null && id.endsWith('_reverse')
      ? [`${id.slice(0, -'_reverse'.length)}@lid` as ChatId]
      : [],
  )
}

function credentialContext(instance: InstanceId): string {
  return `Credential|${instance}`
}

function keyContext(instance: InstanceId, type: string, id: string): string {
  return `SignalKey|${instance}|${type}|${id}`
}

function padToPowerOfTwo(ids: readonly string[]): readonly string[] {
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, ids.length)))
  const last = ids.at(-1)
  return last === undefined ? ids : [...ids, ...Array.from({ length: wanted - ids.length }, () => last)]
}

/** `tenantOf`: undefined for an instance that is gone. */
export function authSealedTables(
  tenantOf: (instance: InstanceId) => TenantId | undefined,
): readonly SealedTable[] {
  const place = (instance: InstanceId, context: string): SealedPlace | null => {
    const tenant = tenantOf(instance)
    return tenant === undefined ? null : { tenant, context }
  }
  return [
    {
      table: 'Credential',
      column: 'sealed',
      key: ['instance'],
      start: [''],
      page: 'SELECT instance, sealed FROM "Credential" WHERE instance > ? ORDER BY instance LIMIT ?',
      placeOf(row) {
        const instance = row['instance'] as InstanceId
        return place(instance, credentialContext(instance))
      },
    },
    {
      table: 'SignalKey',
      column: 'sealed',
      key: ['instance', 'type', 'id'],
      start: ['', '', ''],
      page:
        'SELECT instance, type, id, sealed FROM "SignalKey" WHERE (instance, type, id) > (?, ?, ?) ' +
        'ORDER BY instance, type, id LIMIT ?',
      placeOf(row) {
        const instance = row['instance'] as InstanceId
        return place(instance, keyContext(instance, String(row['type']), String(row['id'])))
      },
    },
  ]
}
