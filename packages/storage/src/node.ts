import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EclusaError } from '@eclusa/kernel'
import { storageErrors } from './errors.ts'
import { takeLock } from './file-lock.ts'

/** This installation among those that share a PostgreSQL. */
export interface Node {
  /** The same after every restart: an owner that crashed takes its instances back at once. */
  readonly id: string
  /** Idempotent. */
  release(): void
}

/**
 * The node of a data folder; its id is made on first start. Held until `release` or the end of the process.
 * @throws STORAGE_IN_USE when another process holds the folder
 */
export function openNode(folder: string): Node {
  let lock: ReturnType<typeof takeLock>
  try {
    lock = takeLock(join(folder, 'node.lock'))
  } catch (cause) {
    throw new EclusaError(storageErrors.IN_USE, {
      message: `Another Eclusa process is using the folder ${folder}; stop it first or give this one its own`,
      cause,
    })
  }
  const file = join(folder, 'node')
  let id = ''
  try {
    id = readFileSync(file, 'utf8').trim()
  } catch {
    // None yet.
  }
  if (!/^nod_[0-9a-f]{16}$/.test(id)) {
    id = `nod_${randomBytes(8).toString('hex')}`
    writeFileSync(file, `${id}\n`, { mode: 0o600 })
  }
  return {
    id,
    release: () => {
      if (lock.isOpen) lock.close()
    },
  }
}
