import { type Delivered, EclusaError, MINUTE, type Retry, SECOND } from '@eclusa/kernel'
import { queueErrors } from './errors.ts'
import type { OutboundFailure } from './message.ts'

/** Used when an enqueue does not say. */
export const DEFAULT_MAX_RETRIES = 3

/** What to do after a send that did not end in an acknowledgement. */
export type RetryDecision =
  /** WhatsApp has it although we were told late. */
  | { readonly kind: 'sent' }
  | { readonly kind: 'retry'; readonly afterMs: number }
  | { readonly kind: 'fail' }
  /** The session is away: the message is as it was, no try counted. */
  | { readonly kind: 'instance-offline' }
  /** WhatsApp wants less of us: the instance waits, no try counted. */
  | { readonly kind: 'instance-limited' }

/** An error of a sender as the queue sees it. */
export interface SendFailure extends OutboundFailure {
  readonly retry: Retry
  readonly delivered: Delivered
}

/** Anything thrown by a sender; what is not ours may have reached WhatsApp. */
export function sendFailureOf(error: unknown): SendFailure {
  if (error instanceof EclusaError) {
    const { code, message, retry, delivered } = error
    return { code, message, retry, delivered }
  }
  const { code, message, retry, delivered } = queueErrors.SEND_FAILED
  return { code, message, retry, delivered }
}

/** Pure. `attempts` counts the try that has just failed. */
export function decideRetry(input: {
  readonly failure: SendFailure
  readonly attempts: number
  readonly maxRetries: number
  readonly random: () => number
}): RetryDecision {
  const { failure, attempts, maxRetries, random } = input
  if (failure.delivered === 'yes') return { kind: 'sent' }
  if (failure.code === 'SESSION_OFFLINE' || failure.retry === 'after-login')
    return { kind: 'instance-offline' }
  if (failure.code === 'SESSION_RATE_LIMITED') return { kind: 'instance-limited' }
  if (failure.retry === 'never' || attempts > maxRetries) return { kind: 'fail' }
  return { kind: 'retry', afterMs: jittered(Math.min(4 ** (attempts - 1) * SECOND, 5 * MINUTE), random) }
}

/** How long an instance waits after its `count`-th rate limit in a row: 30 s, 1 min, 2 min … 15 min. */
export function limitedForMs(count: number, random: () => number): number {
  return jittered(Math.min(30 * SECOND * 2 ** Math.min(count - 1, 10), 15 * MINUTE), random)
}

/** ±20 %, so that chats that failed together do not come back together. */
function jittered(ms: number, random: () => number): number {
  return Math.round(ms * (0.8 + 0.4 * random()))
}
