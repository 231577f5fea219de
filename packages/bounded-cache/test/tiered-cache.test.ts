import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type SharedFact, type SharedStore, TieredCache, type TieredCacheOptions } from '../src/index.ts'

const TTL_MS = 300_000

/** A store in this process that can be slow or broken. */
class TestStore implements SharedStore {
  readonly facts = new Map<string, SharedFact>()
  /** `read`, `write` and `remove` in the order they came in. */
  readonly calls: string[] = []
  broken = false
  /** What the next calls wait for. */
  gate: Promise<void> = Promise.resolve()

  async read(keys: readonly string[]): Promise<Map<string, SharedFact>> {
    await this.#enter(`read ${keys.join()}`)
    const found = new Map<string, SharedFact>()
    for (const key of keys) {
      const fact = this.facts.get(key)
      if (fact !== undefined) found.set(key, fact)
    }
    return found
  }

  async write(facts: ReadonlyMap<string, SharedFact>): Promise<void> {
    await this.#enter(`write ${[...facts.keys()].join()}`)
    for (const [key, fact] of facts) this.facts.set(key, fact)
  }

  async remove(keys: readonly string[]): Promise<void> {
    await this.#enter(`remove ${keys.join()}`)
    for (const key of keys) this.facts.delete(key)
  }

  async #enter(call: string): Promise<void> {
    this.calls.push(call)
    await this.gate
    if (this.broken) throw new Error('the store is down')
  }
}

function setup(
  options: Partial<TieredCacheOptions<string[]>> & { maxEntries?: number; store?: TestStore } = {},
): {
  store: TestStore
  cache: TieredCache<string[]>
  clock: { now: number; deadlines: (() => void)[] }
} {
  const store = options.store ?? new TestStore()
  const clock = { now: 1_000_000, deadlines: [] as (() => void)[] }
  const cache = new TieredCache<string[]>({
    memory: { name: 'facts', maxEntries: options.maxEntries ?? 100, ttlMs: TTL_MS, now: () => clock.now },
    prefix: 'v1|',
    random: () => 0,
    setTimer: (_delayMs, run) => {
      clock.deadlines.push(run)
      return { cancel: () => void clock.deadlines.splice(clock.deadlines.indexOf(run), 1) }
    },
    ...options,
    store,
  })
  return { store, cache, clock }
}

test('what memory has evicted is found in the store, and the source is not asked', async () => {
  const { cache, store } = setup({ maxEntries: 1 })
  await cache.set('a', ['1'])
  await cache.set('b', ['2'])
  assert.equal(cache.stats().entries, 1)
  const asked: string[] = []
  const load = async (key: string): Promise<string[]> => {
    asked.push(key)
    return ['from the source']
  }
  assert.deepEqual(await cache.fetch('a', load), ['1'])
  assert.deepEqual(await cache.fetch('b', load), ['2'])
  assert.deepEqual(asked, [])
  assert.deepEqual([...store.facts.keys()], ['v1|a', 'v1|b'])
})

test('a fact is as old in the store as it was in memory: a second process does not give it another life', async () => {
  const first = setup()
  await first.cache.set('a', ['1'])
  const second = setup({ store: first.store })
  second.clock.now += TTL_MS - 1
  assert.deepEqual(await second.cache.get('a'), ['1'])
  second.clock.now += 1
  assert.equal(await second.cache.get('a'), undefined)
  // Nor does one from a clock that is ahead: its age is unknown.
  const third = setup({ store: first.store })
  third.clock.now -= 1
  assert.equal(await third.cache.get('a'), undefined)
})

test('lives end at different times, never later than they may', async () => {
  const { cache, store } = setup({ random: () => 0.999 })
  await cache.set('a', ['1'])
  const fact = store.facts.get('v1|a')
  assert.ok(fact !== undefined)
  const lifeMs = fact.expiresAt - fact.fetchedAt
  assert.ok(lifeMs > 0.89 * TTL_MS && lifeMs < 0.91 * TTL_MS, `${lifeMs}`)
})

test('however many ask for one key at once, the store is read once and the source asked once', async () => {
  const { cache, store } = setup()
  let asked = 0
  const load = async (): Promise<string[]> => {
    asked++
    await new Promise((resolve) => setImmediate(resolve))
    return ['1']
  }
  const answers = await Promise.all(Array.from({ length: 50 }, () => cache.fetch('a', load)))
  assert.equal(asked, 1)
  assert.ok(answers.every((answer) => answer?.[0] === '1'))
  assert.deepEqual(store.calls, ['read v1|a', 'write v1|a'])
})

