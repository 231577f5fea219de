import type { InboundKind } from '@eclusa/kernel'

/** What was said, as far as flows care. */
export interface HeardMessage {
  readonly kind: InboundKind
  /** At most 4,096 characters; null when it has none. */
  readonly words: string | null
  /** When WhatsApp received it, epoch milliseconds. */
  readonly sentAt: number
}

export interface ContactFacts {
  readonly name: string | null
  /** Digits; null while only a LID is known. */
  readonly number: string | null
  readonly tags: readonly string[]
  readonly fields: Readonly<Record<string, string>>
}
