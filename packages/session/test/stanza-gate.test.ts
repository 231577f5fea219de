import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import type { BinaryNode, WASocket } from '@eclusa/baileys'
import { KIB } from '@eclusa/kernel'
import { ManualClock, settle } from '@eclusa/kernel/test-kit'
import { gateStanzas, MAX_HELD_BY_ALL, MAX_HELD_WHEN_FULL } from '../src/engines/baileys/stanza-gate.ts'

/** A connection as the gate sees it: what is emitted on it, and whether it is being read. */
function connection(): {
  /** One more message with so many bytes of content. */
  receive(bytes: number): void
  /** The database has taken the oldest message. */
  take(): Promise<void>
  readonly isRead: boolean
} {
  let isRead = true
  const transport = { pause: () => void (isRead = false), resume: () => void (isRead = true) }
  const ws = Object.assign(new EventEmitter(), { socket: transport })
  const waiting: (() => void)[] = []
  gateStanzas({ ws } as unknown as WASocket, new ManualClock(), {
    message: () =>
      new Promise((resolve) => {
        waiting.push(() => resolve(false))
      }),
    receipt: () => Promise.resolve(false),
    failed: (error) => assert.fail(String(error)),
  })
  return {
    receive(bytes) {
      const stanza: BinaryNode = {
        tag: 'message',
        attrs: {},
        content: [{ tag: 'enc', attrs: {}, content: Buffer.alloc(bytes) }],
      }
      ws.emit('CB:message', stanza)
    },
    async take() {
      // They are handled one after another: the next begins when this has ended.
      await settle(1)
      waiting.shift()?.()
      await settle(1)
    },
    get isRead() {
      return isRead
    },
  }
}

async function drain(one: ReturnType<typeof connection>, count: number): Promise<void> {
  for (let index = 0; index < count; index++) await one.take()
}

test('a connection is not read while more than 500 of its stanzas wait, and again when half are gone', async () => {
  const one = connection()
  for (let index = 0; index < 500; index++) one.receive(10)
  assert.equal(one.isRead, true)
  one.receive(10)
  assert.equal(one.isRead, false)
  await drain(one, 250)
  assert.equal(one.isRead, false)
  await drain(one, 1)
  assert.equal(one.isRead, true)
  await drain(one, 250)
})

test('nor while their content is more than 512 KiB, however few they are', async () => {
  const one = connection()
  for (let index = 0; index < 3; index++) one.receive(200 * KIB)
  assert.equal(one.isRead, false)
  await drain(one, 2)
  assert.equal(one.isRead, true)
  await drain(one, 1)
})

test('when all connections together hold too much, each is held to little, and goes on with little', async () => {
  const others = Array.from({ length: 10 }, connection)
  const each = MAX_HELD_BY_ALL.stanzas / others.length
  for (const other of others) for (let index = 0; index < each; index++) other.receive(1)
  const one = connection()
  for (let index = 0; index < MAX_HELD_WHEN_FULL.stanzas; index++) one.receive(1)
  assert.equal(one.isRead, true)
  one.receive(1)
  assert.equal(one.isRead, false)
  await drain(one, 11)
  assert.equal(one.isRead, true, 'it goes on although the others still hold theirs')
  await drain(one, 10)
  for (const other of others) await drain(other, each)
  // Nothing is left counted: a connection has its whole room again.
  const next = connection()
  for (let index = 0; index < 400; index++) next.receive(1)
  assert.equal(next.isRead, true)
  await drain(next, 400)
})
