import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { NodeCache as Cacheable } from '@cacheable/node-cache'
import Original from 'node-cache'
import { NodeCache } from '../src/index.ts'

/*
 * The same scenarios against node-cache 5.1.2, @cacheable/node-cache 1.7.6 and ours; each answers with what a caller
 * sees. Where the two originals answer alike, ours must; where they differ, the scenario names whose answer is ours.
 */

/** What all three have. */
interface Face {
  get(key: string | number): unknown
  set(key: string | number, value: unknown, ttl?: number | string): boolean
  mget(keys: (string | number)[]): Record<string, unknown>
  mset(items: never[]): boolean
  del(keys: string | number | (string | number)[]): number
  take(key: string | number): unknown
  ttl(key: string | number, ttl?: number | string): boolean
  getTtl(key: string | number): number | undefined
  keys(): string[]
  has(key: string | number): boolean
  getStats(): { keys: number; hits: number; misses: number; ksize: number; vsize: number }
  flushAll(): void
  flushStats(): void
  close(): void
  on(event: string, listener: (...args: unknown[]) => void): unknown
}

interface Options {
  readonly stdTTL?: number
  readonly maxKeys?: number
  readonly useClones?: boolean
  readonly deleteOnExpire?: boolean
}

const makers = {
  'node-cache': (options: Options) => new Original({ ...options, checkperiod: 0 }) as unknown as Face,
  '@cacheable': (options: Options) => new Cacheable({ ...options, checkperiod: 0 }) as unknown as Face,
  ours: (options: Options) =>
    new NodeCache({ ...options, now: () => Date.now(), onWarning: () => {} }) as unknown as Face,
}

type Whose = 'both' | 'node-cache' | '@cacheable'

interface Scenario {
  readonly claim: string
  readonly whose: Whose
  readonly options?: Options
  readonly run: (cache: Face, pass: (ms: number) => void) => unknown
}

const attempt = (run: () => unknown): unknown => {
  try {
    return run()
  } catch {
    return 'threw'
  }
}

function listen(cache: Face, ...names: string[]): unknown[] {
  const heard: unknown[] = []
  for (const name of names) cache.on(name, (key, value) => heard.push([name, key, value]))
  return heard
}

