import type { en } from './en.ts'

export type Language = 'en' | 'pt-BR'
export type TextKey = keyof typeof en
export type Dictionary = Readonly<Record<TextKey, string>>

/** Keys that come in two forms, `…_one` and `…_other`. */
type PluralKey = TextKey extends infer K ? (K extends `${infer Base}_other` ? Base : never) : never

type Values = Readonly<Record<string, string | number>>

export interface Texts {
  readonly language: Language
  readonly setLanguage: (language: Language) => void
  /** The text of `key`, with `{name}` replaced. */
  readonly t: (key: TextKey, values?: Values) => string
  /** The form for `count`, which is `{count}` in it, written as the language writes numbers. */
  readonly n: (key: PluralKey, count: number, values?: Values) => string
  readonly number: (value: number, digits?: number) => string
  readonly percent: (share: number) => string
  readonly bytes: (value: number) => string
  /** Length of a time, in its largest unit or two. */
  readonly duration: (ms: number) => string
  readonly time: (at: string | number) => string
  readonly dateTime: (at: string | number) => string
  readonly day: (at: string | number) => string
}

export interface Spoken {
  readonly language: Language
  readonly dictionary: Dictionary
}

export function makeTexts(
  { language, dictionary }: Spoken,
  setLanguage: (language: Language) => void,
): Texts {
  const plurals = new Intl.PluralRules(language)
  const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 })
  const time = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit' })
  const dateTime = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'medium' })
  const day = new Intl.DateTimeFormat(language, { weekday: 'long', day: 'numeric', month: 'long' })
  const number = (value: number, digits = 0): string =>
    digits === 0
      ? whole.format(value)
      : new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value)
  return {
    language,
    setLanguage,
    t: (key, values) => filled(dictionary[key], values),
    n: (key, count, values) => {
      const form = plurals.select(count) === 'one' ? 'one' : 'other'
      return filled(dictionary[`${key}_${form}` as TextKey], { count: whole.format(count), ...values })
    },
    number,
    percent: (share) =>
      new Intl.NumberFormat(language, { style: 'percent', maximumFractionDigits: 0 }).format(share),
    bytes: (value) => {
      const [unit, divisor] = BYTE_UNITS.find(([, size]) => value >= size) ?? (['B', 1] as const)
      const shown = value / divisor
      return `${number(shown, shown < 10 && divisor !== 1 ? 1 : 0)} ${unit}`
    },
    duration: (ms) => spoken(ms, language),
    time: (at) => time.format(new Date(at)),
    dateTime: (at) => dateTime.format(new Date(at)),
    day: (at) => day.format(new Date(at)),
  }
}

const BYTE_UNITS = [
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
] as const

/** `{name}` becomes its value; what has none stays, so that a slip is seen. */
function filled(text: string, values: Values = {}): string {
  return text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole))
}

function spoken(ms: number, language: Language): string {
  const unit = (value: number, name: 'second' | 'minute' | 'hour' | 'day'): string =>
    new Intl.NumberFormat(language, {
      style: 'unit',
      unit: name,
      unitDisplay: 'narrow',
      maximumFractionDigits: 0,
    }).format(value)
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 60) return unit(seconds, 'second')
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return unit(minutes, 'minute')
  const hours = Math.floor(minutes / 60)
  if (hours < 48)
    return minutes % 60 === 0 || hours >= 10
      ? unit(hours, 'hour')
      : `${unit(hours, 'hour')} ${unit(minutes % 60, 'minute')}`
  return unit(Math.floor(hours / 24), 'day')
}
