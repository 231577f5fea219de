/** What a text may name: `{contact.name}`, `{contact.number}`, `{field.NAME}`. */
export interface Named {
  readonly contactName: string | null
  readonly contactNumber: string | null
  readonly fields: Readonly<Record<string, string>>
}

const PLACEHOLDER = /\{([a-z][a-z0-9_]{0,39}(?:\.[a-z0-9_]{1,40})+)\}/g

/** Those of a text, each once. */
export function placeholdersIn(text: string): readonly string[] {
  return [...new Set([...text.matchAll(PLACEHOLDER)].map(([, name = '']) => name))]
}

/** The text with what is named put in; what has no value becomes nothing. `encode`: what to make of each value. */
export function fill(
  text: string,
  named: Named,
  encode: (value: string) => string = (value) => value,
): string {
  return text.replaceAll(PLACEHOLDER, (whole, name: string) => {
    const value = valueOf(name, named)
    return value === undefined ? whole : encode(value ?? '')
  })
}

/** `fill` in every text of a JSON value. */
export function fillAll(value: unknown, named: Named): unknown {
  if (typeof value === 'string') return fill(value, named)
  if (Array.isArray(value)) return value.map((one: unknown) => fillAll(one, named))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, fillAll(one, named)]))
}

function valueOf(name: string, { contactName, contactNumber, fields }: Named): string | null | undefined {
  if (name === 'contact.name') return contactName
  if (name === 'contact.number') return contactNumber
  if (!name.startsWith('field.')) return undefined
  const field = name.slice('field.'.length)
  return Object.hasOwn(fields, field) ? fields[field] : null
}
