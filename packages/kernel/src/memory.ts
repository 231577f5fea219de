/**
 * Where bytes are. `heap` counts against V8's limit; `outside` is everything else of the process: buffers, sockets,
 * SQLite, other threads. What is in a cache is charged to the one budget of all caches and not counted again.
 */
export type MemoryPlace = 'heap' | 'outside' | 'cache'

/** One bounded structure in the sum of the worst case: at most `maxCount` things of `bytesEach`. */
export interface MemoryLine {
  /** Who keeps it: `queue`, `session`, `storage`, `http`. */
  readonly owner: string
  /** What it holds, in a few words. */
  readonly name: string
  readonly place: MemoryPlace
  /** Most of them, in the process or, with `perSession`, in each session. */
  readonly maxCount: number
  /** Bytes of one, container and all. */
  readonly bytesEach: number
  readonly perSession?: boolean
  /** `bytesEach` was measured as memory of the process, what the allocator loses included. */
  readonly measuredAsRss?: boolean
  /** The constant or setting that enforces `maxCount`. */
  readonly boundedBy: string
  /** Where `bytesEach` comes from. */
  readonly source: string
}

/** Bytes of a line when everything is full. */
export function worstCaseOf(line: MemoryLine, sessions: number): number {
  return line.maxCount * line.bytesEach * (line.perSession === true ? sessions : 1)
}
