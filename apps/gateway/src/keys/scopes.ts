import type { InstanceId, TenantId } from '@eclusa/kernel'

/**
 * What a key may do. A route names the one it needs.
 *
 * | scope | lets |
 * |---|---|
 * | read | look at everything but what links a number or names keys |
 * | send | have messages sent |
 * | control | make, link, start, stop and log out instances |
 * | queue | pause and resume, cancel, retry, send now, decide about what was set aside |
 * | flow | write, try, publish and start flows |
 * | settings | change pacing, replies, webhooks |
 * | app | do the work of people who answer: contacts, consents, conversations, sectors, operators |
 * | erase | delete for good: instances, contacts |
 * | admin | keys, tenants, the audit log |
 */
export const keyScopes = [
  'read',
  'send',
  'control',
  'queue',
  'flow',
  'settings',
  'app',
  'erase',
  'admin',
] as const

export type KeyScope = (typeof keyScopes)[number]

/** Whom a key acts for: an operator for every tenant, a tenant for itself. */
export type Reach = '*' | TenantId

/** Who asks, as the presented key tells it. */
export interface Caller {
  readonly keyId: string
  /** Who logged in with it; null when the key itself was presented. */
  readonly person: string | null
  readonly reach: Reach
  readonly scopes: ReadonlySet<KeyScope>
  /** The only instances that exist for it; null: all that its reach covers. */
  readonly instances: ReadonlySet<InstanceId> | null
}

/** Whether what belongs to a tenant, or to an instance of it, exists for this caller. */
export function maySee(
  caller: Pick<Caller, 'reach' | 'instances'>,
  of: { readonly tenant: TenantId; readonly instance: InstanceId },
): boolean {
  if (caller.reach !== '*' && caller.reach !== of.tenant) return false
  return caller.instances === null || caller.instances.has(of.instance)
}
