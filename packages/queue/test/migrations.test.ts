import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { silentLogger } from '@eclusa/kernel'
import { openDatabase } from '@eclusa/storage'
import { queueMigrations } from '../src/index.ts'

test('the tables with plain checks keep every row, and no seq comes back', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'eclusa-migrations-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = path.join(folder, 'queue.db')
  const open = (last: string) =>
    openDatabase({ file, migrations: queueMigrations.filter(({ name }) => name <= last), log: silentLogger })
  const item = `insert into "MessageQueueItem" (seq, tenant, instance, chat, priority, status, "waMessageId", attempts,
    "maxRetries", "retryAt", "sentAt", "notBefore", "expiresAt", "heldBy", purpose, "isConfirmation",
    "receiptDeliveredAt", "receiptReadAt", "errorCode", error, "createdAt", "updatedAt") values`
  const before = await open('006~')
  await before.write([
    {
      sql: `${item} (7, 't', 'i', 'c', 6, 'PENDING', 'w7', 1, 3, 4, 5, 6, 7, 'CONTACT_LIMIT', 'reply', 1, 8, 9, 'E', 'e',
        '2026-01-05 12:00:00.000', '2026-01-05 12:00:01.000'),
        (9, 't', 'i', 'c', 0, 'PENDING', 'w9', 0, 3, null, null, null, null, null, null, 0, null, null, null, null,
        '2026-01-05 12:00:00.000', '2026-01-05 12:00:00.000')`,
      params: [],
    },
    { sql: 'delete from "MessageQueueItem" where seq = 9', params: [] },
    {
      sql: `insert into "OutboundTombstone" (seq, tenant, instance, chat, wa_message_id, state, accepted_at, sent_at,
        delivered_at, read_at, failure_code, failure_message, changed_at)
        values (3, 't', 'i', 'c', 'w3', 'READ', 1, 2, 3, 4, 'F', 'f', 5)`,
      params: [],
    },
  ])
  const tables = ['MessageQueueItem', 'OutboundTombstone']
  const rowsBefore = await Promise.all(tables.map((table) => before.read(`select * from "${table}"`, [])))
  await before.stop()

  const after = await open('~')
  t.after(() => after.stop())
  const rowsAfter = await Promise.all(tables.map((table) => after.read(`select * from "${table}"`, [])))
  assert.deepEqual(rowsAfter, rowsBefore)
  const [sequence] = await after.read(`select seq from sqlite_sequence where name = 'MessageQueueItem'`, [])
  assert.equal(sequence?.['seq'], 9)
  for (const [column, bad] of [
    ['priority', 8],
    ['status', 'LOST'],
    ['purpose', 'other'],
  ] as const) {
    await assert.rejects(
      after.write([{ sql: `update "MessageQueueItem" set ${column} = ?`, params: [bad] }]),
      { code: 'STORAGE_CONFLICT' },
      column,
    )
  }
  await assert.rejects(after.write([{ sql: `update "OutboundTombstone" set state = 'LOST'`, params: [] }]), {
    code: 'STORAGE_CONFLICT',
  })
})
