import { DUE_TICK, getAfter, getBefore, getField, NONE, setAfter, setBefore, setField } from './slab.ts'

/** Calls `run` once after `delayMs`; the shape of a clock's timers. */
export type SetTimer = (delayMs: number, run: () => void) => { cancel(): void }

/** Milliseconds of one bucket: memory is freed within two of them after an entry's end. */
const TICK_MS = 1_000
/** Longest stretch of work before other things of the event loop get their turn. */
const SLICE_MS = 2
/** Entries freed between two looks at the clock. */
const ENTRIES_PER_LOOK = 64
/** Seconds whose buckets stand in a ring of 16 KB; more than an hour, so that hardly any life is longer. */
const NEAR = 4_096

/**
 * Frees what is past its life without being touched. Entries stand in buckets by the second of their end; each second
 * the buckets that are due are emptied, in slices of 2 ms, so that a million ends at once hold nothing up. Nothing is
 * armed while nothing is timed. One for all caches that share a clock.
 */
export class Expiry {
  readonly #now: () => number
  readonly #setTimer: SetTimer | null
  readonly #expire: (slot: number) => void
  /** The first entry of each of the next NEAR seconds, by the second modulo NEAR; made with the first entry. */
  #near: Int32Array | null = null
  // bounded by: entries with a later end; an empty bucket is deleted. Second → first entry.
  readonly #far = new Map<number, number>()
  #timer: { cancel(): void } | null = null
  /** What the clock said at the last tick; NaN while nothing ticks. Old by a second, or by as long as the loop was held up. */
  #lately = NaN
  #latelySecond = NONE
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

  /**
   * The time for somebody to whom a few seconds are nothing, because asking the clock costs as much as the rest of a
   * read. NaN when that is not known: then the clock must be asked.
   */
  get lately(): number {
    return this.#lately
  }

  /**
   * The same in seconds, for who knows of an entry only its DUE_TICK; NONE when it is not known, or when the clock
   * jumped back: then that tick tells nothing of its end.
   */
  get latelySecond(): number {
    return this.#latelySecond
  }

  add(slot: number, expiresAt: number): void {
    if (expiresAt === Infinity) {
      setField(slot, DUE_TICK, NONE)
      return
    }
    // The bucket after the entry's own second; never one that was emptied already (a clock that jumped back).
    const tick = Math.min(Math.max(this.#second(expiresAt) + 1, this.#cursor + 1), MAX_TICK)
    const first = this.#swapFirst(tick, slot)
    setField(slot, DUE_TICK, tick)
    setBefore(slot, NONE)
    setAfter(slot, first)
    if (first !== NONE) setBefore(first, slot)
    this.#timed++
    if (this.#timer === null) this.#arm(TICK_MS)
  }

  remove(slot: number): void {
    const tick = getField(slot, DUE_TICK)
    if (tick === NONE) return
    const previous = getBefore(slot)
    const next = getAfter(slot)
    if (next !== NONE) setBefore(next, previous)
    if (previous !== NONE) setAfter(previous, next)
    else if (this.#near?.[tick & (NEAR - 1)] === slot) this.#near[tick & (NEAR - 1)] = next
    else if (next !== NONE) this.#far.set(tick, next)
    else this.#far.delete(tick)
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
    for (const tick of this.#dueTicks(due)) {
      for (let slot = this.#firstOf(tick); slot !== NONE; slot = this.#firstOf(tick)) {
        this.#expire(slot)
        if (++freed % ENTRIES_PER_LOOK === 0 && performance.now() - startedAt >= maxMs) return true
      }
    }
    this.#cursor = Math.max(this.#cursor, due)
    return false
  }

  /** The seconds to look at: those of the ring, then the later ones that have a bucket, which only a leap of the clock reaches. */
  *#dueTicks(due: number): Iterable<number> {
    const begin = this.#cursor
    for (let tick = begin + 1; tick <= Math.min(due, begin + NEAR); tick++) {
      yield tick
      // What was in the ring for this second is gone, so another may take its place.
      this.#cursor = tick
    }
    if (due <= begin + NEAR) return
    for (const tick of this.#far.keys()) if (tick <= due) yield tick
  }

  #firstOf(tick: number): number {
    const near = this.#near?.[tick & (NEAR - 1)] ?? NONE
    if (near !== NONE && getField(near, DUE_TICK) === tick) return near
    return this.#far.get(tick) ?? NONE
  }

  /** Puts a slot at the head of a bucket; returns what stood there. */
  #swapFirst(tick: number, slot: number): number {
    this.#near ??= new Int32Array(NEAR).fill(NONE)
    if (tick <= this.#cursor + NEAR) {
      const index = tick & (NEAR - 1)
      const first = this.#near[index] as number
      this.#near[index] = slot
      return first
    }
    const first = this.#far.get(tick) ?? NONE
    this.#far.set(tick, slot)
    return first
  }

  /** Ends the timer. Entries stay; they end when they are touched. */
  dispose(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#forgetTime()
  }

  #arm(delayMs: number): void {
    if (this.#setTimer === null) return
    if (delayMs > 0) this.#noteTime()
    this.#timer = this.#setTimer(delayMs, () => {
      this.#timer = null
      this.#forgetTime()
      const more = this.run(SLICE_MS)
      if (this.#timed > 0 && this.#timer === null) this.#arm(more ? 0 : TICK_MS)
    })
  }

  #noteTime(): void {
    this.#lately = this.#now()
    const second = this.#second(this.#lately)
    this.#latelySecond = second < this.#cursor ? NONE : second
  }

  #forgetTime(): void {
    this.#lately = NaN
    this.#latelySecond = NONE
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
