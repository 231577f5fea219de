import { type Clock, type Lifecycle, type Logger, MIB, OPERATORS, runLoop, SECOND } from '@eclusa/kernel'
import type { Database, EventLog } from '@eclusa/storage'
import type { MemoryReadings } from './memory-readings.ts'
import {
  judge,
  type Measures,
  measuresFor,
  type MemoryReading,
  NO_PRESSURE,
  type Pressure,
  type PressureLimits,
} from './pressure.ts'

/** What gives way; each is told every change. */
export interface PressureValves {
  /** Keeps this share of the planned cache budget; returns the bytes freed. */
  setCacheShare(share: number): number
  /** Whether history syncs wait. */
  holdHistory(held: boolean): void
  /** Whether media wait. */
  holdMedia(held: boolean): void
  /** Whether sessions that would connect wait. */
  holdStarts(held: boolean): void
}

export interface GovernorOptions {
  readonly readings: MemoryReadings
  readonly limits: PressureLimits
  readonly valves: PressureValves
  readonly events: EventLog
  readonly database: Database
  readonly clock: Clock
  readonly log: Logger
}

/** What it did since start, and what it sees. */
export interface GovernorReport {
  readonly reading: MemoryReading
  readonly pressure: Pressure
  readonly measures: Measures
  /** Times a higher level was reached, and a lower one. */
  readonly pressedCount: number
  readonly relievedCount: number
  readonly shedBytes: number
}

/** Often enough to act between two collections, seldom enough to cost nothing: a reading takes 30 µs. */
const LOOK_EVERY_MS = 5 * SECOND

/** Watches the memory and opens valves before the ceiling is reached; what it decides stands in `pressure.ts`. */
export class MemoryGovernor implements Lifecycle {
  readonly #options: GovernorOptions
  readonly #end = new AbortController()
  #loop: Promise<void> | null = null
  #pressure: Pressure = NO_PRESSURE
  #reading: MemoryReading
  readonly #counts = { pressedCount: 0, relievedCount: 0, shedBytes: 0 }

  constructor(options: GovernorOptions) {
    this.#options = options
    this.#reading = options.readings.read()
  }

  start(): Promise<void> {
    const { clock, log } = this.#options
    const onError = (error: unknown): void =>
      log.error({ err: error }, 'looking at the memory failed; it comes again')
    this.#loop ??= runLoop({ clock, everyMs: LOOK_EVERY_MS, onError }, () => this.pass(), this.#end.signal)
    return Promise.resolve()
  }

  async stop(): Promise<void> {
    this.#end.abort()
    this.#options.readings.stop()
    await this.#loop
  }

  report(): GovernorReport {
    return {
      reading: this.#reading,
      pressure: this.#pressure,
      measures: measuresFor(this.#pressure),
      ...this.#counts,
    }
  }

  /** One look, and what follows from it. */
  async pass(): Promise<void> {
    const { readings, limits, clock } = this.#options
    const before = this.#pressure
    this.#reading = readings.read()
    this.#pressure = judge(before, this.#reading, limits, clock.now())
    const { level, busy } = this.#pressure
    if (level === before.level && busy === before.busy) return
    const freedBytes = this.#act(measuresFor(before), measuresFor(this.#pressure))
    this.#counts.shedBytes += freedBytes
    const isWorse = level > before.level || (level === before.level && busy)
    this.#counts[isWorse ? 'pressedCount' : 'relievedCount']++
    this.#tell(isWorse, before, freedBytes)
    await this.#store(isWorse, before, freedBytes)
  }

  #act(before: Measures, now: Measures): number {
    const { valves } = this.#options
    if (now.holdHistory !== before.holdHistory) valves.holdHistory(now.holdHistory)
    if (now.holdMedia !== before.holdMedia) valves.holdMedia(now.holdMedia)
    if (now.holdStarts !== before.holdStarts) valves.holdStarts(now.holdStarts)
    return now.cacheShare === before.cacheShare ? 0 : valves.setCacheShare(now.cacheShare)
  }

  #tell(isWorse: boolean, before: Pressure, freedBytes: number): void {
    const { log } = this.#options
    const fields = { ...this.#facts(before), freedMb: megabytes(freedBytes) }
    if (!isWorse) log.info(fields, 'memory relieved')
    else if (this.#pressure.level === before.level)
      log.warn(fields, `the event loop is late: history syncs and media wait. ${LAG_REMEDY}`)
    else log.warn(fields, `memory pressed: ${DONE[this.#pressure.level]}. ${REMEDY}`)
  }

  async #store(isWorse: boolean, before: Pressure, freedBytes: number): Promise<void> {
    const { events, database } = this.#options
    const event = events.append({
      tenant: OPERATORS,
      instance: null,
      type: isWorse ? 'memory.pressed' : 'memory.relieved',
      payload: { ...this.#facts(before), freedBytes, ...measuresFor(this.#pressure) },
    })
    await database.write([event])
  }

  #facts(before: Pressure): Readonly<Record<string, unknown>> {
    const { rssBytes, heapLiveBytes, externalBytes, lagMs } = this.#reading
    const { level, busy, fullest, share } = this.#pressure
    return {
      level,
      before: before.level,
      busy,
      fullest,
      percent: Math.round(share * 100),
      rssMb: megabytes(rssBytes),
      heapMb: megabytes(heapLiveBytes),
      externalMb: megabytes(externalBytes),
      lagMs,
    }
  }
}

const DONE = [
  '',
  'caches were halved',
  'caches were cut to a quarter, history syncs and media wait',
  'caches were cut to a tenth, new links and starts wait; messages go on',
] as const
const REMEDY =
  'If it stays so, raise ECLUSA_MEMORY_CEILING, or connect fewer numbers (ECLUSA_MAX_INSTANCES); GET /v1/memory tells what is full'
const LAG_REMEDY = 'If it stays so, give the process a faster CPU, or connect fewer numbers'

function megabytes(bytes: number): number {
  return Math.round(bytes / MIB)
}
