import type { BinaryNode, WASocket } from '@eclusa/baileys'
import { type Clock, KIB, MIB, withDeadline } from '@eclusa/kernel'

/** What one connection may have read without its being handled: past either it is not read until half of it is gone. */
interface Hold {
  readonly stanzas: number
  readonly bytes: number
}

/** Of one connection, while the process has room. */
const MAX_HELD: Hold = { stanzas: 500, bytes: 512 * KIB }
/** Of all connections together; past it each is held to the next. */
export const MAX_HELD_BY_ALL: Hold = { stanzas: 5_000, bytes: 16 * MIB }
/** Of one connection while the process has none: enough to go on, little enough for a thousand of them. */
export const MAX_HELD_WHEN_FULL: Hold = { stanzas: 20, bytes: 64 * KIB }

// What all gates of this process hold just now. bounded by: MAX_HELD_BY_ALL and MAX_HELD_WHEN_FULL of each connection
const heldByAll = { stanzas: 0, bytes: 0 }

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
  // bounded by: MAX_HELD and one network read
  const held = { stanzas: 0, bytes: 0 }
  let paused = false
  let lastMessage: Promise<void> = Promise.resolve()
  let lastReceipt: Promise<void> = Promise.resolve()

  const admit = async (bytes: number, step: () => Promise<void>): Promise<void> => {
    try {
      await step()
    } catch (error) {
      handlers.failed(error)
    } finally {
      count(-1, -bytes)
      if (paused && !isAbove(held, half(most()))) {
        paused = false
        transport()?.resume()
      }
    }
  }

  const count = (stanzas: number, bytes: number): void => {
    for (const sum of [held, heldByAll]) {
      sum.stanzas += stanzas
      sum.bytes += bytes
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
    const bytes = contentBytes(stanza)
    count(1, bytes)
    if (!paused && isAbove(held, most())) {
      paused = true
      transport()?.pause()
    }
    if (event === 'CB:message') lastMessage = lastMessage.then(() => admit(bytes, () => passMessage(stanza)))
    else lastReceipt = lastReceipt.then(() => admit(bytes, () => passReceipt(stanza)))
    return true
  }
}

function most(): Hold {
  return isAbove(heldByAll, MAX_HELD_BY_ALL) ? MAX_HELD_WHEN_FULL : MAX_HELD
}

function half({ stanzas, bytes }: Hold): Hold {
  return { stanzas: stanzas / 2, bytes: bytes / 2 }
}

function isAbove(held: Hold, limit: Hold): boolean {
  return held.stanzas > limit.stanzas || held.bytes > limit.bytes
}

/** Ciphertexts and the like; a message has few children, each with content of its own. */
function contentBytes({ content }: BinaryNode): number {
  if (content === undefined) return 0
  if (!Array.isArray(content)) return content.length
  return content.reduce((sum, child) => sum + contentBytes(child), 0)
}
