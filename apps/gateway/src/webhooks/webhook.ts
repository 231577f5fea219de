import {
  EclusaError,
  HOUR,
  type InstanceId,
  KIB,
  MIB,
  MINUTE,
  randomBase32,
  SECOND,
  type TenantId,
} from '@eclusa/kernel'
import { webhookErrors } from './errors.ts'

/** An endpoint that events are sent to: `whk_` + 20 base-32 characters. */
export type WebhookId = string & { readonly __brand: 'WebhookId' }

/**
 * | reason         | what happened                                              |
 * |----------------|------------------------------------------------------------|
 * | asked          | somebody disabled it                                       |
 * | gone           | the receiver answered 410                                  |
 * | failing        | nothing but failures for `disableAfterMs`                  |
 * | dead_list_full | `MAX_DEAD` events were given up                            |
 */
export type DisabledReason = 'asked' | 'gone' | 'failing' | 'dead_list_full'

export interface Webhook {
  readonly id: WebhookId
  readonly tenant: TenantId
  /** Null: of all instances, and of none. */
  readonly instance: InstanceId | null
  /** Names of events, or `outbound.*`, or `*`; at least one. */
  readonly types: readonly string[]
  readonly url: string
  readonly description: string
  readonly enabled: boolean
  readonly disabledReason: DisabledReason | null
  readonly disabledAt: number | null
  readonly createdAt: number
  readonly changedAt: number
  /** The newest first; one that was replaced signs too until its time. Never shown again after it was made. */
  readonly secrets: readonly SigningSecret[]
}

export interface SigningSecret {
  /** `whsec_` and 32 bytes in base 64. */
  readonly secret: string
  /** Null: until it is replaced. */
  readonly until: number | null
}

export type WebhookInput = Pick<Webhook, 'instance' | 'types' | 'url' | 'description'>

/** How an endpoint does. */
export interface WebhookState {
  /** What became of every event up to here is settled: delivered, waiting or dead. */
  readonly cursor: number
  readonly lastSuccessAt: number | null
  /** The first failure since the last success. */
  readonly failingSince: number | null
  /** The code of the last failure since then. */
  readonly lastError: string | null
  /** Its last call failed or took more than a second; so is one that has not been called yet. */
  readonly isSlow: boolean
  /** Events that were swept from the log before they could be delivered: those between the two. */
  readonly missed: { readonly after: number; readonly before: number; readonly at: number } | null
}

export interface WebhookLimits {
  /** Endpoints that are served. */
  readonly maxWebhooks: number
  /** Calls at once, of all endpoints; slow and failing ones have a half at most. */
  readonly maxCalls: number
  /** JSON bytes of events held for endpoints, likewise. */
  readonly maxEventBytes: number
}

export const defaultWebhookLimits: Omit<WebhookLimits, 'maxWebhooks'> = {
  maxCalls: 128,
  maxEventBytes: 4 * MIB,
}
export const smallWebhookLimits: Omit<WebhookLimits, 'maxWebhooks'> = { maxCalls: 32, maxEventBytes: MIB }

/** Endpoints of a tenant. */
export const MAX_WEBHOOKS_OF_TENANT = 20
export const MAX_TYPES = 50
export const MAX_DESCRIPTION = 500
/** Calls of one endpoint at once. */
export const MAX_CALLS_OF_ONE = 8
/** Events of one endpoint in memory: as many, or as many bytes and one more. */
export const MAX_WINDOW = 32
export const MAX_WINDOW_BYTES: number = 64 * KIB
/** Events that wait on disk for one endpoint; past it nothing more of the log is read for it. */
export const MAX_WAITING = 10_000
/** Events given up for one endpoint; past it the endpoint is disabled. */
export const MAX_DEAD = 10_000
/** A call that has no answer after this counts as slow. */
export const SLOW_AFTER_MS: number = SECOND
/** Fresh events that fail in a row, with nothing delivered between, until an endpoint counts as down. */
export const DOWN_AFTER_FAILURES = 3
/** The schedule: each entry is the pause before the next try, from the end of the one before. */
export const RETRY_AFTER_MS: readonly number[] = [
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  10 * HOUR,
]

export function makeWebhookId(): WebhookId {
  return `whk_${randomBase32(20)}` as WebhookId
}

/** @throws WEBHOOK_UNKNOWN: whatever has not the form of an id names nothing that exists */
export function parseWebhookId(text: string): WebhookId {
  if (!/^whk_[0-9a-hjkmnp-tv-z]{20}$/.test(text)) throw new EclusaError(webhookErrors.UNKNOWN)
  return text as WebhookId
}

/** The id under which a receiver knows an event: the same with every try and replay. */
export function messageIdOf(webhook: WebhookId, seq: number): string {
  return `msg_${webhook.slice('whk_'.length)}_${seq}`
}
