import { type ChatId, EclusaError } from '@eclusa/kernel'
import { bad, type Contact, type ContactChange, contactLimits, withChange } from './contact.ts'
import { contactErrors } from './errors.ts'

export type RecordFormat = 'ndjson' | 'csv'

/** A contact as it is imported. */
export interface ContactRecord {
  /** Where it stands: the first line of the text is 1. */
  readonly line: number
  readonly address: ChatId
  readonly change: ContactChange
}

/** What a contact is exported with beside itself. */
export interface ExportedStanding {
  readonly optedOutAt: number | null
  readonly consent: boolean
}

const CSV_COLUMNS = ['address', 'name', 'picture', 'zone', 'tags'] as const
/** Exported for people to read; an import takes them and leaves them as they are. */
const READ_ONLY: ReadonlySet<string> = new Set(
  'id addresses pushName createdAt lastSeenAt changedAt version optedOutAt consent'.split(' '),
)

/**
 * All of a text, or nothing of it: checked to the last line before anything is done. With CSV an empty cell takes away
 * what was there.
 * @throws CONTACT_BAD_INPUT with `line` and `field`
 */
export function parseRecords(
  text: string,
  format: RecordFormat,
  /** Reads `+5511…` or a WhatsApp id. */
  addressOf: (text: string, field: string) => ChatId,
): readonly ContactRecord[] {
  return format === 'csv' ? parseCsvRecords(text, addressOf) : parseLines(text, addressOf)
}

type AddressReader = Parameters<typeof parseRecords>[2]

function parseLines(text: string, addressOf: AddressReader): readonly ContactRecord[] {
  return text.split('\n').flatMap((json, nth) => {
    if (json.trim() === '') return []
    const line = nth + 1
    return at(line, () => {
      let parsed: unknown
      try {
        parsed = JSON.parse(json)
      } catch {
        throw bad('line', 'must be a JSON object')
      }
      if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
        throw bad('line', 'must be a JSON object')
      }
      const { address, ...rest } = parsed as Readonly<Record<string, unknown>>
      if (typeof address !== 'string') throw bad('address', 'must be a phone number or a WhatsApp id')
      return { line, address: addressOf(address, 'address'), change: parseContactChange(rest) }
    })
  })
}

/** What people may change, from outside. @throws CONTACT_BAD_INPUT naming the field */
export function parseContactChange(input: Readonly<Record<string, unknown>>): ContactChange {
  const change: Record<string, unknown> = {}
  for (const [field, value] of Object.entries(input)) {
    if (READ_ONLY.has(field)) continue
    switch (field) {
      case 'name':
      case 'picture':
      case 'zone':
        if (value !== null && typeof value !== 'string') throw bad(field, 'must be a text or null')
        break
      case 'tags':
      case 'addTags':
      case 'removeTags':
        if (!Array.isArray(value) || !value.every((tag) => typeof tag === 'string')) {
          throw bad(field, 'must be a list of texts')
        }
        break
      case 'fields':
        if (typeof value !== 'object' || value === null || Array.isArray(value)) {
          throw bad(field, 'must be an object of texts')
        }
        for (const [name, one] of Object.entries(value)) {
          if (one !== null && typeof one !== 'string') {
            throw bad(`fields.${name.slice(0, contactLimits.fieldName)}`, 'must be a text or null')
          }
        }
        break
      default:
        throw bad(field.slice(0, 60), 'is not known')
    }
    change[field] = value
  }
  // Also what only the whole would show.
  withChange({ name: null, picture: null, zone: null, tags: [], fields: {} }, change)
  return change
}

/** The first line names the columns: address, name, picture, zone, tags (with | between), and field.x for each field. */
function parseCsvRecords(text: string, addressOf: AddressReader): readonly ContactRecord[] {
  const [header, ...rows] = parseCsv(text)
  const columns = header?.cells ?? []
  return [...rows].map(({ line, cells }) =>
    at(line, () => {
      if (cells.length !== columns.length)
        throw bad('line', `must have ${columns.length} cells, as the first has`)
      const input: Record<string, unknown> = {}
      const fields: Record<string, string | null> = {}
      columns.forEach((column, nth) => {
        const cell = cells[nth] ?? ''
        const value = cell === '' ? null : unguarded(cell)
        const field = /^field\.(.+)$/.exec(column)?.[1]
        if (field !== undefined) fields[field] = value
        else if (column === 'tags') input['tags'] = value === null ? [] : value.split('|')
        else input[column] = column === 'address' ? cell : value
      })
      const { address, ...rest } = input
      if (typeof address !== 'string' || address === '') {
        throw bad('address', 'must be a phone number or a WhatsApp id')
      }
      return { line, address: addressOf(address, 'address'), change: parseContactChange({ ...rest, fields }) }
    }),
  )
}

