import assert from 'node:assert/strict'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { queueMigrations } from '../src/index.ts'

eachDatabase(({ dialect, test, open }) => {
  if (dialect === 'sqlite') return

  test('marking messages PROCESSING stays in their pages, because no index names what changes', async (t) => {
    const { database } = await open(t, queueMigrations)
    const indexes = await database.read(
      `select indexdef from pg_indexes where schemaname = current_schema() and tablename = 'MessageQueueItem'`,
      [],
    )
    assert(indexes.length >= 2)
    for (const { indexdef } of indexes)
      assert.doesNotMatch(String(indexdef), /status|attempts|retryAt|sentAt/)
    const at = '2026-01-05 12:00:00.000'
    await database.write(
      Array.from({ length: 2000 }, (_, seq) => ({
        sql: `insert into "MessageQueueItem" (seq, tenant, instance, chat, priority, status, "waMessageId", "maxRetries",
              "createdAt", "updatedAt") values (?, 't', 'i', ?, 1, 'PENDING', ?, 3, ?, ?)`,
        params: [seq, `chat ${seq}`, `wa ${seq}`, at, at],
      })),
    )
    const table = `'"MessageQueueItem"'::regclass`
    const results = await database.write([
      { sql: `update "MessageQueueItem" set status = 'PROCESSING', "sentAt" = ?, attempts = 1`, params: [1] },
      { sql: `select pg_stat_get_xact_tuples_hot_updated(${table}) as hot`, params: [] },
    ])
    assert.equal(results[1]?.rows[0]?.['hot'], 2000)
  })
})