const scenarios: readonly Scenario[] = [
  {
    claim: 'set answers true, get answers the value, an absent key is undefined',
    whose: 'both',
    run: (cache) => [
      cache.set('a', { n: 1 }),
      cache.get('a'),
      cache.get('b'),
      cache.has('a'),
      cache.has('b'),
    ],
  },
  {
    claim: 'a number as key is the same key as its text',
    whose: 'both',
    run: (cache) => [cache.set(1, 'x'), cache.get('1'), cache.has(1), cache.keys(), cache.del(1)],
  },
  {
    claim: 'values are copied on the way in and out',
    whose: 'node-cache',
    run(cache) {
      const value = { list: [1] }
      cache.set('a', value)
      value.list.push(2)
      const read = cache.get('a') as typeof value
      read.list.push(3)
      return cache.get('a')
    },
  },
  {
    claim: 'useClones false keeps the value itself',
    whose: 'both',
    options: { useClones: false },
    run(cache) {
      const value = { n: 1 }
      cache.set('a', value)
      return [cache.get('a') === value, cache.take('a') === value]
    },
  },
  {
    claim: 'copies keep prototypes, dates, maps, cycles and functions',
    whose: 'node-cache',
    run(cache) {
      class Point {
        x = 1
      }
      const call = (): number => 7
      const value: Record<string, unknown> = {
        point: new Point(),
        at: new Date(5),
        map: new Map([['k', 1]]),
        call,
      }
      value['self'] = value
      cache.set('a', value)
      const read = cache.get('a') as typeof value
      return [
        read !== value,
        read['self'] === read,
        Object.getPrototypeOf(read['point']) === Point.prototype,
        read['at'],
        read['map'],
        read['call'] === call,
      ]
    },
  },
  {
    claim: 'an entry ends after stdTTL seconds, or after its own',
    whose: 'both',
    options: { stdTTL: 10 },
    run(cache, pass) {
      cache.set('a', 1)
      cache.set('b', 2, 20)
      const before = [cache.get('a'), cache.get('b')]
      pass(10_001)
      const between = [cache.get('a'), cache.get('b')]
      pass(10_000)
      return [before, between, cache.get('b'), cache.keys()]
    },
  },
  {
    claim: 'a life of 0 has no end',
    whose: 'node-cache',
    options: { stdTTL: 10 },
    run(cache, pass) {
      cache.set('a', 1, 0)
      pass(1_000_000)
      return [cache.get('a'), cache.getTtl('a')]
    },
  },
  {
    claim: 'without stdTTL nothing ends',
    whose: 'both',
    run(cache, pass) {
      cache.set('a', 1)
      pass(1_000_000_000)
      return [cache.get('a'), cache.getTtl('a'), cache.getTtl('b')]
    },
  },
  {
    claim: 'a life may be a text',
    whose: '@cacheable',
    run(cache, pass) {
      cache.set('a', 1, '1h')
      cache.set('b', 1, '500ms')
      cache.set('c', 1, '1500')
      const ends = ['a', 'b', 'c'].map((key) => (cache.getTtl(key) ?? 0) - Date.now())
      pass(1_000)
      return [ends, cache.get('a'), cache.get('b'), cache.get('c'), attempt(() => cache.set('d', 1, 'soon'))]
    },
  },
  {
    claim: 'a negative life has ended already',
    whose: 'both',
    run: (cache) => [cache.set('a', 1, -1), cache.get('a'), cache.set('a', 2)],
  },
  {
    claim: 'getTtl is the moment of the end',
    whose: 'both',
    options: { stdTTL: 10 },
    run: (cache) => [cache.set('a', 1), (cache.getTtl('a') ?? 0) - Date.now()],
  },
  {
    claim: 'ttl gives another life, stdTTL when none is said, and is false for an absent key',
    whose: 'both',
    options: { stdTTL: 10 },
    run(cache, pass) {
      cache.set('a', 1)
      cache.set('b', 1)
      const answers = [cache.ttl('a', 60), cache.ttl('x', 60)]
      pass(5_000)
      answers.push(cache.ttl('b'))
      pass(6_000)
      return [answers, cache.get('a'), cache.get('b')]
    },
  },
  {
    claim: 'a negative ttl deletes, and says true',
    whose: 'node-cache',
    run: (cache) => [cache.set('a', 1), cache.ttl('a', -1), cache.keys()],
  },
  {
    claim: 'mget answers what it found',
    whose: 'both',
    run: (cache) => [cache.set('a', 1), cache.set('b', 2), cache.mget(['a', 'b', 'c'])],
  },
  {
    claim: 'mget and take find what is falsy',
    whose: 'node-cache',
    run: (cache) => [
      cache.set('a', 0),
      cache.set('b', ''),
      cache.mget(['a', 'b']),
      cache.take('a'),
      cache.keys(),
    ],
  },
  {
    claim: 'mget of what is no array throws',
    whose: 'both',
    run: (cache) => attempt(() => cache.mget(5 as never)),
  },
  {
    claim: 'mset takes { key, val }',
    whose: 'node-cache',
    run: (cache, pass) => {
      const answer = cache.mset([
        { key: 'a', val: 1 },
        { key: 'b', val: 2, ttl: 5 },
      ] as never[])
      pass(6_000)
      return [answer, cache.get('a'), cache.get('b')]
    },
  },
  {
    claim: 'mset takes { key, value }',
    whose: '@cacheable',
    run: (cache, pass) => {
      const answer = cache.mset([
        { key: 'a', value: 1 },
        { key: 'b', value: 2, ttl: 5 },
      ] as never[])
      pass(6_000)
      return [answer, cache.get('a'), cache.get('b')]
    },
  },
  {
    claim: 'mset with a wrong key sets nothing',
    whose: 'node-cache',
    run: (cache) => [
      attempt(() =>
        cache.mset([
          { key: 'a', val: 1 },
          { key: {}, val: 2 },
        ] as never[]),
      ),
      cache.keys(),
    ],
  },
  {
    claim: 'del counts what was there, of one key or many',
    whose: 'both',
    run: (cache) => {
      for (const key of ['a', 'b', 'c']) cache.set(key, 1)
      return [cache.del('a'), cache.del('a'), cache.del(['b', 'c', 'd']), cache.keys()]
    },
  },
  {
    claim: 'take reads once',
    whose: 'both',
    run: (cache) => [cache.set('a', 'code'), cache.take('a'), cache.take('a'), cache.has('a')],
  },
  {
    claim: 'a key that is neither text nor number throws',
    whose: 'both',
    run: (cache) => [attempt(() => cache.set({} as never, 1)), attempt(() => cache.get(undefined as never))],
  },
  {
    claim: 'events tell of set and del with key and value, and not of what is overwritten',
    whose: 'both',
    run(cache) {
      const heard = listen(cache, 'set', 'del')
      cache.set('a', 1)
      cache.set('a', 2)
      cache.del('a')
      cache.del('a')
      return heard
    },
  },
  {
    claim: 'an end is told once, as del and then expired',
    whose: 'both',
    options: { stdTTL: 1 },
    run(cache, pass) {
      const heard = listen(cache, 'del', 'expired')
      cache.set('a', 'x')
      pass(1_001)
      cache.get('a')
      cache.get('a')
      return heard
    },
  },
  {
    claim: 'deleteOnExpire false keeps what ended, and tells of it without del',
    whose: 'node-cache',
    options: { stdTTL: 1, deleteOnExpire: false },
    run(cache, pass) {
      const heard = listen(cache, 'del', 'expired')
      cache.set('a', 'x')
      pass(1_001)
      return [cache.get('a'), cache.has('a'), cache.keys(), heard[0]]
    },
  },
  {
    claim: 'flushAll empties, counts from nought and tells flush but no del',
    whose: 'both',
    run(cache) {
      const heard = listen(cache, 'del', 'flush')
      cache.set('a', 1)
      cache.get('a')
      cache.get('b')
      cache.flushAll()
      const { keys, hits, misses } = cache.getStats()
      return [heard.length, cache.keys(), keys, hits, misses]
    },
  },
  {
    claim: 'statistics count keys, hits, misses and the size of keys',
    whose: 'both',
    run(cache) {
      cache.set('one', 1)
      cache.set('two', 2)
      cache.get('one')
      cache.get('none')
      const { keys, hits, misses, ksize, vsize } = cache.getStats()
      return [keys, hits, misses, ksize > 0, vsize >= 0]
    },
  },
  {
    claim: 'flushStats counts hits and misses from nought and keeps the entries',
    whose: 'both',
    run(cache) {
      const heard = listen(cache, 'flush_stats')
      cache.set('a', 1)
      cache.get('a')
      cache.flushStats()
      const { hits, misses } = cache.getStats()
      return [hits, misses, cache.get('a'), heard.length]
    },
  },
  {
    claim: 'names of Object.prototype are keys like others',
    whose: '@cacheable',
    run: (cache) =>
      ['__proto__', 'constructor', 'toString'].map((key) => [
        cache.has(key),
        cache.set(key, 1),
        cache.get(key),
        cache.del(key),
      ]),
  },
]

