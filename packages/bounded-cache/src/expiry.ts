import { DUE_NEXT, DUE_PREVIOUS, DUE_TICK, getField, NONE, setField } from './slab.ts'

/** Calls `run` once after `delayMs`; the shape of a clock's timers. */
export type SetTimer = (delayMs: number, run: () => void) => { cancel(): void }

/** Milliseconds of one bucket: memory is freed within two of them after an entry's end. */
const TICK_MS = 1_000
/** Longest stretch of work before other things of the event loop get their turn. */
const SLICE_MS = 2
/** Entries freed between two looks at the clock. */
const ENTRIES_PER_LOOK = 64
/** Buckets looked at in one pass: a clock that jumped by days has many empty ones. */
const TICKS_PER_LOOK = 4_096

/**
 * Frees what is past its life without being touched. Entries stand in buckets by the second of their end; each second
 * the buckets that are due are emptied, in slices of 2 ms, so that a million ends at once hold nothing up. Nothing is
 * armed while nothing is timed. One for all caches that share a clock.
 */
export class Expiry {
  readonly #now: () => number
  readonly #setTimer: SetTimer | null
  readonly #expire: (slot: number) => void
  // bounded by: entries that are timed; an empty bucket is deleted. Second → first entry.
  readonly #buckets = new Map<number, number>()
  #timer: { cancel(): void } | null = null
  /** The last second whose bucket was emptied. */
  #cursor: number
  #timed = 0

  /** `expire` removes the entry, and with it its place here. Without `setTimer` nothing happens but by `run`. */
  constructor(options: {
    readonly now: () => number
    readonly setTimer: SetTimer | null
    readonly expire: (slot: number) => void
  }) {
    this.#now = options.now
    this.#setTimer = options.setTimer
    this.#expire = options.expire
    this.#cursor = this.#second(options.now())
  }

  get timedCount(): number {
    return this.#timed
  }

  add(slot: number, expiresAt: number): void {
    if (expiresAt === Infinity) {
      setField(slot, DUE_TICK, NONE)
      return
    }
    // The bucket after the entry's own second; never one that was emptied already (a clock that jumped back).
    const tick = Math.min(Math.max(this.#second(expiresAt) + 1, this.#cursor + 1), MAX_TICK)
    const first = this.#buckets.get(tick) ?? NONE
    setField(slot, DUE_TICK, tick)
    setField(slot, DUE_PREVIOUS, NONE)
    setField(slot, DUE_NEXT, first)
    if (first !== NONE) setField(first, DUE_PREVIOUS, slot)
    this.#buckets.set(tick, slot)
    this.#timed++
    if (this.#timer === null) this.#arm(TICK_MS)
  }

  remove(slot: number): void {
    const tick = getField(slot, DUE_TICK)
    if (tick === NONE) return
    const previous = getField(slot, DUE_PREVIOUS)
    const next = getField(slot, DUE_NEXT)
    if (next !== NONE) setField(next, DUE_PREVIOUS, previous)
    if (previous !== NONE) setField(previous, DUE_NEXT, next)
    else if (next !== NONE) this.#buckets.set(tick, next)
    else this.#buckets.delete(tick)
    setField(slot, DUE_TICK, NONE)
    this.#timed--
  }

  /** Frees what is due, for at most `maxMs`; returns whether something due is left. */
  run(maxMs = Infinity): boolean {
    if (this.#timed === 0) {
      this.#cursor = Math.max(this.#cursor, this.#second(this.#now()))
      return false
    }
    const due = this.#second(this.#now())
    const startedAt = performance.now()
    let freed = 0
    let looked = 0
    const isOver = (): boolean => performance.now() - startedAt >= maxMs
    for (const tick of this.#dueTicks(due)) {
      for (let slot = this.#buckets.get(tick); slot !== undefined; slot = this.#buckets.get(tick)) {
        this.#expire(slot)
        if (++freed % ENTRIES_PER_LOOK === 0 && isOver()) return true
      }
      this.#cursor = tick
      if (++looked % TICKS_PER_LOOK === 0 && isOver()) return true
    }
    this.#cursor = Math.max(this.#cursor, due)
    return false
  }

  /** The seconds to look at, in order. After a leap of the clock these are the buckets there are, not all seconds. */
  *#dueTicks(due: number): Generator<number> {
    if (due - this.#cursor > TICKS_PER_LOOK && this.#buckets.size < (due - this.#cursor) / 16) {
      yield* [...this.#buckets.keys()].filter((tick) => tick <= due).sort((a, b) => a - b)
      return
    }
    for (let tick = this.#cursor + 1; tick <= due; tick++) yield tick
  }

  /** Ends the timer. Entries stay; they end when they are touched. */
  dispose(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #arm(delayMs: number): void {
    if (this.#setTimer === null) return
    this.#timer = this.#setTimer(delayMs, () => {
      this.#timer = null
      const more = this.run(SLICE_MS)
      if (this.#timed > 0 && this.#timer === null) this.#arm(more ? 0 : TICK_MS)
    })
  }

  #second(at: number): number {
    return Math.floor(at / TICK_MS)
  }
}

/** Largest second a record can hold (year 2038); an entry with a later end is freed by touch or eviction only. */
const MAX_TICK = 2 ** 31 - 1

/** Timers of the machine that do not keep a process alive. */
export const unrefTimer: SetTimer = (delayMs, run) => {
  if (delayMs === 0) {
    const handle = setImmediate(run)
    handle.unref()
    return { cancel: () => clearImmediate(handle) }
  }
  const handle = setTimeout(run, delayMs)
  handle.unref()
  return { cancel: () => clearTimeout(handle) }
}
