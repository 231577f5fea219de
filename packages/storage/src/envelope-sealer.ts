import { randomBytes } from 'node:crypto'
import { type Clock, EclusaError, OPERATORS, Places, type TenantId } from '@eclusa/kernel'
import { AesKey, KEY_BYTES } from './aes-key.ts'
import { type DataKeyCounts, type DataKeyRow, DataKeyStore, MASTER_CHECK } from './data-key-store.ts'
import type { Database, Statement } from './database.ts'
import { storageErrors } from './errors.ts'
import {
  dropNextKey,
  makeMasterKey,
  type MasterKeySource,
  parseMasterKey,
  readKeyFiles,
  useNextKey,
  writeKeyFile,
  writeNextKey,
} from './master-key.ts'
import type { Sealer } from './sealer.ts'

/*
 * Envelope encryption. A value is sealed with a data key of its tenant, the data key lies in the database wrapped by the
 * master key, and the master key lies elsewhere.
 *
 *   2 ‖ id of the data key (4 bytes) ‖ IV ‖ ciphertext ‖ tag     authenticated with it: tenant | table | row
 *   1 ‖                                IV ‖ ciphertext ‖ tag     as it was before: by the master key itself, now key 0
 *
 * Keys are random and may be many per tenant, so nobody has to agree with other processes on one: each seals with the
 * newest it knows, and every value names its key.
 */
const VERSION = 2
const HEAD_BYTES = 5
/** Values of before: one byte, no key. */
const OLD_VERSION = 1
const OLD_HEAD = Uint8Array.of(OLD_VERSION)
const OLD_KEY = 0

/** Keys in memory: of every tenant the one it seals with, and those that were needed to open. */
export const MAX_KNOWN_KEYS = 4000
/** A random IV of 96 bits is good for 2^32 values of one key. */
const MAX_USES: number = 2 ** 31
/** Seals counted in memory before they are counted on disk: a crash forgets fewer. */
const COUNT_STEP = 2 ** 20
const IDS_PER_READ = 64

interface DataKey {
  readonly id: number
  readonly tenant: TenantId
  readonly key: AesKey
  readonly head: Uint8Array
  /** Since the last time they were counted on disk. */
  uses: number
}

export interface SealerOptions {
  readonly database: Database
  readonly clock: Clock
  readonly master: MasterKeySource
  /** Another master key that is accepted: the one of before, or the next, while processes change over. */
  readonly other?: MasterKeySource | undefined
}

/**
 * The sealer of this database. A key file is made when both it and the database are new; for a database that has sealed
 * before, the master key must be there and right. It is never made again.
 * @throws STORAGE_WRONG_KEY
 */
export async function openSealer(options: SealerOptions): Promise<EnvelopeSealer> {
  const { database, clock, master } = options
  const store = new DataKeyStore(database)
  const masters = await settleMasters(store, options)
  const sealer = new EnvelopeSealer({ store, clock, masters, source: master, dialect: database.dialect })
  await sealer.start()
  return sealer
}

interface Masters {
  readonly primary: AesKey
  // By fingerprint, the primary one too. bounded by: two
  readonly all: ReadonlyMap<string, AesKey>
}

export class EnvelopeSealer implements Sealer {
  readonly #store: DataKeyStore
  readonly #clock: Clock
  readonly #source: MasterKeySource
  readonly #dialect: Database['dialect']
  /** One at a time wraps with the master key: what is wrapped beside a change of it would be lost with the old one. */
  readonly #wrapping = new Places(1)
  #masters: Masters
  // By id, the longest unused first. bounded by: MAX_KNOWN_KEYS
  readonly #keys = new Map<number, DataKey>()
  // What each tenant seals with; null: its keys were destroyed. bounded by: MAX_KNOWN_KEYS
  readonly #current = new Map<TenantId, DataKey | null>()
  // Tenants whose key is being made. bounded by: callers of prepare
  readonly #preparing = new Map<TenantId, Promise<void>>()
  #strayCount = 0

