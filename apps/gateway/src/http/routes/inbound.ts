import { z } from 'zod'
import { inboundShape, shownInbound } from '../inbound-shape.ts'
import { instanceOf, instanceParams } from '../inputs.ts'
import { PAGE_BYTES } from '../limits.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const MAX_PAGE = 500

const query = z.strictObject({
  /** The `next` of the page before, or the id of the last message seen; without it, from the oldest on. */
  after: z.coerce.number('must be a whole number').int('must be a whole number').min(0).default(0),
  limit: z.coerce
    .number('must be a whole number')
    .int('must be a whole number')
    .min(1)
    .max(MAX_PAGE)
    .default(100),
})

const page = z.object({ items: z.array(inboundShape), next: z.number().nullable() })

/** What contacts wrote, oldest first. A page ends early when its texts are long: `next` says where to go on. */
export async function inboundRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  http.get(
    '/instances/:id/inbound',
    { schema: { params: instanceParams, querystring: query, response: { 200: page } } },
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
}
