import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import NodeCache from '@cacheable/node-cache'
import { BoundedCache, estimateBytes } from '@eclusa/bounded-cache'
import * as upstream from 'baileys'
import {
  asCacheStore,
  closeSocket,
  initAuthCreds,
  makeBoundedKeyStore,
  makeWASocket,
  proto,
  type WASocket,
} from '../src/index.ts'
import { introduce, person, say } from './conversation.ts'
import { makeRig, muteServer, Rows, silentLogger } from './rig.ts'

/*
 * The ten facts about memory in Baileys 7.0.0-rc14 that decided how this package is built. Each is shown on upstream
 * first; then ours does not have it.
 */

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

async function collect(): Promise<void> {
  for (let round = 0; round < 4; round++) {
    gc()
    await new Promise((turn) => setTimeout(turn, 10))
  }
}

function config(url: string): upstream.UserFacingSocketConfig {
  return {
    auth: { creds: initAuthCreds(), keys: new Rows() },
    logger: silentLogger,
    waWebSocketUrl: url,
  }
}

test('fact 1: a full cache of upstream throws instead of evicting; ours evicts', () => {
  const theirs = new NodeCache({ maxKeys: 2 })
  theirs.set('a', 1)
  theirs.set('b', 2)
  assert.throws(() => theirs.set('c', 3), /max keys/i)
  theirs.close()
  const ours = asCacheStore(new BoundedCache<unknown>({ name: 'test', maxEntries: 2, ttlMs: 1_000 }))
  for (const key of ['a', 'b', 'c']) void ours.set(key, key)
  assert.deepEqual([ours.get('a'), ours.get('b'), ours.get('c')], [undefined, 'b', 'c'])
})

test("fact 2: a full key cache of upstream's keeps a ratchet from the database; ours writes the database first", async () => {
  const cache = new NodeCache({ maxKeys: 1, useClones: false })
  cache.set('filler', 1)
  const session = { session: { '1.0': { version: 'v1' } as never } }
  const theirs = new Rows()
  const store = upstream.makeCacheableSignalKeyStore(theirs, silentLogger, cache as never)
  await assert.rejects(async () => store.set(session), /max keys/i)
  assert.equal(theirs.rows.size, 0)
  cache.close()
  const ours = new Rows()
  const keys = makeBoundedKeyStore(ours, { maxEntries: 1 })
  await keys.set({ 'device-list': { a: ['1'] } })
  await keys.set(session)
  assert.ok(ours.rows.has('session:1.0'))
})

test('fact 3: this Node keeps the async context in frames, so a socket leaves no hook behind', async () => {
  // The test runner has hooks of its own.
  const before = Object.getOwnPropertySymbols(Promise.resolve()).length
  const hooks = Array.from({ length: 50 }, () => new AsyncLocalStorage<number>())
  for (const hook of hooks) await hook.run(1, async () => {})
  assert.equal(Object.getOwnPropertySymbols(Promise.resolve()).length, before)
})

test("fact 4: a timer of upstream's LID cache pins what was around it; ours arms none", async (t) => {
  const url = await muteServer(t)
  const around = new AsyncLocalStorage<Buffer>()
  const pinned = async (socket: WASocket): Promise<number> => {
    const { lidMapping } = socket.signalRepository
    await lidMapping.storeLIDPNMappings([{ lid: '900@lid', pn: '5511@s.whatsapp.net' }])
    await collect()
    const before = process.memoryUsage().arrayBuffers
    await around.run(Buffer.alloc(30_000_000), () => lidMapping.getLIDForPN('5511@s.whatsapp.net'))
    await collect()
    return process.memoryUsage().arrayBuffers - before
  }
  const theirs = upstream.makeWASocket(config(url))
  const ours = makeWASocket(config(url))
  t.after(() => Promise.all([closeSocket(theirs, { graceMs: 1 }), closeSocket(ours, { graceMs: 1 })]))
  assert.ok((await pinned(theirs)) > 20_000_000)
  assert.ok((await pinned(ours)) < 5_000_000)
})

test('fact 5: a session of upstream grows with every turn; ours keeps its size', async () => {
  const size = async (ours: boolean, turns: readonly number[]): Promise<number[]> => {
    const rows = new Rows()
    const alice = person('1', ours ? makeBoundedKeyStore(rows) : rows)
    const bob = person('2', makeBoundedKeyStore(new Rows()))
    await introduce(alice, bob)
    const sizes: number[] = []
    for (let turn = 1; turn <= (turns.at(-1) ?? 0); turn++) {
      await say(alice, bob)
      await say(bob, alice)
      if (turns.includes(turn))
        sizes.push([...rows.rows].find(([key]) => key.startsWith('session:'))?.[1].length ?? 0)
    }
    return sizes
  }
  const [theirsAt20 = 0, theirsAt60 = 0] = await size(false, [20, 60])
  assert.ok(theirsAt60 - theirsAt20 > 40 * 90, `${theirsAt20} → ${theirsAt60}`)
  const [oursAt20 = 0, oursAt60 = 0] = await size(true, [20, 60])
  assert.ok(oursAt60 - oursAt20 < 100 && oursAt60 < 4_000, `${oursAt20} → ${oursAt60}`)
})

