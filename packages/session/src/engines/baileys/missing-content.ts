import { type BinaryNode, jidNormalizedUser, proto } from '@eclusa/baileys'
import {
  type Clock,
  DAY,
  HOUR,
  type InboundMessage,
  type Logger,
  MINUTE,
  SECOND,
  type Timer,
} from '@eclusa/kernel'
import type { MissingMessage, MissingMessages } from '../../engine.ts'
import type { Envelope } from './inbound.ts'
import { messageId } from './inbound-content.ts'

/**
 * When the phone is asked, from when the message came; by Baileys once more, 2 s after it. The phone may be off: WhatsApp
 * keeps the question for it, so more of them only help against questions that were lost.
 */
const ASK_AFTER_MS = [MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY] as const
/** As WhatsApp's own clients: nobody asks for what is older. */
const GIVE_UP_AFTER_MS = 14 * DAY
/** Messages asked for by one question. */
const MAX_ASKED = 20
/** Between two questions, when many messages are due. */
const MIN_GAP_MS = 5 * SECOND

/** By design never for linked devices: their phone hands none of them over. */
// bounded by: the three here
const WITHHELD = new Set([
  'bot_unavailable_fanout',
  'hosted_unavailable_fanout',
  'view_once_unavailable_fanout',
])

/** A message that a linked device is told of, while its content is with the phone. */
export function cameWithoutContent({ attrs, content }: BinaryNode): boolean {
  if (attrs['category'] === 'peer') return false
  const children = Array.isArray(content) ? content : []
  return !children.some(
    ({ tag, attrs }) =>
      tag === 'enc' || tag === 'plaintext' || (tag === 'unavailable' && WITHHELD.has(attrs['type'] ?? '')),
  )
}

interface ContentRequestsOptions {
  readonly store: MissingMessages
  readonly clock: Clock
  readonly log: Logger
  /** The message as it is given up; undefined when it is here, or of no chat. */
  readonly emptyOf: (missing: MissingMessage) => Promise<InboundMessage | undefined>
  /** What was given up is on disk. */
  readonly journalled: (message: InboundMessage) => void
  readonly ask: (request: proto.Message.IPeerDataOperationRequestMessage) => Promise<unknown>
  /** The database failed. */
  readonly failed: (error: unknown) => void
}

/**
 * Asks the account's phone for the messages that came without content. Baileys asks once and keeps it in memory, while
 * WhatsApp is told at once that the message is here: after a crash nobody would know of it.
 */
export class ContentRequests {
  readonly #options: ContentRequestsOptions
  #isOnline = false
  #isLooking = false
  #timer: Timer | undefined
  #lookAt = Infinity

  constructor(options: ContentRequestsOptions) {
    this.#options = options
  }

  /** Resolves when it is on disk that it came. */
  async came(stanza: BinaryNode, { chat, author, fromMe }: Envelope): Promise<void> {
    const { id = '', from = '', participant, recipient, t } = stanza.attrs
    const seconds = Number(t)
    const message = {
      chat,
      author,
      waMessageId: messageId(id),
      remoteJid: jidNormalizedUser(recipient ?? from),
      participant: participant ?? null,
      fromMe,
      sentAt: Number.isSafeInteger(seconds) && seconds > 0 ? seconds * SECOND : 0,
    }
    await this.#options.store.add(message, ASK_AFTER_MS[0])
    this.#arm(ASK_AFTER_MS[0])
  }

  /** The connection is open. */
  start(): void {
    this.#isOnline = true
    this.#arm(0)
  }

  stop(): void {
    this.#isOnline = false
    this.#timer?.cancel()
  }

  #arm(delayMs: number): void {
    const { clock, failed } = this.#options
    const at = clock.now() + delayMs
    if (!this.#isOnline || at >= this.#lookAt) return
    this.#timer?.cancel()
    this.#lookAt = at
    this.#timer = clock.setTimer(delayMs, () => {
      this.#lookAt = Infinity
      this.#look().catch((error: unknown) => {
        if (this.#isOnline) failed(error)
      })
    })
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return this.#arm(MIN_GAP_MS)
    this.#isLooking = true
    try {
      const { store, clock } = this.#options
      const due = await store.due(MAX_ASKED)
      const again = new Map<MissingMessage, number>()
      for (const missing of due) {
        if (await this.#isToBeAsked(missing)) again.set(missing, nextAsk(missing, clock.now()))
      }
      // Before it is asked: a process that dies of it would ask for ever.
      if (again.size > 0) await store.askAgain(again)
      if (again.size > 0 && this.#isOnline) await this.#ask([...again.keys()])
      const next = await store.nextAt()
      if (next !== null) this.#arm(Math.max(due.length < MAX_ASKED ? 0 : MIN_GAP_MS, next - clock.now()))
    } finally {
      this.#isLooking = false
    }
  }

  /** False when it has its content, or is too old: then it is journalled without. */
  async #isToBeAsked(missing: MissingMessage): Promise<boolean> {
    const { store, clock, emptyOf, journalled } = this.#options
    const empty = await emptyOf(missing)
    if (empty === undefined) await store.remove(missing)
    else if (clock.now() - missing.cameAt < GIVE_UP_AFTER_MS) return true
    else {
      await store.giveUp(missing, empty)
      journalled(empty)
    }
    return false
  }

  async #ask(messages: readonly MissingMessage[]): Promise<void> {
    const { ask, log } = this.#options
    try {
      await ask({
        placeholderMessageResendRequest: messages.map(({ remoteJid, fromMe, waMessageId, participant }) => ({
          messageKey: {
            remoteJid,
            fromMe,
            id: waMessageId,
            ...(participant === null ? {} : { participant }),
          },
        })),
        peerDataOperationRequestType: proto.Message.PeerDataOperationRequestType.PLACEHOLDER_MESSAGE_RESEND,
      })
    } catch (error) {
      log.debug({ error: String(error) }, 'the phone could not be asked for messages; it is asked again')
    }
  }
}

function nextAsk({ cameAt }: MissingMessage, now: number): number {
  return cameAt + (ASK_AFTER_MS.find((afterMs) => cameAt + afterMs > now) ?? GIVE_UP_AFTER_MS)
}
