import { KIB, type MemoryLine, MIB, worstCaseOf } from '@eclusa/kernel'

/** How the ceiling is divided. All in bytes unless it says otherwise. */
export interface MemoryPlan {
  readonly ceilingBytes: number
  /** Sessions that were asked for, and that fit. */
  readonly sessionsAsked: number
  readonly sessions: number
  /** V8's limit of the old generation, for `--max-old-space-size`. */
  readonly oldSpaceBytes: number
  /** One of the three semi-spaces of the young generation, for `--max-semi-space-size`. */
  readonly semiSpaceBytes: number
  /** What may be live in the heap at once: the lines in the heap and the caches. */
  readonly liveHeapBytes: number
  /** The one budget of all caches; it lies in the heap. */
  readonly cacheBytes: number
  /** Buffers, sockets, SQLite, other threads, and the process itself. */
  readonly outsideBytes: number
  /** The worst case of all of it together; at most the ceiling when `fits`. */
  readonly totalBytes: number
  /** With the least caches: what the sessions asked for need. */
  readonly neededBytes: number
  readonly fits: boolean
  readonly lines: readonly PlannedLine[]
}

/** A line with the number of sessions that fit. */
export interface PlannedLine extends MemoryLine {
  readonly worstBytes: number
}

export interface PlanOptions {
  readonly ceilingBytes: number
  /** How many sessions are wanted, at least 1. */
  readonly sessions: number
  /** Whether fewer sessions are planned when so many do not fit. */
  readonly lower: boolean
  readonly lines: readonly MemoryLine[]
  /** Null: from what is left, between the least that works and MAX_CACHE_BYTES. */
  readonly cacheBytes: number | null
  /** V8's own is 16 MiB. */
  readonly semiSpaceBytes: number
}

/**
 * The heap's limit is so much more than what may be live in it. Measured: 256 MiB of caches in heaps of 1.4 to 2.9 times
 * that stayed at 530 to 788 MB RSS, with V8's own limit (18 GB) at 1.4 GB; below 1.3 the collector never rests.
 */
const HEAP_HEADROOM = 1.3
/** Room that the allocator loses between what is asked of it and what it takes from the system, on what changes size. */
const ALLOCATOR_SLACK = 0.1
/** More caches than this were not worth their collection pauses in the measured floods. */
export const MAX_CACHE_BYTES: number = 256 * MIB
/** The least that keeps sessions from reading everything from disk: 200 active contacts of one need 300 kB. */
const MIN_CACHE_BYTES = 8 * MIB
const MIN_CACHE_BYTES_PER_SESSION = 256 * KIB
/** Divides the ceiling. Pure. */
export function planMemory(options: PlanOptions): MemoryPlan {
  const { ceilingBytes, sessions: sessionsAsked } = options
  const asked = leastFor(options, sessionsAsked)
  const fitsAsAsked = asked.totalBytes <= ceilingBytes
  const sessions = fitsAsAsked || !options.lower ? sessionsAsked : mostThatFit(options)
  const least = sessions === sessionsAsked ? asked : leastFor(options, Math.max(1, sessions))
  const fits = sessions >= 1 && least.totalBytes <= ceilingBytes
  const spareBytes = Math.max(0, ceilingBytes - least.totalBytes)
  // A quarter of what is left to the caches; then the heap may take as much again as it needs, against our own errors:
  // a heap at its limit is a dead process, while an unused one costs nothing.
  const moreCache =
    options.cacheBytes === null
      ? clamp(spareBytes / 4 / HEAP_HEADROOM, 0, MAX_CACHE_BYTES - least.cacheBytes)
      : 0
  const cacheBytes = Math.floor(least.cacheBytes + moreCache)
  const liveHeapBytes = least.liveHeapBytes - least.cacheBytes + cacheBytes
  const neededHeap = Math.ceil(liveHeapBytes * HEAP_HEADROOM)
  const fixed = least.totalBytes - least.oldSpaceBytes
  const left = Math.max(0, ceilingBytes - fixed - neededHeap)
  const wanted = neededHeap + Math.min(neededHeap, left / 2)
  const oldSpaceBytes = Math.max(least.oldSpaceBytes, Math.floor(wanted / MIB) * MIB)
  return {
    ceilingBytes,
    sessionsAsked,
    sessions: fits ? sessions : 0,
    oldSpaceBytes,
    semiSpaceBytes: options.semiSpaceBytes,
    liveHeapBytes,
    cacheBytes,
    outsideBytes: least.outsideBytes,
    totalBytes: fixed + oldSpaceBytes,
    neededBytes: asked.totalBytes,
    fits,
    lines: options.lines.map((line) => ({ ...line, worstBytes: worstCaseOf(line, sessions) })),
  }
}

interface Least {
  readonly cacheBytes: number
  readonly liveHeapBytes: number
  readonly oldSpaceBytes: number
  readonly outsideBytes: number
  readonly totalBytes: number
}

/** What so many sessions need with the least caches. Grows with `sessions`. */
function leastFor({ lines, cacheBytes, semiSpaceBytes }: PlanOptions, sessions: number): Least {
  const cache =
    cacheBytes ?? Math.min(MAX_CACHE_BYTES, MIN_CACHE_BYTES + sessions * MIN_CACHE_BYTES_PER_SESSION)
  const sum = (place: MemoryLine['place']): number =>
    lines.reduce((total, line) => total + (line.place === place ? worstCaseOf(line, sessions) : 0), 0)
  const liveHeapBytes = sum('heap') + cache
  const oldSpaceBytes = wholeMib(liveHeapBytes * HEAP_HEADROOM)
  const outside = sum('outside')
  const slackFree = lines
    .filter((line) => line.place === 'outside' && line.measuredAsRss === true)
    .reduce((total, line) => total + worstCaseOf(line, sessions), 0)
  const outsideBytes = Math.ceil(outside + (outside - slackFree) * ALLOCATOR_SLACK)
  return {
    cacheBytes: cache,
    liveHeapBytes,
    oldSpaceBytes,
    outsideBytes,
    totalBytes: oldSpaceBytes + 3 * semiSpaceBytes + outsideBytes,
  }
}

/** 0 when not even one fits. */
function mostThatFit(options: PlanOptions): number {
  let fits = 0
  let tooMany = options.sessions
  while (tooMany - fits > 1) {
    const middle = Math.floor((fits + tooMany) / 2)
    if (leastFor(options, middle).totalBytes <= options.ceilingBytes) fits = middle
    else tooMany = middle
  }
  return fits
}

function wholeMib(bytes: number): number {
  return Math.ceil(bytes / MIB) * MIB
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), Math.max(low, high))
}
