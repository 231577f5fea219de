import type { TenantId } from '@eclusa/kernel'

/**
 * Encrypts what is secret or personal before it reaches the database.
 *
 * What is sealed opens only for the same tenant and with the same `context`, which names the table and the row:
 * `Table|instance|id`. A value that was moved to another row, table or tenant does not open. Tenant `*` is the
 * installation itself.
 */
export interface Sealer {
  seal(plain: Uint8Array, context: string, tenant: TenantId): Uint8Array

  /** What came from the database; `know` it first. @throws STORAGE_SEAL_BROKEN, also when its key was destroyed */
  open(sealed: Uint8Array, context: string, tenant: TenantId): Uint8Array

  /**
   * Reads keys that are needed to open these values and not in memory: those of other processes, and rare ones. Other
   * values are passed over. Resolves at once nearly always.
   */
  know(values: Iterable<unknown>): Promise<void>
}
