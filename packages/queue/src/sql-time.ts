/** `2026-01-05 12:00:00.000`, UTC: compares with SQLite's own `datetime('now')`, which text with a `T` would not. */
export function toSqlTime(at: number): string {
  return new Date(at).toISOString().slice(0, 23).replace('T', ' ')
}

/** Epoch milliseconds of a value made by `toSqlTime`. */
export function fromSqlTime(text: string): number {
  return Date.parse(`${text.replace(' ', 'T')}Z`)
}
