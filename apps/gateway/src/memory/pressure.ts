import { SECOND } from '@eclusa/kernel'

/** What is looked at, in bytes and milliseconds. */
export interface MemoryReading {
  readonly rssBytes: number
  /** Heap in use, garbage included. */
  readonly heapUsedBytes: number
  /** Heap in use after the last whole collection: what lives. */
  readonly heapLiveBytes: number
  /** Buffers and WebAssembly. */
  readonly externalBytes: number
  /** How late the event loop was, 99th percentile since the reading before. */
  readonly lagMs: number
}

/** What the readings are held against. */
export interface PressureLimits {
  readonly ceilingBytes: number
  readonly heapLimitBytes: number
  readonly outsideBytes: number
}

/**
 * | level | from | what happens                                                        |
 * |-------|------|---------------------------------------------------------------------|
 * | 0     |      | nothing                                                             |
 * | 1     | 70 % | caches give half back                                               |
 * | 2     | 80 % | caches keep a quarter; history syncs and media wait                 |
 * | 3     | 90 % | caches keep a tenth; new links and starts of sessions wait          |
 *
 * Messages are never held: the queue is on disk.
 */
type PressureLevel = 0 | 1 | 2 | 3

export interface Pressure {
  readonly level: PressureLevel
  /** The event loop is so late that history syncs and media wait, whatever the memory. */
  readonly busy: boolean
  /** What is fullest, and how full: 0.83 of its limit. */
  readonly fullest: 'rss' | 'heap' | 'outside'
  readonly share: number
  /** Since when it has been clearly below its level; null while it is not. Epoch milliseconds. */
  readonly easedAt: number | null
  /** The same for `busy`. */
  readonly idleAt: number | null
}

export const NO_PRESSURE: Pressure = {
  level: 0,
  busy: false,
  fullest: 'rss',
  share: 0,
  easedAt: null,
  idleAt: null,
}

const FROM = [0, 0.7, 0.8, 0.9] as const
/** A level is left below its mark less this, after so long below it, one at a time: so that nothing flaps. */
const EASE_BY = 0.05
const EASE_AFTER_MS: number = 30 * SECOND
/** People notice a quarter of a second; keep-alives fail at 5 s. */
const BUSY_FROM_MS = 250
const IDLE_BELOW_MS = 100

/** How pressed the process is after one more reading. Pure: rises at once, falls late. */
export function judge(
  before: Pressure,
  reading: MemoryReading,
  limits: PressureLimits,
  now: number,
): Pressure {
  const { fullest, share } = fullestOf(reading, limits)
  const reached = levelOf(share)
  const memory = ((): Pick<Pressure, 'level' | 'easedAt'> => {
    if (reached >= before.level) return { level: reached, easedAt: null }
    if (share >= FROM[before.level] - EASE_BY) return { level: before.level, easedAt: null }
    const easedAt = before.easedAt ?? now
    if (now - easedAt < EASE_AFTER_MS) return { level: before.level, easedAt }
    return { level: (before.level - 1) as PressureLevel, easedAt: now }
  })()
  return { fullest, share, ...memory, ...judgeLag(before, reading.lagMs, now) }
}

function judgeLag(before: Pressure, lagMs: number, now: number): Pick<Pressure, 'busy' | 'idleAt'> {
  if (!before.busy || lagMs >= IDLE_BELOW_MS)
    return { busy: before.busy || lagMs >= BUSY_FROM_MS, idleAt: null }
  const idleAt = before.idleAt ?? now
  return now - idleAt < EASE_AFTER_MS ? { busy: true, idleAt } : { busy: false, idleAt: null }
}

function fullestOf(reading: MemoryReading, limits: PressureLimits): Pick<Pressure, 'fullest' | 'share'> {
  const shares = [
    { fullest: 'rss', share: reading.rssBytes / limits.ceilingBytes },
    { fullest: 'heap', share: reading.heapLiveBytes / limits.heapLimitBytes },
    { fullest: 'outside', share: reading.externalBytes / limits.outsideBytes },
  ] as const
  return shares.reduce((most, one) => (one.share > most.share ? one : most))
}

function levelOf(share: number): PressureLevel {
  if (share >= FROM[3]) return 3
  if (share >= FROM[2]) return 2
  return share >= FROM[1] ? 1 : 0
}

/** What follows from a pressure. */
export interface Measures {
  /** Of the planned budget of the caches. */
  readonly cacheShare: number
  readonly holdHistory: boolean
  readonly holdMedia: boolean
  readonly holdStarts: boolean
}

export function measuresFor({ level, busy }: Pick<Pressure, 'level' | 'busy'>): Measures {
  const wait = level >= 2 || busy
  return {
    cacheShare: [1, 0.5, 0.25, 0.1][level] ?? 1,
    holdHistory: wait,
    holdMedia: wait,
    holdStarts: level >= 3,
  }
}
