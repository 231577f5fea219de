import assert from 'node:assert/strict'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { stormInbound } from './inbound-storm.ts'

test('100 contacts × 20 messages at once, 4 sectors, 10 operators, 20 kills', async (t) => {
  const { evidence: _, ...result } = await stormInbound(t, {
    contacts: 100,
    messagesPerContact: 20,
    operators: 10,
    kills: 20,
    seed: 4,
  })
  t.diagnostic(JSON.stringify(result))
  assert.ok(result.fromLine > 0, JSON.stringify(result))
})
