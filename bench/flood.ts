import { fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { FloodMessage, FloodMode, FloodOrder, FloodResult, FloodSample } from './flood-load.ts'
import { writePlot } from './plot.ts'
import { report } from './report.ts'

/*
 * Document 2's caches under a flood: 100 tenants × seven caches, 20 million sets, Zipf keys, sizes with a long tail.
 * Once under one budget; once with the same bytes split statically among the caches, each a true LRU; then the document's
 * caps alone: in the library it names, in ours, and with objects as Baileys keeps them. Every run has a process of its
 * own. A run without a budget may use 8 GiB of heap, twice what Node takes by itself; when that is not enough, how far
 * it came is the result.
 *
 * FLOOD_SETS, FLOOD_TENANTS and FLOOD_BUDGET_MB change the size. FLOOD_ONLY=split (or another mode) makes that run alone
 * and keeps what the report on record says of the others, when it had the same size, and the picture.
 */

const sets = Number(process.env['FLOOD_SETS'] ?? 20_000_000)
const tenants = Number(process.env['FLOOD_TENANTS'] ?? 100)
const budgetBytes = Number(process.env['FLOOD_BUDGET_MB'] ?? 256) * 2 ** 20

/**
 * The budget is live bytes; V8 needs room to let garbage wait. A quarter more, and 64 MB for the process itself, keep it
 * collecting; a small young generation keeps what dies young from being counted twice.
 */
const heapMb = Math.ceil((budgetBytes / 2 ** 20) * 1.25 + 64)
const boundedFlags = [`--max-old-space-size=${heapMb}`, '--max-semi-space-size=8']
const rssCeilingMb = Math.ceil((budgetBytes / 2 ** 20) * 1.25 + 64 + 160)
const unboundedFlags = ['--max-old-space-size=8192']

/** Where a process died, and of what. */
interface End {
  readonly sets: number
  readonly rssMb: number
  readonly by: string
}

interface FloodRun {
  readonly curve: readonly FloodSample[]
  /** Null when the process died. */
  readonly result: FloodResult | null
  readonly endedAt?: End
}

type Outcome = FloodResult | { readonly endedAt: End | undefined }

const modes: Readonly<Record<FloodMode, readonly string[]>> = {
  budget: boundedFlags,
  split: boundedFlags,
  'node-cache': unboundedFlags,
  caps: unboundedFlags,
  'caps-objects': unboundedFlags,
}
const size = { sets, tenants, budgetMb: budgetBytes / 2 ** 20, flags: boundedFlags.join(' '), rssCeilingMb }
const only = process.env['FLOOD_ONLY']
const outcomes: Record<string, Outcome> = only === undefined ? {} : onRecord()
const curves: Partial<Record<FloodMode, readonly FloodSample[]>> = {}
for (const mode of Object.keys(modes) as FloodMode[]) {
  if (only !== undefined && only !== mode) continue
  const { curve, result, endedAt } = await run(mode, modes[mode])
  outcomes[mode] = result ?? { endedAt }
  curves[mode] = curve
}
const budget = resultOf('budget')
report('flood', 'npm run bench:flood', {
  size,
  runs: outcomes,
  verdicts: {
    accountedBytesNeverAboveTheBudget:
      budget?.samplesAboveBudget === 0 && (budget.peakAccountedMb ?? 0) * 2 ** 20 <= budgetBytes,
    rssWithinTheCeiling: (budget?.peakRssMb ?? Infinity) <= rssCeilingMb,
    everyTenantKeepsItsFloor: budget?.floorBreaches === 0,
    hitRatioAtLeastThatOfASplit: (budget?.hitRatio ?? 0) >= (resultOf('split')?.hitRatio ?? 1),
  },
})
if (only === undefined) draw()

function onRecord(): Record<string, Outcome> {
  const { results } = JSON.parse(
    readFileSync(path.join(import.meta.dirname, 'results', 'flood.json'), 'utf8'),
  ) as { results: { size: typeof size; runs: Record<string, Outcome> } }
  if (!isDeepStrictEqual(results.size, size)) throw new Error('the report on record has another size')
  return results.runs
}

function resultOf(mode: FloodMode): FloodResult | undefined {
  const outcome = outcomes[mode]
  return outcome !== undefined && 'hitRatio' in outcome ? outcome : undefined
}

function draw(): void {
  const points = (mode: FloodMode, what: 'rssMb' | 'accountedMb'): { x: number; y: number }[] =>
    (curves[mode] ?? []).map((sample) => ({ x: sample.sets / 1e6, y: sample[what] }))
  writePlot('flood', {
    title: `${tenants} tenants × seven caches: one budget, or caps alone`,
    xLabel: 'million sets',
    yLabel: 'MiB',
    lines: [
      { label: 'one budget: RSS', tone: 'ours', points: points('budget', 'rssMb') },
      { label: 'accounted', tone: 'ours', dashed: true, points: points('budget', 'accountedMb') },
      { label: 'caps, objects: RSS', tone: 'theirs', points: points('caps-objects', 'rssMb') },
      { label: 'caps, strings: RSS', tone: 'theirs', dashed: true, points: points('caps', 'rssMb') },
    ],
    limits: [{ label: 'ceiling', y: rssCeilingMb }],
  })
}

function run(mode: FloodMode, flags: readonly string[]): Promise<FloodRun> {
  const child = fork(path.join(import.meta.dirname, 'flood-load.ts'), { execArgv: [...flags] })
  const order: FloodOrder = { mode, sets, tenants, budgetBytes }
  const curve: FloodSample[] = []
  return new Promise((resolve, reject) => {
    child.on('message', (message: FloodMessage) => {
      if ('sample' in message) curve.push(message.sample)
      else resolve({ curve, result: message.result })
    })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      const { sets: reached, rssMb } = curve.at(-1) ?? { sets: 0, rssMb: 0 }
      resolve({ curve, result: null, endedAt: { sets: reached, rssMb, by: signal ?? `exit ${code}` } })
    })
    child.send(order)
  })
}
