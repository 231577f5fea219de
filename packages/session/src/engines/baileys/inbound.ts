import {
  type BinaryNode,
  jidNormalizedUser,
  normalizeMessageContent,
  proto,
  unpadRandomMax16,
} from '@eclusa/baileys'
import { type ChatId, SECOND, type WaMessageId } from '@eclusa/kernel'
import type { InboundKind, InboundMessage } from '../../engine.ts'

/** Who wrote, where, and how it was addressed, from a message stanza; undefined for what is no chat (status, newsletter). */
export interface Envelope {
  readonly chat: ChatId
  readonly author: ChatId
  readonly addressedAs: string
  readonly fromMe: boolean
}

/** The account's own JIDs, to tell its other devices from other people. */
export interface OwnJids {
  readonly number: string
  readonly lid: string | undefined
}

/**
 * One person is one chat whether the stanza names the phone number or the LID: the number wins where it is known.
 * `numberOfLid` asks the directory of known pairs.
 */
export async function readEnvelope(
  stanza: BinaryNode,
  own: OwnJids,
  numberOfLid: (lid: string) => Promise<string | null>,
): Promise<Envelope | undefined> {
  const { from, participant, recipient } = stanza.attrs
  if (from === undefined || from === 'status@broadcast' || from.endsWith('@newsletter')) return undefined
  const isGroup = from.endsWith('@g.us')
  // A contact's broadcast list comes from the list, but it is a message of that contact to us alone.
  const isBroadcast = from.endsWith('@broadcast')
  const writer = isGroup || isBroadcast ? participant : from
  if (writer === undefined) return undefined
  const fromMe = isOwn(writer, own)
  const alternative = isGroup || isBroadcast ? stanza.attrs['participant_pn'] : stanza.attrs['sender_pn']
  const author = await byNumber(writer, alternative, numberOfLid)
  if (isGroup) return { chat: toChat(from), author, addressedAs: from, fromMe }
  // A copy of what another device of the account sent names the other person as recipient.
  if (recipient === undefined) return { chat: author, author, addressedAs: from, fromMe }
  const chat = await byNumber(
    recipient,
    stanza.attrs['peer_recipient_pn'] ?? stanza.attrs['recipient_pn'],
    numberOfLid,
  )
  return { chat, author, addressedAs: from, fromMe }
}

function isOwn(jid: string, own: OwnJids): boolean {
  const normalised = jidNormalizedUser(jid)
  return normalised === own.number || normalised === own.lid
}

async function byNumber(
  jid: string,
  alternative: string | undefined,
  numberOfLid: (lid: string) => Promise<string | null>,
): Promise<ChatId> {
  const chat = toChat(jid)
  if (!chat.endsWith('@lid')) return chat
  const number = alternative ?? (await numberOfLid(chat))
  return number === null ? chat : toChat(number)
}

/** Companies on WhatsApp's own hosting are people like others under another server name. */
const SERVERS: ReadonlyMap<string, string> = new Map([
  ['hosted', 's.whatsapp.net'],
  ['hosted.lid', 'lid'],
])

/**
 * Any JID as a chat, without its device. Unlike `parseChatId` it takes what it does not know as it is: a message that
 * WhatsApp has sent must be journalled, whatever new kind of sender it names.
 */
function toChat(jid: string): ChatId {
  const [user = '', server = ''] = jid.split('@')
  return `${user.split(':')[0]}@${SERVERS.get(server) ?? server}` as ChatId
}

/**
 * A decrypted message in our words, or undefined for what is no message to a person: keys, history, and other
 * arrangements between the account's own devices.
 */
export function translateInbound(
  stanza: BinaryNode,
  envelope: Envelope,
  padded: Uint8Array,
): InboundMessage | undefined {
  const decoded = proto.Message.decode(unpadRandomMax16(padded))
  const outer = decoded.deviceSentMessage?.message ?? decoded
  const content = normalizeMessageContent(outer)
  if (content === undefined || content === null) return undefined
  const found = classify(content)
  if (found === undefined) return undefined
  return {
    ...envelope,
    waMessageId: (stanza.attrs['id'] ?? '') as WaMessageId,
    kind: found.kind,
    text: found.text,
    pushName: stanza.attrs['notify'] ?? null,
    sentAt: Number(stanza.attrs['t'] ?? 0) * SECOND,
  }
}

function classify(content: proto.IMessage): { kind: InboundKind; text: string | null } | undefined {
  const text = content.conversation ?? content.extendedTextMessage?.text
  if (typeof text === 'string' && text !== '') return { kind: 'text', text }
  const media =
    content.imageMessage ??
    content.videoMessage ??
    content.documentMessage ??
    content.audioMessage ??
    content.stickerMessage
  if (media !== undefined && media !== null) {
    return { kind: 'media', text: 'caption' in media ? (media.caption ?? null) : null }
  }
  if (content.locationMessage ?? content.liveLocationMessage) return { kind: 'location', text: null }
  if (content.contactMessage ?? content.contactsArrayMessage) return { kind: 'contact', text: null }
  if (content.reactionMessage) return { kind: 'reaction', text: content.reactionMessage.text ?? null }
  if (content.protocolMessage) return classifyProtocol(content.protocolMessage)
  const names = Object.keys(content).filter((name) => content[name as keyof proto.IMessage] !== null)
  const isMessage = names.some(
    (name) => name !== 'senderKeyDistributionMessage' && name !== 'messageContextInfo',
  )
  return isMessage ? { kind: 'other', text: null } : undefined
}

function classifyProtocol(
  message: proto.Message.IProtocolMessage,
): { kind: InboundKind; text: string | null } | undefined {
  const { Type } = proto.Message.ProtocolMessage
  if (message.type === Type.REVOKE) return { kind: 'delete', text: null }
  if (message.type === Type.MESSAGE_EDIT) {
    const edited = message.editedMessage
    return { kind: 'edit', text: edited?.conversation ?? edited?.extendedTextMessage?.text ?? null }
  }
  return undefined
}
