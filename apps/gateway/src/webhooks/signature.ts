import { createHmac, randomBytes } from 'node:crypto'
import type { SigningSecret } from './webhook.ts'

const PREFIX = 'whsec_'

/** 32 random bytes, as receivers of Standard Webhooks expect them written. */
export function makeSecret(): string {
  return PREFIX + randomBytes(32).toString('base64')
}

/**
 * The headers of Standard Webhooks: HMAC-SHA-256 over `id.timestamp.body`, once with each secret that counts at `now`.
 * @param now epoch milliseconds of this try: receivers refuse stamps that are five minutes off
 */
export function signedHeaders(
  {
    id,
    body,
    secrets,
  }: { readonly id: string; readonly body: string; readonly secrets: readonly SigningSecret[] },
  now: number,
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(now / 1000))
  const signatures = secrets
    .filter(({ until }) => until === null || until > now)
    .map(({ secret }) => {
      const key = Buffer.from(secret.slice(PREFIX.length), 'base64')
      return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`
    })
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') }
}
