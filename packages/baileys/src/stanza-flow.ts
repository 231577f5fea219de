import { AsyncLocalStorage } from 'node:async_hooks'
import type { BinaryNode, WASocket } from 'baileys'

/** Stanzas that Baileys has not finished with: reading stops above the first and goes on below the second. */
const PAUSE_ABOVE = 500
const RESUME_BELOW = 100
/** Longest pause at a time: the keep-alive ends a connection that is silent for 35 s. */
const MAX_PAUSE_MS = 20_000
/** Offline stanzas handled between two turns of the event loop, as upstream does. */
const OFFLINE_PER_TURN = 10

const EVENTS = ['CB:message', 'CB:receipt', 'CB:notification', 'CB:call'] as const

export interface StanzaFlowStats {
  readonly waiting: number
  readonly peakWaiting: number
  readonly pauses: number
}

/** The stanza whose handling this code runs in, if any: what a listener of the caller's began from there included. */
const handling = new AsyncLocalStorage<BinaryNode>()

export function currentStanza(): BinaryNode | undefined {
  return handling.getStore()
}

/**
 * Counts the stanzas that wait inside Baileys (for its mutexes, the key store, a retry) and stops reading from the
 * network while they are many, so that the rest waits at WhatsApp. What came while the client was away would go into a
 * list of Baileys' own without a bound; it is handled here one after another instead, and so is counted, too.
 */
export class StanzaFlow {
  readonly #socket: WASocket
  #waiting = 0
  #peakWaiting = 0
  #pauses = 0
  #paused = false
  #over = false
  #resumeTimer: NodeJS.Timeout | undefined
  #offline: Promise<void> = Promise.resolve()
  #offlineHandled = 0

  /** @throws Error when the known engine's listeners are not there */
  constructor(socket: WASocket) {
    this.#socket = socket
    const { ws } = socket
    for (const event of EVENTS) {
      const handlers = ws.listeners(event) as ((stanza: BinaryNode) => unknown)[]
      if (handlers.length === 0)
        throw new Error(`Baileys no longer listens to ${event}; this release cannot bound it`)
      ws.removeAllListeners(event)
      // Whoever calls this listener may await it.
      const take: (stanza: BinaryNode) => unknown = (stanza) => this.#take(stanza, handlers)
      ws.on(event, take)
    }
  }

  /** Takes no more: what is not acknowledged comes again on the next connection. */
  stop(): void {
    this.#over = true
    clearTimeout(this.#resumeTimer)
    this.#resumeTimer = undefined
  }

  stats(): StanzaFlowStats {
    return { waiting: this.#waiting, peakWaiting: this.#peakWaiting, pauses: this.#pauses }
  }

  /** Resolves when Baileys is done with it. */
  async #take(stanza: BinaryNode, handlers: readonly ((stanza: BinaryNode) => unknown)[]): Promise<void> {
    if (this.#over) return
    this.#waiting += 1
    this.#peakWaiting = Math.max(this.#peakWaiting, this.#waiting)
    if (this.#waiting > PAUSE_ABOVE) this.#pause()
    const handle = async (): Promise<void> => {
      if (this.#over) return
      await handling.run(stanza, () => Promise.all(handlers.map((handler) => handler(stanza))))
    }
    try {
      if (stanza.attrs['offline'] === undefined) await handle()
      else await this.#inTurn(stanza, handle)
    } finally {
      this.#waiting -= 1
      if (this.#paused && this.#waiting < RESUME_BELOW) this.#resume()
    }
  }

  #inTurn(stanza: BinaryNode, handle: () => Promise<void>): Promise<void> {
    const turn = this.#offline.then(async () => {
      hideOnce(stanza.attrs, 'offline')
      await handle()
      if (++this.#offlineHandled % OFFLINE_PER_TURN === 0)
        await new Promise((yielded) => setImmediate(yielded))
    })
    this.#offline = turn.catch(() => {})
    return turn
  }

  #pause(): void {
    if (this.#paused) return
    this.#paused = true
    this.#pauses += 1
    this.#transport()?.pause()
    this.#resumeTimer = setTimeout(() => this.#resume(), MAX_PAUSE_MS)
    this.#resumeTimer.unref()
  }

  #resume(): void {
    this.#paused = false
    clearTimeout(this.#resumeTimer)
    this.#resumeTimer = undefined
    this.#transport()?.resume()
  }

  #transport(): { pause(): void; resume(): void } | null {
    return Reflect.get(this.#socket.ws, 'socket') as { pause(): void; resume(): void } | null
  }
}

/**
 * The first look at `name` finds nothing, later ones what it is. Upstream's first look decides whether the stanza goes
 * into its list; the later ones, whether the message counts as one that waited.
 */
function hideOnce(attrs: Record<string, string>, name: string): void {
  const value = attrs[name]
  Object.defineProperty(attrs, name, {
    configurable: true,
    enumerable: true,
    get: () => {
      Object.defineProperty(attrs, name, { configurable: true, enumerable: true, writable: true, value })
      return undefined
    },
  })
}
