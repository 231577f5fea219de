import type { ChatId, InstanceId, TenantId, WaMessageId } from './ids.ts'

/** Where a message came from; what the inbox hands on with each. */
export interface InboundOrigin {
  readonly tenant: TenantId
  readonly instance: InstanceId
  /** The journal's row: grows within an instance, names one message for ever. What is done with a message is keyed by it. */
  readonly journalId: number
}

/** A message that came in, translated: nothing of the engine's own types is left in it. */
export interface InboundMessage {
  readonly chat: ChatId
  /** The person who wrote: the chat itself in a 1:1 chat, the participant in a group. */
  readonly author: ChatId
  /** The JID the message came from as WhatsApp addressed it; read receipts go there. */
  readonly addressedAs: string
  /** The author's LID when the number is the author, or the number when the LID is; null when only one is known. */
  readonly alias: ChatId | null
  readonly waMessageId: WaMessageId
  /** Written on another device of the instance's own account. */
  readonly fromMe: boolean
  readonly content: InboundContent
  /** The message that this one answers to. */
  readonly quoted: QuotedMessage | null
  /** People named with @ in the text, at most 1,000. */
  readonly mentions: readonly ChatId[]
  /** At most 128 characters. */
  readonly pushName: string | null
  /** When WhatsApp received it, epoch milliseconds. */
  readonly sentAt: number
}

/** Texts are cut at 65,536 characters, names and titles at 1,024, lists at 100 items. */
export type InboundContent =
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'media'
      readonly media: MediaReference
      /** The caption. */
      readonly text: string | null
    }
  | {
      readonly kind: 'location'
      readonly latitude: number
      readonly longitude: number
      readonly name: string | null
      readonly address: string | null
      /** A position that is shared for a while. */
      readonly live: boolean
      /** The comment beside it. */
      readonly text: string | null
    }
  | { readonly kind: 'contact'; readonly cards: readonly ContactCard[] }
  /** A choice from buttons or a list that we, or another device of the account, sent. */
  | {
      readonly kind: 'answer'
      readonly of: 'buttons' | 'list' | 'template' | 'flow'
      readonly choiceId: string
      /** What the person saw. */
      readonly text: string
    }
  | {
      readonly kind: 'poll'
      readonly text: string
      readonly options: readonly string[]
      readonly maxChoices: number
    }
  /** Empty `choices`: the vote was taken back. `null`: the poll is not known here, so the vote cannot be read. */
  | { readonly kind: 'poll_vote'; readonly target: MessageKey; readonly choices: readonly string[] | null }
  /** An empty `text`: the reaction was taken back. */
  | { readonly kind: 'reaction'; readonly target: MessageKey; readonly text: string }
  | { readonly kind: 'edit'; readonly target: MessageKey; readonly text: string | null }
  | { readonly kind: 'delete'; readonly target: MessageKey }
  /** Anything else a person can send. `name` is WhatsApp's own name of it. */
  | { readonly kind: 'other'; readonly name: string; readonly text: string | null }

export type InboundKind = InboundContent['kind']

/** Another message of the same chat. */
export interface MessageKey {
  readonly waMessageId: WaMessageId
  /** Whose message it is. */
  readonly author: ChatId
}

export interface QuotedMessage extends MessageKey {
  readonly text: string | null
}

/** Where the bytes are: enough to fetch and decrypt them later, while WhatsApp keeps them (about 14 days). */
export interface MediaReference {
  readonly type: 'image' | 'video' | 'audio' | 'voice' | 'document' | 'sticker'
  readonly mimeType: string | null
  readonly fileName: string | null
  readonly sizeBytes: number | null
  readonly seconds: number | null
  /** Path on WhatsApp's media hosts; null when the message names none. */
  readonly directPath: string | null
  /** Base 64. */
  readonly mediaKey: string | null
  /** SHA-256 of the encrypted bytes, base 64. */
  readonly encryptedSha256: string | null
  /** SHA-256 of the bytes, base 64. */
  readonly sha256: string | null
}

export interface ContactCard {
  readonly name: string | null
  /** vCard text, at most 16,384 characters. */
  readonly vcard: string | null
}

/** What a person can have meant as an answer: the text, the caption, the title chosen; null for what has no words. */
export function wordsOf(content: InboundContent): string | null {
  // An edit's text belongs to the message that it changes, a reaction's to the one it stands on.
  if (content.kind === 'edit' || content.kind === 'reaction') return null
  return 'text' in content ? content.text : null
}
