import { DAY, EclusaError, HOUR, type InstanceId, type TenantId } from '@eclusa/kernel'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import { isEventPattern } from '../../events/event-types.ts'
import { httpErrors } from '../../guarded-http/errors.ts'
import { webhookErrors } from '../../webhooks/errors.ts'
import { EVERY_TYPE } from '../../webhooks/subscription.ts'
import { MAX_DESCRIPTION, MAX_TYPES, parseWebhookId, type Webhook } from '../../webhooks/webhook.ts'
import type { Replay, WebhookHealth } from '../../webhooks/webhooks.ts'
import { callerOf } from '../auth.ts'
import { cursorInput, limitInput } from '../conversation-inputs.ts'
import { instanceNamed, instantInput, noBody, tenantOf, tenantParams } from '../inputs.ts'
import { badField } from '../problem.ts'
import type { HttpPorts, HttpServer } from '../server.ts'
import { iso, isoOrNull } from '../instants.ts'

const MAX_OVERLAP_HOURS = 168

const typesInput = z
  .array(
    z
      .string('must be a text')
      .refine(
        (text) => text === EVERY_TYPE || isEventPattern(text),
        'must be "*", a type of event such as outbound.sent, or a group such as outbound.*',
      ),
    'must be a list of types of events',
  )
  .min(1, 'must have at least one type')
  .max(MAX_TYPES, `must have at most ${MAX_TYPES} types`)

const input = {
  url: z
    .string('must be a URL')
    .max(2048, 'must have at most 2048 characters')
    .describe('Where events are sent: https, on the public internet; the operator can permit more'),
  types: typesInput,
  instance: z
    .string('must be the id of an instance')
    .nullable()
    .describe('Of this instance only. Null: of all, and of none'),
  description: z
    .string('must be a text')
    .max(MAX_DESCRIPTION, `must have at most ${MAX_DESCRIPTION} characters`)
    .refine((text) => text.isWellFormed(), 'must be well-formed Unicode'),
}

const createBody = z.strictObject({
  ...input,
  instance: input.instance.default(null),
  description: input.description.default(''),
})
const changeBody = z
  .strictObject({
    ...input,
    enabled: z.boolean('must be true or false'),
    fromNow: z
      .boolean('must be true or false')
      .describe('With `enabled`: what happened before this is not sent'),
  })
  .partial()
const rotateBody = z
  .strictObject({
    /** How long the secret before signs too. */
    overlapHours: z
      .number('must be a number of hours')
      .min(0, `must be 0 to ${MAX_OVERLAP_HOURS}`)
      .max(MAX_OVERLAP_HOURS, `must be 0 to ${MAX_OVERLAP_HOURS}`)
      .default(24),
  })
  .nullish()
const seqInput = z.int('must be the id of an event').min(1, 'must be the id of an event')
const replayBody = z.strictObject({
  event: seqInput.optional(),
  after: z.int('must be the id of an event').min(0, 'must not be negative').optional(),
  until: seqInput.optional(),
  since: instantInput.optional(),
  dead: z.literal(true, 'must be true').optional(),
})

const time = z.iso.datetime().nullable()

const webhookAnswer = z.object({
  id: z.string(),
  tenant: z.string(),
  url: z.string(),
  types: z.array(z.string()),
  instance: z.string().nullable(),
  description: z.string(),
  enabled: z.boolean(),
  disabledReason: z
    .enum(['asked', 'gone', 'failing', 'dead_list_full'])
    .nullable()
    .describe('`asked`, `gone` (410), `failing` or `dead_list_full`; null while it is enabled'),
  disabledAt: time,
  /** Until when the secret before signs too. */
  oldSecretUntil: time,
  createdAt: z.iso.datetime(),
  changedAt: z.iso.datetime(),
})
const withSecret = webhookAnswer.extend({
  secret: z.string().describe('Shown once'),
})
const healthAnswer = z.object({
  lastSuccessAt: time,
  /** The first failure since the last success. */
  failingSince: time,
  lastError: z.string().nullable(),
  down: z.boolean().describe('Only one fresh event at a time is tried, until it answers again'),
  cursor: z.int().describe('Of every event up to here it is settled what became of it'),
  waiting: z.int().describe('Events that wait for another try, or behind one; at most 10,000'),
  dead: z.int().describe('Events that were given up; at most 10,000'),
  p95TookMs: z.number().nullable().describe('Of the last 100 tries, milliseconds'),
  p95AgeMs: z.number().nullable().describe('From event to delivery, milliseconds'),
  missed: z
    .object({ after: z.int(), before: z.int(), at: z.iso.datetime() })
    .nullable()
    .describe('Events between the two ids were swept before they could be sent'),
})
const fullAnswer = webhookAnswer.extend({ health: healthAnswer })

const deliveryAnswer = z.object({
  id: z.int(),
  event: z.int().nullable().describe('Null: a test'),
  type: z.string(),
  at: z.iso.datetime(),
  attempt: z.int(),
  delivered: z.boolean(),
  status: z.int().nullable().describe('Null: no answer came'),
  error: z.string().nullable(),
  tookMs: z.number(),
  ageMs: z.number(),
  requestBytes: z.int(),
  answerBytes: z.int(),
})
const waitingAnswer = z.object({
  event: z.int(),
  type: z.string(),
  attempts: z.int(),
  since: z.iso.datetime(),
  /** Null: behind another of its chat. */
  dueAt: time,
  error: z.string().nullable(),
})
const deadAnswer = z.object({
  event: z.int(),
  type: z.string(),
  attempts: z.int(),
  since: z.iso.datetime(),
  deadAt: z.iso.datetime(),
  error: z.string(),
})
const testAnswer = z.object({
  delivered: z.boolean(),
  status: z.int().nullable(),
  error: z.string().nullable(),
  tookMs: z.number(),
})
const replayAnswer = z.object({
  count: z.int().describe('Events that are sent again'),
  lastEvent: z
    .int()
    .describe('The last one looked at. When it is not complete, go on with `after` set to it'),
  complete: z.boolean(),
})

const params = z.object({ id: z.string() })
const afterPage = z.strictObject({ after: cursorInput.default(0), limit: limitInput(500, 100) })

