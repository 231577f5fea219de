import { z } from 'zod'
import type { HttpPorts, HttpServer } from '../server.ts'

/** For Prometheus, with an operator's key as its bearer token. docs/monitoring.md names what is told. */
export async function metricsRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  http.get(
    '/metrics',
    {
      config: { scope: 'read', operatorsOnly: true },
      schema: {
        operationId: 'getMetrics',
        summary: 'How it is, in the text format of Prometheus',
        response: { 200: { content: { 'text/plain': { schema: z.string() } } } },
      },
    },
    async (_request, reply) => {
      const { contentType, body } = await ports.metrics.text()
      return reply
        .type(contentType)
        .serializer((text: string) => text)
        .send(body)
    },
  )
}
