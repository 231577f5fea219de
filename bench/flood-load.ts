import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import NodeCache from '@cacheable/node-cache'
import { BoundedCache, CacheBudget } from '@eclusa/bounded-cache'
import { seededRandom } from '@eclusa/kernel'
import { LRUCache } from 'lru-cache'

/*
 * One way of holding the caches of 100 tenants under the flood, in a process of its own (see flood.ts). Each step reads
 * a key and then sets it, so hits tell how useful what is kept was. Values are strings of the sizes that Baileys' values
 * have as JSON, each a copy of its own.
 */

export type FloodMode = 'budget' | 'split' | 'node-cache' | 'caps' | 'caps-objects'

export interface FloodOrder {
  readonly mode: FloodMode
  readonly sets: number
  readonly tenants: number
  readonly budgetBytes: number
}

/** How it goes, every 65,536 sets: told at once, so that what ends before its result has left a trace. */
export interface FloodSample {
  readonly sets: number
  readonly rssMb: number
  readonly accountedMb: number
}

export type FloodMessage = { readonly sample: FloodSample } | { readonly result: FloodResult }

export interface FloodResult {
  readonly sets: number
  readonly seconds: number
  readonly hitRatio: number
  readonly worstTenantHitRatio: number
  readonly entries: number
  readonly accountedMb: number | null
  readonly peakAccountedMb: number | null
  readonly samples: number
  readonly samplesAboveBudget: number
  /** Samples at which a tenant that had filled its floor had less than it, by more than one entry. */
  readonly floorBreaches: number
  readonly liveMb: number
  readonly peakRssMb: number
  readonly rssMb: number
  readonly fullCollectionMs: number
  /** Sets that threw, because the library does so when it is full. */
  readonly thrown: number
}

const mb = (bytes: number): number => Math.round(bytes / 2 ** 20)

/** Document 2's seven caches: cap, part of the traffic, and the size of a value in bytes, median and spread. */
const KINDS = [
  { name: 'signalKeys', cap: 10_000, traffic: 0.4, medianBytes: 1_850, sigma: 1.2, ttlMs: 300_000 },
  { name: 'userDevices', cap: 5_000, traffic: 0.2, medianBytes: 234, sigma: 0.4, ttlMs: 300_000 },
  { name: 'msgRetry', cap: 10_000, traffic: 0.1, medianBytes: 1, sigma: 0, ttlMs: 3_600_000 },
  { name: 'lidMapping', cap: 2_000, traffic: 0.15, medianBytes: 34, sigma: 0.1, ttlMs: 3_600_000 },
  { name: 'placeholderResend', cap: 5_000, traffic: 0.05, medianBytes: 153, sigma: 0.3, ttlMs: 3_600_000 },
  { name: 'callOffer', cap: 500, traffic: 0.05, medianBytes: 191, sigma: 0.3, ttlMs: 300_000 },
  // The process-wide one, divided among the tenants.
  { name: 'lidGlobal', cap: 100, traffic: 0.05, medianBytes: 34, sigma: 0.1, ttlMs: 3_600_000 },
] as const

/** Keys of a cache are drawn from this many times its cap. */
const KEY_SPACE = 4
const ZIPF = 0.9
const MAX_VALUE_BYTES = 200_000

interface FloodCache {
  get(key: string): unknown
  set(key: string, value: unknown): unknown
  readonly size: number
}

process.once('message', (order: FloodOrder) => {
  const result = flood(order, (sample) => tell({ sample }))
  process.send?.({ result } satisfies FloodMessage, () => process.exit(0))
})

function tell(message: FloodMessage): void {
  process.send?.(message)
}

