import type { MessageRetryManager, UserFacingSocketConfig } from 'baileys'
import type { ResendLimit } from './resend-limit.ts'
import { currentStanza } from './stanza-flow.ts'

/** Messages that could not be read and are asked from the phone, each with a timer of 3 s. */
const MAX_PHONE_REQUESTS = 1_000

export interface RetryManagerStats {
  /** Requests to the phone that were left out because 1,000 waited. */
  readonly phoneRequestsRefused: number
}

/**
 * Baileys keeps every received message, too, for resends that only messages it sent can be asked for; keeps a timer per
 * unreadable message without a bound; and answers requests for a message as often as they come.
 * @throws Error when a method is not what it was in the known engine
 */
export function guardRetryManager(
  manager: MessageRetryManager | null | undefined,
  limit: ResendLimit,
): () => RetryManagerStats {
  let phoneRequestsRefused = 0
  if (manager !== null && manager !== undefined) {
    for (const method of ['addRecentMessage', 'getRecentMessage', 'schedulePhoneRequest'] as const) {
      if (typeof manager[method] !== 'function')
        throw new Error(`Baileys' retry manager has no ${method} any more; this release cannot bound it`)
    }
    const add = manager.addRecentMessage.bind(manager)
    const get = manager.getRecentMessage.bind(manager)
    manager.addRecentMessage = (to, id, message) => {
      // A reply that a listener sends while a message is handled has an id of its own.
      if (currentStanza()?.attrs['id'] === id) return
      add(to, id, message)
      // Too large for the cache: then it must not stand in upstream's index either, which only evictions empty.
      if (get(to, id) === undefined)
        (Reflect.get(manager, 'messageKeyIndex') as Map<string, string>).delete(id)
    }
    manager.getRecentMessage = (to, id) => {
      const found = get(to, id)
      return found === undefined || admit(limit, to, id) ? found : undefined
    }
    const schedule = manager.schedulePhoneRequest.bind(manager)
    manager.schedulePhoneRequest = (messageId, callback, delayMs) => {
      const pending = Reflect.get(manager, 'pendingPhoneRequests') as object
      if (Object.keys(pending).length < MAX_PHONE_REQUESTS) schedule(messageId, callback, delayMs)
      else phoneRequestsRefused += 1
    }
  }
  return () => ({ phoneRequestsRefused })
}

type GetMessage = NonNullable<UserFacingSocketConfig['getMessage']>

/** `getMessage` of the configuration, which is not asked for what its peer has had too often. */
export function limitResends(getMessage: GetMessage, limit: ResendLimit): GetMessage {
  return async (key) => (admit(limit, key.remoteJid ?? '', key.id ?? '') ? getMessage(key) : undefined)
}

/** Only a peer's receipt asks for a message again; votes in a poll look theirs up through the same door. */
function admit(limit: ResendLimit, chat: string, id: string): boolean {
  const stanza = currentStanza()
  if (stanza?.tag !== 'receipt') return true
  return limit.admit(stanza.attrs['participant'] ?? stanza.attrs['from'] ?? chat, id)
}