test('what is absent is asked for again after 30 seconds, whatever life it was given', async () => {
  const { cache, clock } = setup({ absentTtlMs: TTL_MS })
  let asked = 0
  const load = async (): Promise<null> => {
    asked++
    return null
  }
  assert.equal(await cache.fetch('a', load), null)
  clock.now += 29_999
  assert.equal(await cache.fetch('a', load), null)
  assert.equal(asked, 1)
  clock.now += 1
  await cache.fetch('a', load)
  assert.equal(asked, 2)
})

test('a deleted fact is gone from both tiers, and a read under way brings it back into neither', async () => {
  const { cache, store } = setup()
  await cache.set('a', ['old'])
  cache.flush()
  const gate = Promise.withResolvers<void>()
  store.gate = gate.promise
  const reading = cache.get('a')
  await new Promise((resolve) => setImmediate(resolve))
  const deleting = cache.delete(['a'])
  gate.resolve()
  await Promise.all([reading, deleting])
  assert.equal(await cache.get('a'), undefined)
  assert.equal(store.facts.size, 0)
})

test('what the source answered before a deletion is handed out once and kept nowhere', async () => {
  const { cache, store } = setup()
  const answer = Promise.withResolvers<string[]>()
  const fetching = cache.fetch('a', () => answer.promise)
  await new Promise((resolve) => setImmediate(resolve))
  await cache.delete(['a'])
  answer.resolve(['stale'])
  assert.deepEqual(await fetching, ['stale'])
  assert.equal(await cache.get('a'), undefined)
  assert.equal(store.facts.size, 0)
})

test('changes of one key reach a slow store in the order they were made', async () => {
  const { cache, store } = setup()
  const gate = Promise.withResolvers<void>()
  store.gate = gate.promise
  const changes = [cache.set('a', ['1']), cache.delete(['a']), cache.set('a', ['2'])]
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(store.calls, ['write v1|a'])
  gate.resolve()
  await Promise.all(changes)
  assert.deepEqual(store.calls, ['write v1|a', 'remove v1|a', 'write v1|a'])
  assert.equal(store.facts.get('v1|a')?.value, '["2"]')
})

test('a store that missed a deletion is not read until what it holds has expired', async () => {
  const { cache, store, clock } = setup()
  await cache.set('a', ['old'])
  store.broken = true
  await cache.delete(['a'])
  store.broken = false
  assert.equal(store.facts.size, 1)
  assert.equal(await cache.get('a'), undefined)
  clock.now += TTL_MS - 1
  assert.equal(await cache.get('a'), undefined)
  clock.now += 1
  await cache.set('b', ['new'])
  cache.flush()
  assert.deepEqual(await cache.get('b'), ['new'])
})

test('a store that fails three times is left alone for 30 seconds; memory and the source go on', async () => {
  const errors: unknown[] = []
  const { cache, store, clock } = setup({ onError: (error) => errors.push(error) })
  store.broken = true
  for (const key of ['a', 'b', 'c']) assert.equal(await cache.get(key), undefined)
  assert.equal(errors.length, 3)
  assert.equal(cache.stats().isStoreAvoided, true)
  const before = store.calls.length
  assert.deepEqual(await cache.fetch('d', async () => ['source']), ['source'])
  assert.deepEqual(await cache.get('d'), ['source'])
  assert.equal(store.calls.length, before)
  store.broken = false
  // The store missed that `d` was written, so it is written to again before it is read again.
  clock.now += 30_000
  await cache.set('e', ['new'])
  assert.equal(store.facts.has('v1|e'), true)
  clock.now += TTL_MS
  await cache.set('f', ['newer'])
  cache.flush()
  assert.deepEqual(await cache.get('f'), ['newer'])
})

test('a store that hangs costs one deadline and is then a store that failed', async () => {
  const { cache, store, clock } = setup()
  store.gate = new Promise(() => {})
  const reading = cache.get('a')
  await new Promise((resolve) => setImmediate(resolve))
  for (const pass of clock.deadlines.splice(0)) pass()
  assert.equal(await reading, undefined)
  assert.equal(cache.stats().sharedErrors, 1)
})

test('after a gap memory is empty, and what cannot be decoded is absent', async () => {
  const { cache, store, clock } = setup()
  await cache.set('a', ['1'])
  cache.flush()
  assert.equal(cache.stats().entries, 0)
  store.facts.set('v1|a', { value: '{', fetchedAt: clock.now, expiresAt: clock.now + 1_000 })
  assert.equal(await cache.get('a'), undefined)
})
