import { Ring } from './ring.ts'

/** Enough for a crash test of 100,000 messages each way. */
const MAX_LISTED = 200_000

export interface Delivery {
  /** JID of the linked device. */
  readonly to: string
  readonly waMessageId: string
}

export interface Acceptance {
  /** JID of the linked device that sent it. */
  readonly from: string
  /** The chat it was addressed to. */
  readonly chat: string
  readonly waMessageId: string
}

/** Counters since the simulator began, and what was acknowledged in which direction. */
export class Statistics {
  connections = 0
  logins = 0
  refusedLogins = 0
  pairings = 0
  stanzasIn = 0
  messagesAccepted = 0
  messagesRefused = 0
  messagesToDevices = 0
  messagesToPhones = 0
  deliveriesAcknowledged = 0
  redeliveries = 0
  receiptsIn = 0
  receiptsOut = 0
  chatStatesIn = 0
  retriesAskedByClients = 0
  retriesAskedByPhones = 0
  repeatsDropped = 0
  /** Messages without content that linked devices asked their phones for. */
  contentsAsked = 0
  faultsStruck = 0
  mailDropped = 0
  /** Messages to linked devices that were acknowledged by a delivery receipt. bounded by: MAX_LISTED, oldest out */
  readonly acknowledged: Ring<Delivery> = new Ring(MAX_LISTED)
  /** Messages the server took from linked devices. bounded by: MAX_LISTED, oldest out */
  readonly accepted: Ring<Acceptance> = new Ring(MAX_LISTED)
}
