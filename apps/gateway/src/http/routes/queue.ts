import { type ChatId, EclusaError } from '@eclusa/kernel'
import type { InstanceQueue } from '@eclusa/queue'
import { z } from 'zod'
import type { Instance } from '../../instances/instance-store.ts'
import { gatewayErrors } from '../../errors.ts'
import { callerOf } from '../auth.ts'
import { chatOf, instanceOf, instanceParams, noBody, tenantOf, tenantParams } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const queueAnswer = z.object({
  instance: z.string(),
  tenant: z.string(),
  /** Messages by state. */
  pending: z.int(),
  processing: z.int(),
  failed: z.int(),
  oldestAcceptedAt: z.iso.datetime().nullable(),
  online: z.boolean(),
  paused: z.object({
    tenant: z.boolean(),
    instance: z.boolean(),
    chats: z.array(z.string()),
  }),
  /** Set while WhatsApp restricts it: only conversations flow. */
  coldChatsPaused: z.object({ until: z.iso.datetime(), code: z.string() }).nullable(),
  /** Whether people want what it sends them unasked; `since` is null when nothing was ever wrong. */
  proactive: z.object({
    level: z.enum(['WELL', 'SLOWED', 'PAUSED']),
    cause: z.enum(['DELIVERY', 'REPLIES', 'OPT_OUTS']).nullable(),
    since: z.iso.datetime().nullable(),
  }),
})

const pausedText = z.object({
  /** A hash of the text, which only this installation can make. */
  id: z.string(),
  /** Whose message was one too many. */
  tenant: z.string(),
  pausedAt: z.iso.datetime(),
  until: z.iso.datetime(),
  /** The operator lets it go on until then. */
  allowed: z.boolean(),
})

const counts = z.object({ pending: z.int(), processing: z.int(), failed: z.int() })

const chatParams = z.object({ id: z.string(), chat: z.string().max(200) })

/** How queues are; stopping and resuming them; cancelling and retrying many at once. */
export async function queueRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { instances, reads } = ports
  const { outbox, control } = ports.queue

  /** Counts by instance, of all that the key may see. */
  http.get(
    '/queue',
    {
      config: { scope: 'read', byInstance: true },
      schema: {
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
      config: { scope: 'read', byInstance: true },
      schema: { params: instanceParams, response: { 200: queueAnswer } },
    },
    async (request) => answerOf(instanceOf(request, instances)),
  )

  http.post(
    '/instances/:id/queue/retry-failed',
    {
      config: { scope: 'queue', byInstance: true },
      schema: { params: instanceParams, body: noBody, response: { 200: z.object({ retried: z.int() }) } },
    },
    async (request) => {
      const { id } = instanceOf(request, instances)
      return { retried: await reads.run(() => control.retryFailed(id)) }
    },
  )

  /** What was never handed to WhatsApp; `onTheWire` tells how many go on. */
  http.delete(
    '/instances/:id/chats/:chat/messages',
    {
      config: { scope: 'queue', byInstance: true },
      schema: {
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

  /** What was measured until now does not count any more. */
  http.post(
    '/instances/:id/queue/resume-proactive',
    {
      config: { scope: 'queue', operatorsOnly: true, byInstance: true },
      schema: { params: instanceParams, body: noBody, response: { 200: queueAnswer } },
    },
    async (request) => {
      const instance = instanceOf(request, instances)
      await ports.queue.health.end(instance.tenant, instance.id)
      return answerOf(instance)
    },
  )

  /** Texts that went to too many contacts within an hour, whichever tenants sent them: the newest 500. */
  http.get(
    '/paused-texts',
    {
      config: { scope: 'read', operatorsOnly: true },
      schema: { response: { 200: z.object({ items: z.array(pausedText) }) } },
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
      config: { scope: 'queue', operatorsOnly: true },
      schema: {
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
    http.post(
      `/instances/:id/queue/${verb}`,
      {
        config: { scope: 'queue', byInstance: true },
        schema: { params: instanceParams, body: noBody, response: { 200: queueAnswer } },
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
        config: { scope: 'queue', byInstance: true },
        schema: { params: chatParams, body: noBody, response: { 200: queueAnswer } },
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
        config: { scope: 'queue' },
        schema: { params: tenantParams, body: noBody, response: { 200: z.object({ paused: z.boolean() }) } },
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
