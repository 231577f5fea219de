import type { ChatId } from '@eclusa/kernel'

/** Companies on WhatsApp's own hosting are people like others under another server name. */
const SERVERS: ReadonlyMap<string, string> = new Map([
  ['hosted', 's.whatsapp.net'],
  ['hosted.lid', 'lid'],
])

/**
 * Any JID as a chat, without its device. Unlike `parseChatId` it takes what it does not know as it is: a message that
 * WhatsApp has sent must be journalled, whatever new kind of sender it names.
 */
export function toChat(jid: string): ChatId {
  const [user = '', server = ''] = jid.replaceAll('\0', '\uFFFD').split('@')
  return `${user.split(':')[0]}@${SERVERS.get(server) ?? server}` as ChatId
}
