import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { until } from '@eclusa/kernel/test-kit'
import { closeSocket, initAuthCreds, makeBoundedKeyStore } from '../src/index.ts'
import { introduce, person, say } from './conversation.ts'
import { idleSocket, makeRig, Rows } from './rig.ts'

/*
 * What the memory of this package is held to, and where that is tested:
 *
 *   the tables' own tests, at their own figures                        caches.test.ts, "test 1" to "test 3"
 *   with any cache at its cap, messages arrive as with an empty one    early-eviction.test.ts
 *   10,000 LIDs, 2,000 messages of 20 kB, 5,000 events within caps     here
 *   sockets that were closed: none alive, less than 3 kB each          close.test.ts, close.long.test.ts
 *   a conversation of 1,000 turns: its session below 4 kB              ten-facts.test.ts, sessions.long.test.ts
 *   a transaction that read 50 MB is collectable when it is over       here
 *   a stalled database holds nobody else up                            here
 *   what is buffered when the server ends the connection is told       here
 *   a further contact takes less than 2 kB beside the caches           acceptance.long.test.ts
 *   messages to groups, in the process and waiting                     here, group-sends.test.ts, acceptance.long.test.ts
 */

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

async function collect(): Promise<void> {
  for (let round = 0; round < 4; round++) {
    gc()
    await new Promise((turn) => setTimeout(turn, 10))
  }
}

test('5,000 buffered events are delivered, and never more than 1,000 wait', async (t) => {
  const socket = await idleSocket(t)
  let delivered = 0
  socket.ev.on('messages.upsert', ({ messages }) => (delivered += messages.length))
  socket.ev.flush()
  socket.ev.buffer()
  for (let i = 0; i < 5_000; i++) {
    const key = { remoteJid: '1@s.whatsapp.net', id: `M${i}`, fromMe: false }
    socket.ev.emit('messages.upsert', { type: 'append', messages: [{ key, message: { conversation: 'x' } }] })
  }
  const { peakItems, flushes } = socket.socketStats().eventBuffer
  socket.ev.flush()
  assert.deepEqual([delivered, peakItems, flushes.items], [5_000, 1_000, 5])
})

test('buffered events of 20 kB wait up to a megabyte', async (t) => {
  const socket = await idleSocket(t)
  socket.ev.flush()
  socket.ev.buffer()
  for (let i = 0; i < 200; i++) {
    const key = { remoteJid: '1@s.whatsapp.net', id: `M${i}`, fromMe: false }
    const message = { conversation: 'x'.repeat(20_000) }
    socket.ev.emit('messages.upsert', { type: 'append', messages: [{ key, message }] })
  }
  const { flushes, peakItems } = socket.socketStats().eventBuffer
  assert.ok(flushes.bytes >= 3 && peakItems < 60, JSON.stringify(flushes))
})

test('a buffer that nobody releases is released by its age', async (t) => {
  const socket = await idleSocket(t, { eventBuffer: { maxAgeMs: 20 } })
  socket.ev.flush()
  socket.ev.buffer()
  let delivered = 0
  socket.ev.on('messages.upsert', () => (delivered += 1))
  const key = { remoteJid: '1@s.whatsapp.net', id: 'M', fromMe: false }
  socket.ev.emit('messages.upsert', { type: 'append', messages: [{ key, message: { conversation: 'x' } }] })
  assert.equal(delivered, 0)
  await until(() => delivered === 1, 'the event')
  assert.equal(socket.socketStats().eventBuffer.flushes.age, 1)
  assert.equal(socket.ev.isBuffering(), false)
})

test('10 events buffered when the server ends the connection are delivered', async (t) => {
  const rig = await makeRig(t)
  const { socket, phone } = await rig.account()
  const delivered: string[] = []
  let deliveredBeforeEnd = -1
  socket.ev.on('messages.upsert', ({ messages }) =>
    delivered.push(...messages.map(({ key }) => key.id ?? '')),
  )
  socket.ev.on('connection.update', ({ connection }) => {
    if (connection === 'close') deliveredBeforeEnd = delivered.filter((id) => id.startsWith('M')).length
  })
  await rig.sim.settled()
  socket.ev.buffer()
  for (let i = 0; i < 10; i++) {
    const key = { remoteJid: '1@s.whatsapp.net', id: `M${i}`, fromMe: false }
    socket.ev.emit('messages.upsert', { type: 'append', messages: [{ key, message: { conversation: 'x' } }] })
  }
  phone.devices()[0]?.close()
  await until(() => deliveredBeforeEnd >= 0, 'the end')
  assert.equal(deliveredBeforeEnd, 10)
})

