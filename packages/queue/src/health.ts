import { DAY, HOUR } from '@eclusa/kernel'

/** Below or above these, in percent, an instance's proactive messages are not wanted. 0, and 100 for opt-outs: off. */
export interface HealthLimits {
  /** Of the contacts written to, whom it reached within a day. */
  readonly minDeliveredPercent: number
  /** Of the contacts written to, who wrote back. */
  readonly minRepliesPercent: number
  /** Of the contacts written to within a day, who opted out after it. */
  readonly maxOptOutsPercent: number
}

/** How many of how many. */
export interface Share {
  readonly of: number
  readonly count: number
}

/** Of the newest contacts that an instance wrote to unasked: at most SAMPLE each, and of all newest 20,000 messages. */
export interface HealthFacts {
  /** Written to 1 to 24 hours ago; reached: a receipt of the message says so. */
  readonly delivered: Share
  /** Written to 1 to 7 days ago; answered: they wrote after the last one. */
  readonly replies: Share
  /** Written to in the last 24 hours; opted out after it. */
  readonly optOuts: Share
}

export type HealthCause = 'DELIVERY' | 'REPLIES' | 'OPT_OUTS'

export interface Health {
  readonly level: 'WELL' | 'SLOWED' | 'PAUSED'
  readonly cause: HealthCause | null
  /** Contacts written to before do not count; epoch milliseconds. */
  readonly since: number
}

/** Contacts looked at for each share. */
export const SAMPLE = 200
/** Fewer say nothing. */
export const MIN_SAMPLE = 50
/** Who was written to that recently may not have had their phone on. */
export const DELIVERED_AFTER_MS: number = HOUR
/** Nor may they have had the time to answer. */
export const ANSWERED_AFTER_MS: number = DAY
export const ANSWERS_COUNT_FOR_MS: number = 7 * DAY
/** So much slower a slowed instance is. */
export const SLOW_FACTOR = 4
/** An instance that was slowed and gave no more cause for so long is well again: replies need a day to come. */
const RECOVERS_AFTER_MS = 2 * DAY

/** Why people do not want what the instance sends them; null when they do, or when too few tell. Pure. */
export function causeOf(
  { delivered, replies, optOuts }: HealthFacts,
  limits: HealthLimits,
): HealthCause | null {
  const isBelow = (share: Share, percent: number): boolean =>
    share.of >= MIN_SAMPLE && share.count * 100 < share.of * percent
  if (optOuts.of >= MIN_SAMPLE && optOuts.count * 100 > optOuts.of * limits.maxOptOutsPercent)
    return 'OPT_OUTS'
  if (isBelow(delivered, limits.minDeliveredPercent)) return 'DELIVERY'
  return isBelow(replies, limits.minRepliesPercent) ? 'REPLIES' : null
}

/**
 * First slower, then, when those written to since then do not want it either, not at all, until a person ends it. Pure;
 * the same object when nothing changes.
 */
export function nextHealth(health: Health, cause: HealthCause | null, now: number): Health {
  switch (health.level) {
    case 'WELL':
      return cause === null ? health : { level: 'SLOWED', cause, since: now }
    case 'SLOWED':
      if (cause !== null) return { level: 'PAUSED', cause, since: now }
      return health.since > now - RECOVERS_AFTER_MS ? health : { level: 'WELL', cause: null, since: now }
    case 'PAUSED':
      return health
    default:
      return health.level satisfies never
  }
}
