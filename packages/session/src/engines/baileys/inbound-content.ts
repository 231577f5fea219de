import { normalizeMessageContent, proto } from '@eclusa/baileys'
import type {
  ChatId,
  ContactCard,
  InboundContent,
  MediaReference,
  MessageKey,
  QuotedMessage,
  WaMessageId,
} from '@eclusa/kernel'
import { toChat } from './jid.ts'

const MAX_TEXT = 65_536
const MAX_NAME = 1_024
const MAX_VCARD = 16_384
const MAX_ITEMS = 100
const MAX_MENTIONS = 1_000
/** WhatsApp's ids have up to 40 characters. */
const MAX_ID = 256
/** A SHA-256 or a media key has 32 bytes. */
const MAX_KEY_BYTES = 64

/** Who wrote a message where: whose message its content means by "mine". */
export interface Perspective {
  readonly chat: ChatId
  readonly author: ChatId
  readonly fromMe: boolean
  /** The account's own number. */
  readonly own: ChatId
}

/** A vote as it came: to be opened with the poll's secret. */
export interface EncryptedVote {
  readonly payload: Uint8Array
  readonly iv: Uint8Array
}

/** What is inside the wrappers that WhatsApp puts around a message: disappearing, once, with a caption, of an album. */
export function unwrap(message: proto.IMessage): proto.IMessage | undefined {
  const content = normalizeMessageContent(message)
  const inner = content?.lottieStickerMessage?.message ?? content?.pollCreationMessageV4?.message
  return normalizeMessageContent(inner ?? content) ?? undefined
}

/**
 * What a person sent, in our words; undefined for what is no message to a person: keys, history, other arrangements
 * between devices. `content` is unwrapped. Total: whatever the fields hold, it ends without a throw.
 */
export function translateContent(content: proto.IMessage, seenBy: Perspective): InboundContent | undefined {
  const text = content.conversation ?? content.extendedTextMessage?.text
  if (isText(text)) return { kind: 'text', text: cut(text, MAX_TEXT) }
  const media = mediaOf(content)
  if (media !== undefined) return media
  const place = content.locationMessage ?? content.liveLocationMessage
  if (place) return locationOf(place, Boolean(content.liveLocationMessage))
  const card = content.contactMessage
  if (card) return { kind: 'contact', cards: [cardOf(card)] }
  const cards = content.contactsArrayMessage
  if (cards) return { kind: 'contact', cards: items(cards.contacts).map(cardOf) }
  const poll = pollOf(content)
  if (poll) {
    const options = items(poll.options).map(({ optionName }) => name(optionName) ?? '')
    return {
      kind: 'poll',
      text: name(poll.name) ?? '',
      options,
      maxChoices: count(poll.selectableOptionsCount) || options.length,
    }
  }
  const vote = content.pollUpdateMessage
  if (vote) {
    return { kind: 'poll_vote', target: keyOf(vote.pollCreationMessageKey, seenBy), choices: null }
  }
  const reaction = content.reactionMessage
  if (reaction) {
    return { kind: 'reaction', target: keyOf(reaction.key, seenBy), text: cut(reaction.text ?? '', MAX_NAME) }
  }
  return answerOf(content) ?? arrangementOf(content, seenBy) ?? otherOf(content)
}

/** The message that this one answers to, and the people that it names. */
export function contextOf(
  content: proto.IMessage,
  seenBy: Perspective,
): { readonly quoted: QuotedMessage | null; readonly mentions: readonly ChatId[] } {
  const context = Object.values(content)
    .map((part: unknown) =>
      typeof part === 'object' && part !== null
        ? (Reflect.get(part, 'contextInfo') as proto.IContextInfo | null | undefined)
        : undefined,
    )
    .find((found) => found !== undefined && found !== null)
  const mentions = (context?.mentionedJid ?? [])
    .slice(0, MAX_MENTIONS)
    .filter((jid) => isText(jid))
    .map((jid) => toChat(cut(jid, MAX_ID)))
  if (!isText(context?.stanzaId)) return { quoted: null, mentions }
  const { participant, quotedMessage } = context
  // In a 1:1 chat old apps leave out whose message it was: the other side's, from where the author stands.
  const author = isText(participant) ? toChat(cut(participant, MAX_ID)) : otherSide(seenBy)
  const inner = quotedMessage ? unwrap(quotedMessage) : undefined
  const said = inner === undefined ? undefined : translateContent(inner, seenBy)
  const text = said !== undefined && 'text' in said && said.text !== '' ? said.text : null
  return { quoted: { waMessageId: messageId(context.stanzaId), author, text }, mentions }
}

