import { execFileSync } from 'node:child_process'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { seededRandom } from '@eclusa/kernel'
import { EVICTING, type Rival, type RivalName, RIVALS } from './cache-rivals.ts'
import { report, round } from './report.ts'

/*
 * A bounded cache beside lru-cache (maxSize, ttl and a size per entry), node-cache, @cacheable/node-cache and a bare
 * Map, in one run. Rates are operations per second of this thread's CPU, in slices that go from one rival to the next.
 * Memory and pauses are taken in a process of their own each.
 *
 *   CACHE_ENTRIES (100,000)  CACHE_ROUNDS (7)  CACHE_LARGE (1,000,000: expiry, and the largest count of bytes per entry)
 */

const ENTRIES = Number(process.env['CACHE_ENTRIES'] ?? 100_000)
const ROUNDS = Number(process.env['CACHE_ROUNDS'] ?? 7)
const LARGE = Number(process.env['CACHE_LARGE'] ?? 1_000_000)
/** Operations of one slice: a few milliseconds. */
const SLICE = 10_000
const EMPTY_CACHES = 600
const NAMES = Object.keys(RIVALS) as RivalName[]
const LONG_MS = 3_600_000

type Operation = 'fill' | 'get' | 'zipf' | 'churn'

/** Operations of a round. */
const COUNTS: Readonly<Record<Operation, number>> = {
  fill: ENTRIES,
  get: ENTRIES * 2,
  zipf: ENTRIES * 2,
  churn: ENTRIES * 2,
}

if (process.argv[2] === undefined) main()
else
  process.stdout.write(
    JSON.stringify(await probe(process.argv[2], process.argv[3] as RivalName, Number(process.argv[4]))),
  )

function main(): void {
  const { rates, ratios } = measureRates()
  const counts = [...new Set([10_000, 100_000, LARGE])].filter((count) => count <= LARGE)
  const bytesPerEntry = Object.fromEntries(
    NAMES.map((name) => [
      name,
      Object.fromEntries(counts.map((count) => [count, ask('bytes', name, count)])),
    ]),
  ) as Record<RivalName, Record<string, number>>
  const emptyKib = Object.fromEntries(
    NAMES.map((name) => [name, round((ask('empty', name, EMPTY_CACHES) as number) / 1024, 1)]),
  ) as Record<RivalName, number>
  const expiry = Object.fromEntries(
    NAMES.filter((name) => name !== 'Map').map((name) => [name, ask('expiry', name, LARGE)]),
  ) as Record<string, Pause>

  const worst = Math.min(
    ...(Object.keys(ratios) as Operation[]).map((operation) => ratios[operation]['ours'] ?? 0),
  )
  const passed = {
    'at least 0.8 of the rate of lru-cache in every operation': worst >= 0.8,
    'fewer bytes per entry than lru-cache, at every count': counts.every(
      (count) => (bytesPerEntry.ours[count] ?? Infinity) < (bytesPerEntry['lru-cache'][count] ?? 0),
    ),
    [`${EMPTY_CACHES} empty caches under 1 MiB`]: emptyKib.ours < 1024 && emptyKib['our NodeCache'] < 1024,
    'no pause above 20 ms when all entries end at once': (expiry['ours']?.longestPauseMs ?? Infinity) <= 20,
  }
  report('cache', 'npm run bench:cache', {
    entries: ENTRIES,
    rounds: ROUNDS,
    millionOperationsPerCpuSecond: rates,
    rateOverLruCache: ratios,
    bytesPerEntryBesideKeyAndValue: bytesPerEntry,
    [`kibOf${EMPTY_CACHES}EmptyCaches`]: emptyKib,
    [`expiryOf${LARGE}EntriesAtOnce`]: expiry,
    passed,
  })
  if (Object.values(passed).includes(false)) process.exitCode = 1
}

interface Rates {
  /** Million operations per second of CPU. */
  readonly rates: Record<Operation, Record<string, number>>
  /** The CPU of lru-cache through that of the rival, all slices together. */
  readonly ratios: Record<Operation, Record<string, number>>
}

