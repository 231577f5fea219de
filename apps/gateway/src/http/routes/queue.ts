import { type ChatId, EclusaError } from '@eclusa/kernel'
import { type InstanceQueue, queueErrors } from '@eclusa/queue'
import { z } from 'zod'
import type { Instance } from '../../instances/instance-store.ts'
import { gatewayErrors } from '../../errors.ts'
import { callerOf } from '../auth.ts'
import { chatOf, instanceOf, instanceParams, noBody, tenantOf, tenantParams } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const queueAnswer = z
  .object({
    instance: z.string(),
    tenant: z.string(),
    pending: z.int().describe('Messages by state'),
    processing: z.int(),
    failed: z.int(),
    oldestAcceptedAt: z.iso.datetime().nullable(),
    online: z.boolean(),
    paused: z.object({
      tenant: z.boolean(),
      instance: z.boolean(),
      chats: z.array(z.string()),
    }),
    coldChatsPaused: z
      .object({ until: z.iso.datetime(), code: z.string() })
      .nullable()
      .describe('Set while WhatsApp restricts it: only conversations flow'),
    /** Whether people want what it sends them unasked; `since` is null when nothing was ever wrong. */
    proactive: z.object({
      level: z.enum(['WELL', 'SLOWED', 'PAUSED']),
      cause: z.enum(['DELIVERY', 'REPLIES', 'OPT_OUTS']).nullable(),
      since: z.iso.datetime().nullable(),
    }),
  })
  .meta({ id: 'InstanceQueue' })

const pausedText = z.object({
  id: z.string().describe('A hash of the text, which only this installation can make'),
  tenant: z.string().describe('Whose message was one too many'),
  pausedAt: z.iso.datetime(),
  until: z.iso.datetime(),
  allowed: z.boolean().describe('The operator lets it go on until then'),
})

const counts = z.object({ pending: z.int(), processing: z.int(), failed: z.int() })

const chatParams = z.object({ id: z.string(), chat: z.string().max(200) })

