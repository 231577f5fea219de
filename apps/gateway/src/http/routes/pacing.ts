import type { InstanceId, TenantId } from '@eclusa/kernel'
import type { PacingOptions } from '@eclusa/queue'
import { z } from 'zod'
import { instanceOf, instanceParams, noBody, tenantOf, tenantParams } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

/** As the settings of the environment: nothing takes longer than ten minutes. */
const MAX_MS = 600_000
const MAX_WORDS_PER_MINUTE = 10_000

const range = (min: number, max: number) => {
  const end = z
    .number('must be a number')
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`)
  return z
    .strictObject({ min: end, max: end })
    .refine((ends) => ends.min <= ends.max, 'must have min ≤ max')
    .optional()
}
const longest = z
  .number('must be a number')
  .min(0, 'must not be negative')
  .max(MAX_MS, `must be at most ${MAX_MS}`)

/** What is left out is as for everybody (for an instance: as for its tenant). */
const pacingBody = z.strictObject({
  enabled: z.boolean('must be true or false').optional(),
  readingWordsPerMinute: range(1, MAX_WORDS_PER_MINUTE),
  maxReadingMs: longest.optional(),
  thinkingMs: range(0, MAX_MS),
  typingWordsPerMinute: range(1, MAX_WORDS_PER_MINUTE),
  maxTypingMs: longest.optional(),
  visibleTypingMs: range(0, MAX_MS),
  betweenMs: range(0, MAX_MS),
})

const ends = z.object({ min: z.number(), max: z.number() })

const instanceAnswer = z.object({
  /** What is set for it alone. */
  own: pacingBody,
  /** What counts: its own before its tenant's before everybody's. */
  effective: z.object({
    enabled: z.boolean(),
    readingWordsPerMinute: ends,
    maxReadingMs: z.number(),
    thinkingMs: ends,
    typingWordsPerMinute: ends,
    maxTypingMs: z.number(),
    visibleTypingMs: ends,
    betweenMs: ends,
  }),
})

/** How human sends look, for a tenant or for one instance; from the next message on, without a restart. */
export async function pacingRoutes(http: HttpServer, { instances, queue }: HttpPorts): Promise<void> {
  const { pacing } = queue

  http.get(
    '/instances/:id/pacing',
    { schema: { params: instanceParams, response: { 200: instanceAnswer } } },
    async (request) => answerOf(instanceOf(request, instances)),
  )

  http.put(
    '/instances/:id/pacing',
    { schema: { params: instanceParams, body: pacingBody, response: { 200: instanceAnswer } } },
    async (request) => {
      const { id, tenant } = instanceOf(request, instances)
      await pacing.put({ tenant, instance: id, options: optionsOf(request.body) })
      return answerOf({ id, tenant })
    },
  )

  http.delete(
    '/instances/:id/pacing',
    { schema: { params: instanceParams, body: noBody, response: { 200: instanceAnswer } } },
    async (request) => {
      const { id, tenant } = instanceOf(request, instances)
      await pacing.delete(tenant, id)
      return answerOf({ id, tenant })
    },
  )

  http.get(
    '/tenants/:tenant/pacing',
    { schema: { params: tenantParams, response: { 200: pacingBody } } },
    async (request) => ownOf(tenantOf(request), null),
  )

  http.put(
    '/tenants/:tenant/pacing',
    { schema: { params: tenantParams, body: pacingBody, response: { 200: pacingBody } } },
    async (request) => {
      const tenant = tenantOf(request)
      await pacing.put({ tenant, instance: null, options: optionsOf(request.body) })
      return ownOf(tenant, null)
    },
  )

  http.delete(
    '/tenants/:tenant/pacing',
    { schema: { params: tenantParams, body: noBody, response: { 200: pacingBody } } },
    async (request) => {
      const tenant = tenantOf(request)
      await pacing.delete(tenant, null)
      return ownOf(tenant, null)
    },
  )

  function answerOf({
    id,
    tenant,
  }: {
    readonly id: InstanceId
    readonly tenant: TenantId
  }): z.input<typeof instanceAnswer> {
    return { own: ownOf(tenant, id), effective: pacing.of(tenant, id) }
  }

  function ownOf(tenant: TenantId, instance: InstanceId | null): z.input<typeof pacingBody> {
    return { ...pacing.own(tenant, instance) }
  }
}

/** Without the fields that were left out. */
function optionsOf(body: z.output<typeof pacingBody>): Partial<PacingOptions> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined))
}
