import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  type BusinessHours,
  EclusaError,
  isOpen,
  MINUTE,
  nextOpening,
  type OpenStretch,
  parseBusinessHours,
  WEEKDAYS,
} from '../src/index.ts'

const nineToSix = [{ from: '09:00', to: '18:00' }]
const office: BusinessHours = parseBusinessHours({
  zone: 'America/Sao_Paulo',
  week: {
    monday: [
      { from: '08:00', to: '12:00' },
      { from: '13:30', to: '18:00' },
    ],
    friday: nineToSix,
  },
  holidays: [
    { date: '12-25', name: 'Natal' },
    { date: '2026-12-28', open: [{ from: '08:00', to: '12:00' }] },
  ],
})

test('is open in the stretches of the day in its zone, the end not included', () => {
  // 2026-11-30 is a Monday; São Paulo is three hours behind UTC.
  const at = (time: string): boolean => isOpen(office, Date.parse(`2026-11-30T${time}-03:00`))
  assert.deepEqual(['07:59:59.999', '08:00:00', '11:59:59.999', '12:00:00', '13:30:00', '18:00:00'].map(at), [
    false,
    true,
    true,
    false,
    true,
    false,
  ])
})

test('keeps holidays: of every year, of one year, and half days', () => {
  const christmas = Date.parse('2026-12-25T10:00:00-03:00')
  assert.equal(new Date(christmas).getUTCDay(), 5)
  assert.equal(isOpen(office, christmas), false)
  assert.equal(nextOpening(office, christmas), Date.parse('2026-12-28T08:00:00-03:00'))
  assert.equal(isOpen(office, Date.parse('2026-12-28T14:00:00-03:00')), false, 'half a day')
  assert.equal(isOpen(office, Date.parse('2027-12-27T14:00:00-03:00')), true, 'only of that year')
  const both = parseBusinessHours({
    zone: 'UTC',
    holidays: [{ date: '12-25' }, { date: '2026-12-25', open: nineToSix }],
  })
  assert.equal(isOpen(both, Date.parse('2026-12-25T10:00:00Z')), true, 'the date with its year wins')
})

test('finds the next opening: now, later today, after days, or never', () => {
  const local = (text: string): number => Date.parse(`${text}-03:00`)
  assert.equal(nextOpening(office, local('2026-11-30T09:00:00')), local('2026-11-30T09:00:00'))
  assert.equal(nextOpening(office, local('2026-11-30T12:30:00')), local('2026-11-30T13:30:00'))
  assert.equal(nextOpening(office, local('2026-11-30T19:00:00')), local('2026-12-04T09:00:00'))
  assert.equal(nextOpening(parseBusinessHours({ zone: 'UTC' }), 0), null)
  const leapDay = parseBusinessHours({ zone: 'UTC', holidays: [{ date: '02-29', open: nineToSix }] })
  assert.equal(nextOpening(leapDay, Date.parse('2028-02-01T00:00:00Z')), Date.parse('2028-02-29T09:00:00Z'))
})

test('opens right after a jump of the clocks that skips the opening, and twice in an hour that comes twice', () => {
  const night = parseBusinessHours({
    zone: 'Europe/Berlin',
    week: { sunday: [{ from: '02:30', to: '03:30' }] },
  })
  // 2026-03-29: 02:00 becomes 03:00.
  assert.equal(nextOpening(night, Date.parse('2026-03-29T00:00:00Z')), Date.parse('2026-03-29T01:00:00Z'))
  // 2026-10-25: 03:00 becomes 02:00.
  const open = ['00:30', '00:59', '01:00', '01:29', '01:30', '02:29', '02:30'].map((time) =>
    isOpen(night, Date.parse(`2026-10-25T${time}:00Z`)),
  )
  assert.deepEqual(open, [true, true, false, false, true, true, false])
  assert.equal(nextOpening(night, Date.parse('2026-10-25T01:10:00Z')), Date.parse('2026-10-25T01:30:00Z'))
})

const time = (minute: number): string =>
  `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`

const stretches = fc
  .uniqueArray(fc.integer({ min: 0, max: 96 }), { maxLength: 4 })
  .map((quarters): readonly OpenStretch[] => {
    const sorted = quarters.toSorted((a, b) => a - b)
    return Array.from({ length: Math.floor(sorted.length / 2) }, (_, nth) => ({
      from: time(sorted[2 * nth]! * 15),
      to: time(sorted[2 * nth + 1]! * 15),
    }))
  })

