import { createHash } from 'node:crypto'
import {
  type Actor,
  assertDone,
  type Conversation,
  conversationErrors,
  parseCloseReason,
} from '@eclusa/flows'
import { EclusaError, parseContactId } from '@eclusa/kernel'
import { queueErrors } from '@eclusa/queue'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import {
  actorOf,
  byInput,
  conversationOf,
  cursorInput,
  limitInput,
  operatorInput,
  operatorOf,
  sectorInput,
  skillInput,
  wordsInput,
} from '../conversation-inputs.ts'
import { conversationShape, shownConversation } from '../conversation-shape.ts'
import { historyEntry, shownHistory } from '../conversation-history.ts'
import { instanceNamed, instantInput, tenantOf, tenantParams, textInput } from '../inputs.ts'
import { PAGE_BYTES } from '../limits.ts'
import { badField } from '../problem.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const params = z.object({ id: z.string().describe('Id of a conversation: `cnv_…`') })

const listQuery = z.strictObject({
  state: z.enum(['open', 'assigned', 'closed'], 'must be "open", "assigned" or "closed"').optional(),
  sector: sectorInput.optional(),
  operator: operatorInput.optional(),
  contact: z.string().max(40, 'is too long').optional(),
  instance: z.string().max(40, 'is too long').optional(),
  before: cursorInput.default(Number.MAX_SAFE_INTEGER),
  limit: limitInput(500, 50),
})

const page = z.object({
  items: z.array(conversationShape),
  next: z
    .number()
    .nullable()
    .describe('Give it as `before` to go on; null at the end. A page may be short and not the last'),
})

const one = conversationShape.extend({
  position: z.int().nullable().describe('How many wait before it in its line; null when it does not wait'),
})

const waitBody = z.strictObject({
  sector: sectorInput.optional().describe("Default: the tenant's default sector"),
  skill: skillInput.optional(),
  /** Default: the sector's own. */
  rule: z
    .enum(['least_busy', 'round_robin', 'random'], 'must be "least_busy", "round_robin" or "random"')
    .optional(),
  /** Of `random`. */
  seed: z
    .int('must be a whole number')
    .min(0, 'must not be negative')
    .max(0xffff_ffff, 'is too large')
    .optional(),
  ...byInput,
})

const assignBody = z.strictObject({
  operator: operatorInput,
  evenIfAway: z.boolean('must be true or false').default(false),
  ...byInput,
})

const transferBody = z
  .strictObject({
    operator: operatorInput.optional(),
    sector: sectorInput.optional(),
    skill: skillInput.optional(),
    evenIfAway: z.boolean('must be true or false').default(false),
    ...byInput,
  })
  .refine(({ operator, sector }) => operator !== undefined || sector !== undefined, {
    error: 'must be given, or operator',
    path: ['sector'],
  })

const closeBody = z.strictObject({
  reason: z.string('must be a text such as "resolved"').default('resolved'),
  ...byInput,
})

const onlyBy = z.strictObject(byInput).default({})

const noteBody = z.strictObject({
  text: wordsInput,
  key: z
    .string('must be a text')
    .min(1, 'must not be empty')
    .max(100, 'is too long')
    .optional()
    .describe('The same key again adds nothing'),
  by: operatorInput.optional(),
})

const answerBody = z.strictObject({
  text: textInput,
  priority: z.enum(['urgent', 'normal', 'bulk'], 'must be "urgent", "normal" or "bulk"').optional(),
  expiresAt: instantInput.optional(),
  by: operatorInput.optional().describe('Who answers: it must be assigned to them, or they must be an admin'),
})

const answerHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .regex(/^[\x20-\x7e]{1,255}$/, 'must have 1 to 255 printable ASCII characters')
    .optional(),
})

const historyQuery = z.strictObject({ after: cursorInput.default(0), limit: limitInput(100, 100) })

const activity = z.object({
  assignedCount: z.int(),
  averageWaitMs: z.number().nullable(),
  longestWaitMs: z.number().nullable(),
  closedCount: z.int(),
})

const statisticsQuery = z.strictObject({ since: instantInput })

