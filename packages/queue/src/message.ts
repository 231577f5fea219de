import type { ChatId, InstanceId, MessageId, TenantId, WaMessageId } from '@eclusa/kernel'
import type { ChatStanding } from './care.ts'

/** What a message says; sealed as JSON in its row. */
export type OutboundContent = { readonly kind: 'text'; readonly text: string }

/** `urgent` goes before `normal` before `bulk` of the same chat; within one, first come first sent. */
export type Priority = 'urgent' | 'normal' | 'bulk'

/**
 * What a message is sent for. `proactive`: nobody asked for it, so it needs the contact's recorded consent. Without
 * one, whether the contact wrote in the last 24 hours decides. `confirmation`: tells a contact that their opt-out was
 * heard, so it is the one message that an opt-out does not stop. `automatic`: a flow or a rule answers, not a person, so it
 * goes to nobody who opted out, also when they wrote again. Nobody but the gateway may ask for either.
 */
export type Purpose = 'reply' | 'proactive' | 'confirmation' | 'automatic'

/** Who and what a message is, without its content. */
export interface OutboundIdentity {
  readonly id: MessageId
  /** Order of acceptance, unique in the installation, never reused. */
  readonly seq: number
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly chat: ChatId
  /** Fixed at acceptance; every resend carries it. */
  readonly waMessageId: WaMessageId
  /** Epoch milliseconds. */
  readonly acceptedAt: number
}

/** A message as it is handed to the sender. */
export interface OutboundMessage extends OutboundIdentity {
  readonly content: OutboundContent
  /** Tries counted so far, this one included. */
  readonly attempts: number
}

export type OutboundState = 'PENDING' | 'PROCESSING' | 'SENT' | 'DELIVERED' | 'READ' | 'FAILED' | 'CANCELLED'

export interface OutboundFailure {
  readonly code: string
  readonly message: string
}

/** What anyone may know about a message; instants in epoch milliseconds. */
export interface OutboundStatus {
  readonly id: MessageId
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly chat: ChatId
  readonly state: OutboundState
  readonly waMessageId: WaMessageId
  readonly acceptedAt: number
  /** When WhatsApp's server confirmed it. */
  readonly sentAt: number | null
  readonly deliveredAt: number | null
  readonly readAt: number | null
  readonly failure: OutboundFailure | null
}

export interface UnreadMessage {
  readonly waMessageId: WaMessageId
  /** The JID it came from as WhatsApp addressed it: the read receipt goes there. */
  readonly addressedAs: string
  /** Who wrote it, which in a group is not who it came from. */
  readonly author: string
}

/** What the queue needs of a session. */
export interface MessageSender {
  /**
   * Resolves when WhatsApp's server acknowledged the message; has a deadline of its own. Rejects with an EclusaError
   * whose `retry` and `delivered` decide what follows: SESSION_OFFLINE pauses the instance and counts no try,
   * SESSION_RATE_LIMITED backs the instance off, retry 'never' fails the message at once.
   */
  send(message: OutboundMessage, signal: AbortSignal): Promise<{ readonly ackedAt: number }>
  markRead(instance: InstanceId, chat: ChatId, messages: readonly UnreadMessage[]): Promise<void>
  setPresence(instance: InstanceId, chat: ChatId, presence: 'composing' | 'paused'): Promise<void>
}

/** What the queue needs to know of a chat's other direction, and of the person there. */
export interface ChatContext {
  /** Unread inbound messages of this chat, oldest first, at most 100, and the words of the last one. */
  unread(
    instance: InstanceId,
    chat: ChatId,
  ): Promise<{ readonly messages: readonly UnreadMessage[]; readonly lastWordCount: number }>
  /** The one id of a person's chat, as far as it is known now. Without it every id stands for itself. */
  canonical?(instance: InstanceId, chat: ChatId): Promise<ChatId>
  /** Asked once per message before it is sent. Without it everybody is taken to be in conversation. */
  standing?(message: {
    readonly tenant: TenantId
    readonly instance: InstanceId
    readonly chat: ChatId
  }): Promise<ChatStanding>
}

/** Every event about a message carries this; never its content. */
export interface OutboundEvent {
  readonly id: MessageId
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly chat: ChatId
  readonly waMessageId: WaMessageId
  readonly state: OutboundState
  /** Epoch milliseconds of what the event tells. */
  readonly at: number
  /** Only with `outbound.accepted`: why it was asked for; always there when it is urgent and proactive. */
  readonly reason?: string
  /** Only with `outbound.failed`. */
  readonly failure?: OutboundFailure
}

/** Those that are also rows of the event log, written in the unit that causes them. */
export type DurableEventName =
  | 'outbound.accepted'
  | 'outbound.sent'
  | 'outbound.delivered'
  | 'outbound.read'
  | 'outbound.failed'
  | 'outbound.cancelled'
  | 'outbound.retried'

/** Those that only tell what is going on now. */
export type LiveEventName = 'outbound.reading' | 'outbound.thinking' | 'outbound.typing' | 'outbound.sending'

export type QueueEvents = { readonly [Name in DurableEventName | LiveEventName]: OutboundEvent } & {
  /** An instance has more than 500 messages waiting; nothing is refused. Once per crossing. */
  readonly 'queue.warned': {
    readonly tenant: TenantId
    readonly instance: InstanceId
    readonly waiting: number
  }
  /** WhatsApp restricts an instance: until then only conversations flow. */
  readonly 'cold_chats.paused': {
    readonly tenant: TenantId
    readonly instance: InstanceId
    /** Of WhatsApp's answer. */
    readonly code: string
    /** Epoch milliseconds. */
    readonly until: number
  }
}