/**
 * All rivals are full at the same time, and each operation goes through them in slices, one after the other in an order
 * that turns: what neighbours take of the machine's memory falls on each alike. Runs of one rival after the other, the
 * best of seven each, differed by a third from run to run.
 */
function measureRates(): Rates {
  const random = seededRandom(7)
  const draw = zipf(ENTRIES * 4, 0.99, random)
  const keys = keysFor(ENTRIES * 4)
  const drawn = Uint32Array.from({ length: ENTRIES * 2 }, draw)
  const uniform = Uint32Array.from({ length: ENTRIES * 2 }, () => Math.floor(random() * ENTRIES))
  const micros: Record<Operation, Record<string, number[]>> = { fill: {}, get: {}, zipf: {}, churn: {} }
  for (let turn = 0; turn < ROUNDS; turn++) {
    globalThis.gc?.()
    const caches = NAMES.map((name) => ({
      name,
      cache: RIVALS[name]({ maxEntries: ENTRIES, ttlMs: LONG_MS }),
    }))
    const evicting = caches.filter(({ name }) => EVICTING.includes(name))
    const inTurn = (
      operation: Operation,
      rivals: typeof caches,
      count: number,
      run: (cache: Rival, from: number, to: number) => void,
    ): void => {
      for (let slice = 0; slice * SLICE < count; slice++) {
        for (let at = 0; at < rivals.length; at++) {
          const { name, cache } = rivals[(at + slice + turn) % rivals.length] as (typeof caches)[number]
          const used = cpuMicros(() => run(cache, slice * SLICE, Math.min(count, (slice + 1) * SLICE)))
          ;(micros[operation][name] ??= []).push(used)
        }
      }
    }
    inTurn('fill', caches, ENTRIES, (cache, from, to) => {
      for (let i = from; i < to; i++) cache.set(keys[i] as string, i)
    })
    inTurn('get', caches, uniform.length, (cache, from, to) => {
      for (let at = from; at < to; at++) cache.get(keys[uniform[at] as number] as string)
    })
    inTurn('churn', evicting, ENTRIES * 2, (cache, from, to) => {
      for (let i = ENTRIES + from; i < ENTRIES + to; i++) cache.set(keys[i] as string, i)
    })
    inTurn('zipf', evicting, drawn.length, (cache, from, to) =>
      readThrough(cache, keys, drawn.subarray(from, to)),
    )
    for (const { cache } of caches) cache.close()
  }
  // Sums, not medians: where the system counts CPU by its clock, a slice takes 0, 4 or 8 ms.
  const sums = (of: (mine: number, operation: Operation) => number): Rates['rates'] =>
    Object.fromEntries(
      Object.entries(micros).map(([operation, byName]) => [
        operation,
        Object.fromEntries(
          Object.entries(byName).map(([name, slices]) => [name, of(sumOf(slices), operation as Operation)]),
        ),
      ]),
    ) as Rates['rates']
  return {
    rates: sums((mine, operation) => round((COUNTS[operation] * ROUNDS) / mine, 3)),
    ratios: sums((mine, operation) => round(sumOf(micros[operation]['lru-cache'] as number[]) / mine)),
  }
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0)
}

function readThrough(cache: Rival, keys: readonly string[], drawn: Uint32Array): void {
  for (const i of drawn) {
    const key = keys[i] as string
    if (cache.get(key) === undefined) cache.set(key, i)
  }
}

function cpuMicros(run: () => void): number {
  const before = process.threadCpuUsage()
  run()
  const { user, system } = process.threadCpuUsage(before)
  return user + system
}

function ask(what: string, name: RivalName, count: number): unknown {
  const args = ['--expose-gc', '--max-old-space-size=4096', import.meta.filename, what, name, String(count)]
  return JSON.parse(
    execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
  )
}

interface Pause {
  readonly longestPauseMs: number
  /** Of this thread's CPU in one turn of the loop: what remains when the machine was busy with others. */
  readonly longestPauseCpuMs: number
  readonly entriesFreedUntouched: boolean
}

