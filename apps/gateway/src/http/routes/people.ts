import { Readable } from 'node:stream'
import {
  addressesOf,
  type Contact,
  contactErrors,
  csvHeader,
  csvLine,
  jsonLine,
  noAutoReplies,
  noOwnWords,
  parseAutoReplies,
  parseConfirmations,
  parseContactChange,
  parseOwnWords,
  parseRecords,
  recordOf,
} from '@eclusa/contacts'
import {
  type ChatId,
  EclusaError,
  kernelErrors,
  parseContactId,
  personKey,
  type TenantId,
} from '@eclusa/kernel'
import type { FastifyReply } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import { ifMatch, versionEtagOf, versionOf } from '../etag.ts'
import { chatOf, noBody, tenantOf, tenantParams } from '../inputs.ts'
import { MAX_EXPORTS } from '../limits.ts'
import { badField } from '../problem.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

/** Contacts looked at for one page; what a filter leaves out counts, too. */
const MAX_LOOKED_AT = 1000
const LOOK_STEP = 50
/** Lines of one import; the body may have 512 KiB. */
const MAX_LINES = 1000
/** Contacts written at the same time: they share commits. */
const IMPORT_STEP = 50
const EXPORT_STEP = 25

const contactParams = tenantParams.extend({ contact: z.string().max(200) })
const noteParams = contactParams.extend({ note: z.coerce.number().int().min(1) })

const listQuery = z.strictObject({
  after: z.string().max(40).default('').describe('The `next` of the page before'),
  limit: z.coerce.number().int('must be a whole number').min(1).max(100, 'must be 1 to 100').default(50),
  tag: z.string().max(40).optional(),
  name: z.string().min(1).max(100).optional().describe('Part of a name, whatever the case and the accents'),
  optedOut: z.enum(['true', 'false'], 'must be "true" or "false"').optional(),
})

const shown = z
  .object({
    id: z.string(),
    address: z.string(),
    addresses: z.array(z.string()),
    name: z.string().nullable(),
    pushName: z.string().nullable(),
    picture: z.string().nullable(),
    zone: z.string().nullable(),
    tags: z.array(z.string()),
    fields: z.record(z.string(), z.string()),
    createdAt: z.string(),
    changedAt: z.string(),
    lastSeenAt: z.string().nullable(),
    version: z.int(),
    optedOutAt: z.string().nullable(),
    consent: z.boolean(),
  })
  .meta({ id: 'Contact' })

const anyObject = z.record(z.string(), z.unknown(), 'must be an object')

const noteBody = z.strictObject({
  text: z.string('must be a text'),
  by: z.string('must be a text').min(1).max(100).default('api'),
})

const note = z
  .object({ id: z.int(), at: z.iso.datetime(), by: z.string(), text: z.string() })
  .meta({ id: 'ContactNote' })

const imported = z.object({ lines: z.int(), created: z.int(), changed: z.int(), unchanged: z.int() })

const receipt = z.object({
  contact: z.string().nullable(),
  erasedAt: z.iso.datetime(),
  removed: z.record(z.string(), z.int()),
  kept: z.array(z.object({ what: z.string(), why: z.string() })),
})

