import type { ChatId, InstanceId, TenantId } from '@eclusa/kernel'
import type { ChatTraceStore, ForgottenRows } from './chat-trace-store.ts'
import type { QueueCounts } from './counts.ts'
import type { OutboundContent, OutboundStatus } from './message.ts'
import type { QueueControl } from './control.ts'
import type { Outbox } from './outbox.ts'

const PAGE = 200

/** A message to a person, with what it said as long as that is kept. */
export interface OutboundTrace {
  readonly status: OutboundStatus
  readonly content: OutboundContent | null
}

/** What a person's chat leaves in the queue: given out, and removed. */
export class ChatTraces {
  readonly #store: ChatTraceStore
  readonly #outbox: Outbox
  readonly #control: QueueControl
  readonly #counts: QueueCounts

  constructor(options: {
    readonly store: ChatTraceStore
    readonly outbox: Outbox
    readonly control: QueueControl
    readonly counts: QueueCounts
  }) {
    this.#store = options.store
    this.#outbox = options.outbox
    this.#control = options.control
    this.#counts = options.counts
  }

  /** Newest first; `maxPages`: among so many times the newest 2,000 messages of all chats. Default: among all. */
  async *list(
    instance: InstanceId,
    chat: ChatId,
    maxPages: number = Number.POSITIVE_INFINITY,
  ): AsyncGenerator<OutboundTrace> {
    let before: OutboundStatus['id'] | null = null
    let pages = 0
    do {
      const page: Awaited<ReturnType<QueueControl['list']>> = await this.#control.list({
        instance,
        chat,
        ...(before === null ? {} : { before }),
        limit: PAGE,
      })
      for (const status of page.items) {
        yield { status, content: await this.#outbox.contentOf(status) }
      }
      before = page.next
    } while (before !== null && ++pages < maxPages)
  }

  /**
   * Takes back what waits, and deletes everything of the chat. `onTheWire`: messages that are being sent just now; their
   * rows go when it is called again.
   */
  async forget(
    tenant: TenantId,
    instance: InstanceId,
    chat: ChatId,
  ): Promise<{ readonly rows: ForgottenRows; readonly cancelled: number; readonly onTheWire: number }> {
    const { cancelled, onTheWire } = await this.#outbox.cancelChat(instance, chat)
    const rows = await this.#store.forget(instance, chat)
    if (rows.MessageQueueItem > 0) {
      this.#counts.move(tenant, instance, 'FAILED', null, rows.MessageQueueItem)
    }
    return { rows, cancelled, onTheWire }
  }
}