/** In a process of its own. */
async function probe(what: string, name: RivalName, count: number): Promise<unknown> {
  switch (what) {
    case 'bytes':
      return bytesPerEntryOf(name, count)
    case 'empty':
      return bytesOfEmpty(name, count)
    case 'expiry':
      return expiryPause(name, count)
    default:
      throw new Error(`no probe ${what}`)
  }
}

function bytesPerEntryOf(name: RivalName, count: number): number {
  const keys = keysFor(count)
  warmUp(name)
  const before = liveBytes()
  const cache = RIVALS[name]({ maxEntries: count, ttlMs: LONG_MS })
  for (let i = 0; i < count; i++) cache.set(keys[i] as string, i)
  const used = liveBytes() - before
  // Both are alive until here.
  if (cache.get(keys[0] as string) !== 0) throw new Error('the first entry is gone')
  return round(used / count, 1)
}

/** The code itself, compiled and with its feedback, is not what an entry or a cache costs. */
function warmUp(name: RivalName): void {
  const cache = RIVALS[name]({ maxEntries: 100, ttlMs: LONG_MS })
  for (let i = 0; i < 200; i++) {
    cache.set(`w${i}`, i)
    cache.get(`w${i}`)
  }
  cache.close()
}

function bytesOfEmpty(name: RivalName, count: number): number {
  warmUp(name)
  const before = liveBytes()
  const caches = Array.from({ length: count }, () => RIVALS[name]({ maxEntries: 5_000, ttlMs: LONG_MS }))
  const used = liveBytes() - before
  for (const cache of caches) cache.close()
  return used
}

async function expiryPause(name: RivalName, count: number): Promise<Pause> {
  const ttlMs = 8_000
  const keys = keysFor(count)
  const cache = RIVALS[name]({ maxEntries: count, ttlMs })
  const startedAt = performance.now()
  for (let i = 0; i < count; i++) cache.set(keys[i] as string, { i })
  const filledAt = performance.now()
  globalThis.gc?.()
  await delay(Math.max(0, ttlMs - 500 - (performance.now() - startedAt)))
  let longestPauseMs = 0
  let longestPauseCpuMs = 0
  const until = filledAt + ttlMs + 4_000
  // A library that waits for somebody to ask is asked once, after all have ended.
  const purgeAt = cache.purge === undefined ? Infinity : filledAt + ttlMs + 1_000
  let purged = false
  let lastAt = performance.now()
  let lastCpu = cpuMs()
  while (performance.now() < until) {
    if (!purged && performance.now() > purgeAt) {
      purged = true
      cache.purge?.()
    }
    await new Promise((resolve) => setImmediate(resolve))
    const at = performance.now()
    const cpu = cpuMs()
    longestPauseMs = Math.max(longestPauseMs, at - lastAt)
    longestPauseCpuMs = Math.max(longestPauseCpuMs, cpu - lastCpu)
    lastAt = at
    lastCpu = cpu
  }
  return {
    longestPauseMs: round(longestPauseMs, 1),
    longestPauseCpuMs: round(longestPauseCpuMs, 1),
    entriesFreedUntouched: cache.purge === undefined,
  }
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

function liveBytes(): number {
  for (let i = 0; i < 3; i++) globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Each a text in one piece, as it comes off the wire: what V8 does to join the parts of one is nobody's merit here. */
function keysFor(count: number): string[] {
  return Array.from({ length: count }, (_, i) =>
    Buffer.from(`${5_511_900_000_000 + i}@s.whatsapp.net`).toString('latin1'),
  )
}

/** Draws ranks 0 … count − 1, rank r as often as 1 / (r + 1)^exponent: by binary search in the summed shares. */
function zipf(count: number, exponent: number, random: () => number): () => number {
  const sums = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) sums[rank] = sum += 1 / (rank + 1) ** exponent
  return () => {
    const at = random() * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((sums[middle] as number) < at) low = middle + 1
      else high = middle
    }
    return low
  }
}
