import {
  type BinaryNode,
  isLidUser,
  isPnUser,
  jidNormalizedUser,
  normalizeMessageContent,
  proto,
  unpadRandomMax16,
} from '@eclusa/baileys'
import { type ChatId, parseChatId, SECOND, type WaMessageId } from '@eclusa/kernel'
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
  if (from === undefined || from === 'status@broadcast') return undefined
  const isGroup = from.endsWith('@g.us')
  const writer = isGroup ? participant : from
  if (writer === undefined || !(isPnUser(writer) || isLidUser(writer))) return undefined
  const fromMe = isOwn(writer, own)
  const author = await byNumber(
    writer,
    isGroup ? stanza.attrs['participant_pn'] : stanza.attrs['sender_pn'],
    numberOfLid,
  )
  if (isGroup) return { chat: parseChatId(from), author, addressedAs: from, fromMe }
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
  if (isLidUser(jid)) return parseChatId(alternative ?? (await numberOfLid(jid)) ?? jid)
  return parseChatId(jid)
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
