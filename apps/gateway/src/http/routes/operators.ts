import { assertDone, MAX_CAPACITY, MAX_SECTORS, parseOperatorId, parseSectorId } from '@eclusa/flows'
import { type BusinessHours, parseBusinessHours, parseContactId } from '@eclusa/kernel'
import { z } from 'zod'
import {
  actorOf,
  byInput,
  cursorInput,
  known,
  limitInput,
  nameInput,
  operatorInput,
  operatorOf,
  sectorInput,
  skillInput,
} from '../conversation-inputs.ts'
import {
  conversationShape,
  operatorShape,
  sectorShape,
  shownConversation,
  shownOperator,
  shownSector,
} from '../conversation-shape.ts'
import { noBody, tenantOf, tenantParams } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const MAX_SKILLS = 50

const rule = z.enum(
  ['least_busy', 'round_robin', 'random', 'manual'],
  'must be "least_busy", "round_robin", "random" or "manual"',
)

const sectorParams = tenantParams.extend({ sector: z.string() })
const sectorBody = z.strictObject({
  id: sectorInput,
  name: nameInput,
  isDefault: z.boolean('must be true or false').default(false),
  rule: rule.default('least_busy'),
})
const sectorChange = z.strictObject({
  name: nameInput.optional(),
  /** Another one becomes the default instead. */
  isDefault: z.literal(true, 'must be true: name another sector to make it the default').optional(),
  rule: rule.optional(),
})

const operatorParams = tenantParams.extend({ operator: z.string() })
const capacity = z
  .int('must be a whole number')
  .min(0, `must be 0 to ${MAX_CAPACITY}`)
  .max(MAX_CAPACITY, `must be 0 to ${MAX_CAPACITY}`)
const ofSectors = z
  .array(
    z.strictObject({
      sector: sectorInput,
      skills: z
        .array(skillInput, 'must be a list of skills')
        .max(MAX_SKILLS, `must have at most ${MAX_SKILLS} skills`)
        .default([]),
    }),
    'must be a list such as [{ "sector": "sales" }]',
  )
  .max(MAX_SECTORS, `must have at most ${MAX_SECTORS} sectors`)
  .refine((all) => new Set(all.map(({ sector }) => sector)).size === all.length, 'names a sector twice')
const operatorBody = z.strictObject({
  name: nameInput,
  isAdmin: z.boolean('must be true or false').default(false),
  /** Conversations at a time. */
  capacity: capacity.default(5),
  sectors: ofSectors.default([]),
  /** As business hours everywhere; null: whenever online. */
  hours: z.unknown().optional(),
})
const operatorChange = z.strictObject({
  name: nameInput.optional(),
  isAdmin: z.boolean('must be true or false').optional(),
  capacity: capacity.optional(),
  sectors: ofSectors.optional(),
  hours: z.unknown().optional(),
  availability: z.enum(['online', 'away', 'offline'], 'must be "online", "away" or "offline"').optional(),
})

const contactParams = tenantParams.extend({ contact: z.string() })
const owner = z.object({ operator: z.string().nullable() })

