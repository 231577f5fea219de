import { DAY, type InstanceId, parseInstanceId } from '@eclusa/kernel'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import { AddressRanges, addressRange } from '../../keys/address-ranges.ts'
import type { ApiKeyView, NewKey } from '../../keys/api-keys.ts'
import { MAX_KEY_ADDRESSES, MAX_KEY_INSTANCES } from '../../keys/limits.ts'
import { keyScopes, type Reach } from '../../keys/scopes.ts'
import { callerOf } from '../auth.ts'
import { instantInput, noBody, tenantOf, tenantParams } from '../inputs.ts'
import { badField } from '../problem.ts'
import type { HttpPorts, HttpServer } from '../server.ts'
import { isoOrNull } from '../instants.ts'

const DEFAULT_OVERLAP_MS = DAY
const MAX_OVERLAP_MS = 30 * DAY

const scope = z.enum(keyScopes, `must be one of ${keyScopes.join(', ')}`)

const makeBody = z.strictObject({
  /** What it is for. */
  name: z
    .string('must be a text')
    .trim()
    .min(1, 'must not be empty')
    .max(100, 'must have at most 100 characters')
    // PostgreSQL keeps no NUL, and nobody can read the others.
    .regex(/^\P{Cc}*$/u, 'must have no control characters'),
  scopes: z
    .array(scope, 'must be a list of scopes')
    .min(1, 'must have at least one scope')
    .max(keyScopes.length),
  /** The only instances it is for; what is not about single instances is closed to it. */
  instances: z
    .array(z.string('must be an id of an instance').max(40, 'is too long'), 'must be a list of instances')
    .min(1, 'must have at least one instance, or be left out')
    .max(MAX_KEY_INSTANCES, `must have at most ${MAX_KEY_INSTANCES} instances`)
    .optional(),
  /** The only addresses it may be used from. */
  addresses: z
    .array(
      z
        .string('must be an address')
        .refine((text) => addressRange(text) !== null, 'must be an address or a range such as 10.0.0.0/8'),
      'must be a list of addresses',
    )
    .min(1, 'must have at least one address, or be left out')
    .max(MAX_KEY_ADDRESSES, `must have at most ${MAX_KEY_ADDRESSES} addresses`)
    .optional(),
  expiresAt: instantInput.optional(),
})

const rotateBody = z.strictObject({
  /** How long the old key still works. */
  overlapMs: z
    .int('must be a whole number')
    .min(0, 'must not be negative')
    .max(MAX_OVERLAP_MS, `must be at most ${MAX_OVERLAP_MS}`)
    .default(DEFAULT_OVERLAP_MS),
})

