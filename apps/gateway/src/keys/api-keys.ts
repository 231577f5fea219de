import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  type Clock,
  DAY,
  EclusaError,
  type Lifecycle,
  type Logger,
  MINUTE,
  randomBase32,
  runLoop,
} from '@eclusa/kernel'
import { type Neighbours, noNeighbours } from '@eclusa/storage'
import type { AuditLog } from '../audit/audit-log.ts'
import type { AuditEntry } from '../audit/audit-store.ts'
import { gatewayErrors } from '../errors.ts'
import type { AddressRanges } from './address-ranges.ts'
import type { ApiKeyRow, ApiKeyStore } from './api-key-store.ts'
import { assertNotStronger, type KeyRights } from './key-rights.ts'
import { MAX_KEYS, MAX_KEYS_OF_TENANT } from './limits.ts'
import { type Caller, keyScopes, type Reach } from './scopes.ts'

/** The id of an operator's own key that has not our form. */
const PRESET_ID = 'preset'
/** What an unknown id is compared with, so that it takes as long as a known one. */
const NOBODY: Uint8Array = sha256(randomBytes(32).toString('hex'))
/** How late `lastUsedAt` may be. */
const NOTE_EVERY_MS = MINUTE
/** A key that ended is shown this long. */
const KEEP_ENDED_MS = 30 * DAY
const EVERYTHING: KeyRights = {
  reach: '*',
  scopes: new Set(keyScopes),
  instances: null,
  addresses: null,
  expiresAt: null,
}

/** A key as it is shown: without its secret, which nobody has any more. */
export type ApiKeyView = Omit<ApiKeyRow, 'digest'>

export interface NewKey extends KeyRights {
  readonly name: string
}

/** Who asks, with the words for the audit log: what was done stands in it, or was not done. */
export type Recorder = (
  what: Pick<AuditEntry, 'tenant' | 'action' | 'object' | 'before' | 'after'>,
) => AuditEntry

export interface ApiKeysOptions {
  readonly store: ApiKeyStore
  readonly audit: AuditLog
  /** Default: no other process uses the database. */
  readonly neighbours?: Neighbours
  readonly clock: Clock
  readonly log: Logger
  /** ECLUSA_API_KEY. */
  readonly preset: string | null
}

interface Known {
  readonly row: ApiKeyRow
  readonly caller: Caller
  lastUsedAt: number | null
}

/**
 * Who may use the API. Keys look like `ecl_<8 id>_<43 secret>`; only the SHA-256 of the secret is kept. What another
 * process changes counts here at its signal, or when that is lost within 30 s.
 */
export class ApiKeys implements Lifecycle {
  readonly #options: ApiKeysOptions
  // bounded by: MAX_KEYS
  #keys: ReadonlyMap<string, Known> = new Map()
  // bounded by: MAX_KEYS
  readonly #used = new Set<string>()
  /** The key made just now, to be shown once; null when there was one already. */
  #fresh: string | null = null
  /** Told when their key has ended: connections that stay open. */
  // bounded by: ECLUSA_EVENTS_MAX_STREAMS
  readonly #watchers = new Map<() => void, Caller>()
  readonly #ending = new AbortController()
  #noting: Promise<void> | null = null
  #stopListening = (): void => undefined
  /** Reads of the table, one after the other, so that an older one never counts after a newer one. */
  #loading: Promise<void> = Promise.resolve()

  private constructor(options: ApiKeysOptions) {
    this.#options = options
  }

