import { createHash } from 'node:crypto'
import { type ChatId, EclusaError, type MessageId, parseMessageId } from '@eclusa/kernel'
import {
  type Accepted,
  careErrors,
  MAX_BATCH,
  MAX_REASON_LENGTH,
  type NewOutbound,
  type OutboundStatus,
  queueErrors,
} from '@eclusa/queue'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { gatewayErrors, messageErrors } from '../../errors.ts'
import type { Instance } from '../../instances/instance-store.ts'
import { maySee } from '../../keys/scopes.ts'
import { callerOf } from '../auth.ts'
import {
  chatOf,
  instanceNamed,
  instanceOf,
  instanceParams,
  instantInput,
  noBody,
  textInput,
} from '../inputs.ts'
import { badField } from '../problem.ts'
import type { HttpPorts, HttpServer } from '../server.ts'
import { isoOrNull } from '../instants.ts'

/** Messages waiting in one instance above which an answer says so; nothing is refused. */
const WARN_ABOVE_WAITING = 500

const messageState = z.enum(['PENDING', 'PROCESSING', 'SENT', 'DELIVERED', 'READ', 'FAILED', 'CANCELLED'])

const sendBody = z
  .strictObject({
    to: z.string({ error: 'must be a phone number such as +5511999990000' }).max(200, 'is too long'),
    text: textInput,
    priority: z
      .enum(['urgent', 'normal', 'bulk'], 'must be "urgent", "normal" or "bulk"')
      .optional()
      .describe('Before or after others of the same chat; never before one that is being sent'),
    purpose: z
      .enum(['reply', 'proactive'], 'must be "reply" or "proactive"')
      .optional()
      .describe("`proactive` needs the contact's consent on record, and waits at night"),
    /** Why, for the record; an urgent proactive message needs one. */
    reason: z
      .string('must be a text')
      .trim()
      .min(1, 'must not be empty')
      .max(MAX_REASON_LENGTH, `must have at most ${MAX_REASON_LENGTH} characters`)
      .optional(),
    sendAt: instantInput.optional().describe('Not before; then it takes its place in its chat'),
    expiresAt: instantInput.optional().describe('Not after'),
    maxRetries: z
      .int('must be a whole number')
      .min(0, 'must be 0 to 20')
      .max(20, 'must be 0 to 20')
      .optional(),
  })
  .meta({
    id: 'NewMessage',
    examples: [{ to: '+5511999990000', text: 'Your order has left our warehouse.' }],
  })

const batchBody = z.strictObject({
  messages: z
    .array(sendBody, 'must be a list of messages')
    .min(1, 'must have at least one message')
    .max(MAX_BATCH, `must have at most ${MAX_BATCH} messages`),
})

const sendHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .regex(/^[\x20-\x7e]{1,255}$/, 'must have 1 to 255 printable ASCII characters')
    .optional(),
})

const accepted = z.object({ id: z.string(), state: messageState }).meta({ id: 'AcceptedMessage' })

const message = z
  .object({
    id: z.string(),
    state: messageState,
    waMessageId: z.string(),
    acceptedAt: z.iso.datetime(),
    sentAt: z.iso.datetime().nullable(),
    deliveredAt: z.iso.datetime().nullable(),
    readAt: z.iso.datetime().nullable(),
    failure: z.object({ code: z.string(), message: z.string() }).nullable(),
  })
  .meta({ id: 'Message' })

const listed = message.extend({ instance: z.string(), chat: z.string() }).meta({ id: 'ListedMessage' })

const listQuery = z.strictObject({
  instance: z.string().max(40, 'is too long').optional(),
  chat: z.string().max(200, 'is too long').optional(),
  state: messageState.optional(),
  before: z.string().max(40, 'is too long').optional(),
  limit: z.coerce
    .number()
    .int('must be a whole number')
    .min(1, 'must be 1 to 500')
    .max(500, 'must be 1 to 500')
    .default(50),
})

const page = z.object({
  items: z.array(listed),
  next: z
    .string()
    .nullable()
    .describe('Give it as `before` to go on; null at the end. A page may be empty and not the last'),
})

