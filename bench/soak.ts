import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { MIB } from '@eclusa/kernel'
import { growthOf, soak, soakGateway, type SoakRun, type SoakSizes } from '../test/memory/soak.ts'
import type { LiveSample } from '../test/memory/sampler.ts'
import { ArrivalCheck, type ArrivalCounts } from '../test/memory/traffic-plan.ts'
import type { TrafficProgress } from '../test/memory/world.ts'
import { WorldProcess } from '../test/memory/world-process.ts'
import type { Probe } from './memory-probe.ts'
import { writePlot } from './plot.ts'
import { BenchScope, machine, report, round } from './report.ts'

/*
 * Real sessions for a long time: the gateway in one process, the simulator with its contacts and the load in another;
 * new contacts until the end, every chat in both directions, storms of reconnects, histories, readers that never read.
 * Then plain Baileys with its default caches on the same load. Both are looked at every second from outside (RSS) and
 * 200 times from inside after a forced collection. Sizes by environment: SOAK_INSTANCES, SOAK_CONTACTS, SOAK_OUTBOUND,
 * SOAK_INBOUND, SOAK_CEILING_MIB, SOAK_LOOKS. SOAK_ONLY=gateway or baileys runs one of them, and keeps what the report
 * on record says of the other, when that had the same sizes; each tells when and where it ran.
 */

const sizes: SoakSizes = {
  instances: whole('SOAK_INSTANCES', 100),
  tenants: whole('SOAK_TENANTS', 10),
  contacts: whole('SOAK_CONTACTS', 50_000),
  outbound: whole('SOAK_OUTBOUND', 100_000),
  inbound: whole('SOAK_INBOUND', 100_000),
  stalledReaders: whole('SOAK_STALLED_READERS', 20),
  storms: whole('SOAK_STORMS', 5),
  historyRounds: whole('SOAK_HISTORY_ROUNDS', 10),
  chatsPerHistory: whole('SOAK_CHATS_PER_HISTORY', 200),
  rssEveryMs: 1_000,
  looks: whole('SOAK_LOOKS', 200),
}
/** Close above the least that 100 sessions fit under: `ECLUSA_MAX_INSTANCES=100 npm run eclusa -- memory`. */
const ceilingBytes = whole('SOAK_CEILING_MIB', 992) * MIB
const only = process.env['SOAK_ONLY']
const results = path.join(import.meta.dirname, 'results')

type Run = SoakRun & { readonly inbound: ArrivalCounts }
type Who = 'gateway' | 'plainBaileys'

/** What one of them left: its figures, and a point of its curves for each look from inside. */
interface Half {
  readonly figures: Record<string, unknown>
  readonly curve: readonly CurvePoint[]
}

interface CurvePoint {
  readonly minute: number
  /** The highest sample since the point before. */
  readonly rssMb: number
  readonly liveMb: number
  /** Null where nothing is counted. */
  readonly cachesMb: number | null
}

const halves = onRecord()
if (only !== 'baileys') {
  const run = await scoped(runGateway)
  halves.set('gateway', { figures: { ...figures(run), verdicts: verdicts(run) }, curve: curveOf(run) })
  // What took a quarter of an hour is not lost when the rival fails.
  tell()
}
if (only !== 'gateway') {
  const run = await scoped(runBaileys)
  halves.set('plainBaileys', { figures: figures(run), curve: curveOf(run) })
  tell()
}

/** Report and picture of what has been run. */
function tell(): void {
  report('soak', 'npm run bench:soak', {
    sizes,
    ceilingMb: megabytes(ceilingBytes),
    collection: 'two full collections, forced, before each look from inside; the same for both',
    ...Object.fromEntries([...halves].map(([who, half]) => [who, half.figures])),
    aim: { growth: 1.03 },
  })
  const rows = [...halves].flatMap(([who, { curve }]) =>
    curve.map(({ minute, rssMb, liveMb, cachesMb }) =>
      [who, minute, rssMb, liveMb, cachesMb ?? ''].join(','),
    ),
  )
  writeFileSync(
    path.join(results, 'soak.csv'),
    ['who,minute,rss MB,live MB,caches MB', ...rows, ''].join('\n'),
  )
  draw()
}

