import { createHash, randomBytes } from 'node:crypto'
import { decryptCbc, encryptCbc, hkdf, hmac } from './curve.ts'
import { proto } from './wire.ts'

export type MessageKind =
  | 'text'
  | 'image'
  | 'video'
  | 'audio'
  | 'document'
  | 'sticker'
  | 'reaction'
  | 'location'
  | 'contact'
  | 'poll'
  | 'protocol'
  | 'other'

/** A file inside a message; its bytes lie encrypted on the media host. */
export interface MediaReference {
  readonly mimetype: string
  readonly fileName: string | undefined
  readonly fileBytes: number
  readonly path: string
  readonly mediaKey: Buffer
}

export interface ReadContent {
  readonly kind: MessageKind
  /** Words a person would see: text, caption, reaction; empty when there are none. */
  readonly text: string
  readonly media: MediaReference | undefined
}

/** A random number of 1 to 16 bytes, each saying how many. */
export function pad(content: Uint8Array): Buffer {
  const length = 1 + ((randomBytes(1)[0] ?? 0) & 15)
  return Buffer.concat([content, Buffer.alloc(length, length)])
}

/** @throws RangeError when the padding is impossible */
export function unpad(padded: Buffer): Buffer {
  const length = padded.at(-1) ?? 0
  if (length < 1 || length > 16 || length > padded.length) throw new RangeError('impossible padding')
  return padded.subarray(0, padded.length - length)
}

export function textMessage(text: string): proto.IMessage {
  return { conversation: text }
}

/** What a phone would show of a message, wrappers removed. */
export function readContent(message: proto.IMessage): ReadContent {
  const inner =
    message.ephemeralMessage?.message ??
    message.viewOnceMessage?.message ??
    message.viewOnceMessageV2?.message ??
    message.documentWithCaptionMessage?.message ??
    message.editedMessage?.message
  if (inner) return readContent(inner)
  if (message.conversation) return plain('text', message.conversation)
  if (message.extendedTextMessage) return plain('text', message.extendedTextMessage.text ?? '')
  if (message.imageMessage) return withMedia('image', message.imageMessage)
  if (message.videoMessage) return withMedia('video', message.videoMessage)
  if (message.audioMessage) return withMedia('audio', message.audioMessage)
  if (message.documentMessage) return withMedia('document', message.documentMessage)
  if (message.stickerMessage) return withMedia('sticker', message.stickerMessage)
  if (message.reactionMessage) return plain('reaction', message.reactionMessage.text ?? '')
  if (message.locationMessage) return plain('location', message.locationMessage.name ?? '')
  if (message.contactMessage) return plain('contact', message.contactMessage.displayName ?? '')
  const poll = message.pollCreationMessage ?? message.pollCreationMessageV2 ?? message.pollCreationMessageV3
  if (poll) return plain('poll', poll.name ?? '')
  if (message.protocolMessage) return plain('protocol', '')
  return plain('other', '')
}

function plain(kind: MessageKind, text: string): ReadContent {
  return { kind, text, media: undefined }
}

interface MediaFields {
  readonly caption?: string | null
  readonly mimetype?: string | null
  readonly fileName?: string | null
  readonly fileLength?: unknown
  readonly directPath?: string | null
  readonly mediaKey?: Uint8Array | null
}

function withMedia(kind: MessageKind, fields: MediaFields): ReadContent {
  return {
    kind,
    text: fields.caption ?? '',
    media: {
      mimetype: fields.mimetype ?? 'application/octet-stream',
      fileName: fields.fileName ?? undefined,
      fileBytes: Number(fields.fileLength ?? 0),
      path: fields.directPath ?? '',
      mediaKey: Buffer.from(fields.mediaKey ?? []),
    },
  }
}

/** What files are made of: those of messages, and the history a phone sends to a new device. */
type FileKind = MessageKind | 'history'

const MEDIA_INFO: Partial<Record<FileKind, string>> = {
  history: 'WhatsApp History Keys',
  image: 'WhatsApp Image Keys',
  sticker: 'WhatsApp Image Keys',
  video: 'WhatsApp Video Keys',
  audio: 'WhatsApp Audio Keys',
  document: 'WhatsApp Document Keys',
}

/** Encrypts a file as WhatsApp does: AES-CBC, then the first 10 bytes of a MAC over IV and ciphertext. */
export function sealMedia(
  kind: FileKind,
  bytes: Uint8Array,
): {
  readonly mediaKey: Buffer
  readonly sealed: Buffer
  readonly fileSha256: Buffer
  readonly fileEncSha256: Buffer
} {
  const mediaKey = randomBytes(32)
  const { iv, cipherKey, macKey } = mediaKeys(kind, mediaKey)
  const encrypted = encryptCbc(cipherKey, iv, bytes)
  const sealed = Buffer.concat([encrypted, hmac(macKey, iv, encrypted).subarray(0, 10)])
  return { mediaKey, sealed, fileSha256: sha256(bytes), fileEncSha256: sha256(sealed) }
}

/** @throws RangeError when the MAC is wrong */
export function openMedia(kind: MessageKind, mediaKey: Buffer, sealed: Buffer): Buffer {
  const { iv, cipherKey, macKey } = mediaKeys(kind, mediaKey)
  const encrypted = sealed.subarray(0, -10)
  if (!hmac(macKey, iv, encrypted).subarray(0, 10).equals(sealed.subarray(-10))) {
    throw new RangeError('the MAC of the file is wrong')
  }
  return decryptCbc(cipherKey, iv, encrypted)
}

function mediaKeys(
  kind: FileKind,
  mediaKey: Buffer,
): { readonly iv: Buffer; readonly cipherKey: Buffer; readonly macKey: Buffer } {
  const info = MEDIA_INFO[kind]
  if (info === undefined) throw new RangeError(`a message of kind ${kind} has no file`)
  const keys = hkdf(mediaKey, 112, { info })
  return { iv: keys.subarray(0, 16), cipherKey: keys.subarray(16, 48), macKey: keys.subarray(48, 80) }
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
