import { fork } from 'node:child_process'
import path from 'node:path'
import type { FloodMode, FloodOrder, FloodResult } from './flood-load.ts'
import { writePlot } from './plot.ts'
import { report } from './report.ts'

/*
 * Document 2's caches under a flood: 100 tenants × seven caches, 20 million sets, Zipf keys, sizes with a long tail.
 * Once under one budget, once with the same bytes split statically among the caches (each a true LRU), once under the
 * document's caps alone, and once the caps with objects as Baileys keeps them. Every run has a process of its own.
 *
 * FLOOD_SETS, FLOOD_TENANTS and FLOOD_BUDGET_MB change the size.
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
const unboundedFlags = ['--max-old-space-size=18000']

const runs: Record<FloodMode, FloodResult> = {
  budget: await run('budget', boundedFlags),
  split: await run('split', boundedFlags),
  caps: await run('caps', unboundedFlags),
  'caps-objects': await run('caps-objects', unboundedFlags),
}
const { budget, split } = runs
report('flood', 'npm run bench:flood', {
  size: { sets, tenants, budgetMb: budgetBytes / 2 ** 20, flags: boundedFlags.join(' '), rssCeilingMb },
  runs: Object.fromEntries(
    Object.entries(runs).map(([mode, { curve: _drawn, ...figures }]) => [mode, figures]),
  ),
  verdicts: {
    accountedBytesNeverAboveTheBudget:
      budget.samplesAboveBudget === 0 && (budget.peakAccountedMb ?? 0) * 2 ** 20 <= budgetBytes,
    rssWithinTheCeiling: budget.peakRssMb <= rssCeilingMb,
    everyTenantKeepsItsFloor: budget.floorBreaches === 0,
    hitRatioAtLeastThatOfASplit: budget.hitRatio >= split.hitRatio,
  },
})

const points = (mode: FloodMode, what: 'rssMb' | 'accountedMb'): { x: number; y: number }[] =>
  runs[mode].curve.map((sample) => ({ x: sample.sets / 1e6, y: sample[what] }))
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

function run(mode: FloodMode, flags: readonly string[]): Promise<FloodResult> {
  const child = fork(path.join(import.meta.dirname, 'flood-load.ts'), { execArgv: [...flags] })
  const order: FloodOrder = { mode, sets, tenants, budgetBytes }
  return new Promise((resolve, reject) => {
    child.once('message', (result) => resolve(result as FloodResult))
    child.once('error', reject)
    child.once('exit', (code, signal) =>
      reject(new Error(`${mode} ended with ${code ?? signal} before its result`)),
    )
    child.send(order)
  })
}