/** What may speak against moving a conversation. */
const moveErrors = [
  conversationErrors.NOT_FOUND,
  conversationErrors.CLOSED,
  conversationErrors.ASSIGNED,
  conversationErrors.MERGED,
  conversationErrors.NOT_WAITING,
  conversationErrors.OPERATOR_UNKNOWN,
  conversationErrors.OPERATOR_AWAY,
  conversationErrors.OPERATOR_FULL,
  conversationErrors.SECTOR_UNKNOWN,
]

type ById = FastifyRequest & { params: { id: string } }

/** Conversations with contacts: who waits, who answers, what was said. */
export async function conversationRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { conversations, instances, queue, reads } = ports

  http.get(
    '/tenants/:tenant/conversations',
    {
      config: { scope: 'read', errors: [gatewayErrors.INSTANCE_UNKNOWN] },
      schema: {
        operationId: 'listConversations',
        summary: 'List conversations, newest first',
        description: 'Newest first.',
        params: tenantParams,
        querystring: listQuery,
        response: { 200: page },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const { state, sector, operator, contact, instance, before, limit } = request.query
      const filter = {
        ...(state === undefined ? {} : { state }),
        ...(sector === undefined ? {} : { sector }),
        ...(operator === undefined ? {} : { operator }),
        ...(contact === undefined ? {} : { contact: contactOf(contact) }),
        ...(instance === undefined ? {} : { instance: instanceNamed(instance, request, instances).id }),
      }
      return reads.run(async () => {
        const { items, next } = await conversations.list(tenant, filter, { before, limit })
        return { items: items.map(shownConversation), next }
      })
    },
  )

  http.get(
    '/tenants/:tenant/conversations/statistics',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getConversationStatistics',
        summary: 'Count and time conversations since an instant',
        description: 'Counts and waits of each sector and operator since a time.',
        params: tenantParams,
        querystring: statisticsQuery,
        response: {
          200: z.object({
            openedCount: z.int(),
            sectors: z.array(activity.extend({ sector: z.string() })),
            operators: z.array(activity.extend({ operator: z.string() })),
          }),
        },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      return reads.run(async () => {
        const found = await conversations.statistics.since(tenant, request.query.since)
        return {
          openedCount: found.openedCount,
          sectors: [...found.sectors].map(([sector, own]) => ({ sector, ...own })),
          operators: [...found.operators].map(([operator, own]) => ({ operator, ...own })),
        }
      })
    },
  )

  http.get(
    '/conversations/:id',
    {
      config: { scope: 'read', byInstance: true, errors: [conversationErrors.NOT_FOUND] },
      schema: {
        operationId: 'getConversation',
        summary: 'Show a conversation and its place in line',
        params,
        response: { 200: one },
      },
    },
    async (request) => {
      const found = await conversationOf(request, conversations)
      return { ...shownConversation(found), position: await conversations.positionOf(found) }
    },
  )

  http.get(
    '/conversations/:id/history',
    {
      config: { scope: 'read', byInstance: true, errors: [conversationErrors.NOT_FOUND] },
      schema: {
        operationId: 'getConversationHistory',
        summary: 'Everything that happened in a conversation, oldest first',
        description:
          'Everything that happened, oldest first: messages with their content, answers with their state, notes, moves.',
        params,
        querystring: historyQuery,
        response: { 200: z.object({ items: z.array(historyEntry), next: z.number().nullable() }) },
      },
    },
    async (request) => {
      const found = await conversationOf(request, conversations)
      return reads.run(async () => {
        const entries = await conversations.history(found, { ...request.query, maxBytes: PAGE_BYTES })
        const items = await shownHistory(found, entries, { ...ports, maxBytes: PAGE_BYTES })
        return { items, next: items.at(-1)?.id ?? null }
      })
    },
  )

  http.post(
    '/conversations/:id/messages',
    {
      config: {
        scope: 'send',
        byInstance: true,
        errors: [
          conversationErrors.NOT_FOUND,
          conversationErrors.CLOSED,
          conversationErrors.OPERATOR_UNKNOWN,
          conversationErrors.NOT_YOURS,
          gatewayErrors.INSTANCE_UNKNOWN,
          gatewayErrors.SIMULATION_OVER,
          queueErrors.BAD_CONTENT,
          queueErrors.BAD_TIME,
          queueErrors.IDEMPOTENCY_IN_FLIGHT,
          queueErrors.IDEMPOTENCY_MISMATCH,
        ],
      },
      schema: {
        operationId: 'answerConversation',
        summary: 'Answer in a conversation',
        description:
          '202 means: on disk, queue and history together. The same `Idempotency-Key` again sends nothing.',
        params,
        headers: answerHeaders,
        body: answerBody,
        response: { 202: z.object({ id: z.string(), state: z.literal('PENDING') }) },
      },
    },
    async (request, reply) => {
      const found = await conversationOf(request, conversations)
      const { text, priority, expiresAt, by } = request.body
      const instance = instanceNamed(found.instance, request, instances)
      instances.assertUsable(instance)
      const key = request.headers['idempotency-key']
      const parts = [found.id, text, priority ?? null, expiresAt ?? null, by ?? 'api']
      const bodyHash = createHash('sha256').update(JSON.stringify(parts)).digest('hex')
      let actor: Actor
      try {
        actor = await whoAnswers(found, by)
      } catch (refusal) {
        // It was closed, or went to somebody else, since it was answered: what was accepted then stays accepted.
        const first =
          key === undefined ? undefined : await queue.outbox.answerTo(found.instance, { key, bodyHash })
        if (first === undefined) throw refusal
        reply.header('idempotency-replayed', 'true')
        return reply.code(202).send({ id: first.id, state: 'PENDING' })
      }
      const accepted = await queue.outbox.enqueue({
        tenant: found.tenant,
        instance: found.instance,
        chat: await ports.canonicalChat(found.instance, found.chat),
        content: { kind: 'text', text },
        ...(priority === undefined ? {} : { priority }),
        ...(expiresAt === undefined ? {} : { expiresAt }),
        ...(key === undefined ? {} : { idempotency: { key, bodyHash } }),
        alongside: ({ seq }) => [
          conversations.plan.outboundEntry(found, { messageSeq: seq, text, by: actor }),
        ],
      })
      if (accepted.replayed) reply.header('idempotency-replayed', 'true')
      return reply.code(202).send({ id: accepted.id, state: 'PENDING' })
    },
  )

  http.post(
    '/conversations/:id/notes',
    {
      config: {
        scope: 'app',
        byInstance: true,
        errors: [
          conversationErrors.NOT_FOUND,
          conversationErrors.MERGED,
          conversationErrors.OPERATOR_UNKNOWN,
        ],
      },
      schema: {
        operationId: 'addConversationNote',
        summary: 'Add a note that the contact does not see',
        params,
        body: noteBody,
        response: { 201: conversationShape },
      },
    },
    async (request, reply) => {
      const found = await conversationOf(request, conversations)
      const { text, key } = request.body
      const { by } = await actorOf(found.tenant, request.body, conversations)
      const note = { text, by, ...(key === undefined ? {} : { key }) }
      const noted = assertDone(await conversations.note(found, note))
      return reply.code(201).send(shownConversation(noted))
    },
  )

  http.post(
    '/conversations/:id/wait',
    {
      config: { scope: 'app', byInstance: true, errors: [...moveErrors] },
      schema: {
        operationId: 'putInLine',
        summary: 'Put a conversation at the end of a line',
        description: "To the end of a sector's line; the answer says who got it, or that it waits.",
        params,
        body: waitBody.default({}),
        response: { 200: one },
      },
    },
    async (request) => {
      const found = await conversationOf(request, conversations)
      const { sector = null, skill = null, rule = null, seed = null, ...more } = request.body
      const by = await actorOf(found.tenant, more, conversations)
      const now = assertDone(await conversations.distribute(found, { sector, skill, rule, seed, ...by }))
      return { ...shownConversation(now), position: await conversations.positionOf(now) }
    },
  )

  http.post(
    '/conversations/:id/assign',
    {
      config: { scope: 'app', byInstance: true, errors: [...moveErrors] },
      schema: {
        operationId: 'assignConversation',
        summary: 'Give a conversation to an operator',
        params,
        body: assignBody,
        response: { 200: conversationShape },
      },
    },
    async (request) => {
      const found = await conversationOf(request, conversations)
      const { operator, evenIfAway } = request.body
      const by = await actorOf(found.tenant, request.body, conversations)
      return shownConversation(assertDone(await conversations.assign(found, { operator, evenIfAway, ...by })))
    },
  )

  http.post(
    '/conversations/:id/transfer',
    {
      config: { scope: 'app', byInstance: true, errors: [...moveErrors] },
      schema: {
        operationId: 'transferConversation',
        summary: 'Pass a conversation to an operator or a sector',
        description:
          'To another operator, in the sector if one is named; or to the end of the line of a sector.',
        params,
        body: transferBody,
        response: { 200: conversationShape },
      },
    },
    async (request) => {
      const found = await conversationOf(request, conversations)
      const { operator, sector, skill = null, evenIfAway } = request.body
      const by = await actorOf(found.tenant, request.body, conversations)
      if (operator === undefined) {
        if (sector === undefined) throw badField('sector', 'must be given, or operator')
        return shownConversation(
          assertDone(await conversations.transferToSector(found, { sector, skill, ...by })),
        )
      }
      const where = sector === undefined ? {} : { sector }
      return shownConversation(
        assertDone(await conversations.transferToOperator(found, { operator, evenIfAway, ...where, ...by })),
      )
    },
  )

  http.post(
    '/conversations/:id/return',
    {
      config: { scope: 'app', byInstance: true, errors: [...moveErrors] },
      schema: {
        operationId: 'returnConversation',
        summary: 'Return a conversation to its place in line',
        description: "Back to where it stood in its sector's line.",
        params,
        body: onlyBy,
        response: { 200: conversationShape },
      },
    },
    async (request) => change(request, (found, by) => conversations.returnToLine(found, by)),
  )

  http.post(
    '/conversations/:id/close',
    {
      config: { scope: 'app', byInstance: true, errors: [...moveErrors] },
      schema: {
        operationId: 'closeConversation',
        summary: 'Close a conversation',
        params,
        body: closeBody.default({ reason: 'resolved' }),
        response: { 200: conversationShape },
      },
    },
    async (request) => {
      const reason = reasonOf(request.body.reason)
      return change(request, (found, by) => conversations.close(found, { reason, ...by }))
    },
  )

  http.post(
    '/conversations/:id/reopen',
    {
      config: {
        scope: 'app',
        byInstance: true,
        errors: [...moveErrors, conversationErrors.ANOTHER_OPEN, conversationErrors.NOT_CLOSED],
      },
      schema: {
        operationId: 'reopenConversation',
        summary: 'Open a closed conversation again',
        params,
        body: onlyBy,
        response: { 200: conversationShape },
      },
    },
    async (request) => change(request, (found, by) => conversations.reopen(found, by)),
  )

  /** @throws CONVERSATION_CLOSED, CONVERSATION_OPERATOR_UNKNOWN, CONVERSATION_NOT_YOURS */
  async function whoAnswers(found: Conversation, by: string | undefined): Promise<Actor> {
    if (found.state === 'closed') throw new EclusaError(conversationErrors.CLOSED)
    if (by === undefined) return 'api'
    const { id, isAdmin } = await operatorOf(found.tenant, by, conversations, 'by')
    if (found.operator === id || isAdmin) return id
    throw new EclusaError(conversationErrors.NOT_YOURS, { details: { field: 'by' } })
  }

  async function change(
    request: ById & { body: { readonly by?: string | undefined; readonly comment?: string | undefined } },
    make: (
      found: Awaited<ReturnType<typeof conversationOf>>,
      by: Awaited<ReturnType<typeof actorOf>>,
    ) => ReturnType<typeof conversations.reopen>,
  ): Promise<z.input<typeof conversationShape>> {
    const found = await conversationOf(request, conversations)
    const by = await actorOf(found.tenant, request.body, conversations)
    return shownConversation(assertDone(await make(found, by)))
  }
}

function contactOf(text: string): ReturnType<typeof parseContactId> {
  try {
    return parseContactId(text)
  } catch {
    throw badField('contact', 'must look like con_ and 20 letters or digits')
  }
}

function reasonOf(text: string): string {
  try {
    return parseCloseReason(text)
  } catch (error) {
    if (error instanceof EclusaError) throw badField('reason', error.message.replace(/^reason /, ''))
    throw error
  }
}
