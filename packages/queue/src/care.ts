import {
  DAY,
  EclusaError,
  HOUR,
  isDayOfRest,
  MAX_DAYS_OF_REST,
  MINUTE,
  parseZone,
  SECOND,
} from '@eclusa/kernel'
import { careErrors, queueErrors } from './errors.ts'
import type { HealthLimits } from './health.ts'
import type { Purpose } from './message.ts'
import { quietEndOf, type QuietTimes } from './quiet-times.ts'
import { MAX_CEILING } from './send-log.ts'

/** So many at once, then one each `everyMs`. */
export interface Rate {
  readonly everyMs: number
  readonly burst: number
}

/**
 * How much is sent to whom, and when: courtesy to the person, and care for the number. Shaping delays and explains; it
 * refuses nothing for volume. Quiet times are for proactive messages.
 */
export interface CareOptions extends QuietTimes, HealthLimits {
  /** Off: only opt-outs and consent count. */
  readonly enabled: boolean
  /** To one contact who wrote in the last 24 hours: the official API's own rate (Meta, error 131056). */
  readonly conversation: Rate
  /** To one contact who did not. */
  readonly cold: Rate
  /** To one contact within any hour and any day, whoever wrote: two machines that answer each other stop there. */
  readonly maxPerContactHour: number
  readonly maxPerContactDay: number
  /** Of one instance, to all its chats together. */
  readonly instance: Rate
  /**
   * Of a tenant, to all who did not write in the last 24 hours and all proactive messages together, whatever instance
   * they go by: conversations flow. Only a tenant has one, and only the operator sets it.
   */
  readonly tenant: Rate
  /** Contacts an instance writes to who never wrote to it, within any 24 hours; replies do not count. */
  readonly maxNewContactsPerDay: number
  /** Contacts to whom the same text goes unasked within an hour, whoever sends it. */
  readonly maxSameTextPerHour: number
  /** Of contacts whose number does not tell: IANA name (`America/Sao_Paulo`). */
  readonly zone: string
}

export const defaultCare: CareOptions = {
  enabled: true,
  conversation: { everyMs: 6 * SECOND, burst: 5 },
  cold: { everyMs: 6 * SECOND, burst: 1 },
  maxPerContactHour: 20,
  maxPerContactDay: 60,
  instance: { everyMs: SECOND, burst: 30 },
  tenant: { everyMs: 3 * SECOND, burst: 1 },
  maxNewContactsPerDay: 200,
  quiet: { from: 20 * 60, to: 8 * 60 },
  quietSundays: false,
  holidays: [],
  maxSameTextPerHour: 50,
  minDeliveredPercent: 70,
  minRepliesPercent: 10,
  maxOptOutsPercent: 2,
  zone: 'America/Sao_Paulo',
}

/** What is known of the person at the other end of a chat. */
export interface ChatStanding {
  /** Epoch milliseconds of their last message; null when they never wrote. */
  readonly lastInboundAt: number | null
  /** IANA name (`America/Sao_Paulo`) of where they are as far as known; null: as the options say. */
  readonly zone: string | null
  /** A consent to proactive messages is on record and in force. */
  readonly consent: boolean
  /** Since when they want no more; null when they did not say so. */
  readonly optedOutAt: number | null
}

/** What an instance did towards people who did not write. */
export interface ColdFacts {
  /** Null, or until when WhatsApp's answers keep cold chats back. */
  readonly pausedUntil: number | null
  /** When the next new contact may be written to, behind those that have their day already; may be past. */
  readonly slotAt: number
  /** Null when this contact was never written to cold. `firstAt` in the future: the day it has been given. */
  readonly contact: {
    readonly firstAt: number
    readonly lastAt: number
    readonly unansweredCount: number
  } | null
}

export type HoldReason =
  | 'SCHEDULED'
  | 'COLD_PAUSED'
  | 'TENANT_RATE'
  | 'SLOWED'
  | 'NEW_CONTACT_BUDGET'
  | 'QUIET_HOURS'
  | 'UNANSWERED'
  | 'CONTACT_LIMIT'
  | 'HEALTH_PAUSED'
  | 'SAME_TEXT'

