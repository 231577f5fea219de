import type { ChatId, ContactId, InboundMessage, InboundOrigin } from '@eclusa/kernel'
import type { Conversation } from '@eclusa/flows'

/**
 * What a message that came in passes, in this order. Each call is idempotent by the origin's instance and journal id:
 * after a crash the message walks all of it again, what was done before is answered again and not done twice. A throw
 * ends the walk, and the message walks again later.
 */
export interface InboxPorts {
  readonly contacts: {
    /** Who wrote: made known, brought up to date, made one when number and LID prove to be the same person. */
    seen(
      origin: InboundOrigin,
      message: {
        readonly address: ChatId
        readonly alias: ChatId | null
        readonly pushName: string | null
        readonly at: number
      },
    ): Promise<ContactId>
  }
  readonly care: {
    /** What the words ask of us beside any flow. `atMenu`: the contact's flow waits for an answer. */
    hear(
      origin: InboundOrigin,
      message: {
        readonly contact: ContactId
        readonly address: ChatId
        readonly words: string | null
        readonly at: number
        readonly atMenu: boolean
      },
    ): Promise<Heard>
  }
  readonly conversations: {
    /** The contact's conversation that is not closed, opened or reopened when there is none, with the message in it. */
    receive(
      origin: InboundOrigin,
      message: { readonly contact: ContactId; readonly chat: ChatId; readonly at: number },
    ): Promise<{ readonly conversation: Conversation; readonly isNew: boolean; readonly isReopened: boolean }>
    /** Written on another device of the account: goes into the history when the chat has a conversation. */
    receiveOwn(
      origin: InboundOrigin,
      message: { readonly chat: ChatId; readonly at: number },
    ): Promise<unknown>
  }
  readonly flows: {
    /** Whether the contact's flow waits for an answer. */
    isWaiting(origin: InboundOrigin, contact: ContactId): Promise<boolean>
    /** Starts the flow of a new conversation, or hands the message to the one that runs. */
    hear(
      origin: InboundOrigin,
      message: {
        readonly contact: ContactId
        readonly conversation: Conversation
        /** It goes on where it was before it was closed a moment ago: nothing need be asked again. */
        readonly isReopened: boolean
        readonly message: InboundMessage
        readonly heard: Heard
      },
    ): Promise<void>
  }
}

type Heard =
  | 'nothing'
  | 'opted_out'
  /** Unclear whether it is meant: to be asked once. */
  | 'asks_to_stop'
  | 'opted_in'
  | 'wants_person'
