import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openTestDatabase } from '@eclusa/storage/test-kit'
import { queueMigrations } from '../../src/index.ts'
import { soak } from './soak.ts'

const SECONDS = 120

test(`10,000 paced chats of 100 tenants go on for ${SECONDS} s in order, and leave nothing in memory`, async (t) => {
  const { database, place } = await openTestDatabase(t, queueMigrations)
  await database.stop()
  const figures = await soak(place, SECONDS)
  t.diagnostic(JSON.stringify(figures))
  assert.equal(figures.outOfOrder, 0)
  assert.equal(figures.overlaps, 0)
  assert.equal(figures.idleChats, 0, 'chats in which nothing was sent')
  assert.deepEqual([figures.left, figures.processing], [0, 0])
  assert(figures.waiting > figures.chats / 2, 'what was typed waits again')
  assert(figures.rssWorstMib < 450, `${figures.rssWorstMib} MiB`)
})
