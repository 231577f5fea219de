import type { BinaryNode, WASocket } from '@eclusa/baileys'
import { type Clock, withDeadline } from '@eclusa/kernel'

/** Stops reading from the network above the first, goes on below the second: stanzas waiting for our database. */
const PAUSE_ABOVE = 500
const RESUME_BELOW = 100

/** Longest wait for Baileys to handle one message before the next may overtake it. */
const HANDLING_DEADLINE_MS = 10_000

export interface GateHandlers {
  /** Sees a message before Baileys does; false takes it away from Baileys. */
  message(stanza: BinaryNode): Promise<boolean>
  /** As `message`, for receipts. */
  receipt(stanza: BinaryNode): Promise<boolean>
  /** A handler failed: nothing of this connection may be acknowledged any more. The stanza is dropped. */
  failed(error: unknown): void
}

/**
 * Lets us see message and receipt stanzas, in order, before Baileys handles and acknowledges them: what we must not
 * lose is on disk first. Messages are handled one after another, because Baileys lets a later one overtake an earlier
 * one that first makes a sender known. All other stanzas pass at once.
 */
export function gateStanzas(socket: WASocket, clock: Clock, handlers: GateHandlers): void {
  const { ws } = socket
  const emit = ws.emit.bind(ws)
  const transport = (): { pause(): void; resume(): void } | null => Reflect.get(ws, 'socket')
  let waiting = 0 // bounded by: PAUSE_ABOVE and one network read
  let paused = false
  let lastMessage: Promise<void> = Promise.resolve()
  let lastReceipt: Promise<void> = Promise.resolve()

  const admit = async (step: () => Promise<void>): Promise<void> => {
    try {
      await step()
    } catch (error) {
      handlers.failed(error)
    } finally {
      waiting--
      if (paused && waiting < RESUME_BELOW) {
        paused = false
        transport()?.resume()
      }
    }
  }

  const passMessage = async (stanza: BinaryNode): Promise<void> => {
    if (!(await handlers.message(stanza))) return
    // Baileys' listeners return a promise that `emit` would throw away.
    const handled = Promise.all(ws.listeners('CB:message').map((listener): unknown => listener(stanza)))
    await withDeadline(clock, HANDLING_DEADLINE_MS, 'handling a message', handled).catch(() => {})
  }

  const passReceipt = async (stanza: BinaryNode): Promise<void> => {
    if (await handlers.receipt(stanza)) emit('CB:receipt', stanza)
  }

  ws.emit = (event: string | symbol, ...args: unknown[]): boolean => {
    if (event !== 'CB:message' && event !== 'CB:receipt') return emit(event, ...args)
    const stanza = args[0] as BinaryNode
    waiting++
    if (!paused && waiting > PAUSE_ABOVE) {
      paused = true
      transport()?.pause()
    }
    if (event === 'CB:message') lastMessage = lastMessage.then(() => admit(() => passMessage(stanza)))
    else lastReceipt = lastReceipt.then(() => admit(() => passReceipt(stanza)))
    return true
  }
}
