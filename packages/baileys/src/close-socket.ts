import type { WASocket } from 'baileys'

/**
 * Ends a socket so that nothing of it is left: buffered events are delivered, queries in flight are rejected at once
 * (`end` alone leaves them for up to a minute), the caches that pin transactions are emptied, and the TCP connection
 * is cut if the peer does not close it within `graceMs`. Safe to call twice, and on a socket that ended by itself.
 */
export async function closeSocket(socket: WASocket, graceMs = 2_000): Promise<void> {
  const transport = Reflect.get(socket.ws, 'socket') as { terminate(): void } | null
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  // A second `end` returns at once and proves nothing; the end handlers run when the socket really is closed.
  socket.registerSocketEndHandler(() => resolve())
  const cut = setTimeout(() => {
    transport?.terminate()
    resolve()
  }, graceMs)
  try {
    if (socket.ws.isClosed) resolve()
    socket.ev.flush()
    // Rejects every waiting query; upstream's own listener then ends the socket. Closed before, it has no listener.
    if (socket.ws.listenerCount('error') > 0) socket.ws.emit('error', new Error('closing'))
    else resolve()
    await ended
  } finally {
    clearTimeout(cut)
    transport?.terminate()
    socket.signalRepository.close?.()
    socket.messageRetryManager?.clear()
    socket.ws.removeAllListeners()
  }
}
