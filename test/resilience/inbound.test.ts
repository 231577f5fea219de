import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stormInbound } from './inbound-storm.ts'

test('contacts who write at once to four sectors, with processes killed: each message in one conversation', async (t) => {
  const result = await stormInbound(t, {
    contacts: 20,
    messagesPerContact: 6,
    operators: 4,
    kills: 3,
    seed: 20_261_128,
  })
  assert.ok(result.fromLine > 0, JSON.stringify(result))
})
