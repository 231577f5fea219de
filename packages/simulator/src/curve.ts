import * as crypto from 'node:crypto'
import * as curve25519 from 'curve25519-js'

/** An X25519 key pair, 32 bytes each; signs by XEdDSA. */
export interface KeyPair {
  readonly private: Buffer
  readonly public: Buffer
}

const PUBLIC_DER = Buffer.from('302a300506032b656e032100', 'hex')
const PRIVATE_DER = Buffer.from('302e020100300506032b656e04220420', 'hex')
const NO_SALT = Buffer.alloc(32)

export function generateKeyPair(): KeyPair {
  const pair = crypto.generateKeyPairSync('x25519', {
    publicKeyEncoding: { format: 'der', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
  })
  return {
    private: Buffer.from(pair.privateKey.subarray(PRIVATE_DER.length)),
    public: Buffer.from(pair.publicKey.subarray(PUBLIC_DER.length)),
  }
}

/** X25519. Accepts public keys of 32 bytes, or 33 with the type byte 5 before. */
export function agree(privateKey: Uint8Array, publicKey: Uint8Array): Buffer {
  return crypto.diffieHellman({
    privateKey: crypto.createPrivateKey({
      key: Buffer.concat([PRIVATE_DER, privateKey]),
      format: 'der',
      type: 'pkcs8',
    }),
    publicKey: crypto.createPublicKey({
      key: Buffer.concat([PUBLIC_DER, bareKey(publicKey)]),
      format: 'der',
      type: 'spki',
    }),
  })
}

/** The key with its type byte 5, as Signal signs and sends it. */
export function typedKey(publicKey: Uint8Array): Buffer {
  return publicKey.length === 33 ? Buffer.from(publicKey) : Buffer.concat([Buffer.from([5]), publicKey])
}

export function bareKey(publicKey: Uint8Array): Buffer {
  if (publicKey.length === 33 && publicKey[0] === 5) return Buffer.from(publicKey.subarray(1))
  if (publicKey.length !== 32) throw new RangeError(`a public key of ${publicKey.length} bytes`)
  return Buffer.from(publicKey)
}

export function sign(privateKey: Uint8Array, message: Uint8Array): Buffer {
  return Buffer.from(curve25519.sign(privateKey, message, undefined))
}

/** XEdDSA, checked. Baileys' `Curve.verify` says true to every 64 bytes, so it is not used here. */
export function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== 64) return false
  return curve25519.verify(bareKey(publicKey), message, signature)
}

export function hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const mac = crypto.createHmac('sha256', key)
  for (const part of parts) mac.update(part)
  return mac.digest()
}

export function hkdf(
  secret: Uint8Array,
  length: number,
  options: { readonly salt?: Uint8Array; readonly info?: string } = {},
): Buffer {
  return Buffer.from(
    crypto.hkdfSync('sha256', secret, options.salt ?? NO_SALT, Buffer.from(options.info ?? ''), length),
  )
}

export function sha256(bytes: Uint8Array): Buffer {
  return crypto.createHash('sha256').update(bytes).digest()
}

/** AES-256-GCM with the 16-byte tag at the end. */
export function encryptGcm(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, plain: Uint8Array): Buffer {
  const cipher = crypto.createCipheriv('aes-256-gcm', key, iv)
  cipher.setAAD(aad)
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** @throws Error when the tag does not match */
export function decryptGcm(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Buffer {
  const decipher = crypto.createDecipheriv('aes-256-gcm', key, iv)
  decipher.setAAD(aad)
  decipher.setAuthTag(sealed.subarray(sealed.length - 16))
  return Buffer.concat([decipher.update(sealed.subarray(0, sealed.length - 16)), decipher.final()])
}

export function encryptCbc(key: Uint8Array, iv: Uint8Array, plain: Uint8Array): Buffer {
  const cipher = crypto.createCipheriv('aes-256-cbc', key, iv)
  return Buffer.concat([cipher.update(plain), cipher.final()])
}

export function decryptCbc(key: Uint8Array, iv: Uint8Array, sealed: Uint8Array): Buffer {
  const decipher = crypto.createDecipheriv('aes-256-cbc', key, iv)
  return Buffer.concat([decipher.update(sealed), decipher.final()])
}

/** AES-256-CTR, its own inverse. */
export function cryptCtr(key: Uint8Array, iv: Uint8Array, bytes: Uint8Array): Buffer {
  const cipher = crypto.createCipheriv('aes-256-ctr', key, iv)
  return Buffer.concat([cipher.update(bytes), cipher.final()])
}
