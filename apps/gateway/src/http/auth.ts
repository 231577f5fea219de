import { EclusaError } from '@eclusa/kernel'
import type { FastifyRequest } from 'fastify'
import { gatewayErrors } from '../errors.ts'
import type { ApiKeys } from '../keys/api-keys.ts'
import type { Caller } from '../keys/scopes.ts'
import { assertAllowed } from './route-rules.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks; null before the key was looked at, and on public routes. */
    caller: Caller | null
  }
}

/**
 * The hook that lets only holders of a key in, to the routes that the key is for. The key comes in the header alone:
 * addresses end up in logs. An address at which there is nothing says so to whoever asks.
 */
export function requireKey(keys: ApiKeys): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    const { scope } = request.routeOptions.config
    if (scope === undefined || scope === 'public') return
    const presented = /^Bearer +(\S{1,1000}) *$/i.exec(request.headers.authorization ?? '')?.[1]
    const caller = presented === undefined ? null : keys.callerOf(presented, request.ip)
    if (caller === null) {
      throw new EclusaError(gatewayErrors.UNAUTHORIZED, { details: { field: 'authorization' } })
    }
    assertAllowed(request, caller)
    request.caller = caller
  }
}

/** Who asks, on a route that needs a key. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === null) throw new EclusaError(gatewayErrors.UNAUTHORIZED)
  return request.caller
}