/** What keeps everything of a chat back, and with it what keeps a proactive message back. */
const COLD_HOLDS: readonly HoldReason[] = ['COLD_PAUSED', 'NEW_CONTACT_BUDGET', 'TENANT_RATE', 'SLOWED']
const PROACTIVE_HOLDS: readonly HoldReason[] = ['QUIET_HOURS', 'UNANSWERED', 'CONTACT_LIMIT', 'HEALTH_PAUSED']
export const CARE_HOLDS: readonly HoldReason[] = [...COLD_HOLDS, ...PROACTIVE_HOLDS, 'SAME_TEXT']

/** What is over when a message passes: not another one's text. */
export function overFor(purpose: Purpose | null): readonly HoldReason[] {
  return purpose === 'proactive' ? [...COLD_HOLDS, ...PROACTIVE_HOLDS] : COLD_HOLDS
}

export type CareVerdict =
  | { readonly kind: 'go' }
  /** Steps out of its chat's line until then; with `wholeChat` everything behind it does, too. */
  | {
      readonly kind: 'hold'
      readonly reason: HoldReason
      readonly until: number
      readonly wholeChat: boolean
      /** Nobody can say when it may go: it grows old meanwhile. */
      readonly ages?: true
    }
  | { readonly kind: 'refuse'; readonly code: string; readonly message: string }

/** A person who wrote this recently is in conversation: the window in which WhatsApp lets businesses answer freely. */
export const CONVERSATION_MS: number = DAY
/** Who wrote this recently is awake: no quiet hours. */
const AWAKE_MS = 30 * MINUTE
/** Proactive messages that a person leaves unanswered before we stop for good. */
const MAX_UNANSWERED = 2

/** Whether the contact wrote within the last 24 hours. */
export function isInConversation({ lastInboundAt }: ChatStanding, now: number): boolean {
  return lastInboundAt !== null && lastInboundAt > now - CONVERSATION_MS
}

/** Nobody asked for it: a proactive message, or one to somebody who never wrote, unless it says that it is a reply. */
export function isUnasked(purpose: Purpose | null, { lastInboundAt }: ChatStanding): boolean {
  return purpose === 'proactive' || (purpose === null && lastInboundAt === null)
}

/** Whether the message may go now. `cold` is asked for only when the contact is not in conversation. Pure. */
export function judgeCare(input: {
  readonly now: number
  readonly options: CareOptions
  readonly purpose: Purpose | null
  readonly acceptedAt: number
  readonly standing: ChatStanding
  readonly cold: ColdFacts
}): CareVerdict {
  const { now, options, purpose, standing, cold } = input
  const refusal = refusalOf(input, standing)
  if (refusal !== null) return refusal
  if (!options.enabled) return { kind: 'go' }
  if (!isInConversation(standing, now)) {
    if (cold.pausedUntil !== null && cold.pausedUntil > now) {
      return { kind: 'hold', reason: 'COLD_PAUSED', until: cold.pausedUntil, wholeChat: true }
    }
    const isNew = standing.lastInboundAt === null && (cold.contact === null || cold.contact.firstAt > now)
    const until = cold.contact?.firstAt ?? cold.slotAt
    if (isNew && until > now) return { kind: 'hold', reason: 'NEW_CONTACT_BUDGET', until, wholeChat: true }
  }
  if (purpose === 'proactive') return judgeProactive(now, options, standing, cold)
  return { kind: 'go' }
}

/**
 * Opting out ends everything until the person writes again, and what is proactive or automatic also then; so it does
 * whatever was accepted before: that they write again is no answer to it. A proactive message needs a consent. Not to be switched
 * off. Null when neither is in the way.
 */