/** Endpoints that events are sent to. */
export async function webhookRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { instances, reads, webhooks } = ports

  http.get(
    '/tenants/:tenant/webhooks',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listWebhooks',
        summary: 'List the endpoints of a tenant',
        params: tenantParams,
        response: { 200: z.object({ items: z.array(webhookAnswer) }) },
      },
    },
    async (request) => ({ items: (await webhooks.list(tenantOf(request))).map(shown) }),
  )

  http.post(
    '/tenants/:tenant/webhooks',
    {
      config: {
        scope: 'settings',
        errors: [gatewayErrors.INSTANCE_UNKNOWN, httpErrors.ADDRESS_REFUSED, webhookErrors.LIMIT_REACHED],
      },
      schema: {
        operationId: 'createWebhook',
        summary: 'Make an endpoint that events are sent to',
        description: 'The answer has the secret that signs; it is not shown again.',
        params: tenantParams,
        body: createBody,
        response: { 201: withSecret },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const { instance, ...rest } = request.body
      const made = await namingUrl(() =>
        webhooks.create(tenant, { ...rest, instance: ofTenant(request, tenant, instance) }),
      )
      const [{ secret } = { secret: '' }] = made.secrets
      return reply
        .code(201)
        .header('location', `/v1/webhooks/${made.id}`)
        .send({ ...shown(made), secret })
    },
  )

  http.get(
    '/webhooks/:id',
    {
      config: { scope: 'read', errors: [webhookErrors.UNKNOWN] },
      schema: {
        operationId: 'getWebhook',
        summary: 'Show an endpoint and how it does',
        description: 'With how it does.',
        params,
        response: { 200: fullAnswer },
      },
    },
    async (request) => {
      const found = await webhookOf(request)
      return { ...shown(found), health: shownHealth(await webhooks.health(found.id)) }
    },
  )

  http.patch(
    '/webhooks/:id',
    {
      config: {
        scope: 'settings',
        errors: [webhookErrors.UNKNOWN, gatewayErrors.INSTANCE_UNKNOWN, httpErrors.ADDRESS_REFUSED],
      },
      schema: {
        operationId: 'changeWebhook',
        summary: 'Change, disable or enable an endpoint',
        description: 'Enabled again, it goes on where it stopped, as far as the log still has it.',
        params,
        body: changeBody,
        response: { 200: webhookAnswer },
      },
    },
    async (request) => {
      const { id, tenant } = await webhookOf(request)
      const { fromNow = false, instance, ...rest } = request.body
      if (fromNow && rest.enabled !== true) throw badField('fromNow', 'goes with "enabled": true')
      const change = {
        ...given(rest),
        ...(instance === undefined ? {} : { instance: ofTenant(request, tenant, instance) }),
      }
      return shown(await namingUrl(() => webhooks.change(id, change, { fromNow })))
    },
  )

  http.delete(
    '/webhooks/:id',
    {
      config: { scope: 'settings', errors: [webhookErrors.UNKNOWN] },
      schema: {
        operationId: 'deleteWebhook',
        summary: 'Delete an endpoint',
        description: 'What waits for it is forgotten.',
        params,
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await webhooks.remove((await webhookOf(request)).id)
      return reply.code(204).send(null)
    },
  )

  http.post(
    '/webhooks/:id/rotate',
    {
      config: { scope: 'settings', errors: [webhookErrors.UNKNOWN] },
      schema: {
        operationId: 'rotateWebhookSecret',
        summary: 'Make a new secret of an endpoint',
        description: 'A new secret, shown once.',
        params,
        body: rotateBody,
        response: { 200: withSecret },
      },
    },
    async (request) => {
      const { id } = await webhookOf(request)
      const hours = request.body?.overlapHours ?? DAY / HOUR
      const { webhook, secret } = await webhooks.rotate(id, hours * HOUR)
      return { ...shown(webhook), secret }
    },
  )

  http.post(
    '/webhooks/:id/test',
    {
      config: { scope: 'settings', errors: [webhookErrors.UNKNOWN] },
      schema: {
        operationId: 'testWebhook',
        summary: 'Send one test event now',
        description: 'One event of type `webhook.test`, now; it is not tried again.',
        params,
        body: noBody,
        response: { 200: testAnswer },
      },
    },
    async (request) => {
      const { kind, status, error, tookMs } = await webhooks.test((await webhookOf(request)).id)
      return { delivered: kind === 'delivered', status, error, tookMs }
    },
  )

  http.post(
    '/webhooks/:id/replay',
    {
      config: {
        scope: 'settings',
        errors: [
          webhookErrors.UNKNOWN,
          webhookErrors.DISABLED,
          webhookErrors.EVENT_FORGOTTEN,
          webhookErrors.EVENT_UNKNOWN,
          webhookErrors.LIMIT_REACHED,
        ],
      },
      schema: {
        operationId: 'replayWebhook',
        summary: 'Send events again',
        description:
          'Sends events again: one (`event`), those after one up to another, those since a time, or all that were given up.',
        params,
        body: replayBody,
        response: { 200: replayAnswer },
      },
    },
    async (request) => {
      const { id } = await webhookOf(request)
      const what = replayOf(request.body)
      const { count, lastEvent, isComplete } = await reads.run(() => webhooks.replay(id, what))
      return { count, lastEvent, complete: isComplete }
    },
  )

  http.get(
    '/webhooks/:id/deliveries',
    {
      config: { scope: 'read', errors: [webhookErrors.UNKNOWN] },
      schema: {
        operationId: 'listWebhookDeliveries',
        summary: 'List tries of an endpoint, newest first',
        description: 'Tries, newest first: kept for 7 days, at most 10,000.',

        params,
        querystring: z.strictObject({
          before: cursorInput.default(Number.MAX_SAFE_INTEGER),
          limit: limitInput(500, 100),
        }),
        response: { 200: z.object({ items: z.array(deliveryAnswer), next: z.int().nullable() }) },
      },
    },
    async (request) => {
      const { id } = await webhookOf(request)
      const { limit } = request.query
      const found = await reads.run(() => webhooks.deliveries(id, request.query))
      return {
        items: found.map(({ seq, at, isDelivered, ...rest }) => ({
          ...rest,
          event: seq,
          at: iso(at),
          delivered: isDelivered,
        })),
        next: found.length < limit ? null : (found.at(-1)?.id ?? null),
      }
    },
  )

  http.get(
    '/webhooks/:id/waiting',
    {
      config: { scope: 'read', errors: [webhookErrors.UNKNOWN] },
      schema: {
        operationId: 'listWebhookWaiting',
        summary: 'List events that wait for an endpoint',
        description: 'Events that wait for another try, or behind one of their chat.',

        params,
        querystring: afterPage,
        response: { 200: z.object({ items: z.array(waitingAnswer), next: z.int().nullable() }) },
      },
    },
    async (request) => {
      const { id } = await webhookOf(request)
      const { after, limit } = request.query
      const found = await reads.run(() => webhooks.waiting(id, after, limit))
      return {
        items: found.map(({ seq, type, attempts, since, dueAt, error }) => ({
          event: seq,
          type,
          attempts,
          since: iso(since),
          dueAt: isoOrNull(dueAt),
          error,
        })),
        next: nextOf(found, limit),
      }
    },
  )

  http.get(
    '/webhooks/:id/dead',
    {
      config: { scope: 'read', errors: [webhookErrors.UNKNOWN] },
      schema: {
        operationId: 'listWebhookDead',
        summary: 'List events that were given up',
        description: 'Events that were given up, kept for 7 days.',

        params,
        querystring: afterPage,
        response: { 200: z.object({ items: z.array(deadAnswer), next: z.int().nullable() }) },
      },
    },
    async (request) => {
      const { id } = await webhookOf(request)
      const { after, limit } = request.query
      const found = await reads.run(() => webhooks.dead(id, after, limit))
      return {
        items: found.map(({ seq, type, attempts, since, deadAt, error }) => ({
          event: seq,
          type,
          attempts,
          since: iso(since),
          deadAt: iso(deadAt),
          error,
        })),
        next: nextOf(found, limit),
      }
    },
  )

  /** @throws WEBHOOK_UNKNOWN also when it belongs to a tenant the key may not see */
  async function webhookOf(request: FastifyRequest & { params: { id: string } }): Promise<Webhook> {
    const found = await webhooks.get(parseWebhookId(request.params.id))
    const { reach } = callerOf(request)
    if (reach !== '*' && reach !== found.tenant) throw new EclusaError(webhookErrors.UNKNOWN)
    return found
  }

  function ofTenant(request: FastifyRequest, tenant: TenantId, id: string | null): InstanceId | null {
    if (id === null) return null
    const instance = instanceNamed(id, request, instances)
    if (instance.tenant !== tenant) throw badField('instance', 'must be one of this tenant')
    return instance.id
  }
}

/** A refusal of the address is one of the field. */
async function namingUrl<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof EclusaError) || !error.code.startsWith('HTTP_')) throw error
    throw new EclusaError(error, {
      message: error.message,
      details: { ...error.details, field: 'url' },
      cause: error,
    })
  }
}

