import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CacheStore, PossiblyExtendedCacheStore } from 'baileys'
import { CacheBudget, DEFAULT_MAX_KEYS, NodeCache } from '../src/index.ts'
import DefaultExport from '../src/node-cache.ts'

test('6,000 sets into a cache of 5,000 leave exactly 5,000 keys', () => {
  const cache = new NodeCache({ stdTTL: 300, maxKeys: 5000, useClones: false, deleteOnExpire: true })
  for (let i = 0; i < 6000; i++) cache.set(`key_${i}`, `value_${i}`)
  assert.equal(cache.keys().length, 5000)
  assert.equal(cache.getStats().keys, 5000)
})

test('the least recently used key goes first: a key that was read survives 1,000 more', () => {
  const cache = new NodeCache({ stdTTL: 300, maxKeys: 5000, useClones: false, deleteOnExpire: true })
  for (let i = 0; i < 5000; i++) cache.set(`key_${i}`, `value_${i}`)
  cache.get('key_0')
  for (let i = 5000; i < 6000; i++) cache.set(`key_${i}`, `value_${i}`)
  assert.equal(cache.has('key_0'), true)
  assert.equal(cache.has('key_1'), false)
  assert.equal(cache.has('key_5999'), true)
})

test('0, -1, nothing, infinity or no number never mean unlimited', () => {
  for (const maxKeys of [0, -1, undefined, Infinity, NaN, 0.5]) {
    const cache = new NodeCache({ useClones: false, ...(maxKeys === undefined ? {} : { maxKeys }) })
    for (let i = 0; i < DEFAULT_MAX_KEYS + 10; i++) cache.set(`${i}`, i)
    assert.equal(cache.keys().length, DEFAULT_MAX_KEYS, `maxKeys ${maxKeys}`)
    assert.equal(cache.options.maxKeys, DEFAULT_MAX_KEYS)
    cache.close()
  }
})

test('warns of a cap above 50,000 without a reason and of deleteOnExpire false, naming the cache', () => {
  const heard: string[] = []
  const make = (options: object): NodeCache =>
    new NodeCache({ name: 'devices', onWarning: (message) => heard.push(message), ...options })
  make({ maxKeys: 50_000 })
  make({ maxKeys: 50_001, maxKeysReason: 'one tenant has 60,000 contacts' })
  assert.deepEqual(heard, [])
  make({ maxKeys: 50_001 })
  make({ maxKeys: 100, deleteOnExpire: false })
  assert.match(heard[0] ?? '', /^devices: maxKeys 50001 is above 50000/)
  assert.match(heard[1] ?? '', /^devices: with deleteOnExpire false/)
  assert.equal(heard.length, 2)
})

test('with deleteOnExpire false the cap still holds', () => {
  let now = 0
  const cache = new NodeCache({
    stdTTL: 1,
    maxKeys: 3,
    deleteOnExpire: false,
    now: () => now,
    onWarning: () => {},
  })
  for (let i = 0; i < 10; i++) {
    cache.set(`${i}`, i)
    now += 2_000
    cache.get(`${i}`)
  }
  assert.deepEqual(cache.keys(), ['7', '8', '9'])
})

test('serves as every cache that Baileys asks for, and is awaited there', async () => {
  const plain: CacheStore = new NodeCache({ useClones: false })
  const devices: PossiblyExtendedCacheStore = new NodeCache({ useClones: false })
  await plain.set('a', 1)
  assert.equal(await plain.get('a'), 1)
  await devices.mset?.([{ key: 'ana', value: [{ user: 'ana' }] }])
  assert.deepEqual(await devices.mget?.(['ana', 'bia']), { ana: [{ user: 'ana' }] })
  await devices.mdel?.(['ana'])
  assert.equal(await devices.get('ana'), undefined)
  await plain.flushAll()
  plain.close?.()
  assert.equal(await plain.get('a'), undefined)
})

test('a listener that throws harms neither the caller nor the books, and is told as error', () => {
  const cache = new NodeCache<number>({ maxKeys: 1 })
  const errors: unknown[] = []
  cache.on('error', (error) => errors.push(error))
  for (const name of ['set', 'del', 'evicted'] as const) {
    cache.on(name, () => {
      throw new Error(name)
    })
  }
  assert.equal(cache.set('a', 1), true)
  assert.equal(cache.set('b', 2), true)
  assert.deepEqual(cache.keys(), ['b'])
  assert.equal(cache.del('b'), 1)
  assert.deepEqual(
    errors.map((error) => (error as Error).message),
    ['set', 'del', 'evicted', 'set', 'del'],
  )
})

test('a listener may use the cache that tells it', () => {
  const cache = new NodeCache<number>({ maxKeys: 2 })
  cache.on('evicted', (key, value) => {
    if (value < 5) cache.set(`${key}'`, value + 10)
  })
  for (let n = 0; n < 4; n++) cache.set(`${n}`, n)
  assert.equal(cache.keys().length, 2)
  assert.equal(cache.getStats().keys, 2)
})

test('closing frees all, and keeps nothing that comes later', () => {
  const budget = new CacheBudget({ maxBytes: 1_000_000, now: () => 0 })
  const cache = new NodeCache({ owner: budget.owner('ana'), maxKeys: 100 })
  for (let n = 0; n < 50; n++) cache.set(`${n}`, 'x'.repeat(100))
  assert.ok(budget.usedBytes > 5_000)
  cache.close()
  cache.close()
  assert.equal(budget.usedBytes, 0)
  assert.equal(cache.set('a', 1), false)
  assert.equal(budget.usedBytes, 0)
})

test('vsize counts the bytes of values, ksize the units of keys', () => {
  const cache = new NodeCache({ useClones: false })
  cache.set('abc', 'x'.repeat(1_000))
  const { ksize, vsize } = cache.getStats()
  assert.equal(ksize, 3)
  assert.ok(vsize >= 1_000 && vsize < 1_100, `${vsize}`)
})

test('the default export is the class', () => {
  assert.equal(DefaultExport, NodeCache)
})
