import type { OwnerOptions } from '@eclusa/bounded-cache'
import type { Config } from '../config.ts'
import { partOf } from './ceiling.ts'

/** What each tenant has of a cache budget of `budgetBytes`: the weight that it has of its own or by the settings, and the floor. */
export function tenantShares(
  config: Pick<Config, 'memoryTenantWeights' | 'memoryTenantFloor'>,
  budgetBytes: number,
  weightOf: (tenant: string) => number | null = () => null,
): (tenant: string) => OwnerOptions {
  const { memoryTenantWeights, memoryTenantFloor } = config
  const floor = memoryTenantFloor === null ? {} : { floorBytes: partOf(memoryTenantFloor, budgetBytes) }
  return (tenant) => {
    const weight = weightOf(tenant) ?? memoryTenantWeights.get(tenant)
    return { ...floor, ...(weight === undefined ? {} : { weight }) }
  }
}
