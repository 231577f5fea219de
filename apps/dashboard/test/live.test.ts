import assert from 'node:assert/strict'
import { test } from 'node:test'
// oxlint-disable-next-line import/no-relative-packages -- the list that ours must be equal to
import { EVENT_TYPES as told } from '../../gateway/src/events/event-types.ts'
import { EVENT_TYPES } from '../src/api/event-types.ts'
import { stagesAfter, staleAfter } from '../src/api/live.ts'
import type { GatewayEvent } from '../src/api/types.ts'

function stage(type: string, id: string, at = 1000): GatewayEvent {
  const payload = { id, chat: 'a@s.whatsapp.net', at }
  return { id: type.endsWith('ing') ? null : 1, type, at: '', tenant: 't', instance: 'ins_1', payload }
}

test('the browser listens to every type of event that the gateway tells', () => {
  assert.deepEqual(EVENT_TYPES, Object.keys(told).toSorted())
})

test('a message passes through its stages and is forgotten when something final is known', () => {
  const reading = stagesAfter(new Map(), [stage('outbound.reading', 'm1', 1000)])
  const typing = stagesAfter(reading, [
    stage('outbound.thinking', 'm1', 2000),
    stage('outbound.typing', 'm1', 3000),
  ])
  const known = typing.get('m1')
  assert.equal(known?.stage, 'typing')
  assert.equal(known?.since, 3000)
  assert.deepEqual(known?.times, { reading: 1000, thinking: 2000, typing: 3000 })
  assert.equal(stagesAfter(typing, [stage('outbound.sent', 'm1')]).size, 0)
})

test('what changes nothing draws nothing anew', () => {
  const before = stagesAfter(new Map(), [stage('outbound.typing', 'm1')])
  assert.equal(stagesAfter(before, [stage('outbound.sent', 'other'), stage('inbound.received', 'x')]), before)
})

test('however many messages are under way, the newest two thousand are held', () => {
  const batch = Array.from({ length: 5000 }, (_, nth) => stage('outbound.typing', `m${nth}`))
  const after = stagesAfter(new Map(), batch)
  assert.equal(after.size, 2000)
  assert.ok(after.has('m4999') && !after.has('m2999'))
})

test('each logged event makes something stale that shows it', () => {
  const nowhere = EVENT_TYPES.filter((type) => staleAfter(type).length === 0)
  // Seen in the monitor alone.
  assert.deepEqual(nowhere, ['security.spoofed_protocol_message'])
})
