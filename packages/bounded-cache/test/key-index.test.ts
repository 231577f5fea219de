import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hashOf, KeyIndex } from '../src/key-index.ts'
import { freeSlot, NONE, takeSlot } from '../src/slab.ts'

const NOBODY = 0

/** An index with a Map beside it; `hash` decides which keys collide. */
function indexBesideMap(hash: (key: string) => number): {
  readonly index: KeyIndex
  add(key: string): void
  remove(key: string): void
  agree(keys: Iterable<string>): void
} {
  const index = new KeyIndex()
  const model = new Map<string, number>()
  return {
    index,
    add(key) {
      if (model.has(key)) return
      const slot = takeSlot(key, null, NOBODY)
      index.add(slot, hash(key))
      model.set(key, slot)
    },
    remove(key) {
      const slot = model.get(key)
      if (slot === undefined) return
      index.remove(slot)
      freeSlot(slot)
      model.delete(key)
    },
    agree(keys) {
      assert.equal(index.size, model.size)
      for (const key of keys) assert.equal(index.find(key, hash(key)), model.get(key) ?? NONE, key)
    },
  }
}

const HASHES: Readonly<Record<string, (key: string) => number>> = {
  'hashes as they are': hashOf,
  'one hash for all keys': () => 7,
  'three hashes, far apart': (key) => [0, -1, 2 ** 31 - 1][Number(key) % 3] as number,
  'hashes that differ in their high bits only': (key) => Number(key) << 20,
}

for (const [name, hash] of Object.entries(HASHES)) {
  test(`finds what a Map finds, under any additions and removals: ${name}`, () => {
    const step = fc.record({ adds: fc.boolean(), from: fc.nat(60), count: fc.nat(30) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const pair = indexBesideMap(hash)
        for (const { adds, from, count } of steps) {
          for (let n = from; n < from + count; n++) {
            if (adds) pair.add(`${n}`)
            else pair.remove(`${n}`)
          }
          pair.agree(Array.from({ length: 100 }, (_, n) => `${n}`))
        }
        for (let n = 0; n < 100; n++) pair.remove(`${n}`)
        assert.equal(pair.index.size, 0)
      }),
      { numRuns: 300 },
    )
  })
}

test('grows with its entries and shrinks with them, and loses none on the way', () => {
  const pair = indexBesideMap(hashOf)
  const keys = Array.from({ length: 20_000 }, (_, n) => `key-${n}`)
  for (const [n, key] of keys.entries()) {
    pair.add(key)
    if (n % 2_500 === 0) pair.agree(keys)
    // Two heads an entry, a half more to grow into, and a few to begin with.
    assert.ok(pair.index.bytes <= (n + 1) * 12 + 64, `${pair.index.bytes} bytes for ${n + 1} entries`)
  }
  for (const [n, key] of keys.entries()) {
    pair.remove(key)
    if (n % 2_500 === 0) pair.agree(keys)
    const left = keys.length - n - 1
    assert.ok(pair.index.bytes <= left * 27 + 128, `${pair.index.bytes} bytes for ${left} entries`)
  }
  pair.agree(keys)
})

test('a million keys that come and go leave it as small as a thousand need', () => {
  const pair = indexBesideMap(hashOf)
  const held = 1_000
  let most = 0
  for (let n = 0; n < 1_000_000; n++) {
    pair.add(`key-${n}`)
    if (n >= held) pair.remove(`key-${n - held}`)
    most = Math.max(most, pair.index.bytes)
  }
  assert.ok(most <= held * 27, `${most} bytes`)
  pair.agree(Array.from({ length: held + 10 }, (_, n) => `key-${1_000_000 - held - 10 + n}`))
  for (let n = 1_000_000 - held; n < 1_000_000; n++) pair.remove(`key-${n}`)
})

test('spreads keys that are alike', () => {
  for (const keyOf of [
    (n: number) => `${5_511_900_000_000 + n}@s.whatsapp.net`,
    (n: number) => `session.${5_511_900_000_000 + n}_1.0`,
    (n: number) => String(n),
    (n: number) => 'a'.repeat(n % 2_000) + String(n),
    (n: number) => String.fromCodePoint(0x4e00 + (n % 5_000)) + String(n >> 4),
  ]) {
    const keys = new Set(Array.from({ length: 8_192 }, (_, n) => keyOf(n)))
    for (const bits of [0, 19]) {
      const buckets = new Set([...keys].map((key) => (hashOf(key) >>> bits) & 8_191))
      // Drawn at random, 63 % of the buckets would be met.
      assert.ok(buckets.size > keys.size * 0.6, `${keyOf(1)}: ${buckets.size} of ${keys.size}`)
    }
  }
})
