import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KIB, makeInstanceId, makeWaMessageId, MIB, parseTenantId, wordsOf } from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { EventLog } from '@eclusa/storage'
import { openTestDatabase, testSealer } from '@eclusa/storage/test-kit'
import { InboundJournal, sessionMigrations } from '../src/index.ts'

test('a page ends with the message that reaches its bytes, and pages together lose and repeat nothing', async (t) => {
  const { database } = await openTestDatabase(t, sessionMigrations)
  const clock = new ManualClock()
  const sealer = testSealer()
  const events = new EventLog({ database, sealer, clock })
  const journal = new InboundJournal({ database, sealer, events, clock })
  const instance = makeInstanceId()
  const sizes = [10, 40_000, 10, 10, 30_000, 50_000, 10]
  for (const [index, size] of sizes.entries()) {
    const chat = '5511900000001@s.whatsapp.net' as never
    await database.write(
      journal.append(parseTenantId('acme'), instance, {
        chat,
        author: chat,
        addressedAs: chat,
        waMessageId: makeWaMessageId(),
        fromMe: false,
        alias: null,
        content: { kind: 'text', text: String(index).repeat(size) },
        quoted: null,
        mentions: [],
        pushName: null,
        sentAt: clock.now(),
      }),
    )
  }
  const pages = async (maxBytes: number): Promise<number[][]> => {
    const found: number[][] = []
    let after: number | null = 0
    while (after !== null) {
      const { items, next }: Awaited<ReturnType<typeof journal.list>> = await journal.list({
        instance,
        after,
        limit: 500,
        maxBytes,
      })
      if (next !== null) found.push(items.map(({ message }) => wordsOf(message.content)?.length ?? 0))
      after = next
    }
    return found
  }
  assert.deepEqual(await pages(MIB), [sizes])
  assert.deepEqual(await pages(32 * KIB), [[10, 40_000], [10, 10, 30_000, 50_000], [10]])
  assert.deepEqual(
    await pages(1),
    sizes.map((size) => [size]),
    'one at least comes',
  )
})
