import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { isEventPattern, renderEventDocs, renderEventSchema } from '../src/events/event-types.ts'

const docs = new URL('../../../docs/', import.meta.url)

test('the lists of events in docs are the catalogue; "npm run docs" writes them', () => {
  assert.equal(readFileSync(new URL('event-types.md', docs), 'utf8'), renderEventDocs())
  assert.equal(readFileSync(new URL('events.schema.json', docs), 'utf8'), renderEventSchema())
})

test('a pattern is a type or a whole group, and nothing that could never come', () => {
  for (const pattern of ['outbound.sent', 'outbound.*', 'cold_chats.*']) assert.ok(isEventPattern(pattern))
  for (const pattern of ['*', 'outbound', 'outbound.', 'out.*', 'outbound.s*', '__proto__', 'toString', '']) {
    assert.ok(!isEventPattern(pattern), pattern)
  }
})
