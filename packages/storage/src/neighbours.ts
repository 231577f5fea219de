import type { InstanceId } from '@eclusa/kernel'

/** Told to an owner; null: anything may have been written, so it looks at everything. */
export type WakeListener = (instances: readonly InstanceId[] | null) => void

/** Other processes on the same database: what one of them writes for an instance, its owner has to hear of. */
export interface Neighbours {
  /**
   * Something was written for an instance that another process owns; null: for whoever it concerns. Call it after the
   * commit. It is a hint that may be lost: never fails, never waits.
   */
  wake(instance: InstanceId | null): void

  /** Calls `listener` when others wrote, and every 30 s by itself, because hints get lost; returns its remover. */
  onWake(listener: WakeListener): () => void
}

/** Of a database that only one process can open. */
export const noNeighbours: Neighbours = {
  wake: () => undefined,
  onWake: () => () => undefined,
}