/** The people of a tenant: who they are, in, out, and gone. */
export async function peopleRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { reads } = ports
  const { directory, ledger, settings } = ports.people

  // bounded by: MAX_EXPORTS
  let exportCount = 0

  /** Read as fast as it is taken. @throws GATEWAY_BUSY */
  const streamed = (reply: FastifyReply, type: string, lines: AsyncGenerator<string>): FastifyReply => {
    if (exportCount >= MAX_EXPORTS) {
      throw new EclusaError(gatewayErrors.BUSY, { message: 'Enough is being exported just now: try again' })
    }
    exportCount++
    const stream = Readable.from(lines, { objectMode: true, highWaterMark: 1 })
    stream.once('close', () => exportCount--)
    return reply.header('content-type', type).send(stream)
  }

  const show = async (contact: Contact): Promise<z.infer<typeof shown>> => {
    const standing = await ledger.standing(contact.tenant, addressesOf(contact, contact.address))
    return { ...recordOf(contact, standing), tags: [...contact.tags] }
  }

  /** By id, number or WhatsApp id. */
  const named = async (
    tenant: TenantId,
    text: string,
  ): Promise<{ readonly address: ChatId; readonly contact: Contact | undefined }> => {
    if (text.startsWith('con_')) {
      const contact = await directory.get(tenant, contactIdOf(text))
      return { address: contact.address, contact }
    }
    const address = personOf(text, 'contact')
    return { address, contact: await directory.at(tenant, address) }
  }

  const contactOf = async (tenant: TenantId, text: string): Promise<Contact> => {
    const { contact } = await named(tenant, text)
    if (contact === undefined) throw new EclusaError(contactErrors.UNKNOWN, { details: { field: 'contact' } })
    return contact
  }

  http.get(
    '/tenants/:tenant/contacts',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listContacts',
        summary: 'List contacts',
        params: tenantParams,
        querystring: listQuery,
        response: { 200: z.object({ items: z.array(shown), next: z.string().nullable() }) },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const { after, limit, tag, name, optedOut } = request.query
      return reads.run(async () => {
        const items: z.infer<typeof shown>[] = []
        let cursor = after
        for (let looked = 0; looked < MAX_LOOKED_AT; looked += LOOK_STEP) {
          const step = await directory.page(tenant, {
            after: cursor,
            limit: LOOK_STEP,
            ...(tag === undefined ? {} : { tag }),
          })
          for (const contact of step) {
            cursor = contact.id
            if (name !== undefined && !isNamed(contact, name)) continue
            const item = await show(contact)
            if (optedOut !== undefined && (item.optedOutAt !== null) !== (optedOut === 'true')) continue
            if (items.push(item) === limit) return { items, next: cursor }
          }
          if (step.length < LOOK_STEP) return { items, next: null }
        }
        return { items, next: cursor }
      })
    },
  )

  http.post(
    '/tenants/:tenant/contacts',
    {
      config: { scope: 'app', errors: [contactErrors.BAD_INPUT, contactErrors.BUSY] },
      schema: {
        operationId: 'putContact',
        summary: 'Make a contact, or bring it up to date',
        description: 'Made, or brought up to date when there is one at the address.',
        params: tenantParams,
        body: anyObject,
        response: { 200: shown, 201: shown },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const { address, ...rest } = request.body
      if (typeof address !== 'string') throw badField('address', 'must be a phone number or a WhatsApp id')
      const { contact, outcome } = await directory.put(
        tenant,
        personOf(address, 'address'),
        parseContactChange(rest),
      )
      return reply
        .code(outcome === 'created' ? 201 : 200)
        .header('etag', versionEtagOf(contact))
        .send(await show(contact))
    },
  )

  http.get(
    '/tenants/:tenant/contacts/:contact',
    {
      config: { scope: 'read', errors: [contactErrors.UNKNOWN] },
      schema: {
        operationId: 'getContact',
        summary: 'Show a contact',
        params: contactParams,
        response: { 200: shown },
      },
    },
    async (request, reply) => {
      const contact = await contactOf(tenantOf(request), request.params.contact)
      return reply.header('etag', versionEtagOf(contact)).send(await show(contact))
    },
  )

  http.patch(
    '/tenants/:tenant/contacts/:contact',
    {
      config: {
        scope: 'app',
        errors: [contactErrors.UNKNOWN, contactErrors.BAD_INPUT, contactErrors.CHANGED, contactErrors.BUSY],
      },
      schema: {
        operationId: 'changeContact',
        headers: ifMatch,
        summary: 'Change a contact',
        description: 'With If-Match only when nobody changed it meanwhile.',
        params: contactParams,
        body: anyObject,
        response: { 200: shown },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const ifVersion = versionOf(request.headers['if-match'])
      const { id } = await contactOf(tenant, request.params.contact)
      const contact = await directory.change(tenant, id, parseContactChange(request.body), ifVersion)
      return reply.header('etag', versionEtagOf(contact)).send(await show(contact))
    },
  )

  http.delete(
    '/tenants/:tenant/contacts/:contact',
    {
      config: { scope: 'erase', errors: [contactErrors.UNKNOWN, contactErrors.BUSY] },
      schema: {
        operationId: 'eraseContact',
        summary: 'Remove a person everywhere',
        description:
          'Removes the person everywhere, known as a contact or not; what went and what stays is the answer.',
        params: contactParams,
        body: noBody,
        response: { 200: receipt },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const { address, contact } = await named(tenant, request.params.contact)
      const { removed, kept, ...rest } = await ports.personTraces.erase(tenant, address, contact)
      return { ...rest, removed: { ...removed }, kept: [...kept] }
    },
  )

  http.get(
    '/tenants/:tenant/contacts/:contact/export',
    {
      exposeHeadRoute: false,
      config: { scope: 'read', audit: 'before', errors: [contactErrors.UNKNOWN, gatewayErrors.BUSY] },
      schema: {
        operationId: 'exportContact',
        summary: 'Everything about one person',
        response: { 200: { content: { 'application/x-ndjson': { schema: z.string() } } } },
        description: 'Everything about one person, a JSON object a line.',
        params: contactParams,
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const { address, contact } = await named(tenant, request.params.contact)
      return streamed(reply, 'application/x-ndjson', ports.personTraces.export(tenant, address, contact))
    },
  )

  http.get(
    '/tenants/:tenant/contacts/:contact/notes',
    {
      config: { scope: 'read', errors: [contactErrors.UNKNOWN] },
      schema: {
        operationId: 'listContactNotes',
        summary: 'List the notes about a contact',
        params: contactParams,
        response: { 200: z.object({ items: z.array(note) }) },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const { id } = await contactOf(tenant, request.params.contact)
      const notes = await reads.run(() => directory.notes(tenant, id))
      return { items: notes.map((one) => ({ ...one, at: new Date(one.at).toISOString() })) }
    },
  )

  http.post(
    '/tenants/:tenant/contacts/:contact/notes',
    {
      config: { scope: 'app', errors: [contactErrors.UNKNOWN, contactErrors.BAD_INPUT] },
      schema: {
        operationId: 'addContactNote',
        summary: 'Add a note about a contact',
        params: contactParams,
        body: noteBody,
        response: { 201: z.null() },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const { id } = await contactOf(tenant, request.params.contact)
      await directory.addNote(tenant, id, request.body)
      return reply.code(201).send(null)
    },
  )

  http.delete(
    '/tenants/:tenant/contacts/:contact/notes/:note',
    {
      config: { scope: 'app', errors: [contactErrors.UNKNOWN] },
      schema: {
        operationId: 'deleteContactNote',
        summary: 'Delete a note about a contact',
        params: noteParams,
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const { id } = await contactOf(tenant, request.params.contact)
      if (!(await directory.removeNote(tenant, id, request.params.note))) {
        throw new EclusaError(contactErrors.UNKNOWN, {
          message: 'There is no such note',
          details: { field: 'note' },
        })
      }
      return reply.code(204).send(null)
    },
  )

  http.get(
    '/tenants/:tenant/contacts-export',
    {
      exposeHeadRoute: false,
      config: { scope: 'read', audit: 'before', errors: [gatewayErrors.BUSY] },
      schema: {
        operationId: 'exportContacts',
        summary: 'All contacts as NDJSON or CSV',
        response: {
          200: {
            content: { 'application/x-ndjson': { schema: z.string() }, 'text/csv': { schema: z.string() } },
          },
        },
        description: 'All contacts: NDJSON, or CSV with the custom fields that `fields` names.',
        params: tenantParams,
        querystring: z.strictObject({
          format: z.enum(['ndjson', 'csv'], 'must be "ndjson" or "csv"').default('ndjson'),
          fields: z.string().max(3000).default(''),
        }),
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const { format } = request.query
      const fields = request.query.fields.split(',').filter((field) => field !== '')
      const lines = async function* (): AsyncGenerator<string> {
        if (format === 'csv') yield csvHeader(fields)
        for (let after = ''; ;) {
          const step = await reads.run(() => directory.page(tenant, { after, limit: EXPORT_STEP }))
          let text = ''
          for (const contact of step) {
            const standing = await ledger.standing(tenant, addressesOf(contact, contact.address))
            text += format === 'csv' ? csvLine(contact, standing, fields) : jsonLine(contact, standing)
          }
          yield text
          const last = step.at(-1)
          if (last === undefined || step.length < EXPORT_STEP) return
          after = last.id
        }
      }
      return streamed(reply, format === 'csv' ? 'text/csv; charset=utf-8' : 'application/x-ndjson', lines())
    },
  )

  await http.register(async (plain) => {
    const texts = plain.withTypeProvider<ZodTypeProvider>()
    texts.addContentTypeParser(
      ['application/x-ndjson', 'text/csv'],
      { parseAs: 'string' },
      (_request, body, done) => done(null, body),
    )
    texts.post(
      '/tenants/:tenant/contacts-import',
      {
        config: { scope: 'app', audit: 'before', errors: [contactErrors.BAD_INPUT, contactErrors.BUSY] },
        schema: {
          operationId: 'importContacts',
          summary: 'Take up to 1,000 contacts in',
          description:
            'Up to 1,000 lines: all are checked before the first is taken. The same again changes nothing.',
          params: tenantParams,
          consumes: ['application/x-ndjson', 'text/csv'],
          body: z.string('must be text'),
          response: { 200: imported },
        },
        preValidation: async ({ body }) => {
          if (typeof body !== 'string') {
            throw badField('content-type', 'must be application/x-ndjson or text/csv')
          }
        },
      },
      async (request) => {
        const tenant = tenantOf(request)
        const format = request.headers['content-type']?.startsWith('text/csv') === true ? 'csv' : 'ndjson'
        const records = parseRecords(request.body, format, personOf)
        if (records.length > MAX_LINES)
          throw badField('lines', `must be at most ${MAX_LINES}: send more in parts`)
        const counts = { created: 0, changed: 0, unchanged: 0 }
        // One after the other for the same person, so that the last line of them counts.
        for (const step of stepsOf(records)) {
          await Promise.all(
            step.map(async ({ address, change }) => {
              const { outcome } = await directory.put(tenant, address, change)
              counts[outcome]++
            }),
          )
        }
        return { lines: records.length, ...counts }
      },
    )
  })

  http.get(
    '/tenants/:tenant/contact-settings',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getContactSettings',
        summary: 'Show confirmations, automatic replies and opt-out words',
        params: tenantParams,
        response: {
          200: z.object({ confirmations: z.unknown(), autoReplies: z.unknown(), words: z.unknown() }),
        },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      return {
        confirmations: (await settings.get(tenant, 'confirmations')) ?? {},
        autoReplies: (await settings.get(tenant, 'auto_replies')) ?? noAutoReplies,
        words: (await settings.get(tenant, 'words')) ?? noOwnWords,
      }
    },
  )

  http.put(
    '/tenants/:tenant/contact-settings/confirmations',
    {
      config: { scope: 'settings', errors: [contactErrors.BAD_INPUT] },
      schema: {
        operationId: 'putConfirmations',
        summary: 'Set what is said to who opts out or in',
        description:
          'What is said to who opted out or in: null for nothing; what is left out is the default.',
        params: tenantParams,
        body: anyObject,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await settings.put(tenantOf(request), 'confirmations', parseConfirmations(request.body))
      return reply.code(204).send(null)
    },
  )

  http.put(
    '/tenants/:tenant/contact-settings/auto-replies',
    {
      config: { scope: 'settings', errors: [contactErrors.BAD_INPUT, kernelErrors.BAD_HOURS] },
      schema: {
        operationId: 'putAutoReplies',
        summary: 'Set the automatic replies',
        params: tenantParams,
        body: anyObject,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await settings.put(tenantOf(request), 'auto_replies', parseAutoReplies(request.body))
      return reply.code(204).send(null)
    },
  )

  http.put(
    '/tenants/:tenant/contact-settings/words',
    {
      config: { scope: 'settings', errors: [contactErrors.BAD_INPUT] },
      schema: {
        operationId: 'putOptOutWords',
        summary: 'Add opt-out and opt-in words of a tenant',
        description: 'Words that opt out or ask for a person, beside those that always do.',
        params: tenantParams,
        body: anyObject,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await settings.put(tenantOf(request), 'words', parseOwnWords(request.body))
      return reply.code(204).send(null)
    },
  )
}

function* stepsOf<One extends { readonly address: ChatId }>(all: readonly One[]): Generator<readonly One[]> {
  let step: One[] = []
  let people = new Set<string>()
  for (const one of all) {
    const person = personKey(one.address)
    if (people.has(person) || step.length === IMPORT_STEP) {
      yield step
      step = []
      people = new Set()
    }
    step.push(one)
    people.add(person)
  }
  if (step.length > 0) yield step
}

function isNamed({ name, pushName }: Contact, text: string): boolean {
  const plain = (one: string): string => one.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase()
  return [name, pushName].some((one) => one !== null && plain(one).includes(plain(text)))
}

function contactIdOf(text: string): ReturnType<typeof parseContactId> {
  try {
    return parseContactId(text)
  } catch (cause) {
    throw new EclusaError(contactErrors.UNKNOWN, { details: { field: 'contact' }, cause })
  }
}

function personOf(text: string, field: string): ChatId {
  const chat = chatOf(text, field)
  if (chat.endsWith('@g.us')) throw badField(field, 'must be a person, not a group')
  return chat
}
