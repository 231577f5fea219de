import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { MIB } from '@eclusa/kernel'
import { translateHostile } from './hostile-messages.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

test('a million hostile plaintexts are translated, and nothing of them stays in memory', (t) => {
  const heapBytes = (): number => {
    collect()
    return process.memoryUsage().heapUsed
  }
  translateHostile(0, 20_000)
  const before = heapBytes()
  const outcomes: Record<string, number> = {}
  for (let part = 1; part <= 50; part++) {
    for (const [name, count] of Object.entries(translateHostile(part, 20_000))) {
      outcomes[name] = (outcomes[name] ?? 0) + count
    }
  }
  const grown = heapBytes() - before
  t.diagnostic(`${JSON.stringify(outcomes)}, heap ${grown} bytes larger, RSS ${process.memoryUsage().rss}`)
  assert.equal(
    Object.values(outcomes).reduce((sum, count) => sum + count),
    1_000_000,
  )
  assert.ok(grown < 8 * MIB, `the heap grew by ${grown} bytes`)
})
