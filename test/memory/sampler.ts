import { readFileSync } from 'node:fs'
import type { Probe } from '../../bench/memory-probe.ts'

/** A look from outside: what the system holds for the process. */
export interface RssSample {
  /** Since the measuring began. */
  readonly atMs: number
  /** Of the traffic, 0 to 1. */
  readonly done: number
  readonly rssBytes: number
}

/** What a process says of its caches. */
export interface AccountedMemory {
  readonly cacheBytes: number
  readonly cacheBudgetBytes: number
}

/** A look from inside, after a collection. */
export interface LiveSample extends RssSample {
  readonly heapBytes: number
  readonly externalBytes: number
  /** Null where nothing is counted. */
  readonly accounted: AccountedMemory | null
  readonly cpuMicros: number
}

/** Resident set of a process, now and at its highest; `/proc` of Linux. */
export function rssOf(pid: number): { readonly now: number; readonly highest: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1])
  return { now: kib('VmRSS') * 1024, highest: kib('VmHWM') * 1024 }
}

export interface SamplerOptions {
  readonly pid: number
  /** Collects garbage in the process, then tells its memory. */
  readonly collect: () => Promise<Probe>
  readonly memory: () => Promise<AccountedMemory | null>
  readonly rssEveryMs: number
  /** From inside, spread evenly over the traffic. */
  readonly looks: number
}

/** Looks at one process again and again while something else goes on. */
export class Sampler {
  // bounded by: the length of a run, a sample each rssEveryMs
  readonly rss: RssSample[] = []
  // bounded by: `looks`, and one at the end
  readonly live: LiveSample[] = []
  readonly #options: SamplerOptions
  readonly #startedAt = performance.now()
  #looked = 0
  #rssTimer: NodeJS.Timeout | undefined
  #done = 0

  constructor(options: SamplerOptions) {
    this.#options = options
    this.#rssTimer = setInterval(() => this.#lookAtRss(), options.rssEveryMs)
  }

  /** How far the traffic is; the samples that follow are marked with it. */
  set done(value: number) {
    this.#done = value
  }

  /** Looks from inside when it is time to; to be called often. */
  async tick(): Promise<void> {
    if (this.#done * this.#options.looks < this.#looked) return
    this.#looked = Math.floor(this.#done * this.#options.looks) + 1
    await this.lookInside()
  }

  async lookInside(): Promise<LiveSample> {
    // Before the collection, which may give memory back.
    this.#lookAtRss()
    const { heapUsed, external, rss, cpuMicros } = await this.#options.collect()
    const sample: LiveSample = {
      atMs: performance.now() - this.#startedAt,
      done: this.#done,
      rssBytes: rss,
      heapBytes: heapUsed,
      externalBytes: external,
      accounted: await this.#options.memory(),
      cpuMicros,
    }
    this.live.push(sample)
    return sample
  }

  stop(): void {
    clearInterval(this.#rssTimer)
    this.#rssTimer = undefined
  }

  #lookAtRss(): void {
    this.rss.push({
      atMs: performance.now() - this.#startedAt,
      done: this.#done,
      rssBytes: rssOf(this.#options.pid).now,
    })
  }
}
