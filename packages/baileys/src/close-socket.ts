import type { WASocket } from 'baileys'

export interface CloseOptions {
  /** The socket has told `connection: 'close'` already: only what is left of it is cleared away. */
  readonly ended?: boolean
  /** The TCP connection is cut if the peer has not closed it after this, in milliseconds. Default 2,000. */
  readonly graceMs?: number
}

/**
 * Ends a socket so that nothing of it is left: buffered events are delivered, queries in flight are rejected at once
 * (`end` alone leaves them for up to a minute), the caches that pin transactions are emptied. Safe to call twice.
 */
export async function closeSocket(socket: WASocket, options: CloseOptions = {}): Promise<void> {
  const transport = Reflect.get(socket.ws, 'socket') as { terminate(): void } | null
  try {
    socket.ev.flush()
    // Rejects every waiting query; upstream's own listener then ends the socket. Closed before, it has no listener.
    const isOpen = socket.ws.listenerCount('error') > 0
    const ended =
      options.ended === true || !isOpen ? Promise.resolve() : untilEnded(socket, transport, options.graceMs)
    if (isOpen) socket.ws.emit('error', new Error('closing'))
    await ended
  } finally {
    transport?.terminate()
    socket.signalRepository.close?.()
    socket.messageRetryManager?.clear()
    socket.ws.removeAllListeners()
  }
}

/** A second `end` returns at once and proves nothing; the end handlers run when the socket really is closed. */
async function untilEnded(
  socket: WASocket,
  transport: { terminate(): void } | null,
  graceMs = 2_000,
): Promise<void> {
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  socket.registerSocketEndHandler(() => resolve())
  const cut = setTimeout(() => {
    transport?.terminate()
    resolve()
  }, graceMs)
  await ended
  clearTimeout(cut)
}
