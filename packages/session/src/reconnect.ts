import { type ErrorKind, MINUTE, SECOND } from '@eclusa/kernel'
import type { CloseReason } from './engine.ts'
import { sessionErrors } from './errors.ts'

/** What a session does when its connection is over. */
export type Reconnect =
  | { readonly next: 'connect'; readonly afterMs: number; readonly error: ErrorKind }
  /** Waits for somebody: `forget` says that the credentials are worth nothing any more. */
  | { readonly next: 'rest'; readonly state: RestState; readonly forget: boolean; readonly error: ErrorKind }

type RestState = 'new' | 'logged_out' | 'banned' | 'failed'

/** First wait and cap of the exponential backoff; a rate limit begins at its own. */
const RECONNECT_FIRST_MS: number = 1 * SECOND
export const RECONNECT_MAX_MS: number = 1 * MINUTE
export const RECONNECT_RATE_LIMITED_MS: number = 1 * MINUTE

/**
 * Decides from WhatsApp's status code. `failures` counts the connections in a row that did not get online;
 * `paired` says whether the instance has a number. The jitter is ±20 % of the wait.
 */
export function planReconnect(
  reason: CloseReason,
  failures: number,
  paired: boolean,
  random: () => number,
): Reconnect {
  const backoff = (firstMs: number): number => {
    const waitMs = Math.min(Math.max(RECONNECT_MAX_MS, firstMs), firstMs * 2 ** Math.min(failures, 16))
    return Math.round(waitMs * (0.8 + 0.4 * random()))
  }
  switch (reason.statusCode) {
    case 515:
      return { next: 'connect', afterMs: 0, error: sessionErrors.RESTART_REQUIRED }
    case 401:
      return { next: 'rest', state: 'logged_out', forget: true, error: sessionErrors.LOGGED_OUT }
    case 402:
    case 406:
      return { next: 'rest', state: 'banned', forget: false, error: sessionErrors.BANNED }
    case 403:
      return { next: 'rest', state: 'failed', forget: false, error: sessionErrors.LOCKED }
    case 405:
    case 409:
    case 411:
      return { next: 'rest', state: 'failed', forget: false, error: sessionErrors.CLIENT_OUTDATED }
    case 440:
      return { next: 'rest', state: 'failed', forget: false, error: sessionErrors.REPLACED }
    case 429:
      return {
        next: 'connect',
        afterMs: backoff(RECONNECT_RATE_LIMITED_MS),
        error: sessionErrors.RATE_LIMITED,
      }
    case 500:
      return { next: 'connect', afterMs: backoff(RECONNECT_FIRST_MS), error: sessionErrors.BAD_SESSION }
    case 503:
      return {
        next: 'connect',
        afterMs: backoff(RECONNECT_FIRST_MS),
        error: sessionErrors.SERVER_UNAVAILABLE,
      }
    case 408:
      if (!paired) return { next: 'rest', state: 'new', forget: true, error: sessionErrors.PAIRING_EXPIRED }
      return { next: 'connect', afterMs: backoff(RECONNECT_FIRST_MS), error: sessionErrors.CONNECTION_LOST }
    default:
      return { next: 'connect', afterMs: backoff(RECONNECT_FIRST_MS), error: sessionErrors.SERVER_ENDED }
  }
}
