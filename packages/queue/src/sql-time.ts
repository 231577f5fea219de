/** `2026-01-05 12:00:00.000`, UTC: compares with SQLite's own `datetime('now')`, which text with a `T` would not. */
export function toSqlTime(at: number): string {
  if (at === last.at) return last.text
  const text = textOf(at)
  last = { at, text }
  return text
}

/** Many rows of a burst are of the same millisecond. */
let last = { at: 0, text: textOf(0) }

function textOf(at: number): string {
  return new Date(at).toISOString().slice(0, 23).replace('T', ' ')
}

/** Epoch milliseconds of a value made by `toSqlTime`. */
export function fromSqlTime(text: string): number {
  return Date.parse(`${text.replace(' ', 'T')}Z`)
}
