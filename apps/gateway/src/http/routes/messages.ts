import { createHash } from 'node:crypto'
import { EclusaError, type MessageId, parseMessageId } from '@eclusa/kernel'
import type { OutboundStatus } from '@eclusa/queue'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { messageErrors } from '../../errors.ts'
import { scopeOf } from '../auth.ts'
import { chatOf, instanceOf, instanceParams, noBody, textInput } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

/** Messages waiting in one instance above which an answer says so; nothing is refused. */
const WARN_ABOVE_WAITING = 500

const messageState = z.enum(['PENDING', 'PROCESSING', 'SENT', 'DELIVERED', 'READ', 'FAILED', 'CANCELLED'])

const sendBody = z.strictObject({
  to: z.string({ error: 'must be a phone number such as +5511999990000' }).max(200, 'is too long'),
  text: textInput,
})

const sendHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .regex(/^[\x20-\x7e]{1,255}$/, 'must have 1 to 255 printable ASCII characters')
    .optional(),
})

const accepted = z.object({ id: z.string(), state: messageState })

const message = z.object({
  id: z.string(),
  state: messageState,
  waMessageId: z.string(),
  acceptedAt: z.iso.datetime(),
  sentAt: z.iso.datetime().nullable(),
  deliveredAt: z.iso.datetime().nullable(),
  readAt: z.iso.datetime().nullable(),
  failure: z.object({ code: z.string(), message: z.string() }).nullable(),
})

const messageParams = z.object({ id: z.string() })

/** Sending a text, and what became of it. */
export async function messageRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { instances, outbox } = ports

  /** 202 means: on disk. The same `Idempotency-Key` again gives the same answer and sends nothing. */
  http.post(
    '/instances/:id/messages',
    { schema: { params: instanceParams, headers: sendHeaders, body: sendBody, response: { 202: accepted } } },
    async (request, reply) => {
      const instance = instanceOf(request, instances)
      instances.assertUsable(instance)
      const { to, text } = request.body
      const chat = chatOf(to, 'to')
      const key = request.headers['idempotency-key']
      const result = await outbox.enqueue({
        tenant: instance.tenant,
        instance: instance.id,
        chat,
        content: { kind: 'text', text },
        ...(key === undefined ? {} : { idempotency: { key, bodyHash: hashOf([chat, text]) } }),
      })
      if (result.waiting > WARN_ABOVE_WAITING) {
        reply.header('eclusa-queue-warning', `${result.waiting} messages of this instance are waiting`)
      }
      if (result.replayed) reply.header('idempotency-replayed', 'true')
      return reply.code(202).send({ id: result.id, state: 'PENDING' })
    },
  )

  http.get(
    '/messages/:id',
    { schema: { params: messageParams, response: { 200: message } } },
    async (request) => toAnswer(await statusFor(request)),
  )

  /** Only a message that waits can be cancelled: 409 once it is on the wire or finished. */
  http.delete(
    '/messages/:id',
    { schema: { params: messageParams, body: noBody, response: { 200: message } } },
    async (request) => {
      const { id } = await statusFor(request)
      return toAnswer(await outbox.cancel(id))
    },
  )

  /** A message of a tenant the key may not see does not exist for it. */
  async function statusFor(request: FastifyRequest & { params: { id: string } }): Promise<OutboundStatus> {
    const status = await outbox.status(messageIdOf(request.params.id))
    const scope = scopeOf(request)
    if (status === undefined || (scope !== '*' && scope !== status.tenant)) throw forgotten()
    return status
  }
}

function messageIdOf(text: string): MessageId {
  try {
    return parseMessageId(text).id
  } catch (cause) {
    throw forgotten(cause)
  }
}

function forgotten(cause?: unknown): EclusaError {
  return new EclusaError(messageErrors.FORGOTTEN, { details: { field: 'message' }, cause })
}

/** Told apart by their JSON: no two different bodies run together. */
function hashOf(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

function toAnswer(status: OutboundStatus): z.input<typeof message> {
  return {
    id: status.id,
    state: status.state,
    waMessageId: status.waMessageId,
    acceptedAt: isoOf(status.acceptedAt),
    sentAt: status.sentAt === null ? null : isoOf(status.sentAt),
    deliveredAt: status.deliveredAt === null ? null : isoOf(status.deliveredAt),
    readAt: status.readAt === null ? null : isoOf(status.readAt),
    failure: status.failure,
  }
}

function isoOf(at: number): string {
  return new Date(at).toISOString()
}
