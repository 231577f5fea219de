import assert from 'node:assert/strict'
import { test } from 'node:test'
import { simulate } from './simulation.ts'

const SEEDS = 300
/** Seeds that once failed; each stays for ever. */
const KEPT: readonly number[] = []

test(`in ${SEEDS} simulated days of 20 tenants full of trouble every invariant holds`, async (t) => {
  let accepted = 0
  let crashes = 0
  for (const seed of [...KEPT, ...Array.from({ length: SEEDS }, (_, index) => index + 1)]) {
    const result = await simulate(seed)
    accepted += result.accepted
    crashes += result.crashes
    assert.deepEqual(result.violations, [], `seed ${seed}`)
  }
  t.diagnostic(`${accepted} messages accepted, ${crashes} crashes`)
  assert(accepted > SEEDS * 100 && crashes > SEEDS * 5, 'hardly anything happened')
})
