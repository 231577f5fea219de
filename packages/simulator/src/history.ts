import { createHash, randomBytes } from 'node:crypto'
import { deflateSync, createDeflate } from 'node:zlib'
import { EclusaError } from '@eclusa/kernel'
import { sealMedia } from './message-content.ts'
import { simulatorErrors } from './simulator-errors.ts'
import { proto } from './wire.ts'
import type { World } from './world.ts'

/** What a hostile or broken phone sends instead of a history; each as WhatsApp's servers would pass it on. */
const HOSTILE_HISTORIES = ['bomb', 'truncated', 'garbage', 'altered', 'missing'] as const
export type HostileHistory = (typeof HOSTILE_HISTORIES)[number]

/** A made-up history: chats with people who do not exist, and the messages in them. */
export interface HistoryOptions {
  /** Default 10, at most 20,000. */
  readonly chats?: number
  /** In each chat. Default 10; at most 200,000 messages in all. */
  readonly messagesPerChat?: number
  /** Length of each text. Default 40, at most 64 KiB. */
  readonly textBytes?: number
  /** Makes every message an image with a media key and a thumbnail of this size. Default 0: texts. */
  readonly thumbnailBytes?: number
  /** Notifications the chats are spread over: the first is the initial bootstrap, the others are recent. Default 1. */
  readonly chunks?: number
  /** `inline`: inside the notification; `file`: on the media host. Default: inline up to 64 KiB compressed. */
  readonly delivery?: 'inline' | 'file'
  /**
   * Instead of the last chunk: `bomb` inflates to `bombBytes`, `truncated` ends in the middle, `garbage` inflates to
   * what is no history, `altered` fails its MAC on the media host, `missing` is not there.
   */
  readonly hostile?: HostileHistory
  /** Default 200 MiB, at most 1 GiB. */
  readonly bombBytes?: number
}

/** What was sent to each linked device. */
export interface SentHistory {
  readonly notifications: number
  readonly chats: number
  readonly messages: number
  readonly compressedBytes: number
  readonly inflatedBytes: number
}

const INLINE_BYTES = 64 * 1024
/** A noise frame holds 16 MiB. */
const MAX_INLINE_BYTES = 8 * 1024 * 1024
const MAX_CHATS = 20_000
const MAX_MESSAGES = 200_000
const MAX_CHUNKS = 100
const MAX_TEXT_BYTES = 64 * 1024
const MAX_BOMB_BYTES = 1024 * 1024 * 1024
const DEFAULT_BOMB_BYTES = 200 * 1024 * 1024
const ZEROS = Buffer.alloc(1024 * 1024)

/** A chunk as it lies on the wire, compressed. */
interface Chunk {
  readonly notification: proto.Message.IHistorySyncNotification
  readonly compressed: Buffer
  readonly inflatedBytes: number
}

/**
 * The notifications of a made-up history, files put on the media host. The same numbers make the same chats, so a
 * history sent twice is the same history.
 * @throws SIMULATOR_BAD_INPUT naming the field
 */
export async function makeHistory(
  world: World,
  options: HistoryOptions,
): Promise<{
  readonly notifications: readonly proto.Message.IHistorySyncNotification[]
  readonly sent: SentHistory
}> {
  const o = checked(options)
  const notifications: proto.Message.IHistorySyncNotification[] = []
  let compressedBytes = 0
  let inflatedBytes = 0
  const nowSec = Math.floor(world.clock.now() / 1000)
  for (let order = 1; order <= o.chunks; order++) {
    const last = order === o.chunks
    const chunk = await makeChunk(o, order, nowSec, last ? o.hostile : undefined)
    compressedBytes += chunk.compressed.length
    inflatedBytes += chunk.inflatedBytes
    const delivery = o.delivery ?? (chunk.compressed.length <= INLINE_BYTES ? 'inline' : 'file')
    const byFile = delivery === 'file' || o.hostile === 'altered' || o.hostile === 'missing'
    notifications.push(
      byFile
        ? await asFile(world, chunk, last ? o.hostile : undefined)
        : asInline(chunk, o.delivery === 'inline' ? MAX_INLINE_BYTES : INLINE_BYTES),
    )
  }
  const { chats, messagesPerChat } = o
  return {
    notifications,
    sent: {
      notifications: notifications.length,
      chats,
      messages: chats * messagesPerChat,
      compressedBytes,
      inflatedBytes,
    },
  }
}

