import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordProof, scaled } from './report.ts'
import { simulate } from './simulation.ts'

/** Not the seeds that `npm test` runs. */
const FIRST = 1_000_001
const SEEDS = scaled(10_000)
const RECORD_EVERY = 500

test(`${SEEDS} simulated days`, async () => {
  const violations: string[] = []
  let accepted = 0
  let sends = 0
  let crashes = 0
  for (let seeds = 1; seeds <= SEEDS; seeds++) {
    const seed = FIRST + seeds - 1
    const result = await simulate(seed)
    accepted += result.accepted
    sends += result.sends
    crashes += result.crashes
    violations.push(...result.violations.map((line) => `seed ${seed}: ${line}`))
    if (seeds % RECORD_EVERY === 0 || seeds === SEEDS)
      recordProof('simulated days', {
        seeds,
        of: SEEDS,
        accepted,
        sends,
        crashes,
        violations: violations.length,
      })
  }
  assert.deepEqual(violations, [])
})