/** With what votes on this poll can be opened; null for what is no poll. */
export function pollSecretOf(whole: proto.IMessage, content: proto.IMessage): Uint8Array | null {
  if (pollOf(content) === undefined) return null
  const secret = content.messageContextInfo?.messageSecret ?? whole.messageContextInfo?.messageSecret
  return secret instanceof Uint8Array && secret.length === 32 ? secret : null
}

export function encryptedVoteOf(content: proto.IMessage): EncryptedVote | null {
  const { encPayload, encIv } = content.pollUpdateMessage?.vote ?? {}
  return encPayload instanceof Uint8Array && encIv instanceof Uint8Array
    ? { payload: encPayload, iv: encIv }
    : null
}

/** An id that a sender chose, as it is kept: PostgreSQL takes no NUL, and no app makes ids longer than this. */
export function messageId(id: string): WaMessageId {
  return cut(id, MAX_ID).replaceAll('\0', '\uFFFD') as WaMessageId
}

/** At most `max` characters, never half of one. */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text
  const last = text.charCodeAt(max - 1)
  return text.slice(0, last >= 0xd8_00 && last <= 0xdb_ff ? max - 1 : max)
}

function mediaOf(content: proto.IMessage): InboundContent | undefined {
  const { imageMessage, audioMessage, documentMessage, stickerMessage } = content
  const videoMessage = content.videoMessage ?? content.ptvMessage
  if (imageMessage) return fileOf('image', imageMessage)
  if (videoMessage) return fileOf('video', videoMessage)
  if (audioMessage) return fileOf(audioMessage.ptt ? 'voice' : 'audio', audioMessage)
  if (documentMessage) return fileOf('document', documentMessage)
  if (stickerMessage) return fileOf('sticker', stickerMessage)
  return undefined
}

interface FileFields {
  readonly mimetype?: string | null
  readonly fileName?: string | null
  readonly title?: string | null
  readonly caption?: string | null
  readonly fileLength?: unknown
  readonly seconds?: number | null
  readonly directPath?: string | null
  readonly mediaKey?: Uint8Array | null
  readonly fileSha256?: Uint8Array | null
  readonly fileEncSha256?: Uint8Array | null
}

function fileOf(type: MediaReference['type'], fields: FileFields): InboundContent {
  const { directPath } = fields
  return {
    kind: 'media',
    media: {
      type,
      mimeType: name(fields.mimetype),
      fileName: name(fields.fileName ?? fields.title),
      sizeBytes: amount(fields.fileLength),
      seconds: amount(fields.seconds),
      // A path that was cut would fetch something else.
      directPath: isText(directPath) && directPath.length <= MAX_NAME ? directPath : null,
      mediaKey: base64(fields.mediaKey),
      encryptedSha256: base64(fields.fileEncSha256),
      sha256: base64(fields.fileSha256),
    },
    text: isText(fields.caption) ? cut(fields.caption, MAX_TEXT) : null,
  }
}

function locationOf(
  place: proto.Message.ILocationMessage & proto.Message.ILiveLocationMessage,
  live: boolean,
): InboundContent {
  const text = place.comment ?? place.caption
  return {
    kind: 'location',
    latitude: degrees(place.degreesLatitude, 90),
    longitude: degrees(place.degreesLongitude, 180),
    name: name(place.name),
    address: name(place.address),
    live: live || place.isLive === true,
    text: isText(text) ? cut(text, MAX_TEXT) : null,
  }
}

function cardOf(card: proto.Message.IContactMessage): ContactCard {
  return { name: name(card.displayName), vcard: isText(card.vcard) ? cut(card.vcard, MAX_VCARD) : null }
}

function pollOf(content: proto.IMessage): proto.Message.IPollCreationMessage | undefined {
  return (
    content.pollCreationMessage ??
    content.pollCreationMessageV2 ??
    content.pollCreationMessageV3 ??
    content.pollCreationMessageV5 ??
    undefined
  )
}

function answerOf(content: proto.IMessage): InboundContent | undefined {
  const answer = (
    of: Extract<InboundContent, { kind: 'answer' }>['of'],
    choiceId: string | null | undefined,
    text: string | null | undefined,
  ): InboundContent => ({
    kind: 'answer',
    of,
    choiceId: cut(choiceId ?? '', MAX_NAME),
    text: cut(text ?? '', MAX_NAME),
  })
  const button = content.buttonsResponseMessage
  if (button) return answer('buttons', button.selectedButtonId, button.selectedDisplayText)
  const list = content.listResponseMessage
  if (list) return answer('list', list.singleSelectReply?.selectedRowId, list.title)
  const template = content.templateButtonReplyMessage
  if (template) return answer('template', template.selectedId, template.selectedDisplayText)
  const flow = content.interactiveResponseMessage
  if (flow) return answer('flow', flowChoice(flow.nativeFlowResponseMessage), flow.body?.text)
  return undefined
}

