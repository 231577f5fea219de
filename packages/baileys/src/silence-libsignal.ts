/**
 * libsignal 6.0.0 prints whole session records, private ratchet keys included, on the console when a session opens,
 * closes or fails to decrypt. These are the beginnings of what it prints.
 */
const LIBSIGNAL_LINES = [
  'Closing session:',
  'Closing open session in favor of incoming prekey bundle',
  'Opening session:',
  'Removing old closed session:',
  'Session already closed',
  'Session already open',
  'Migrating session to:',
  'V1 session storage migration error',
  'Decrypted message with closed session.',
  'Failed to decrypt message with any known session',
  'Session error:',
  'Unhandled bucket type (for naming):',
  'WARNING: Expected pubkey of length 33',
]

let silenced = false

/** Drops libsignal's lines from console.info, .warn, .error and .log; everything else passes. Idempotent. */
export function silenceLibsignal(): void {
  if (silenced) return
  silenced = true
  for (const level of ['info', 'warn', 'error', 'log'] as const) {
    // oxlint-disable-next-line no-console
    const print = console[level].bind(console)
    // oxlint-disable-next-line no-console
    console[level] = (...args: unknown[]): void => {
      const first = args[0]
      if (typeof first === 'string' && LIBSIGNAL_LINES.some((line) => first.startsWith(line))) return
      print(...args)
    }
  }
}
