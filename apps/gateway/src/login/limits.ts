import { DAY, HOUR, MINUTE } from '@eclusa/kernel'

export const MAX_USERS = 1000
/** Browsers signed in at a time; past it the one unused for longest is signed out. */
export const MAX_SESSIONS = 1000
/** Of one key or user, likewise. */
export const MAX_SESSIONS_EACH = 20
/** A browser that asks nothing for so long is signed out, and each one after so long. */
export const IDLE_MS: number = 12 * HOUR
export const MAX_AGE_MS: number = 7 * DAY
/** How exactly it is kept on disk when one was seen last. */
export const SEEN_STEP_MS: number = 5 * MINUTE
export const MIN_PASSWORD_LENGTH = 10
export const MAX_PASSWORD_LENGTH = 256
