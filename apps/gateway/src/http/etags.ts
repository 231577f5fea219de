import { badField } from './problem.ts'

/** The ETag of what grows by one with each change. */
export function etagOf({ version }: { readonly version: number }): string {
  return `"${version}"`
}

/** The version in an `If-Match`; null: whatever it is. @throws GATEWAY_BAD_REQUEST */
export function versionOf(header: string | undefined): number | null {
  if (header === undefined || header === '*') return null
  const version = /^(?:W\/)?"(\d{1,15})"$/.exec(header)?.[1]
  if (version === undefined) throw badField('if-match', 'must be an etag of it')
  return Number(version)
}