  constructor(options: {
    readonly store: DataKeyStore
    readonly clock: Clock
    readonly masters: Masters
    readonly source: MasterKeySource
    readonly dialect: Database['dialect']
  }) {
    this.#store = options.store
    this.#clock = options.clock
    this.#masters = options.masters
    this.#source = options.source
    this.#dialect = options.dialect
  }

  /** Values that were sealed with the installation's key because their tenant had none yet, since the last round. */
  get strayCount(): number {
    return this.#strayCount
  }

  seal(plain: Uint8Array, context: string, tenant: TenantId): Uint8Array {
    let key = this.#current.get(tenant)
    if (key === undefined) key = this.#stray(tenant)
    if (key === null) throw destroyed()
    key.uses++
    return key.key.seal(key.head, plain, boundTo(tenant, context))
  }

  open(sealed: Uint8Array, context: string, tenant: TenantId): Uint8Array {
    const key = this.#keys.get(keyIdOf(sealed) ?? -1)
    if (key === undefined) throw new EclusaError(storageErrors.SEAL_BROKEN)
    if (key.id === OLD_KEY) return key.key.open(OLD_HEAD.byteLength, sealed, context)
    if (key.tenant !== tenant && key.tenant !== OPERATORS) throw new EclusaError(storageErrors.SEAL_BROKEN)
    return key.key.open(HEAD_BYTES, sealed, boundTo(tenant, context))
  }

