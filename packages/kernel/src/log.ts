/** Facts of a log line: tenant, instance, chat (hashed), code, durations. Never message text or a number in clear. */
export type LogFields = Readonly<Record<string, unknown>>

/** `info` is for operators, `debug` for us; a warning names its remedy. */
export interface Logger {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }
