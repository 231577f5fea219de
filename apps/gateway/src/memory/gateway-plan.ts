import { totalmem } from 'node:os'
import { EclusaError, MIB } from '@eclusa/kernel'
import type { Config } from '../config.ts'
import { gatewayErrors } from '../errors.ts'
import { ceilingOf, type MachineLimit, partOf, readMachineLimit } from './ceiling.ts'
import { type GatewayLimits, memoryLines, smallLimits, usualLimits } from './memory-lines.ts'
import { type MemoryPlan, planMemory } from './memory-plan.ts'

/** The division of the ceiling, and the limits that make it true. */
export interface GatewayPlan extends MemoryPlan {
  readonly limits: GatewayLimits
  readonly machine: MachineLimit
}

/** What this machine, or the control group of this process, gives. */
export function thisMachine(): MachineLimit {
  return readMachineLimit({ root: '/', machineBytes: totalmem() })
}

/**
 * Divides the ceiling among the parts of the gateway: with the usual limits when all sessions fit, else with the small
 * ones, else, if the configuration lets it, with fewer sessions. Whether it fits is in the result.
 */
export function planGateway(config: Config, machine: MachineLimit): GatewayPlan {
  const ceilingBytes = ceilingOf(config.memoryCeiling, machine)
  const lower =
    config.memoryWhenShort === 'lower' || (config.memoryWhenShort === 'auto' && !config.maxInstancesIsSet)
  const plan = (limits: GatewayLimits, mayLower: boolean): GatewayPlan => ({
    ...planMemory({
      ceilingBytes,
      sessions: config.maxInstances,
      lower: mayLower,
      lines: memoryLines(config, limits),
      cacheBytes: config.memoryCaches === null ? null : partOf(config.memoryCaches, ceilingBytes),
      semiSpaceBytes: limits.semiSpaceBytes,
    }),
    limits,
    machine,
  })
  const usual = plan(usualLimits(config, ceilingBytes), false)
  return usual.fits ? usual : plan(smallLimits(config, ceilingBytes), lower)
}

/** @throws GATEWAY_MEMORY_SHORT naming what to set, when the worst case does not fit */
export function assertFits(plan: GatewayPlan, config: Config): void {
  if (plan.fits) return
  const limits = smallLimits(config, plan.ceilingBytes)
  const room = (sessions: number): MemoryPlan =>
    planMemory({
      ceilingBytes: plan.ceilingBytes,
      sessions,
      lower: true,
      lines: memoryLines(config, limits),
      cacheBytes: config.memoryCaches === null ? null : partOf(config.memoryCaches, plan.ceilingBytes),
      semiSpaceBytes: limits.semiSpaceBytes,
    })
  const most = room(config.maxInstances)
  const needed = most.fits ? plan.neededBytes : room(1).neededBytes
  const remedies = [
    `raise ECLUSA_MEMORY_CEILING to ${mebibytes(needed)} (it is ${mebibytes(plan.ceilingBytes)}, ${sourceOf(plan)})`,
    ...(most.fits
      ? [
          `set ECLUSA_MAX_INSTANCES to ${most.sessions} or less`,
          'or set ECLUSA_MEMORY_WHEN_SHORT=lower to connect only as many as fit',
        ]
      : ['lower ECLUSA_EVENTS_MAX_STREAMS or ECLUSA_MEMORY_CACHES']),
  ]
  const sessions = most.fits ? `${config.maxInstances} sessions` : 'even one session'
  throw new EclusaError(gatewayErrors.MEMORY_SHORT, {
    message: `The memory of ${sessions} does not fit under the ceiling: ${remedies.join(', ')}. "eclusa memory" shows what it is for`,
    details: { field: 'ECLUSA_MEMORY_CEILING', ceilingBytes: plan.ceilingBytes, neededBytes: needed },
  })
}

/** What bounds V8: without its own limit it lets garbage pile up to several times what lives. */
export function nodeFlags(plan: MemoryPlan): readonly string[] {
  return [
    `--max-old-space-size=${Math.floor(plan.oldSpaceBytes / MIB)}`,
    `--max-semi-space-size=${Math.floor(plan.semiSpaceBytes / MIB)}`,
  ]
}

function sourceOf({ machine }: GatewayPlan): string {
  return machine.source === 'machine'
    ? `of a machine with ${mebibytes(machine.bytes)}`
    : `of ${mebibytes(machine.bytes)} that the ${machine.source} allows`
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / MIB)}MiB`
}
