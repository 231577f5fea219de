import type { ChatId } from '@eclusa/kernel'
import type { InstanceQueue } from '@eclusa/queue'
import { z } from 'zod'
import type { Instance } from '../../instances/instance-store.ts'
import { scopeOf } from '../auth.ts'
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
      schema: {
        response: {
          200: z.object({ total: counts, items: z.array(counts.extend({ instance: z.string() })) }),
        },
      },
    },
    async (request) => {
      const seen = instances.list(scopeOf(request), { hidden: true })
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
    { schema: { params: instanceParams, response: { 200: queueAnswer } } },
    async (request) => answerOf(instanceOf(request, instances)),
  )

  http.post(
    '/instances/:id/queue/retry-failed',
    { schema: { params: instanceParams, body: noBody, response: { 200: z.object({ retried: z.int() }) } } },
    async (request) => {
      const { id } = instanceOf(request, instances)
      return { retried: await reads.run(() => control.retryFailed(id)) }
    },
  )

  /** What was never handed to WhatsApp; `onTheWire` tells how many go on. */
  http.delete(
    '/instances/:id/chats/:chat/messages',
    {
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

  for (const verb of ['pause', 'resume'] as const) {
    http.post(
      `/instances/:id/queue/${verb}`,
      { schema: { params: instanceParams, body: noBody, response: { 200: queueAnswer } } },
      async (request) => {
        const instance = instanceOf(request, instances)
        await control[verb]({ tenant: instance.tenant, instance: instance.id, chat: null })
        return answerOf(instance)
      },
    )

    http.post(
      `/instances/:id/chats/:chat/${verb}`,
      { schema: { params: chatParams, body: noBody, response: { 200: queueAnswer } } },
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
  const { pending, processing, failed, oldestAt, isOnline, pauses, coldPause } = queue
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
    coldChatsPaused:
      coldPause === null ? null : { until: new Date(coldPause.until).toISOString(), code: coldPause.code },
  }
}