type CheckedOptions = Required<Omit<HistoryOptions, 'delivery' | 'hostile'>> & {
  readonly delivery: 'inline' | 'file' | undefined
  readonly hostile: HostileHistory | undefined
}

function checked(options: HistoryOptions): CheckedOptions {
  const whole = (
    field: Exclude<keyof HistoryOptions, 'delivery' | 'hostile'>,
    fallback: number,
    min: number,
    max: number,
  ): number => {
    const value = options[field] ?? fallback
    if (!Number.isInteger(value) || value < min || value > max)
      throw bad(field, `must be a whole number from ${min} to ${max}`)
    return value
  }
  const chats = whole('chats', 10, 0, MAX_CHATS)
  const messagesPerChat = whole('messagesPerChat', 10, 0, MAX_MESSAGES)
  if (chats * messagesPerChat > MAX_MESSAGES)
    throw bad('messagesPerChat', `makes more than ${MAX_MESSAGES} messages in all`)
  const { delivery, hostile } = options
  if (delivery !== undefined && delivery !== 'inline' && delivery !== 'file')
    throw bad('delivery', 'must be "inline" or "file"')
  if (hostile !== undefined && !HOSTILE_HISTORIES.includes(hostile))
    throw bad('hostile', `must be one of ${HOSTILE_HISTORIES.join(', ')}`)
  return {
    chats,
    messagesPerChat,
    textBytes: whole('textBytes', 40, 1, MAX_TEXT_BYTES),
    thumbnailBytes: whole('thumbnailBytes', 0, 0, MAX_TEXT_BYTES),
    chunks: whole('chunks', 1, 1, MAX_CHUNKS),
    bombBytes: whole('bombBytes', DEFAULT_BOMB_BYTES, 1, MAX_BOMB_BYTES),
    delivery,
    hostile,
  }
}

async function makeChunk(
  o: CheckedOptions,
  order: number,
  nowSec: number,
  hostile: HostileHistory | undefined,
): Promise<Chunk> {
  const { HistorySyncType } = proto.HistorySync
  const syncType = order === 1 ? HistorySyncType.INITIAL_BOOTSTRAP : HistorySyncType.RECENT
  const progress = Math.round((100 * order) / o.chunks)
  // Chat i stands in chunk i modulo chunks.
  const chats = Array.from({ length: o.chats }, (_, i) => i).filter((i) => i % o.chunks === order - 1)
  const encoded = Buffer.from(
    proto.HistorySync.encode({
      syncType,
      progress,
      chunkOrder: order,
      conversations: chats.map((chat) => conversation(o, chat, nowSec)),
      pushnames: chats.map((chat) => ({ id: historyChat(chat).jid, pushname: `Person ${chat}` })),
      phoneNumberToLidMappings: chats.map((chat) => ({
        pnJid: historyChat(chat).jid,
        lidJid: historyChat(chat).lid,
      })),
    }).finish(),
  )
  const notification = {
    syncType: syncType as number as proto.Message.HistorySyncType,
    progress,
    chunkOrder: order,
  }
  switch (hostile) {
    case 'bomb':
      return { notification, ...(await bomb(encoded, o.bombBytes)) }
    case 'truncated': {
      const whole = deflateSync(encoded)
      return {
        notification,
        compressed: whole.subarray(0, Math.floor(whole.length / 2)),
        inflatedBytes: encoded.length,
      }
    }
    case 'garbage': {
      const noise = Buffer.concat([Buffer.from([0x0f, 0xff]), randomBytes(1024)])
      return { notification, compressed: deflateSync(noise), inflatedBytes: noise.length }
    }
    default:
      // The others are broken on the media host.
      return { notification, compressed: deflateSync(encoded), inflatedBytes: encoded.length }
  }
}

/** Person `index` of every made-up history. */
export function historyChat(index: number): { readonly jid: string; readonly lid: string } {
  const digits = String(index).padStart(8, '0')
  return { jid: `55319${digits}@s.whatsapp.net`, lid: `7319${digits}00@lid` }
}

