import { EclusaError, type InstanceId } from '@eclusa/kernel'
import { gatewayErrors } from '../errors.ts'
import { AddressRanges } from './address-ranges.ts'
import type { KeyScope, Reach } from './scopes.ts'

/** What a key may do, where and how long. */
export interface KeyRights {
  readonly reach: Reach
  readonly scopes: ReadonlySet<KeyScope>
  readonly instances: ReadonlySet<InstanceId> | null
  /** Null: from everywhere. */
  readonly addresses: AddressRanges | null
  /** Epoch milliseconds; null: never. */
  readonly expiresAt: number | null
}

/**
 * A key makes no key that can do more than itself: not more of everything, for more, from more places, or longer.
 * @throws GATEWAY_KEY_TOO_STRONG naming the field
 */
export function assertNotStronger(wanted: KeyRights, maker: KeyRights): void {
  if (maker.reach !== '*' && wanted.reach !== maker.reach) throw stronger('tenant')
  if ([...wanted.scopes].some((scope) => !maker.scopes.has(scope))) throw stronger('scopes')
  if (!isWithin(wanted.instances, maker.instances)) throw stronger('instances')
  const { addresses } = maker
  if (addresses !== null && !(wanted.addresses?.texts.every((text) => addresses.covers(text)) ?? false)) {
    throw stronger('addresses')
  }
  if (maker.expiresAt !== null && (wanted.expiresAt ?? Infinity) > maker.expiresAt)
    throw stronger('expiresAt')
}

function isWithin<T>(inner: ReadonlySet<T> | null, outer: ReadonlySet<T> | null): boolean {
  return outer === null || (inner !== null && [...inner].every((one) => outer.has(one)))
}

function stronger(field: string): EclusaError {
  return new EclusaError(gatewayErrors.KEY_TOO_STRONG, { details: { field } })
}
