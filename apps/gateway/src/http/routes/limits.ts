import { isDayOfRest, MAX_DAYS_OF_REST } from '@eclusa/kernel'
import type { CareOptions } from '@eclusa/queue'
import { z } from 'zod'
import type { HttpPorts, HttpServer } from '../server.ts'
import { settingRoutes } from '../setting-routes.ts'

const TIME_OF_DAY = /^([01]\d|2[0-3]):([0-5]\d)$/
const MAX_EVERY_MS = 3_600_000
const MAX_BURST = 10_000
const MAX_NEW_CONTACTS = 1_000_000

const whole = (min: number, max: number) =>
  z.int('must be a whole number').min(min, `must be at least ${min}`).max(max, `must be at most ${max}`)

const rate = z.strictObject({ everyMs: whole(0, MAX_EVERY_MS), burst: whole(1, MAX_BURST) })

const timeOfDay = z.string('must be a time such as 20:00').regex(TIME_OF_DAY, 'must be a time such as 20:00')

/** What is left out is as for everybody (for an instance: as for its tenant). */
const bodyOfTenant = z
  .strictObject({
    enabled: z.boolean('must be true or false').optional(),
    conversation: rate.optional(),
    cold: rate.optional(),
    instance: rate.optional(),
    tenant: rate.optional(),
    maxPerContactHour: whole(1, 1000).optional(),
    maxPerContactDay: whole(1, 1000).optional(),
    maxNewContactsPerDay: whole(0, MAX_NEW_CONTACTS).optional(),
    maxSameTextPerHour: whole(1, 1_000_000).optional(),
    minDeliveredPercent: whole(0, 100).optional(),
    minRepliesPercent: whole(0, 100).optional(),
    maxOptOutsPercent: whole(0, 100).optional(),
    quietHours: z
      .strictObject({ from: timeOfDay, to: timeOfDay })
      .optional()
      .describe("On the clock of the contact's zone; the same time twice: none"),
    quietSundays: z.boolean('must be true or false').optional(),
    holidays: z
      .array(
        z
          .string('must be a day such as 12-25')
          .refine(isDayOfRest, 'must be a day such as 12-25 or 2027-03-26'),
        'must be a list of days',
      )
      .max(MAX_DAYS_OF_REST, `must be at most ${MAX_DAYS_OF_REST} days`)
      .optional(),
    zone: z
      .string('must be a time zone such as America/Sao_Paulo')
      .max(64, 'is too long')
      .optional()
      .describe('Of contacts whose number does not tell theirs'),
  })
  .meta({
    id: 'TenantLimits',
    examples: [{ maxNewContactsPerDay: 100, quietHours: { from: '21:00', to: '08:00' } }],
  })

/** An instance has no rate of its tenant's. */
const bodyOfInstance = bodyOfTenant.omit({ tenant: true }).meta({ id: 'InstanceLimits' })

type LimitsBody = z.input<typeof bodyOfTenant>

/**
 * How much a tenant or an instance sends to whom, and when. Everybody who acts for the tenant may look; only the
 * operator's key changes them, so that no tenant lifts its own limits.
 */
export async function limitRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  settingRoutes<CareOptions>(http, ports, {
    name: 'limits',
    settings: ports.queue.limits,
    bodyOfTenant,
    bodyOfInstance,
    effective: bodyOfTenant.required(),
    toOptions,
    toBody,
    operatorsOnly: true,
  })
}

function toOptions({ quietHours, ...body }: LimitsBody): Partial<CareOptions> {
  if (quietHours === undefined) return body as Partial<CareOptions>
  const quiet = { from: minutesOf(quietHours.from), to: minutesOf(quietHours.to) }
  return { ...(body as Partial<CareOptions>), quiet }
}

function toBody({ quiet, holidays, ...options }: Partial<CareOptions>): LimitsBody {
  return {
    ...options,
    ...(quiet === undefined ? {} : { quietHours: hoursOf(quiet) }),
    ...(holidays === undefined ? {} : { holidays: [...holidays] }),
  }
}

function hoursOf({ from, to }: CareOptions['quiet']): { from: string; to: string } {
  return { from: timeOf(from), to: timeOf(to) }
}

function minutesOf(time: string): number {
  const [, hours, minutes] = TIME_OF_DAY.exec(time) ?? []
  return Number(hours) * 60 + Number(minutes)
}

function timeOf(minutes: number): string {
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`
}

function two(number: number): string {
  return String(number).padStart(2, '0')
}
