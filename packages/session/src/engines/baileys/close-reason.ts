import type { CloseReason } from '../../engine.ts'

/** Baileys' `lastDisconnect.error` (a Boom, an Error or nothing) in our words. */
export function readCloseReason(error: unknown, now: number): CloseReason {
  const statusCode = numberAt(error, ['output', 'statusCode']) ?? 0
  const message = error instanceof Error ? error.message.replaceAll(/\d{6,}/g, '…') : 'closed'
  const expiresInSeconds = Number(stringAt(error, ['data', 'expire']))
  if (!Number.isFinite(expiresInSeconds) || expiresInSeconds <= 0) return { statusCode, message }
  return { statusCode, message, bannedUntil: now + expiresInSeconds * 1000 }
}

/** The status code a failed query carries: WhatsApp's own in `data`, else the Boom's. */
export function readErrorCode(error: unknown): number {
  return numberAt(error, ['data']) ?? numberAt(error, ['output', 'statusCode']) ?? 0
}

function numberAt(value: unknown, path: readonly string[]): number | undefined {
  const found = at(value, path)
  return typeof found === 'number' ? found : undefined
}

function stringAt(value: unknown, path: readonly string[]): string | undefined {
  const found = at(value, path)
  return typeof found === 'string' ? found : undefined
}

function at(value: unknown, path: readonly string[]): unknown {
  let found = value
  for (const name of path) {
    if (typeof found !== 'object' || found === null) return undefined
    found = Reflect.get(found, name)
  }
  return found
}
