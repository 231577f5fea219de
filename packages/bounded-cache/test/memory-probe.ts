import { BoundedCache, CacheBudget, NodeCache } from '../src/index.ts'

/* Measures one thing and prints it as JSON: `node --expose-gc memory-probe.ts NAME`. */

export interface Measured {
  accuracy: readonly { readonly kind: string; readonly chargedBytes: number; readonly realBytes: number }[]
  release: Readonly<Record<string, { readonly filledBytes: number; readonly leftBytes: number }>>
  pinning: { readonly perEntryBytes: number }
  churn: { readonly afterFirstBytes: number; readonly afterLastBytes: number }
  empty: { readonly emptyBytes: number; readonly disposedBytes: number }
  exit: { readonly armed: boolean }
}

export type Measurement = keyof Measured

const COUNT = 10_000

/** A text in one piece of memory of its own. */
const textOf = (bytes: number): string => Buffer.alloc(bytes, 'ab').toString('latin1')
const bytesOf = (length: number): Uint8Array => new Uint8Array(length).fill(7)

/** Values as caches of a session hold them, from device lists to ratchets. */
const KINDS: Readonly<Record<string, (n: number) => unknown>> = {
  'device list': (n) => Array.from({ length: 1 + (n % 4) }, (_, device) => ({ user: textOf(13), device })),
  'lid text': () => textOf(19),
  'retry counter': (n) => n % 5,
  'call offer': () => ({
    chatId: textOf(28),
    from: textOf(28),
    id: textOf(32),
    offline: false,
    status: 'offer',
    isVideo: false,
    isGroup: false,
  }),
  contact: (n) => ({
    id: textOf(28),
    lid: textOf(19),
    name: textOf(20),
    notify: textOf(12),
    status: textOf(60),
    imgUrl: n % 2 === 0 ? textOf(120) : null,
  }),
  'session as text': (n) => textOf(900 + 105 * (n % 40)),
  'session as bytes': (n) => bytesOf(900 + 105 * (n % 40)),
  'sender key': () => textOf(430),
  'key pair': () => ({ public: bytesOf(32), private: bytesOf(32) }),
}

const measurements: { readonly [Name in Measurement]: () => Measured[Name] | Promise<Measured[Name]> } = {
  accuracy: () =>
    Object.entries(KINDS).map(([kind, make]) => {
      const cache = new BoundedCache<unknown>({ name: kind, maxEntries: COUNT, ttlMs: Infinity })
      const before = liveBytes()
      for (let n = 0; n < COUNT; n++) cache.set(keyOf(n), make(n))
      const realBytes = Math.round((liveBytes() - before) / COUNT)
      const chargedBytes = Math.round(cache.bytes / COUNT)
      cache.dispose()
      return { kind, chargedBytes, realBytes }
    }),

  release() {
    const ways: Record<
      string,
      (cache: BoundedCache<string>, budget: CacheBudget, later: () => void) => void
    > = {
      evicted: (cache) => {
        for (let n = 0; n < COUNT; n++) cache.set(`small-${n}`, '')
      },
      expired: (_cache, budget, later) => {
        later()
        budget.sweep()
      },
      deleted: (cache) => {
        for (let n = 0; n < COUNT; n++) cache.delete(keyOf(n))
      },
      shed: (_cache, budget) => budget.shed(0),
      closed: (_cache, budget) => budget.owner('ana').close(),
    }
    return Object.fromEntries(
      Object.entries(ways).map(([way, leave]) => {
        let now = 1_000_000
        const budget = new CacheBudget({ maxBytes: 2 ** 30, ceilingShare: 1, now: () => now })
        const cache = budget.owner('ana').cache<string>({ name: way, maxEntries: COUNT, ttlMs: 60_000 })
        const before = liveBytes()
        for (let n = 0; n < COUNT; n++) cache.set(keyOf(n), textOf(3_000))
        const filledBytes = liveBytes() - before
        leave(cache, budget, () => (now += 120_000))
        const leftBytes = liveBytes() - before
        budget.dispose()
        return [way, { filledBytes, leftBytes }]
      }),
    )
  },

  pinning() {
    const cache = new BoundedCache<Uint8Array>({ name: 'views', maxEntries: COUNT, ttlMs: Infinity })
    const before = liveBytes()
    for (let n = 0; n < 2_000; n++) {
      cache.set(keyOf(n * 2), bytesOf(8_192).subarray(100, 133))
      cache.set(keyOf(n * 2 + 1), Buffer.from('x'.repeat(33)))
    }
    const perEntryBytes = Math.round((liveBytes() - before) / 4_000)
    cache.dispose()
    return { perEntryBytes }
  },

  churn() {
    const cache = new BoundedCache<string>({ name: 'churn', maxEntries: COUNT, ttlMs: Infinity })
    const before = liveBytes()
    const write = (from: number, count: number): number => {
      for (let n = from; n < from + count; n++) cache.set(keyOf(n), textOf(500 + (n % 7) * 100))
      return liveBytes() - before
    }
    const afterFirstBytes = write(0, COUNT * 2)
    const afterLastBytes = write(COUNT * 2, COUNT * 20)
    cache.dispose()
    return { afterFirstBytes, afterLastBytes }
  },

  empty() {
    const budget = new CacheBudget({ maxBytes: 2 ** 28 })
    const make = (count: number): { close(): void }[] =>
      Array.from({ length: count }, (_, n) => {
        const owner = budget.owner(`tenant-${n % 100}`)
        if (n % 2 === 1) return new NodeCache({ name: 'devices', owner, maxKeys: 5_000, stdTTL: 300 })
        const cache = owner.cache<string>({ name: 'sessions', maxEntries: 5_000, ttlMs: 60_000 })
        return { close: () => cache.dispose() }
      })
    const closeAll = (caches: readonly { close(): void }[]): void => {
      for (const cache of caches) cache.close()
    }
    // Once for nothing: the code, compiled, is not what a cache costs. In a call of its own, whose frame keeps nothing.
    const warmUp = (): void => closeAll(make(600))
    warmUp()
    const before = liveBytes()
    const caches = make(600)
    const emptyBytes = liveBytes() - before
    const disposeAll = (): void => closeAll(caches.splice(0))
    disposeAll()
    const disposedBytes = liveBytes() - before
    budget.dispose()
    return { emptyBytes, disposedBytes }
  },

  exit() {
    const cache = new BoundedCache<number>({ name: 'exit', maxEntries: 10, ttlMs: 86_400_000 })
    cache.set('a', 1)
    return { armed: cache.has('a') }
  },
}

process.stdout.write(JSON.stringify(await measurements[process.argv[2] as Measurement]()))

function keyOf(n: number): string {
  return `${5_511_900_000_000 + n}@s.whatsapp.net`
}

function liveBytes(): number {
  for (let i = 0; i < 3; i++) globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
