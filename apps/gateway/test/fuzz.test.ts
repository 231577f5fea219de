import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MIB } from '@eclusa/kernel'
import { fuzz } from './fuzz.ts'
import { startGateway } from './harness.ts'

test('2,000 requests made from the description: each is answered as described, none by a fault of ours, and memory stays', async (t) => {
  const gateway = await startGateway(t)
  const report = await fuzz(gateway, { requestCount: 2000, seed: 1 })
  t.diagnostic(JSON.stringify({ ...report, faults: report.faults.length }))
  assert.deepEqual(report.faults, [])
  assert.equal(report.requestCount, 2000)
  const well = Object.entries(report.statuses).filter(([status]) => status.startsWith('2'))
  assert.ok(well.reduce((sum, [, count]) => sum + count, 0) > 300, 'many come past the door')
  const [before, after] = report.heapBytes
  assert.ok(after - before < 24 * MIB, `the heap grew by ${Math.round((after - before) / MIB)} MiB`)
})