/** @throws GATEWAY_BAD_REQUEST when it does not say exactly one thing */
function replayOf({ event, after, until, since, dead }: z.output<typeof replayBody>): Replay {
  const said: readonly (Replay | undefined)[] = [
    event === undefined ? undefined : { event },
    after === undefined && until === undefined
      ? undefined
      : { after: after ?? 0, until: until ?? Number.MAX_SAFE_INTEGER },
    since === undefined ? undefined : { since },
    dead === undefined ? undefined : { dead },
  ]
  const [what, ...more] = said.filter((one) => one !== undefined)
  if (what === undefined || more.length > 0) {
    throw badField('event', 'or "after" and "until", or "since", or "dead" must be given, and nothing else')
  }
  return what
}

function shown(webhook: Webhook): z.input<typeof webhookAnswer> {
  const { id, tenant, url, types, instance, description, enabled, disabledReason, secrets } = webhook
  return {
    id,
    tenant,
    url,
    types: [...types],
    instance,
    description,
    enabled,
    disabledReason,
    disabledAt: isoOrNull(webhook.disabledAt),
    oldSecretUntil: isoOrNull(secrets[1]?.until ?? null),
    createdAt: iso(webhook.createdAt),
    changedAt: iso(webhook.changedAt),
  }
}

function shownHealth(health: WebhookHealth): z.input<typeof healthAnswer> {
  const {
    isDown,
    lastSuccessAt,
    failingSince,
    missed,
    lastError,
    cursor,
    waiting,
    dead,
    p95AgeMs,
    p95TookMs,
  } = health
  return {
    lastSuccessAt: isoOrNull(lastSuccessAt),
    failingSince: isoOrNull(failingSince),
    lastError,
    down: isDown,
    cursor,
    waiting,
    dead,
    p95TookMs,
    p95AgeMs,
    missed: missed === null ? null : { ...missed, at: iso(missed.at) },
  }
}

function nextOf(found: readonly { readonly seq: number }[], limit: number): number | null {
  return found.length < limit ? null : (found.at(-1)?.seq ?? null)
}

/** Without the fields that were left out. */
function given<T extends object>(value: T): { [Key in keyof T]: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as {
    [Key in keyof T]: Exclude<T[Key], undefined>
  }
}
