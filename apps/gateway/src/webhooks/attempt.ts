import { type Clock, EclusaError, KIB, SECOND } from '@eclusa/kernel'
import { type GuardedHttp, type GuardedLimits } from '../guarded-http/guarded-http.ts'
import { webhookErrors } from './errors.ts'
import { signedHeaders } from './signature.ts'
import type { Webhook } from './webhook.ts'

/** What became of one try. */
export interface Outcome {
  /** `stopped`: we ended it, so nothing is known of it. */
  readonly kind: 'delivered' | 'failed' | 'gone' | 'stopped'
  /** Null: no answer came. */
  readonly status: number | null
  /** A code and a word for machines; null when it was delivered. */
  readonly error: string | null
  readonly tookMs: number
  readonly requestBytes: number
  readonly answerBytes: number
}

/** A receiver's own work belongs behind its answer; 30 s are for those that do it before. */
export const WEBHOOK_CALL_LIMITS: Omit<GuardedLimits, 'maxCalls' | 'maxWaiting'> = {
  connectMs: 10 * SECOND,
  headersMs: 30 * SECOND,
  totalMs: 32 * SECOND,
  // The longest text, twice in its event, in JSON.
  maxRequestBytes: 1024 * KIB,
  maxAnswerBytes: 4 * KIB,
}

/** What of an answer's body comes within this is read, so that receivers see their answer taken. */
const BODY_WITHIN_MS = SECOND
const GONE = 410

/** Sends one event to its endpoint, and says what came of it; never throws. */
export async function attempt(call: {
  readonly http: GuardedHttp
  readonly clock: Clock
  readonly webhook: Webhook
  /** The `webhook-id`. */
  readonly id: string
  readonly body: string
  readonly signal: AbortSignal
}): Promise<Outcome> {
  const { http, clock, webhook, id, body, signal } = call
  const beganAt = clock.now()
  const requestBytes = Buffer.byteLength(body)
  const ended = (rest: Pick<Outcome, 'kind' | 'status' | 'error' | 'answerBytes'>): Outcome => ({
    ...rest,
    tookMs: Math.max(0, clock.now() - beganAt),
    requestBytes,
  })
  try {
    const answer = await http.send({
      url: webhook.url,
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...signedHeaders({ id, body, secrets: webhook.secrets }, beganAt),
      },
      body,
      statusWithin: BODY_WITHIN_MS,
      signal,
    })
    const { status } = answer
    const answerBytes = answer.body.byteLength
    if (status >= 200 && status < 300) return ended({ kind: 'delivered', status, error: null, answerBytes })
    if (status === GONE) return ended({ kind: 'gone', status, error: webhookErrors.GONE.code, answerBytes })
    return ended({ kind: 'failed', status, error: webhookErrors.ANSWERED.code, answerBytes })
  } catch (error) {
    if (signal.aborted) return ended({ kind: 'stopped', status: null, error: null, answerBytes: 0 })
    return ended({ kind: 'failed', status: null, error: codeOf(error), answerBytes: 0 })
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof EclusaError)) return 'GATEWAY_INTERNAL'
  const { reason } = error.details
  return typeof reason === 'string' ? `${error.code} (${reason})` : error.code
}
