import { createCipheriv, createSecretKey, type KeyObject, createDecipheriv, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { EclusaError, randomPart } from '@eclusa/kernel'
import type { Database } from './database.ts'
import { storageErrors } from './errors.ts'

/** Encrypts what is secret or personal before it reaches the database. */
export interface Sealer {
  /** The sealed form opens only with the same key and the same `context`, e.g. `Table|instance|id`. */
  seal(plain: Uint8Array, context: string): Uint8Array
  /** @throws STORAGE_SEAL_BROKEN */
  open(sealed: Uint8Array, context: string): Uint8Array
}

const VERSION = 1
const IV_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
const KEY_LINE = /^eclusa-key-1 ([A-Za-z0-9+/]{43}=)\s*$/
const CHECK_CONTEXT = 'SealerCheck'

/** AES-256-GCM: version byte ‖ 12-byte random IV ‖ ciphertext ‖ 16-byte tag; the context is authenticated with it. */
export class AesSealer implements Sealer {
  // As a KeyObject: with bare bytes Node 24 spends 14 to 20 µs per message on finding out what they are, with it 5.
  readonly #key: KeyObject

  /** @param key 32 bytes */
  constructor(key: Uint8Array) {
    if (key.byteLength !== KEY_BYTES) throw new RangeError(`a key has ${KEY_BYTES} bytes`)
    this.#key = createSecretKey(key)
  }

  seal(plain: Uint8Array, context: string): Uint8Array {
    const iv = randomPart(IV_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv)
    cipher.setAAD(Buffer.from(context))
    const body = cipher.update(plain)
    cipher.final()
    // Of Node's pool when it is small: memory of its own is much of what a short text costs.
    const sealed = Buffer.allocUnsafe(1 + IV_BYTES + body.byteLength + TAG_BYTES)
    sealed[0] = VERSION
    sealed.set(iv, 1)
    sealed.set(body, 1 + IV_BYTES)
    sealed.set(cipher.getAuthTag(), 1 + IV_BYTES + body.byteLength)
    return sealed
  }

  open(sealed: Uint8Array, context: string): Uint8Array {
    if (sealed[0] !== VERSION || sealed.byteLength < 1 + IV_BYTES + TAG_BYTES) {
      throw new EclusaError(storageErrors.SEAL_BROKEN)
    }
    const bodyEnd = sealed.byteLength - TAG_BYTES
    const iv = sealed.subarray(1, 1 + IV_BYTES)
    const decipher = createDecipheriv('aes-256-gcm', this.#key, iv, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(context))
    decipher.setAuthTag(sealed.subarray(bodyEnd))
    try {
      const plain = decipher.update(sealed.subarray(1 + IV_BYTES, bodyEnd))
      decipher.final()
      return plain
    } catch (cause) {
      throw new EclusaError(storageErrors.SEAL_BROKEN, { cause })
    }
  }
}

/**
 * The sealer of this database. The key file (one line, mode 0600) is made when both it and the database are new;
 * for a database that has sealed before, it must be there and right. It is never made again.
 * @throws STORAGE_WRONG_KEY
 */
export async function openSealer(options: {
  readonly keyFile: string
  readonly database: Database
}): Promise<Sealer> {
  const { keyFile, database } = options
  const [check] = await database.read('select sealed from "SealerCheck" where id = 1', [])
  const key = readKey(keyFile)
  if (check === undefined) {
    const sealer = new AesSealer(key ?? makeKey(keyFile))
    const sealed = sealer.seal(Buffer.from(CHECK_CONTEXT), CHECK_CONTEXT)
    await database.write([{ sql: 'insert into "SealerCheck" (id, sealed) values (1, ?)', params: [sealed] }])
    return sealer
  }
  if (key === undefined) {
    throw new EclusaError(storageErrors.WRONG_KEY, {
      message: `The key file ${keyFile} is missing; put back the one that belongs to this database`,
    })
  }
  const sealer = new AesSealer(key)
  try {
    sealer.open(check['sealed'] as Uint8Array, CHECK_CONTEXT)
  } catch (cause) {
    throw new EclusaError(storageErrors.WRONG_KEY, {
      message: `The key file ${keyFile} does not open this database; put back the one that belongs to it`,
      cause,
    })
  }
  return sealer
}

function readKey(keyFile: string): Uint8Array | undefined {
  let text: string
  try {
    text = readFileSync(keyFile, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new EclusaError(storageErrors.WRONG_KEY, {
      message: `The key file ${keyFile} cannot be read`,
      cause: error,
    })
  }
  const encoded = KEY_LINE.exec(text)?.[1]
  if (encoded === undefined) {
    throw new EclusaError(storageErrors.WRONG_KEY, { message: `${keyFile} is not a key file of Eclusa` })
  }
  return Buffer.from(encoded, 'base64')
}

/** On disk, whole, before anything is sealed with it: written aside, then linked under its name. */
function makeKey(keyFile: string): Uint8Array {
  const key = randomBytes(KEY_BYTES)
  const draft = `${keyFile}.${randomBytes(6).toString('hex')}`
  const handle = openSync(draft, 'wx', 0o600)
  try {
    writeSync(handle, `eclusa-key-1 ${key.toString('base64')}\n`)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  try {
    // A link, not a rename: it fails when the name exists, so a key is never replaced.
    linkSync(draft, keyFile)
  } finally {
    unlinkSync(draft)
  }
  syncFolder(dirname(keyFile))
  return key
}

function syncFolder(folder: string): void {
  if (process.platform === 'win32') return
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