test('fact 6: a device list that is forgotten costs the contact a pre-key at each send; ours is kept', async (t) => {
  const rig = await makeRig(t)
  const client = await rig.account()
  const bundles = (): number =>
    rig.sim
      .transcript(client.creds.me?.id ?? '')
      .filter(
        ({ direction, attrs, children }) =>
          direction === 'in' && attrs['xmlns'] === 'encrypt' && children[0]?.tag === 'key',
      ).length
  const cost = async (socket: WASocket, number: string): Promise<number> => {
    const contact = rig.sim.addContact(number)
    const before = bundles()
    for (let i = 0; i < 4; i++) await socket.sendMessage(contact.jid, { text: String(i) })
    return bundles() - before
  }
  const ours = await cost(client.socket, '5521900000001')
  await closeSocket(client.socket)
  const nothing = { get: () => undefined, set() {}, del() {}, flushAll() {} }
  const forgetful = await rig.connectUpstream(client, { userDevicesCache: nothing })
  const theirs = await cost(forgetful.socket, '5521900000002')
  assert.ok(theirs >= 2 * ours + 2, `theirs ${theirs}, ours ${ours}`)
})

test('fact 7: upstream walks the whole of a value when it is set; ours looks at a part', () => {
  let looks = 0
  const value = Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`k${i}`, i]))
  const watched = new Proxy(value, {
    get: (target, key) => {
      looks += 1
      return Reflect.get(target, key) as unknown
    },
  })
  const theirs = new NodeCache({ useClones: false })
  theirs.set('a', watched)
  theirs.close()
  assert.ok(looks >= 3_000, `theirs ${looks}`)
  looks = 0
  assert.ok(estimateBytes(watched) > 0)
  assert.ok(looks <= 200, `ours ${looks}`)
})

test('fact 8: upstream throws away what it buffers when the socket ends, 10 of 10; ours delivers 10 of 10', async (t) => {
  const url = await muteServer(t)
  const delivered = async (socket: WASocket): Promise<number> => {
    let count = 0
    socket.ev.on('messages.upsert', ({ messages }) => (count += messages.length))
    socket.ev.buffer()
    for (let i = 0; i < 10; i++) {
      const key = { remoteJid: '1@s.whatsapp.net', id: `M${i}`, fromMe: false }
      socket.ev.emit('messages.upsert', {
        type: 'append',
        messages: [{ key, message: { conversation: 'x' } }],
      })
    }
    await socket.end(new Error('connection lost'))
    await closeSocket(socket, { ended: true })
    return count
  }
  assert.equal(await delivered(upstream.makeWASocket(config(url))), 0)
  assert.equal(await delivered(makeWASocket(config(url))), 10)
})

test('fact 9: a media key of a decoded history keeps all of it; what ours tells holds its own 32 bytes', async (t) => {
  const conversations = [
    {
      id: '1@s.whatsapp.net',
      messages: [
        { message: { key: { id: 'A' }, message: { imageMessage: { mediaKey: Buffer.alloc(32, 1) } } } },
        { message: { key: { id: 'B' }, message: { conversation: 'x'.repeat(200_000) } } },
      ],
    },
  ]
  const bytes = proto.HistorySync.encode({ syncType: 3, conversations }).finish()
  const decoded = proto.HistorySync.decode(bytes)
  const theirs = decoded.conversations[0]?.messages?.[0]?.message?.message?.imageMessage?.mediaKey
  assert.ok((theirs?.buffer.byteLength ?? 0) > 200_000)
  const rig = await makeRig(t)
  const client = await rig.account()
  const { promise, resolve } = Promise.withResolvers<Uint8Array | null | undefined>()
  client.socket.ev.on('messaging-history.set', ({ messages }) => {
    if (messages.length > 0) resolve(messages[0]?.message?.imageMessage?.mediaKey)
  })
  await client.phone.sendHistory({ chats: 1, messagesPerChat: 2, thumbnailBytes: 1_000 })
  assert.equal((await promise)?.buffer.byteLength, 32)
})

test('fact 10: an idle socket is cheap, and ours is cheaper than upstream’s', async (t) => {
  const url = await muteServer(t)
  const perSocket = async (make: () => WASocket): Promise<number> => {
    const sockets = Array.from({ length: 5 }, make)
    await collect()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < 25; i++) sockets.push(make())
    await collect()
    const bytes = (process.memoryUsage().heapUsed - before) / 25
    await Promise.all(sockets.map((socket) => closeSocket(socket, { graceMs: 1 })))
    return bytes
  }
  const theirs = await perSocket(() => upstream.makeWASocket(config(url)))
  const ours = await perSocket(() => makeWASocket(config(url)))
  assert.ok(ours < theirs, `ours ${Math.round(ours)}, theirs ${Math.round(theirs)}`)
  assert.ok(ours < 200_000)
})
