import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { EclusaError } from '@eclusa/kernel'
import { AesKey, KEY_BYTES } from './aes-key.ts'
import { storageErrors } from './errors.ts'

/** Where the master key comes from. */
export type MasterKeySource =
  /** One line, mode 0600; made when both it and the database are new. */
  | { readonly file: string }
  /** As text, from the environment or a file that somebody else provides. Never made, never changed. */
  | { readonly text: string; readonly from: string }

const KEY_LINE = /^(?:eclusa-key-1 )?([A-Za-z0-9+/]{43}=)\s*$/

/** `eclusa-key-1 ` and 32 bytes in base 64, or these alone; undefined when it is neither. */
export function parseMasterKey(text: string): AesKey | undefined {
  const encoded = KEY_LINE.exec(text.trim())?.[1]
  if (encoded === undefined) return undefined
  const bytes = Buffer.from(encoded, 'base64')
  // Sixteen different bytes and more in 32 random ones, but for one time in 10^9: a key that somebody typed has not.
  return new Set(bytes).size < 16 ? undefined : new AesKey(bytes)
}

export function makeMasterKey(): AesKey {
  return new AesKey(randomBytes(KEY_BYTES))
}

/**
 * The keys a key file offers: its own and, after a rotation that was cut short, the next one beside it.
 * @throws STORAGE_WRONG_KEY when a file is there and is not a key file
 */
export function readKeyFiles(file: string): { readonly key?: AesKey; readonly next?: AesKey } {
  const key = readKeyFile(file)
  const next = readKeyFile(nextOf(file))
  return { ...(key && { key }), ...(next && { next }) }
}

/** On disk, whole, before anything is sealed with it: written aside, then linked under its name. */
export function writeKeyFile(file: string, key: AesKey): void {
  const draft = writeDraft(file, key)
  try {
    // A link, not a rename: it fails when the name exists, so a key is never replaced.
    linkSync(draft, file)
  } finally {
    unlinkSync(draft)
  }
  syncFolder(dirname(file))
}

/** The key of a rotation, on disk before the database depends on it. */
export function writeNextKey(file: string, key: AesKey): void {
  renameSync(writeDraft(file, key), nextOf(file))
  syncFolder(dirname(file))
}

/** The database depends on the next key now. */
export function useNextKey(file: string): void {
  renameSync(nextOf(file), file)
  syncFolder(dirname(file))
}

/** The rotation did not come to be. */
export function dropNextKey(file: string): void {
  rmSync(nextOf(file), { force: true })
  syncFolder(dirname(file))
}

function nextOf(file: string): string {
  return `${file}.next`
}

function readKeyFile(file: string): AesKey | undefined {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new EclusaError(storageErrors.WRONG_KEY, {
      message: `The key file ${file} cannot be read`,
      cause: error,
    })
  }
  const key = parseMasterKey(text)
  if (key === undefined) {
    throw new EclusaError(storageErrors.WRONG_KEY, { message: `${file} is not a key file of Eclusa` })
  }
  return key
}

function writeDraft(file: string, key: AesKey): string {
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  const handle = openSync(draft, 'wx', 0o600)
  try {
    writeSync(handle, `eclusa-key-1 ${Buffer.from(key.bytes()).toString('base64')}\n`)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  return draft
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
