import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordProof } from './report.ts'
import { explore } from './take-over-model.ts'

test('in every state of three nodes, one tenant and four messages no old epoch writes or sends', () => {
  const nodes = 3
  const messages = 4
  const { states, violations } = explore({ fence: 'for share', nodes, messages })
  recordProof('every state of lease, flush and take-over', {
    nodes,
    messages,
    states,
    violations: violations.length,
  })
  assert.deepEqual(violations, [])
})
