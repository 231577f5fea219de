import { type BinaryNode, encodeWAMessage, jidNormalizedUser, proto, unpadRandomMax16 } from '@eclusa/baileys'
import { type ChatId, type InboundMessage, SECOND } from '@eclusa/kernel'
import type { MissingMessage } from '../../engine.ts'
import {
  contextOf,
  cut,
  type EncryptedVote,
  encryptedVoteOf,
  messageId,
  type Perspective,
  pollSecretOf,
  translateContent,
  unwrap,
} from './inbound-content.ts'
import { toChat } from './jid.ts'

/** Who wrote, where, and how it was addressed, from a message stanza; undefined for what is no chat (status, newsletter). */
export interface Envelope {
  readonly chat: ChatId
  readonly author: ChatId
  readonly addressedAs: string
  /** The author's LID when the number is the author, or the number when the LID is, as far as the stanza tells. */
  readonly alias: ChatId | null
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
  const prefix = isGroup || isBroadcast ? 'participant' : 'sender'
  const author = await byNumber(writer, stanza.attrs[`${prefix}_pn`], numberOfLid)
  const written = {
    author,
    alias: aliasOf(author, [writer, stanza.attrs[`${prefix}_lid`]]),
    addressedAs: from,
    fromMe,
  }
  if (isGroup) return { ...written, chat: toChat(from) }
  // A copy of what another device of the account sent names the other person as recipient.
  if (recipient === undefined) return { ...written, chat: author }
  const chat = await byNumber(
    recipient,
    stanza.attrs['peer_recipient_pn'] ?? stanza.attrs['recipient_pn'],
    numberOfLid,
  )
  return { ...written, chat }
}

