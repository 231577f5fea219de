import assert from 'node:assert/strict'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { queueMigrations } from '../../src/index.ts'
import { serveBacklog } from './backlog.ts'
import { recordProof, scaled } from './report.ts'

const ROWS = scaled(1_000_000)
const SHAPES = [
  { name: '1,000 chats', chats: 1000, isHot: false },
  { name: '100,000 chats', chats: 100_000, isHot: false },
  { name: 'a chat for each row', chats: ROWS, isHot: false },
  { name: 'one hot chat', chats: 1000, isHot: true },
] as const

eachDatabase(({ dialect, test, open }) => {
  for (const { name, ...shape } of SHAPES) {
    test(`a backlog of ${ROWS} messages in ${name}`, async (t) => {
      const { database, place } = await open(t, queueMigrations)
      await database.stop()
      const figures = await serveBacklog(place, { rows: ROWS, ...shape }, scaled(100_000))
      recordProof(`backlog, ${name}, ${dialect}`, { rows: ROWS, ...figures })
      assert.equal(figures.outOfOrder, 0)
      assert(figures.rssWorstMib < 450, `${figures.rssWorstMib} MiB`)
    })
  }
})