  /**
   * The keys of this installation. `preset` (ECLUSA_API_KEY) becomes an operator key in place of the one preset
   * before, which stops working; without any operator's key that may make others, one is made.
   */
  static async open(options: ApiKeysOptions): Promise<ApiKeys> {
    const { store, clock, preset } = options
    const keys = new ApiKeys(options)
    const common = { ...EVERYTHING, name: '', madeBy: null, createdAt: clock.now(), lastUsedAt: null }
    if (preset !== null) {
      await store.write(store.replacePreset({ ...common, ...splitKey(preset), origin: 'preset' }))
    }
    await keys.reload()
    if (!keys.#hasMaster(null)) {
      keys.#fresh = makeKey()
      await store.write([store.insertion({ ...common, ...splitKey(keys.#fresh), origin: 'generated' })])
      await keys.reload()
    }
    return keys
  }

  get fresh(): string | null {
    return this.#fresh
  }

  async start(): Promise<void> {
    const { neighbours = noNeighbours, clock, log } = this.#options
    const onError = (error: unknown): void =>
      log.error({ err: error }, 'the keys could not be read or written')
    this.#stopListening = neighbours.onWake((instances) => {
      // What concerns single instances is not about keys.
      if (instances === null) this.reload().catch(onError)
    })
    this.#noting ??= runLoop(
      { clock, everyMs: NOTE_EVERY_MS, onError },
      () => this.noteUses(),
      this.#ending.signal,
    )
  }

  async stop(): Promise<void> {
    this.#stopListening()
    this.#ending.abort()
    await this.#noting
    await this.noteUses().catch((error: unknown) =>
      this.#options.log.warn({ err: error }, 'when keys were last used was not stored'),
    )
  }

  /**
   * Who presents this key; null when it is no key of ours, or not any more. Takes the same time whether its id exists.
   * @throws GATEWAY_FORBIDDEN when the key is right, and not for this address
   */
  callerOf(presented: string, address: string): Caller | null {
    const { id, digest } = splitKey(presented)
    const known = this.#keys.get(id)
    if (!timingSafeEqual(digest, known?.row.digest ?? NOBODY) || known === undefined) return null
    const now = this.#options.clock.now()
    const { expiresAt, addresses } = known.row
    if (expiresAt !== null && now >= expiresAt) return null
    if (addresses !== null && !addresses.has(address)) {
      throw new EclusaError(gatewayErrors.FORBIDDEN, {
        message: 'This key may not be used from your address',
      })
    }
    known.lastUsedAt = now
    this.#used.add(id)
    return known.caller
  }

  /**
   * What stands for a key in a browser that signed in with it: its id, and a mark that changes with its secret (a key of
   * the settings keeps its id when it is changed).
   */
  subjectOf({ keyId }: Caller): string {
    const row = this.#keys.get(keyId)?.row
    return row === undefined ? keyId : `${keyId}:${Buffer.from(row.digest).toString('hex').slice(0, 16)}`
  }

  /** Who holds the key that `subjectOf` told; null when it is none of ours any more, or not for this address. */
  callerOfSubject(subject: string, address: string | null): Caller | null {
    const known = this.#keys.get(subject.split(':')[0] ?? '')
    if (known === undefined || this.subjectOf(known.caller) !== subject) return null
    const { expiresAt, addresses } = known.row
    if (expiresAt !== null && this.#options.clock.now() >= expiresAt) return null
    return address !== null && addresses !== null && !addresses.has(address) ? null : known.caller
  }

  /**
   * Calls `end` once the caller's key has ended, at most a minute late when its time was up, or their tenant may not act
   * any more; returns what takes it back.
   */
  whenEnded(caller: Caller, end: () => void): () => void {
    this.#watchers.set(end, caller)
    return () => void this.#watchers.delete(end)
  }

  /** Ends what the keys and users of a tenant keep open; they themselves stay. */
  interrupt(tenant: Exclude<Reach, '*'>): void {
    this.#end(({ reach }) => reach === tenant)
  }

  /** What a reach may see, oldest first. */
  list(reach: Reach): readonly ApiKeyView[] {
    return [...this.#keys.values()].filter(({ row }) => covers(reach, row.reach)).map(viewOf)
  }

  /** @throws GATEWAY_KEY_UNKNOWN */
  get(id: string, reach: Reach): ApiKeyView {
    return viewOf(this.#known(id, reach))
  }

  /**
   * A new key; its text is told this once. @throws GATEWAY_KEY_TOO_STRONG, GATEWAY_TOO_MANY_KEYS
   */
  async make(
    wanted: NewKey,
    by: { readonly caller: Caller; readonly record: Recorder },
  ): Promise<{ readonly key: string; readonly view: ApiKeyView }> {
    assertNotStronger(wanted, this.#rightsOf(by.caller))
    this.#assertRoom(wanted.reach)
    const { store, audit, clock } = this.#options
    const key = makeKey()
    const row: ApiKeyRow = {
      ...wanted,
      ...splitKey(key),
      origin: 'made',
      madeBy: by.caller.keyId,
      createdAt: clock.now(),
      lastUsedAt: null,
    }
    const after = describe(row)
    const entry = by.record({
      ...tenantOf(row),
      action: 'key.made',
      object: { key: row.id },
      before: null,
      after,
    })
    await audit.write([store.insertion(row)], entry)
    await this.#changed()
    return { key, view: viewOf({ row, lastUsedAt: null }) }
  }

  /**
   * Another key with the same rights; the old one works until `overlapMs` from now, and no longer than it would have.
   * @throws GATEWAY_KEY_UNKNOWN, GATEWAY_KEY_PRESET, GATEWAY_KEY_TOO_STRONG, GATEWAY_TOO_MANY_KEYS
   */
  async rotate(
    id: string,
    options: { readonly overlapMs: number; readonly caller: Caller; readonly record: Recorder },
  ): Promise<{ readonly key: string; readonly view: ApiKeyView; readonly oldEndsAt: number }> {
    const { caller, record, overlapMs } = options
    const { store, audit, clock } = this.#options
    const { row: old } = this.#known(id, caller.reach)
    assertNotPreset(old)
    const now = clock.now()
    if (old.expiresAt !== null && now >= old.expiresAt) throw new EclusaError(gatewayErrors.KEY_UNKNOWN)
    assertNotStronger(old, this.#rightsOf(caller))
    this.#assertRoom(old.reach)
    const key = makeKey()
    const row: ApiKeyRow = {
      ...old,
      ...splitKey(key),
      origin: 'made',
      madeBy: caller.keyId,
      createdAt: now,
      lastUsedAt: null,
    }
    const oldEndsAt = Math.min(now + overlapMs, old.expiresAt ?? Infinity)
    const entry = record({
      ...tenantOf(row),
      action: 'key.rotated',
      object: { key: old.id, newKey: row.id },
      before: { expiresAt: old.expiresAt },
      after: { expiresAt: oldEndsAt },
    })
    await audit.write([store.insertion(row), store.expiry(old.id, oldEndsAt)], entry)
    await this.#changed()
    return { key, view: viewOf({ row, lastUsedAt: null }), oldEndsAt }
  }

  /**
   * It stops working: here before the answer, in other processes at their signal.
   * @throws GATEWAY_KEY_UNKNOWN, GATEWAY_KEY_PRESET, GATEWAY_KEY_LAST
   */
  async revoke(id: string, by: { readonly caller: Caller; readonly record: Recorder }): Promise<void> {
    const { store, audit } = this.#options
    const { row } = this.#known(id, by.caller.reach)
    assertNotPreset(row)
    if (!this.#hasMaster(id)) throw new EclusaError(gatewayErrors.KEY_LAST)
    const before = describe(row)
    const entry = by.record({
      ...tenantOf(row),
      action: 'key.revoked',
      object: { key: id },
      before,
      after: null,
    })
    await audit.write([store.deletion(id)], entry)
    await this.#changed()
  }

  /** All keys of a tenant stop working. */
  async revokeAll(tenant: Exclude<Reach, '*'>): Promise<void> {
    await this.#options.store.write([this.#options.store.deletionOfTenant(tenant)])
    await this.#changed()
  }

  /** Takes over what is in the table. */
  reload(): Promise<void> {
    const mine = this.#loading.then(() => this.#load())
    this.#loading = mine.catch(() => undefined)
    return mine
  }

  /** One unit at most a minute, whatever comes in. */
  async noteUses(): Promise<void> {
    const { store, clock } = this.#options
    this.#endWatched()
    const ids = [...this.#used]
    this.#used.clear()
    const uses = ids.flatMap((id) => {
      const at = this.#keys.get(id)?.lastUsedAt ?? null
      return at === null ? [] : [store.use(id, at)]
    })
    const before = clock.now() - KEEP_ENDED_MS
    const isSweepDue = [...this.#keys.values()].some(({ row }) => (row.expiresAt ?? Infinity) < before)
    if (uses.length === 0 && !isSweepDue) return
    await store.write([...uses, store.sweep(before)])
    if (isSweepDue) await this.reload()
  }

  async #load(): Promise<void> {
    const rows = await this.#options.store.list(MAX_KEYS)
    const old = this.#keys
    this.#keys = new Map(
      rows.map((row) => {
        const { id: keyId, reach, scopes, instances } = row
        const caller = { keyId, person: null, reach, scopes, instances }
        return [keyId, { row, caller, lastUsedAt: old.get(keyId)?.lastUsedAt ?? row.lastUsedAt }]
      }),
    )
    this.#endWatched()
  }

  #endWatched(): void {
    const now = this.#options.clock.now()
    this.#end(({ keyId, person }) => {
      // Who signed in by a password has no key of ours.
      if (person !== null) return false
      const known = this.#keys.get(keyId)
      return known === undefined || now >= (known.row.expiresAt ?? Infinity)
    })
  }

  #end(ended: (caller: Caller) => boolean): void {
    for (const [end, caller] of this.#watchers) {
      if (!ended(caller)) continue
      this.#watchers.delete(end)
      end()
    }
  }

  async #changed(): Promise<void> {
    await this.reload()
    this.#options.neighbours?.wake(null)
  }

  /** What the caller's own key may do now; who logged in is as strong as their caller says. */
  #rightsOf(caller: Caller): KeyRights {
    const row = this.#keys.get(caller.keyId)?.row
    const addresses: AddressRanges | null = row?.addresses ?? null
    return { ...caller, addresses, expiresAt: row?.expiresAt ?? null }
  }

  #known(id: string, reach: Reach): Known {
    const known = this.#keys.get(id)
    if (known === undefined || !covers(reach, known.row.reach)) {
      throw new EclusaError(gatewayErrors.KEY_UNKNOWN, { details: { field: 'key' } })
    }
    return known
  }

  #assertRoom(reach: Reach): void {
    const theirs = [...this.#keys.values()].filter(({ row }) => row.reach === reach).length
    if (this.#keys.size >= MAX_KEYS || (reach !== '*' && theirs >= MAX_KEYS_OF_TENANT)) {
      throw new EclusaError(gatewayErrors.TOO_MANY_KEYS)
    }
  }

  /** Without one of these nobody could make a key any more. */
  #hasMaster(without: string | null): boolean {
    return [...this.#keys.values()].some(
      ({ row: { id, reach, scopes, expiresAt, instances, addresses } }) =>
        id !== without &&
        reach === '*' &&
        expiresAt === null &&
        instances === null &&
        addresses === null &&
        keyScopes.every((scope) => scopes.has(scope)),
    )
  }
}

