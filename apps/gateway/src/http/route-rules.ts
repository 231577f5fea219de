import { EclusaError, type ErrorKind } from '@eclusa/kernel'
import type { FastifyRequest, RouteOptions } from 'fastify'
import { gatewayErrors } from '../errors.ts'
import { type Caller, type KeyScope, keyScopes } from '../keys/scopes.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a key must be allowed to do; `public` needs no key. Without one the gateway does not start. */
    scope?: KeyScope | 'public'
    /** It concerns all tenants: the keys of none of them may. */
    operatorsOnly?: boolean
    /**
     * It is about single instances and asks the caller's list of them (`maySee`). What is not is closed to keys that
     * were made for some instances.
     */
    byInstance?: boolean
    /** It may wait for what comes, so how long it takes says nothing. */
    waits?: boolean
    /** The tenant in the address need not be there, or be active: the handler looks. */
    anyTenant?: boolean
    /**
     * `before`: stands in the audit log before it is carried out; `own`: the handler puts it there, with what changes;
     * `none`. Default: `before` for what changes something and is neither sending nor the daily work of people.
     */
    audit?: 'before' | 'own' | 'none'
    /** What of the error tables it answers beside what any route may: for the description of the API, and its tests. */
    errors?: readonly ErrorKind[]
  }
}

/** Not every message and every note is an act of control. */
const UNAUDITED: ReadonlySet<string> = new Set(['public', 'read', 'send', 'app'])

/** A route as it was declared. */
export interface DeclaredRoute {
  readonly method: string
  /** With its parameters: `/v1/instances/:id`. */
  readonly path: string
  readonly scope: KeyScope | 'public'
  readonly operatorsOnly: boolean
  readonly byInstance: boolean
  readonly audit: 'before' | 'own' | 'none'
  /** Part of no API: pages for people. */
  readonly hidden: boolean
}

/** Every route of the API, each with who may use it. */
export class RouteRules {
  // bounded by: the routes in the code
  readonly #routes: DeclaredRoute[] = []

  get all(): readonly DeclaredRoute[] {
    return this.#routes
  }

  /** Notes a route. @throws when nobody said who may use it, or what it is: better no start than an open door */
  declare(route: RouteOptions): void {
    const { scope, operatorsOnly = false, byInstance = false } = route.config ?? {}
    for (const method of [route.method].flat()) {
      const name = `${method} ${route.url}`
      if (scope === undefined || (scope !== 'public' && !keyScopes.includes(scope))) {
        throw new Error(`${name} declares no scope: give its options config: { scope: … }`)
      }
      const isRead = method === 'GET' || method === 'HEAD'
      const audit = route.config?.audit ?? (isRead || UNAUDITED.has(scope) ? 'none' : 'before')
      route.config = { ...route.config, audit }
      const { operationId, summary, hide } = route.schema ?? {}
      if (hide !== true && (operationId === undefined || summary === undefined)) {
        throw new Error(`${name} is not described: give its schema an operationId and a summary`)
      }
      this.#routes.push({
        method,
        path: route.url,
        scope,
        operatorsOnly,
        byInstance,
        audit,
        hidden: hide === true,
      })
    }
  }
}

/**
 * Lets the caller use the route of this request, or refuses by name.
 * @throws GATEWAY_SCOPE_MISSING, GATEWAY_FORBIDDEN
 */
export function assertAllowed(request: FastifyRequest, caller: Caller): void {
  const { scope, operatorsOnly, byInstance } = request.routeOptions.config
  if (scope === undefined || scope === 'public') return
  if (!caller.scopes.has(scope)) {
    throw new EclusaError(gatewayErrors.SCOPE_MISSING, {
      message: `This key may not do that: it lacks the scope "${scope}"`,
      details: { scope },
    })
  }
  if (operatorsOnly === true && caller.reach !== '*') {
    throw new EclusaError(gatewayErrors.FORBIDDEN, { message: "This is for operators' keys" })
  }
  if (caller.instances !== null && byInstance !== true) {
    throw new EclusaError(gatewayErrors.FORBIDDEN, {
      message: 'This key was made for some instances, and this is not about one of them',
    })
  }
  // The routes ask too; here none can forget to.
  const { tenant } = request.params as { readonly tenant?: string }
  if (tenant !== undefined && caller.reach !== '*' && tenant !== caller.reach) {
    throw new EclusaError(gatewayErrors.FORBIDDEN, { details: { field: 'tenant' } })
  }
}
