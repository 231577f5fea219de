import { type ChatId, chatOfNumber, type InstanceId } from '@eclusa/kernel'
import type { AuthStore } from './auth-store.ts'

/** The number behind a LID where the engine has learnt the pair; otherwise the chat as it is. */
export async function numberOfLid(store: AuthStore, instance: InstanceId, chat: ChatId): Promise<ChatId> {
  const lid = /^(\d+)@lid$/.exec(chat)?.[1]
  if (lid === undefined) return chat
  // As the engine keeps its pairs.
  const id = `${lid}_reverse`
  const json = (await store.readKeys(instance, 'lid-mapping', [id])).get(id)
  const number: unknown = json === undefined ? null : JSON.parse(json)
  return typeof number === 'string' && /^\d+$/.test(number) ? chatOfNumber(number) : chat
}

/**
 * Brazilian mobile numbers got a ninth digit, a 9 in front, and WhatsApp kept the older accounts under the number
 * without it: the same person under the other of the two; null for every other number. Pure.
 */
export function ninthDigitVariant(chat: ChatId): ChatId | null {
  const [, area, digits] = /^55(\d\d)(9?[6-9]\d{7})@s\.whatsapp\.net$/.exec(chat) ?? []
  if (area === undefined || digits === undefined) return null
  return chatOfNumber(`55${area}${digits.length === 9 ? digits.slice(1) : `9${digits}`}`)
}
