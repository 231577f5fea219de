import type { CacheBudget } from '@eclusa/bounded-cache'
import { z } from 'zod'

/** One row of caches of the same name, all accounts together. */
const cacheRow = z.object({
  name: z.string(),
  /** Caches of that name that are open. */
  count: z.int(),
  entries: z.int(),
  maxEntries: z.int(),
  bytes: z.number(),
  hits: z.number(),
  misses: z.number(),
  /** For want of room: the cap, the tenant's share or the budget. */
  evictions: z.number(),
  /** Because their time was over. */
  expirations: z.number(),
  /** Given back to the process under pressure. */
  shed: z.number(),
  refused: z.number(),
})

export const cachesReportSchema = z.object({
  budget: z.object({
    maxBytes: z.number(),
    usedBytes: z.number(),
    peakBytes: z.number(),
    evictions: z.number(),
    shed: z.number(),
    refused: z.number(),
  }),
  caches: z.array(cacheRow),
  /** Those that use most. */
  tenants: z.array(
    z.object({
      tenant: z.string(),
      usedBytes: z.number(),
      shareBytes: z.number(),
      floorBytes: z.number(),
      ceilingBytes: z.number(),
      evictions: z.number(),
    }),
  ),
})

export type CachesReport = z.infer<typeof cachesReportSchema>

const TOP_TENANTS = 10

interface Stats {
  readonly name: string
  readonly entries: number
  readonly maxEntries: number
  readonly bytes: number
  readonly hits: number
  readonly misses: number
  readonly evictions: number
  readonly expirations: number
  readonly shed: number
  readonly refused: number
}

/** Every cache summed up by name, and the tenants that use most of the one budget. */
export function cachesReport(stats: readonly Stats[], budget: CacheBudget): CachesReport {
  const rows = new Map<string, z.infer<typeof cacheRow>>()
  for (const {
    name,
    entries,
    maxEntries,
    bytes,
    hits,
    misses,
    evictions,
    expirations,
    shed,
    refused,
  } of stats) {
    const row = rows.get(name)
    rows.set(name, {
      name,
      count: (row?.count ?? 0) + 1,
      entries: (row?.entries ?? 0) + entries,
      maxEntries: (row?.maxEntries ?? 0) + maxEntries,
      bytes: (row?.bytes ?? 0) + bytes,
      hits: (row?.hits ?? 0) + hits,
      misses: (row?.misses ?? 0) + misses,
      evictions: (row?.evictions ?? 0) + evictions,
      expirations: (row?.expirations ?? 0) + expirations,
      shed: (row?.shed ?? 0) + shed,
      refused: (row?.refused ?? 0) + refused,
    })
  }
  const { maxBytes, usedBytes, peakBytes, evictions, shed, refused } = budget.stats()
  return {
    budget: { maxBytes, usedBytes, peakBytes, evictions, shed, refused },
    caches: [...rows.values()].toSorted((a, b) => b.bytes - a.bytes),
    tenants: budget.topOwners(TOP_TENANTS).map(({ name, ...owner }) => ({
      tenant: name,
      usedBytes: owner.usedBytes,
      shareBytes: owner.shareBytes,
      floorBytes: owner.floorBytes,
      ceilingBytes: owner.ceilingBytes,
      evictions: owner.evictions,
    })),
  }
}
