import { EclusaError } from '@eclusa/kernel'
import { sessionErrors } from '@eclusa/session'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import type { InstanceView } from '../../instances/instances.ts'
import { qrPng, qrSvg } from '../../qr.ts'
import { callerOf } from '../auth.ts'
import { digitsOf, instanceOf, instanceParams, noBody, tenantOf, tenantParams } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const sessionState = z.enum([
  'new',
  'starting',
  'qr',
  'code',
  'syncing',
  'online',
  'reconnecting',
  'logged_out',
  'banned',
  'failed',
  'stopped',
])

const createBody = z
  .strictObject({
    name: z
      .string({ error: 'must be a text' })
      .trim()
      .min(1, 'must not be empty')
      .max(100, 'must have at most 100 characters'),
  })
  .meta({ id: 'NewInstance', examples: [{ name: 'Front desk' }] })

const created = z.object({ id: z.string(), state: sessionState })

const instanceAnswer = z
  .object({
    id: z.string(),
    tenant: z.string(),
    name: z.string(),
    simulated: z.boolean().describe('Lives in the simulator of the first minute'),
    state: sessionState,
    since: z.iso.datetime().describe('Since when it is in that state'),
    number: z.string().nullable().describe('The phone number, once paired'),
    reason: z.object({ code: z.string(), message: z.string() }).nullable(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Instance' })

const listQuery = z.strictObject({
  include: z
    .literal('hidden', 'must be "hidden"')
    .optional()
    .describe('`hidden` also lists the simulated instances while the simulator is not running'),
})

const pairingBody = z.strictObject({
  number: z.string({ error: 'must be a phone number such as +5511999990000' }).max(40, 'is too long'),
})

/** WhatsApp numbers of tenants: making, pairing, starting and stopping them. */
export async function instanceRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { instances } = ports

  http.post(
    '/tenants/:tenant/instances',
    {
      config: {
        scope: 'control',
        anyTenant: true,
        errors: [
          gatewayErrors.TOO_MANY_INSTANCES,
          gatewayErrors.TENANT_FULL,
          gatewayErrors.TENANT_REMOVED,
          gatewayErrors.TOO_MANY_TENANTS,
        ],
      },
      schema: {
        operationId: 'createInstance',
        summary: 'Make an instance, not started',
        params: tenantParams,
        body: createBody,
        response: { 201: created },
      },
    },
    async (request, reply) => {
      const instance = await instances.create({ tenant: tenantOf(request), name: request.body.name })
      const { state } = instances.view(instance)
      return reply
        .code(201)
        .header('location', `/v1/instances/${instance.id}`)
        .send({ id: instance.id, state })
    },
  )

  http.get(
    '/instances',
    {
      config: { scope: 'read', byInstance: true },
      schema: {
        operationId: 'listInstances',
        summary: 'List the instances that the key may see',
        querystring: listQuery,
        response: { 200: z.object({ items: z.array(instanceAnswer) }) },
      },
    },
    async (request) => {
      const found = instances.list(callerOf(request), { hidden: request.query.include === 'hidden' })
      return { items: found.map((instance) => toAnswer(instances.view(instance))) }
    },
  )

  http.get(
    '/instances/:id',
    {
      config: { scope: 'read', byInstance: true, errors: [gatewayErrors.INSTANCE_UNKNOWN] },
      schema: {
        operationId: 'getInstance',
        summary: 'Show an instance',
        params: instanceParams,
        response: { 200: instanceAnswer },
      },
    },
    async (request) => toAnswer(instances.view(instanceOf(request, instances))),
  )

  http.delete(
    '/instances/:id',
    {
      config: { scope: 'erase', byInstance: true, errors: [gatewayErrors.INSTANCE_UNKNOWN] },
      schema: {
        operationId: 'deleteInstance',
        summary: 'Log an instance out and forget everything of it',
        description: 'Logs out, cancels what waits, forgets everything of it.',
        params: instanceParams,
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await instances.delete(instanceOf(request, instances))
      return reply.code(204).send(null)
    },
  )

  for (const verb of ['start', 'stop', 'logout'] as const) {
    http.post(
      `/instances/:id/${verb}`,
      {
        config: {
          scope: 'control',
          byInstance: true,
          errors: [
            gatewayErrors.INSTANCE_UNKNOWN,
            ...(verb === 'start' ? [gatewayErrors.SIMULATION_OVER, sessionErrors.TOO_MANY] : []),
          ],
        },
        schema: {
          operationId: `${verb}Instance`,
          summary: verbs[verb],
          params: instanceParams,
          body: noBody,
          response: { 200: instanceAnswer },
        },
      },
      async (request) => {
        const instance = instanceOf(request, instances)
        await instances[verb](instance)
        return toAnswer(instances.view(instance))
      },
    )
  }

  http.get(
    '/instances/:id/qr',
    {
      config: {
        scope: 'control',
        byInstance: true,
        errors: [gatewayErrors.INSTANCE_UNKNOWN, gatewayErrors.NO_QR, gatewayErrors.NOT_ACCEPTABLE],
      },
      schema: {
        operationId: 'getQr',
        summary: 'The QR code to scan',
        description:
          'The QR code to scan, as a picture or as its text, by `Accept`. It changes every 20 to 60 s: ask again.',
        params: instanceParams,
        response: { 200: { content: qrForms } },
      },
    },
    async (request, reply) => {
      const instance = instanceOf(request, instances)
      const form = qrFormOf(request.headers.accept)
      const { qr, state } = instances.view(instance)
      if (qr === null) throw noQr(state)
      reply.header('vary', 'accept').header('expires', new Date(qr.expiresAt).toUTCString()).type(form)
      switch (form) {
        case 'image/svg+xml':
          return reply.send(await qrSvg(qr.text))
        case 'image/png':
          return reply.send(await qrPng(qr.text))
        case 'application/json':
          return reply.send({ qr: qr.text, expiresAt: new Date(qr.expiresAt).toISOString() })
        default:
          return form satisfies never
      }
    },
  )

  http.post(
    '/instances/:id/pairing-code',
    {
      config: {
        scope: 'control',
        byInstance: true,
        errors: [
          gatewayErrors.INSTANCE_UNKNOWN,
          sessionErrors.ALREADY_PAIRED,
          sessionErrors.NOT_STARTED,
          sessionErrors.NOT_WAITING_FOR_CODE,
        ],
      },
      schema: {
        operationId: 'requestPairingCode',
        summary: 'Ask for the code to type into the phone',
        description: 'The eight characters to type into the phone that has `number`.',
        params: instanceParams,
        body: pairingBody,
        response: { 200: z.object({ code: z.string() }) },
      },
    },
    async (request) => {
      const instance = instanceOf(request, instances)
      const digits = digitsOf(request.body.number, 'number')
      return { code: await instances.requestPairingCode(instance, digits) }
    },
  )
}

const verbs = {
  start: 'Connect an instance',
  stop: 'Disconnect an instance; it stays paired',
  logout: 'Log an instance out: it has to be paired anew',
} as const

const qrForms = {
  'image/svg+xml': { schema: z.string() },
  'image/png': { schema: z.custom<Buffer>().meta({ type: 'string', format: 'binary' }) },
  'application/json': { schema: z.object({ qr: z.string(), expiresAt: z.iso.datetime() }) },
}

type QrForm = keyof typeof qrForms

/** The first of our forms in the order of the header; quality numbers are not weighed. JSON when all are welcome. */
function qrFormOf(accept: string | undefined): QrForm {
  for (const part of (accept ?? '*/*').slice(0, 1000).toLowerCase().split(',')) {
    switch (part.split(';')[0]?.trim()) {
      case 'image/svg+xml':
      case 'image/*':
        return 'image/svg+xml'
      case 'image/png':
        return 'image/png'
      case 'application/json':
      case '*/*':
        return 'application/json'
      default:
    }
  }
  throw new EclusaError(gatewayErrors.NOT_ACCEPTABLE, { details: { field: 'accept' } })
}

/** Says what to do instead, in plain words. */
function noQr(state: InstanceView['state']): EclusaError {
  const message = {
    new: 'This instance is not started: start it, and a QR code comes in a moment',
    starting: 'The QR code is on its way: ask again in a moment',
    qr: 'The next QR code is on its way: ask again in a moment',
    code: 'This instance waits for its pairing code to be typed into the phone; stop and start it to use a QR code instead',
    syncing: 'This instance is paired, it needs no QR code',
    online: 'This instance is paired, it needs no QR code',
    reconnecting: 'This instance is paired and connects again by itself, it needs no QR code',
    logged_out: 'This instance was logged out: start it to pair it again',
    banned: 'WhatsApp has banned this number: look at the phone',
    failed: 'This instance has stopped trying: start it to get new QR codes',
    stopped: 'This instance is stopped: start it',
  }[state]
  return new EclusaError(gatewayErrors.NO_QR, { message, details: { state } })
}

function toAnswer(view: InstanceView): z.input<typeof instanceAnswer> {
  return {
    ...view,
    number: view.number === null ? null : `+${view.number}`,
    since: new Date(view.since).toISOString(),
    createdAt: new Date(view.createdAt).toISOString(),
  }
}
