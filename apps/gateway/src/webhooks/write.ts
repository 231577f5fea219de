import { EclusaError, type InstanceId } from '@eclusa/kernel'
import { type Database, type Statement, storageErrors } from '@eclusa/storage'

/** Stands for the work of sending webhooks: of several processes on one database one does it. */
export const WEBHOOKS = 'webhooks' as InstanceId

/** One atomic unit of the process that sends. @throws as `Database.write` */
export type Write = (statements: readonly Statement[]) => Promise<void>

/** Stored only while this process is the one that sends. */
export function fencedWrite(database: Database): Write {
  return async (statements) => {
    await database.write(statements, { instance: WEBHOOKS })
  }
}

/** This process stops, or another one sends now: nothing failed. */
export function isOurEnd(error: unknown): boolean {
  if (!(error instanceof EclusaError)) return false
  return error.code === storageErrors.STOPPED.code || error.code === storageErrors.NOT_OWNER.code
}
