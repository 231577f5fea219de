import assert from 'node:assert/strict'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { queueMigrations } from '../../src/index.ts'
import { recordProof, scaled } from './report.ts'
import { soak } from './soak.ts'

const SECONDS = Math.max(120, scaled(3600))
/** Shorter, the noise of one collection is steeper than what is looked for. */
const SLOPE_FROM_SECONDS = 1800

eachDatabase(({ dialect, test, open }) => {
  test(`10,000 paced chats of 100 tenants for ${SECONDS} s`, async (t) => {
    const { database, place } = await open(t, queueMigrations)
    await database.stop()
    const figures = await soak(place, SECONDS)
    recordProof(`paced chats, ${dialect}`, { seconds: SECONDS, ...figures })
    const { outOfOrder, overlaps, idleChats, left, processing } = figures
    assert.deepEqual([outOfOrder, overlaps, idleChats, left, processing], [0, 0, 0, 0, 0])
    assert(figures.rssWorstMib < 450, `${figures.rssWorstMib} MiB`)
    if (SECONDS >= SLOPE_FROM_SECONDS)
      assert(figures.rssMibPerHour < 10, `${figures.rssMibPerHour} MiB an hour`)
  })
})
