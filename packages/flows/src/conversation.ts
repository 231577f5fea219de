import type { ContactId, InstanceId, TenantId } from '@eclusa/kernel'

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
  readonly state: ConversationState
  /** In whose waiting line it stands, or stood when it was assigned; null while its flow has not chosen one. */
  readonly sector: SectorId | null
  /** Who answers; only while assigned. */
  readonly operator: OperatorId | null
  /** Since when it waits in the sector's line; null while it does not. The line is in this order. */
  readonly waitingSince: number | null
  readonly openedAt: number
  readonly assignedAt: number | null
  readonly closedAt: number | null
  readonly closeReason: string | null
}