function viewOf({ row, lastUsedAt }: Pick<Known, 'row' | 'lastUsedAt'>): ApiKeyView {
  const { digest: _, ...view } = row
  return { ...view, lastUsedAt }
}

function covers(reach: Reach, of: Reach): boolean {
  return reach === '*' || reach === of
}

/** A key of the settings comes back with the next start: it is changed there. */
function assertNotPreset({ origin }: ApiKeyRow): void {
  if (origin === 'preset') throw new EclusaError(gatewayErrors.KEY_PRESET)
}

function tenantOf({ reach }: ApiKeyRow): { readonly tenant: Reach } {
  return { tenant: reach }
}

/** For the audit log. */
function describe({ name, reach, scopes, instances, addresses, expiresAt }: ApiKeyRow): object {
  return {
    name,
    reach,
    scopes: [...scopes],
    instances: instances === null ? null : [...instances],
    addresses: addresses?.texts ?? null,
    expiresAt,
  }
}

/** 256 bits of secret: 32 bytes are 43 characters. */
function makeKey(): string {
  return `ecl_${randomBase32(8)}_${randomBytes(32).toString('base64url')}`
}

function splitKey(key: string): { readonly id: string; readonly digest: Uint8Array } {
  const [, id, secret] = /^ecl_([0-9a-z]{8})_([0-9A-Za-z_-]{43})$/.exec(key) ?? []
  return id === undefined || secret === undefined
    ? { id: PRESET_ID, digest: sha256(key) }
    : { id, digest: sha256(secret) }
}

function sha256(text: string): Uint8Array {
  return createHash('sha256').update(text).digest()
}
