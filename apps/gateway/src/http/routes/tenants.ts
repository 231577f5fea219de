import type { TenantId } from '@eclusa/kernel'
import { queueErrors } from '@eclusa/queue'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import type { Removal, Tenant, TenantQuotas } from '../../tenants/tenant-store.ts'
import { noQuotas } from '../../tenants/tenants.ts'
import { callerOf } from '../auth.ts'
import { limitInput } from '../conversation-inputs.ts'
import { ifMatch, versionEtagOf, versionOf } from '../etag.ts'
import { noBody, tenantIdOf, tenantOf, tenantParams } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const MAX_REMOVALS = 100

const whole = (min: number, max: number) =>
  z
    .int('must be a whole number')
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`)
    .nullable()

const rate = z.strictObject({
  everyMs: z.int('must be a whole number').min(0, 'must not be negative').max(3_600_000, 'is too large'),
  burst: z.int('must be a whole number').min(1, 'must be at least 1').max(10_000, 'is too large'),
})

/** Null: as for everybody. */
const quotas = z.object({
  /** Instances, not counting simulated ones. */
  instances: whole(0, 100_000),
  /** What it sends to contacts who are not in conversation: the same as `tenant` of its limits. */
  sends: rate.nullable(),
  /** Its share of the caches, against 1 of the others; from the next start on. */
  memoryWeight: z
    .number('must be a number')
    .positive('must be above 0')
    .max(1_000_000, 'is too large')
    .nullable(),
  mediaBytes: whole(0, Number.MAX_SAFE_INTEGER),
  /** Calls of all its keys together. */
  apiPerSecond: whole(1, 100_000),
  apiBurst: whole(1, 1_000_000),
})
const quotasInput = z.strictObject(quotas.shape).partial()

const nameInput = z
  .string('must be a text')
  .trim()
  .min(1, 'must not be empty')
  .max(100, 'must have at most 100 characters')
  .regex(/^\P{Cc}*$/u, 'must have no control characters')

const createBody = z.strictObject({
  /** 1 to 40 lower-case letters, digits, `-`, `_`; never used again once it is deleted. */
  id: z.string('must be a text'),
  name: nameInput.optional(),
  quotas: quotasInput.optional(),
})

const changeBody = z.strictObject({ name: nameInput.optional(), quotas: quotasInput.optional() })

const tenantAnswer = z.object({
  id: z.string(),
  name: z.string(),
  state: z.enum(['active', 'suspended', 'deleting']),
  quotas,
  used: z.object({ instances: z.int() }),
  createdAt: z.iso.datetime(),
  changedAt: z.iso.datetime(),
})

const removalAnswer = z.object({
  id: z.string(),
  tenant: z.string(),
  askedBy: z.string(),
  /** Rows by table, and instances. */
  removed: z.record(z.string(), z.int()),
  begunAt: z.iso.datetime(),
  /** Null while it goes on. */
  endedAt: z.iso.datetime().nullable(),
})

const listQuery = z.strictObject({
  /** The `next` of the page before. */
  after: z.string().max(40, 'is too long').default(''),
  limit: limitInput(500, 100),
})

const operators = { scope: 'admin', operatorsOnly: true, audit: 'own' } as const
/** Also for tenants that are suspended or on their way out. */
const anyState = { ...operators, anyTenant: true } as const

/** Customer companies, and what each may have. */
export async function tenantRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { tenants, removals, instances, audited } = ports
  const { limits } = ports.queue

  /** By id. */
  http.get(
    '/tenants',
    {
      config: operators,
      schema: {
        operationId: 'listTenants',
        summary: 'List tenants, by id',
        querystring: listQuery,
        response: { 200: z.object({ items: z.array(tenantAnswer), next: z.string().nullable() }) },
      },
    },
    async (request) => {
      const { after, limit } = request.query
      const all = tenants.list().filter(({ id }) => id > after)
      const page = all.slice(0, limit)
      return { items: page.map(shown), next: all.length > limit ? (page.at(-1)?.id ?? null) : null }
    },
  )

  http.post(
    '/tenants',
    {
      config: {
        ...operators,
        errors: [
          gatewayErrors.TENANT_EXISTS,
          gatewayErrors.TENANT_REMOVED,
          gatewayErrors.TOO_MANY_TENANTS,
          queueErrors.BAD_CARE,
          queueErrors.TOO_MANY_SETTINGS,
        ],
      },
      schema: {
        operationId: 'createTenant',
        summary: 'Make a tenant',
        body: createBody,
        response: { 201: tenantAnswer },
      },
    },
    async (request, reply) => {
      const { name, quotas: wanted = {} } = request.body
      const id = tenantIdOf(request.body.id, 'id')
      const made = await tenants.create(
        { id, name: name ?? id, quotas: mixed(noQuotas, wanted) },
        deedsOf(request),
      )
      await putSends(request, id, wanted.sends)
      return reply.code(201).header('etag', versionEtagOf(made)).send(shown(made))
    },
  )

  /** A tenant sees itself. */
  http.get(
    '/tenants/:tenant',
    {
      config: { scope: 'read', anyTenant: true },
      schema: {
        operationId: 'getTenant',
        summary: 'Show a tenant and its quotas',
        params: tenantParams,
        response: { 200: tenantAnswer },
      },
    },
    async (request, reply) => {
      const tenant = tenants.named(tenantOf(request))
      return reply.header('etag', versionEtagOf(tenant)).send(shown(tenant))
    },
  )

  /** What is left out stays. */
  http.patch(
    '/tenants/:tenant',
    {
      config: {
        ...anyState,
        errors: [gatewayErrors.TENANT_CHANGED, queueErrors.BAD_CARE, queueErrors.TOO_MANY_SETTINGS],
      },
      schema: {
        operationId: 'changeTenant',
        summary: 'Change the name or quotas of a tenant',
        description: 'What is left out stays.',
        params: tenantParams,
        headers: ifMatch,
        body: changeBody,
        response: { 200: tenantAnswer },
      },
    },
    async (request, reply) => {
      const { quotas: before, id } = tenants.assertStays(tenantOf(request))
      const { name, quotas: wanted = {} } = request.body
      const changed = await tenants.change(
        id,
        { ...(name === undefined ? {} : { name }), quotas: mixed(before, wanted) },
        {
          ifVersion: versionOf(request.headers['if-match']),
          action: 'tenant.changed',
          deeds: deedsOf(request),
        },
      )
      await putSends(request, id, wanted.sends)
      return reply.header('etag', versionEtagOf(changed)).send(shown(changed))
    },
  )

  for (const [verb, state] of [
    ['suspend', 'suspended'],
    ['resume', 'active'],
  ] as const) {
    /** While it is suspended its sessions rest, nothing is accepted, and its keys are refused. */
    http.post(
      `/tenants/:tenant/${verb}`,
      {
        config: { ...anyState, errors: [gatewayErrors.TENANT_CHANGED] },
        schema: {
          operationId: `${verb}Tenant`,
          summary: verb === 'suspend' ? 'Let a tenant rest' : 'Let a suspended tenant go on',
          params: tenantParams,
          body: noBody,
          response: { 200: tenantAnswer },
        },
      },
      async (request, reply) => {
        const tenant = tenants.assertStays(tenantOf(request))
        if (tenant.state === state) return reply.header('etag', versionEtagOf(tenant)).send(shown(tenant))
        const action = `tenant.${verb === 'suspend' ? 'suspended' : 'resumed'}`
        const changed = await tenants.change(
          tenant.id,
          { state },
          { ifVersion: null, action, deeds: deedsOf(request) },
        )
        return reply.header('etag', versionEtagOf(changed)).send(shown(changed))
      },
    )
  }

  /** Its keys and sessions end now; all the rest goes in the background, and the removal becomes its receipt. */
  http.delete(
    '/tenants/:tenant',
    {
      config: { ...anyState, scope: 'erase' },
      schema: {
        operationId: 'deleteTenant',
        summary: 'Delete a tenant with everything it has',
        description:
          'Its keys and sessions end now; all the rest goes in the background, and the removal becomes its receipt.',
        params: tenantParams,
        body: noBody,
        response: { 202: removalAnswer },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const { keyId } = callerOf(request)
      const begun = await removals.begin(tenant, { keyId, deeds: deedsOf(request) })
      return reply.code(202).header('location', `/v1/tenant-removals/${begun.id}`).send(shownRemoval(begun))
    },
  )

  /** The newest 100 first. */
  http.get(
    '/tenant-removals',
    {
      config: operators,
      schema: {
        operationId: 'listTenantRemovals',
        summary: 'List removals of deleted tenants, newest first',
        response: { 200: z.object({ items: z.array(removalAnswer) }) },
      },
    },
    async () => ({ items: (await removals.list(MAX_REMOVALS)).map(shownRemoval) }),
  )

  http.get(
    '/tenant-removals/:removal',
    {
      config: { ...operators, errors: [gatewayErrors.REMOVAL_UNKNOWN] },
      schema: {
        operationId: 'getTenantRemoval',
        summary: 'Show what was removed of a deleted tenant',
        params: z.object({ removal: z.string().max(40) }),
        response: { 200: removalAnswer },
      },
    },
    async (request) => shownRemoval(await removals.get(request.params.removal)),
  )

  /** The rate stands with the other limits: there it is kept, and changed by both. */
  async function putSends(
    request: FastifyRequest,
    tenant: TenantId,
    sends: z.output<typeof rate> | null | undefined,
  ): Promise<void> {
    if (sends === undefined) return
    const before = limits.own(tenant, null)
    const { tenant: _, ...others } = before
    const options = sends === null ? others : { ...others, tenant: sends }
    await audited.intend(request, { action: 'limits.changed', tenant, before, after: options })
    if (Object.keys(options).length === 0) await limits.delete(tenant, null)
    else await limits.put({ tenant, instance: null, options })
  }

  function shown(tenant: Tenant): z.input<typeof tenantAnswer> {
    const { id, name, state } = tenant
    const theirs = instances.all().filter((one) => one.tenant === id && !one.simulated)
    return {
      id,
      name,
      state,
      quotas: { ...tenant.quotas, sends: limits.own(id, null).tenant ?? null },
      used: { instances: theirs.length },
      createdAt: new Date(tenant.createdAt).toISOString(),
      changedAt: new Date(tenant.changedAt).toISOString(),
    }
  }

  function deedsOf(request: FastifyRequest): Parameters<typeof tenants.create>[1] {
    return (deed) => audited.done(request, deed)
  }
}

function mixed(before: TenantQuotas, wanted: z.output<typeof quotasInput>): TenantQuotas {
  const { sends: _, ...others } = wanted
  const given = Object.fromEntries(Object.entries(others).filter(([, value]) => value !== undefined))
  return { ...before, ...given }
}

function shownRemoval({
  id,
  tenant,
  askedBy,
  removed,
  begunAt,
  endedAt,
}: Removal): z.input<typeof removalAnswer> {
  return {
    id,
    tenant,
    askedBy,
    removed: { ...removed },
    begunAt: new Date(begunAt).toISOString(),
    endedAt: endedAt === null ? null : new Date(endedAt).toISOString(),
  }
}
