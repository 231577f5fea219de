import type { ChatId } from '@eclusa/kernel'
import { parsePhoneNumberFromString } from 'libphonenumber-js/min'

/** Where most people of a country with several zones live; the others have one zone. */
const MAIN_ZONES: Readonly<Record<string, string>> = {
  AR: 'America/Argentina/Buenos_Aires',
  AU: 'Australia/Sydney',
  BR: 'America/Sao_Paulo',
  CA: 'America/Toronto',
  CL: 'America/Santiago',
  CN: 'Asia/Shanghai',
  EC: 'America/Guayaquil',
  ES: 'Europe/Madrid',
  DE: 'Europe/Berlin',
  GB: 'Europe/London',
  ID: 'Asia/Jakarta',
  IN: 'Asia/Kolkata',
  KZ: 'Asia/Almaty',
  MX: 'America/Mexico_City',
  MY: 'Asia/Kuala_Lumpur',
  NZ: 'Pacific/Auckland',
  PT: 'Europe/Lisbon',
  RU: 'Europe/Moscow',
  UA: 'Europe/Kyiv',
  US: 'America/New_York',
}

/** Areas of Brazil that are one or two hours behind São Paulo, by their two digits. */
const BRAZILIAN_ZONES: Readonly<Record<string, string>> = {
  65: 'America/Cuiaba',
  66: 'America/Cuiaba',
  67: 'America/Campo_Grande',
  68: 'America/Rio_Branco',
  69: 'America/Porto_Velho',
  92: 'America/Manaus',
  95: 'America/Boa_Vista',
  97: 'America/Manaus',
}

/** Where a contact is, by the country of the number; null for a LID, a group, or a number of no country. */
export function zoneOf(chat: ChatId): string | null {
  const digits = /^(\d+)@s\.whatsapp\.net$/.exec(chat)?.[1]
  if (digits === undefined) return null
  const area = /^55(\d\d)/.exec(digits)?.[1]
  const brazilian = area === undefined ? undefined : BRAZILIAN_ZONES[area]
  if (brazilian !== undefined) return brazilian
  const country = parsePhoneNumberFromString(`+${digits}`)?.country
  if (country === undefined) return null
  return MAIN_ZONES[country] ?? new Intl.Locale(`und-${country}`).getTimeZones?.()?.[0] ?? null
}