test('10,000 LIDs and 2,000 sent messages of 20 kB stay within the caps, and everything is still found', async (t) => {
  const rig = await makeRig(t)
  const { socket } = await rig.account()
  const { lidMapping } = socket.signalRepository
  for (let start = 0; start < 10_000; start += 500) {
    await lidMapping.storeLIDPNMappings(
      Array.from({ length: 500 }, (_, i) => ({
        lid: `${90_000 + start + i}@lid`,
        pn: `${550_000 + start + i}@s.whatsapp.net`,
      })),
    )
  }
  for (let i = 0; i < 2_000; i++) {
    socket.messageRetryManager?.addRecentMessage('1@s.whatsapp.net', `ID${i}`, {
      conversation: 'y'.repeat(20_000),
    })
  }
  for (const { name, entries, maxEntries, bytes } of socket.cacheStats()) {
    assert.ok(entries <= maxEntries, name)
    assert.ok(bytes < 4 * 1024 * 1024, `${name} has ${bytes} bytes`)
  }
  const recent = socket.cacheStats().find(({ name }) => name === 'recentMessages')
  assert.ok((recent?.bytes ?? 0) <= 512 * 1024 && (recent?.entries ?? 0) > 10)
  const index = Reflect.get(socket.messageRetryManager ?? {}, 'messageKeyIndex') as Map<string, string>
  assert.equal(index.size, recent?.entries)
  assert.equal(await lidMapping.getLIDForPN('550000@s.whatsapp.net'), '90000@lid')
})

test("one account's stalled database does not hold up another beyond the store's deadline", async () => {
  const stalled = new Rows()
  const alice = person('1', makeBoundedKeyStore(stalled, { deadlineMs: 100 }))
  const bob = person('2', makeBoundedKeyStore(new Rows()))
  const peer = person('3', makeBoundedKeyStore(new Rows()))
  await introduce(peer, alice)
  await introduce(peer, bob)
  // libsignal queues by the peer's address alone: both accounts stand in one line.
  const blocked = Promise.withResolvers<void>()
  stalled.beforeGet = async (type) => {
    if (type === 'session') await new Promise(() => blocked.resolve())
  }
  // Its read never answers: without a deadline, bob would wait for ever.
  const first = say(peer, alice).catch(() => {})
  await blocked.promise
  await say(peer, bob)
  await first
})

test('a peer gets each message it asks for once, and repetitions up to ten a minute', async (t) => {
  const rig = await makeRig(t)
  const asked: string[] = []
  const { socket } = await rig.account({
    getMessage: async ({ id }) => {
      asked.push(id ?? '')
      return undefined
    },
  })
  const { jid } = rig.sim.addContact('5521900000001')
  const ask = (id: string): void => {
    const retry = { tag: 'retry', attrs: { count: '1', id, t: '1', v: '1' } }
    const attrs = { id, from: jid, type: 'retry', t: '1' }
    socket.ws.emit('CB:receipt', { tag: 'receipt', attrs, content: [retry] })
  }
  for (let time = 0; time < 4; time++) for (let i = 0; i < 5; i++) ask(`M${i}`)
  await until(() => socket.socketStats().stanzas.waiting === 0, 'all receipts handled')
  assert.equal(new Set(asked).size, 5)
  assert.deepEqual([asked.length, socket.socketStats().retries.resendsRefused], [15, 5])
})

test('a second socket of an account is made when the first is gone, and sees what came meanwhile once', async (t) => {
  const rig = await makeRig(t)
  const first = await rig.account()
  const contact = rig.sim.addContact('5521900000001')
  await Promise.all([closeSocket(first.socket), closeSocket(first.socket)])
  for (let i = 0; i < 300; i++) contact.send(first.phone, `offline ${i}`)
  const second = await rig.connect(first)
  await until(() => second.texts.length >= 300, 'what came meanwhile')
  assert.deepEqual(
    second.texts,
    Array.from({ length: 300 }, (_, i) => `offline ${i}`),
  )
  assert.ok(second.socket.socketStats().stanzas.peakWaiting > 1, 'what waits is counted')
  assert.ok(second.messages.every(({ key }) => key.fromMe === false))
  await rig.sim.assertClean()
})

test('received messages are not kept for resends, sent ones are', async (t) => {
  const rig = await makeRig(t)
  const client = await rig.account()
  const contact = rig.sim.addContact('5521900000001')
  contact.send(client.phone, 'hello')
  await until(() => client.texts.includes('hello'), 'the message')
  await client.socket.sendMessage(contact.jid, { text: 'hi' })
  const recent = client.socket.cacheStats().find(({ name }) => name === 'recentMessages')
  assert.equal(recent?.entries, 1)
})

