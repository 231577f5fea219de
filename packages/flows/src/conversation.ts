import {
  type ChatId,
  type ContactId,
  EclusaError,
  type InstanceId,
  kernelErrors,
  randomBase32,
  type TenantId,
} from '@eclusa/kernel'

/** A department of a tenant: lower-case letters, digits, `-`, `_`, at most 40; unique in the tenant. */
export type SectorId = string & { readonly __brand: 'SectorId' }
/** A person who answers: `opr_` and 20 base-32 characters. */
export type OperatorId = string & { readonly __brand: 'OperatorId' }
/** One service episode with a contact: `cnv_` and 20 base-32 characters. */
export type ConversationId = string & { readonly __brand: 'ConversationId' }

export type ConversationState = 'open' | 'assigned' | 'closed'

export interface Conversation {
  readonly id: ConversationId
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly contact: ContactId
  /** Where answers go: the chat in which the contact last wrote. */
  readonly chat: ChatId
  readonly state: ConversationState
  /** In whose waiting line it stands, or stood when it was assigned; null while its flow has not chosen one. */
  readonly sector: SectorId | null
  /** Who answers; only while assigned. */
  readonly operator: OperatorId | null
  /** Who answered last, also after it was closed or returned. */
  readonly lastOperator: OperatorId | null
  /** What an operator must be marked for in the sector to get it from the line; null for nothing special. */
  readonly skill: string | null
  /** Since when it waits in the sector's line; null while it does not. */
  readonly waitingSince: number | null
  readonly openedAt: number
  readonly assignedAt: number | null
  readonly closedAt: number | null
  readonly closeReason: string | null
  /** When the contact last wrote. */
  readonly lastInboundAt: number
}

/** Who gets the first of a line. `manual`: nobody, until an operator takes it. */
export type DistributionRule = 'least_busy' | 'round_robin' | 'random'
export type SectorRule = DistributionRule | 'manual'

/** `online` gets from the line (within the hours, if any); `away` and `offline` do not, but keep what they have. */
export type Availability = 'online' | 'away' | 'offline'

/** Who did something: the contact, a flow, the waiting line, a caller of the API, the gateway itself, or an operator. */
export type Actor = 'contact' | 'flow' | 'line' | 'api' | 'system' | OperatorId

export type EntryKind =
  | 'inbound'
  | 'outbound'
  | 'note'
  | 'opened'
  | 'waiting'
  | 'assigned'
  | 'transferred'
  | 'released'
  | 'closed'
  | 'reopened'
  | 'merged'

/** One line of a conversation's history. */
export interface ConversationEntry {
  /** The cursor; grows in the order of what happened. */
  readonly id: number
  readonly kind: EntryKind
  readonly at: number
  /** Of `inbound`: the journal's row, also of what was written on another device of the account (actor `system`). */
  readonly journalId: number | null
  /** Of `outbound`: the sequence number in the queue's message id. */
  readonly messageSeq: number | null
  /** Where it waits, or went to. */
  readonly sector: SectorId | null
  /** To whom it went. */
  readonly operator: OperatorId | null
  readonly actor: Actor
  /** Of an assignment from the line: how long it had waited. */
  readonly waitedMs: number | null
  /** A note, the comment beside a change, the text of an answer. */
  readonly text: string | null
}

export function makeConversationId(): ConversationId {
  return `cnv_${randomBase32(20)}` as ConversationId
}

/** @throws KERNEL_BAD_ID naming `field` */
export function parseConversationId(text: string, field = 'conversation'): ConversationId {
  if (!/^cnv_[0-9a-hjkmnp-tv-z]{20}$/.test(text))
    throw badId(field, 'must look like cnv_ and 20 letters or digits')
  return text as ConversationId
}

export function makeOperatorId(): OperatorId {
  return `opr_${randomBase32(20)}` as OperatorId
}

/** @throws KERNEL_BAD_ID naming `field` */
export function parseOperatorId(text: string, field = 'operator'): OperatorId {
  if (!/^opr_[0-9a-hjkmnp-tv-z]{20}$/.test(text))
    throw badId(field, 'must look like opr_ and 20 letters or digits')
  return text as OperatorId
}

/** @throws KERNEL_BAD_ID naming `field` */
export function parseSectorId(text: string, field = 'sector'): SectorId {
  return slugOf(text, field) as SectorId
}

/** The name of something an operator knows: as a sector's. @throws KERNEL_BAD_ID naming `field` */
export function parseSkill(text: string, field = 'skill'): string {
  return slugOf(text, field)
}

/**
 * A reason to close: as a sector's name; words of people go into the comment. `merged` is the gateway's own.
 * @throws KERNEL_BAD_ID naming `field`
 */
export function parseCloseReason(text: string, field = 'reason'): string {
  if (text === 'merged')
    throw badId(field, 'must not be "merged", which says that two contacts proved to be one')
  return slugOf(text, field)
}

function slugOf(text: string, field: string): string {
  if (!/^[a-z0-9][a-z0-9_-]{0,39}$/.test(text)) {
    throw badId(
      field,
      'must be 1 to 40 lower-case letters, digits, "-" or "_", beginning with a letter or digit',
    )
  }
  return text
}

function badId(field: string, rule: string): EclusaError {
  return new EclusaError(kernelErrors.BAD_ID, { details: { field }, message: `${field} ${rule}` })
}
