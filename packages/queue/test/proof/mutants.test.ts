import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { openTestDatabase, diskShimFor } from '@eclusa/storage/test-kit'
import { queueMigrations } from '../../src/index.ts'
import { crashLoop } from './crash-loop.ts'
import { powerCuts } from './disks.ts'
import { type Mutant, mutants, plant } from './mutants.ts'
import type { SimulationResult } from './simulation.ts'

const PROGRAM = 'packages/queue/test/proof/crash-process.ts'

function caughtByKills(mutant: Mutant, as: RegExp): void {
  test(`kill -9 catches a queue that ${mutant.name}`, async (t) => {
    const code = plant(mutant)
    t.after(() => code.remove())
    const { database, place } = await openTestDatabase(t, queueMigrations)
    await database.stop()
    const program = code.path(PROGRAM)
    const { violations, kills } = await crashLoop({ place, kills: 40, seed: 11, program, untilWrong: true })
    t.diagnostic(`after ${kills} kills: ${violations[0]} (and ${violations.length - 1} more)`)
    assert.match(violations.join('\n'), as)
  })
}

caughtByKills(mutants.ackBeforeCommit, /I1 LOST/)

test('power cuts catch a database with synchronous = normal', async (t) => {
  const library = diskShimFor(t)
  if (library === null) return
  const code = plant(mutants.synchronousNormal)
  t.after(() => code.remove())
  const program = code.path(PROGRAM)
  const { violations, kills } = await powerCuts({ library, times: 40, seed: 12, program, untilWrong: true })
  t.diagnostic(`after ${kills} cuts: ${violations[0]} (and ${violations.length - 1} more)`)
  assert.match(violations.join('\n'), /I1 LOST/)
})

function caughtBySimulation(mutant: Mutant, as: RegExp): void {
  test(`the simulation catches a queue where ${mutant.name}`, (t) => {
    const code = plant(mutant)
    t.after(() => code.remove())
    // Seeds that `npm test` runs on the whole code, where they find nothing.
    const lines = execFileSync(
      process.execPath,
      [code.path('packages/queue/test/proof/simulate.ts'), '1', '4'],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    const violations = lines
      .trim()
      .split('\n')
      .flatMap((line) => (JSON.parse(line) as SimulationResult).violations)
    t.diagnostic(`${violations[0]} (and ${violations.length - 1} more)`)
    assert.match(violations.join('\n'), as)
  })
}

caughtBySimulation(mutants.cursorAfterLast, /I7/)
caughtBySimulation(mutants.retryToTheBack, /I2 REORDER|I5/)
caughtBySimulation(mutants.seqReused, /I1|I4|I11/)
caughtBySimulation(mutants.keyForgottenWithItsRow, /I11/)
