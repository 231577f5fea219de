import { plain } from './answer.ts'
import type { StepOf } from './flow-definition.ts'

type Menu = StepOf<'menu'>

/** The menu as it is sent. */
export function menuText({ text, options, list }: Menu): string {
  if (!list) return text
  return [text, '', ...options.map(({ key, label }, nth) => `${key ?? nth + 1}. ${label}`)].join('\n')
}

/**
 * The option that is meant: by its key, its label or its words, wherever upper case, accents and signs stand; `2 - boleto`
 * and `opção 2` are 2. Null when none is meant, or more than one.
 */
export function chosenFrom({ options }: Menu, words: string): Menu['options'][number] | null {
  const said = plain(words)
  if (said === '') return null
  const names = options.map((option, nth) =>
    [option.key ?? String(nth + 1), option.label, ...(option.words ?? [])].map(plain),
  )
  const exact = options.find((_, nth) => names[nth]?.includes(said))
  if (exact !== undefined) return exact
  const number = /^(?:(?:a |la |the |numero |number |opcao |opcion |option |n )*)(\d{1,2})(?:\D.*)?$/.exec(
    said,
  )?.[1]
  const tokens = new Set(said.split(/[^\p{L}\p{N}]+/u))
  const meant = options.filter((_, nth) => {
    const ofThis = names[nth] ?? []
    if (number !== undefined) return ofThis[0] === String(Number(number))
    // A word of the option somewhere in a sentence: "quero falar do boleto".
    return ofThis
      .slice(1)
      .some((name) => (name.includes(' ') ? ` ${said} `.includes(` ${name} `) : tokens.has(name)))
  })
  return meant.length === 1 ? (meant[0] ?? null) : null
}
