import { constants, monitorEventLoopDelay, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks'
import type { MemoryReading } from './pressure.ts'

/** Where readings come from. */
export interface MemoryReadings {
  /** One reading; the lag is that since the one before. */
  read(): MemoryReading
  /** Ends the watching. Idempotent. */
  stop(): void
}

const RESOLUTION_MS = 20

/** Watches this process: its collections, and how late its event loop is. */
export function watchProcess(): MemoryReadings {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  // Between collections the heap fills with garbage: only what is left after one tells how much lives.
  let liveBytes = Number.POSITIVE_INFINITY
  const collections = new PerformanceObserver((list) => {
    const isWhole = list.getEntries().some((entry) => {
      const { kind } = (entry as PerformanceEntry & { readonly detail: { readonly kind: number } }).detail
      return kind === constants.NODE_PERFORMANCE_GC_MAJOR
    })
    if (isWhole) liveBytes = process.memoryUsage().heapUsed
  })
  collections.observe({ entryTypes: ['gc'] })
  return {
    read() {
      const { rss, heapUsed, external } = process.memoryUsage()
      liveBytes = Math.min(liveBytes, heapUsed)
      const lagMs = Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS)
      delay.reset()
      return {
        rssBytes: rss,
        heapUsedBytes: heapUsed,
        heapLiveBytes: liveBytes,
        externalBytes: external,
        lagMs: Math.round(lagMs),
      }
    },
    stop() {
      delay.disable()
      collections.disconnect()
    },
  }
}
