import { createCipheriv, createDecipheriv, createHash, createSecretKey, type KeyObject } from 'node:crypto'
import { EclusaError, randomPart } from '@eclusa/kernel'
import { storageErrors } from './errors.ts'

export const KEY_BYTES = 32
const IV_BYTES = 12
const TAG_BYTES = 16

/** One key of AES-256-GCM. What it seals: a head of the caller's ‖ 12-byte random IV ‖ ciphertext ‖ 16-byte tag. */
export class AesKey {
  // As a KeyObject: with bare bytes Node 24 spends 14 to 20 µs per message on finding out what they are, with it 5.
  readonly #key: KeyObject

  /** @param key 32 bytes */
  constructor(key: Uint8Array) {
    if (key.byteLength !== KEY_BYTES) throw new RangeError(`a key has ${KEY_BYTES} bytes`)
    this.#key = createSecretKey(key)
  }

  /** `context` is authenticated with it, and needed to open it. */
  seal(head: Uint8Array, plain: Uint8Array, context: string): Uint8Array {
    const iv = randomPart(IV_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv)
    cipher.setAAD(Buffer.from(context))
    const body = cipher.update(plain)
    cipher.final()
    const start = head.byteLength + IV_BYTES
    // Of Node's pool when it is small: memory of its own is much of what a short text costs.
    const sealed = Buffer.allocUnsafe(start + body.byteLength + TAG_BYTES)
    sealed.set(head, 0)
    sealed.set(iv, head.byteLength)
    sealed.set(body, start)
    sealed.set(cipher.getAuthTag(), start + body.byteLength)
    return sealed
  }

  /** @throws STORAGE_SEAL_BROKEN */
  open(headBytes: number, sealed: Uint8Array, context: string): Uint8Array {
    const start = headBytes + IV_BYTES
    const end = sealed.byteLength - TAG_BYTES
    if (end < start) throw new EclusaError(storageErrors.SEAL_BROKEN)
    const iv = sealed.subarray(headBytes, start)
    const decipher = createDecipheriv('aes-256-gcm', this.#key, iv, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(context))
    decipher.setAuthTag(sealed.subarray(end))
    try {
      const plain = decipher.update(sealed.subarray(start, end))
      decipher.final()
      return plain
    } catch (cause) {
      throw new EclusaError(storageErrors.SEAL_BROKEN, { cause })
    }
  }

  /** The same for the same key, and of no use to guess it: 16 hexadecimal digits. */
  fingerprint(): string {
    return createHash('sha256').update('eclusa-key').update(this.#key.export()).digest('hex').slice(0, 16)
  }

  /** The 32 bytes, to be wrapped by another key. */
  bytes(): Uint8Array {
    return this.#key.export()
  }
}
