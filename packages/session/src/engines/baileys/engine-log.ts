import type { Logger } from '@eclusa/kernel'

/** The logger Baileys asks for. */
export interface EngineLogger {
  level: string
  child(fields: Record<string, unknown>): EngineLogger
  trace(fields: unknown, message?: string): void
  debug(fields: unknown, message?: string): void
  info(fields: unknown, message?: string): void
  warn(fields: unknown, message?: string): void
  error(fields: unknown, message?: string): void
}

/**
 * Baileys' log lines as our debug lines: the sentence and the error's first line with long digits blanked. Its fields
 * hold stanzas, numbers and keys, and are dropped.
 */
export function engineLogger(log: Logger): EngineLogger {
  const line =
    (level: string) =>
    (fields: unknown, message?: string): void => {
      const sentence = typeof fields === 'string' ? fields : (message ?? '')
      log.debug({ engineLevel: level, ...errorOf(fields) }, `engine: ${blank(sentence)}`)
    }
  const quiet = (): void => {}
  const logger: EngineLogger = {
    level: 'warn',
    child: () => logger,
    trace: quiet,
    debug: quiet,
    info: quiet,
    warn: line('warn'),
    error: line('error'),
  }
  return logger
}

function errorOf(fields: unknown): { readonly error?: string } {
  if (typeof fields !== 'object' || fields === null) return {}
  const error: unknown = ['err', 'error', 'e']
    .map((name) => Reflect.get(fields, name))
    .find((found) => found !== undefined)
  if (!(error instanceof Error)) return {}
  return { error: blank(error.message.split('\n', 1)[0] ?? '') }
}

function blank(text: string): string {
  return text.slice(0, 200).replaceAll(/\d{6,}/g, '…')
}
