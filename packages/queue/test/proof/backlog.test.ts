import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openTestDatabase } from '@eclusa/storage/test-kit'
import { queueMigrations } from '../../src/index.ts'
import { serveBacklog } from './backlog.ts'

/** I8: what is in memory follows the open chats, whose number is capped, and never the rows. */
test('a backlog of 100,000 messages is served in order, within the memory of its open chats', async (t) => {
  const { database, place } = await openTestDatabase(t, queueMigrations)
  await database.stop()
  const figures = await serveBacklog(place, { rows: 100_000, chats: 50_000, isHot: true }, 3000)
  t.diagnostic(JSON.stringify(figures))
  assert.equal(figures.outOfOrder, 0)
  assert(figures.openChats <= 20_000)
  assert(figures.rssWorstMib < 450, `${figures.rssWorstMib} MiB`)
})
