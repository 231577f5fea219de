import { closeSync, openSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'

/**
 * A second, tiny SQLite file held in an exclusive transaction: the operating system frees it however this process
 * ends, also by kill -9, and the database itself stays readable for `sqlite3`. Throws SQLITE_BUSY when it is taken.
 */
export function takeLock(file: string): DatabaseSync {
  makePrivate(file)
  const lock = new DatabaseSync(file, { timeout: 0 })
  try {
    lock.exec('begin exclusive')
    return lock
  } catch (error) {
    lock.close()
    throw error
  }
}

/** Made before SQLite makes it, readable by its owner alone; SQLite gives its -wal and -shm the same mode. */
export function makePrivate(file: string): void {
  closeSync(openSync(file, 'a', 0o600))
}
