import { createHmac } from 'node:crypto'
import type { LoggedEvent } from '@eclusa/storage'
import { matches } from '../events/event-filter.ts'
import type { Webhook } from './webhook.ts'

/** Among the types of a webhook: every event. */
export const EVERY_TYPE = '*'

/** Whether the event is one to send to this webhook. */
export function wants(
  { id, tenant, instance, types }: Pick<Webhook, 'id' | 'tenant' | 'instance' | 'types'>,
  event: LoggedEvent,
): boolean {
  // What is told about a webhook goes to the others: one that fails would be told of it without end.
  if (event.type.startsWith('webhook.') && (event.payload as { webhook?: unknown }).webhook === id)
    return false
  return matches(
    {
      tenant,
      ...(instance === null ? {} : { instance }),
      ...(types.includes(EVERY_TYPE) ? {} : { types }),
    },
    event,
  )
}

/**
 * Events that must arrive in their order: those of a chat; without one those of a contact; else those of an instance.
 * A keyed hash, because it is stored openly.
 */
export function laneOf({ instance, payload }: LoggedEvent, hashKey: Uint8Array): string {
  const { chat, contact } = payload as { readonly chat?: unknown; readonly contact?: unknown }
  const what =
    typeof chat === 'string' ? `chat ${chat}` : typeof contact === 'string' ? `contact ${contact}` : ''
  return createHmac('sha256', hashKey)
    .update(`${what.startsWith('contact') ? '' : (instance ?? '')} ${what}`)
    .digest('base64url')
    .slice(0, 16)
}
