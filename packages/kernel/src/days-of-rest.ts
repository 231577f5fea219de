/** Days of rest of one calendar. */
export const MAX_DAYS_OF_REST = 20

/** `02-29`, `2027-03-26`: a day that there is. */
export function isDayOfRest(text: string): boolean {
  const [, year = '2024', monthAndDay] = /^(?:(\d{4})-)?(\d\d-\d\d)$/.exec(text) ?? []
  const date = `${year}-${monthAndDay}`
  const at = Date.parse(`${date}T00:00:00Z`)
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(date)
}
