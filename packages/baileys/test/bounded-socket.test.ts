import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:net'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import {
  type BoundedSocket,
  type BoundedSocketConfig,
  checkEngine,
  closeSocket,
  DEFAULT_CACHE_LIMITS,
  initAuthCreds,
  KNOWN_ENGINE,
  makeWASocket,
  readInstalledEngine,
  silenceLibsignal,
} from '../src/index.ts'

const silentLogger = {
  level: 'silent',
  child: () => silentLogger,
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
}

/** A TCP server that takes connections and says nothing, so that a socket stays as it was made. */
async function muteServer(t: TestContext): Promise<string> {
  const server: Server = createServer((socket) => socket.on('error', () => {}))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function setup(t: TestContext, config: Partial<BoundedSocketConfig> = {}): Promise<BoundedSocket> {
  const socket = makeWASocket({
    auth: { creds: initAuthCreds(), keys: { get: () => ({}), set: () => {} } },
    logger: silentLogger,
    waWebSocketUrl: await muteServer(t),
    ...config,
  })
  t.after(() => closeSocket(socket, { graceMs: 1 }))
  return socket
}

test('every cache has its cap without any option', async (t) => {
  const socket = await setup(t)
  const caps = Object.fromEntries(socket.cacheStats().map(({ name, maxEntries }) => [name, maxEntries]))
  const limits = Object.entries(DEFAULT_CACHE_LIMITS)
  assert.deepEqual(caps, Object.fromEntries(limits.map(([name, { maxEntries }]) => [name, maxEntries])))
  assert.deepEqual(
    [caps['userDevices'], caps['lidMapping'], caps['msgRetry'], caps['callOffer'], caps['placeholderResend']],
    [5_000, 2_000, 10_000, 500, 5_000],
  )
})

test('a caller gives one socket limits of its own', async (t) => {
  const socket = await setup(t, { cacheLimits: { userDevices: { maxEntries: 7, ttlMs: 1_000 } } })
  const caps = Object.fromEntries(socket.cacheStats().map(({ name, maxEntries }) => [name, maxEntries]))
  assert.equal(caps['userDevices'], 7)
  assert.equal(caps['callOffer'], 500)
})

test('the LID cache and the maps of the retry manager stay at their caps under Baileys itself', async (t) => {
  const socket = await setup(t)
  const { messageRetryManager: manager } = socket
  assert.ok(manager !== null)
  for (let i = 0; i < 3_000; i++) {
    manager.addRecentMessage('5511999990000@s.whatsapp.net', `ID${i}`, { conversation: 'x' })
    manager.incrementRetryCount(`ID${i}`)
    manager.saveBaseKey('5511999990000.0', `ID${i}`, new Uint8Array(32))
  }
  await socket.signalRepository.lidMapping.storeLIDPNMappings(
    Array.from({ length: 3_000 }, (_, i) => ({
      lid: `${9_000 + i}@lid`,
      pn: `${55_000 + i}@s.whatsapp.net`,
    })),
  )
  const entries = Object.fromEntries(socket.cacheStats().map(({ name, entries }) => [name, entries]))
  assert.deepEqual(
    [entries['recentMessages'], entries['retryCounters'], entries['baseKeys'], entries['lidMapping']],
    [64, 2_000, 256, 2_000],
  )
  assert.ok(manager.getRecentMessage('5511999990000@s.whatsapp.net', 'ID2999') !== undefined)
  // Upstream's own index lost an entry with each message that was evicted.
  assert.equal((Reflect.get(manager, 'messageKeyIndex') as Map<string, string>).size, 64)
})

test('closing rejects the queries in flight at once and may be repeated', async (t) => {
  const socket = await setup(t)
  const waiting = assert.rejects(socket.waitForMessage('never-answered', 60_000))
  await closeSocket(socket, { graceMs: 1 })
  await waiting
  await closeSocket(socket, { graceMs: 1 })
})

test('libsignal prints no private key on the console, and others print as before', async (t) => {
  silenceLibsignal()
  const printed: unknown[][] = []
  const write = process.stdout.write.bind(process.stdout)
  t.after(() => {
    process.stdout.write = write
  })
  process.stdout.write = (chunk: unknown): boolean => {
    printed.push([chunk])
    return true
  }
  console.info('Closing session:', { currentRatchet: { ephemeralKeyPair: { privKey: 'secret' } } })
  console.info('something else')
  process.stdout.write = write
  assert.deepEqual(
    printed.flat().filter((line) => String(line).includes('secret')),
    [],
  )
  assert.ok(printed.flat().some((line) => String(line).includes('something else')))
})

test('the engine is the one this release was measured with', () => {
  assert.deepEqual(readInstalledEngine(), KNOWN_ENGINE)
  checkEngine()
})

test('another version or a changed file of the engine is refused by name', () => {
  const [baileys, libsignal] = KNOWN_ENGINE
  assert.ok(baileys !== undefined && libsignal !== undefined)
  assert.throws(() => checkEngine([{ ...baileys, version: '6.17.16' }, libsignal]), /baileys is 6\.17\.16/)
  assert.throws(() => checkEngine([baileys, { ...libsignal, sha256: 'other' }]), /files of libsignal 6\.0\.0/)
  assert.throws(() => checkEngine([baileys]), /libsignal is not installed/)
})
