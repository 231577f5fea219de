import { eachDatabase } from '@eclusa/storage/test-kit'
import { recordProof, scaled } from '../../../../packages/queue/test/proof/report.ts'
import { checkOptOuts } from './model.ts'

const LIVES = { sqlite: 100_000, postgres: 5_000 } as const
const PEOPLE = 200
/** Worlds between two entries in the record. */
const WORLDS = 5

eachDatabase(({ dialect, test }) => {
  const all = scaled(LIVES[dialect])
  test(`${all} lives beside one another: no path sends to who opted out`, async () => {
    const sum = { lives: 0, steps: 0, sends: 0, allowed: 0 }
    for (let seed = 1_000_001; sum.lives < all; seed++) {
      const { lives, steps, sends, allowed } = await checkOptOuts({
        dialect,
        worlds: WORLDS,
        people: PEOPLE,
        seed,
      })
      sum.lives += lives
      sum.steps += steps
      sum.sends += sends
      sum.allowed += allowed
      recordProof(`opt-out model, ${dialect}`, {
        of: all,
        lives: sum.lives,
        steps: sum.steps,
        sends: sum.sends,
        'to who opted out and wrote again': sum.allowed,
        violations: 0,
      })
    }
  })
})