export function refusalOf(
  { purpose, acceptedAt }: { readonly purpose: Purpose | null; readonly acceptedAt: number },
  { consent, optedOutAt, lastInboundAt }: ChatStanding,
): Extract<CareVerdict, { kind: 'refuse' }> | null {
  if (purpose === 'confirmation') return null
  const { OPTED_OUT, CONSENT_MISSING } = careErrors
  const wroteAgain = optedOutAt !== null && lastInboundAt !== null && lastInboundAt > optedOutAt
  const mayAnswer = purpose !== 'proactive' && purpose !== 'automatic'
  const answersThat = mayAnswer && wroteAgain && acceptedAt > optedOutAt
  if (optedOutAt !== null && !answersThat) {
    return { kind: 'refuse', code: OPTED_OUT.code, message: OPTED_OUT.message }
  }
  if (purpose === 'proactive' && !consent) {
    return { kind: 'refuse', code: CONSENT_MISSING.code, message: CONSENT_MISSING.message }
  }
  return null
}

function judgeProactive(
  now: number,
  options: CareOptions,
  { lastInboundAt, zone }: ChatStanding,
  { contact }: ColdFacts,
): CareVerdict {
  const isAnswered =
    contact === null ||
    contact.unansweredCount === 0 ||
    (lastInboundAt !== null && lastInboundAt > contact.lastAt)
  if (!isAnswered) {
    const until = contact.lastAt + DAY
    const isOver = contact.unansweredCount >= MAX_UNANSWERED
    if (isOver || until > now) {
      const hold = { kind: 'hold', reason: 'UNANSWERED', wholeChat: false } as const
      return isOver ? { ...hold, until: now + DAY, ages: true } : { ...hold, until }
    }
  }
  const isAwake = lastInboundAt !== null && lastInboundAt > now - AWAKE_MS
  const quietUntil = isAwake ? null : quietEndOf(now, options, zone ?? options.zone)
  if (quietUntil !== null) {
    return { kind: 'hold', reason: 'QUIET_HOURS', until: quietUntil, wholeChat: false }
  }
  return { kind: 'go' }
}

/** How long cold chats wait after the `count`-th answer in a row by which WhatsApp restricts them: 1 h, 2 h … 24 h. */
export function coldPauseMs(count: number): number {
  return Math.min(HOUR * 2 ** Math.min(count - 1, 10), DAY)
}

/** @throws QUEUE_BAD_CARE naming the field */
export function checkCare(options: CareOptions): void {
  for (const field of ['conversation', 'cold', 'instance', 'tenant'] as const) {
    const { everyMs, burst } = options[field]
    if (!(everyMs >= 0 && everyMs < Number.POSITIVE_INFINITY))
      throw bad(field, 'everyMs must not be negative')
    if (!Number.isInteger(burst) || burst < 1) throw bad(field, 'burst must be at least 1')
  }
  for (const field of ['maxPerContactHour', 'maxPerContactDay'] as const) {
    const ceiling = options[field]
    if (!Number.isInteger(ceiling) || ceiling < 1 || ceiling > MAX_CEILING)
      throw bad(field, `must be 1 to ${MAX_CEILING}`)
  }
  if (!Number.isInteger(options.maxSameTextPerHour) || options.maxSameTextPerHour < 1)
    throw bad('maxSameTextPerHour', 'must be a whole number from 1 on')
  for (const field of ['minDeliveredPercent', 'minRepliesPercent', 'maxOptOutsPercent'] as const) {
    if (!(options[field] >= 0 && options[field] <= 100)) throw bad(field, 'must be 0 to 100')
  }
  if (!(options.maxNewContactsPerDay >= 0)) throw bad('maxNewContactsPerDay', 'must not be negative')
  for (const minute of Object.values(options.quiet)) {
    if (!Number.isInteger(minute) || minute < 0 || minute > 1439) {
      throw bad('quiet', 'must be minutes of a day, 0 to 1439')
    }
  }
  if (options.holidays.length > MAX_DAYS_OF_REST)
    throw bad('holidays', `must be at most ${MAX_DAYS_OF_REST} days`)
  for (const day of options.holidays) {
    if (!isDayOfRest(day)) throw bad('holidays', `must be days such as 12-25 or 2027-03-26, not "${day}"`)
  }
  try {
    parseZone(options.zone)
  } catch {
    throw bad('zone', 'must be the name of a time zone such as America/Sao_Paulo')
  }
}

function bad(field: string, rule: string): EclusaError {
  return new EclusaError(queueErrors.BAD_CARE, { message: `${field} ${rule}`, details: { field } })
}
