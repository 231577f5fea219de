import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GroupSends } from '../src/group-sends.ts'

/** Sends that end when the test says so. */
function controlledSends(): {
  readonly begun: string[]
  send(name: string): () => Promise<string>
  end(name: string, error?: Error): Promise<void>
} {
  const ends = new Map<string, PromiseWithResolvers<string>>()
  const begun: string[] = []
  return {
    begun,
    send: (name) => () => {
      const end = Promise.withResolvers<string>()
      ends.set(name, end)
      begun.push(name)
      return end.promise
    },
    async end(name, error) {
      const end = ends.get(name)
      if (error === undefined) end?.resolve(name)
      else end?.reject(error)
      await settled()
    },
  }
}

const settled = (): Promise<void> => new Promise((turn) => setImmediate(turn))

test('two messages to groups are under way in the process, one of a socket; sockets take turns', async () => {
  const { begun, send, end } = controlledSends()
  const sockets = { a: new GroupSends(), b: new GroupSends(), c: new GroupSends() }
  const results = [
    sockets.a.run(send('a1')),
    sockets.a.run(send('a2')),
    sockets.b.run(send('b1')),
    sockets.b.run(send('b2')),
    sockets.c.run(send('c1')),
  ]
  await settled()
  assert.deepEqual(begun, ['a1', 'b1'])
  await end('a1')
  assert.deepEqual(begun, ['a1', 'b1', 'c1'])
  await end('b1')
  assert.deepEqual(begun, ['a1', 'b1', 'c1', 'a2'])
  await end('a2')
  await end('c1')
  await end('b2')
  assert.deepEqual(await Promise.all(results), ['a1', 'a2', 'b1', 'b2', 'c1'])
  assert.deepEqual([sockets.a.waiting, sockets.b.waiting, sockets.c.waiting], [0, 0, 0])
})

test('a message that fails gives its place to the next one, and only its sender hears of it', async () => {
  const { begun, send, end } = controlledSends()
  const sends = new GroupSends()
  const first = sends.run(send('first'))
  const second = sends.run(send('second'))
  await settled()
  const failed = assert.rejects(first, /no such group/)
  await end('first', new Error('no such group'))
  await failed
  assert.deepEqual(begun, ['first', 'second'])
  await end('second')
  assert.equal(await second, 'second')
})

test('a message that never ends holds up the other sockets for a minute at most', async (t) => {
  const { begun, send, end } = controlledSends()
  const sockets = Array.from({ length: 3 }, () => new GroupSends())
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const results = sockets.map((sends, n) => sends.run(send(`${n}`)))
  await settled()
  assert.deepEqual(begun, ['0', '1'])
  t.mock.timers.tick(60_000)
  await settled()
  assert.deepEqual(begun, ['0', '1', '2'])
  for (const name of begun.slice()) await end(name)
  await Promise.all(results)
  // Whoever was late has no place to give back.
  const again = [send('x'), send('y'), send('z')].map((one) => new GroupSends().run(one))
  await settled()
  assert.deepEqual(begun.slice(3), ['x', 'y'])
  for (const name of ['x', 'y', 'z']) await end(name)
  await Promise.all(again)
})
