import { WEEKDAYS } from '@eclusa/kernel'
import { plain } from './answer.ts'
import type { Comparison, Test } from './flow-definition.ts'
import type { ContactFacts, HeardMessage } from './flow-ports.ts'

/** What a condition looks at. */
export interface Facts {
  readonly contact: ContactFacts
  /** The last one of the run; null when it was started by hand. */
  readonly message: HeardMessage | null
  /** Those of the contact, with what this run has set. */
  readonly fields: Readonly<Record<string, string>>
  readonly now: number
}

/** Pure. */
export function holds(test: Test, facts: Facts): boolean {
  if ('all' in test) return test.all.every((one) => holds(one, facts))
  if ('any' in test) return test.any.some((one) => holds(one, facts))
  if ('not' in test) return !holds(test.not, facts)
  const values = valuesOf(test, facts)
  // Of a list, such as tags, one that fits is enough.
  return values.some((value) => compares(test, value))
}

function compares({ is, to }: Comparison, value: string): boolean {
  const wanted = Array.isArray(to) ? '' : String(to ?? '')
  switch (is) {
    case 'set':
      return value.trim() !== ''
    case 'equals':
      return plain(value) === plain(wanted)
    case 'contains':
      return plain(wanted) !== '' && plain(value).includes(plain(wanted))
    case 'begins_with':
      return plain(wanted) !== '' && plain(value).startsWith(plain(wanted))
    case 'one_of':
      return Array.isArray(to) && to.some((one) => plain(one) === plain(value))
    case 'above':
      return value.trim() !== '' && order(value, wanted) > 0
    case 'below':
      return value.trim() !== '' && order(value, wanted) < 0
    default:
      return is satisfies never
  }
}

function order(value: string, wanted: string): number {
  const [a, b] = [Number(value), Number(wanted)]
  if (!Number.isNaN(a) && !Number.isNaN(b) && wanted !== '') return a - b
  return value < wanted ? -1 : value > wanted ? 1 : 0
}

function valuesOf({ value, zone = 'UTC' }: Comparison, facts: Facts): readonly string[] {
  const { contact, message, fields, now } = facts
  switch (value) {
    case 'message.words':
      return [message?.words ?? '']
    case 'message.kind':
      return [message?.kind ?? '']
    case 'contact.name':
      return [contact.name ?? '']
    case 'contact.number':
      return [contact.number ?? '']
    case 'contact.tags':
      return contact.tags
    case 'time.hour':
      return [String(Number(wall(now, zone).slice(11, 13)))]
    case 'time.weekday':
      return [WEEKDAYS[new Date(`${wall(now, zone).slice(0, 10)}T00:00:00Z`).getUTCDay()] ?? '']
    case 'time.date':
      return [wall(now, zone).slice(0, 10)]
    default: {
      const name = value.slice('field.'.length)
      return [Object.hasOwn(fields, name) ? (fields[name] ?? '') : '']
    }
  }
}

/** What the wall clock of a zone shows: `2026-11-28 17:30:00`. */
function wall(at: number, zone: string): string {
  return new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'medium' }).format(
    at,
  )
}
