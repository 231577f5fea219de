import type { InstanceId, TenantId } from '@eclusa/kernel'
import type { LoggedEvent } from '@eclusa/storage'

/** Which events a reader gets; what is not named is not asked. */
export interface EventFilter {
  readonly tenant?: TenantId
  readonly instance?: InstanceId
  /** `outbound.sent`, or `outbound.*` for all of a group. */
  readonly types?: readonly string[]
}

export function matches(
  { tenant, instance, types }: EventFilter,
  event: Pick<LoggedEvent, 'tenant' | 'instance' | 'type'>,
): boolean {
  if (tenant !== undefined && event.tenant !== tenant) return false
  if (instance !== undefined && event.instance !== instance) return false
  return types === undefined || types.some((type) => isOfType(event.type, type))
}

function isOfType(type: string, wanted: string): boolean {
  return wanted.endsWith('.*') ? type.startsWith(wanted.slice(0, -1)) : type === wanted
}
