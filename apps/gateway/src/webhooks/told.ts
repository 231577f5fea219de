import type { LoggedEvent } from '@eclusa/storage'
import { toldEvent } from '../events/event-text.ts'
import { laneOf } from './subscription.ts'

/** An event as it is sent: the same object and the same text for every endpoint that gets it. */
export interface Told {
  readonly event: LoggedEvent
  readonly lane: string
  readonly body: string
}

export function tell(event: LoggedEvent, hashKey: Uint8Array): Told {
  return { event, lane: laneOf(event, hashKey), body: JSON.stringify(toldEvent(event)) }
}
