import { SECOND, type TenantId } from '@eclusa/kernel'
import type { QueueStats } from '@eclusa/queue'
import type { DatabaseStats, LoggedEvent } from '@eclusa/storage'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ForwarderState } from '../events/sinks/event-forwarder.ts'
import type { CachesReport } from '../measurements/caches-report.ts'
import type { MemoryReport } from '../memory/memory-report.ts'

/** Tenants with a label of their own, the first to be seen; all further ones are `other`. */
export const MAX_TENANT_LABELS = 200

/** Where the numbers come from; asked when somebody looks. */
export interface MetricSources {
  readonly memory: () => MemoryReport
  readonly caches: () => CachesReport
  /** By instance. */
  readonly queue: () => Promise<readonly (QueueStats & { readonly tenant: TenantId })[]>
  /** The state of each instance's session. */
  readonly sessions: () => readonly string[]
  readonly activeFlows: () => number
  readonly database: () => DatabaseStats
  readonly sinks: () => Promise<readonly ForwarderState[]>
}

type Label = 'tenant' | 'status' | 'state' | 'kind' | 'cache' | 'type' | 'route' | 'code' | 'sink'

/**
 * What Prometheus reads at `GET /metrics`. Labels are bounded: tenants by MAX_TENANT_LABELS, all others by the lists in
 * the code (states, caches, types of events, routes).
 */
export class Metrics {
  readonly #registry = new Registry()
  // bounded by: MAX_TENANT_LABELS
  readonly #tenants = new Set<string>()
  readonly #events: Counter<'type' | 'tenant'>
  readonly #requests: Counter<'route' | 'code'>
  readonly #requestSeconds: Histogram<'route'>
  readonly #sources: MetricSources

