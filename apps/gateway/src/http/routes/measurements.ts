import { z } from 'zod'
import { cachesReportSchema } from '../../measurements/caches-report.ts'
import { measuredColumns } from '../../measurements/measurements.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const series = z.record(z.enum(measuredColumns as [string, ...string[]]), z.array(z.number()))

const setting = z.object({
  name: z.string(),
  value: z.string(),
  origin: z.enum(['default', 'environment']),
  values: z.string(),
  meaning: z.string(),
})

/** How the gateway did in the last hour or day, and how its caches are. It concerns all tenants. */
export async function measurementRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const config = { scope: 'read', operatorsOnly: true } as const

  http.get(
    '/measurements',
    {
      config,
      schema: {
        operationId: 'getMeasurements',
        summary: 'How the gateway did in the last hour or day',

        querystring: z.strictObject({
          span: z.enum(['hour', 'day'], 'must be "hour" or "day"').default('hour'),
        }),
        response: { 200: z.object({ everyMs: z.number(), at: z.array(z.number()), series }) },
      },
    },
    async (request) => {
      const { everyMs, at, series: columns } = ports.measurements.stretch(request.query.span)
      return {
        everyMs,
        at: [...at],
        series: Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, [...values]])),
      }
    },
  )

  http.get(
    '/settings',
    {
      config,
      schema: {
        operationId: 'getSettings',
        summary: 'Every setting with its value, and where that comes from; no secret',
        response: { 200: z.object({ items: z.array(setting) }) },
      },
    },
    async () => ({ items: [...ports.settings] }),
  )

  http.get(
    '/caches',
    {
      config,
      schema: {
        operationId: 'getCaches',
        summary: 'How the caches are',
        response: { 200: cachesReportSchema },
      },
    },
    async () => ports.caches(),
  )
}
