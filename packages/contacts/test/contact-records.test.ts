import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ChatId, parseContactId } from '@eclusa/kernel'
import fc from 'fast-check'
import { type Contact, csvHeader, csvLine, jsonLine, parseRecords } from '../src/index.ts'
import { acme, number } from './harness.ts'

const addressOf = (text: string): ChatId => `${text.replace('+', '')}@s.whatsapp.net` as ChatId
const standing = { optedOutAt: null, consent: false }

const word = fc
  .string({
    unit: fc.constantFrom('a', 'é', '"', ',', '\n', '\r', "'", '=', '+', '-', '@', ' ', '|', '\t'),
    maxLength: 12,
  })
  .map((text) => `x${text}`.slice(text.startsWith("'") || /^[=+\-@]/.test(text) ? 1 : 0))
  .filter((text) => text.trim() !== '')

test('whatever is exported comes back as it was, as CSV and as NDJSON', () => {
  fc.assert(
    fc.property(
      word,
      fc.array(fc.constantFrom('vip', 'new', 'a b', 'é'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom('city', 'shirt', 'n_1'), word, { maxKeys: 3 }),
      (name, tags, fields) => {
        const contact: Contact = {
          id: parseContactId('con_00000000000000000001'),
          tenant: acme,
          address: number,
          addresses: [number],
          name,
          pushName: '=1',
          picture: null,
          zone: 'America/Recife',
          tags: [...new Set(tags)].toSorted((a, b) => (a < b ? -1 : 1)),
          fields,
          createdAt: 0,
          lastSeenAt: null,
          changedAt: 0,
          version: 1,
        }
        const names = ['city', 'shirt', 'n_1']
        const csv = csvHeader(names) + csvLine(contact, standing, names)
        for (const [text, format] of [
          [csv, 'csv'],
          [jsonLine(contact, standing), 'ndjson'],
        ] as const) {
          const [record, ...more] = parseRecords(text, format, addressOf)
          assert.deepEqual(more, [])
          assert.equal(record?.address, number)
          const { name, zone, tags, fields } = record.change
          const kept = Object.fromEntries(Object.entries(fields ?? {}).filter(([, value]) => value !== null))
          assert.deepEqual(
            [name, zone, tags, kept],
            [contact.name, contact.zone, contact.tags, { ...contact.fields }],
            text,
          )
        }
      },
    ),
    { numRuns: 500, seed: 4 },
  )
})

test('hostile texts are refused with a line, or taken, and never hang', () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 200 }),
      fc.constantFrom('csv' as const, 'ndjson' as const),
      (text, format) => {
        try {
          parseRecords(`address\n${text}`, format, addressOf)
        } catch (error) {
          assert.match((error as Error).message, /^line \d+: /)
        }
      },
    ),
    { numRuns: 1000, seed: 5 },
  )
})
