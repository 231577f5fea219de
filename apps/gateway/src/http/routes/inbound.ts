import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import { inboundShape, shownInbound } from '../inbound-shape.ts'
import { instanceOf, instanceParams, noBody } from '../inputs.ts'
import { PAGE_BYTES } from '../limits.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const MAX_PAGE = 500

const query = z.strictObject({
  after: z.coerce
    .number('must be a whole number')
    .int('must be a whole number')
    .min(0)
    .default(0)
    .describe(
      'The `next` of the page before, or the id of the last message seen; without it, from the oldest on',
    ),
  limit: z.coerce
    .number('must be a whole number')
    .int('must be a whole number')
    .min(1)
    .max(MAX_PAGE)
    .default(100),
})

const page = z.object({ items: z.array(inboundShape), next: z.number().nullable() })

const setAsidePage = z.object({
  items: z.array(
    inboundShape.extend({ setAsideAt: z.iso.datetime(), reason: z.string(), attempts: z.number() }),
  ),
  next: z.number().nullable(),
})

const setAsideParams = instanceParams.extend({ message: z.string() })

/** What contacts wrote, oldest first. A page ends early when its texts are long: `next` says where to go on. */
export async function inboundRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  http.get(
    '/instances/:id/inbound',
    {
      config: { scope: 'read', byInstance: true, errors: [gatewayErrors.INSTANCE_UNKNOWN] },
      schema: {
        operationId: 'listInbound',
        summary: 'List what contacts wrote, oldest first',
        params: instanceParams,
        querystring: query,
        response: { 200: page },
      },
    },
    async (request) => {
      const { id } = instanceOf(request, ports.instances)
      const { after, limit } = request.query
      return ports.reads.run(async () => {
        const { items, next } = await ports.journal.list({ instance: id, after, limit, maxBytes: PAGE_BYTES })
        return {
          items: items.map(shownInbound),
          next,
        }
      })
    },
  )

  // What could not be processed in five tries, and waits for somebody to decide.
  http.get(
    '/instances/:id/inbound/set-aside',
    {
      config: { scope: 'read', byInstance: true, errors: [gatewayErrors.INSTANCE_UNKNOWN] },
      schema: {
        operationId: 'listSetAside',
        summary: 'List messages that could not be processed',
        params: instanceParams,
        querystring: query,
        response: { 200: setAsidePage },
      },
    },
    async (request) => {
      const { id } = instanceOf(request, ports.instances)
      const { after, limit } = request.query
      return ports.reads.run(async () => {
        const found = await ports.journal.setAsideList({ instance: id, after, limit, maxBytes: PAGE_BYTES })
        return {
          items: found.items.map((item) => ({
            ...shownInbound(item),
            setAsideAt: new Date(item.setAsideAt).toISOString(),
            reason: item.reason,
            attempts: item.attempts,
          })),
          next: found.next,
        }
      })
    },
  )

  http.post(
    '/instances/:id/inbound/set-aside/:message/retry',
    {
      config: {
        scope: 'queue',
        byInstance: true,
        errors: [gatewayErrors.INSTANCE_UNKNOWN, gatewayErrors.NOT_SET_ASIDE],
      },
      schema: {
        operationId: 'retrySetAside',
        summary: 'Process a message that was set aside again',
        params: setAsideParams,
        body: noBody,
        response: { 202: z.null() },
      },
    },
    async (request, reply) => {
      const { id, tenant } = instanceOf(request, ports.instances)
      await ports.inbox.retry(tenant, id, journalIdOf(request.params.message))
      return reply.code(202).send(null)
    },
  )

  http.delete(
    '/instances/:id/inbound/set-aside/:message',
    {
      config: {
        scope: 'queue',
        byInstance: true,
        errors: [gatewayErrors.INSTANCE_UNKNOWN, gatewayErrors.NOT_SET_ASIDE],
      },
      schema: {
        operationId: 'dropSetAside',
        summary: 'Give up a message that was set aside',
        params: setAsideParams,
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const { id } = instanceOf(request, ports.instances)
      await ports.inbox.drop(id, journalIdOf(request.params.message))
      return reply.code(204).send(null)
    },
  )
}

/** Whatever has not the form of an id is one that is not set aside. */
function journalIdOf(text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : 0
}