function flood(order: FloodOrder, note: (sample: FloodSample) => void): FloodResult {
  const random = seededRandom(7)
  const budget = order.mode === 'budget' ? new CacheBudget({ maxBytes: order.budgetBytes }) : null
  const caches = Array.from({ length: order.tenants }, (_, tenant) => makeCaches(order, budget, tenant))
  const draws = KINDS.map(({ cap }) => zipf(cap * KEY_SPACE, ZIPF))
  const sizes = KINDS.map(({ medianBytes, sigma }) =>
    Array.from({ length: 4_096 }, () =>
      Math.max(1, Math.min(MAX_VALUE_BYTES, Math.round(medianBytes * Math.exp(sigma * normal(random))))),
    ),
  )
  const tenantDraw = zipf(order.tenants, 0.6)
  const hits = new Float64Array(order.tenants)
  const steps = new Float64Array(order.tenants)
  const filled = new Set<number>()
  const result = { samples: 0, above: 0, breaches: 0 }
  let peakAccounted = 0
  let peakRss = 0
  let thrown = 0
  const startedAt = performance.now()

  for (let step = 0; step < order.sets; step++) {
    // Half-way the quiet tenants become the busy ones and the other way round: shares are lent, then taken back.
    const drawn = tenantDraw(random())
    const tenant = step * 2 < order.sets ? drawn : order.tenants - 1 - drawn
    const kind = kindOf(random())
    const rank = draws[kind]?.(random()) ?? 0
    const key = `${KINDS[kind]?.name}.5511${100_000_000 + rank}_1.0`
    const cache = caches[tenant]?.[kind] as FloodCache
    steps[tenant] = (steps[tenant] ?? 0) + 1
    if (cache.get(key) !== undefined) hits[tenant] = (hits[tenant] ?? 0) + 1
    const value = makeValue(sizes[kind]?.[(rank * 31 + tenant) & 4_095] ?? 1, order.mode)
    try {
      cache.set(key, value)
    } catch {
      thrown++
    }
    if (step % 2_048 === 0) {
      result.samples++
      if (budget !== null) {
        peakAccounted = Math.max(peakAccounted, budget.usedBytes)
        if (budget.usedBytes > budget.maxBytes) result.above++
        result.breaches += floorBreaches(budget, order.tenants, filled)
      }
      if (step % 65_536 === 0) {
        const rss = process.memoryUsage.rss()
        peakRss = Math.max(peakRss, rss)
        note({ sets: step, rssMb: mb(rss), accountedMb: mb(budget?.usedBytes ?? 0) })
      }
    }
  }
  const seconds = (performance.now() - startedAt) / 1_000

  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const collectingAt = performance.now()
  collect()
  const fullCollectionMs = performance.now() - collectingAt
  const { heapUsed, external, rss } = process.memoryUsage()
  const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0)
  return {
    sets: order.sets,
    seconds: Math.round(seconds * 10) / 10,
    hitRatio: Math.round((sum(hits) / sum(steps)) * 1e4) / 1e4,
    worstTenantHitRatio:
      Math.round(Math.min(...[...hits].map((count, tenant) => count / (steps[tenant] || 1))) * 1e4) / 1e4,
    entries: caches.flat().reduce((total, cache) => total + cache.size, 0),
    accountedMb: budget === null ? null : mb(budget.usedBytes),
    peakAccountedMb: budget === null ? null : mb(Math.max(peakAccounted, budget.stats().peakBytes)),
    samples: result.samples,
    samplesAboveBudget: result.above,
    floorBreaches: result.breaches,
    liveMb: mb(heapUsed + external),
    peakRssMb: mb(Math.max(peakRss, process.resourceUsage().maxRSS * 1_024)),
    rssMb: mb(rss),
    fullCollectionMs: Math.round(fullCollectionMs),
    thrown,
  }
}

function makeCaches(order: FloodOrder, budget: CacheBudget | null, tenant: number): FloodCache[] {
  // The static split: every tenant has its part of the bytes, every cache a part of that by what its cap would take.
  const weights = KINDS.map(
    ({ cap, medianBytes, sigma }) => cap * (medianBytes * Math.exp(sigma ** 2 / 2) + 140),
  )
  const all = weights.reduce((a, b) => a + b, 0)
  return KINDS.map(({ name, cap, ttlMs }, kind): FloodCache => {
    const options = { name, maxEntries: cap, ttlMs }
    if (order.mode === 'caps-objects') return new LRUCache<string, object>({ max: cap, ttl: ttlMs })
    if (order.mode === 'node-cache') return nodeCache(cap, ttlMs)
    if (budget !== null) return budget.owner(`tenant-${tenant}`).cache<unknown>(options)
    if (order.mode === 'caps') return new BoundedCache<unknown>(options)
    const share = (order.budgetBytes / order.tenants) * ((weights[kind] ?? 0) / all)
    return new BoundedCache<unknown>({ ...options, maxBytes: Math.round(share) })
  })
}

/** The library that document 2 names, as it says: `maxKeys`, values not copied. */
function nodeCache(maxKeys: number, ttlMs: number): FloodCache {
  const cache = new NodeCache<unknown>({ maxKeys, stdTTL: ttlMs / 1_000, useClones: false, checkperiod: 0 })
  return {
    get: (key) => cache.get(key),
    set: (key, value) => cache.set(key, value),
    get size() {
      return cache.getStats().keys
    },
  }
}

function floorBreaches(budget: CacheBudget, tenants: number, filled: Set<number>): number {
  let breaches = 0
  for (let tenant = 0; tenant < tenants; tenant++) {
    const owner = budget.owner(`tenant-${tenant}`)
    if (owner.usedBytes >= owner.floorBytes) filled.add(tenant)
    else if (filled.has(tenant) && owner.usedBytes < owner.floorBytes - MAX_VALUE_BYTES) breaches++
  }
  return breaches
}

/** A flat string of its own, or an object as Baileys itself keeps a session: chains of small strings and numbers. */
function makeValue(bytes: number, mode: FloodMode): unknown {
  if (mode !== 'caps-objects') return TEXT.toString('latin1', 0, bytes)
  // A chain in a session's JSON takes 105 bytes: its key, its counter and its state.
  return {
    chains: Array.from({ length: Math.max(1, Math.round(bytes / 105)) }, (_, turn) => ({
      chainKey: { counter: turn, key: TEXT.toString('latin1', turn, turn + 44) },
      chainType: 2,
      messageKeys: {},
    })),
  }
}
const TEXT = Buffer.alloc(MAX_VALUE_BYTES + 1_000, 'BXVzdGFmYWN0IGNoYWluIGtleSBvZiBhIHNlc3Npb24')

function kindOf(draw: number): number {
  let left = draw
  for (let kind = 0; kind < KINDS.length; kind++) {
    left -= KINDS[kind]?.traffic ?? 0
    if (left < 0) return kind
  }
  return 0
}

/** Ranks from 0, drawn by a table of the cumulated weights. */
function zipf(count: number, exponent: number): (draw: number) => number {
  const sums = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) sums[rank] = sum += (rank + 1) ** -exponent
  return (draw) => {
    const target = draw * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((sums[middle] ?? 0) < target) low = middle + 1
      else high = middle
    }
    return low
  }
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}