/** RFC 4180: cells with , or " or a line end stand in ". */
function parseCsv(text: string): readonly { readonly line: number; readonly cells: readonly string[] }[] {
  const rows: { line: number; cells: string[] }[] = []
  const cell = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/gy
  let line = 1
  let cells: string[] = []
  let startedAt = line
  // A mark of the byte order, as spreadsheets write it.
  cell.lastIndex = text.startsWith('\ufeff') ? 1 : 0
  while (cell.lastIndex < text.length) {
    const match = cell.exec(text)
    if (match === null) throw lineError(line, bad('line', 'must have its quotes in pairs'))
    const [, written = '', end] = match
    cells.push(written.startsWith('"') ? written.slice(1, -1).replaceAll('""', '"') : written)
    line += written.split('\n').length - 1
    if (end === ',' && cell.lastIndex < text.length) continue
    if (end === ',') cells.push('')
    if (cells.some((one) => one !== '')) rows.push({ line: startedAt, cells })
    cells = []
    startedAt = ++line
  }
  return rows
}

/** The first line of an export as CSV, for these fields. */
export function csvHeader(fields: readonly string[]): string {
  const more = ['id', 'pushName', 'createdAt', 'lastSeenAt', 'optedOutAt', 'consent']
  return `${[...CSV_COLUMNS, ...more, ...fields.map((field) => `field.${field}`)].map(cellOf).join(',')}\r\n`
}

export function csvLine(contact: Contact, standing: ExportedStanding, fields: readonly string[]): string {
  const shown = recordOf(contact, standing)
  const cells = [
    shown.address,
    ...[contact.name, contact.picture, contact.zone, contact.tags.join('|')].map(guarded),
    shown.id,
    guarded(contact.pushName),
    shown.createdAt,
    shown.lastSeenAt ?? '',
    shown.optedOutAt ?? '',
    String(shown.consent),
    ...fields.map((field) => guarded(contact.fields[field] ?? '')),
  ]
  return `${cells.map(cellOf).join(',')}\r\n`
}

export function jsonLine(contact: Contact, standing: ExportedStanding): string {
  return `${JSON.stringify(recordOf(contact, standing))}\n`
}

/** A contact as it is shown outside. */
export function recordOf(contact: Contact, { optedOutAt, consent }: ExportedStanding) {
  const { tenant: _, address, addresses, createdAt, lastSeenAt, changedAt, ...rest } = contact
  const time = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString())
  return {
    ...rest,
    address: shownAddress(address),
    addresses: addresses.map(shownAddress),
    createdAt: new Date(createdAt).toISOString(),
    changedAt: new Date(changedAt).toISOString(),
    lastSeenAt: time(lastSeenAt),
    optedOutAt: time(optedOutAt),
    consent,
  }
}

function shownAddress(address: string): string {
  const number = /^(\d+)@s\.whatsapp\.net$/.exec(address)?.[1]
  return number === undefined ? address : `+${number}`
}

/** A spreadsheet takes a text that begins so for a formula, and runs it. */
function guarded(text: string | null): string {
  return text !== null && /^[=+\-@\t\r']/.test(text) ? `'${text}` : (text ?? '')
}

function unguarded(cell: string): string {
  return /^'[=+\-@\t\r']/.test(cell) ? cell.slice(1) : cell
}

function cellOf(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** Errors of `work` tell the line, too. */
function at<T>(line: number, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw error instanceof EclusaError ? lineError(line, error) : error
  }
}

function lineError(line: number, error: EclusaError): EclusaError {
  return new EclusaError(contactErrors.BAD_INPUT, {
    message: `line ${line}: ${error.message}`,
    details: { ...error.details, line },
    cause: error,
  })
}
