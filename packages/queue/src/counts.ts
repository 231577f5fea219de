import type { InstanceId, TenantId, TypedEmitter } from '@eclusa/kernel'
import type { QueueEvents } from './message.ts'

/** Rows by status. */
export interface QueueStats {
  readonly pending: number
  readonly processing: number
  readonly failed: number
}

/** Where a row can be: one of the statuses, or nowhere (null). */
export type RowStatus = 'PENDING' | 'PROCESSING' | 'FAILED'

interface InstanceCounts {
  PENDING: number
  PROCESSING: number
  FAILED: number
  warned: boolean
}

/** Document 1: no limit on what waits, a warning above this. */
const WARN_ABOVE = 500
/** Warned again only after it fell below this, so that a queue around the mark does not chatter. */
const REARM_BELOW = 400

/** Counters of rows per instance in memory: asking SQL would read the table. */
export class QueueCounts {
  // bounded by: instances that have rows
  readonly #instances = new Map<InstanceId, InstanceCounts>()
  readonly #emitter: TypedEmitter<QueueEvents>

  constructor(emitter: TypedEmitter<QueueEvents>) {
    this.#emitter = emitter
  }

  /** A row came (`from` null), went (`to` null) or changed its status. */
  move(
    tenant: TenantId,
    instance: InstanceId,
    from: RowStatus | null,
    to: RowStatus | null,
    count = 1,
  ): void {
    let counts = this.#instances.get(instance)
    if (counts === undefined) {
      counts = { PENDING: 0, PROCESSING: 0, FAILED: 0, warned: false }
      this.#instances.set(instance, counts)
    }
    if (from !== null) counts[from] -= count
    if (to !== null) counts[to] += count
    const waiting = counts.PENDING + counts.PROCESSING
    if (!counts.warned && waiting > WARN_ABOVE) {
      counts.warned = true
      this.#emitter.emit('queue.warned', { tenant, instance, waiting })
    } else if (counts.warned && waiting < REARM_BELOW) {
      counts.warned = false
    }
    if (counts.PENDING === 0 && counts.PROCESSING === 0 && counts.FAILED === 0)
      this.#instances.delete(instance)
  }

  /** The instance has no rows any more. */
  forget(instance: InstanceId): void {
    this.#instances.delete(instance)
  }

  /** Messages of the instance that are not yet sent, failed or cancelled. */
  waiting(instance: InstanceId): number {
    const counts = this.#instances.get(instance)
    return counts === undefined ? 0 : counts.PENDING + counts.PROCESSING
  }

  /** The instances with messages that wait. */
  waitingInstances(): readonly InstanceId[] {
    return [...this.#instances.keys()].filter((instance) => this.waiting(instance) > 0)
  }

  /** Of one instance, or of all. */
  stats(instance?: InstanceId): QueueStats {
    const sum = { pending: 0, processing: 0, failed: 0 }
    const chosen = instance === undefined ? this.#instances.values() : [this.#instances.get(instance)]
    for (const counts of chosen) {
      sum.pending += counts?.PENDING ?? 0
      sum.processing += counts?.PROCESSING ?? 0
      sum.failed += counts?.FAILED ?? 0
    }
    return sum
  }
}
