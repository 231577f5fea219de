import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { EclusaError, Places } from '@eclusa/kernel'
import { gatewayErrors } from '../errors.ts'

/** OWASP's floor for argon2id: 19 MiB and two passes. */
const COST = { memory: 19_456, passes: 2, parallelism: 1, tagLength: 32 } as const
const SALT_BYTES = 16
/** Hashes at once: each takes 19 MiB outside of the heap, and a core. */
export const MAX_HASHES = 1
/** What a hash takes while it is made. */
export const HASH_BYTES: number = COST.memory * 1024
/** Who waits for their turn; one more is told to come back. */
const MAX_WAITING = 20

/** `argon2id$<KiB>$<passes>$<salt>$<hash>`, so that a later cost can be told from this one. */
export type PasswordHash = string

/** Hashes passwords, one at a time. */
export class Passwords {
  readonly #places = new Places(MAX_HASHES)
  // What an unknown user's password is compared with, so that it takes as long as a known one's.
  readonly #nobody = `argon2id$${COST.memory}$${COST.passes}$${'A'.repeat(22)}$${'A'.repeat(43)}`

  /** @throws GATEWAY_BUSY */
  async hash(password: string): Promise<PasswordHash> {
    const salt = randomBytes(SALT_BYTES)
    const hash = await this.#derive(password, salt, COST)
    return `argon2id$${COST.memory}$${COST.passes}$${salt.toString('base64url')}$${hash.toString('base64url')}`
  }

  /** Takes as long for nobody's hash (null) as for somebody's. @throws GATEWAY_BUSY */
  async matches(password: string, stored: PasswordHash | null): Promise<boolean> {
    const [, memory, passes, salt = '', hash = ''] = (stored ?? this.#nobody).split('$')
    const cost = { ...COST, memory: Number(memory), passes: Number(passes) }
    const found = await this.#derive(password, Buffer.from(salt, 'base64url'), cost)
    const expected = Buffer.from(hash, 'base64url')
    return expected.length === found.length && timingSafeEqual(expected, found) && stored !== null
  }

  async #derive(
    password: string,
    nonce: Uint8Array,
    cost: {
      readonly memory: number
      readonly passes: number
      readonly parallelism: number
      readonly tagLength: number
    },
  ): Promise<Buffer> {
    if (this.#places.waiting >= MAX_WAITING) {
      throw new EclusaError(gatewayErrors.BUSY, { message: 'Too many people sign in just now: try again' })
    }
    const message = Buffer.from(password.normalize('NFKC'))
    return this.#places.run(
      () =>
        new Promise<Buffer>((resolve, reject) => {
          argon2('argon2id', { message, nonce, ...cost }, (error, hash) => {
            if (error === null) resolve(hash)
            else reject(error)
          })
        }),
    )
  }
}
