import type { InstanceId, TenantId } from '@eclusa/kernel'
import { queueErrors, type Settings } from '@eclusa/queue'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { gatewayErrors } from '../errors.ts'
import { assertUnchanged, etagOf, ifMatch } from './etag.ts'
import { instanceOf, instanceParams, noBody, tenantOf, tenantParams } from './inputs.ts'
import type { HttpPorts, HttpServer } from './server.ts'

type Fields = Record<string, unknown>

/** Settings that a tenant and each of its instances can have of their own. */
export interface SettingRoutes<Options extends { readonly enabled: boolean }> {
  /** The last part of the address. */
  readonly name: 'pacing' | 'limits'
  readonly settings: Settings<Options>
  /** What is left out is as for everybody (for an instance: as for its tenant). */
  readonly bodyOfTenant: z.ZodType<Fields, Fields>
  readonly bodyOfInstance: z.ZodType<Fields, Fields>
  readonly effective: z.ZodType<Fields, Fields>
  /** Of a body that was checked. */
  readonly toOptions: (body: Fields) => Partial<Options>
  readonly toBody: (options: Partial<Options>) => Fields
  /** Tenants may look but not change. */
  readonly operatorsOnly?: boolean
}

/** Shows, replaces and takes away what a tenant or an instance has of its own; from the next message on, without a restart. */
export function settingRoutes<Options extends { readonly enabled: boolean }>(
  http: HttpServer,
  { instances, audited }: HttpPorts,
  routes: SettingRoutes<Options>,
): void {
  const { name, settings, bodyOfTenant, bodyOfInstance, effective, toOptions, toBody } = routes
  const change = { scope: 'settings', operatorsOnly: routes.operatorsOnly ?? false, audit: 'own' } as const
  const noun = name === 'pacing' ? 'Pacing' : 'Limits'
  const unknown = [gatewayErrors.INSTANCE_UNKNOWN]
  const refusals = [
    name === 'pacing' ? queueErrors.BAD_PACING : queueErrors.BAD_CARE,
    queueErrors.TOO_MANY_SETTINGS,
    gatewayErrors.CHANGED_MEANWHILE,
  ]
  const ofInstance = `/instances/:id/${name}`
  const ofTenant = `/tenants/:tenant/${name}`
  const answer = {
    200: z.object({
      /** What is set for it alone. */
      own: bodyOfInstance,
      /** What counts: its own before its tenant's before everybody's. */
      effective,
    }),
  }

  http.get(
    ofInstance,
    {
      config: { scope: 'read', byInstance: true, errors: unknown },
      schema: {
        operationId: `get${noun}OfInstance`,
        summary: `Show the ${name} of an instance: its own, and what counts`,
        params: instanceParams,
        response: answer,
      },
    },
    async (request, reply) => {
      const found = instanceOf(request, instances)
      reply.header('etag', etagOf(own(found.tenant, found.id)))
      return answerOf(found)
    },
  )

  http.put(
    ofInstance,
    {
      config: { ...change, byInstance: true, errors: [...unknown, ...refusals] },
      schema: {
        operationId: `put${noun}OfInstance`,
        summary: `Set the ${name} of an instance`,
        params: instanceParams,
        headers: ifMatch,
        body: bodyOfInstance,
        response: answer,
      },
    },
    async (request, reply) => {
      const { id, tenant } = instanceOf(request, instances)
      assertUnchanged(request, own(tenant, id))
      await intend(request, { tenant, instance: id }, request.body)
      await settings.put({ tenant, instance: id, options: given(toOptions(request.body)) })
      reply.header('etag', etagOf(own(tenant, id)))
      return answerOf({ id, tenant })
    },
  )

  http.delete(
    ofInstance,
    {
      config: { ...change, byInstance: true, errors: [...unknown, gatewayErrors.CHANGED_MEANWHILE] },
      schema: {
        operationId: `delete${noun}OfInstance`,
        summary: `Let an instance have the ${name} of its tenant`,
        params: instanceParams,
        headers: ifMatch,
        body: noBody,
        response: answer,
      },
    },
    async (request, reply) => {
      const { id, tenant } = instanceOf(request, instances)
      assertUnchanged(request, own(tenant, id))
      await intend(request, { tenant, instance: id }, null)
      await settings.delete(tenant, id)
      reply.header('etag', etagOf(own(tenant, id)))
      return answerOf({ id, tenant })
    },
  )

  http.get(
    ofTenant,
    {
      config: { scope: 'read' },
      schema: {
        operationId: `get${noun}OfTenant`,
        summary: `Show the ${name} that a tenant has of its own`,
        params: tenantParams,
        response: { 200: bodyOfTenant },
      },
    },
    async (request, reply) => {
      const found = own(tenantOf(request), null)
      reply.header('etag', etagOf(found))
      return found
    },
  )

  http.put(
    ofTenant,
    {
      config: { ...change, errors: refusals },
      schema: {
        operationId: `put${noun}OfTenant`,
        summary: `Set the ${name} of a tenant`,
        params: tenantParams,
        headers: ifMatch,
        body: bodyOfTenant,
        response: { 200: bodyOfTenant },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      assertUnchanged(request, own(tenant, null))
      await intend(request, { tenant, instance: null }, request.body)
      await settings.put({ tenant, instance: null, options: given(toOptions(request.body)) })
      reply.header('etag', etagOf(own(tenant, null)))
      return own(tenant, null)
    },
  )

  http.delete(
    ofTenant,
    {
      config: { ...change, errors: [gatewayErrors.CHANGED_MEANWHILE] },
      schema: {
        operationId: `delete${noun}OfTenant`,
        summary: `Let a tenant have the ${name} of everybody`,
        params: tenantParams,
        headers: ifMatch,
        body: noBody,
        response: { 200: bodyOfTenant },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      assertUnchanged(request, own(tenant, null))
      await intend(request, { tenant, instance: null }, null)
      await settings.delete(tenant, null)
      reply.header('etag', etagOf(own(tenant, null)))
      return own(tenant, null)
    },
  )

  function own(tenant: TenantId, instance: InstanceId | null): Fields {
    return toBody(settings.own(tenant, instance))
  }

  /** What they were and will be. */
  function intend(
    request: FastifyRequest,
    { tenant, instance }: { readonly tenant: TenantId; readonly instance: InstanceId | null },
    after: Fields | null,
  ): Promise<void> {
    const before = own(tenant, instance)
    return audited.intend(request, { action: `${name}.changed`, tenant, before, after })
  }

  function answerOf({ id, tenant }: { readonly id: InstanceId; readonly tenant: TenantId }): {
    own: Fields
    effective: Fields
  } {
    return { own: own(tenant, id), effective: toBody(settings.of(tenant, id)) }
  }
}

/** Without the fields that were left out. */
function given<Options extends object>(options: Options): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options
}
