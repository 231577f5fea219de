import type { Conversation, Operator, Sector, SectorLine } from '@eclusa/flows'
import { z } from 'zod'
import { iso, isoOrNull } from './instants.ts'

/** A conversation as the API shows it; docs/conversations.md says what each field means. */
export const conversationShape = z
  .object({
    id: z.string(),
    tenant: z.string(),
    instance: z.string(),
    contact: z.string(),
    chat: z.string(),
    state: z.enum(['open', 'assigned', 'closed']),
    sector: z.string().nullable(),
    operator: z.string().nullable(),
    lastOperator: z.string().nullable(),
    skill: z.string().nullable(),
    waitingSince: z.iso.datetime().nullable(),
    openedAt: z.iso.datetime(),
    assignedAt: z.iso.datetime().nullable(),
    closedAt: z.iso.datetime().nullable(),
    closeReason: z.string().nullable(),
    lastInboundAt: z.iso.datetime(),
  })
  .meta({ id: 'Conversation' })

export function shownConversation(one: Conversation): z.input<typeof conversationShape> {
  return {
    id: one.id,
    tenant: one.tenant,
    instance: one.instance,
    contact: one.contact,
    chat: one.chat,
    state: one.state,
    sector: one.sector,
    operator: one.operator,
    lastOperator: one.lastOperator,
    skill: one.skill,
    waitingSince: isoOrNull(one.waitingSince),
    openedAt: iso(one.openedAt),
    assignedAt: isoOrNull(one.assignedAt),
    closedAt: isoOrNull(one.closedAt),
    closeReason: one.closeReason,
    lastInboundAt: iso(one.lastInboundAt),
  }
}

export const sectorShape = z
  .object({
    id: z.string(),
    name: z.string(),
    isDefault: z.boolean(),
    rule: z.enum(['least_busy', 'round_robin', 'random', 'manual']),
    createdAt: z.iso.datetime(),
    waitingCount: z.int(),
    waitingSince: z.iso.datetime().nullable().describe('Of who has waited the longest'),
    assignedCount: z.int(),
  })
  .meta({ id: 'Sector' })

export function shownSector(sector: Sector, line: SectorLine | undefined): z.input<typeof sectorShape> {
  return {
    id: sector.id,
    name: sector.name,
    isDefault: sector.isDefault,
    rule: sector.rule,
    createdAt: iso(sector.createdAt),
    waitingCount: line?.waitingCount ?? 0,
    waitingSince: isoOrNull(line?.waitingSince ?? null),
    assignedCount: line?.assignedCount ?? 0,
  }
}

const stretches = z.array(z.object({ from: z.string(), to: z.string() })).readonly()

export const operatorShape = z
  .object({
    id: z.string(),
    name: z.string(),
    isAdmin: z.boolean(),
    capacity: z.int(),
    availability: z.enum(['online', 'away', 'offline']),
    isThere: z.boolean().describe('Online and within the hours'),
    hours: z
      .object({
        zone: z.string(),
        week: z.record(z.string(), stretches),
        holidays: z
          .array(z.object({ date: z.string(), name: z.string().optional(), open: stretches.optional() }))
          .readonly(),
      })
      .nullable(),
    sectors: z.array(z.object({ sector: z.string(), skills: z.array(z.string()).readonly() })).readonly(),
    assignedCount: z.int(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Operator' })

export function shownOperator(operator: Operator, isThere: boolean): z.input<typeof operatorShape> {
  const { tenant: _, createdAt, hours, ...rest } = operator
  return {
    ...rest,
    isThere,
    hours,
    createdAt: iso(createdAt),
  }
}