/** Sectors and their lines, operators and what they are there for. */
export async function operatorRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { conversations, reads } = ports
  const { sectors, operators } = conversations

  /** Each with its line: how many wait, and since when the first. */
  http.get(
    '/tenants/:tenant/sectors',
    {
      config: { scope: 'read' },
      schema: { params: tenantParams, response: { 200: z.object({ items: z.array(sectorShape) }) } },
    },
    async (request) => {
      const tenant = tenantOf(request)
      return reads.run(async () => {
        const [all, lines] = await Promise.all([sectors.list(tenant), sectors.lines(tenant)])
        return { items: all.map((sector) => shownSector(sector, lines.get(sector.id))) }
      })
    },
  )

  http.post(
    '/tenants/:tenant/sectors',
    {
      config: { scope: 'app' },
      schema: { params: tenantParams, body: sectorBody, response: { 201: sectorShape } },
    },
    async (request, reply) => {
      const made = await sectors.create({ tenant: tenantOf(request), ...request.body })
      return reply.code(201).send(shownSector(made, undefined))
    },
  )

  http.patch(
    '/tenants/:tenant/sectors/:sector',
    {
      config: { scope: 'app' },
      schema: { params: sectorParams, body: sectorChange, response: { 200: sectorShape } },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const id = sectorOf(request.params.sector)
      const changed = await sectors.change(tenant, id, given(request.body))
      conversations.line.wake(tenant, { sector: id, operator: null })
      return shownSector(changed, (await sectors.lines(tenant)).get(id))
    },
  )

  /** Refused while anybody is in it. */
  http.delete(
    '/tenants/:tenant/sectors/:sector',
    { config: { scope: 'app' }, schema: { params: sectorParams, body: noBody, response: { 204: z.null() } } },
    async (request, reply) => {
      await sectors.delete(tenantOf(request), sectorOf(request.params.sector))
      return reply.code(204).send(null)
    },
  )

  /** Who waits, the first first; go on with `next` as `after`. */
  http.get(
    '/tenants/:tenant/sectors/:sector/line',
    {
      config: { scope: 'read' },
      schema: {
        params: sectorParams,
        querystring: z.strictObject({ after: cursorInput.default(0), limit: limitInput(500, 50) }),
        response: { 200: z.object({ items: z.array(conversationShape), next: z.number().nullable() }) },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const id = sectorOf(request.params.sector)
      return reads.run(async () => {
        const waiting = await conversations.waiting(tenant, id, request.query)
        return { items: waiting.map(shownConversation), next: waiting.at(-1)?.place ?? null }
      })
    },
  )

  /** An operator takes the first whom they can answer. */
  http.post(
    '/tenants/:tenant/sectors/:sector/take',
    {
      config: { scope: 'app' },
      schema: {
        params: sectorParams,
        body: z.strictObject({ operator: operatorInput }),
        response: { 200: conversationShape },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const sector = sectorOf(request.params.sector)
      return shownConversation(
        assertDone(await conversations.takeFirst(tenant, sector, request.body.operator)),
      )
    },
  )

  http.get(
    '/tenants/:tenant/operators',
    {
      config: { scope: 'read' },
      schema: { params: tenantParams, response: { 200: z.object({ items: z.array(operatorShape) }) } },
    },
    async (request) => {
      const tenant = tenantOf(request)
      return reads.run(async () => {
        const all = await operators.list(tenant)
        return { items: all.map((one) => shownOperator(one, operators.isThere(one))) }
      })
    },
  )

  /** Offline at first. */
  http.post(
    '/tenants/:tenant/operators',
    {
      config: { scope: 'app' },
      schema: { params: tenantParams, body: operatorBody, response: { 201: operatorShape } },
    },
    async (request, reply) => {
      const made = await operators.create(tenantOf(request), {
        ...request.body,
        hours: hoursOf(request.body.hours) ?? null,
      })
      return reply.code(201).send(shownOperator(made, operators.isThere(made)))
    },
  )

  http.get(
    '/tenants/:tenant/operators/:operator',
    { config: { scope: 'read' }, schema: { params: operatorParams, response: { 200: operatorShape } } },
    async (request) => {
      const { operator } = request.params
      const one = await operatorOf(tenantOf(request), operator, conversations, 'operator')
      return shownOperator(one, operators.isThere(one))
    },
  )

  /** What they have stays theirs, also when they go away or their capacity shrinks. */
  http.patch(
    '/tenants/:tenant/operators/:operator',
    {
      config: { scope: 'app' },
      schema: { params: operatorParams, body: operatorChange, response: { 200: operatorShape } },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const id = operatorIdOf(request.params.operator)
      const { hours: _, ...more } = request.body
      const hours = hoursOf(request.body.hours)
      const change = { ...given(more), ...(hours === undefined ? {} : { hours }) }
      const changed = await operators.change(tenant, id, change)
      conversations.line.wakeOperator(tenant, id)
      return shownOperator(changed, operators.isThere(changed))
    },
  )

  /** Everything they have goes back to where it stood in its line. */
  http.post(
    '/tenants/:tenant/operators/:operator/return-all',
    {
      config: { scope: 'app' },
      schema: {
        params: operatorParams,
        body: z.strictObject(byInput).default({}),
        response: { 200: z.object({ returned: z.int() }) },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const { operator } = request.params
      const { id } = await operatorOf(tenant, operator, conversations, 'operator')
      const by = await actorOf(tenant, request.body, conversations)
      // They would get the first of the line at once.
      await operators.change(tenant, id, { availability: 'away' })
      return { returned: await conversations.returnAll(tenant, id, by) }
    },
  )

  /** What they have goes back to its lines first. */
  http.delete(
    '/tenants/:tenant/operators/:operator',
    {
      config: { scope: 'app' },
      schema: { params: operatorParams, body: noBody, response: { 204: z.null() } },
    },
    async (request, reply) => {
      const id = operatorIdOf(request.params.operator)
      await conversations.deleteOperator(tenantOf(request), id, { by: 'api' })
      return reply.code(204).send(null)
    },
  )

  /** Whose customer a contact is. */
  http.get(
    '/tenants/:tenant/contacts/:contact/owner',
    { config: { scope: 'read' }, schema: { params: contactParams, response: { 200: owner } } },
    async (request) => ({
      operator: await conversations.ownerOf(tenantOf(request), parseContactId(request.params.contact)),
    }),
  )

  http.put(
    '/tenants/:tenant/contacts/:contact/owner',
    {
      config: { scope: 'app' },
      schema: {
        params: contactParams,
        body: z.strictObject({ operator: operatorInput.nullable() }),
        response: { 200: owner },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const contact = parseContactId(request.params.contact)
      const { operator } = request.body
      if (operator !== null) await operatorOf(tenant, operator, conversations, 'operator')
      await conversations.owners.set(tenant, contact, operator)
      return { operator }
    },
  )
}

function sectorOf(text: string): ReturnType<typeof parseSectorId> {
  return known(() => parseSectorId(text), 'SECTOR_UNKNOWN')
}

function operatorIdOf(text: string): ReturnType<typeof parseOperatorId> {
  return known(() => parseOperatorId(text), 'OPERATOR_UNKNOWN')
}

/** @throws KERNEL_BAD_HOURS naming the field */
function hoursOf(input: unknown): BusinessHours | null | undefined {
  return input === undefined || input === null ? input : parseBusinessHours(input)
}

/** Without the fields that were left out. */
function given<T extends object>(body: T): { [Name in keyof T]?: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined)) as {
    [Name in keyof T]?: Exclude<T[Name], undefined>
  }
}