/** What the report on record says, if its sizes are ours. */
function onRecord(): Map<Who, Half> {
  const found = new Map<Who, Half>()
  let recorded: Record<string, unknown>
  let rows: string[][]
  try {
    recorded = (
      JSON.parse(readFileSync(path.join(results, 'soak.json'), 'utf8')) as { results: typeof recorded }
    ).results
    rows = readFileSync(path.join(results, 'soak.csv'), 'utf8')
      .split('\n')
      .map((line) => line.split(','))
  } catch {
    return found
  }
  if (!isDeepStrictEqual(recorded['sizes'], { ...sizes })) return found
  for (const who of ['gateway', 'plainBaileys'] as const) {
    const figures = recorded[who] as Half['figures'] | undefined
    if (figures === undefined) continue
    const curve = rows
      .filter(([whose]) => whose === who)
      .map(([, minute, rssMb, liveMb, cachesMb]) => ({
        minute: Number(minute),
        rssMb: Number(rssMb),
        liveMb: Number(liveMb),
        cachesMb: cachesMb ? Number(cachesMb) : null,
      }))
    found.set(who, { figures, curve })
  }
  return found
}

function curveOf({ rss, live }: SoakRun): CurvePoint[] {
  let next = 0
  return live.map((look) => {
    let highest = look.rssBytes
    for (; next < rss.length && (rss[next]?.atMs ?? 0) <= look.atMs; next++)
      highest = Math.max(highest, rss[next]?.rssBytes ?? 0)
    return {
      minute: round(look.atMs / 60_000),
      rssMb: megabytes(highest),
      liveMb: megabytes(liveBytes(look)),
      cachesMb: look.accounted === null ? null : megabytes(look.accounted.cacheBytes),
    }
  })
}

function verdicts(run: Run): Record<string, boolean> {
  return {
    everyRssSampleUnderCeiling: run.rss.every(({ rssBytes }) => rssBytes <= ceilingBytes),
    highestRssUnderCeiling: run.highestRssBytes <= ceilingBytes,
    noGrowthAfterWarmUp: growthOf(run.live).ratio <= 1.03,
    cachesWithinBudget: run.live.every(
      ({ accounted }) => accounted !== null && accounted.cacheBytes <= accounted.cacheBudgetBytes,
    ),
    outboundOnceAndInOrder: isPerfect(run.world.outbound),
    inboundAllJournalledOnce: isComplete(run.inbound),
  }
}

/** The simulator ends with each run, so that the second finds what the first found. */
async function scoped<T>(run: (scope: BenchScope) => Promise<T>): Promise<T> {
  const scope = new BenchScope()
  try {
    return await run(scope)
  } finally {
    await scope.close()
  }
}

function runGateway(scope: BenchScope): Promise<Run> {
  return soakGateway(scope, {
    sizes,
    env: { ECLUSA_MEMORY_CEILING: String(ceilingBytes) },
    onProgress: teller('gateway'),
  })
}

async function runBaileys(scope: BenchScope): Promise<Run> {
  const folder = mkdtempSync(path.join(tmpdir(), 'eclusa-soak-'))
  scope.after(() => rmSync(folder, { recursive: true, force: true }))
  const world = await WorldProcess.start(scope, sizes)
  const check = new ArrivalCheck('in', sizes)
  const child = fork(
    path.join(import.meta.dirname, 'bare-baileys-many.ts'),
    [world.whatsapp, String(sizes.instances), folder],
    { execArgv: ['--expose-gc', '--import', path.join(import.meta.dirname, 'memory-probe.ts')] },
  )
  scope.after(() => end(child))
  const url = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`plain Baileys ended with ${code}`)))
    child.on('message', (told: FromBaileys) => {
      if (told.qr !== undefined) world.scan(told.instance ?? 0, told.qr).catch(reject)
      if (told.url !== undefined) resolve(told.url)
      for (const text of told.received ?? []) check.note(text)
    })
  })
  const subject = {
    pid: child.pid ?? 0,
    target: {
      sendUrls: Array.from({ length: sizes.instances }, (_, instance) => `${url}/${instance}`),
      authorization: '',
    },
    collect: () => probe(child),
    memory: () => Promise.resolve(null),
  }
  const run = await soak(world, subject, sizes, teller('plain Baileys'))
  return { ...run, inbound: check.result() }
}

interface FromBaileys {
  readonly instance?: number
  readonly qr?: string
  readonly url?: string
  readonly received?: readonly string[]
  readonly rss?: number
}

