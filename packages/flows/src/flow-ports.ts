import type { ChatId, ContactId, InboundKind, InstanceId, TenantId } from '@eclusa/kernel'
import type { Statement } from '@eclusa/storage'
import type { Conversation, ConversationId, OperatorId, SectorId } from './conversation.ts'

/*
 * What the runner needs of others. Whatever changes something is either planned as statements, which are committed
 * together with the run's own step, or may be called again with the same key and then changes nothing.
 */

/** What was said, as far as flows care. */
export interface HeardMessage {
  readonly kind: InboundKind
  /** At most 4,096 characters; null when it has none. */
  readonly words: string | null
  /** When WhatsApp received it, epoch milliseconds. */
  readonly sentAt: number
}

/** What was read out of the words before the flow: see the contacts' care. */
export type Heard = 'nothing' | 'opted_out' | 'asks_to_stop' | 'opted_in' | 'wants_person'

export interface ContactFacts {
  readonly name: string | null
  /** Digits; null while only a LID is known. */
  readonly number: string | null
  readonly tags: readonly string[]
  readonly fields: Readonly<Record<string, string>>
}

export interface FlowContacts {
  facts(who: { readonly tenant: TenantId; readonly contact: ContactId }): Promise<ContactFacts>
  /** The same change again changes nothing. Null takes a field away. */
  change(
    who: { readonly tenant: TenantId; readonly contact: ContactId },
    change: {
      readonly fields?: Readonly<Record<string, string | null>>
      readonly addTags?: readonly string[]
      readonly removeTags?: readonly string[]
    },
  ): Promise<void>
}

export interface FlowMessages {
  /** Queued when it resolves. The same key again queues nothing. */
  enqueue(message: {
    readonly tenant: TenantId
    readonly instance: InstanceId
    readonly chat: ChatId
    readonly conversation: ConversationId
    readonly text: string
    readonly key: string
  }): Promise<void>
}

export interface FlowLookups {
  /** The JSON of an answer with status 2xx; has deadlines of its own. */
  call(request: {
    readonly tenant: TenantId
    readonly method: 'GET' | 'POST'
    readonly url: string
    readonly headers: Readonly<Record<string, string>>
    readonly body: unknown
    readonly signal: AbortSignal
  }): Promise<unknown>
}

type Ref = Pick<Conversation, 'tenant' | 'id'>

/** A change of a conversation that is not committed yet; `after` is called when it is. */
export interface PlannedMove {
  readonly outcome:
    | { readonly done: true; readonly conversation: Conversation }
    | { readonly done: false; readonly why: string }
  readonly statements: readonly Statement[]
  after(): void
}

export interface FlowConversations {
  get(ref: Ref): Promise<Conversation | undefined>
  /** Null: the tenant's default sector. Without a rule, the sector's own says who gets it. */
  waitInLine(
    ref: Ref,
    how: {
      readonly sector: SectorId | null
      readonly rule: 'least_busy' | 'round_robin' | 'random' | null
      readonly seed: number | null
      /** What an operator must be marked for. */
      readonly skill: string | null
    },
  ): Promise<PlannedMove>
  /** Only to an operator who is there and has room. */
  assign(ref: Ref, operator: OperatorId): Promise<PlannedMove>
  /** From the operator who has it to nobody, in no line. */
  release(ref: Ref, operator: OperatorId): Promise<PlannedMove>
  /** `servedBy`: whose it was before it was released. */
  close(ref: Ref, reason: string, servedBy: OperatorId | null): Promise<PlannedMove>
  /** Who answered the contact last, in a conversation before this one. */
  lastOperatorOf(
    conversation: Conversation,
  ): Promise<{ readonly operator: OperatorId; readonly at: number } | undefined>
  /** Whose customer the contact is. */
  ownerOf(who: { readonly tenant: TenantId; readonly contact: ContactId }): Promise<OperatorId | undefined>
  admins(tenant: TenantId): Promise<readonly OperatorId[]>
  /** Whether the tenant has a sector, and so a line in which somebody may look. */
  hasLine(tenant: TenantId): Promise<boolean>
  /** Whether who comes into this line now would wait there: nobody with the skill has room for them too. */
  mustWait(
    tenant: TenantId,
    line: { readonly sector: SectorId; readonly skill: string | null },
  ): Promise<boolean>
}
