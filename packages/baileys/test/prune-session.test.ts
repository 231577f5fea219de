import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pruneSession } from '../src/index.ts'

const chain = (closed: boolean, chainType = 2): object => ({
  chainKey: closed ? { counter: 3 } : { counter: 3, key: 'abc' },
  chainType,
  messageKeys: {},
})

const record = (sessions: Record<string, object>): object => ({ _sessions: sessions, version: 'v1' })

test('the newest 5 closed chains stay, and every chain that is in use', () => {
  const chains = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`closed${index}`, chain(true)]))
  const pruned = pruneSession(
    record({
      a: { indexInfo: { closed: -1 }, _chains: { ...chains, open: chain(false), sending: chain(false, 1) } },
    }),
  ) as { _sessions: { a: { _chains: object } } }
  assert.deepEqual(Object.keys(pruned._sessions.a._chains), [
    'closed7',
    'closed8',
    'closed9',
    'closed10',
    'closed11',
    'open',
    'sending',
  ])
})

test('the open session and the newest 8 closed ones stay', () => {
  const sessions = Object.fromEntries(
    Array.from({ length: 20 }, (_, index) => [
      `s${index}`,
      { indexInfo: { closed: 1_000 + index }, _chains: {} },
    ]),
  )
  const pruned = pruneSession(record({ ...sessions, open: { indexInfo: { closed: -1 }, _chains: {} } })) as {
    _sessions: object
  }
  assert.deepEqual(Object.keys(pruned._sessions), [
    ...Array.from({ length: 8 }, (_, index) => `s${12 + index}`),
    'open',
  ])
})

test('what is no session record comes back as it is', () => {
  for (const value of [null, 7, 'x', {}, { version: 'v1' }]) assert.equal(pruneSession(value), value)
})
