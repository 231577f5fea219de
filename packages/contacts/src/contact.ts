import {
  type ChatId,
  type ContactId,
  EclusaError,
  ninthDigitVariant,
  parseZone,
  type TenantId,
} from '@eclusa/kernel'
import { contactErrors } from './errors.ts'

/** A person as a tenant knows them: one, whatever numbers and LIDs they write from. */
export interface Contact {
  readonly id: ContactId
  readonly tenant: TenantId
  /** Where messages go: the number as WhatsApp spells it, or the LID while no number is known. */
  readonly address: ChatId
  /** All their addresses, `address` first; at most 16. */
  readonly addresses: readonly ChatId[]
  /** Given by the tenant. */
  readonly name: string | null
  /** What they call themselves. */
  readonly pushName: string | null
  /** Where a picture of them is. */
  readonly picture: string | null
  /** IANA name; null: that of the number's country. */
  readonly zone: string | null
  /** In alphabetical order. */
  readonly tags: readonly string[]
  readonly fields: Readonly<Record<string, string>>
  readonly createdAt: number
  /** When they last wrote, to the minute; null when they never did. */
  readonly lastSeenAt: number | null
  readonly changedAt: number
  /** Counts changes of everything but `lastSeenAt`. */
  readonly version: number
}

/** What people may change of a contact; what is not named stays. */
export interface ContactChange {
  readonly name?: string | null
  readonly picture?: string | null
  readonly zone?: string | null
  /** In place of all before. */
  readonly tags?: readonly string[]
  readonly addTags?: readonly string[]
  readonly removeTags?: readonly string[]
  /** Into those before; null takes one away. */
  readonly fields?: Readonly<Record<string, string | null>>
}

export interface ContactNote {
  readonly id: number
  readonly at: number
  readonly by: string
  readonly text: string
}

/** Characters (UTF-16 units) and counts. */
export const contactLimits = {
  name: 256,
  picture: 2048,
  tags: 50,
  tag: 40,
  fields: 64,
  fieldName: 40,
  fieldValue: 1000,
  /** Of all fields together, as JSON. */
  allFields: 16_384,
  note: 4000,
  notes: 500,
  addresses: 16,
} as const

/** Every address under which something may be on record of who is at `address`; at most 34. Pure. */
export function addressesOf(
  contact: Pick<Contact, 'addresses'> | undefined,
  address: ChatId,
): readonly ChatId[] {
  const known = [address, ...(contact?.addresses ?? [])]
  return [...new Set(known.flatMap((one) => [one, ninthDigitVariant(one) ?? one]))]
}

/** `before` with a change; throws without changing anything. Pure. @throws CONTACT_BAD_INPUT naming the field */
export function withChange<Profile extends Pick<Contact, 'name' | 'picture' | 'zone' | 'tags' | 'fields'>>(
  before: Profile,
  change: ContactChange,
): Profile {
  const { name, picture, zone, tags, addTags = [], removeTags = [], fields = {} } = change
  const left = (tags ?? before.tags).filter((tag) => !removeTags.includes(tag))
  return {
    ...before,
    name: name === undefined ? before.name : parseText(name, 'name', contactLimits.name),
    picture: picture === undefined ? before.picture : parseText(picture, 'picture', contactLimits.picture),
    zone: zone === undefined ? before.zone : zone && zoneOf(zone),
    tags: parseTags([...left, ...addTags]),
    fields: parseFields({ ...before.fields, ...fields }),
  }
}

/** The order is that of their names, so that the same set is the same text. */
function parseTags(tags: readonly string[]): readonly string[] {
  for (const tag of tags) {
    const isTag = tag.trim() === tag && tag !== '' && tag.isWellFormed() && !/[\p{Cc},;|]/u.test(tag)
    if (!isTag || tag.length > contactLimits.tag) {
      throw bad('tags', `must be texts of 1 to ${contactLimits.tag} characters without , ; and |`)
    }
  }
  const unique = [...new Set(tags)].toSorted()
  if (unique.length > contactLimits.tags) throw bad('tags', `must be at most ${contactLimits.tags}`)
  return unique
}

function parseFields(fields: Readonly<Record<string, string | null>>): Readonly<Record<string, string>> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(fields)) {
    if (!/^[a-z][a-z0-9_]*$/.test(name) || name.length > contactLimits.fieldName) {
      throw bad(
        `fields.${name.slice(0, 60)}`,
        `must be named by at most ${contactLimits.fieldName} lower-case letters, digits and _`,
      )
    }
    if (value === null) continue
    kept[name] = parseText(value, `fields.${name}`, contactLimits.fieldValue) ?? ''
  }
  if (Object.keys(kept).length > contactLimits.fields) {
    throw bad('fields', `must be at most ${contactLimits.fields}`)
  }
  if (JSON.stringify(kept).length > contactLimits.allFields) {
    throw bad('fields', `must have at most ${contactLimits.allFields} characters together`)
  }
  return kept
}

/** Null for nothing and for blanks. */
export function parseText(text: string | null, field: string, maxLength: number): string | null {
  if (text === null || text.trim() === '') return null
  if (text.length > maxLength) throw bad(field, `must have at most ${maxLength} characters`)
  if (!text.isWellFormed()) throw bad(field, 'must be well-formed Unicode')
  // PostgreSQL takes no NUL in a text; nobody means one.
  if (text.includes('\0')) throw bad(field, 'must not contain a NUL')
  return text
}

function zoneOf(zone: string): string {
  try {
    return parseZone(zone)
  } catch (cause) {
    throw bad('zone', 'must be the name of a time zone such as America/Sao_Paulo', cause)
  }
}

export function bad(field: string, rule: string, cause?: unknown): EclusaError {
  return new EclusaError(contactErrors.BAD_INPUT, { details: { field }, message: `${field} ${rule}`, cause })
}
