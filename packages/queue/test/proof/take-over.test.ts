import assert from 'node:assert/strict'
import { test } from 'node:test'
import { explore } from './take-over-model.ts'

test('in every state of two nodes, one tenant and three messages no old epoch writes or sends', (t) => {
  const { states, violations } = explore({ fence: 'for share', nodes: 2, messages: 3 })
  t.diagnostic(`${states} states`)
  assert.deepEqual(violations, [])
  assert(states > 500 && states < 1_000_000)
})

for (const fence of ['for key share', 'none'] as const) {
  test(`the model catches a flush fenced with ${fence === 'none' ? 'nothing' : 'FOR KEY SHARE'}`, (t) => {
    const { violations } = explore({ fence, nodes: 2, messages: 3 })
    const found = violations.find(({ what }) => what.startsWith('I6'))
    t.diagnostic(`${found?.what}: ${found?.path.join(', ')}`)
    assert(found !== undefined)
  })
}
