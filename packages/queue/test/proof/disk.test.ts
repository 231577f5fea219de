import assert from 'node:assert/strict'
import { test } from 'node:test'
import { diskShimFor } from '@eclusa/storage/test-kit'
import { diskFaults, powerCuts } from './disks.ts'
import { manyFaults } from './faults.ts'
import { tracedCuts } from './traced-cuts.ts'

const CUTS = 50
/** Each in a process of its own. */
const FAULTS = 20

test(`after ${CUTS} power cuts, which leave only synced bytes, nothing that was acknowledged is lost`, async (t) => {
  const library = diskShimFor(t)
  if (library === null) return
  const result = await powerCuts({ library, times: CUTS, seed: 4 })
  t.diagnostic(JSON.stringify({ ...result, readyMs: undefined }))
  assert.deepEqual(result.violations, [])
  assert(result.accepted > CUTS, 'hardly anything was under way')
})

test('a power cut at any of 200 calls of recorded runs leaves a whole database with all that had been told', async (t) => {
  const library = diskShimFor(t)
  if (library === null) return
  const result = await tracedCuts({ library, cuts: 200, seed: 6 })
  t.diagnostic(JSON.stringify(result))
  assert.deepEqual(result.violations, [])
  assert(result.told > 1000, 'hardly anything had been told')
})

test(`with ${FAULTS} disk errors nothing is acknowledged without its data, and each restart recovers`, async (t) => {
  const library = diskShimFor(t)
  if (library === null) return
  const result = await diskFaults({ library, times: FAULTS, seed: 5 })
  t.diagnostic(JSON.stringify({ ...result, readyMs: undefined }))
  assert.deepEqual(result.violations, [])
  assert(result.refused > 0, 'no call met an error')
})

test('with a disk error at any of 60 calls nothing is acknowledged without its data, and the next life recovers', async (t) => {
  const library = diskShimFor(t)
  if (library === null) return
  const result = await manyFaults({ library, faults: 60, seed: 7 })
  t.diagnostic(JSON.stringify(result))
  assert.deepEqual(result.violations, [])
  assert(result.refused > 0 && result.accepted > 0)
})
