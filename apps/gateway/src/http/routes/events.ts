import type { ServerResponse } from 'node:http'
import { z } from 'zod'
import type { StreamSink } from '../../events/event-streams.ts'
import { callerOf } from '../auth.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const cursor = z.coerce.number('must be a whole number').int('must be a whole number').min(0)
const query = z.strictObject({
  /** Replay what came after this event; for a first call, as `Last-Event-ID` is for the calls after it. */
  after: cursor.optional(),
})
const headers = z.looseObject({ 'last-event-id': cursor.optional() })

/** Everything that happens, as server-sent events; without a cursor from now on. */
export async function eventRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const options = { config: { scope: 'read' }, schema: { querystring: query, headers } } as const
  http.get('/events', options, async (request, reply) => {
    const { reach } = callerOf(request)
    const after = request.headers['last-event-id'] ?? request.query.after ?? null
    const response = reply.raw
    let gone = (): void => {}
    // The stream writes its first words on opening: the head must come before them, and a refusal before both.
    const sink = sinkOf(response, () => {
      reply.hijack()
      response.writeHead(200, {
        ...(reply.getHeaders() as Record<string, string>),
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store, no-transform',
        // Tells nginx not to gather the stream.
        'x-accel-buffering': 'no',
      })
      response.on('close', () => gone())
    })
    gone = ports.streams.open(sink, { after, ...(reach === '*' ? {} : { tenant: reach }) })
    return reply
  })
}

function sinkOf(response: ServerResponse, begin: () => void): StreamSink {
  let begun = false
  return {
    write(text, onFlushed) {
      if (!begun) begin()
      begun = true
      if (response.writableEnded || response.destroyed) onFlushed()
      else response.write(text, () => onFlushed())
    },
    unsentBytes: () => response.writableLength,
    end: () => void response.end(),
    destroy: () => void response.destroy(),
  }
}
