import { getHeapStatistics } from 'node:v8'
import { z } from 'zod'
import type { EventStreams } from '../events/event-streams.ts'
import type { GatewayPlan } from './gateway-plan.ts'
import type { MemoryGovernor } from './governor.ts'
import { measuresFor } from './pressure.ts'

const bytes = z.number()

/** What is planned and what is: plain numbers, for whoever shows or exports them. */
export const memoryReportSchema = z
  .object({
    plan: z.object({
      ceilingBytes: bytes,
      machineBytes: bytes,
      machineSource: z.string(),
      worstCaseBytes: bytes,
      heapLimitBytes: bytes,
      semiSpaceBytes: bytes,
      liveHeapBytes: bytes,
      outsideBytes: bytes,
      cacheBytes: bytes,
      pageCacheBytes: bytes,
      sessions: z.number(),
      sessionsAsked: z.number(),
      lines: z.array(
        z.object({
          owner: z.string(),
          name: z.string(),
          place: z.string(),
          perSession: z.boolean(),
          maxCount: z.number(),
          bytesEach: bytes,
          worstBytes: bytes,
          boundedBy: z.string(),
          source: z.string(),
        }),
      ),
    }),
    now: z.object({
      rssBytes: bytes,
      heapUsedBytes: bytes,
      heapLiveBytes: bytes,
      heapLimitBytes: bytes.describe(
        "V8's own limit in this process; above the plan's when Node was not started by the launcher",
      ),
      externalBytes: bytes,
      lagMs: z.number(),
      cacheBytes: bytes,
      cacheBudgetBytes: bytes,
    }),
    pressure: z.object({
      level: z.number(),
      busy: z.boolean(),
      fullest: z.string(),
      percent: z.number(),
      cacheShare: z.number(),
      historyHeld: z.boolean(),
      mediaHeld: z.boolean(),
      startsHeld: z.boolean(),
      pressedCount: z.number(),
      relievedCount: z.number(),
      shedBytes: bytes,
    }),
    eventStreams: z
      .object({ open: z.number(), unsentBytes: bytes, mostUnsentBytes: bytes })
      .describe(
        'Streams of events: what their clients have not taken, of all and of the one that is furthest behind',
      ),
  })
  .meta({ id: 'MemoryReport' })

export type MemoryReport = z.infer<typeof memoryReportSchema>

export function memoryReport(options: {
  readonly plan: GatewayPlan
  readonly governor: MemoryGovernor
  readonly caches: { readonly usedBytes: number; readonly maxBytes: number }
  readonly streams: Pick<EventStreams, 'stats'>
}): MemoryReport {
  const { plan, governor, caches, streams } = options
  const { reading, pressure, pressedCount, relievedCount, shedBytes } = governor.report()
  const measures = measuresFor(pressure)
  return {
    plan: {
      ceilingBytes: plan.ceilingBytes,
      machineBytes: plan.machine.bytes,
      machineSource: plan.machine.source,
      worstCaseBytes: plan.totalBytes,
      heapLimitBytes: plan.oldSpaceBytes,
      semiSpaceBytes: plan.semiSpaceBytes,
      liveHeapBytes: plan.liveHeapBytes,
      outsideBytes: plan.outsideBytes,
      cacheBytes: plan.cacheBytes,
      pageCacheBytes: plan.limits.pageCacheBytes,
      sessions: plan.sessions,
      sessionsAsked: plan.sessionsAsked,
      lines: plan.lines.map((line) => ({ ...line, perSession: line.perSession === true })),
    },
    now: {
      ...reading,
      heapLimitBytes: getHeapStatistics().heap_size_limit,
      cacheBytes: caches.usedBytes,
      cacheBudgetBytes: caches.maxBytes,
    },
    pressure: {
      level: pressure.level,
      busy: pressure.busy,
      fullest: pressure.fullest,
      percent: Math.round(pressure.share * 100),
      cacheShare: measures.cacheShare,
      historyHeld: measures.holdHistory,
      mediaHeld: measures.holdMedia,
      startsHeld: measures.holdStarts,
      pressedCount,
      relievedCount,
      shedBytes,
    },
    eventStreams: streams.stats(),
  }
}