function probe(child: ChildProcess): Promise<Probe> {
  return new Promise((resolve, reject) => {
    const onMessage = (told: FromBaileys): void => {
      if (told.rss === undefined) return
      child.off('message', onMessage)
      resolve(told as unknown as Probe)
    }
    child.on('message', onMessage)
    child.send('memory', (error) => {
      if (error !== null) reject(error)
    })
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
}

function figures(run: Run): Record<string, unknown> {
  const { rss, live, world, progress, inbound } = run
  const { ratio, secondQuarterBytes, lastQuarterBytes } = growthOf(live)
  const last = live.at(-1)
  const first = live[0]
  return {
    machine: machine(),
    minutes: round(run.trafficMs / 60_000, 1),
    messagesPerSecond: round((progress.sentIn + progress.sentOut) / (run.trafficMs / 1000), 1),
    cpuMsPerMessage: round(
      ((last?.cpuMicros ?? 0) - (first?.cpuMicros ?? 0)) / 1000 / (progress.sentIn + progress.sentOut),
    ),
    rssMb: {
      samples: rss.length,
      highestSample: megabytes(Math.max(...rss.map(({ rssBytes }) => rssBytes))),
      highestEver: megabytes(run.highestRssBytes),
      last: megabytes(rss.at(-1)?.rssBytes ?? 0),
    },
    liveMb: {
      samples: live.length,
      secondQuarter: megabytes(secondQuarterBytes),
      lastQuarter: megabytes(lastQuarterBytes),
      growth: round(ratio, 3),
      highest: megabytes(Math.max(...live.map(liveBytes))),
    },
    ...(isAccounted(live)
      ? {
          cachesMb: {
            highest: megabytes(Math.max(...live.map(({ accounted }) => accounted?.cacheBytes ?? 0))),
            budget: megabytes(live[0]?.accounted?.cacheBudgetBytes ?? 0),
          },
          // Where a leak would show first: what lives besides the caches, whose bytes have their own bound.
          outsideCachesGrowth: round(
            growthOf(live, (sample) => liveBytes(sample) - (sample.accounted?.cacheBytes ?? 0)).ratio,
            3,
          ),
        }
      : {}),
    storms: run.storms,
    historyMb: megabytes(run.historyBytes),
    outbound: world.outbound,
    inbound,
    simulator: {
      logins: world.logins,
      redeliveries: world.redeliveries,
      repeatsDropped: world.repeatsDropped,
      retriesAskedByClients: world.retriesAskedByClients,
      retriesAskedByPhones: world.retriesAskedByPhones,
      violations: world.violations,
      problems: world.problems.slice(0, 5),
      cpuSeconds: Math.round(world.cpuMicros / 1e6),
    },
  }
}

function draw(): void {
  const curves = (
    who: Who,
    label: string,
    tone: 'ours' | 'theirs',
  ): Parameters<typeof writePlot>[1]['lines'] => {
    const { curve } = halves.get(who) ?? {}
    if (curve === undefined) return []
    const of = (what: 'rssMb' | 'liveMb'): { x: number; y: number }[] =>
      curve.map((point) => ({ x: point.minute, y: point[what] }))
    return [
      { label: `${label}: RSS`, tone, points: of('rssMb') },
      { label: `${label}: live`, tone, dashed: true, points: of('liveMb') },
    ]
  }
  const count = (sizes.inbound + sizes.outbound).toLocaleString('en')
  writePlot('soak', {
    title: `${sizes.instances} numbers, ${sizes.contacts.toLocaleString('en')} contacts, ${count} messages, one process`,
    xLabel: 'minutes (each stops when its messages have arrived)',
    yLabel: 'MB',
    lines: [...curves('gateway', 'Eclusa', 'ours'), ...curves('plainBaileys', 'plain Baileys', 'theirs')],
    limits: halves.has('gateway') ? [{ label: 'ceiling of Eclusa', y: megabytes(ceilingBytes) }] : [],
  })
}

/** A line each half minute: what runs for long should say that it does. */
function teller(who: string): (progress: TrafficProgress, last: LiveSample | undefined) => void {
  const startedAt = performance.now()
  let toldAt = Number.NEGATIVE_INFINITY
  return (progress, last) => {
    if (performance.now() - toldAt < 30_000) return
    toldAt = performance.now()
    const seconds = Math.round((toldAt - startedAt) / 1000)
    const memory =
      last === undefined ? '' : `, RSS ${megabytes(last.rssBytes)} MB, live ${megabytes(liveBytes(last))} MB`
    process.stderr.write(`${who}: ${seconds} s, ${round(progress.done * 100, 1)} %${memory}\n`)
  }
}

function liveBytes({ heapBytes, externalBytes }: LiveSample): number {
  return heapBytes + externalBytes
}

function isAccounted(live: readonly LiveSample[]): boolean {
  return live.every(({ accounted }) => accounted !== null)
}

function isComplete({ missing, twice, strange }: ArrivalCounts): boolean {
  return missing === 0 && twice === 0 && strange === 0
}

function isPerfect(counts: ArrivalCounts): boolean {
  return isComplete(counts) && counts.overtaken === 0
}

/** In millions of bytes. */
function megabytes(bytes: number): number {
  return round(bytes / 1e6, 1)
}

function whole(name: string, fallback: number): number {
  const value = Number(process.env[name] ?? fallback)
  if (!Number.isInteger(value) || value < 0) throw new RangeError(`${name} must be a whole number`)
  return value
}
