import { memoryReportSchema } from '../../memory/memory-report.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

/** How the ceiling is divided, what is used, and what gives way just now. It concerns all tenants: for operators only. */
export async function memoryRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  http.get(
    '/memory',
    {
      config: { scope: 'read', operatorsOnly: true },
      schema: {
        operationId: 'getMemory',
        summary: 'How memory is divided, used and given up just now',
        response: { 200: memoryReportSchema },
      },
    },
    async () => ports.memory(),
  )
}