test('a query without an answer ends after 30 seconds at most, whatever the configuration says', async (t) => {
  const rig = await makeRig(t)
  const { socket } = await rig.account({ defaultQueryTimeoutMs: undefined })
  const inFlight = socket.socketStats().queriesInFlight
  const { setTimeout: before } = globalThis
  const delays: number[] = []
  globalThis.setTimeout = ((run: () => void, delayMs: number) => {
    delays.push(delayMs)
    return before(run, delayMs)
  }) as typeof setTimeout
  const waiting = socket.waitForMessage('never').catch(() => {})
  globalThis.setTimeout = before
  assert.deepEqual(delays, [30_000])
  assert.equal(socket.socketStats().queriesInFlight, inFlight + 1)
  await closeSocket(socket)
  await waiting
})

test('an event with more listeners than anybody needs is warned of once', async (t) => {
  const rig = await makeRig(t)
  const warnings: string[] = []
  const logger = {
    level: 'warn',
    child: () => logger,
    trace() {},
    debug() {},
    info() {},
    warn: (_fields: unknown, message?: string) => void warnings.push(message ?? ''),
    error() {},
  }
  const { socket } = await rig.account({ logger })
  for (let i = 0; i < 60; i++) socket.ev.on('call', () => {})
  assert.equal(warnings.filter((text) => text.includes('too many listeners')).length, 1)
  assert.equal(socket.socketStats().listeners.alarms, 1)
})

test('a key store that fails cuts the connection before anything wrong is said to WhatsApp', async (t) => {
  const rig = await makeRig(t)
  const client = await rig.account()
  const contact = rig.sim.addContact('5521900000001')
  client.keys.beforeGet = async () => {
    throw new Error('disk gone')
  }
  contact.send(client.phone, 'not lost')
  await until(() => !client.isOpen(), 'the connection is cut')
  client.keys.beforeGet = async () => {}
  await closeSocket(client.socket)
  const again = await rig.connect(client)
  await until(() => again.texts.includes('not lost'), 'the message comes again')
  assert.equal(rig.sim.stats.totals['retriesAskedByClients'], 0)
})

test('messages of two sockets to a group, all at once, arrive once each and in the order of their sender', async (t) => {
  const rig = await makeRig(t)
  const contact = rig.sim.addContact('5521900000001')
  const clients = await Promise.all(Array.from({ length: 2 }, () => rig.account()))
  const group = rig.sim.createGroup('Loja', [...clients.map(({ phone }) => phone), contact])
  await rig.sim.settled()
  await Promise.all(
    clients.flatMap(({ socket }, sender) =>
      ['a', 'b', 'c'].map((text) => socket.sendMessage(group.jid, { text: `${sender} ${text}` })),
    ),
  )
  await until(() => contact.inbox.length >= 6, 'all messages')
  for (const sender of clients.keys()) {
    assert.deepEqual(
      contact.inbox.map(({ text }) => text).filter((text) => text.startsWith(`${sender} `)),
      [`${sender} a`, `${sender} b`, `${sender} c`],
    )
  }
})

test('a hundred messages to groups wait for a socket, one more is refused and harms none of them', async (t) => {
  const socket = await idleSocket(t)
  const sends = Array.from({ length: 101 }, (_, n) =>
    socket.sendMessage('1@g.us', { text: String(n) }).then(
      () => 'sent',
      (error: Error) => error.message,
    ),
  )
  assert.match((await sends.at(-1)) ?? '', /100 messages to groups wait already/)
  await closeSocket(socket, { graceMs: 1 })
  const others = new Set(await Promise.all(sends.slice(0, -1)))
  assert.ok(![...others].some((text) => text.includes('wait already')))
  assert.equal(socket.socketStats().groupSends, 0)
})

test('a transaction that read 50 MB is collectable when it is over, LIDs looked up within', async (t) => {
  const rows = new Rows()
  const socket = await idleSocket(t, { auth: { creds: initAuthCreds(), keys: rows } })
  await rows.set({ 'lid-mapping': { '5511': '900', '900_reverse': '5511' } })
  const { keys } = socket.authState
  const read: WeakRef<object>[] = []
  await keys.transaction(async () => {
    for (let n = 0; n < 50; n++) {
      rows.rows.set(`sender-key:${n}`, JSON.stringify({ filler: 'x'.repeat(1_000_000) }))
      const found = await keys.get('sender-key', [String(n)])
      read.push(new WeakRef(found[String(n)] as object))
      rows.rows.delete(`sender-key:${n}`)
    }
    assert.equal(await socket.signalRepository.lidMapping.getLIDForPN('5511@s.whatsapp.net'), '900@lid')
  }, 'test')
  await collect()
  assert.deepEqual([read.length, read.filter((ref) => ref.deref() !== undefined).length], [50, 0])
})
