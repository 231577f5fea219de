import assert from 'node:assert/strict'
import { test } from 'node:test'
import { diskShimFor, eachDatabase } from '@eclusa/storage/test-kit'
import { queueMigrations } from '../../src/index.ts'
import { crashLoop } from './crash-loop.ts'
import { diskFaults, powerCuts } from './disks.ts'
import { manyFaults } from './faults.ts'
import { figuresOf, recordProof, scaled } from './report.ts'
import { tracedCuts } from './traced-cuts.ts'

const KILLS = { sqlite: 1000, postgres: 300 } as const
/** A run is judged as a whole, so a long one is several: its history stays small and each has a seed of its own. */
const RUN = 100

eachDatabase(({ dialect, test, open }) => {
  test(`${scaled(KILLS[dialect])} times kill -9`, async (t) => {
    await inRuns(`kill -9, ${dialect}`, KILLS[dialect], async (kills, seed) => {
      const { database, place } = await open(t, queueMigrations)
      await database.stop()
      return crashLoop({ place, kills, seed })
    })
  })
})

test(`${scaled(200)} power cuts, each with a restart`, async (t) => {
  const library = diskShimFor(t)
  if (library === null) return
  await inRuns('power cuts with a restart', 200, (times, seed) => powerCuts({ library, times, seed }))
})

test(`${scaled(1000)} power cuts at calls of recorded runs`, async (t) => {
  const library = diskShimFor(t)
  if (library === null) return
  const { violations, ...figures } = await tracedCuts({ library, cuts: scaled(1000), seed: 1_000_001 })
  recordProof('power cuts at calls of recorded runs', {
    of: scaled(1000),
    ...figures,
    violations: violations.length,
  })
  assert.deepEqual(violations, [])
})

test(`${scaled(100)} disk errors, each with a restart`, async (t) => {
  const library = diskShimFor(t)
  if (library === null) return
  await inRuns('disk errors with a restart', 100, (times, seed) => diskFaults({ library, times, seed }))
})

test(`${scaled(1000)} disk errors at any call`, async (t) => {
  const library = diskShimFor(t)
  if (library === null) return
  const sum = { faults: 0, accepted: 0, refused: 0, unopened: 0, sends: 0 }
  const all: string[] = []
  for (let seed = 1_000_001; sum.faults < scaled(1000); seed++) {
    const { violations, ...figures } = await manyFaults({
      library,
      faults: Math.min(RUN, scaled(1000) - sum.faults),
      seed,
    })
    all.push(...violations)
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += figures[name]
    recordProof('disk errors at any call', { of: scaled(1000), ...sum, violations: all.length })
  }
  assert.deepEqual(all, [])
})

type Result = Awaited<ReturnType<typeof crashLoop>>

async function inRuns(
  name: string,
  times: number,
  run: (times: number, seed: number) => Promise<Result>,
): Promise<void> {
  const results: Result[] = []
  const sum = (of: (result: Result) => number): number => results.reduce((all, one) => all + of(one), 0)
  const violations = (): string[] => results.flatMap((result) => result.violations)
  for (let left = scaled(times), seed = 1; left > 0; left -= RUN, seed++) {
    results.push(await run(Math.min(left, RUN), seed))
    recordProof(name, {
      of: scaled(times),
      ...figuresOf({
        kills: sum(({ kills }) => kills),
        accepted: sum(({ accepted }) => accepted),
        sends: sum(({ sends }) => sends),
        duplicates: sum(({ duplicates }) => duplicates),
        refused: sum(({ refused }) => refused),
        readyMs: results.flatMap(({ readyMs }) => readyMs),
        violations: violations(),
      }),
    })
  }
  assert.deepEqual(violations(), [])
}
