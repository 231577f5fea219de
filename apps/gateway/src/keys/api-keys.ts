import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { type Clock, randomBase32 } from '@eclusa/kernel'
import type { ApiKeyRow, ApiKeyStore } from './api-key-store.ts'
import { MAX_KEYS } from './limits.ts'
import { type Caller, keyScopes } from './scopes.ts'

/** The id of an operator's own key that has not our form. */
const PRESET_ID = 'preset'
/** What an unknown id is compared with, so that it takes as long as a known one. */
const NOBODY: Uint8Array = sha256(randomBytes(32).toString('hex'))

/** Who may use the API. Keys look like `ecl_<8 id>_<43 secret>`; only the SHA-256 of the secret is kept. */
export class ApiKeys {
  // bounded by: MAX_KEYS
  readonly #keys: ReadonlyMap<string, ApiKeyRow>
  /** The key made just now, to be shown once; null when there was one already. */
  readonly fresh: string | null

  private constructor(keys: readonly ApiKeyRow[], fresh: string | null) {
    this.#keys = new Map(keys.map((key) => [key.id, key]))
    this.fresh = fresh
  }

  /**
   * The keys of this installation. `preset` (ECLUSA_API_KEY) becomes an operator key in place of the one preset
   * before, which stops working; without any key, one is made.
   */
  static async open(options: {
    readonly store: ApiKeyStore
    readonly clock: Clock
    readonly preset: string | null
  }): Promise<ApiKeys> {
    const { store, clock, preset } = options
    let fresh: string | null = null
    if (preset !== null) {
      await store.replacePreset({ ...splitKey(preset), reach: '*', origin: 'preset' }, clock.now())
    }
    let keys = await store.list(MAX_KEYS)
    if (keys.length === 0) {
      fresh = makeKey()
      await store.insert({ ...splitKey(fresh), reach: '*', origin: 'generated' }, clock.now())
      keys = await store.list(MAX_KEYS)
    }
    return new ApiKeys(keys, fresh)
  }

  /** Who presents this key; null when it is no key of ours. Takes the same time whether its id exists. */
  callerOf(presented: string): Caller | null {
    const { id, digest } = splitKey(presented)
    const known = this.#keys.get(id)
    if (!timingSafeEqual(digest, known?.digest ?? NOBODY) || known === undefined) return null
    return { keyId: id, reach: known.reach, scopes: new Set(keyScopes), instances: null }
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
