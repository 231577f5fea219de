import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeBoundedKeyStore } from '../src/index.ts'
import { introduce, person, say } from './conversation.ts'
import { Rows } from './rig.ts'

test('after 1,000 turns of a conversation its session is smaller than 4 kB', async () => {
  const rows = new Rows()
  const alice = person('1', makeBoundedKeyStore(rows))
  const bob = person('2', makeBoundedKeyStore(new Rows()))
  await introduce(alice, bob)
  for (let turn = 0; turn < 1_000; turn++) {
    await say(alice, bob)
    await say(bob, alice)
  }
  const [, session = ''] = [...rows.rows].find(([key]) => key.startsWith('session:')) ?? []
  assert.ok(session.length > 500 && session.length < 4_000, `${session.length} bytes`)
})
