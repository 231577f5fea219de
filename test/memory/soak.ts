import path from 'node:path'
import type { Probe } from '../../bench/memory-probe.ts'
import { API_KEY, GatewayProcess } from '../harness.ts'
import { type AccountedMemory, type LiveSample, rssOf, type RssSample, Sampler } from './sampler.ts'
import { StalledReaders } from './stalled-readers.ts'
import { ArrivalCheck, type ArrivalCounts, type TrafficSizes } from './traffic-plan.ts'
import type { TrafficProgress, TrafficTarget, WorldEnd } from './world.ts'
import { WorldProcess } from './world-process.ts'

export interface SoakSizes extends TrafficSizes {
  readonly tenants: number
  readonly stalledReaders: number
  /** Times that all connections drop at once, spread evenly. */
  readonly storms: number
  /** Times that a quarter of the phones send a history, spread evenly. */
  readonly historyRounds: number
  readonly chatsPerHistory: number
  /** Between two looks from outside. */
  readonly rssEveryMs: number
  /** From inside, spread evenly over the plan. */
  readonly looks: number
}

/** What carries the messages: the gateway, or a rival with an address for each instance that takes the same posts. */
export interface Subject {
  readonly pid: number
  readonly target: TrafficTarget
  collect(): Promise<Probe>
  /** What its caches hold by its own account; null where there is none. */
  memory(): Promise<AccountedMemory | null>
}

export interface SoakRun {
  readonly rss: readonly RssSample[]
  readonly live: readonly LiveSample[]
  readonly highestRssBytes: number
  readonly trafficMs: number
  readonly storms: number
  readonly historyBytes: number
  readonly progress: TrafficProgress
  readonly world: WorldEnd
}

/** The gateway in a process of its own, all instances linked and online. */
export async function startGateway(
  scope: { after(run: () => unknown): void },
  o: {
    readonly world: WorldProcess
    readonly sizes: SoakSizes
    readonly env: Readonly<Record<string, string>>
  },
): Promise<{ readonly gateway: GatewayProcess; readonly ids: readonly string[]; readonly subject: Subject }> {
  const { world, sizes } = o
  const gateway = await GatewayProcess.start(scope, {
    whatsapp: world.whatsapp,
    env: { ECLUSA_LOG_LEVEL: 'warn', ECLUSA_MAX_INSTANCES: String(sizes.instances), ...o.env },
    nodeArgs: [
      ...(process.env['SOAK_GATEWAY_ARGS']?.split(' ') ?? []),
      '--expose-gc',
      '--import',
      path.join(import.meta.dirname, '../../bench/memory-probe.ts'),
    ],
  })
  const ids: string[] = []
  while (ids.length < sizes.instances) {
    const batch = Array.from({ length: Math.min(8, sizes.instances - ids.length) }, (_, n) => ids.length + n)
    ids.push(
      ...(await Promise.all(
        batch.map((instance) =>
          gateway.link({
            name: `number ${instance}`,
            tenant: `tenant-${instance % sizes.tenants}`,
            scan: (qr) => world.scan(instance, qr),
          }),
        ),
      )),
    )
  }
  const { pid } = await gateway.ask<Probe>('memory')
  return {
    gateway,
    ids,
    subject: {
      pid,
      target: {
        sendUrls: ids.map((id) => `${gateway.url}/v1/instances/${id}/messages`),
        authorization: `Bearer ${API_KEY}`,
      },
      collect: () => gateway.ask<Probe>('memory'),
      memory: async () => (await gateway.call<{ now: AccountedMemory }>('GET', '/v1/memory')).now,
    },
  }
}

