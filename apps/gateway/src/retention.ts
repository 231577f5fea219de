import type { Conversations, KeepClosed } from '@eclusa/flows'
import { type Clock, HOUR, type InstanceId, type Lifecycle, type Logger, runLoop } from '@eclusa/kernel'
import type { InboundJournal } from '@eclusa/session'
import type { Ownership } from '@eclusa/storage'

const SWEEP_EVERY_MS = HOUR
/** So many messages that are not done with after the longest time of all, and an instance has other troubles. */
const MAX_UNSETTLED = 1000

export interface RetentionOptions {
  readonly journal: InboundJournal
  readonly conversations: Conversations
  readonly instances: () => readonly InstanceId[]
  readonly ownership: Pick<Ownership, 'owns'>
  readonly keep: KeepClosed
  readonly clock: Clock
  readonly log: Logger
}

/** Takes away by age what contacts wrote and what was answered, and in the end the conversations. */
export class RetentionSweep implements Lifecycle {
  readonly #options: RetentionOptions
  readonly #end = new AbortController()
  #loop: Promise<void> | null = null

  constructor(options: RetentionOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { clock, log } = this.#options
    const onError = (error: unknown): void =>
      log.error({ err: error }, 'what is too old could not be swept; it is tried again')
    this.#loop ??= runLoop({ clock, everyMs: SWEEP_EVERY_MS, onError }, () => this.pass(), this.#end.signal)
  }

  async stop(): Promise<void> {
    this.#end.abort()
    await this.#loop
  }

  /** One sweep over the instances of this process. Every hour by itself. */
  async pass(): Promise<void> {
    const { instances, ownership } = this.#options
    for (const instance of instances()) {
      if (this.#end.signal.aborted) return
      if (ownership.owns(instance)) await this.#sweep(instance)
    }
  }

  async #sweep(instance: InstanceId): Promise<void> {
    const { journal, conversations, keep, clock, log } = this.#options
    const { signal } = this.#end
    const now = clock.now()
    const messages = await journal.forgetContent(instance, now - keep.wordsForMs, signal)
    const unsettled = await journal.unsettledBefore(instance, now - keep.closedForMs, MAX_UNSETTLED)
    const areTooMany = unsettled.length === MAX_UNSETTLED
    if (areTooMany) {
      log.warn(
        { instance, setAside: MAX_UNSETTLED },
        'old messages are set aside, so old conversations are kept: decide on them with "eclusa inbound set-aside"',
      )
    }
    const swept = await conversations.retention.sweep(
      instance,
      // Nothing is that old.
      areTooMany ? { ...keep, closedForMs: now } : keep,
      unsettled,
      signal,
    )
    if (messages + swept.wordsGoneCount + swept.deletedCount === 0) return
    log.info(
      { instance, messages, conversations: swept.wordsGoneCount, deleted: swept.deletedCount },
      'what is too old was taken away: the words of messages and conversations, whole conversations',
    )
  }
}
