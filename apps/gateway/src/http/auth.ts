import { EclusaError } from '@eclusa/kernel'
import type { FastifyRequest } from 'fastify'
import { gatewayErrors } from '../errors.ts'
import type { KeyScope } from '../keys/api-key-store.ts'
import type { ApiKeys } from '../keys/api-keys.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Whom the presented key lets act; null before the key was looked at. */
    scope: KeyScope | null
  }
}

/** The hook that lets only holders of a key in. The key comes in the header alone: addresses end up in logs. */
export function requireKey(keys: ApiKeys): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    const presented = /^Bearer +(\S{1,1000}) *$/i.exec(request.headers.authorization ?? '')?.[1]
    const scope = presented === undefined ? null : keys.scopeOf(presented)
    if (scope === null) {
      throw new EclusaError(gatewayErrors.UNAUTHORIZED, { details: { field: 'authorization' } })
    }
    request.scope = scope
  }
}

/** Who may lift limits is not who lives under them. @throws GATEWAY_FORBIDDEN */
export function assertOperator(request: FastifyRequest): void {
  if (scopeOf(request) !== '*') throw new EclusaError(gatewayErrors.FORBIDDEN)
}

/** The scope of a request that passed `requireKey`. */
export function scopeOf(request: FastifyRequest): KeyScope {
  if (request.scope === null) throw new EclusaError(gatewayErrors.UNAUTHORIZED)
  return request.scope
}