  async know(values: Iterable<unknown>): Promise<void> {
    let missing: Set<number> | undefined
    for (const value of values) {
      if (!(value instanceof Uint8Array)) continue
      const id = keyIdOf(value)
      if (id !== undefined && !this.#keys.has(id)) (missing ??= new Set()).add(id)
    }
    if (missing === undefined) return
    const ids = [...missing]
    for (let from = 0; from < ids.length; from += IDS_PER_READ) {
      // Padded, so that few statements are prepared.
      const asked = Array.from({ length: IDS_PER_READ }, (_, at) => ids[from + at] ?? -1)
      for (const row of await this.#store.byId(asked)) if (row.wrapped !== null) this.#learn(row)
    }
  }

  /**
   * A tenant has a key of its own from now on; call it before anything of the tenant is sealed. A tenant whose keys were
   * destroyed begins anew.
   */
  prepare(tenant: TenantId): Promise<void> | undefined {
    const current = this.#current.get(tenant)
    if (current !== undefined && current !== null) return undefined
    let preparing = this.#preparing.get(tenant)
    if (preparing === undefined) {
      preparing = this.#prepare(tenant).finally(() => this.#preparing.delete(tenant))
      this.#preparing.set(tenant, preparing)
    }
    return preparing
  }

  /** As `prepare`, but a tenant whose keys were destroyed stays without. */
  prepareUnlessDestroyed(tenant: TenantId): Promise<void> | undefined {
    return this.#current.get(tenant) === null ? undefined : this.prepare(tenant)
  }

  /**
   * Whatever was sealed for a tenant can never be opened again, wherever copies of it lie that were made without its
   * keys; other processes of the installation follow within a minute. Nothing is sealed for it until `prepare`.
   */
  async destroyKey(tenant: TenantId): Promise<void> {
    if (tenant === OPERATORS) throw new RangeError('the installation itself keeps its key')
    await this.#preparing.get(tenant)
    this.#setCurrent(tenant, null)
    await this.#store.write([this.#store.destroy(tenant, this.#clock.now())])
    for (const [id, key] of this.#keys) if (key.tenant === tenant) this.#keys.delete(id)
  }

  /** True when a stored value should be sealed anew: it is of before, or its key is not the tenant's current one. */
  isStale(value: Uint8Array, tenant: TenantId): boolean {
    const current = this.#current.get(tenant)
    if (current === null) return false
    const id = keyIdOf(value)
    return id !== undefined && id !== current?.id
  }

  /** A new key for each tenant whose own was made before this, or has sealed often; returns how many, up to 100. */
  async rotateDataKeys(madeBefore: number): Promise<number> {
    const due = await this.#store.due(madeBefore, MAX_USES)
    for (const tenant of new Set(due.map((row) => row.tenant))) await this.#replace(tenant)
    return due.length
  }

  /**
   * Another master key wraps every data key from now on, and stands in the key file. Nothing else is sealed anew.
   * @throws STORAGE_KEY_NOT_OURS when the master key comes from the environment, or other processes have it too
   */
  rotateMasterKey(): Promise<void> {
    return this.#wrapping.run(() => this.#changeMasterKey())
  }

  async #changeMasterKey(): Promise<void> {
    const source = this.#source
    if (!('file' in source) || this.#dialect !== 'sqlite') throw new EclusaError(storageErrors.KEY_NOT_OURS)
    const next = makeMasterKey()
    writeNextKey(source.file, next)
    try {
      await rewrapAll(this.#store, {
        primary: next,
        all: new Map([...this.#masters.all, [next.fingerprint(), next]]),
      })
    } catch (error) {
      // What of it is on disk only the next start can tell, if this process does not: both keys stay.
      if (!(error instanceof EclusaError && error.code === storageErrors.OUTCOME_UNKNOWN.code)) {
        dropNextKey(source.file)
      }
      throw error
    }
    useNextKey(source.file)
    this.#masters = { primary: next, all: new Map([[next.fingerprint(), next]]) }
  }

  /** Reads again which keys are in use, as other processes change them, and counts on disk. */
  async refresh(): Promise<void> {
    for (const key of this.#keys.values()) {
      if (key.uses < COUNT_STEP) continue
      const { uses } = key
      key.uses = 0
      await this.#store.write([this.#store.addUses(key.id, uses)])
    }
    if (this.#dialect === 'sqlite') return
    const inUse = await this.#newest()
    for (const [tenant, key] of this.#current) {
      const row = inUse.get(tenant)
      if (row !== undefined) {
        if (row.id !== key?.id) this.#setCurrent(tenant, this.#learn(row))
      } else if (key !== null && (await this.#store.hasDestroyed(tenant))) {
        this.#setCurrent(tenant, null)
        for (const [id, known] of this.#keys) if (known.tenant === tenant) this.#keys.delete(id)
      }
    }
  }

  counts(): Promise<DataKeyCounts> {
    return this.#store.counts()
  }

  /** Counters of what is sealed anew begin again. */
  forgetStrays(): void {
    this.#strayCount = 0
  }

  /** Keys in memory, and the installation's own. */
  async start(): Promise<void> {
    const [old] = await this.#store.byId([OLD_KEY])
    if (old !== undefined && old.wrapped !== null) this.#learn(old)
    for (const [tenant, row] of await this.#newest()) this.#setCurrent(tenant, this.#learn(row))
    await this.prepare(OPERATORS)
  }

  /** What each tenant seals with, of up to MAX_KNOWN_KEYS; two processes may have made one at the same time. */
  async #newest(): Promise<ReadonlyMap<TenantId, DataKeyRow>> {
    // bounded by: MAX_KNOWN_KEYS
    const newest = new Map<TenantId, DataKeyRow>()
    for (let after = -1; newest.size < MAX_KNOWN_KEYS;) {
      const rows = await this.#store.inUse(after)
      const last = rows.at(-1)
      if (last === undefined) break
      for (const row of rows) {
        const other = newest.get(row.tenant)
        if (other === undefined || other.createdAt <= row.createdAt) newest.set(row.tenant, row)
      }
      after = last.id
    }
    return newest
  }

  async #prepare(tenant: TenantId): Promise<void> {
    const row = await this.#store.newestOf(tenant)
    if (row !== undefined) this.#setCurrent(tenant, this.#learn(row))
    else await this.#replace(tenant)
  }

  #replace(tenant: TenantId): Promise<void> {
    return this.#wrapping.run(() => this.#makeKey(tenant))
  }

  async #makeKey(tenant: TenantId): Promise<void> {
    const now = this.#clock.now()
    const key = new AesKey(randomBytes(KEY_BYTES))
    for (;;) {
      // Never 0, which is the key of before.
      const id = 1 + (randomBytes(4).readUInt32BE() % 0xff_ff_ff_ff)
      const row = wrapped({ id, tenant, key, now, master: this.#masters.primary })
      try {
        await this.#store.write([this.#store.insert(row), this.#store.retire(tenant, id, now)])
      } catch (error) {
        if (error instanceof EclusaError && error.code === storageErrors.CONFLICT.code) continue
        throw error
      }
      this.#setCurrent(tenant, this.#learn(row))
      return
    }
  }

  /** Sealed nevertheless: the installation's key does it until the next pass over what is sealed. */
  #stray(tenant: TenantId): DataKey | null {
    this.#strayCount++
    // Its failure shows when somebody waits for it.
    this.prepare(tenant)?.catch(() => undefined)
    return this.#current.get(OPERATORS) ?? null
  }

  #setCurrent(tenant: TenantId, key: DataKey | null): void {
    this.#current.delete(tenant)
    this.#current.set(tenant, key)
    if (this.#current.size <= MAX_KNOWN_KEYS) return
    for (const oldest of this.#current.keys()) {
      if (oldest === OPERATORS) continue
      this.#current.delete(oldest)
      return
    }
  }

  /** @throws STORAGE_WRONG_KEY */
  #learn(row: DataKeyRow): DataKey {
    const known = this.#keys.get(row.id)
    if (known !== undefined) return known
    const master = this.#masters.all.get(row.master)
    if (master === undefined || row.wrapped === null) {
      throw new EclusaError(storageErrors.WRONG_KEY, {
        message:
          'A data key was wrapped by a master key that this process does not have: another process changed it; ' +
          'give this one the same, and start it again',
      })
    }
    const key: DataKey = {
      id: row.id,
      tenant: row.tenant,
      key: unwrapped(row, master),
      head: headOf(row.id),
      uses: 0,
    }
    this.#keys.set(row.id, key)
    if (this.#keys.size > MAX_KNOWN_KEYS) this.#forgetOldest()
    return key
  }

  #forgetOldest(): void {
    for (const [id, key] of this.#keys) {
      if (id === OLD_KEY || key.tenant === OPERATORS || id === this.#current.get(key.tenant)?.id) continue
      this.#keys.delete(id)
      return
    }
    // All are in use: the first is read again when it is needed.
    for (const [id, key] of this.#keys) {
      if (id === OLD_KEY || key.tenant === OPERATORS) continue
      this.#keys.delete(id)
      this.#current.delete(key.tenant)
      return
    }
  }
}

/** The master keys, with the database wrapped by the primary one. */
async function settleMasters(store: DataKeyStore, options: SealerOptions): Promise<Masters> {
  const { master: source, other: otherSource, clock } = options
  const check = await store.check()
  const own = keysOf(source)
  const other = otherSource === undefined ? undefined : keysOf(otherSource).key
  if (check === undefined) {
    const primary = own.key ?? makeOwn(source)
    await store.write([store.insertCheck(primary.seal(OLD_HEAD, MASTER_CHECK.plain, MASTER_CHECK.context))])
    return { primary, all: new Map([[primary.fingerprint(), primary]]) }
  }
  // The next one: a rotation that the database has, and the file has not.
  const right = [own.key, own.next, other].find((key) => key !== undefined && opens(key, check))
  if (right === undefined) throw wrongKey(source, own.key !== undefined)
  if ('file' in source && own.next !== undefined) {
    if (right === own.next) useNextKey(source.file)
    else dropNextKey(source.file)
  }
  const primary = right === own.next ? right : (own.key ?? right)
  const masters = {
    primary,
    all: new Map([primary, right, ...(other ? [other] : [])].map((key) => [key.fingerprint(), key])),
  }
  // Sealed by the master key itself, before there were data keys.
  const [old] = await store.byId([OLD_KEY])
  const newest = await store.inUse(-1)
  if (old === undefined && newest.length === 0) {
    const now = clock.now()
    await store.write([
      store.insert({
        ...wrapped({ id: OLD_KEY, tenant: OPERATORS, key: right, now, master: right }),
        retiredAt: now,
      }),
    ])
  }
  if (primary !== right) await rewrapAll(store, masters)
  return masters
}

/** Every data key wrapped by the primary master key, and the check with it, in one commit. */
async function rewrapAll(store: DataKeyStore, { primary, all }: Masters): Promise<void> {
  const statements: Statement[] = []
  for (let after = -1; ;) {
    const rows = await store.wrappedByOthers(primary.fingerprint(), after)
    const last = rows.at(-1)
    if (last === undefined) break
    for (const row of rows) {
      const master = all.get(row.master)
      if (master === undefined) throw new EclusaError(storageErrors.WRONG_KEY)
      const again = wrapped({
        id: row.id,
        tenant: row.tenant,
        key: unwrapped(row, master),
        now: row.createdAt,
        master: primary,
      })
      statements.push(store.rewrap(row.id, row.master, again.wrapped, again.master))
    }
    after = last.id
  }
  statements.push(store.updateCheck(primary.seal(OLD_HEAD, MASTER_CHECK.plain, MASTER_CHECK.context)))
  await store.write(statements)
}

function keysOf(source: MasterKeySource): { readonly key?: AesKey; readonly next?: AesKey } {
  if ('file' in source) return readKeyFiles(source.file)
  const key = parseMasterKey(source.text)
  if (key === undefined) {
    throw new EclusaError(storageErrors.WRONG_KEY, {
      message:
        `${source.from} is not a master key: it is 32 random bytes in base 64, as "openssl rand -base64 32" makes ` +
        'them, or the line of a key file',
    })
  }
  return { key }
}

function makeOwn(source: MasterKeySource): AesKey {
  const key = makeMasterKey()
  if (!('file' in source)) return key
  try {
    writeKeyFile(source.file, key)
  } catch (cause) {
    throw new EclusaError(storageErrors.WRONG_KEY, {
      message:
        `The key file ${source.file} cannot be made: make its folder writable, or set ECLUSA_MASTER_KEY ` +
        '(under ECLUSA_PERMISSIONS=on it cannot: start once without)',
      cause,
    })
  }
  return key
}

function opens(key: AesKey, check: Uint8Array): boolean {
  try {
    key.open(OLD_HEAD.byteLength, check, MASTER_CHECK.context)
    return true
  } catch {
    return false
  }
}

function wrongKey(source: MasterKeySource, isThere: boolean): EclusaError {
  const message =
    'file' in source
      ? isThere
        ? `The key file ${source.file} does not open this database; put back the one that belongs to it`
        : `The key file ${source.file} is missing; put back the one that belongs to this database`
      : `${source.from} does not open this database; set the master key that belongs to it, or, when you change it, ` +
        'the one of before as ECLUSA_MASTER_KEY_OTHER'
  return new EclusaError(storageErrors.WRONG_KEY, { message })
}

function wrapped(options: {
  readonly id: number
  readonly tenant: TenantId
  readonly key: AesKey
  readonly now: number
  readonly master: AesKey
}): DataKeyRow & { readonly wrapped: Uint8Array } {
  const { id, tenant, key, now, master } = options
  return {
    id,
    tenant,
    wrapped: master.seal(OLD_HEAD, key.bytes(), wrapContext(id, tenant)),
    master: master.fingerprint(),
    createdAt: now,
    retiredAt: null,
  }
}

function unwrapped({ id, tenant, wrapped: bytes }: DataKeyRow, master: AesKey): AesKey {
  if (bytes === null) throw destroyed()
  return new AesKey(master.open(OLD_HEAD.byteLength, bytes, wrapContext(id, tenant)))
}

function wrapContext(id: number, tenant: TenantId): string {
  return `DataKey|${tenant}|${id}`
}

/** Tenants have no "|". */
function boundTo(tenant: TenantId, context: string): string {
  return `${tenant}|${context}`
}

function headOf(id: number): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES)
  head[0] = VERSION
  head.writeUInt32BE(id, 1)
  return head
}

/** Undefined: nothing sealed. */
function keyIdOf(value: Uint8Array): number | undefined {
  if (value[0] === OLD_VERSION) return OLD_KEY
  if (value[0] !== VERSION || value.byteLength < HEAD_BYTES) return undefined
  return ((value[1]! << 24) | (value[2]! << 16) | (value[3]! << 8) | value[4]!) >>> 0
}

function destroyed(): EclusaError {
  return new EclusaError(storageErrors.SEAL_BROKEN, {
    message: 'The keys of this tenant were destroyed; nothing is sealed for it any more',
  })
}
