import { DAY, HOUR } from '@eclusa/kernel'

/** Messages to one contact within any hour and any day. */
export interface Ceilings {
  readonly maxPerContactHour: number
  readonly maxPerContactDay: number
}

/** Times kept of one contact: no ceiling may be higher. */
export const MAX_CEILING = 1000
/** Times kept of all contacts, for each contact that may be known: most are written to a few times a day. */
export const MEAN_TIMES = 10

interface Entry {
  /** Ascending, within a day. bounded by: MAX_CEILING */
  readonly times: number[]
  /** Messages of the contact may have stepped out of their line because of a ceiling. */
  held: boolean
}

/**
 * When each contact was written to within the last day. In memory: after a restart, and of the contacts longest not
 * written to when there are too many, it begins anew.
 */
export class SendLog {
  readonly #maxContacts: number
  // The longest unused first. bounded by: maxContacts, and their times by maxContacts * MEAN_TIMES
  readonly #entries = new Map<string, Entry>()
  #timeCount = 0

  constructor(maxContacts: number) {
    this.#maxContacts = maxContacts
  }

  get size(): number {
    return this.#entries.size
  }

  /** When one more may go to the contact: `now` or later. */
  freeAt(contact: string, { maxPerContactHour, maxPerContactDay }: Ceilings, now: number): number {
    const times = this.#entries.get(contact)?.times ?? []
    const ofHour = times.at(-maxPerContactHour)
    const ofDay = times.at(-maxPerContactDay)
    return Math.max(now, ofHour === undefined ? now : ofHour + HOUR, ofDay === undefined ? now : ofDay + DAY)
  }

  /** One goes. */
  add(contact: string, now: number): void {
    const entry = this.#entries.get(contact) ?? { times: [], held: false }
    this.#entries.delete(contact)
    this.#entries.set(contact, entry)
    entry.times.push(now)
    this.#timeCount++
    while (entry.times.length > MAX_CEILING || (entry.times[0] ?? now) <= now - DAY) {
      entry.times.shift()
      this.#timeCount--
    }
    this.#forget(now)
  }

  /** A ceiling holds messages of the contact back. */
  hold(contact: string): void {
    const entry = this.#entries.get(contact)
    if (entry !== undefined) entry.held = true
  }

  isHeld(contact: string): boolean {
    return this.#entries.get(contact)?.held === true
  }

  release(contact: string): void {
    const entry = this.#entries.get(contact)
    if (entry !== undefined) entry.held = false
  }

  #forget(now: number): void {
    for (const [contact, { times }] of this.#entries) {
      const isOver = (times.at(-1) ?? 0) <= now - DAY
      const isFull =
        this.#entries.size > this.#maxContacts || this.#timeCount > this.#maxContacts * MEAN_TIMES
      if (!isOver && !isFull) return
      this.#timeCount -= times.length
      this.#entries.delete(contact)
    }
  }
}
