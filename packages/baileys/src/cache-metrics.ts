import type { CacheBudget, CacheStats } from '@eclusa/bounded-cache'

/** One value, in the shape every metrics library can take. */
export interface MetricSample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Series of single owners: of those that use most. */
const TOP_OWNERS = 10

/**
 * The caches of any number of sockets, summed up by name of cache; none of the labels names an account. With a `budget`
 * also how much of it is used, and by which ten owners most. Totals count the sockets that are open: they fall when one
 * closes, as a counter does at a restart.
 */
export function socketCacheMetrics(options: {
  readonly sockets: Iterable<{ cacheStats(): readonly (CacheStats & { readonly errors?: number })[] }>
  readonly budget?: CacheBudget
}): readonly MetricSample[] {
  // bounded by: the names of the caches
  const sums = new Map<string, number>()
  const add = (name: string, cache: string, value: number, reason = ''): void => {
    const key = `${name} ${cache} ${reason}`
    sums.set(key, (sums.get(key) ?? 0) + value)
  }
  for (const socket of options.sockets) {
    for (const stats of socket.cacheStats()) {
      add('cache_entries', stats.name, stats.entries)
      add('cache_max_entries', stats.name, stats.maxEntries)
      add('cache_bytes', stats.name, stats.bytes)
      add('cache_hits_total', stats.name, stats.hits)
      add('cache_misses_total', stats.name, stats.misses)
      add('cache_evictions_total', stats.name, stats.expirations, 'ttl')
      add('cache_evictions_total', stats.name, stats.evictions, 'bound')
      add('cache_evictions_total', stats.name, stats.shed, 'process')
      add('cache_refused_total', stats.name, stats.refused)
      add('cache_overflows_total', stats.name, stats.overflows)
      add('cache_errors_total', stats.name, stats.errors ?? 0)
    }
  }
  const samples = [...sums].map(([key, value]): MetricSample => {
    const [name = '', cache = '', reason = ''] = key.split(' ')
    return { name, labels: reason === '' ? { cache } : { cache, reason }, value }
  })
  const ratios = samples
    .filter(({ name }) => name === 'cache_entries')
    .map(({ labels, value }): MetricSample => {
      const max = sums.get(`cache_max_entries ${labels['cache']} `) ?? 1
      return { name: 'cache_utilization_ratio', labels, value: value / max }
    })
  return [...samples, ...ratios, ...(options.budget === undefined ? [] : budgetSamples(options.budget))]
}

function budgetSamples(budget: CacheBudget): readonly MetricSample[] {
  const { maxBytes, usedBytes, peakBytes, owners } = budget.stats()
  const top = budget.topOwners(TOP_OWNERS)
  const plain = {
    cache_budget_bytes: maxBytes,
    cache_budget_used_bytes: usedBytes,
    cache_budget_peak_bytes: peakBytes,
  }
  return [
    ...Object.entries({ ...plain, cache_owners: owners, tenant_bytes_max: top[0]?.usedBytes ?? 0 }).map(
      ([name, value]) => ({ name, labels: {}, value }),
    ),
    ...top.map(({ name, usedBytes }) => ({
      name: 'tenant_bytes',
      labels: { tenant: name },
      value: usedBytes,
    })),
  ]
}