/** The id inside the answer's JSON where it has one, else the name of the flow. */
function flowChoice(
  response: proto.Message.InteractiveResponseMessage.INativeFlowResponseMessage | null | undefined,
): string {
  try {
    const id: unknown = Reflect.get(Object(JSON.parse(response?.paramsJson ?? '')), 'id')
    if (isText(id)) return id
  } catch {
    // Not JSON: the name must do.
  }
  return response?.name ?? ''
}

/** Edits and deletions; undefined for every other arrangement, and for what is none. */
function arrangementOf(content: proto.IMessage, seenBy: Perspective): InboundContent | undefined {
  const { Type } = proto.Message.ProtocolMessage
  const message = content.protocolMessage
  if (message?.type === Type.REVOKE) return { kind: 'delete', target: keyOf(message.key, seenBy) }
  if (message?.type !== Type.MESSAGE_EDIT) return undefined
  const edited = message.editedMessage ? unwrap(message.editedMessage) : undefined
  const said = edited === undefined ? undefined : translateContent(edited, seenBy)
  const text = said !== undefined && 'text' in said ? said.text : null
  // Nobody can edit what somebody else wrote, whatever the key says.
  return { kind: 'edit', target: { ...keyOf(message.key, seenBy), author: seenBy.author }, text }
}

/** Parts that travel with messages, or announce some, and are none by themselves. */
const PARTS: ReadonlySet<string> = new Set([
  'protocolMessage',
  'senderKeyDistributionMessage',
  'fastRatchetKeySenderKeyDistributionMessage',
  'messageContextInfo',
  // Says that an album of so many pictures follows.
  'albumMessage',
])

function otherOf(content: proto.IMessage): InboundContent | undefined {
  const found = Object.entries(content).find(
    ([part, value]) => value !== null && value !== undefined && !PARTS.has(part),
  )
  if (found === undefined) return undefined
  const [part, value] = found as [string, unknown]
  // A text without a letter in it.
  if (part === 'conversation' || part === 'extendedTextMessage') return { kind: 'text', text: '' }
  return { kind: 'other', name: part, text: wordsIn(value) }
}

/** Where kinds of messages that we do not know more of keep what a person reads. */
const WORDS = ['text', 'caption', 'contentText', 'description', 'message', 'name', 'title'] as const

function wordsIn(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return null
  const body: unknown = Reflect.get(value, 'body')
  for (const holder of [value, body]) {
    if (typeof holder !== 'object' || holder === null) continue
    for (const field of WORDS) {
      const words: unknown = Reflect.get(holder, field)
      if (isText(words)) return cut(words, MAX_TEXT)
    }
  }
  return null
}

function keyOf(key: proto.IMessageKey | null | undefined, seenBy: Perspective): MessageKey {
  const { chat, author, fromMe } = seenBy
  // In a 1:1 chat nobody deletes or edits another's message, and keys are told from where their author stands.
  const whose = isText(key?.participant)
    ? toChat(cut(key.participant, MAX_ID))
    : (key?.fromMe ?? false)
      ? author
      : chat.endsWith('@g.us') && !fromMe
        ? chat
        : otherSide(seenBy)
  return { waMessageId: messageId(key?.id ?? ''), author: whose }
}

/** Whom the author writes to, in a 1:1 chat. */
function otherSide({ chat, fromMe, own }: Perspective): ChatId {
  return fromMe ? chat : own
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function name(value: string | null | undefined): string | null {
  return isText(value) ? cut(value, MAX_NAME) : null
}

function items<T>(list: readonly T[] | null | undefined): readonly T[] {
  return (list ?? []).slice(0, MAX_ITEMS)
}

function count(value: number | null | undefined): number {
  return Number.isSafeInteger(value) && (value ?? 0) > 0 ? (value ?? 0) : 0
}

/** A size or a length: null when none is told, or none that can be. */
function amount(value: unknown): number | null {
  if (value === null || value === undefined) return null
  const number = Number(value)
  return Number.isSafeInteger(number) && number >= 0 ? number : null
}

function degrees(value: number | null | undefined, most: number): number {
  return Number.isFinite(value) ? Math.max(-most, Math.min(most, value ?? 0)) : 0
}

function base64(bytes: Uint8Array | null | undefined): string | null {
  if (!(bytes instanceof Uint8Array) || bytes.length === 0 || bytes.length > MAX_KEY_BYTES) return null
  return Buffer.from(bytes).toString('base64')
}
