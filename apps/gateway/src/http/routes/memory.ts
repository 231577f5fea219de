import { EclusaError } from '@eclusa/kernel'
import { gatewayErrors } from '../../errors.ts'
import { memoryReportSchema } from '../../memory/memory-report.ts'
import { scopeOf } from '../auth.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

/** How the ceiling is divided, what is used, and what gives way just now. It concerns all tenants: for operators only. */
export async function memoryRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  http.get('/memory', { schema: { response: { 200: memoryReportSchema } } }, async (request) => {
    if (scopeOf(request) !== '*') throw new EclusaError(gatewayErrors.FORBIDDEN)
    return ports.memory()
  })
}
