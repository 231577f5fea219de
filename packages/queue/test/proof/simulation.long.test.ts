import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordProof, scaled } from './report.ts'
import { simulate } from './simulation.ts'

/** Not the seeds that `npm test` runs. */
const FIRST = 1_000_001

test(`${scaled(10_000)} simulated days`, async () => {
  const violations: string[] = []
  let accepted = 0
  let sends = 0
  let crashes = 0
  for (let seed = FIRST; seed < FIRST + scaled(10_000); seed++) {
    const result = await simulate(seed)
    accepted += result.accepted
    sends += result.sends
    crashes += result.crashes
    violations.push(...result.violations.map((line) => `seed ${seed}: ${line}`))
  }
  const seeds = scaled(10_000)
  recordProof('simulation', { seeds, accepted, sends, crashes, violations: violations.length })
  assert.deepEqual(violations, [])
})
