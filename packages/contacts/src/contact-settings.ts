import { type BusinessHours, HOUR, MINUTE, parseBusinessHours } from '@eclusa/kernel'
import { bad, parseText } from './contact.ts'
import { hearWish, keyOf, type OwnWords } from './spoken-words.ts'

/** What is said when somebody opted out or in; null: nothing is. */
export interface Confirmations {
  /** Default: a sentence in the language of the number's country. */
  readonly optOutText?: string | null
  readonly optInText?: string | null
}

/** One reply outside of the hours, to each contact at most once per cooldown. */
interface AutoReplyRule {
  readonly hours: BusinessHours
  readonly text: string
  /** From one reply to a contact to the next. Default 8 h, 1 min to 30 days. */
  readonly cooldownMs: number
}

export interface AutoReplyRules {
  /** For contacts whom no operator with a rule of their own is answering. */
  readonly tenant: AutoReplyRule | null
  /** By operator (`opr_…`), at most 500. */
  readonly operators: Readonly<Record<string, AutoReplyRule>>
}

export const noAutoReplies: AutoReplyRules = { tenant: null, operators: {} }

export const noOwnWords: OwnWords = { optOut: [], person: [] }

const MAX_TEXT = 4096
const MAX_OWN_WORDS = 50
const MAX_OWN_WORD = 60
const MAX_OPERATORS = 500
const DEFAULT_COOLDOWN_MS = 8 * HOUR
const MAX_COOLDOWN_MS = 720 * HOUR

/** @throws CONTACT_BAD_INPUT naming the field */
export function parseConfirmations(input: unknown): Confirmations {
  const { optOutText, optInText } = recordOf(input, 'confirmations', ['optOutText', 'optInText'])
  return {
    ...(optOutText === undefined ? {} : { optOutText: textOf(optOutText, 'optOutText') }),
    ...(optInText === undefined ? {} : { optInText: textOf(optInText, 'optInText') }),
  }
}

/**
 * At most 50 for each wish, of at most 60 characters and at least two letters, so that no number of a menu is taken for
 * one. What is understood already keeps its meaning. @throws CONTACT_BAD_INPUT naming the word
 */
export function parseOwnWords(input: unknown): OwnWords {
  const { optOut = [], person = [] } = recordOf(input, 'words', ['optOut', 'person'])
  const words = { optOut: wordsOf(optOut, 'optOut'), person: wordsOf(person, 'person') }
  const stops = new Set(words.optOut.map(keyOf))
  const both = words.person.findIndex((word) => stops.has(keyOf(word)))
  if (both >= 0) throw bad(`person.${both}`, 'must not be an opt-out word, too')
  return words
}

function wordsOf(input: unknown, wish: keyof OwnWords): readonly string[] {
  if (!Array.isArray(input)) throw bad(wish, 'must be a list of words')
  if (input.length > MAX_OWN_WORDS) throw bad(wish, `must be at most ${MAX_OWN_WORDS} words`)
  return input.map((one: unknown, nth) => {
    const field = `${wish}.${nth}`
    const word = textOf(one, field, MAX_OWN_WORD)
    if (word === null || (keyOf(word).match(/\p{L}/gu)?.length ?? 0) < 2) {
      throw bad(field, 'must have at least two letters beside courtesies')
    }
    const known = hearWish(word)
    if (known !== null && known !== (wish === 'optOut' ? 'opt_out' : 'person')) {
      throw bad(field, `is understood already, ${MEANINGS[known]}`)
    }
    return word
  })
}

const MEANINGS = {
  opt_out: 'as an opt-out',
  leave: 'as an opt-out that is asked about inside a menu',
  opt_in: 'as an opt-in',
  person: 'as the wish for a person',
} as const

/** @throws CONTACT_BAD_INPUT, KERNEL_BAD_HOURS naming the field */
export function parseAutoReplies(input: unknown): AutoReplyRules {
  const { tenant = null, operators = {} } = recordOf(input, 'autoReplies', ['tenant', 'operators'])
  const rules = Object.entries(recordOf(operators, 'operators', null))
  if (rules.length > MAX_OPERATORS) throw bad('operators', `must be at most ${MAX_OPERATORS}`)
  return {
    tenant: tenant === null ? null : ruleOf(tenant, 'tenant'),
    operators: Object.fromEntries(
      rules.map(([id, rule]) => {
        if (!/^opr_[0-9a-hjkmnp-tv-z]{20}$/.test(id)) {
          throw bad(`operators.${id.slice(0, 40)}`, 'must be named by an operator’s id')
        }
        return [id, ruleOf(rule, `operators.${id}`)]
      }),
    ),
  }
}

function ruleOf(input: unknown, field: string): AutoReplyRule {
  const {
    hours,
    text,
    cooldownMs = DEFAULT_COOLDOWN_MS,
  } = recordOf(input, field, ['hours', 'text', 'cooldownMs'])
  const said = textOf(text, `${field}.text`)
  if (said === null) throw bad(`${field}.text`, 'must not be empty')
  if (typeof cooldownMs !== 'number' || !(cooldownMs >= MINUTE && cooldownMs <= MAX_COOLDOWN_MS)) {
    throw bad(`${field}.cooldownMs`, `must be ${MINUTE} to ${MAX_COOLDOWN_MS} milliseconds`)
  }
  return { hours: parseBusinessHours(hours, `${field}.hours`), text: said, cooldownMs }
}

function textOf(input: unknown, field: string, maxLength = MAX_TEXT): string | null {
  if (input !== null && typeof input !== 'string') throw bad(field, 'must be a text')
  return parseText(input, field, maxLength)
}

function recordOf(
  input: unknown,
  field: string,
  known: readonly string[] | null,
): Readonly<Record<string, unknown>> {
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw bad(field, 'must be an object')
  const unknown = known && Object.keys(input).find((key) => !known.includes(key))
  if (unknown != null) throw bad(unknown, 'is not known')
  return input as Readonly<Record<string, unknown>>
}
