import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  checkEngine,
  closeSocket,
  DEFAULT_CACHE_LIMITS,
  KNOWN_ENGINE,
  readInstalledEngine,
  silenceLibsignal,
} from '../src/index.ts'
import { idleSocket } from './rig.ts'

test('every cache has its cap without any option', async (t) => {
  const socket = await idleSocket(t)
  const caps = Object.fromEntries(socket.cacheStats().map(({ name, maxEntries }) => [name, maxEntries]))
  const limits = Object.entries(DEFAULT_CACHE_LIMITS)
  assert.deepEqual(caps, Object.fromEntries(limits.map(([name, { maxEntries }]) => [name, maxEntries])))
  assert.deepEqual(
    [caps['userDevices'], caps['lidMapping'], caps['msgRetry'], caps['callOffer'], caps['placeholderResend']],
    [5_000, 2_000, 10_000, 500, 5_000],
  )
})

test('a caller gives one socket limits of its own', async (t) => {
  const socket = await idleSocket(t, { cacheLimits: { userDevices: { maxEntries: 7, ttlMs: 1_000 } } })
  const caps = Object.fromEntries(socket.cacheStats().map(({ name, maxEntries }) => [name, maxEntries]))
  assert.equal(caps['userDevices'], 7)
  assert.equal(caps['callOffer'], 500)
})

test('the LID cache and the maps of the retry manager stay at their caps under Baileys itself', async (t) => {
  const socket = await idleSocket(t)
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
  const socket = await idleSocket(t)
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
