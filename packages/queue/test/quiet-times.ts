import { parseTenantId } from '@eclusa/kernel'
import { seededRandom } from '@eclusa/kernel/test-kit'
import { judgeCare } from '../src/care.ts'
import { defaultCare, quietEndOf, type QuietTimes } from '../src/index.ts'
import { Places } from '../src/places.ts'

const MINUTE = 60_000
const DAY = 1440 * MINUTE
/** A whole year of changes of the clock, and some days around it. */
const FIRST = Date.UTC(2025, 11, 20)
const LAST = Date.UTC(2027, 0, 20)
/** Clocks are changed at full quarters of an hour, and not twice within six hours. */
const STEP = 15 * MINUTE
const STEPS_BETWEEN_CHANGES = 24

/** Half of them change their clocks, by an hour or by half of one, at midnight or later; some are off by 30 or 45 minutes. */
export const zones = (
  'America/Sao_Paulo America/Manaus America/Noronha America/Santiago America/Havana America/New_York ' +
  'America/St_Johns America/Los_Angeles America/Mexico_City America/Asuncion America/Bogota Europe/Lisbon ' +
  'Europe/Berlin Africa/Luanda Africa/Cairo Africa/Casablanca Asia/Beirut Asia/Jerusalem Asia/Kolkata ' +
  'Asia/Kathmandu Asia/Tehran Asia/Tokyo Australia/Sydney Australia/Lord_Howe Pacific/Auckland Pacific/Chatham ' +
  'Pacific/Kiritimati'
).split(' ')

/** What the wall shows, worked out in another way than the queue does: a table of the offsets of a zone. */
class Wall {
  readonly #offsets: Int16Array

  constructor(zone: string) {
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
    })
    const offsetAt = (nth: number): number => {
      const at = FIRST + nth * STEP
      const parts = Object.fromEntries(
        format.formatToParts(at).map(({ type, value }) => [type, Number(value)]),
      )
      const { year = 0, month = 0, day = 0, hour = 0, minute = 0 } = parts
      return (Date.UTC(year, month - 1, day, hour, minute) - at) / MINUTE
    }
    this.#offsets = new Int16Array(Math.ceil((LAST - FIRST) / STEP))
    for (let nth = 0; nth < this.#offsets.length; nth += STEPS_BETWEEN_CHANGES) {
      const [first, last] = [offsetAt(nth), offsetAt(nth + STEPS_BETWEEN_CHANGES)]
      for (let step = 0; step < STEPS_BETWEEN_CHANGES; step++) {
        this.#offsets[nth + step] = first === last ? first : offsetAt(nth + step)
      }
    }
  }

  /** As if the wall's time were UTC. */
  at(instant: number): number {
    return instant + (this.#offsets[Math.floor((instant - FIRST) / STEP)] ?? 0) * MINUTE
  }

  isQuiet(instant: number, { quiet, quietSundays, holidays }: QuietTimes): boolean {
    const shown = this.at(instant)
    const day = Math.floor(shown / DAY)
    // The first of January 1970 was a Thursday.
    if (quietSundays && (day + 4) % 7 === 0) return true
    if (holidays.length > 0) {
      const date = new Date(day * DAY).toISOString().slice(0, 10)
      if (holidays.some((holiday) => date.endsWith(holiday))) return true
    }
    const minute = Math.floor((shown - day * DAY) / MINUTE)
    const { from, to } = quiet
    // Minutes since `from`, around the clock.
    return (minute - from + 1440) % 1440 < (to - from + 1440) % 1440
  }
}

const walls = zones.map((zone) => new Wall(zone))

