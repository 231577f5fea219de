import { test } from 'node:test'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { checkModel } from './model.ts'

const RUNS = { memory: 2000, sqlite: 300, postgres: 100 } as const
const SEED = 20_261
const CLAIM =
  'whatever happens, nothing is lost, doubled under a new id, reordered in its chat, or sent after a cancel'

test(`${CLAIM} (memory)`, () => checkModel({ store: 'memory', runs: RUNS.memory, seed: SEED }))

eachDatabase(({ dialect, test }) => {
  test(CLAIM, () => checkModel({ store: dialect, runs: RUNS[dialect], seed: SEED }))
})
