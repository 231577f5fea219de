import type { InstanceId } from '@eclusa/kernel'

/**
 * Which instances this process may act for. A session lives in one process at a time, and only its owner decides the
 * order of its chats; a process that is not the owner any more must not write what it still believes.
 */
export interface Ownership {
  /**
   * Makes this process the owner, now if nobody else is, else as soon as it can; false while another process is. From
   * the call on, until `release`, a loss is followed by trying again.
   * @throws STORAGE_UNREACHABLE
   */
  take(instance: InstanceId): Promise<boolean>

  /** Lets others take it at once. Does not fail: an owner that cannot say so is replaced when its lease ends. */
  release(instance: InstanceId): Promise<void>

  owns(instance: InstanceId): boolean

  /**
   * Calls `listener` when an instance was lost (its session must end at once) and when it was taken back; returns its
   * remover.
   */
  onChange(listener: (instance: InstanceId, owned: boolean) => void): () => void
}

/** For a database that only one process can open: it owns everything. */
export const soleOwnership: Ownership = {
  take: () => Promise.resolve(true),
  release: () => Promise.resolve(),
  owns: () => true,
  onChange: () => () => undefined,
}
