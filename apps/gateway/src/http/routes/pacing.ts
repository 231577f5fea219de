import type { PacingOptions } from '@eclusa/queue'
import { z } from 'zod'
import type { HttpPorts, HttpServer } from '../server.ts'
import { settingRoutes } from '../setting-routes.ts'

/** As the settings of the environment: nothing takes longer than ten minutes. */
const MAX_MS = 600_000
const MAX_WORDS_PER_MINUTE = 10_000

const range = (min: number, max: number) => {
  const end = z
    .number('must be a number')
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`)
  return z
    .strictObject({ min: end, max: end })
    .refine((ends) => ends.min <= ends.max, 'must have min ≤ max')
    .optional()
}
const longest = z
  .number('must be a number')
  .min(0, 'must not be negative')
  .max(MAX_MS, `must be at most ${MAX_MS}`)

/** What is left out is as for everybody (for an instance: as for its tenant). */
const pacingBody = z
  .strictObject({
    enabled: z.boolean('must be true or false').optional(),
    readingWordsPerMinute: range(1, MAX_WORDS_PER_MINUTE),
    maxReadingMs: longest.optional(),
    thinkingMs: range(0, MAX_MS),
    typingWordsPerMinute: range(1, MAX_WORDS_PER_MINUTE),
    maxTypingMs: longest.optional(),
    visibleTypingMs: range(0, MAX_MS),
    betweenMs: range(0, MAX_MS),
  })
  .meta({ id: 'Pacing', examples: [{ thinkingMs: { min: 1000, max: 4000 }, maxTypingMs: 15000 }] })

const ends = z.object({ min: z.number(), max: z.number() })

const effective = z.object({
  enabled: z.boolean(),
  readingWordsPerMinute: ends,
  maxReadingMs: z.number(),
  thinkingMs: ends,
  typingWordsPerMinute: ends,
  maxTypingMs: z.number(),
  visibleTypingMs: ends,
  betweenMs: ends,
})

/** How human sends look, for a tenant or for one instance. */
export async function pacingRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  settingRoutes(http, ports, {
    name: 'pacing',
    settings: ports.queue.pacing,
    bodyOfTenant: pacingBody,
    bodyOfInstance: pacingBody,
    effective,
    toOptions: (body) => body as Partial<PacingOptions>,
    toBody: (options) => ({ ...options }),
  })
}
