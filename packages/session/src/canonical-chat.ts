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
