import { type Clock, EclusaError, type Logger, SECOND, type TypedEmitter } from '@eclusa/kernel'
import type { DueHeap } from './due-heap.ts'
import { type Lane, pacingSignal } from './line.ts'
import type { ChatContext, LiveEventName, MessageSender, OutboundMessage, QueueEvents } from './message.ts'
import { type PacingOptions, type PacingPlan, planPacing } from './pacing.ts'
import { refOf } from './receipts.ts'

/** Presence and read marks are courtesy: none holds a message up for longer. */
const COURTESY_DEADLINE_MS = 5 * SECOND
/** WhatsApp drops "typing…" after about 10 s without a renewal. */
const RENEW_TYPING_MS = 8 * SECOND

type Unread = Awaited<ReturnType<ChatContext['unread']>>

/** Walks the plan of a message in its lane: reads, thinks and types, and shows it as it happens. */
export class Pacer {
  readonly #sender: MessageSender
  readonly #context: ChatContext
  readonly #due: DueHeap
  readonly #clock: Clock
  readonly #log: Logger
  readonly #emitter: TypedEmitter<QueueEvents>
  readonly #random: () => number

  constructor(options: {
    readonly sender: MessageSender
    readonly context: ChatContext
    readonly due: DueHeap
    readonly clock: Clock
    readonly log: Logger
    readonly emitter: TypedEmitter<QueueEvents>
    readonly random: () => number
  }) {
    this.#sender = options.sender
    this.#context = options.context
    this.#due = options.due
    this.#clock = options.clock
    this.#log = options.log
    this.#emitter = options.emitter
    this.#random = options.random
  }

  /** False when it was cut short. A message that comes in while it types makes it read, think and type once more. */
  async walk(lane: Lane, message: OutboundMessage, options: PacingOptions): Promise<boolean> {
    for (;;) {
      const unread = await this.#unreadOf(message)
      const plan = planPacing({
        hasUnread: unread.messages.length > 0,
        unreadWords: unread.lastWordCount,
        text: message.content.text,
        options,
        random: this.#random,
      })
      await this.#follow(lane, message, plan, unread)
      if (lane.why !== null) return false
      if (lane.heard !== 'now') return true
      lane.heard = 'before'
    }
  }

  async #follow(lane: Lane, message: OutboundMessage, plan: PacingPlan, unread: Unread): Promise<void> {
    const { instance, chat } = message
    for (const { kind, forMs } of plan) {
      if (lane.why !== null) return
      const until = this.#clock.now() + forMs
      switch (kind) {
        case 'read':
          lane.stage = 'reading'
          this.tell('outbound.reading', message)
          await this.#due.wait(until, pacingSignal(lane))
          if (lane.why === null) {
            await this.#courtesy('read mark', () => this.#sender.markRead(instance, chat, unread.messages))
          }
          break
        case 'think':
          lane.stage = 'thinking'
          this.tell('outbound.thinking', message)
          await this.#due.wait(until, pacingSignal(lane))
          break
        case 'type':
          lane.stage = 'typing'
          this.tell('outbound.typing', message)
          await this.#type(lane, message, until)
          break
        default:
          return kind satisfies never
      }
    }
  }

  async #type(lane: Lane, { instance, chat }: OutboundMessage, until: number): Promise<void> {
    const isCut = (): boolean => lane.why !== null || lane.heard === 'now'
    do {
      await this.#courtesy('presence', () => this.#sender.setPresence(instance, chat, 'composing'))
      await this.#due.wait(Math.min(until, this.#clock.now() + RENEW_TYPING_MS), pacingSignal(lane))
    } while (!isCut() && this.#clock.now() < until)
    if (isCut()) await this.#courtesy('presence', () => this.#sender.setPresence(instance, chat, 'paused'))
  }

  async #unreadOf({ instance, chat }: OutboundMessage): Promise<Unread> {
    let unread: Unread = { messages: [], lastWordCount: 0 }
    await this.#courtesy('unread messages', async () => {
      unread = await this.#context.unread(instance, chat)
    })
    return unread
  }

  tell(name: LiveEventName, message: OutboundMessage): void {
    this.#emitter.emit(name, { ...refOf(message), state: 'PROCESSING', at: this.#clock.now() })
  }

  /** What may fail or hang without harm to the message. */
  async #courtesy(what: string, ask: () => Promise<void>): Promise<void> {
    const { promise: tooLate, resolve } = Promise.withResolvers<void>()
    const due = this.#due.add(this.#clock.now() + COURTESY_DEADLINE_MS, resolve)
    try {
      await Promise.race([ask(), tooLate])
    } catch (error) {
      const code = error instanceof EclusaError ? error.code : String(error)
      this.#log.debug({ what, code }, 'a courtesy failed; the message goes on')
    } finally {
      due.cancel()
    }
  }
}

/** Makes a lane that types take note of a message that came in, once. */
export function hear(lane: Lane): void {
  if (lane.stage !== 'typing' || lane.heard !== 'no') return
  lane.heard = 'now'
  const { pacing } = lane
  lane.pacing = null
  pacing?.abort()
}
