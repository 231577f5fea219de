import { type ChatId, chatOfNumber } from './ids.ts'

/** An address of a person in the one form that all its spellings share. Compared and indexed, never sent to. */
export type PersonKey = string & { readonly __brand: 'PersonKey' }

/**
 * Brazilian mobile numbers got a ninth digit, a 9 in front, and WhatsApp kept the older accounts under the number
 * without it: the same person under the other of the two; null for every other number. Pure.
 */
export function ninthDigitVariant(chat: ChatId): ChatId | null {
  const [, area, digits] = /^55(\d\d)(9?[6-9]\d{7})@s\.whatsapp\.net$/.exec(chat) ?? []
  if (area === undefined || digits === undefined) return null
  return chatOfNumber(`55${area}${digits.length === 9 ? digits.slice(1) : `9${digits}`}`)
}

/** A Brazilian mobile number with its ninth digit, every other address as it is. Pure. */
export function personKey(address: ChatId): PersonKey {
  const variant = ninthDigitVariant(address)
  return (variant !== null && variant.length > address.length ? variant : address) as string as PersonKey
}
