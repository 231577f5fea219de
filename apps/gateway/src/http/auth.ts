import { EclusaError, parseTenantId, type TenantId } from '@eclusa/kernel'
import type { FastifyRequest } from 'fastify'
import { gatewayErrors } from '../errors.ts'
import type { ApiKeys } from '../keys/api-keys.ts'
import type { Caller } from '../keys/scopes.ts'
import type { Logins } from '../login/logins.ts'
import type { Tenants } from '../tenants/tenants.ts'
import { assertAllowed } from './route-rules.ts'
import { assertOwnPage, tokenOf } from './session-cookie.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks; null before the key was looked at, and on public routes. */
    caller: Caller | null
    /** Of the browser that asks; null when a key does. */
    loginSession: string | null
  }
}

/**
 * The hook that lets only holders of a key in, and browsers that signed in, to the routes that they are for. The key
 * comes in the header alone: addresses end up in logs. An address at which there is nothing says so to whoever asks.
 */
export function requireCaller(ports: {
  readonly keys: ApiKeys
  readonly tenants: Tenants
  readonly logins: Logins
  readonly prepareTenant: (tenant: TenantId) => Promise<void> | undefined
}): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    const { scope } = request.routeOptions.config
    if (scope === undefined || scope === 'public') return
    const caller = request.headers.authorization === undefined ? ofBrowser(request) : ofKey(request)
    if (caller === null) {
      throw new EclusaError(gatewayErrors.UNAUTHORIZED, { details: { field: 'authorization' } })
    }
    const { reach } = caller
    if (reach !== '*') {
      ports.tenants.takeCall(reach)
      ports.tenants.assertActive(reach)
    }
    assertAllowed(request, caller)
    const isRead = request.method === 'GET' || request.method === 'HEAD'
    const named = tenantNamed(request)
    if (reach === '*' && named !== null && request.routeOptions.config.anyTenant !== true) {
      // A tenant comes to be with the first that an operator makes for it.
      if (isRead || ports.tenants.get(named) !== undefined) ports.tenants.assertStays(named)
      else await ports.tenants.ensure(named)
    }
    request.caller = caller
    // Before anything of this tenant is stored; nearly always it has one.
    const tenant = reach === '*' ? named : reach
    if (!isRead && tenant !== null) await ports.prepareTenant(tenant)
  }

  function ofKey(request: FastifyRequest): Caller | null {
    const presented = /^Bearer +(\S{1,1000}) *$/i.exec(request.headers.authorization ?? '')?.[1]
    return presented === undefined ? null : ports.keys.callerOf(presented, request.ip)
  }

  function ofBrowser(request: FastifyRequest): Caller | null {
    const token = tokenOf(request)
    if (token === null) return null
    assertOwnPage(request)
    const session = ports.logins.find(token, request.ip)
    request.loginSession = session?.id ?? null
    return session?.caller ?? null
  }
}

/** The tenant in the address. */
function tenantNamed(request: FastifyRequest): TenantId | null {
  const { tenant } = request.params as { readonly tenant?: string }
  try {
    return tenant === undefined ? null : parseTenantId(tenant)
  } catch {
    // The route says what is wrong with it.
    return null
  }
}

/** Who asks, on a route that needs a key. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === null) throw new EclusaError(gatewayErrors.UNAUTHORIZED)
  return request.caller
}
