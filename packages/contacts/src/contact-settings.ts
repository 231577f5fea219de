import { type BusinessHours, HOUR, MINUTE, parseBusinessHours } from '@eclusa/kernel'
import { bad, parseText } from './contact.ts'

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

const MAX_TEXT = 4096
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

function textOf(input: unknown, field: string): string | null {
  if (input !== null && typeof input !== 'string') throw bad(field, 'must be a text')
  return parseText(input, field, MAX_TEXT)
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
