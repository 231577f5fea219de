import swaggerUi from '@fastify/swagger-ui'
import type { RouteOptions } from 'fastify'
import type { HttpServer } from './server.ts'

const PREFIX = '/docs'

/** Its own files and this gateway, and nothing else: the only pages here that run a script. Styles are set inline. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Swagger UI, with the document it shows at `/docs/json`. A key that is typed in there is forgotten with the page. */
export async function serveApiPages(http: HttpServer): Promise<void> {
  await http.register(swaggerUi, {
    routePrefix: PREFIX,
    staticCSP: POLICY,
    // The document is not changed by who reads it.
    transformSpecificationClone: false,
    uiConfig: {
      persistAuthorization: false,
      displayRequestDuration: true,
      docExpansion: 'none',
      filter: true,
    },
    theme: { title: 'Eclusa: the API' },
  })
}

/** Says of the pages' routes, which are not ours, that nobody needs a key for them. */
export function declarePages(route: RouteOptions): void {
  const isOfPages = route.url === PREFIX || route.url.startsWith(`${PREFIX}/`)
  if (isOfPages && route.schema?.hide === true) route.config = { ...route.config, scope: 'public' }
}
