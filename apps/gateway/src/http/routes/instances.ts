import { EclusaError } from '@eclusa/kernel'
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

const createBody = z.strictObject({
  name: z
    .string({ error: 'must be a text' })
    .trim()
    .min(1, 'must not be empty')
    .max(100, 'must have at most 100 characters'),
})

const created = z.object({ id: z.string(), state: sessionState })

const instanceAnswer = z.object({
  id: z.string(),
  tenant: z.string(),
  name: z.string(),
  /** Lives in the simulator of the first minute. */
  simulated: z.boolean(),
  state: sessionState,
  /** Since when it is in that state. */
  since: z.iso.datetime(),
  /** The phone number, once paired. */
  number: z.string().nullable(),
  reason: z.object({ code: z.string(), message: z.string() }).nullable(),
  createdAt: z.iso.datetime(),
})

const listQuery = z.strictObject({
  /** `hidden` also lists the simulated instances while the simulator is not running. */
  include: z.literal('hidden', 'must be "hidden"').optional(),
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
      config: { scope: 'control' },
      schema: { params: tenantParams, body: createBody, response: { 201: created } },
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
      schema: { querystring: listQuery, response: { 200: z.object({ items: z.array(instanceAnswer) }) } },
    },
    async (request) => {
      const found = instances.list(callerOf(request), { hidden: request.query.include === 'hidden' })
      return { items: found.map((instance) => toAnswer(instances.view(instance))) }
    },
  )

  http.get(
    '/instances/:id',
    {
      config: { scope: 'read', byInstance: true },
      schema: { params: instanceParams, response: { 200: instanceAnswer } },
    },
    async (request) => toAnswer(instances.view(instanceOf(request, instances))),
  )

  /** Logs out, cancels what waits, forgets everything of it. */
  http.delete(
    '/instances/:id',
    { config: { scope: 'erase', byInstance: true }, schema: { params: instanceParams, body: noBody } },
    async (request, reply) => {
      await instances.delete(instanceOf(request, instances))
      return reply.code(204).send()
    },
  )

  for (const verb of ['start', 'stop', 'logout'] as const) {
    http.post(
      `/instances/:id/${verb}`,
      {
        config: { scope: 'control', byInstance: true },
        schema: { params: instanceParams, body: noBody, response: { 200: instanceAnswer } },
      },
      async (request) => {
        const instance = instanceOf(request, instances)
        await instances[verb](instance)
        return toAnswer(instances.view(instance))
      },
    )
  }

  /** The QR code to scan, as a picture or as its text, by `Accept`. It changes every 20 to 60 s: ask again. */
  http.get(
    '/instances/:id/qr',
    { config: { scope: 'control', byInstance: true }, schema: { params: instanceParams } },
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

  /** The eight characters to type into the phone that has `number`. */
  http.post(
    '/instances/:id/pairing-code',
    {
      config: { scope: 'control', byInstance: true },
      schema: {
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

type QrForm = 'image/svg+xml' | 'image/png' | 'application/json'

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
