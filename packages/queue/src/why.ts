import type { HoldReason } from './care.ts'
import type { WaitingRow } from './control-store.ts'
import type { DispatcherView } from './dispatcher.ts'

/** A thing that a message waits for. */
export type WaitReason =
  | 'TENANT_PAUSED'
  | 'INSTANCE_PAUSED'
  | 'CHAT_PAUSED'
  | HoldReason
  | 'HANDED_OVER'
  | 'INSTANCE_OFFLINE'
  | 'INSTANCE_LIMITED'
  | 'INSTANCE_RATE'
  | 'BACKING_OFF'
  | 'BEHIND_OTHERS'
  | 'CHAT_RESTING'
  | 'PACING'
  | 'ON_THE_WIRE'
  | 'ITS_TURN'

export interface Waiting {
  readonly reason: WaitReason
  /** In plain words. */
  readonly message: string
  /** Epoch milliseconds; null when nobody can say. */
  readonly until: number | null
}

const MESSAGES: Readonly<Record<WaitReason, string>> = {
  TENANT_PAUSED: 'The tenant is paused; it goes on when somebody resumes it',
  INSTANCE_PAUSED: 'The instance is paused; it goes on when somebody resumes it',
  CHAT_PAUSED: 'The chat is paused; it goes on when somebody resumes it',
  SCHEDULED: 'It was accepted for a later time',
  COLD_PAUSED:
    'WhatsApp restricts the instance: who did not write in the last 24 hours is not written to for now',
  NEW_CONTACT_BUDGET: 'The instance wrote to as many new contacts today as it may',
  TENANT_RATE:
    'The tenant writes to people who are not in conversation as fast as it may; this is its own turn',
  QUIET_HOURS: 'It is night, or a day of rest, where the contact is',
  SLOWED: 'People do not want the proactive messages of the instance: they go four times slower',
  HEALTH_PAUSED:
    'People do not want the proactive messages of the instance: none goes until the operator says that it may',
  SAME_TEXT:
    'The same text went to too many contacts within an hour: it is paused, unless the operator allows it',
  CONTACT_LIMIT: 'The contact got as many messages within an hour or a day as one may',
  UNANSWERED: 'The contact has not answered the last proactive message',
  HANDED_OVER: 'The process that serves the instance has not taken it over yet',
  INSTANCE_OFFLINE: 'The instance is not connected to WhatsApp',
  INSTANCE_LIMITED: 'WhatsApp asks the instance to slow down',
  INSTANCE_RATE: 'The instance sends as fast as it may',
  BACKING_OFF: 'The last try failed; the next one comes by itself',
  BEHIND_OTHERS: 'Others of its chat go first',
  CHAT_RESTING: 'A moment of quiet between two messages of a chat',
  PACING: 'It is being read, thought about or typed',
  ON_THE_WIRE: 'WhatsApp has not confirmed it yet',
  ITS_TURN: 'Nothing keeps it; it goes in a moment',
}

/** Everything that keeps a message, what lasts longest or needs a person first. Pure. */
export function whyWaiting(input: {
  readonly row: WaitingRow
  readonly view: DispatcherView
  readonly aheadCount: number
  readonly expiresAt: number
  readonly paused: { readonly tenant: boolean; readonly instance: boolean; readonly chat: boolean }
  readonly now: number
}): readonly Waiting[] {
  const { row, view, aheadCount, expiresAt, paused, now } = input
  const waits: Waiting[] = []
  const add = (reason: WaitReason, until: number | null = null, more = ''): void => {
    waits.push({ reason, message: `${MESSAGES[reason]}${more}`, until })
  }
  const isInLane = view.inLane === row.identity.seq
  if (isInLane && view.stage === 'sending') {
    add('ON_THE_WIRE')
    return waits
  }
  if (paused.tenant) add('TENANT_PAUSED')
  if (paused.instance) add('INSTANCE_PAUSED')
  if (paused.chat) add('CHAT_PAUSED')
  const isHeld = row.priority >= 5 && row.priority < 9
  if (isHeld) {
    const isTooLate = (row.notBefore ?? 0) >= expiresAt
    add(
      (row.heldBy ?? 'SCHEDULED') as WaitReason,
      row.notBefore,
      isTooLate ? '; it expires before it may go' : '',
    )
  }
  if (!view.isOnline) add('INSTANCE_OFFLINE')
  if (view.instanceWaits !== null) {
    const { why, until } = view.instanceWaits
    if (why === 'LIMITED') add('INSTANCE_LIMITED', until)
    else if (why === 'INSTANCE_RATE') add('INSTANCE_RATE', until)
    else if (view.isOnline) add('INSTANCE_OFFLINE', until)
  }
  if (row.retryAt !== null && row.retryAt > now) add('BACKING_OFF', row.retryAt)
  if (!isHeld && !isInLane) {
    if (aheadCount > 0) add('BEHIND_OTHERS', null, ` (${aheadCount} of them)`)
    else if (view.chatWaitsUntil !== null && (row.retryAt ?? 0) <= now)
      add('CHAT_RESTING', view.chatWaitsUntil)
  }
  if (isInLane) add('PACING', null, view.stage === null ? '' : ` (${view.stage})`)
  if (waits.length === 0) add('ITS_TURN')
  return waits
}
