import { addressesOf } from '@eclusa/contacts'
import type { ChatId } from '@eclusa/kernel'
import { z } from 'zod'
import { chatOf, instantInput, tenantOf, tenantParams } from '../inputs.ts'
import { badField } from '../problem.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const MAX_ENTRIES = 100

const kind = z.enum(
  ['opt_out', 'opt_in', 'consent', 'consent_revoked'],
  'must be "opt_out", "opt_in", "consent" or "consent_revoked"',
)

const entryInput = z.strictObject({
  contact: z.string('must be a phone number such as +5511999990000').max(200, 'is too long'),
  kind,
  /** How the contact said so: `form`, `phone`, `import` … */
  channel: z
    .string('must be a text')
    .min(1, 'must not be empty')
    .max(40, 'must have at most 40 characters')
    .default('api'),
  proof: z
    .string('must be a text')
    .max(1000, 'must have at most 1000 characters')
    .optional()
    .describe('Where the proof is, or the reason'),
  expiresAt: instantInput.optional().describe('Only of a consent'),
})

const recordBody = z
  .strictObject({
    entries: z
      .array(entryInput, 'must be a list of entries')
      .min(1, 'must have at least one entry')
      .max(MAX_ENTRIES, `must have at most ${MAX_ENTRIES} entries`),
  })
  .meta({
    id: 'NewLedgerEntries',
    examples: [
      { entries: [{ contact: '+5511999990000', kind: 'consent', channel: 'form', proof: 'order 4711' }] },
    ],
  })

const entry = z
  .object({
    id: z.int(),
    contact: z.string(),
    kind,
    at: z.iso.datetime(),
    channel: z.string(),
    proof: z.string().nullable(),
    recordedBy: z.string(),
    expiresAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'LedgerEntry' })

const listQuery = z.strictObject({
  contact: z.string().max(200, 'is too long').optional(),
  after: z.coerce.number().int('must be a whole number').min(0, 'must not be negative').default(0),
  limit: z.coerce
    .number()
    .int('must be a whole number')
    .min(1, 'must be 1 to 500')
    .max(500, 'must be 1 to 500')
    .default(100),
})

const standing = z.object({
  contact: z.string(),
  optedOutAt: z.iso.datetime().nullable(),
  consent: z.boolean().describe('A consent to proactive messages is in force'),
})

/** What contacts want: the ledger of opt-outs and consents, only ever added to. */
export async function contactRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { audited, instances, queue, reads } = ports
  const { directory, ledger } = ports.people

  http.post(
    '/tenants/:tenant/ledger',
    {
      config: { scope: 'app', audit: 'own' },
      schema: {
        operationId: 'recordInLedger',
        summary: 'Record opt-outs and consents',
        description: 'All or none. An opt-out counts for every message that waits, from its answer on.',
        params: tenantParams,
        body: recordBody,
        response: { 201: z.object({ recorded: z.int() }) },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const entries = request.body.entries.map((one, nth) => ({
        contact: personOf(one.contact, `entries.${nth}.contact`),
        kind: one.kind,
        channel: one.channel,
        proof: one.proof ?? null,
        recordedBy: 'api',
        expiresAt: one.expiresAt ?? null,
      }))
      // An opt-out is taken back here: who did that must be known.
      await audited.intend(request, {
        action: 'ledger.recorded',
        tenant,
        after: {
          entries: entries.map(({ contact, kind: what, channel }) => ({
            contact: audited.shown('contact', contact),
            kind: what,
            channel,
          })),
        },
      })
      await ledger.record(tenant, entries)
      // What care holds back of them is judged anew.
      const theirs = instances.all().filter((instance) => instance.tenant === tenant)
      for (const { contact } of entries) {
        const addresses = addressesOf(await directory.at(tenant, contact), contact)
        for (const { id } of theirs) {
          for (const address of addresses) await queue.dispatcher.standingChanged(id, address)
        }
      }
      return reply.code(201).send({ recorded: entries.length })
    },
  )

  http.get(
    '/tenants/:tenant/ledger',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listLedger',
        summary: 'List opt-outs and consents, oldest first',
        description: 'Oldest first; go on after the last `id`.',
        params: tenantParams,
        querystring: listQuery,
        response: { 200: z.object({ items: z.array(entry), next: z.int().nullable() }) },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const { contact, after, limit } = request.query
      const whose = contact === undefined ? {} : { contact: personOf(contact, 'contact') }
      return reads.run(async () => {
        const items = await ledger.list(tenant, { ...whose, after, limit })
        return {
          items: items.map((one) => ({
            ...one,
            at: new Date(one.at).toISOString(),
            expiresAt: one.expiresAt === null ? null : new Date(one.expiresAt).toISOString(),
          })),
          next: items.length < limit ? null : (items.at(-1)?.id ?? null),
        }
      })
    },
  )

  http.get(
    '/tenants/:tenant/contacts/:contact/standing',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getStanding',
        summary: 'Whether a contact may be written to unasked',
        params: tenantParams.extend({ contact: z.string().max(200) }),
        response: { 200: standing },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const contact = personOf(request.params.contact, 'contact')
      const addresses = addressesOf(await directory.at(tenant, contact), contact)
      const { optedOutAt, consent } = await ledger.standing(tenant, addresses)
      return {
        contact,
        optedOutAt: optedOutAt === null ? null : new Date(optedOutAt).toISOString(),
        consent,
      }
    },
  )
}

function personOf(text: string, field: string): ChatId {
  const chat = chatOf(text, field)
  if (chat.endsWith('@g.us')) throw badField(field, 'must be a person, not a group')
  return chat
}
