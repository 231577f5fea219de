import { estimateBytes } from '@eclusa/bounded-cache'
import type { BaileysEventMap, WASocket } from 'baileys'

/** When the event buffer of a socket is flushed, whatever Baileys is waiting for. */
export interface EventBufferLimits {
  /** Events held back; of lists each item counts. Default 1,000. */
  readonly maxItems: number
  /** Estimated. Default 1 MiB. */
  readonly maxBytes: number
  /**
   * Since the first event held back, in milliseconds. Default 5,000. The initial buffer of a connection is released
   * only by a stanza that WhatsApp does not always send.
   */
  readonly maxAgeMs: number
}

export const DEFAULT_EVENT_BUFFER: EventBufferLimits = {
  maxItems: 1_000,
  maxBytes: 1024 * 1024,
  maxAgeMs: 5_000,
}

/** History notifications that credentials remember as handled; upstream only asks whether there are any. */
const MAX_PROCESSED_HISTORY = 20

export interface EventBufferStats {
  /** Held back now, and the most ever. */
  readonly items: number
  readonly peakItems: number
  readonly flushes: {
    readonly items: number
    readonly bytes: number
    readonly age: number
    readonly end: number
  }
}

/** What upstream holds back while it buffers. */
const BUFFERED: ReadonlySet<string> = new Set([
  'chats.upsert',
  'chats.update',
  'chats.delete',
  'contacts.upsert',
  'contacts.update',
  'messages.upsert',
  'messages.update',
  'messages.delete',
  'messages.reaction',
  'message-receipt.update',
  'groups.update',
])

type Emit = (event: string, payload: unknown) => boolean

/**
 * Keeps Baileys' event buffer small: flushed by number, bytes and age, and when the socket ends (upstream throws away
 * what it holds then, although those messages are acknowledged). Two things never enter the buffer: histories, of which
 * it would remember up to 10,000 keys for good, and the condition on the updates of an initial app-state sync, which
 * would be carried over every flush until their chat shows up.
 */
export class EventBufferGuard {
  readonly #ev: WASocket['ev']
  readonly #limits: EventBufferLimits
  readonly #emit: Emit
  readonly #takeHistory: (event: BaileysEventMap['messaging-history.set']) => boolean
  readonly #flushes = { items: 0, bytes: 0, age: 0, end: 0 }
  #items = 0
  #bytes = 0
  #peakItems = 0
  #firstAt = 0
  #timer: NodeJS.Timeout | undefined
  #over = false

  /** `takeHistory` sees every history before anyone; true keeps it from being told. */
  constructor(
    ev: WASocket['ev'],
    limits: EventBufferLimits,
    takeHistory: (event: BaileysEventMap['messaging-history.set']) => boolean,
  ) {
    this.#ev = ev
    this.#limits = limits
    this.#takeHistory = takeHistory
    this.#emit = ev.emit.bind(ev) as Emit
    ev.emit = (event: string, payload: unknown) => this.#onEmit(event, payload)
    // What upstream releases by itself passes here as well, with the buffer off.
    ev.process(() => {
      if (!ev.isBuffering()) this.#begin()
    })
  }

  /** Tells everybody at once, past the buffer; what the buffer holds is told before. */
  tellNow<Event extends keyof BaileysEventMap>(event: Event, payload: BaileysEventMap[Event]): void {
    const wasBuffering = this.#ev.flush()
    this.#emit(event, payload)
    if (wasBuffering && !this.#over) this.#ev.buffer()
  }

  /** Delivers what is held back; for the end of a socket. */
  flushAtEnd(): void {
    if (this.#items > 0 && this.#ev.isBuffering()) this.#flushes.end += 1
    this.#ev.flush()
    this.stop()
  }

  /** No timer stays. */
  stop(): void {
    this.#over = true
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#begin()
  }

  stats(): EventBufferStats {
    return { items: this.#items, peakItems: this.#peakItems, flushes: { ...this.#flushes } }
  }

  #onEmit(event: string, payload: unknown): boolean {
    if (event === 'messaging-history.set') {
      const history = payload as BaileysEventMap['messaging-history.set']
      if (!this.#takeHistory(history)) this.tellNow('messaging-history.set', history)
      return true
    }
    if (event === 'creds.update') boundProcessedHistory(payload as BaileysEventMap['creds.update'])
    if (event === 'chats.update') dropConditions(payload as BaileysEventMap['chats.update'])
    const told = this.#emit(event, payload)
    if (this.#over || !BUFFERED.has(event) || !this.#ev.isBuffering()) return told
    this.#held(payload)
    return told
  }

  #held(payload: unknown): void {
    if (this.#items === 0) this.#firstAt = performance.now()
    this.#items += itemsOf(payload)
    this.#bytes += estimateBytes(payload)
    this.#peakItems = Math.max(this.#peakItems, this.#items)
    if (this.#items >= this.#limits.maxItems) this.#release('items')
    else if (this.#bytes >= this.#limits.maxBytes) this.#release('bytes')
    else this.#arm(this.#limits.maxAgeMs)
  }

  /** Buffering goes on after a burst; what has waited too long is no burst, and nothing is held back after it. */
  #release(reason: 'items' | 'bytes' | 'age'): void {
    this.#flushes[reason] += 1
    this.#ev.flush()
    this.#begin()
    if (reason !== 'age') this.#ev.buffer()
  }

  #begin(): void {
    this.#items = 0
    this.#bytes = 0
  }

  /** One timer at most, which is not moved at every event. */
  #arm(delayMs: number): void {
    if (this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#over || this.#items === 0) return
      const leftMs = this.#firstAt + this.#limits.maxAgeMs - performance.now()
      if (leftMs > 1) this.#arm(leftMs)
      else if (this.#ev.isBuffering()) this.#release('age')
    }, delayMs)
    this.#timer.unref()
  }
}

function itemsOf(payload: unknown): number {
  if (Array.isArray(payload)) return payload.length
  if (typeof payload !== 'object' || payload === null) return 1
  if ('messages' in payload && Array.isArray(payload.messages)) return payload.messages.length
  if ('keys' in payload && Array.isArray(payload.keys)) return payload.keys.length
  return 1
}

/** Upstream adds one for each history notification ever and saves them all with every credential. */
function boundProcessedHistory(update: BaileysEventMap['creds.update']): void {
  const handled = update.processedHistoryMessages
  if (handled !== undefined && handled.length > MAX_PROCESSED_HISTORY)
    update.processedHistoryMessages = handled.slice(-MAX_PROCESSED_HISTORY)
}

function dropConditions(updates: BaileysEventMap['chats.update']): void {
  for (const update of updates) delete update.conditional
}
