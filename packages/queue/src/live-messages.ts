import type { ChatId, InstanceId } from '@eclusa/kernel'
import type { OutboundIdentity } from './message.ts'

/**
 * A message that is being paced, is on the wire, or may have been: between the claim of its row and the write that
 * ends it. Receipts and requests for its content find the row through it, because the queue table has no index on
 * WhatsApp's id.
 */
export class LiveMessage {
  /** Its chat may turn out to be another one's. */
  identity: OutboundIdentity
  /** Made once: what is made anew must be hashed anew to be found. */
  readonly waKey: string
  /** Its row says PROCESSING. */
  processing: boolean
  /** A send began and nobody knows how it ended: it may be at WhatsApp. */
  unconfirmed: boolean
  /** From receipts that came before the acknowledgement; on disk in the row. */
  deliveredAt: number | null
  readAt: number | null
  /** The write that ended the row is done; receipts go to the tombstone. */
  ended = false
  /** Is told of its first receipt while its send is awaited. */
  onReceived: ((at: number) => void) | null = null
  /** Null while nothing is under way: nearly always. */
  #tail: Promise<unknown> | null = null

  constructor(
    identity: OutboundIdentity,
    row: {
      readonly processing: boolean
      readonly unconfirmed: boolean
      readonly deliveredAt: number | null
      readonly readAt: number | null
    },
  ) {
    this.identity = identity
    this.waKey = waKeyOf(identity.instance, identity.waMessageId)
    this.processing = row.processing
    this.unconfirmed = row.unconfirmed
    this.deliveredAt = row.deliveredAt
    this.readAt = row.readAt
  }

  get receivedAt(): number | null {
    return this.deliveredAt ?? this.readAt
  }

  /** One at a time: a receipt is either on the row before its end is written, or goes to the tombstone after. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail === null ? work() : this.#tail.then(work)
    const end = (): void => {
      if (this.#tail === tail) this.#tail = null
    }
    const tail = result.then(end, end)
    this.#tail = tail
    return result
  }
}

/** Past it the oldest that is not under way is forgotten: its receipt then finds nothing and it is sent again. */
export const MAX_LIVE = 20_000

/** All live messages, by row and by WhatsApp's id. */
export class LiveMessages {
  // bounded by: MAX_LIVE
  readonly #bySeq = new Map<number, LiveMessage>()
  // bounded by: MAX_LIVE
  readonly #byWaMessage = new Map<string, LiveMessage>()

  get size(): number {
    return this.#bySeq.size
  }

  bySeq(seq: number): LiveMessage | undefined {
    return this.#bySeq.get(seq)
  }

  byWaMessage(instance: InstanceId, waMessageId: string): LiveMessage | undefined {
    return this.#byWaMessage.get(waKeyOf(instance, waMessageId))
  }

  add(live: LiveMessage): void {
    if (this.#bySeq.size >= MAX_LIVE) this.#forgetOne()
    this.#bySeq.set(live.identity.seq, live)
    this.#byWaMessage.set(live.waKey, live)
  }

  remove(live: LiveMessage): void {
    this.#bySeq.delete(live.identity.seq)
    this.#byWaMessage.delete(live.waKey)
  }

  /** The chat `from` is `to` from now on. */
  rename(instance: InstanceId, from: ChatId, to: ChatId): void {
    for (const live of this.#bySeq.values()) {
      const { identity } = live
      if (identity.instance === instance && identity.chat === from) live.identity = { ...identity, chat: to }
    }
  }

  #forgetOne(): void {
    for (const live of this.#bySeq.values()) {
      if (live.processing) continue
      this.remove(live)
      return
    }
  }
}

function waKeyOf(instance: InstanceId, waMessageId: string): string {
  return `${instance}|${waMessageId}`
}