/** Throws at the first quiet time that `quietEndOf` sees differently, or whose end is not the first minute after it. */
export function checkQuietTimes(count: number, seed: number): void {
  const random = seededRandom(seed)
  const below = (n: number): number => Math.floor(random() * n)
  for (let nth = 0; nth < count; nth++) {
    const which = below(zones.length)
    const zone = zones[which]!
    const wall = walls[which]!
    const from = below(1440)
    const times: QuietTimes = {
      // Up to 22 hours: a longer night could end in the hour that a change of the clock repeats.
      quiet: { from, to: random() < 0.1 ? from : (from + 1 + below(22 * 60)) % 1440 },
      quietSundays: random() < 0.5,
      holidays: random() < 0.5 ? ['01-01', '12-25', '2026-03-29', '2026-10-25', '04-05', '09-06'] : [],
    }
    const now = Date.UTC(2026, 0, 1) + below(365 * 1440) * MINUTE + below(MINUTE)
    const end = quietEndOf(now, times, zone)
    const say = (fault: string): Error =>
      new Error(
        `${fault}: ${zone} ${new Date(now).toISOString()} ${JSON.stringify({ times, end, seed, nth })}`,
      )
    if ((end !== null) !== wall.isQuiet(now, times)) throw say('it is quiet or not')
    if (end === null) continue
    if (end <= now || wall.isQuiet(end, times)) throw say('it is still quiet at the end')
    if (!wall.isQuiet(Math.max(end - MINUTE, now), times)) throw say('it ended before')
    for (let look = 0; look < 3; look++) {
      if (!wall.isQuiet(now + random() * (end - now - 1), times)) throw say('it ends earlier')
    }
  }
}

/**
 * `count` messages to people in all zones through a year, as the queue judges them: throws at the first proactive one
 * that would go in a quiet time to who did not write within 30 minutes, at the first reply that waits for one, and at
 * the first minute in which a tenant's rate lets more through than it says. How many went.
 */
export function simulateSends(count: number, seed: number): { readonly sent: number; readonly held: number } {
  const random = seededRandom(seed)
  const below = (n: number): number => Math.floor(random() * n)
  const options = { ...defaultCare, quietSundays: true, holidays: ['12-25', '2026-04-03'] }
  const perMinute = MINUTE / options.tenant.everyMs
  const tenant = parseTenantId('exatron')
  const places = new Places<typeof tenant>(1000, MINUTE)
  // The newest of the tenant. bounded by: perMinute
  const newest: number[] = []
  let now = Date.UTC(2026, 0, 1)
  let sent = 0
  let held = 0
  const meanGapMs = (364 * DAY) / count
  for (let nth = 0; nth < count; nth++) {
    // Bursts, so that the rate has work, and pauses.
    now += random() < 0.9 ? below(Math.min(1000, meanGapMs)) : random() * 18 * meanGapMs
    const which = below(zones.length)
    const wroteAgoMs = random() < 0.3 ? null : below(2 * 60) * MINUTE
    const purpose = random() < 0.7 ? 'proactive' : 'reply'
    const verdict = judgeCare({
      now,
      options,
      purpose,
      acceptedAt: now,
      standing: {
        lastInboundAt: wroteAgoMs === null ? null : now - wroteAgoMs,
        zone: zones[which]!,
        consent: true,
        optedOutAt: null,
      },
      cold: { pausedUntil: null, slotAt: 0, contact: null },
    })
    const isAwake = wroteAgoMs !== null && wroteAgoMs < 30 * MINUTE
    const mustWait = purpose === 'proactive' && !isAwake && walls[which]!.isQuiet(now, options)
    if ((verdict.kind === 'hold') !== mustWait)
      throw new Error(`message ${nth} of seed ${seed}: ${JSON.stringify({ verdict, mustWait, now, which })}`)
    if (mustWait) {
      held++
      continue
    }
    sent++
    const inConversation = wroteAgoMs !== null
    if (purpose === 'reply' && inConversation) continue
    const at = places.of(tenant, nth, { rate: options.tenant, now, within: Number.POSITIVE_INFINITY })
    if (places.size >= 1000) continue
    const before = newest.length < perMinute ? undefined : newest.shift()
    if (before !== undefined && at - before < MINUTE)
      throw new Error(`${perMinute + 1} within a minute at message ${nth} of seed ${seed}`)
    newest.push(at)
  }
  return { sent, held }
}
