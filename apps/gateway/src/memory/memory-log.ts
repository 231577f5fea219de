import { type Clock, type Lifecycle, type Logger, MIB, runLoop } from '@eclusa/kernel'
import type { Outbox } from '@eclusa/queue'
import { Mark } from './mark.ts'

/** Contacts in the cache: of all instances, and of the one with most. */
interface ContactCounts {
  readonly total: number
  readonly most: number
}

export interface MemoryLogOptions {
  readonly outbox: Pick<Outbox, 'stats' | 'countWaitingChats'>
  readonly contacts: () => ContactCounts
  /** Bytes for the fields of the line. */
  readonly memory: () => {
    readonly rssBytes: number
    readonly heapUsedBytes: number
    readonly externalBytes: number
    readonly cacheBytes: number
  }
  readonly everyMs: number
  readonly clock: Clock
  readonly log: Logger
}

/** Document 1: no limit on what waits, a warning above 500; a cache of 1,000 contacts per instance, a warning above 800. */
const QUEUE_MARK = { above: 500, rearmBelow: 400 }
const CONTACTS_MARK = { above: 800, rearmBelow: 700 }

/** `queue: 45 messages in 12 chats | cache: 234 contacts`, with the memory beside it, now and every 15 min. */
export class MemoryLog implements Lifecycle {
  readonly #options: MemoryLogOptions
  readonly #queue = new Mark(QUEUE_MARK)
  readonly #contacts = new Mark(CONTACTS_MARK)
  readonly #end = new AbortController()
  #loop: Promise<void> | null = null

  constructor(options: MemoryLogOptions) {
    this.#options = options
  }

  start(): Promise<void> {
    const { clock, everyMs, log } = this.#options
    const onError = (error: unknown): void =>
      log.error({ err: error }, 'the memory line failed; it comes again')
    this.#loop ??= runLoop({ clock, everyMs, onError }, () => this.pass(), this.#end.signal)
    return Promise.resolve()
  }

  async stop(): Promise<void> {
    this.#end.abort()
    await this.#loop
  }

  /** One line, and a warning for each mark that was passed since the line before. */
  async pass(): Promise<void> {
    const { outbox, contacts, memory, log } = this.#options
    const { pending, processing } = await outbox.stats()
    const messages = pending + processing
    const chats = messages === 0 ? 0 : await outbox.countWaitingChats()
    const { total, most } = contacts()
    const { rssBytes, heapUsedBytes, externalBytes, cacheBytes } = memory()
    log.info(
      {
        rssMb: megabytes(rssBytes),
        heapMb: megabytes(heapUsedBytes),
        externalMb: megabytes(externalBytes),
        cacheMb: megabytes(cacheBytes),
      },
      `queue: ${messages} messages in ${chats} chats | cache: ${total} contacts`,
    )
    if (this.#queue.passes(messages)) {
      log.warn(
        { messages, chats, above: QUEUE_MARK.above },
        'many messages wait: are the instances online, and is pacing as fast as they come?',
      )
    }
    if (this.#contacts.passes(most)) {
      log.warn(
        { contacts: most, above: CONTACTS_MARK.above },
        'a contact cache is nearly full: the oldest contacts give way and are read from disk again; more memory is not needed',
      )
    }
  }
}

function megabytes(bytes: number): number {
  return Math.round(bytes / MIB)
}
