import assert from 'node:assert/strict'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { queueMigrations } from '../../src/index.ts'
import { crashLoop } from './crash-loop.ts'

const KILLS = { sqlite: 100, postgres: 30 } as const

eachDatabase(({ dialect, test, open }) => {
  test(`after ${KILLS[dialect]} times kill -9 nothing is lost, reordered or doubled beyond the crash`, async (t) => {
    const { database, place } = await open(t, queueMigrations)
    await database.stop()
    const result = await crashLoop({ place, kills: KILLS[dialect], seed: 20_261_124 })
    t.diagnostic(JSON.stringify({ ...result, readyMs: Math.max(...result.readyMs) }))
    assert.deepEqual(result.violations, [])
    assert(result.accepted > KILLS[dialect], 'hardly anything was under way')
  })
})