/** The other name of a person who is called by their number. */
function aliasOf(author: ChatId, names: readonly (string | undefined)[]): ChatId | null {
  const lid = names.map((jid) => (jid === undefined ? '' : toChat(jid))).find((jid) => jid.endsWith('@lid'))
  return lid === undefined || lid === author ? null : (lid as ChatId)
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

/** What a decrypted message turned out to be. */
export type Inbound =
  | {
      readonly is: 'message'
      readonly message: InboundMessage
      /** Opens the votes on it, when it is a poll. */
      readonly pollSecret: Uint8Array | null
      /** What was voted, when it is a vote. */
      readonly vote: EncryptedVote | null
    }
  /** A message as well; asking for it again would bring the same. */
  | {
      readonly is: 'unreadable'
      readonly message: InboundMessage
      readonly pollSecret: null
      readonly vote: null
    }
  /** Only the account's own devices may say this: it is not to be acted on. `name` is the protocol message's type. */
  | { readonly is: 'spoofed'; readonly name: string }
  /** Messages that had come without their content, which the account's phone now hands over. */
  | { readonly is: 'handed_over'; readonly messages: readonly proto.IWebMessageInfo[] }
  /** Keys, history, and other arrangements between devices. */
  | { readonly is: 'arrangement' }

/** Acts on nothing: what stands in for a message that must not reach the engine. */
export function nothingPadded(): Uint8Array {
  return encodeWAMessage({})
}

/** A decrypted message in our words. Never throws: what cannot be read is a message of kind `other`, `unreadable`. */
export function translateInbound(
  stanza: BinaryNode,
  envelope: Envelope,
  own: OwnJids,
  padded: Uint8Array,
): Inbound {
  const { id, notify, t } = stanza.attrs
  const seconds = Number(t)
  const head = {
    ...envelope,
    waMessageId: messageId(id ?? ''),
    pushName: pushNameOf(notify),
    sentAt: Number.isSafeInteger(seconds) && seconds > 0 ? seconds * SECOND : 0,
  }
  try {
    const decoded = proto.Message.decode(unpadRandomMax16(padded))
    const whole = decoded.deviceSentMessage?.message ?? decoded
    const content = unwrap(whole)
    if (content === undefined) return { is: 'arrangement' }
    const protocol = content.protocolMessage
    if (protocol) {
      const selfOnly = selfOnlyName(protocol)
      if (selfOnly !== undefined && !envelope.fromMe) return { is: 'spoofed', name: selfOnly }
      const handedOver = handedOverIn(protocol)
      if (handedOver.length > 0) return { is: 'handed_over', messages: handedOver }
    }
    return translateMessage(head, own, whole, content)
  } catch {
    return unreadable(head)
  }
}

/** A message that the account's phone handed over; undefined when it names no chat. */
export async function translateHandedOver(
  info: proto.IWebMessageInfo,
  own: OwnJids,
  numberOfLid: (lid: string) => Promise<string | null>,
): Promise<Inbound | undefined> {
  const { remoteJid, fromMe, id, participant } = info.key ?? {}
  if (!remoteJid || !id) return undefined
  const key = { remoteJid, fromMe: fromMe === true, id, participant: participant ?? info.participant ?? null }
  const envelope = await envelopeOfKey(key, own, numberOfLid)
  if (envelope === undefined) return undefined
  const head = {
    ...envelope,
    addressedAs: remoteJid,
    waMessageId: messageId(id),
    pushName: pushNameOf(info.pushName),
    sentAt: Number(info.messageTimestamp ?? 0) * SECOND,
  }
  const whole = info.message ?? undefined
  const content = whole === undefined ? undefined : unwrap(whole)
  if (whole === undefined || content === undefined || content.protocolMessage) return undefined
  return translateMessage(head, own, whole, content)
}

/** A message of which nothing but its key is known, and that it came; undefined when it names no chat. */
export async function translateMissing(
  missing: MissingMessage,
  own: OwnJids,
  numberOfLid: (lid: string) => Promise<string | null>,
): Promise<InboundMessage | undefined> {
  const { waMessageId, remoteJid, sentAt } = missing
  const envelope = await envelopeOfKey({ ...missing, id: waMessageId }, own, numberOfLid)
  if (envelope === undefined) return undefined
  const content = { kind: 'other', name: 'without_content', text: null } as const
  const head = { ...envelope, addressedAs: remoteJid, waMessageId, pushName: null, sentAt }
  return { ...head, content, quoted: null, mentions: [] }
}

/** As the stanza that it came in would have it. */
function envelopeOfKey(
  key: {
    readonly remoteJid: string
    readonly fromMe: boolean
    readonly id: string
    readonly participant: string | null
  },
  own: OwnJids,
  numberOfLid: (lid: string) => Promise<string | null>,
): Promise<Envelope | undefined> {
  const { remoteJid, fromMe, id, participant } = key
  const attrs: Record<string, string> = { id, from: remoteJid }
  if (participant !== null && participant !== '') attrs['participant'] = participant
  if (fromMe) Object.assign(attrs, { from: own.number, recipient: remoteJid })
  return readEnvelope({ tag: 'message', attrs }, own, numberOfLid)
}

type Head = Omit<InboundMessage, 'content' | 'quoted' | 'mentions'>

function translateMessage(head: Head, own: OwnJids, whole: proto.IMessage, content: proto.IMessage): Inbound {
  const { chat, author, fromMe } = head
  const seenBy: Perspective = { chat, author, fromMe, own: toChat(own.number) }
  const translated = translateContent(content, seenBy)
  if (translated === undefined) return { is: 'arrangement' }
  const message = { ...head, content: translated, ...contextOf(content, seenBy) }
  return { is: 'message', message, pollSecret: pollSecretOf(whole, content), vote: encryptedVoteOf(content) }
}

function unreadable(head: Head): Inbound {
  const content = { kind: 'other', name: 'unreadable', text: null } as const
  const message = { ...head, content, quoted: null, mentions: [] }
  return { is: 'unreadable', message, pollSecret: null, vote: null }
}

/**
 * The four arrangements that only the account's own devices make (CVE-2026-48063), by type and by what they carry:
 * Baileys looks at the carried history whatever the type says.
 */
function selfOnlyName(message: proto.Message.IProtocolMessage): string | undefined {
  const { Type } = proto.Message.ProtocolMessage
  const selfOnly: readonly [proto.Message.ProtocolMessage.Type, unknown][] = [
    [Type.HISTORY_SYNC_NOTIFICATION, message.historySyncNotification],
    [Type.APP_STATE_SYNC_KEY_SHARE, message.appStateSyncKeyShare],
    [Type.LID_MIGRATION_MAPPING_SYNC, message.lidMigrationMappingSyncMessage],
    [Type.PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE, message.peerDataOperationRequestResponseMessage],
  ]
  const found = selfOnly.find(
    ([type, carried]) => message.type === type || (carried !== null && carried !== undefined),
  )
  return found === undefined ? undefined : Type[found[0]]
}

function handedOverIn(message: proto.Message.IProtocolMessage): readonly proto.IWebMessageInfo[] {
  const results = message.peerDataOperationRequestResponseMessage?.peerDataOperationResult ?? []
  return results.flatMap(({ placeholderMessageResendResponse: found }) =>
    found?.webMessageInfoBytes ? [proto.WebMessageInfo.decode(found.webMessageInfoBytes)] : [],
  )
}

const MAX_PUSH_NAME = 128

function pushNameOf(name: string | null | undefined): string | null {
  return name === undefined || name === null || name === '' ? null : cut(name, MAX_PUSH_NAME)
}

/** Every person that a message names by LID. */
export function lidsIn({ content, quoted, mentions }: InboundMessage): readonly ChatId[] {
  const named = [...mentions, ...(quoted === null ? [] : [quoted.author])]
  if ('target' in content) named.push(content.target.author)
  return [...new Set(named.filter((jid) => jid.endsWith('@lid')))]
}

/** The message with every person called by the number, where `numbers` knows it. */
export function byNumbers(message: InboundMessage, numbers: ReadonlyMap<ChatId, ChatId>): InboundMessage {
  const { content, quoted, mentions } = message
  const called = (jid: ChatId): ChatId => numbers.get(jid) ?? jid
  return {
    ...message,
    content:
      'target' in content
        ? { ...content, target: { ...content.target, author: called(content.target.author) } }
        : content,
    quoted: quoted === null ? null : { ...quoted, author: called(quoted.author) },
    mentions: mentions.map(called),
  }
}