/** Plays the whole plan, storms and histories in between, and measures the while. */
export async function soak(
  world: WorldProcess,
  subject: Subject,
  sizes: SoakSizes,
  onProgress: (progress: TrafficProgress, last: LiveSample | undefined) => void = () => {},
): Promise<SoakRun> {
  const sampler = new Sampler({
    pid: subject.pid,
    collect: () => subject.collect(),
    memory: () => subject.memory(),
    rssEveryMs: sizes.rssEveryMs,
    looks: sizes.looks,
  })
  try {
    const startedAt = performance.now()
    await world.startTraffic(subject.target)
    let storms = 0
    let historyRounds = 0
    let historyBytes = 0
    let progress = await world.progress()
    while (!progress.finished) {
      sampler.done = progress.done
      await sampler.tick()
      onProgress(progress, sampler.live.at(-1))
      if (isDue(progress.done, storms, sizes.storms)) {
        storms += 1
        await world.storm()
      }
      if (isDue(progress.done, historyRounds, sizes.historyRounds)) {
        const quarter = historyRounds++ % 4
        const chosen = Array.from({ length: sizes.instances }, (_, n) => n).filter((n) => n % 4 === quarter)
        historyBytes += await world.sendHistories(chosen, sizes.chatsPerHistory)
      }
      await new Promise((resolve) => setTimeout(resolve, 250))
      progress = await world.progress()
    }
    const trafficMs = performance.now() - startedAt
    sampler.done = 1
    await sampler.lookInside()
    return {
      rss: sampler.rss,
      live: sampler.live,
      highestRssBytes: rssOf(subject.pid).highest,
      trafficMs,
      storms,
      historyBytes,
      progress,
      world: await world.end(),
    }
  } finally {
    sampler.stop()
  }
}

/** The soak of the gateway: with clients of the event stream that do not read, and the journal read at the end. */
export async function soakGateway(
  scope: { after(run: () => unknown): void },
  o: {
    readonly sizes: SoakSizes
    readonly env: Readonly<Record<string, string>>
    readonly onProgress?: (progress: TrafficProgress, last: LiveSample | undefined) => void
  },
): Promise<SoakRun & { readonly inbound: ArrivalCounts }> {
  const { sizes } = o
  const world = await WorldProcess.start(scope, sizes)
  const { gateway, ids, subject } = await startGateway(scope, { ...o, world })
  const readers = new StalledReaders(gateway.url, sizes.stalledReaders)
  scope.after(() => readers.stop())
  const run = await soak(world, subject, sizes, o.onProgress)
  readers.stop()
  return { ...run, inbound: await readJournal(gateway, ids, sizes) }
}

/** What came in, as the API tells it: page by page, instance by instance. */
async function readJournal(
  gateway: GatewayProcess,
  ids: readonly string[],
  sizes: TrafficSizes,
): Promise<ArrivalCounts> {
  const check = new ArrivalCheck('in', sizes)
  for (const id of ids) {
    let after = 0
    for (;;) {
      const { items, next } = await gateway.call<{ items: { text: string | null }[]; next: number | null }>(
        'GET',
        `/v1/instances/${id}/inbound?after=${after}&limit=500`,
      )
      for (const { text } of items) check.note(text ?? '')
      if (next === null) break
      after = next
    }
  }
  return check.result()
}

/**
 * The n-th of `count` events, from 0, comes in the middle of the n-th part of the plan: with 5 storms each fifth of it
 * lies the same way around its storm, so that fifths can be compared.
 */
function isDue(done: number, already: number, count: number): boolean {
  return already < count && done >= (already + 0.5) / count
}

/**
 * The claim of a soak: after a warm-up of a fifth, what lives no longer grows. `ratio` is the median of the last
 * quarter of what follows over that of its second quarter.
 */
export function growthOf(
  live: readonly LiveSample[],
  bytesOf: (sample: LiveSample) => number = ({ heapBytes, externalBytes }) => heapBytes + externalBytes,
): {
  readonly secondQuarterBytes: number
  readonly lastQuarterBytes: number
  readonly ratio: number
} {
  const fifth = (n: number): readonly LiveSample[] =>
    live.filter(({ done }) => done >= n / 5 && done <= (n + 1) / 5)
  const bytes = (samples: readonly LiveSample[]): number => median(samples.map(bytesOf))
  const secondQuarterBytes = bytes(fifth(2))
  const lastQuarterBytes = bytes(fifth(4))
  return { secondQuarterBytes, lastQuarterBytes, ratio: lastQuarterBytes / secondQuarterBytes }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
}