/** Runs one scenario on a clock of its own. */
function observe(t: TestContext, name: keyof typeof makers, { options = {}, run }: Scenario): unknown {
  t.mock.timers.enable({ apis: ['Date'], now: 1_700_000_000_000 })
  const cache = makers[name](options)
  try {
    return attempt(() => run(cache, (ms) => t.mock.timers.tick(ms)))
  } finally {
    cache.close()
    t.mock.timers.reset()
  }
}

for (const scenario of scenarios) {
  test(`as ${scenario.whose === 'both' ? 'both originals' : scenario.whose}: ${scenario.claim}`, (t) => {
    const [original, cacheable, ours] = (['node-cache', '@cacheable', 'ours'] as const).map((name) =>
      observe(t, name, scenario),
    )
    if (scenario.whose === 'both') assert.deepEqual(original, cacheable, 'the originals agree')
    assert.deepEqual(ours, scenario.whose === '@cacheable' ? cacheable : original)
  })
}

test('the one intended difference: where both originals throw at maxKeys, ours lets the least recently used go', () => {
  const fill = (cache: Face): unknown => {
    cache.set('a', 1)
    cache.set('b', 2)
    cache.get('a')
    return attempt(() => cache.set('c', 3))
  }
  const caches = Object.fromEntries(
    Object.entries(makers).map(([name, make]) => [name, make({ maxKeys: 2, stdTTL: 300 })]),
  ) as Record<keyof typeof makers, Face>
  const heard = listen(caches.ours, 'del', 'evicted')
  assert.deepEqual(Object.values(caches).map(fill), ['threw', 'threw', true])
  assert.deepEqual(caches.ours.keys(), ['a', 'c'])
  assert.deepEqual(heard, [
    ['del', 'b', 2],
    ['evicted', 'b', 2],
  ])
  for (const cache of Object.values(caches)) cache.close()
})