function conversation(o: CheckedOptions, index: number, nowSec: number): proto.IConversation {
  const { jid, lid } = historyChat(index)
  const text = 'lorem ipsum '.repeat(Math.ceil(o.textBytes / 12)).slice(0, o.textBytes)
  const messages = Array.from({ length: o.messagesPerChat }, (_, place) => ({
    msgOrderId: place,
    message: {
      key: { remoteJid: jid, fromMe: place % 2 === 1, id: historyMessageId(index, place) },
      messageTimestamp: nowSec - place * 60 - index,
      message:
        o.thumbnailBytes === 0
          ? { conversation: text }
          : {
              imageMessage: {
                caption: text,
                mimetype: 'image/jpeg',
                mediaKey: randomBytes(32),
                directPath: `/v/image/${historyMessageId(index, place)}`,
                jpegThumbnail: randomBytes(o.thumbnailBytes),
              },
            },
    },
  }))
  return {
    id: jid,
    lidJid: lid,
    name: `Person ${index}`,
    unreadCount: 0,
    conversationTimestamp: nowSec - index,
    tcToken: createHash('sha256').update(jid).digest().subarray(0, 16),
    tcTokenTimestamp: nowSec,
    messages,
  }
}

/** Id of a message in a made-up history: message `place` (0 is the newest) of chat `index`. */
export function historyMessageId(index: number, place: number): string {
  return `3AFF${String(index).padStart(6, '0')}${String(place).padStart(8, '0')}`
}

/** A true history followed by a field of `bytes` zeros: a thousandth of that on the wire, and valid to the last byte. */
async function bomb(
  encoded: Buffer,
  bytes: number,
): Promise<{ readonly compressed: Buffer; readonly inflatedBytes: number }> {
  // Field 9 of HistorySync (threadIdUserSecret), length-delimited.
  const head = Buffer.from([(9 << 3) | 2, ...varint(bytes)])
  const deflate = createDeflate()
  // bounded by: MAX_BOMB_BYTES / 1,000
  const parts: Buffer[] = []
  deflate.on('data', (part: Buffer) => parts.push(part))
  const ended = new Promise<void>((resolve, reject) => {
    deflate.once('end', resolve)
    deflate.once('error', reject)
  })
  deflate.write(encoded)
  deflate.write(head)
  for (let left = bytes; left > 0; left -= ZEROS.length) {
    const fits = deflate.write(left >= ZEROS.length ? ZEROS : ZEROS.subarray(0, left))
    if (!fits) await new Promise((drained) => deflate.once('drain', drained))
  }
  deflate.end()
  await ended
  return { compressed: Buffer.concat(parts), inflatedBytes: encoded.length + head.length + bytes }
}

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  while (rest > 127) {
    bytes.push((rest & 127) | 128)
    rest >>>= 7
  }
  bytes.push(rest)
  return bytes
}

function asInline(
  { notification, compressed }: Chunk,
  maxBytes: number,
): proto.Message.IHistorySyncNotification {
  if (compressed.length > maxBytes)
    throw bad('delivery', `cannot be inline: a chunk has ${compressed.length} bytes, ${maxBytes} fit`)
  return { ...notification, initialHistBootstrapInlinePayload: compressed }
}

async function asFile(
  world: World,
  { notification, compressed }: Chunk,
  hostile: HostileHistory | undefined,
): Promise<proto.Message.IHistorySyncNotification> {
  await world.media.host()
  const { mediaKey, sealed, fileSha256, fileEncSha256 } = sealMedia('history', compressed)
  const name = fileEncSha256.toString('base64url')
  // A flipped bit of the MAC, or a file that is long gone.
  if (hostile === 'altered') sealed[sealed.length - 1] = (sealed.at(-1) ?? 0) ^ 1
  const directPath =
    hostile === 'missing' ? `/v/md-msg-hist/${name}` : world.media.put('md-msg-hist', name, sealed)
  return { ...notification, mediaKey, fileSha256, fileEncSha256, directPath, fileLength: compressed.length }
}

function bad(field: string, rule: string): EclusaError {
  return new EclusaError(simulatorErrors.BAD_INPUT, { message: `${field} ${rule}`, details: { field } })
}
