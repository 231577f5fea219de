import {
  assertDone,
  conversationErrors,
  MAX_CAPACITY,
  MAX_SECTORS,
  type Operator,
  parseOperatorId,
  parseSectorId,
} from '@eclusa/flows'
import { type BusinessHours, kernelErrors, parseBusinessHours, parseContactId } from '@eclusa/kernel'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
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
import { assertUnchanged, etagOf, ifMatch } from '../etag.ts'
import { noBody, tenantOf, tenantParams } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const MAX_SKILLS = 50

const rule = z.enum(
  ['least_busy', 'round_robin', 'random', 'manual'],
  'must be "least_busy", "round_robin", "random" or "manual"',
)

const sectorParams = tenantParams.extend({ sector: z.string() })
const sectorBody = z
  .strictObject({
    id: sectorInput,
    name: nameInput,
    isDefault: z.boolean('must be true or false').default(false),
    rule: rule.default('least_busy'),
  })
  .meta({ id: 'NewSector', examples: [{ id: 'sales', name: 'Sales', isDefault: true, rule: 'least_busy' }] })
const sectorChange = z.strictObject({
  name: nameInput.optional(),
  isDefault: z
    .literal(true, 'must be true: name another sector to make it the default')
    .optional()
    .describe('Another one becomes the default instead'),
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
const operatorBody = z
  .strictObject({
    name: nameInput,
    isAdmin: z.boolean('must be true or false').default(false),
    capacity: capacity.default(5).describe('Conversations at a time'),
    sectors: ofSectors.default([]),
    hours: z.unknown().optional().describe('As business hours everywhere; null: whenever online'),
  })
  .meta({
    id: 'NewOperator',
    examples: [{ name: 'Ana', capacity: 5, sectors: [{ sector: 'sales', skills: ['english'] }] }],
  })
const operatorChange = z
  .strictObject({
    name: nameInput.optional(),
    isAdmin: z.boolean('must be true or false').optional(),
    capacity: capacity.optional(),
    sectors: ofSectors.optional(),
    hours: z.unknown().optional(),
    availability: z.enum(['online', 'away', 'offline'], 'must be "online", "away" or "offline"').optional(),
  })
  .meta({ id: 'OperatorChange', examples: [{ availability: 'online' }] })

const contactParams = tenantParams.extend({ contact: z.string() })
const owner = z.object({ operator: z.string().nullable() })

/** Sectors and their lines, operators and what they are there for. */
export async function operatorRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { conversations, reads } = ports
  const { sectors, operators } = conversations

  http.get(
    '/tenants/:tenant/sectors',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listSectors',
        summary: 'List sectors, each with its line',
        description: 'Each with its line: how many wait, and since when the first.',
        params: tenantParams,
        response: { 200: z.object({ items: z.array(sectorShape) }) },
      },
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
      config: { scope: 'app', errors: [conversationErrors.SECTOR_TAKEN, conversationErrors.LIMIT_REACHED] },
      schema: {
        operationId: 'createSector',
        summary: 'Make a sector',
        params: tenantParams,
        body: sectorBody,
        response: { 201: sectorShape },
      },
    },
    async (request, reply) => {
      const made = await sectors.create({ tenant: tenantOf(request), ...request.body })
      return reply.code(201).send(shownSector(made, undefined))
    },
  )

  http.patch(
    '/tenants/:tenant/sectors/:sector',
    {
      config: { scope: 'app', errors: [conversationErrors.SECTOR_UNKNOWN] },
      schema: {
        operationId: 'changeSector',
        summary: 'Change a sector',
        params: sectorParams,
        body: sectorChange,
        response: { 200: sectorShape },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const id = sectorOf(request.params.sector)
      const changed = await sectors.change(tenant, id, given(request.body))
      conversations.line.wake(tenant, { sector: id, operator: null })
      return shownSector(changed, (await sectors.lines(tenant)).get(id))
    },
  )

  http.delete(
    '/tenants/:tenant/sectors/:sector',
    {
      config: { scope: 'app', errors: [conversationErrors.SECTOR_UNKNOWN, conversationErrors.SECTOR_IN_USE] },
      schema: {
        operationId: 'deleteSector',
        summary: 'Delete a sector that is empty',
        description: 'Refused while anybody is in it.',
        params: sectorParams,
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await sectors.delete(tenantOf(request), sectorOf(request.params.sector))
      return reply.code(204).send(null)
    },
  )

  http.get(
    '/tenants/:tenant/sectors/:sector/line',
    {
      config: { scope: 'read', errors: [conversationErrors.SECTOR_UNKNOWN] },
      schema: {
        operationId: 'listLine',
        summary: 'List who waits in a sector, the first first',
        description: 'Who waits, the first first; go on with `next` as `after`.',
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

  http.post(
    '/tenants/:tenant/sectors/:sector/take',
    {
      config: {
        scope: 'app',
        errors: [
          conversationErrors.SECTOR_UNKNOWN,
          conversationErrors.OPERATOR_UNKNOWN,
          conversationErrors.OPERATOR_AWAY,
          conversationErrors.OPERATOR_FULL,
          conversationErrors.NOT_WAITING,
        ],
      },
      schema: {
        operationId: 'takeFromLine',
        summary: 'Let an operator take the first they can answer',
        description: 'An operator takes the first whom they can answer.',
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
      schema: {
        operationId: 'listOperators',
        summary: 'List operators',
        params: tenantParams,
        response: { 200: z.object({ items: z.array(operatorShape) }) },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      return reads.run(async () => {
        const all = await operators.list(tenant)
        return { items: all.map((one) => shownOperator(one, operators.isThere(one))) }
      })
    },
  )

  http.post(
    '/tenants/:tenant/operators',
    {
      config: {
        scope: 'app',
        errors: [conversationErrors.LIMIT_REACHED, conversationErrors.SECTOR_UNKNOWN, kernelErrors.BAD_HOURS],
      },
      schema: {
        operationId: 'createOperator',
        summary: 'Make an operator, offline at first',
        description: 'Offline at first.',
        params: tenantParams,
        body: operatorBody,
        response: { 201: operatorShape },
      },
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
    {
      config: { scope: 'read', errors: [conversationErrors.OPERATOR_UNKNOWN] },
      schema: {
        operationId: 'getOperator',
        summary: 'Show an operator',
        params: operatorParams,
        response: { 200: operatorShape },
      },
    },
    async (request, reply) => {
      const { operator } = request.params
      const one = await operatorOf(tenantOf(request), operator, conversations, 'operator')
      reply.header('etag', etagOf(editable(one)))
      return shownOperator(one, operators.isThere(one))
    },
  )

  http.patch(
    '/tenants/:tenant/operators/:operator',
    {
      config: {
        scope: 'app',
        errors: [
          conversationErrors.OPERATOR_UNKNOWN,
          conversationErrors.SECTOR_UNKNOWN,
          kernelErrors.BAD_HOURS,
          gatewayErrors.CHANGED_MEANWHILE,
        ],
      },
      schema: {
        operationId: 'changeOperator',
        headers: ifMatch,
        summary: 'Change an operator',
        description: 'What they have stays theirs, also when they go away or their capacity shrinks.',
        params: operatorParams,
        body: operatorChange,
        response: { 200: operatorShape },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const id = operatorIdOf(request.params.operator)
      if (request.headers['if-match'] !== undefined) {
        assertUnchanged(request, editable(await operatorOf(tenant, id, conversations, 'operator')))
      }
      const { hours: _, ...more } = request.body
      const hours = hoursOf(request.body.hours)
      const change = { ...given(more), ...(hours === undefined ? {} : { hours }) }
      const changed = await operators.change(tenant, id, change)
      conversations.line.wakeOperator(tenant, id)
      reply.header('etag', etagOf(editable(changed)))
      return shownOperator(changed, operators.isThere(changed))
    },
  )

  http.post(
    '/tenants/:tenant/operators/:operator/return-all',
    {
      config: { scope: 'app', errors: [conversationErrors.OPERATOR_UNKNOWN] },
      schema: {
        operationId: 'returnAllOfOperator',
        summary: 'Return all conversations of an operator to their lines',
        description: 'Everything they have goes back to where it stood in its line.',
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

  http.delete(
    '/tenants/:tenant/operators/:operator',
    {
      config: { scope: 'app', errors: [conversationErrors.OPERATOR_UNKNOWN] },
      schema: {
        operationId: 'deleteOperator',
        summary: 'Delete an operator, whose conversations return to their lines',
        description: 'What they have goes back to its lines first.',
        params: operatorParams,
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const id = operatorIdOf(request.params.operator)
      await conversations.deleteOperator(tenantOf(request), id, { by: 'api' })
      return reply.code(204).send(null)
    },
  )

  http.get(
    '/tenants/:tenant/contacts/:contact/owner',
    {
      config: { scope: 'read', errors: [kernelErrors.BAD_ID] },
      schema: {
        operationId: 'getOwner',
        summary: 'Whose customer a contact is',
        description: 'Whose customer a contact is.',
        params: contactParams,
        response: { 200: owner },
      },
    },
    async (request) => ({
      operator: await conversations.ownerOf(tenantOf(request), parseContactId(request.params.contact)),
    }),
  )

  http.put(
    '/tenants/:tenant/contacts/:contact/owner',
    {
      config: { scope: 'app', errors: [kernelErrors.BAD_ID, conversationErrors.OPERATOR_UNKNOWN] },
      schema: {
        operationId: 'putOwner',
        summary: 'Say whose customer a contact is',
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

/** What of an operator people set; what they have just now changes by itself. */
function editable({ name, isAdmin, capacity, availability, hours, sectors }: Operator): object {
  return { name, isAdmin, capacity, availability, hours, sectors }
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
