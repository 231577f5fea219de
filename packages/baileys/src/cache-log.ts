import { inspect } from 'node:util'
import { type PressureEvent, utilizationAdvice } from '@eclusa/bounded-cache'

/** Read once, when the package is loaded. The one variable this package knows; everything else is an option. */
// oxlint-disable-next-line node/no-process-env
const WANTED = process.env['BAILEYS_LOG'] === 'true'

export interface CacheLogOptions {
  /** Default: whether `BAILEYS_LOG` was `true` when the package was loaded. */
  readonly enabled?: boolean
  /** Takes one line, without its end. Default: standard output. */
  readonly print?: (line: string) => void
}

/** Prints what happens to caches, or nothing. A line never holds a key of a cache: those are phone numbers. */
export interface CacheLog {
  readonly enabled: boolean
  line(what: CacheLine, subject: string, fields: object): void
}

type CacheLine =
  | 'Cache initialized'
  | 'Cache metrics'
  | 'Cache nearly full'
  | 'Cache limit reached'
  | 'Cache eviction'
  | 'Cache option'
  | 'Cache error'
  | 'Socket cache summary'

/** Lines as `[BAILEYS] Cache limit reached: msgRetryCache { size: 10000, maxKeys: 10000, utilizationPct: '100%' }`. */
export function openCacheLog(options: CacheLogOptions = {}): CacheLog {
  const { enabled = WANTED, print = (line: string): void => void process.stdout.write(`${line}\n`) } = options
  return {
    enabled,
    line(what, subject, fields) {
      if (enabled)
        print(`[BAILEYS] ${what}: ${subject} ${inspect(fields, { breakLength: Infinity, compact: true })}`)
    },
  }
}

const PRESSURE_LINES = {
  warned: 'Cache nearly full',
  full: 'Cache limit reached',
  evicted: 'Cache eviction',
} as const satisfies Record<PressureEvent['kind'], CacheLine>

/** Prints what a cache tells of itself: at most one line of each kind a minute, evictions of that time summed up. */
export function logPressure(log: CacheLog, event: PressureEvent, account: string): void {
  const { kind, cache, size, maxEntries, evicted, remaining } = event
  const fields =
    kind === 'evicted'
      ? { evictedKeys: evicted, remaining, account }
      : {
          size,
          maxKeys: maxEntries,
          utilizationPct: percent(event.utilizationPct),
          bytes: event.bytes,
          account,
        }
  log.line(PRESSURE_LINES[kind], `${cache}Cache`, fields)
}

/** Any cache that can say how full it is: ours, a NodeCache, a foreign one. */
export type MeasurableCache =
  | { stats(): { readonly entries: number; readonly maxEntries: number; readonly bytes: number } }
  | { keys(): readonly string[]; readonly options: { readonly maxKeys?: number | undefined } }

/** Prints one line with size, cap and utilisation of a cache, and what that says about its cap. */
export function logCacheMemory(name: string, cache: MeasurableCache, log: CacheLog = openCacheLog()): void {
  if (!log.enabled) return
  log.line('Cache metrics', name, measure(cache))
}

/** Prints a line for each cache of a socket, and one that sums them up. */
export function logSocketCacheMetrics(
  socket: { cacheStats(): readonly { name: string; entries: number; maxEntries: number; bytes: number }[] },
  log: CacheLog = openCacheLog(),
): void {
  if (!log.enabled) return
  let size = 0
  let maxKeys = 0
  let bytes = 0
  for (const stats of socket.cacheStats()) {
    log.line('Cache metrics', `${stats.name}Cache`, measure({ stats: () => stats }))
    size += stats.entries
    maxKeys += stats.maxEntries
    bytes += stats.bytes
  }
  log.line('Socket cache summary', 'all', {
    totalKeys: size,
    totalMaxKeys: maxKeys,
    utilizationPct: percent((100 * size) / Math.max(1, maxKeys)),
    bytes,
  })
}

function measure(cache: MeasurableCache): object {
  const ours = 'stats' in cache ? cache.stats() : undefined
  const size = ours?.entries ?? ('keys' in cache ? cache.keys().length : 0)
  const maxKeys = ours?.maxEntries ?? ('options' in cache ? (cache.options.maxKeys ?? -1) : -1)
  const bytes = ours === undefined ? {} : { bytes: ours.bytes }
  if (!(maxKeys > 0))
    return { size, maxKeys: 'none', ...bytes, advice: 'without a cap it can only grow: give it one' }
  const used = (100 * size) / maxKeys
  return { size, maxKeys, utilizationPct: percent(used), ...bytes, advice: utilizationAdvice(used) }
}

/** `46.8%`, `100%`. */
function percent(value: number): string {
  return `${Math.round(value * 10) / 10}%`
}