/** Around the days on which these zones change: one by half an hour, one that leaves out a day, one at midnight. */
const changes = [
  ['Europe/Berlin', '2026-03-29T01:00:00Z'],
  ['Europe/Berlin', '2026-10-25T01:00:00Z'],
  ['America/Sao_Paulo', '2018-11-04T03:00:00Z'],
  ['America/Sao_Paulo', '2019-02-17T02:00:00Z'],
  ['America/Santiago', '2026-04-05T03:00:00Z'],
  ['Australia/Lord_Howe', '2026-04-04T15:00:00Z'],
  ['Pacific/Apia', '2011-12-30T10:00:00Z'],
  ['Africa/Casablanca', '2026-02-15T02:00:00Z'],
] as const

test('agrees with a look at every quarter of an hour, whatever the hours and however the clocks change', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...changes),
      fc.array(stretches, { minLength: 7, maxLength: 7 }),
      fc.integer({ min: -96, max: 96 }),
      ([zone, change], days, quarters) => {
        const hours: BusinessHours = {
          zone,
          week: Object.fromEntries(WEEKDAYS.map((day, nth) => [day, days[nth]])),
          holidays: [],
        }
        const at = Date.parse(change) + quarters * 15 * MINUTE
        let expected: number | null = null
        for (let nth = 0; nth < 8 * 96 && expected === null; nth++) {
          if (isOpen(hours, at + nth * 15 * MINUTE)) expected = at + nth * 15 * MINUTE
        }
        const found = nextOpening(hours, at)
        if (expected !== null) assert.equal(found, expected)
        else if (found !== null) assert(found >= at + 8 * 96 * 15 * MINUTE)
      },
    ),
    { numRuns: 400, seed: 17 },
  )
})

test('refuses hours of the wrong form, naming the field', () => {
  const cases: readonly (readonly [unknown, string])[] = [
    [null, 'hours'],
    [{ zone: 'Mars/Olympus' }, 'hours.zone'],
    [{ zone: '+03:00' }, 'hours.zone'],
    [{ zone: 'UTC', week: { funday: [] } }, 'hours.week.funday'],
    [{ zone: 'UTC', week: { monday: 'always' } }, 'hours.week.monday'],
    [{ zone: 'UTC', week: { monday: [{ from: '8:00', to: '12:00' }] } }, 'hours.week.monday[0].from'],
    [{ zone: 'UTC', week: { monday: [{ from: '24:00', to: '24:00' }] } }, 'hours.week.monday[0].from'],
    [{ zone: 'UTC', week: { monday: [{ from: '22:00', to: '06:00' }] } }, 'hours.week.monday[0].to'],
    [
      {
        zone: 'UTC',
        week: {
          monday: [
            { from: '08:00', to: '12:00' },
            { from: '11:00', to: '13:00' },
          ],
        },
      },
      'hours.week.monday[1].from',
    ],
    [{ zone: 'UTC', week: { monday: Array(9).fill(nineToSix[0]) } }, 'hours.week.monday'],
    [{ zone: 'UTC', holidays: [{ date: '2026-02-30' }] }, 'hours.holidays[0].date'],
    [{ zone: 'UTC', holidays: [{ date: '25.12.' }] }, 'hours.holidays[0].date'],
    [{ zone: 'UTC', holidays: [{ date: '12-25' }, { date: '12-25' }] }, 'hours.holidays[1].date'],
    [{ zone: 'UTC', holidays: [{ date: '12-25', name: 'x'.repeat(101) }] }, 'hours.holidays[0].name'],
    [
      { zone: 'UTC', holidays: [{ date: '12-24', open: [{ from: '09:00' }] }] },
      'hours.holidays[0].open[0].to',
    ],
    [{ zone: 'UTC', colour: 'red' }, 'hours.colour'],
  ]
  for (const [input, field] of cases) {
    assert.throws(
      () => parseBusinessHours(input),
      (error) =>
        error instanceof EclusaError && error.details['field'] === field && error.message.startsWith(field),
      field,
    )
  }
  assert.equal(parseBusinessHours({ zone: 'america/sao_paulo' }).zone, 'America/Sao_Paulo')
})
