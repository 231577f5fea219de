import { createReadStream } from 'node:fs'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { BuiltDashboard, DashboardFile } from '../../dashboard/built-dashboard.ts'
import type { HttpServer } from '../server.ts'

/**
 * The page runs our scripts and nothing else, loads nothing from elsewhere and stands in no frame. Styles may be
 * inline: Mantine sets sizes and colours that way. No text can become markup (trusted types).
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ')

/** How the files of each build were packed, best first. */
const PACKED = [
  { encoding: 'br', suffix: '.br' },
  { encoding: 'gzip', suffix: '.gz' },
] as const

const NOT_BUILT = `<!doctype html><meta charset="utf-8"><title>Eclusa</title>
<p>The gateway runs; its dashboard is not built. On the server: <code>npm ci &amp;&amp; npm start</code>.</p>
`

/** Addresses that are no page of the dashboard, whoever asks. */
const API = /^\/(?:v1|livez|readyz|health|metrics|assets)(?:[/?]|$)/

/** Hands out the dashboard: its files, and its one page for every address that a person may type. */
export async function dashboardRoutes(
  http: HttpServer,
  { built }: { readonly built: BuiltDashboard | null },
): Promise<void> {
  for (const [path, file] of built ?? []) {
    if (path === '/index.html') continue
    http.get(path, { config: { scope: 'public' }, schema: { hide: true } }, async (request, reply) =>
      send(request, reply, file),
    )
  }
  http.get('/', { config: { scope: 'public' }, schema: { hide: true } }, async (request, reply) =>
    sendPage(request, reply, built),
  )
}

/** Whether a person asks for a page, which is then the dashboard's, wherever in it they want to go. */
export function wantsPage(request: FastifyRequest): boolean {
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  return isRead && !API.test(request.url) && /\btext\/html\b/.test(request.headers.accept ?? '')
}

export function sendPage(
  request: FastifyRequest,
  reply: FastifyReply,
  built: BuiltDashboard | null,
): FastifyReply {
  const page = built?.get('/index.html')
  if (page === undefined) return reply.code(503).type('text/html; charset=utf-8').send(NOT_BUILT)
  return send(request, reply, page)
}

function send(request: FastifyRequest, reply: FastifyReply, one: DashboardFile): FastifyReply {
  reply
    .header('content-security-policy', POLICY)
    .header('cross-origin-opener-policy', 'same-origin')
    .header('permissions-policy', 'camera=(), geolocation=(), microphone=()')
    .header('cache-control', one.isImmutable ? 'public, max-age=31536000, immutable' : 'no-cache')
    .header('vary', 'accept-encoding')
    .header('etag', `"${one.etag}"`)
  if (request.headers['if-none-match'] === `"${one.etag}"`) return reply.code(304).send()
  const welcome = request.headers['accept-encoding'] ?? ''
  const packed = PACKED.find(({ encoding }) =>
    new RegExp(`\\b${encoding}\\b(?!\\s*;\\s*q=0(?:\\.0*)?(?:,|$))`).test(welcome),
  )
  if (packed !== undefined) reply.header('content-encoding', packed.encoding)
  const path = packed === undefined ? one.file : new URL(`${one.file.href}${packed.suffix}`)
  return reply.type(one.type).send(createReadStream(path))
}