const shownKey = z.object({
  id: z.string(),
  name: z.string(),
  tenant: z.string().nullable().describe("Null: an operator's key"),
  scopes: z.array(scope),
  instances: z.array(z.string()).nullable(),
  addresses: z.array(z.string()).nullable(),
  origin: z.enum(['generated', 'preset', 'made']),
  madeBy: z.string().nullable(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().nullable(),
  lastUsedAt: z.iso
    .datetime()
    .nullable()
    .describe('At most a minute late, or what one process knows of itself'),
})

/** The only time that the key itself is told. */
const madeKey = shownKey.extend({ key: z.string() })

const list = z.object({ items: z.array(shownKey) })
const keyParams = z.object({ key: z.string().max(40) })
const config = { scope: 'admin', audit: 'own' } as const

/** Keys: who may do what. No key makes one that may do more than itself. */
export async function keyRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { keys, instances, audited } = ports

  http.get(
    '/keys',
    {
      config,
      schema: {
        operationId: 'listKeys',
        summary: 'List keys, oldest first',
        description: 'All that the key may see.',
        response: { 200: list },
      },
    },
    async (request) => ({
      items: keys.list(callerOf(request).reach).map(shown),
    }),
  )

  http.get(
    '/tenants/:tenant/keys',
    {
      config,
      schema: {
        operationId: 'listKeysOfTenant',
        summary: 'List the keys of a tenant',
        params: tenantParams,
        response: { 200: list },
      },
    },
    async (request) => ({ items: keys.list(tenantOf(request)).map(shown) }),
  )

  http.post(
    '/keys',
    {
      config: { ...config, errors: [gatewayErrors.KEY_TOO_STRONG, gatewayErrors.TOO_MANY_KEYS] },
      schema: {
        operationId: 'createKey',
        summary: 'Make a key with the reach of the key that asks',
        description: "The key itself is told this once. An operator's key makes an operator's.",
        body: makeBody,
        response: { 201: madeKey },
      },
    },
    async (request, reply) => reply.code(201).send(await make(request, callerOf(request).reach)),
  )

  http.post(
    '/tenants/:tenant/keys',
    {
      config: { ...config, errors: [gatewayErrors.KEY_TOO_STRONG, gatewayErrors.TOO_MANY_KEYS] },
      schema: {
        operationId: 'createKeyOfTenant',
        summary: 'Make a key of a tenant',
        description: 'The key itself is told this once.',
        params: tenantParams,
        body: makeBody,
        response: { 201: madeKey },
      },
    },
    async (request, reply) => reply.code(201).send(await make(request, tenantOf(request))),
  )

  http.get(
    '/keys/:key',
    {
      config: { ...config, errors: [gatewayErrors.KEY_UNKNOWN] },
      schema: {
        operationId: 'getKey',
        summary: 'Show a key',
        params: keyParams,
        response: { 200: shownKey },
      },
    },
    async (request) => shown(keys.get(request.params.key, callerOf(request).reach)),
  )

  http.post(
    '/keys/:key/rotate',
    {
      config: {
        ...config,
        errors: [
          gatewayErrors.KEY_UNKNOWN,
          gatewayErrors.KEY_PRESET,
          gatewayErrors.KEY_TOO_STRONG,
          gatewayErrors.TOO_MANY_KEYS,
        ],
      },
      schema: {
        operationId: 'rotateKey',
        summary: 'Make a new key with the same rights',
        description: 'The old one works a while longer, so that nothing stands still.',
        params: keyParams,
        body: rotateBody.default({ overlapMs: DEFAULT_OVERLAP_MS }),
        response: { 201: madeKey.extend({ oldEndsAt: z.iso.datetime() }) },
      },
    },
    async (request, reply) => {
      const { key, view, oldEndsAt } = await keys.rotate(request.params.key, {
        overlapMs: request.body.overlapMs,
        ...byOf(request),
      })
      const answer = { ...shown(view), key, oldEndsAt: new Date(oldEndsAt).toISOString() }
      return reply.code(201).send(answer)
    },
  )

  http.delete(
    '/keys/:key',
    {
      config: {
        ...config,
        errors: [
          gatewayErrors.KEY_UNKNOWN,
          gatewayErrors.KEY_PRESET,
          gatewayErrors.KEY_LAST,
          gatewayErrors.KEY_TOO_STRONG,
        ],
      },
      schema: {
        operationId: 'revokeKey',
        summary: 'Revoke a key',
        description: 'From the answer on it is no key any more.',
        params: keyParams,
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await keys.revoke(request.params.key, byOf(request))
      return reply.code(204).send(null)
    },
  )

  async function make(
    request: FastifyRequest & { body: z.output<typeof makeBody> },
    reach: Reach,
  ): Promise<z.input<typeof madeKey>> {
    const { name, scopes, addresses, expiresAt } = request.body
    if (expiresAt !== undefined && expiresAt <= ports.clock.now()) {
      throw badField('expiresAt', 'must be in the future')
    }
    const wanted: NewKey = {
      name,
      reach,
      scopes: new Set(scopes),
      instances:
        request.body.instances === undefined ? null : new Set(instancesOf(request.body.instances, reach)),
      addresses: addresses === undefined ? null : new AddressRanges(addresses),
      expiresAt: expiresAt ?? null,
    }
    const { key, view } = await keys.make(wanted, byOf(request))
    return { ...shown(view), key }
  }

  /** They must exist, and be the tenant's. */
  function instancesOf(ids: readonly string[], reach: Reach): readonly InstanceId[] {
    return ids.map((text, nth) => {
      const found = instances
        .all()
        .find(({ id, tenant }) => id === text && (reach === '*' || reach === tenant))
      if (found === undefined) throw badField(`instances.${nth}`, 'is no instance of this tenant')
      return parseInstanceId(text)
    })
  }

  function byOf(request: FastifyRequest): Pick<Parameters<typeof keys.make>[1], 'caller' | 'record'> {
    return { caller: callerOf(request), record: (deed) => audited.done(request, deed) }
  }
}

function shown(key: ApiKeyView): z.input<typeof shownKey> {
  const { id, name, reach, scopes, instances, addresses, origin, madeBy } = key
  return {
    id,
    name,
    tenant: reach === '*' ? null : reach,
    scopes: keyScopes.filter((one) => scopes.has(one)),
    instances: instances === null ? null : [...instances],
    addresses: addresses === null ? null : [...addresses.texts],
    origin,
    madeBy,
    createdAt: new Date(key.createdAt).toISOString(),
    expiresAt: isoOrNull(key.expiresAt),
    lastUsedAt: isoOrNull(key.lastUsedAt),
  }
}
