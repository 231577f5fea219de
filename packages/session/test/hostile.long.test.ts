import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MIB } from '@eclusa/kernel'
import { translateHostile } from './hostile-messages.ts'

test('a million hostile plaintexts are translated in constant memory', (t) => {
  translateHostile(0, 20_000)
  const before = process.memoryUsage().rss
  const outcomes: Record<string, number> = {}
  for (let part = 1; part <= 50; part++) {
    for (const [name, count] of Object.entries(translateHostile(part, 20_000))) {
      outcomes[name] = (outcomes[name] ?? 0) + count
    }
  }
  const grown = process.memoryUsage().rss - before
  t.diagnostic(`${JSON.stringify(outcomes)}, RSS grew by ${Math.round(grown / MIB)} MiB`)
  assert.equal(
    Object.values(outcomes).reduce((sum, count) => sum + count),
    1_000_000,
  )
  assert.ok(grown < 128 * MIB, `RSS grew by ${grown} bytes`)
})
