import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const answer = z.object({ status: z.literal('ok') })

/** For machines that watch over this one; without a key, and without anything to learn from. */
export async function healthRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  /** The event loop turns. */
  http.get(
    '/livez',
    {
      config: { scope: 'public' },
      schema: { operationId: 'getLive', summary: 'Whether the event loop turns', response: { 200: answer } },
    },
    async () => ({
      status: 'ok' as const,
    }),
  )

  /** Work can be taken and stored. */
  http.get(
    '/readyz',
    {
      config: { scope: 'public', errors: [gatewayErrors.NOT_READY] },
      schema: {
        operationId: 'getReady',
        summary: 'Whether work can be taken and stored',
        response: { 200: answer },
      },
    },
    async () => {
      await ports.ready.check()
      return { status: 'ok' as const }
    },
  )
}