/** How queues are; stopping and resuming them; cancelling and retrying many at once. */
export async function queueRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { instances, reads } = ports
  const { outbox, control } = ports.queue

  http.get(
    '/queue',
    {
      config: { scope: 'read', byInstance: true },
      schema: {
        operationId: 'getQueue',
        summary: 'Count what waits, by instance',
        description: 'Counts by instance, of all that the key may see.',
        response: {
          200: z.object({ total: counts, items: z.array(counts.extend({ instance: z.string() })) }),
        },
      },
    },
    async (request) => {
      const seen = instances.list(callerOf(request), { hidden: true })
      return reads.run(async () => {
        const items = await Promise.all(
          seen.map(async ({ id }) => ({ instance: id, ...(await outbox.stats(id)) })),
        )
        const total = { pending: 0, processing: 0, failed: 0 }
        for (const item of items) for (const key of countKeys) total[key] += item[key]
        return { total, items }
      })
    },
  )

  http.get(
    '/instances/:id/queue',
    {
      config: { scope: 'read', byInstance: true, errors: [gatewayErrors.INSTANCE_UNKNOWN] },
      schema: {
        operationId: 'getInstanceQueue',
        summary: 'How the queue of an instance is',
        params: instanceParams,
        response: { 200: queueAnswer },
      },
    },
    async (request) => answerOf(instanceOf(request, instances)),
  )

  http.post(
    '/instances/:id/queue/retry-failed',
    {
      config: { scope: 'queue', byInstance: true, errors: [gatewayErrors.INSTANCE_UNKNOWN] },
      schema: {
        operationId: 'retryFailedMessages',
        summary: 'Let all failed messages of an instance wait again',
        params: instanceParams,
        body: noBody,
        response: { 200: z.object({ retried: z.int() }) },
      },
    },
    async (request) => {
      const { id } = instanceOf(request, instances)
      return { retried: await reads.run(() => control.retryFailed(id)) }
    },
  )

  http.delete(
    '/instances/:id/chats/:chat/messages',
    {
      config: { scope: 'queue', byInstance: true, errors: [gatewayErrors.INSTANCE_UNKNOWN] },
      schema: {
        operationId: 'cancelChat',
        summary: 'Cancel what waits in a chat',
        description: 'What was never handed to WhatsApp; `onTheWire` tells how many go on.',
        params: chatParams,
        body: noBody,
        response: { 200: z.object({ cancelled: z.int(), onTheWire: z.int() }) },
      },
    },
    async (request) => {
      const instance = instanceOf(request, instances)
      const chat = await chatNamed(instance, request.params.chat)
      return reads.run(() => outbox.cancelChat(instance.id, chat))
    },
  )

  http.post(
    '/instances/:id/queue/resume-proactive',
    {
      config: {
        scope: 'queue',
        operatorsOnly: true,
        byInstance: true,
        errors: [gatewayErrors.INSTANCE_UNKNOWN],
      },
      schema: {
        operationId: 'resumeProactive',
        summary: 'Let an instance write to people unasked again',
        description: 'What was measured until now does not count any more.',
        params: instanceParams,
        body: noBody,
        response: { 200: queueAnswer },
      },
    },
    async (request) => {
      const instance = instanceOf(request, instances)
      await ports.queue.health.end(instance.tenant, instance.id)
      return answerOf(instance)
    },
  )

  http.get(
    '/paused-texts',
    {
      config: { scope: 'read', operatorsOnly: true },
      schema: {
        operationId: 'listPausedTexts',
        summary: 'List texts that went to too many',
        description:
          'Texts that went to too many contacts within an hour, whichever tenants sent them: the newest 500.',
        response: { 200: z.object({ items: z.array(pausedText) }) },
      },
    },
    async () => {
      const texts = await ports.queue.texts.list()
      return {
        items: texts.map(({ pausedAt, until, ...text }) => ({
          ...text,
          pausedAt: new Date(pausedAt).toISOString(),
          until: new Date(until).toISOString(),
        })),
      }
    },
  )

  http.post(
    '/paused-texts/:text/allow',
    {
      config: { scope: 'queue', operatorsOnly: true, errors: [gatewayErrors.NO_SUCH_TEXT] },
      schema: {
        operationId: 'allowPausedText',
        summary: 'Let a paused text go on',
        params: z.object({ text: z.string().max(100) }),
        body: noBody,
        response: { 200: z.object({ id: z.string(), allowed: z.boolean() }) },
      },
    },
    async (request) => {
      const id = request.params.text
      if (!(await ports.queue.texts.allow(id)))
        throw new EclusaError(gatewayErrors.NO_SUCH_TEXT, { details: { field: 'text' } })
      return { id, allowed: true }
    },
  )

  for (const verb of ['pause', 'resume'] as const) {
    const said = verb === 'pause' ? 'Stop the sending' : 'Go on with the sending'
    http.post(
      `/instances/:id/queue/${verb}`,
      {
        config: {
          scope: 'queue',
          byInstance: true,
          errors: [gatewayErrors.INSTANCE_UNKNOWN, queueErrors.TOO_MANY_PAUSES],
        },
        schema: {
          operationId: `${verb}InstanceQueue`,
          summary: `${said} of an instance`,
          params: instanceParams,
          body: noBody,
          response: { 200: queueAnswer },
        },
      },
      async (request) => {
        const instance = instanceOf(request, instances)
        await control[verb]({ tenant: instance.tenant, instance: instance.id, chat: null })
        return answerOf(instance)
      },
    )

    http.post(
      `/instances/:id/chats/:chat/${verb}`,
      {
        config: {
          scope: 'queue',
          byInstance: true,
          errors: [gatewayErrors.INSTANCE_UNKNOWN, queueErrors.TOO_MANY_PAUSES],
        },
        schema: {
          operationId: `${verb}Chat`,
          summary: `${said} of a chat`,
          params: chatParams,
          body: noBody,
          response: { 200: queueAnswer },
        },
      },
      async (request) => {
        const instance = instanceOf(request, instances)
        const chat = await chatNamed(instance, request.params.chat)
        await control[verb]({ tenant: instance.tenant, instance: instance.id, chat })
        return answerOf(instance)
      },
    )

    http.post(
      `/tenants/:tenant/queue/${verb}`,
      {
        config: { scope: 'queue', errors: [queueErrors.TOO_MANY_PAUSES] },
        schema: {
          operationId: `${verb}TenantQueue`,
          summary: `${said} of all instances of a tenant`,
          params: tenantParams,
          body: noBody,
          response: { 200: z.object({ paused: z.boolean() }) },
        },
      },
      async (request) => {
        const tenant = tenantOf(request)
        await control[verb]({ tenant, instance: null, chat: null })
        return { paused: control.isTenantPaused(tenant) }
      },
    )
  }

  async function answerOf({ id, tenant }: Instance): Promise<z.input<typeof queueAnswer>> {
    return reads.run(async () => toAnswer(id, tenant, await control.instance(tenant, id)))
  }

  async function chatNamed({ id }: Instance, text: string): Promise<ChatId> {
    return ports.canonicalChat(id, chatOf(text, 'chat'))
  }
}

const countKeys = ['pending', 'processing', 'failed'] as const

function toAnswer(id: string, tenant: string, queue: InstanceQueue): z.input<typeof queueAnswer> {
  const { pending, processing, failed, oldestAt, isOnline, pauses, coldPause, health } = queue
  return {
    instance: id,
    tenant,
    pending,
    processing,
    failed,
    oldestAcceptedAt: oldestAt === null ? null : new Date(oldestAt).toISOString(),
    online: isOnline,
    paused: {
      tenant: pauses.some(({ instance }) => instance === null),
      instance: pauses.some(({ instance, chat }) => instance !== null && chat === null),
      chats: pauses.flatMap(({ chat }) => (chat === null ? [] : [chat])),
    },
    proactive: { ...health, since: health.since === 0 ? null : new Date(health.since).toISOString() },
    coldChatsPaused:
      coldPause === null ? null : { until: new Date(coldPause.until).toISOString(), code: coldPause.code },
  }
}