const waiting = z.object({
  id: z.string(),
  state: messageState,
  waits: z.array(z.object({ reason: z.string(), message: z.string(), until: z.iso.datetime().nullable() })),
  expiresAt: z.iso.datetime().nullable(),
})

/** What keeps a message, or a batch of them, from being queued. */
const sendErrors = [
  gatewayErrors.INSTANCE_UNKNOWN,
  gatewayErrors.SIMULATION_OVER,
  careErrors.CONSENT_MISSING,
  queueErrors.BAD_CONTENT,
  queueErrors.BAD_TIME,
  queueErrors.REASON_MISSING,
  queueErrors.IDEMPOTENCY_IN_FLIGHT,
  queueErrors.IDEMPOTENCY_MISMATCH,
]

const messageParams = z.object({ id: z.string().describe('Id of a message: `msg_…`') })

type SendInput = z.output<typeof sendBody>

/** Sending texts, what became of them, and what can still be done about it. */
export async function messageRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { audited, conversations, filing, instances, queue, reads } = ports
  const { outbox, control } = queue

  http.post(
    '/instances/:id/messages',
    {
      config: {
        scope: 'send',
        byInstance: true,
        errors: sendErrors,
      },
      schema: {
        operationId: 'sendMessage',
        summary: 'Queue a text message',
        description:
          '202 means: on disk. The same `Idempotency-Key` again gives the same answer and sends nothing.',
        params: instanceParams,
        headers: sendHeaders,
        body: sendBody,
        response: { 202: accepted },
      },
    },
    async (request, reply) => {
      const instance = instanceOf(request, instances)
      instances.assertUsable(instance)
      const chat = chatOf(request.body.to, 'to')
      await recordUrgent(request, instance, [{ chat, input: request.body }])
      const key = request.headers['idempotency-key']
      const result = await outbox.enqueue({
        ...(await toOutbound(instance, chat, request.body, '')),
        ...(key === undefined
          ? {}
          : { idempotency: { key, bodyHash: hashOf([partsOf(chat, request.body)]) } }),
      })
      say(reply, result)
      return reply.code(202).send({ id: result.id, state: 'PENDING' })
    },
  )

  http.post(
    '/instances/:id/messages/batch',
    {
      config: {
        scope: 'send',
        byInstance: true,
        errors: sendErrors,
      },
      schema: {
        operationId: 'sendBatch',
        summary: 'Queue up to 100 messages, all or none',
        description:
          'Up to 100 at once, queued in this order: all of them, or none. One key answers for all.',
        params: instanceParams,
        headers: sendHeaders,
        body: batchBody,
        response: { 202: z.object({ items: z.array(accepted) }) },
      },
    },
    async (request, reply) => {
      const instance = instanceOf(request, instances)
      instances.assertUsable(instance)
      const inputs = request.body.messages
      const chats = inputs.map(({ to }, nth) => chatOf(to, `messages.${nth}.to`))
      const addressed = inputs.map((input, nth) => ({ chat: chats[nth]!, input }))
      await recordUrgent(request, instance, addressed)
      const key = request.headers['idempotency-key']
      const parts = inputs.map((input, nth) => partsOf(chats[nth]!, input))
      // A hundred questions each: not of all callers at once.
      const messages = await reads.run(() =>
        Promise.all(inputs.map((input, nth) => toOutbound(instance, chats[nth]!, input, `messages.${nth}.`))),
      )
      const results = await outbox.enqueueBatch({
        messages,
        ...(key === undefined ? {} : { idempotency: { key, bodyHash: hashOf(parts) } }),
      })
      const last = results.at(-1)
      if (last !== undefined) say(reply, last)
      return reply.code(202).send({ items: results.map(({ id }) => ({ id, state: 'PENDING' as const })) })
    },
  )

  http.get(
    '/messages',
    {
      config: { scope: 'read', byInstance: true, errors: [gatewayErrors.INSTANCE_UNKNOWN] },
      schema: {
        operationId: 'listMessages',
        summary: 'List messages, newest first',
        description: 'Newest first, those that wait and those that ended in the last 72 hours.',
        querystring: listQuery,
        response: { 200: page },
      },
    },
    async (request) => {
      const { instance, chat, state, before, limit } = request.query
      const caller = callerOf(request)
      const filter = {
        ...(caller.reach === '*' ? {} : { tenant: caller.reach }),
        ...(instance === undefined ? {} : { instance: instanceNamed(instance, request, instances).id }),
        ...(chat === undefined ? {} : { chat: chatOf(chat, 'chat') }),
        ...(state === undefined ? {} : { state }),
        ...(before === undefined ? {} : { before: cursorOf(before) }),
      }
      return reads.run(async () => {
        const { items, next } = await control.list({ ...filter, limit })
        return {
          items: items
            .filter((status) => maySee(caller, status))
            .map((status) => ({ ...toAnswer(status), instance: status.instance, chat: status.chat })),
          next,
        }
      })
    },
  )

  http.get(
    '/messages/:id',
    {
      config: { scope: 'read', byInstance: true, errors: [messageErrors.FORGOTTEN] },
      schema: {
        operationId: 'getMessage',
        summary: 'Show what became of a message',
        params: messageParams,
        response: { 200: message },
      },
    },
    async (request) => toAnswer(await statusFor(request)),
  )

  http.get(
    '/messages/:id/why',
    {
      config: { scope: 'read', byInstance: true, errors: [messageErrors.FORGOTTEN] },
      schema: {
        operationId: 'explainMessage',
        summary: 'Why a message waits',
        description:
          'Everything that keeps a message from being sent now; `waits` is empty when it does not wait.',
        params: messageParams,
        response: { 200: waiting },
      },
    },
    async (request) => {
      const { id, state } = await statusFor(request)
      const { waits, expiresAt } = await control.why(id)
      return {
        id,
        state,
        waits: waits.map(({ reason, message, until }) => ({ reason, message, until: isoOrNull(until) })),
        expiresAt: isoOrNull(expiresAt),
      }
    },
  )

  http.delete(
    '/messages/:id',
    {
      config: {
        scope: 'queue',
        byInstance: true,
        errors: [
          messageErrors.FORGOTTEN,
          queueErrors.NOT_FOUND,
          queueErrors.FINISHED,
          queueErrors.ON_THE_WIRE,
        ],
      },
      schema: {
        operationId: 'cancelMessage',
        summary: 'Cancel a message that waits',
        description: 'Only a message that waits can be cancelled: 409 once it is on the wire or finished.',
        params: messageParams,
        body: noBody,
        response: { 200: message },
      },
    },
    async (request) => {
      const { id } = await statusFor(request)
      return toAnswer(await outbox.cancel(id))
    },
  )

  http.post(
    '/messages/:id/send-now',
    {
      config: {
        scope: 'queue',
        byInstance: true,
        errors: [messageErrors.FORGOTTEN, queueErrors.NOT_WAITING],
      },
      schema: {
        operationId: 'sendMessageNow',
        summary: 'Put a message at the head of its chat, due at once',
        description: 'To the head of its chat, and due at once.',
        params: messageParams,
        body: noBody,
        response: { 200: message },
      },
    },
    async (request) => {
      const { id } = await statusFor(request)
      await control.moveToNow(id)
      return toAnswer(await statusFor(request))
    },
  )

  http.post(
    '/messages/:id/retry',
    {
      config: { scope: 'queue', byInstance: true, errors: [messageErrors.FORGOTTEN, queueErrors.NOT_FAILED] },
      schema: {
        operationId: 'retryMessage',
        summary: 'Let a failed message wait again',
        description: 'A failed message waits again, under the same WhatsApp id.',
        params: messageParams,
        body: noBody,
        response: { 200: message },
      },
    },
    async (request) => {
      const { id } = await statusFor(request)
      await control.retry(id)
      return toAnswer(await statusFor(request))
    },
  )

  /** Who passes the rules for what people did not ask for stands in the audit log, before it is queued. */
  async function recordUrgent(
    request: FastifyRequest,
    { id, tenant }: Instance,
    messages: readonly { readonly chat: ChatId; readonly input: SendInput }[],
  ): Promise<void> {
    const urgent = messages.filter(
      ({ input }) =>
        input.purpose === 'proactive' && input.priority === 'urgent' && input.reason !== undefined,
    )
    if (urgent.length === 0) return
    const to = urgent.map(({ chat }) => audited.shown('chat', chat))
    await audited.intend(request, { action: 'message.urgent', tenant, object: { id }, after: { to } })
  }

  async function toOutbound(
    instance: Instance,
    addressed: ChatId,
    input: SendInput,
    path: string,
  ): Promise<NewOutbound> {
    const chat = await ports.canonicalChat(instance.id, addressed)
    const { tenant, id } = instance
    const { text, priority, purpose, reason, sendAt, expiresAt, maxRetries } = input
    if (purpose === 'proactive') {
      if (priority === 'urgent' && reason === undefined)
        throw new EclusaError(queueErrors.REASON_MISSING, { details: { field: `${path}reason` } })
      // Known now: better said now than when its turn comes. An opt-out is judged then, because people may write again.
      const { consent, optedOutAt } = await ports.standing({ tenant, instance: id, chat })
      if (!consent && optedOutAt === null) {
        throw new EclusaError(careErrors.CONSENT_MISSING, { details: { field: `${path}to` } })
      }
    }
    // What is said to a contact belongs in the history of their conversation, whoever says it.
    const conversation = await filing.conversationOf(tenant, id, chat, addressed)
    return {
      tenant,
      instance: id,
      chat,
      content: { kind: 'text', text },
      ...(conversation === undefined
        ? {}
        : {
            alongside: ({ seq }) => [
              conversations.plan.outboundEntry(conversation, { messageSeq: seq, text, by: 'api' }),
            ],
          }),
      ...(priority === undefined ? {} : { priority }),
      ...(purpose === undefined ? {} : { purpose }),
      ...(reason === undefined ? {} : { reason }),
      ...(sendAt === undefined ? {} : { sendAt }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(maxRetries === undefined ? {} : { maxRetries }),
    }
  }

  /** A message of a tenant the key may not see does not exist for it. */
  async function statusFor(request: FastifyRequest & { params: { id: string } }): Promise<OutboundStatus> {
    const status = await outbox.status(messageIdOf(request.params.id))
    if (status === undefined || !maySee(callerOf(request), status)) throw forgotten()
    return status
  }
}