  constructor(sources: MetricSources) {
    this.#sources = sources
    const registers = [this.#registry]
    this.#events = new Counter({
      name: 'eclusa_events_total',
      help: 'Events logged since the start, by type and tenant.',
      labelNames: ['type', 'tenant'],
      registers,
    })
    this.#requests = new Counter({
      name: 'eclusa_http_requests_total',
      help: 'Answered requests, by route and status code.',
      labelNames: ['route', 'code'],
      registers,
    })
    this.#requestSeconds = new Histogram({
      name: 'eclusa_http_request_seconds',
      help: 'Time to answer a request; streams and long polls are left out.',
      labelNames: ['route'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
      registers,
    })
    this.#declareMemory()
    this.#declareQueue()
    this.#declareCaches()
    this.#declareDatabase()
    this.#declareSinks()
  }

  /** Prometheus' text format. */
  async text(): Promise<{ readonly contentType: string; readonly body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() }
  }

  countEvent({ type, tenant }: LoggedEvent): void {
    this.#events.inc({ type, tenant: this.#tenantLabel(tenant) })
  }

  /** @param route as it was declared, `GET /v1/instances/:id`, never the address that was asked for */
  countRequest(route: string, code: number, ms: number | null): void {
    this.#requests.inc({ route, code: String(code) })
    if (ms !== null) this.#requestSeconds.observe({ route }, ms / SECOND)
  }

  #tenantLabel(tenant: string): string {
    if (this.#tenants.has(tenant)) return tenant
    if (this.#tenants.size >= MAX_TENANT_LABELS) return 'other'
    this.#tenants.add(tenant)
    return tenant
  }

  #declareMemory(): void {
    this.#gauge('eclusa_memory_bytes', 'Memory of the process, by kind.', ['kind'], (set) => {
      const { now } = this.#sources.memory()
      set({ kind: 'rss' }, now.rssBytes)
      set({ kind: 'heap_used' }, now.heapUsedBytes)
      set({ kind: 'heap_live' }, now.heapLiveBytes)
      set({ kind: 'external' }, now.externalBytes)
      set({ kind: 'caches' }, now.cacheBytes)
    })
    this.#gauge('eclusa_memory_limit_bytes', 'What must not be passed, by kind.', ['kind'], (set) => {
      const { plan, now } = this.#sources.memory()
      set({ kind: 'rss' }, plan.ceilingBytes)
      set({ kind: 'heap' }, now.heapLimitBytes)
      set({ kind: 'caches' }, now.cacheBudgetBytes)
    })
    this.#gauge('eclusa_memory_pressure_level', '0 is none, 3 the highest.', [], (set) =>
      set({}, this.#sources.memory().pressure.level),
    )
    this.#gauge('eclusa_event_loop_lag_seconds', 'How late the event loop is.', [], (set) =>
      set({}, this.#sources.memory().now.lagMs / SECOND),
    )
    this.#gauge('eclusa_event_streams', 'Open event streams and pages that wait.', [], (set) =>
      set({}, this.#sources.memory().eventStreams.open),
    )
    this.#gauge('eclusa_event_streams_unsent_bytes', 'What their clients have not taken.', [], (set) =>
      set({}, this.#sources.memory().eventStreams.unsentBytes),
    )
  }

  #declareQueue(): void {
    this.#gauge(
      'eclusa_queue_messages',
      'Outbound messages in the queue, by tenant and status.',
      ['tenant', 'status'],
      async (set) => {
        const sums = new Map<string, QueueStats>()
        for (const { tenant, pending, processing, failed } of await this.#sources.queue()) {
          const label = this.#tenantLabel(tenant)
          const sum = sums.get(label) ?? { pending: 0, processing: 0, failed: 0 }
          sums.set(label, {
            pending: sum.pending + pending,
            processing: sum.processing + processing,
            failed: sum.failed + failed,
          })
        }
        for (const [tenant, sum] of sums) {
          for (const status of ['pending', 'processing', 'failed'] as const) {
            set({ tenant, status }, sum[status])
          }
        }
      },
    )
    this.#gauge('eclusa_sessions', 'Instances, by the state of their session.', ['state'], (set) => {
      for (const [state, all] of Map.groupBy(this.#sources.sessions(), (one) => one)) {
        set({ state }, all.length)
      }
    })
    this.#gauge('eclusa_active_flows', 'Flows that walk just now.', [], (set) =>
      set({}, this.#sources.activeFlows()),
    )
  }

  #declareCaches(): void {
    const columns = [
      ['eclusa_cache_entries', 'Entries, of all caches of that name.', 'entries'],
      ['eclusa_cache_max_entries', 'Their caps.', 'maxEntries'],
      ['eclusa_cache_bytes', 'What they are charged.', 'bytes'],
      ['eclusa_cache_hits', 'Hits of the caches that are open now.', 'hits'],
      ['eclusa_cache_misses', 'Misses, likewise.', 'misses'],
      ['eclusa_cache_evictions', 'Entries that had to go for want of room, likewise.', 'evictions'],
    ] as const
    for (const [name, help, column] of columns) {
      this.#gauge(name, help, ['cache'], (set) => {
        for (const cache of this.#sources.caches().caches) set({ cache: cache.name }, cache[column])
      })
    }
  }

  #declareDatabase(): void {
    const columns = [
      ['eclusa_database_commits', 'Commits that reached the disk since the start.', 'commitCount'],
      ['eclusa_database_units', 'Units that became durable.', 'unitCount'],
      ['eclusa_database_failed_units', 'Units that failed.', 'failedUnitCount'],
      ['eclusa_database_reads', 'Reads.', 'readCount'],
      ['eclusa_database_waiting', 'Calls without an answer yet.', 'waitingCount'],
    ] as const
    for (const [name, help, column] of columns) {
      this.#gauge(name, help, [], (set) => set({}, this.#sources.database()[column]))
    }
  }

  #declareSinks(): void {
    const { sinks } = this.#sources
    this.#gauge('eclusa_event_sink_behind', 'Events that a broker does not have.', ['sink'], async (set) => {
      for (const { name, behind } of await sinks()) set({ sink: name }, behind)
    })
  }

  /** A gauge that is asked for when somebody looks; what is not set then is not told. */
  #gauge<Name extends Label>(
    name: string,
    help: string,
    labelNames: readonly Name[],
    collect: (set: (labels: Partial<Record<Name, string>>, value: number) => void) => void | Promise<void>,
  ): void {
    const gauge = new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers: [this.#registry],
      async collect() {
        gauge.reset()
        await collect((labels, value) => gauge.set(labels, value))
      },
    })
  }
}
