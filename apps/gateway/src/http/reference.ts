import type { OpenApiDocument } from './openapi.ts'
import { buildHttp, type HttpPorts } from './server.ts'

/** The API's description as it stands in docs/openapi.json: of the routes as they are, with nothing behind them. */
export async function renderOpenApi(): Promise<string> {
  return `${JSON.stringify(await describedApi(), null, 2)}\n`
}

async function describedApi(): Promise<OpenApiDocument> {
  const { http } = await buildHttp(nothing as HttpPorts)
  await http.ready()
  const document = http.swagger() as unknown as OpenApiDocument
  await http.close()
  return document
}

/** Whatever routes look for while they are declared is there, and nothing of it does anything. */
const nothing: unknown = new Proxy(() => nothing, {
  // A promise would be waited for.
  get: (_target, name) => (name === 'then' ? undefined : nothing),
})