/** Tells the caller what they might want to know of an accepted message. */
function say(reply: FastifyReply, { waiting, replayed }: Accepted): void {
  if (waiting > WARN_ABOVE_WAITING) {
    reply.header('eclusa-queue-warning', `${waiting} messages of this instance are waiting`)
  }
  if (replayed) reply.header('idempotency-replayed', 'true')
}

function messageIdOf(text: string): MessageId {
  try {
    return parseMessageId(text).id
  } catch (cause) {
    throw forgotten(cause)
  }
}

function cursorOf(text: string): MessageId {
  try {
    return parseMessageId(text).id
  } catch {
    throw badField('before', 'must be the "next" of the page before')
  }
}

function forgotten(cause?: unknown): EclusaError {
  return new EclusaError(messageErrors.FORGOTTEN, { details: { field: 'message' }, cause })
}

/** What makes a message that one and no other; as it was addressed, because what is known of a person may grow. */
function partsOf(chat: ChatId, { text, reason, ...more }: SendInput): readonly unknown[] {
  const { priority = null, purpose = null, sendAt = null, expiresAt = null, maxRetries = null } = more
  const parts = [chat, text, priority, purpose, sendAt, expiresAt, maxRetries]
  // Keys of the day before know no reason.
  return reason === undefined ? parts : [...parts, reason]
}

/** Told apart by their JSON: no two different bodies run together. */
function hashOf(parts: readonly (readonly unknown[])[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

function toAnswer(status: OutboundStatus): z.input<typeof message> {
  return {
    id: status.id,
    state: status.state,
    waMessageId: status.waMessageId,
    acceptedAt: new Date(status.acceptedAt).toISOString(),
    sentAt: isoOrNull(status.sentAt),
    deliveredAt: isoOrNull(status.deliveredAt),
    readAt: isoOrNull(status.readAt),
    failure: status.failure,
  }
}
