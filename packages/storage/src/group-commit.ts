import { type Logger, MIB } from '@eclusa/kernel'
import type { Statement } from './database.ts'

/** One commit takes at most this, so that the next caller's wait stays short (uncapped, a caller waited 590–735 ms during a drain, capped 132–189 ms; 2026-11). */
const MAX_FLUSH_STATEMENTS = 2000
export const MAX_FLUSH_BYTES: number = MIB

/** Something that waits for its turn: a unit of statements or a read. */
type Waiting =
  | { readonly kind: 'unit'; readonly statements: readonly Statement[]; readonly bytes: number }
  | { readonly kind: 'read' }

/** What a flush has already. */
export interface FlushSize {
  readonly statementCount: number
  readonly bytes: number
}

export const EMPTY_FLUSH: FlushSize = { statementCount: 0, bytes: 0 }

/**
 * How many of `waiting`, from its front, go into one flush that has `before` already: units up to the cap (one always
 * fits), reads between.
 */
export function countForFlush(waiting: readonly Waiting[], before: FlushSize = EMPTY_FLUSH): number {
  let { statementCount, bytes } = before
  let taken = 0
  let hasUnit = before !== EMPTY_FLUSH
  for (const next of waiting) {
    if (next.kind === 'unit') {
      statementCount += next.statements.length
      bytes += next.bytes
      if (hasUnit && (statementCount > MAX_FLUSH_STATEMENTS || bytes > MAX_FLUSH_BYTES)) break
      hasUnit = true
    }
    taken++
  }
  return taken
}

/** The size of a flush that has `before`, and then `units`. */
export function sizeOf(
  units: readonly { readonly statements: readonly Statement[]; readonly bytes: number }[],
  before: FlushSize,
): FlushSize {
  if (units.length === 0) return before
  let { statementCount, bytes } = before
  for (const unit of units) {
    statementCount += unit.statements.length
    bytes += unit.bytes
  }
  return { statementCount, bytes }
}

/** The size of the parameters as they travel, roughly. */
export function bytesOf(statements: readonly Statement[]): number {
  let bytes = 0
  for (const { params } of statements) {
    for (const value of params) {
      if (typeof value === 'string') bytes += value.length
      else bytes += value instanceof Uint8Array ? value.byteLength : 8
    }
  }
  return bytes
}

/** Listeners of `onCommit`: one per reader of the event log. */
const MAX_COMMIT_LISTENERS = 64

/** Who wants to hear of commits. */
export class CommitListeners {
  readonly #log: Logger
  // bounded by: MAX_COMMIT_LISTENERS
  readonly #listeners = new Set<() => void>()

  constructor(log: Logger) {
    this.#log = log
  }

  add(listener: () => void): () => void {
    if (this.#listeners.size >= MAX_COMMIT_LISTENERS) {
      throw new RangeError(
        `more than ${MAX_COMMIT_LISTENERS} listeners of commits: one of them is never removed`,
      )
    }
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  call(): void {
    for (const listener of this.#listeners) {
      try {
        listener()
      } catch (error) {
        this.#log.error({ err: error }, 'a listener of commits failed')
      }
    }
  }

  clear(): void {
    this.#listeners.clear()
  }
}
