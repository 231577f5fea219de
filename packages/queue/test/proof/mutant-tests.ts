import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { diskShimFor, eachDatabase, openTestDatabase } from '@eclusa/storage/test-kit'
import { queueMigrations } from '../../src/index.ts'
import { crashLoop } from './crash-loop.ts'
import { type FenceMutant, fenceMutants, type Mutant, mutants, plant } from './mutants.ts'
import type { SimulationResult } from './simulation.ts'
import { tracedCuts } from './traced-cuts.ts'

/** Told of each mutant that is caught: by which test, and as what. */
export type OnCaught = (mutant: Mutant, by: string, as: string) => void

const PROGRAM = 'packages/queue/test/proof/crash-process.ts'

/** One test for each mutant: it fails when the mutant lives. */
export function testMutants(onCaught: OnCaught): void {
  caughtByKills(mutants.ackBeforeCommit, /I1 LOST/, onCaught)
  caughtByPowerCuts(mutants.synchronousNormal, /I1 LOST/, onCaught)
  caughtBySimulation(mutants.cursorAfterLast, /I7/, onCaught)
  caughtBySimulation(mutants.retryToTheBack, /I2 REORDER|I5/, onCaught)
  caughtBySimulation(mutants.seqReused, /I1|I4|I11/, onCaught)
  caughtBySimulation(mutants.keyForgottenWithItsRow, /I11/, onCaught)
  for (const mutant of fenceMutants) caughtByTest(mutant, onCaught)
}

function caughtByKills(mutant: Mutant, as: RegExp, onCaught: OnCaught): void {
  test(`kill -9 catches a queue that ${mutant.name}`, async (t) => {
    const code = plant(mutant)
    t.after(() => code.remove())
    const { database, place } = await openTestDatabase(t, queueMigrations)
    await database.stop()
    const program = code.path(PROGRAM)
    const { violations, kills } = await crashLoop({ place, kills: 40, seed: 11, program, untilWrong: true })
    t.diagnostic(`after ${kills} kills: ${violations[0]} (and ${violations.length - 1} more)`)
    assert.match(violations.join('\n'), as)
    onCaught(mutant, 'kill -9', violations[0] ?? '')
  })
}

function caughtByPowerCuts(mutant: Mutant, as: RegExp, onCaught: OnCaught): void {
  test(`power cuts catch a database with ${mutant.name}`, async (t) => {
    const library = diskShimFor(t)
    if (library === null) return
    const code = plant(mutant)
    t.after(() => code.remove())
    const program = code.path(PROGRAM)
    const { violations, cuts } = await tracedCuts({ library, cuts: 40, seed: 12, program })
    t.diagnostic(`${cuts} cuts: ${violations[0]} (and ${violations.length - 1} more)`)
    assert.match(violations.join('\n'), as)
    onCaught(mutant, 'power cuts at calls of recorded runs', violations[0] ?? '')
  })
}

function caughtBySimulation(mutant: Mutant, as: RegExp, onCaught: OnCaught): void {
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
    onCaught(mutant, 'simulated days', violations[0] ?? '')
  })
}

const run = promisify(execFile)

/** The whole code passes the same test: it is one of ours. */
function caughtByTest(mutant: FenceMutant, onCaught: OnCaught): void {
  eachDatabase(({ dialect, test }) => {
    if (dialect === 'sqlite') return
    test(`a test catches it when ${mutant.name}`, async (t) => {
      const code = plant(mutant)
      t.after(() => code.remove())
      const name = `${mutant.caughtBy.test} (postgres)`
      const exactly = `^${name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`
      const { NODE_TEST_CONTEXT: _, ...env } = process.env
      const tap = await run(
        process.execPath,
        [
          '--test-reporter=tap',
          '--test-force-exit',
          `--test-name-pattern=${exactly}`,
          code.path(mutant.caughtBy.file),
        ],
        { env, timeout: 60_000 },
      ).catch((error: unknown) => error as { readonly stdout: string; readonly stderr: string })
      assert.match(tap.stdout, new RegExp(`^not ok \\d+ - ${exactly.slice(1)}`, 'm'), tap.stdout + tap.stderr)
      const why = /error: (?:\|-\n\s+)?'?(.*?)'?\n/.exec(tap.stdout)?.[1] ?? ''
      t.diagnostic(why)
      onCaught(mutant, mutant.caughtBy.test, why)
    })
  })
}
