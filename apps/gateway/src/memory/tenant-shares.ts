import type { OwnerOptions } from '@eclusa/bounded-cache'
import type { Config } from '../config.ts'
import { partOf } from './ceiling.ts'

/** What each tenant has of a cache budget of `budgetBytes`: the weight and the floor that are configured. */
export function tenantShares(
  config: Pick<Config, 'memoryTenantWeights' | 'memoryTenantFloor'>,
  budgetBytes: number,
): (tenant: string) => OwnerOptions {
  const { memoryTenantWeights, memoryTenantFloor } = config
  const floor = memoryTenantFloor === null ? {} : { floorBytes: partOf(memoryTenantFloor, budgetBytes) }
  return (tenant) => {
    const weight = memoryTenantWeights.get(tenant)
    return { ...floor, ...(weight === undefined ? {} : { weight }) }
  }
}
