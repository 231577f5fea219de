import type { CacheOwner, CacheStats } from '@eclusa/bounded-cache'
import type {
  ChatId,
  InboundMessage,
  InstanceId,
  Logger,
  MessageKey,
  TenantId,
  WaMessageId,
} from '@eclusa/kernel'
import type { Statement } from '@eclusa/storage'
import type { SharedFacts } from './shared-facts-store.ts'

/** What an engine needs to hold one connection for one instance. */
export interface EngineOptions {
  readonly instance: InstanceId
  readonly tenant: TenantId
  /** `wss://…`, or a simulator's loopback `ws://…`. */
  readonly url: string
  /** Longest wait for WhatsApp's acknowledgement of a message, in milliseconds. */
  readonly ackTimeoutMs: number
  /** Who pays for the caches of this connection; without it each has its cap only. */
  readonly cacheOwner?: CacheOwner | undefined
  /** Where facts about contacts outlive the connection; without it each connection asks WhatsApp anew. */
  readonly facts?: SharedFacts | undefined
  readonly handlers: EngineHandlers
  readonly log: Logger
}

/** What an engine tells its session. Called in order; none may throw. */
export interface EngineHandlers {
  /** A code to scan, valid until `expiresAt`. */
  qr(text: string, expiresAt: number): void
  /** The device is linked and its credentials are on disk. */
  paired(): void
  /** Logged in; queued messages may flow. `number` has digits only. */
  online(number: string): void
  /** The connection is over, for good. Called exactly once, unless `close` ended it. */
  closed(reason: CloseReason): void
  /** An own message has reached the contact, or was read. Resolves when that is on disk: only then WhatsApp is told. */
  receipt(receipt: Receipt): Promise<void>
  /**
   * The statements that journal a decrypted message; they commit together with the Signal session that opened it. With
   * a poll comes the secret that opens its votes.
   */
  journal(message: InboundMessage, pollSecret: Uint8Array | null): readonly Statement[]
  /** What `journal` was asked for is on disk. */
  journalled(chat: ChatId): void
  /**
   * The statements that record that a stranger said what only the account's own devices may say; `name` is WhatsApp's
   * name of it. Nothing else came of it.
   */
  spoofed(stranger: ChatId, waMessageId: WaMessageId, name: string): readonly Statement[]
  /** A poll of this chat, for a vote on it; undefined when it is not known here. */
  poll(chat: ChatId, poll: MessageKey): Promise<KnownPoll | undefined>
  /** Those that came without their content. */
  readonly missing: MissingMessages
  /** Whether the journal holds the message already, so that a redelivery needs a receipt only. */
  isJournalled(chat: ChatId, author: ChatId, waMessageId: string): Promise<boolean>
  /** The content of an own message that a recipient could not decrypt, or undefined when it is gone. */
  contentForRetry(waMessageId: string): Promise<OutboundContent | undefined>
}

/** Why a connection ended: WhatsApp's status code, 0 when there is none. */
export interface CloseReason {
  readonly statusCode: number
  /** For logs; holds no number. */
  readonly message: string
  /** When a ban ends, epoch milliseconds, if WhatsApp said so. */
  readonly bannedUntil?: number
}

export interface Receipt {
  readonly kind: 'delivered' | 'read'
  /** 1 to 256 ids. */
  readonly waMessageIds: readonly string[]
  readonly at: number
}

export type OutboundContent = { readonly kind: 'text'; readonly text: string }

/** A message that came without its content, and the key by which the account's phone knows it. */
export interface MissingMessage {
  readonly chat: ChatId
  readonly author: ChatId
  readonly waMessageId: WaMessageId
  readonly remoteJid: string
  readonly participant: string | null
  readonly fromMe: boolean
  readonly sentAt: number
  readonly cameAt: number
}

/** The messages of an instance that came without their content, on disk. */
export interface MissingMessages {
  /** Resolves when it is on disk; nothing changes when it is there already. */
  add(message: Omit<MissingMessage, 'cameAt'>, askAfterMs: number): Promise<void>
  /** Those that are to be asked for by now, the longest due first. */
  due(limit: number): Promise<readonly MissingMessage[]>
  /** When the next is due; null when there is none. */
  nextAt(): Promise<number | null>
  /** When each is due again. */
  askAgain(at: ReadonlyMap<MissingMessage, number>): Promise<void>
  /** It has its content. */
  remove(message: MissingMessage): Promise<void>
  /** Journals it as `message`, and asks no more. Fails when it is not there any more. */
  giveUp(missing: MissingMessage, message: InboundMessage): Promise<void>
}

/** What opens the votes on a poll. */
export interface KnownPoll {
  /** 32 bytes. */
  readonly secret: Uint8Array
  readonly options: readonly string[]
}

/** One live connection. After `closed` or `close` every method rejects with SESSION_OFFLINE. */
export interface EngineConnection {
  /**
   * Sends under the given id and resolves at WhatsApp's acknowledgement.
   * @throws SESSION_OFFLINE, SESSION_RATE_LIMITED, SESSION_ACK_TIMEOUT, SESSION_REFUSED, SESSION_ACCOUNT_RESTRICTED,
   * SESSION_STALE_DEVICES, SESSION_NUMBER_UNKNOWN, SESSION_RECIPIENT_UNAVAILABLE, SESSION_SEND_FAILED
   */
  send(message: EngineMessage): Promise<{ readonly ackedAt: number }>
  markRead(
    messages: readonly {
      readonly addressedAs: string
      readonly waMessageId: string
      readonly author: string
    }[],
  ): Promise<void>
  setPresence(chat: ChatId, presence: 'composing' | 'paused'): Promise<void>
  /** Eight characters to type on the phone; the connection must be showing a QR. `number` has digits only. */
  requestPairingCode(number: string): Promise<string>
  /** Unlinks the device at WhatsApp, then closes. */
  logout(): Promise<void>
  /** Every cache of the connection as it stands; what an engine without caches need not have. */
  cacheStats?(): readonly CacheStats[]
  /** Ends the connection and leaves nothing behind; at most about 5 s. Safe to call twice. */
  close(): Promise<void>
}

export interface EngineMessage {
  readonly chat: ChatId
  readonly waMessageId: WaMessageId
  readonly content: OutboundContent
}

/** What sessions run on. */
export interface Engine {
  readonly name: string
  connect(options: EngineOptions): Promise<EngineConnection>
}
