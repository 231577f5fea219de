import assert from 'node:assert/strict'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { checkOptOuts } from './model.ts'

const WORLDS = { sqlite: 3, postgres: 2 } as const

eachDatabase(({ dialect, test }) => {
  test('no path sends to who opted out: API, flows, replies, surveys, retries, replay, merges, restarts', async (t) => {
    const figures = await checkOptOuts({ dialect, worlds: WORLDS[dialect], people: 30, seed: 31 })
    t.diagnostic(JSON.stringify(figures))
    assert.ok(figures.sends > figures.lives, 'most of what is asked for is sent')
    assert.ok(figures.allowed > 0, 'and some of it to people who opted out and wrote again')
  })
})
