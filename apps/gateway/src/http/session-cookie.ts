import { EclusaError } from '@eclusa/kernel'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { gatewayErrors } from '../errors.ts'
import { MAX_AGE_MS } from '../login/limits.ts'

/** Only browsers that reach us over TLS take this name; no other host or path can set it. */
const SECURE_NAME = '__Host-eclusa'
const PLAIN_NAME = 'eclusa'
/** Set by our own page on each call; a page of another origin cannot without being asked first (CORS), which we refuse. */
const GUARD = 'x-eclusa-request'

/** What the cookie of this request holds; null without one. */
export function tokenOf(request: FastifyRequest): string | null {
  const cookies = (request.headers.cookie ?? '').slice(0, 4096).split(';')
  for (const name of [SECURE_NAME, PLAIN_NAME]) {
    for (const cookie of cookies) {
      const [key, value] = cookie.split('=', 2)
      if (key?.trim() === name && value !== undefined) return value.trim()
    }
  }
  return null
}

/** Never readable by a script, never sent from another site; over TLS bound to this host. */
export function setToken(request: FastifyRequest, reply: FastifyReply, token: string): void {
  const maxAge = Math.floor(MAX_AGE_MS / 1000)
  reply.header('set-cookie', cookieOf(isOverTls(request), token, maxAge))
}

export function clearToken(reply: FastifyReply): void {
  reply.header('set-cookie', [cookieOf(true, '', 0), cookieOf(false, '', 0)])
}

/**
 * A cookie comes with whatever a browser sends, also on behalf of another page: this refuses what no page of ours sent.
 * @throws GATEWAY_CROSS_ORIGIN
 */
export function assertOwnPage(request: FastifyRequest): void {
  const { host, origin, 'sec-fetch-site': site } = request.headers
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  // `none`: typed into the address bar.
  const isOwnSite = site === undefined || site === 'same-origin' || (isRead && site === 'none')
  const isOwnOrigin = origin === undefined || URL.parse(origin)?.host === host
  const isGuarded = isRead || request.headers[GUARD] === '1'
  if (!isOwnSite || !isOwnOrigin || !isGuarded) throw new EclusaError(gatewayErrors.CROSS_ORIGIN)
}

/** As the browser sees it, which a proxy in between may hide from us: each POST of a browser names its origin. */
function isOverTls(request: FastifyRequest): boolean {
  return request.protocol === 'https' || request.headers.origin?.startsWith('https://') === true
}

function cookieOf(isSecure: boolean, value: string, maxAge: number): string {
  const name = isSecure ? SECURE_NAME : PLAIN_NAME
  return `${name}=${value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${maxAge}${isSecure ? '; Secure' : ''}`
}
