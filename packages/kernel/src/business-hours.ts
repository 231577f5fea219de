import { EclusaError } from './errors.ts'
import { kernelErrors } from './kernel-errors.ts'
import { DAY, HOUR, MINUTE, SECOND } from './units.ts'

export const WEEKDAYS = [
  'sunday',
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
] as const
export type Weekday = (typeof WEEKDAYS)[number]

/** Part of a day by the wall clock: `from` included, `to` not. `HH:MM`, `to` up to `24:00`. */
export interface OpenStretch {
  readonly from: string
  readonly to: string
}

export interface Holiday {
  /** `2026-12-25` for once, `12-25` for every year. A date with its year wins over one without. */
  readonly date: string
  /** For people, at most 100 characters. */
  readonly name?: string
  /** Half a day: open only then. Default: closed. */
  readonly open?: readonly OpenStretch[]
}

/** When somebody is there, by the wall clock of a zone. */
export interface BusinessHours {
  /** IANA name: `America/Sao_Paulo`. */
  readonly zone: string
  /** Closed on a day that is not named. At most 8 stretches a day, in order, not overlapping. */
  readonly week: Readonly<Partial<Record<Weekday, readonly OpenStretch[]>>>
  /** At most 400. */
  readonly holidays: readonly Holiday[]
}

const MAX_STRETCHES = 8
const MAX_HOLIDAYS = 400
const MAX_NAME = 100
/** A year and a month: whatever is not open by then opens only by a change of the hours. */
const LOOK_AHEAD_DAYS = 400

/** Whether it is open at `at`, epoch milliseconds. Where clocks go back, the hour that comes twice counts twice. */
export function isOpen(hours: BusinessHours, at: number): boolean {
  const wall = wallOf(hours.zone, at)
  const minute = (wall % DAY) / MINUTE
  return stretchesOf(hours, wall).some(({ from, to }) => minute >= minutesOf(from) && minute < minutesOf(to))
}

/**
 * The first instant from `at` on at which it is open: `at` itself when it is; null when it does not open within 400
 * days. An opening that the clocks jump over takes place right after the jump.
 */
export function nextOpening(hours: BusinessHours, at: number): number | null {
  if (isOpen(hours, at)) return at
  const today = Math.floor(wallOf(hours.zone, at) / DAY) * DAY
  // From yesterday: when clocks go back over midnight, the day before comes again.
  for (let nth = -1; nth <= LOOK_AHEAD_DAYS; nth++) {
    const openings = openingsOf(hours, today + nth * DAY).filter((opening) => opening > at)
    if (openings.length > 0) return Math.min(...openings)
  }
  return null
}

/** Instants at which it opens on the day that begins at `day` of the wall clock. */
function openingsOf(hours: BusinessHours, day: number): readonly number[] {
  const stretches = stretchesOf(hours, day)
  if (stretches.length === 0) return []
  const before = offsetOf(hours.zone, day - 15 * HOUR)
  const after = offsetOf(hours.zone, day + 40 * HOUR)
  const instants = stretches.map(({ from }) => day + minutesOf(from) * MINUTE - before)
  if (before !== after) {
    instants.push(
      ...stretches.map(({ from }) => day + minutesOf(from) * MINUTE - after),
      changeOf(hours.zone, day - 15 * HOUR, day + 40 * HOUR),
    )
  }
  const isOfDay = (instant: number): boolean => Math.floor(wallOf(hours.zone, instant) / DAY) * DAY === day
  return instants.filter((instant) => isOfDay(instant) && isOpen(hours, instant))
}

/** The first millisecond of the later of two offsets. */
function changeOf(zone: string, from: number, to: number): number {
  const after = offsetOf(zone, to)
  let [low, high] = [from, to]
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (offsetOf(zone, middle) === after) high = middle
    else low = middle
  }
  return high
}

/** Those of the day that `wall` lies in. */
function stretchesOf({ week, holidays }: BusinessHours, wall: number): readonly OpenStretch[] {
  const date = new Date(wall)
  const text = date.toISOString().slice(0, 10)
  const holiday =
    holidays.find((one) => one.date === text) ?? holidays.find((one) => one.date === text.slice(5))
  if (holiday !== undefined) return holiday.open ?? []
  return week[WEEKDAYS[date.getUTCDay()] as Weekday] ?? []
}

/** What the wall clock of `zone` shows, as if it were UTC. */
function wallOf(zone: string, at: number): number {
  return at + offsetOf(zone, at)
}

// Making one takes 20 µs, using it 1 µs. bounded by: MAX_WALL_CLOCKS
const wallClocks = new Map<string, Intl.DateTimeFormat>()
const MAX_WALL_CLOCKS = 700

/** How far the wall clock is ahead of UTC. */
function offsetOf(zone: string, at: number): number {
  let wallClock = wallClocks.get(zone)
  if (wallClock === undefined) {
    if (wallClocks.size >= MAX_WALL_CLOCKS) wallClocks.clear()
    wallClock = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'medium' })
    wallClocks.set(zone, wallClock)
  }
  const second = Math.floor(at / SECOND) * SECOND
  return Date.parse(`${wallClock.format(second).replace(' ', 'T')}Z`) - second
}

function minutesOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3))
}

/**
 * Hours from outside, checked as a whole: the zone gets its usual spelling, nothing unknown is let through.
 * @throws KERNEL_BAD_HOURS naming the field: `hours.week.monday[1].to`
 */
export function parseBusinessHours(input: unknown, field = 'hours'): BusinessHours {
  const { zone, week = {}, holidays = [] } = recordOf(input, field, ['zone', 'week', 'holidays'])
  const days = recordOf(week, `${field}.week`, WEEKDAYS)
  if (!Array.isArray(holidays)) throw bad(`${field}.holidays`, 'must be a list of holidays')
  if (holidays.length > MAX_HOLIDAYS)
    throw bad(`${field}.holidays`, `must have at most ${MAX_HOLIDAYS} holidays`)
  const dates = new Set<string>()
  return {
    zone: parseZone(zone, `${field}.zone`),
    week: Object.fromEntries(
      Object.entries(days).map(([day, open]) => [day, parseStretches(open, `${field}.week.${day}`)]),
    ),
    holidays: holidays.map((one: unknown, nth) => {
      const holiday = parseHoliday(one, `${field}.holidays[${nth}]`)
      if (dates.has(holiday.date))
        throw bad(`${field}.holidays[${nth}].date`, 'is named by another holiday, too')
      dates.add(holiday.date)
      return holiday
    }),
  }
}

/** An IANA name in its usual spelling. @throws KERNEL_BAD_HOURS naming `field` */
export function parseZone(input: unknown, field = 'zone'): string {
  const rule = 'must be the name of a time zone such as America/Sao_Paulo'
  if (typeof input !== 'string' || !/^[A-Za-z][A-Za-z0-9_+/-]{1,63}$/.test(input)) throw bad(field, rule)
  try {
    return new Intl.DateTimeFormat('en', { timeZone: input }).resolvedOptions().timeZone
  } catch {
    throw bad(field, rule)
  }
}

function parseStretches(input: unknown, field: string): readonly OpenStretch[] {
  if (!Array.isArray(input)) throw bad(field, 'must be a list such as [{ "from": "08:00", "to": "18:00" }]')
  if (input.length > MAX_STRETCHES) throw bad(field, `must have at most ${MAX_STRETCHES} stretches`)
  let lastTo = 0
  return input.map((one: unknown, nth) => {
    const at = `${field}[${nth}]`
    const { from, to } = recordOf(one, at, ['from', 'to'])
    const stretch = { from: parseTime(from, `${at}.from`, '23:59'), to: parseTime(to, `${at}.to`, '24:00') }
    if (minutesOf(stretch.from) < lastTo)
      throw bad(`${at}.from`, 'must not be before the end of the stretch before it')
    if (minutesOf(stretch.to) <= minutesOf(stretch.from)) {
      throw bad(`${at}.to`, 'must be after from; a night is two stretches, to 24:00 and from 00:00')
    }
    lastTo = minutesOf(stretch.to)
    return stretch
  })
}

function parseTime(input: unknown, field: string, latest: string): string {
  if (typeof input !== 'string' || !/^([01]\d|2[0-3]):[0-5]\d$|^24:00$/.test(input) || input > latest) {
    throw bad(field, `must be a time of the day, 00:00 to ${latest}`)
  }
  return input
}

function parseHoliday(input: unknown, field: string): Holiday {
  const { date, name, open } = recordOf(input, field, ['date', 'name', 'open'])
  // A leap year, so that 29 February has its holiday where it exists.
  const whole = typeof date === 'string' && date.length === 5 ? `2024-${date}` : date
  const isDate = typeof whole === 'string' && /^\d{4}-\d\d-\d\d$/.test(whole) && isCalendarDate(whole)
  if (!isDate) throw bad(`${field}.date`, 'must be a date such as 2026-12-25, or 12-25 for every year')
  if (name !== undefined && (typeof name !== 'string' || name.length > MAX_NAME)) {
    throw bad(`${field}.name`, `must be a text of at most ${MAX_NAME} characters`)
  }
  return {
    date: date as string,
    ...(name === undefined ? {} : { name }),
    ...(open === undefined ? {} : { open: parseStretches(open, `${field}.open`) }),
  }
}

function isCalendarDate(text: string): boolean {
  const at = Date.parse(`${text}T00:00:00Z`)
  // V8 takes 30 February for 2 March.
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(text)
}

function recordOf(
  input: unknown,
  field: string,
  known: readonly string[],
): Readonly<Record<string, unknown>> {
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw bad(field, 'must be an object')
  const unknown = Object.keys(input).find((key) => !known.includes(key))
  if (unknown !== undefined) throw bad(`${field}.${unknown}`, `is not known; there is ${known.join(', ')}`)
  return input as Readonly<Record<string, unknown>>
}

function bad(field: string, rule: string): EclusaError {
  return new EclusaError(kernelErrors.BAD_HOURS, { details: { field }, message: `${field} ${rule}` })
}
