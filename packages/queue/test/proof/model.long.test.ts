import { test } from 'node:test'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { checkModel, type ModelStore } from './model.ts'
import { recordProof, scaled } from './report.ts'

const RUNS = { memory: 100_000, sqlite: 10_000, postgres: 2000 } as const
/** A run of fast-check keeps what it needs for a shorter example; several are as good, each with its seed. */
const RUN = 500

async function inRuns(store: ModelStore): Promise<void> {
  const all = scaled(RUNS[store])
  for (let done = 0, seed = 1_000_001; done < all; seed++) {
    const runs = Math.min(RUN, all - done)
    await checkModel({ store, runs, seed })
    done += runs
    recordProof(`model, ${store}`, { of: all, sequences: done, violations: 0 })
  }
}

test(`${scaled(RUNS.memory)} sequences against the promises (memory)`, () => inRuns('memory'))

eachDatabase(({ dialect, test }) => {
  test(`${scaled(RUNS[dialect])} sequences against the promises`, () => inRuns(dialect))
})
