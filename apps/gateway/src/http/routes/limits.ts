import { EclusaError, type InstanceId, type TenantId } from '@eclusa/kernel'
import type { CareOptions } from '@eclusa/queue'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import { scopeOf } from '../auth.ts'
import { instanceOf, instanceParams, noBody, tenantOf, tenantParams } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const TIME_OF_DAY = /^([01]\d|2[0-3]):([0-5]\d)$/
const MAX_EVERY_MS = 3_600_000
const MAX_BURST = 10_000
const MAX_NEW_CONTACTS = 1_000_000

const whole = (min: number, max: number) =>
  z.int('must be a whole number').min(min, `must be at least ${min}`).max(max, `must be at most ${max}`)

const rate = z.strictObject({ everyMs: whole(0, MAX_EVERY_MS), burst: whole(1, MAX_BURST) })

const timeOfDay = z.string('must be a time such as 20:00').regex(TIME_OF_DAY, 'must be a time such as 20:00')

/** What is left out is as for everybody (for an instance: as for its tenant). */
const limitsBody = z.strictObject({
  enabled: z.boolean('must be true or false').optional(),
  conversation: rate.optional(),
  cold: rate.optional(),
  instance: rate.optional(),
  maxPerContactHour: whole(1, 1000).optional(),
  maxPerContactDay: whole(1, 1000).optional(),
  maxNewContactsPerDay: whole(0, MAX_NEW_CONTACTS).optional(),
  /** On the clock of the contact's zone; the same time twice: none. */
  quietHours: z.strictObject({ from: timeOfDay, to: timeOfDay }).optional(),
  /** Of contacts whose number does not tell theirs. */
  zone: z.string('must be a time zone such as America/Sao_Paulo').max(64, 'is too long').optional(),
})

const instanceAnswer = z.object({
  /** What is set for it alone. */
  own: limitsBody,
  /** What counts: its own before its tenant's before everybody's. */
  effective: limitsBody.required(),
})

type LimitsAnswer = z.input<typeof limitsBody>

/**
 * How much a tenant or an instance sends to whom, and when; from the next message on, without a restart. Everybody who
 * acts for the tenant may look; only the operator's key changes them, so that no tenant lifts its own limits.
 */
export async function limitRoutes(http: HttpServer, { instances, queue }: HttpPorts): Promise<void> {
  const { limits } = queue

  http.get(
    '/instances/:id/limits',
    { schema: { params: instanceParams, response: { 200: instanceAnswer } } },
    async (request) => answerOf(instanceOf(request, instances)),
  )

  http.put(
    '/instances/:id/limits',
    { schema: { params: instanceParams, body: limitsBody, response: { 200: instanceAnswer } } },
    async (request) => {
      const { id, tenant } = instanceOf(request, instances)
      assertOperator(request)
      await limits.put({ tenant, instance: id, options: optionsOf(request.body) })
      return answerOf({ id, tenant })
    },
  )

  http.delete(
    '/instances/:id/limits',
    { schema: { params: instanceParams, body: noBody, response: { 200: instanceAnswer } } },
    async (request) => {
      const { id, tenant } = instanceOf(request, instances)
      assertOperator(request)
      await limits.delete(tenant, id)
      return answerOf({ id, tenant })
    },
  )

  http.get(
    '/tenants/:tenant/limits',
    { schema: { params: tenantParams, response: { 200: limitsBody } } },
    async (request) => toAnswer(limits.own(tenantOf(request), null)),
  )

  http.put(
    '/tenants/:tenant/limits',
    { schema: { params: tenantParams, body: limitsBody, response: { 200: limitsBody } } },
    async (request) => {
      const tenant = tenantOf(request)
      assertOperator(request)
      await limits.put({ tenant, instance: null, options: optionsOf(request.body) })
      return toAnswer(limits.own(tenant, null))
    },
  )

  http.delete(
    '/tenants/:tenant/limits',
    { schema: { params: tenantParams, body: noBody, response: { 200: limitsBody } } },
    async (request) => {
      const tenant = tenantOf(request)
      assertOperator(request)
      await limits.delete(tenant, null)
      return toAnswer(limits.own(tenant, null))
    },
  )

  function answerOf({
    id,
    tenant,
  }: {
    readonly id: InstanceId
    readonly tenant: TenantId
  }): z.input<typeof instanceAnswer> {
    const { quiet, ...effective } = limits.of(tenant, id)
    return {
      own: toAnswer(limits.own(tenant, id)),
      effective: { ...effective, quietHours: hoursOf(quiet) },
    }
  }
}

/** Who may lift limits is not who lives under them. @throws GATEWAY_FORBIDDEN */
function assertOperator(request: FastifyRequest): void {
  if (scopeOf(request) !== '*') throw new EclusaError(gatewayErrors.FORBIDDEN)
}

/** Without the fields that were left out. */
function optionsOf({ quietHours, ...body }: z.output<typeof limitsBody>): Partial<CareOptions> {
  const quiet =
    quietHours === undefined ? undefined : { from: minutesOf(quietHours.from), to: minutesOf(quietHours.to) }
  return Object.fromEntries(Object.entries({ ...body, quiet }).filter(([, value]) => value !== undefined))
}

function toAnswer({ quiet, ...options }: Partial<CareOptions>): LimitsAnswer {
  return quiet === undefined ? options : { ...options, quietHours: hoursOf(quiet) }
}

function hoursOf({ from, to }: CareOptions['quiet']): { from: string; to: string } {
  return { from: timeOf(from), to: timeOf(to) }
}

function minutesOf(time: string): number {
  const [, hours, minutes] = TIME_OF_DAY.exec(time) ?? []
  return Number(hours) * 60 + Number(minutes)
}

function timeOf(minutes: number): string {
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`
}

function two(number: number): string {
  return String(number).padStart(2, '0')
}
