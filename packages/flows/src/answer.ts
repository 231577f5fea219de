import type { AnswerRule } from './flow-definition.ts'

const MAX_ANSWER = 1000

/**
 * The answer in its one spelling, or null when it is not one of this kind: a date as 2026-12-31, a CPF as digits, yes
 * and no as `yes` and `no`, a choice as the flow wrote it. There is no pattern of one's own: a pattern can be made to
 * take hours.
 */
export function readAnswer(rule: AnswerRule, words: string): string | null {
  const text = words.trim()
  if (text === '' || text.length > MAX_ANSWER) return null
  const { min = 0, max = MAX_ANSWER } = rule
  switch (rule.kind) {
    case 'text':
      return text.length >= min && text.length <= max ? text : null
    case 'number': {
      const number = numberOf(text)
      const isIn = number !== null && number >= (rule.min ?? -Infinity) && number <= (rule.max ?? Infinity)
      return isIn ? String(number) : null
    }
    case 'digits': {
      const digits = text.replaceAll(/[\s./-]/g, '')
      return /^\d+$/.test(digits) && digits.length >= min && digits.length <= max ? digits : null
    }
    case 'email':
      return text.length <= 254 && /^[^\s@<>,;"]{1,64}@[^\s@<>,;".]+(?:\.[^\s@<>,;".]+)+$/.test(text)
        ? text.toLowerCase()
        : null
    case 'phone': {
      const digits = text.replaceAll(/[\s().+-]/g, '')
      return /^[1-9]\d{7,14}$/.test(digits) ? digits : null
    }
    case 'date':
      return dateOf(text)
    case 'yes_no':
      return yesOrNo(text)
    case 'choice': {
      const choices = rule.choices ?? []
      const byPlace = /^\d{1,2}$/.test(text) ? choices[Number(text) - 1] : undefined
      return choices.find((choice) => plain(choice) === plain(text)) ?? byPlace ?? null
    }
    case 'cpf': {
      const digits = text.replaceAll(/[\s.-]/g, '')
      return isCpf(digits) ? digits : null
    }
    case 'cnpj': {
      const signs = text.replaceAll(/[\s./-]/g, '').toUpperCase()
      return isCnpj(signs) ? signs : null
    }
    default:
      return rule.kind satisfies never
  }
}

/** Lower case, without accents and without signs around: what two people who mean the same both write. */
export function plain(text: string): string {
  const words = text
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .toLowerCase()
    .split(/[\s\u200b]+/)
    .filter((word) => word !== '')
  // By hand from both ends: a pattern for the end would be tried from each sign of a long row of signs.
  let [from, to] = [0, words.length]
  while (from < to && isSigns(words[from] ?? '')) from++
  while (to > from && isSigns(words[to - 1] ?? '')) to--
  const joined = words.slice(from, to).join(' ')
  let [first, last] = [0, joined.length]
  for (let sign = after(joined, first); sign !== '' && isSigns(sign); sign = after(joined, first))
    first += sign.length
  for (let sign = before(joined, last); last > first && isSigns(sign); sign = before(joined, last))
    last -= sign.length
  return joined.slice(first, last)
}

/** The code point that begins, or ends, at a place; '' when there is none. */
function after(text: string, at: number): string {
  const point = text.codePointAt(at)
  return point === undefined ? '' : String.fromCodePoint(point)
}

function before(text: string, at: number): string {
  const isPair = at > 1 && (text.codePointAt(at - 2) ?? 0) > 0xffff
  return text.slice(at - (isPair ? 2 : 1), at)
}

function isSigns(text: string): boolean {
  return /^[\p{P}\p{S}]+$/u.test(text)
}

function yesOrNo(text: string): 'yes' | 'no' | null {
  const word = plain(text)
  if (/^(?:s|sim|si|y|yes|yep|ok|claro|isso|quero)$/.test(word)) return 'yes'
  if (/^(?:n|nao|no|nope|negativo)$/.test(word)) return 'no'
  return null
}

/** 1.234,56 and 1,234.56 are the same number; with one kind of sign and three digits after it, thousands. */
function numberOf(text: string): number | null {
  const bare = text.replaceAll(/\s|R\$|[$€]/g, '')
  if (!/^-?\d[\d.,]{0,30}$/.test(bare)) return null
  const lastSign = Math.max(bare.lastIndexOf(','), bare.lastIndexOf('.'))
  const kinds = new Set(bare.replaceAll(/[^.,]/g, '')).size
  const isThousands = kinds === 1 && /^-?\d{1,3}([.,]\d{3})+$/.test(bare)
  const whole = lastSign === -1 || isThousands ? bare : bare.slice(0, lastSign)
  const rest = lastSign === -1 || isThousands ? '' : bare.slice(lastSign + 1)
  if (!/^\d*$/.test(rest)) return null
  const number = Number(`${whole.replaceAll(/[.,]/g, '')}.${rest === '' ? '0' : rest}`)
  return Number.isFinite(number) ? number : null
}

/** 31/12/2026, 31-12-26 (day first) or 2026-12-31. */
function dateOf(text: string): string | null {
  const iso = /^(\d{4})-(\d{1,2})-(\d{1,2})$/.exec(text)
  const common = /^(\d{1,2})[./-](\d{1,2})[./-](\d{4}|\d{2})$/.exec(text)
  const [year, month, day] = iso === null ? [common?.[3], common?.[2], common?.[1]] : iso.slice(1)
  if (year === undefined || month === undefined || day === undefined) return null
  const whole = year.length === 2 ? `20${year}` : year
  const date = `${whole}-${month.padStart(2, '0')}-${day.padStart(2, '0')}`
  const at = Date.parse(`${date}T00:00:00Z`)
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(date) ? date : null
}

function isCpf(digits: string): boolean {
  if (!/^\d{11}$/.test(digits) || /^(\d)\1*$/.test(digits)) return false
  return [9, 10].every((length) => {
    let sum = 0
    for (let nth = 0; nth < length; nth++) sum += Number(digits[nth]) * (length + 1 - nth)
    return ((sum * 10) % 11) % 10 === Number(digits[length])
  })
}

/** Letters count since July 2026, each by its place in ASCII. */
function isCnpj(signs: string): boolean {
  if (!/^[0-9A-Z]{12}\d{2}$/.test(signs) || /^(.)\1*$/.test(signs)) return false
  return [12, 13].every((length) => {
    let sum = 0
    for (let nth = 0; nth < length; nth++) {
      sum += (signs.charCodeAt(nth) - 48) * (((length - 1 - nth) % 8) + 2)
    }
    const rest = sum % 11
    return (rest < 2 ? 0 : 11 - rest) === Number(signs[length])
  })
}
