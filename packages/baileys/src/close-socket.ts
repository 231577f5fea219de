import type { WASocket } from 'baileys'
import { guardOf } from './socket-guard.ts'

export interface CloseOptions {
  /** The socket has told `connection: 'close'` already: only what is left of it is cleared away. */
  readonly ended?: boolean
  /** The TCP connection is cut if the peer has not closed it after this, in milliseconds. Default 2,000. */
  readonly graceMs?: number
}

/** After the cut, for what upstream still does at the end. */
const AFTER_CUT_MS = 3_000

// bounded by: sockets in memory; weak
const closing = new WeakMap<WASocket, Promise<void>>()

/**
 * Ends a socket so that nothing of it is left. In this order: no more stanzas are taken and sends refused; buffered
 * events are delivered; queries in flight are rejected at once (`end` alone leaves them for up to a minute); upstream's
 * end is awaited, the connection cut if the peer does not close it; what was buffered meanwhile is delivered; the caches
 * that pin transactions are emptied; caches and listeners are given back; `countSockets` watches the rest go. May be
 * called again, and on a socket that has ended by itself.
 */
export function closeSocket(socket: WASocket, options: CloseOptions = {}): Promise<void> {
  let closed = closing.get(socket)
  if (closed === undefined) {
    closed = closeOnce(socket, options)
    closing.set(socket, closed)
  }
  return closed
}

async function closeOnce(socket: WASocket, { ended = false, graceMs = 2_000 }: CloseOptions): Promise<void> {
  const transport = Reflect.get(socket.ws, 'socket') as { terminate(): void } | null
  try {
    guardOf(socket)?.stopIntake()
    socket.sendMessage = refuse
    socket.relayMessage = refuse
    socket.ev.flush()
    if (!ended) {
      const over = untilEnded(socket, transport, graceMs)
      // Rejects every waiting query; upstream's own listener then ends the socket.
      if (socket.ws.listenerCount('error') > 0) socket.ws.emit('error', new Error('closing'))
      else void socket.end(new Error('closing'))
      await over
    }
  } finally {
    transport?.terminate()
    socket.signalRepository.close?.()
    socket.messageRetryManager?.clear()
    socket.ws.removeAllListeners()
    // A connection that was cut while it was being made says so afterwards.
    socket.ws.on('error', ignore)
  }
}

/** A second `end` returns at once and proves nothing; the end handlers run when the socket really is closed. */
async function untilEnded(
  socket: WASocket,
  transport: { terminate(): void } | null,
  graceMs: number,
): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>()
  const known = guardOf(socket)?.ended
  if (known === undefined) socket.registerSocketEndHandler(() => resolve())
  else void known.then(resolve)
  let timer = setTimeout(() => {
    transport?.terminate()
    timer = setTimeout(resolve, AFTER_CUT_MS)
  }, graceMs)
  await over
  clearTimeout(timer)
}

function ignore(): void {}

function refuse(): Promise<never> {
  return Promise.reject(new Error('the socket is being closed'))
}
