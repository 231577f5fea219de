import type { ContactDirectory } from '@eclusa/contacts'
import type { Conversation, Conversations, SentMessage } from '@eclusa/flows'
import {
  type ChatId,
  type InstanceId,
  ninthDigitVariant,
  parseMessageId,
  type TenantId,
} from '@eclusa/kernel'
import type { Queue } from '@eclusa/queue'

/** LIDs looked up at once. */
const ASK_STEP = 500
/** Of the newest messages of the gateway so many windows are looked at, 2,000 messages each. */
const MAX_WINDOWS = 10
/** Most messages filed late in one conversation. */
const MAX_LATE = 500

/**
 * Finds the conversation of whom a message is for, whatever they are called: now, when the number or LID is known to be
 * theirs, else when it becomes known.
 */
export class LateFiling {
  readonly #conversations: Conversations
  readonly #directory: Pick<ContactDirectory, 'at'>
  readonly #traces: () => Pick<Queue['traces'], 'list'>
  readonly #canonicalChat: (instance: InstanceId, chat: ChatId) => Promise<ChatId>

  constructor(options: {
    readonly conversations: Conversations
    readonly directory: Pick<ContactDirectory, 'at'>
    readonly traces: () => Pick<Queue['traces'], 'list'>
    readonly canonicalChat: (instance: InstanceId, chat: ChatId) => Promise<ChatId>
  }) {
    this.#conversations = options.conversations
    this.#directory = options.directory
    this.#traces = options.traces
    this.#canonicalChat = options.canonicalChat
  }

  /** The one that is not closed with whoever has this chat; `addressed`: the same as the caller spelled it. */
  async conversationOf(
    tenant: TenantId,
    instance: InstanceId,
    chat: ChatId,
    addressed: ChatId,
  ): Promise<Conversation | undefined> {
    const known = await this.#conversations.notClosedIn(instance, chat, addressed)
    if (known !== undefined || chat.endsWith('@g.us')) return known
    // Perhaps they wrote under a LID that another instance, or an import, knows the number of.
    const contact = await this.#directory.at(tenant, chat, instance)
    return contact && this.#conversations.notClosedOf(instance, contact.id)
  }

  /** These LIDs have numbers now: their conversations get what was sent to the numbers before. */
  async numbersLearnt(instance: InstanceId, lids: readonly ChatId[]): Promise<void> {
    for (let from = 0; from < lids.length; from += ASK_STEP) {
      const asked = lids.slice(from, from + ASK_STEP)
      for (const conversation of await this.#conversations.notClosedInAny(instance, asked)) {
        const number = await this.#canonicalChat(instance, conversation.chat)
        if (number === conversation.chat) continue
        // First, so that what is sent from here on finds it by itself.
        await this.#conversations.rename(conversation, number)
        await this.file(conversation, number)
      }
    }
  }

  /** What was sent to `chat` since the conversation began, and stands in no history. The same again changes nothing. */
  async file(conversation: Conversation, chat: ChatId): Promise<void> {
    const { instance, openedAt } = conversation
    const variant = ninthDigitVariant(chat)
    const found: SentMessage[] = []
    for (const name of variant === null ? [chat] : [chat, variant]) {
      for await (const { status, content } of this.#traces().list(instance, name, MAX_WINDOWS)) {
        if (status.acceptedAt < openedAt || found.length === MAX_LATE) break
        const { seq } = parseMessageId(status.id)
        found.push({ messageSeq: seq, text: content?.text ?? null, at: status.acceptedAt })
      }
    }
    await this.#conversations.fileSent(
      conversation,
      found.toSorted((a, b) => a.messageSeq - b.messageSeq),
    )
  }
}
