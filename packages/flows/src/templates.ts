import { readdirSync, readFileSync } from 'node:fs'

const folder = new URL('../templates/', import.meta.url)

/** The languages that ready flows are written in: `en`, `pt-BR`. */
export function templateLanguages(): readonly string[] {
  return readdirSync(folder).toSorted()
}

/** Their names: the same in each language. */
export function templateNames(): readonly string[] {
  return readdirSync(new URL('en/', folder))
    .map((file) => file.replace(/\.json$/, ''))
    .toSorted()
}

/** A ready flow, to be adapted and put; undefined when there is none of this name in this language. */
export function readTemplate(name: string, language: string): object | undefined {
  if (!templateNames().includes(name) || !templateLanguages().includes(language)) return undefined
  const file = new URL(`${language}/${name}.json`, folder)
  const { $schema: _, ...document } = JSON.parse(readFileSync(file, 'utf8')) as { readonly $schema?: string }
  return document
}
