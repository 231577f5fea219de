import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkQuietTimes, simulateSends, zones } from './quiet-times.ts'

test('quiet times begin and end as the wall shows it, in 27 zones, also when their clocks change', () => {
  assert.equal(zones.length, 27)
  checkQuietTimes(100_000, 1)
})

test('200,000 messages to 27 zones through a year: none unasked in a quiet time, no reply kept, no tenant above its rate', () => {
  const { sent, held } = simulateSends(200_000, 1)
  assert(sent > 50_000 && held > 20_000, `${sent} sent, ${held} held`)
})
