import { deflateSync } from 'node:zlib'
import { BoundedCache } from '@eclusa/bounded-cache'
import {
  type BaileysEventMap,
  DEFAULT_CONNECTION_CONFIG,
  jidNormalizedUser,
  proto,
  type SignalDataTypeMap,
  type UserFacingSocketConfig,
  type WASocket,
} from 'baileys'
import type { EventBufferGuard } from './event-buffer.ts'
import { HistoryError, type HistoryFailure, historyReader, MAX_INFLATED_BYTES } from './history-reader.ts'
import type { HistoryRows, HistoryToken } from './history-scan.ts'

/** Compressed, and never more than it may inflate to; a history chunk of WhatsApp has a few MB. */
const MAX_COMPRESSED_BYTES = 8 * 1024 * 1024
/** Longest wait for one history file. */
const DOWNLOAD_DEADLINE_MS = 60_000
const DEFAULT_MEDIA_HOST = 'mmg.whatsapp.net'
/** Notifications between their arrival and the moment upstream comes to them: one, in health. */
const MAX_PENDING = 8
const PENDING_MS = 60_000
/** In place of the history, upstream reads an empty one that says in this field which one it stands for. */
const MARK = 'history:'

export interface HistoryOptions {
  /** Largest inflated history that is read. Default 64 MiB. */
  readonly maxInflatedBytes?: number | undefined
  /**
   * Whether `messaging-history.set` brings chats, contacts and messages. Default true; without, histories serve only
   * what Baileys itself needs of them: LIDs and trusted-contact tokens.
   */
  readonly rows?: boolean | undefined
}

export interface HistoryStats {
  /** Read whole. */
  readonly read: number
  readonly rows: number
  readonly failed: { readonly [Reason in HistoryFailure]?: number }
}

type Notification = proto.Message.IHistorySyncNotification
type HistoryEvent = BaileysEventMap['messaging-history.set']
type Log = NonNullable<UserFacingSocketConfig['logger']>

/**
 * Histories of one socket. Upstream downloads, inflates and decodes them where everything else runs, without a limit,
 * and keeps views into them. Here upstream gets an empty history in place of each, and so goes through all its states
 * (app state included) as ever; the true one is read in a thread and told in batches of at most 200 rows.
 */
export class SocketHistory {
  readonly #options: HistoryOptions
  readonly #log: Log
  // bounded by: MAX_PENDING
  readonly #pending: BoundedCache<Notification>
  readonly #stop = new AbortController()
  readonly #failed: { [Reason in HistoryFailure]?: number } = {}
  #socket: WASocket | undefined
  #buffer: EventBufferGuard | undefined
  #fetchOptions: RequestInit = {}
  #next = 0
  #read = 0
  #rows = 0

  constructor(options: HistoryOptions, log: Log) {
    this.#options = options
    this.#log = log
    this.#pending = new BoundedCache({ name: 'pendingHistories', maxEntries: MAX_PENDING, ttlMs: PENDING_MS })
  }

  /** The caller's wish, asked with the whole notification; what it wishes is taken out of upstream's hands. */
  shouldSync(
    wish: UserFacingSocketConfig['shouldSyncHistoryMessage'],
  ): (notification: Notification) => boolean {
    const wanted = wish ?? DEFAULT_CONNECTION_CONFIG.shouldSyncHistoryMessage
    return (notification) => {
      if (!wanted(notification)) return false
      // Upstream also asks about types alone.
      if (hasContent(notification)) this.#exchange(notification)
      return true
    }
  }

  bind(socket: WASocket, buffer: EventBufferGuard, fetchOptions: RequestInit | undefined): void {
    this.#socket = socket
    this.#buffer = buffer
    this.#fetchOptions = fetchOptions ?? {}
  }

  /** Whether this is an empty history that stands for a true one, which is read from now on. */
  take(event: HistoryEvent): boolean {
    const mark = event.pastParticipants?.[0]?.groupJid
    if (mark?.startsWith(MARK) !== true) return false
    const notification = this.#pending.get(mark)
    this.#pending.delete(mark)
    if (notification !== undefined) void this.#readAndTell(notification, event)
    return true
  }

  /** What is being read is given up. */
  stop(): void {
    this.#stop.abort()
    this.#pending.dispose()
  }

  stats(): HistoryStats {
    return { read: this.#read, rows: this.#rows, failed: { ...this.#failed } }
  }

  #exchange(notification: Notification): void {
    const mark = `${MARK}${++this.#next}`
    const kept: Notification = { ...notification }
    const inline = notification.initialHistBootstrapInlinePayload
    // A copy: the original lies in the decrypted message.
    if (inline) kept.initialHistBootstrapInlinePayload = Uint8Array.from(inline)
    if (notification.mediaKey) kept.mediaKey = Uint8Array.from(notification.mediaKey)
    this.#pending.set(mark, kept)
    const empty = proto.HistorySync.encode({
      syncType: notification.syncType as number,
      progress: notification.progress ?? null,
      pastParticipants: [{ groupJid: mark }],
    }).finish()
    notification.initialHistBootstrapInlinePayload = deflateSync(empty)
  }

  async #readAndTell(notification: Notification, event: HistoryEvent): Promise<void> {
    const syncType = notification.syncType ?? 0
    try {
      await historyReader.read({
        load: () => this.#load(notification),
        syncType,
        rows: this.#options.rows !== false,
        waitingBytes: notification.initialHistBootstrapInlinePayload?.length ?? 0,
        maxInflatedBytes: this.#options.maxInflatedBytes ?? MAX_INFLATED_BYTES,
        signal: this.#stop.signal,
        take: (rows, last) => this.#tell(rows, last, event),
      })
      this.#read += 1
    } catch (error) {
      const reason: HistoryFailure = error instanceof HistoryError ? error.reason : 'damaged'
      this.#failed[reason] = (this.#failed[reason] ?? 0) + 1
      if (reason !== 'stopped') {
        const fields = { reason, syncType, error: error instanceof Error ? error.message : String(error) }
        this.#log.warn(fields, 'a history was not read; messages of before the linking may be missing')
      }
    }
  }

  async #tell(rows: HistoryRows, last: boolean, event: HistoryEvent): Promise<void> {
    const socket = this.#socket
    if (socket === undefined || this.#stop.signal.aborted) return
    const { lids, tokens, chats, contacts, messages } = rows
    if (lids.length > 0) {
      await socket.signalRepository.lidMapping
        .storeLIDPNMappings(lids)
        .catch((error: unknown) =>
          this.#log.warn({ error: String(error) }, 'LIDs of a history were not stored'),
        )
    }
    if (tokens.length > 0) {
      await storeTokens(socket, tokens).catch((error: unknown) =>
        this.#log.warn({ error: String(error) }, 'tokens of a history were not stored'),
      )
    }
    if (this.#stop.signal.aborted) return
    if (this.#options.rows !== false) {
      this.#rows += chats.length + contacts.length + messages.length
      const told: unknown = {
        chats,
        contacts,
        messages,
        lidPnMappings: lids,
        syncType: event.syncType,
        isLatest: event.isLatest,
        chunkOrder: event.chunkOrder,
        peerDataRequestSessionId: event.peerDataRequestSessionId,
        // The share of the whole that is told; said when the last of this chunk is.
        progress: last ? event.progress : null,
      }
      this.#buffer?.tellNow('messaging-history.set', told as HistoryEvent)
    }
    // Listeners and sockets get their turn between two batches.
    await new Promise((turn) => setImmediate(turn))
  }

  async #load(
    notification: Notification,
  ): Promise<{ readonly bytes: Uint8Array; readonly mediaKey: Uint8Array | undefined }> {
    const { initialHistBootstrapInlinePayload: inline, directPath, mediaKey } = notification
    if (inline && inline.length > 0) return { bytes: inline, mediaKey: undefined }
    if (!directPath || !mediaKey) throw new HistoryError('damaged', 'the notification names no file')
    const url = `https://${await this.#mediaHost()}${directPath}`
    try {
      const maxBytes = Math.min(MAX_COMPRESSED_BYTES, this.#options.maxInflatedBytes ?? MAX_INFLATED_BYTES)
      return { bytes: await download(url, this.#fetchOptions, this.#stop.signal, maxBytes), mediaKey }
    } catch (cause) {
      if (cause instanceof HistoryError) throw cause
      throw new HistoryError('not-found', cause instanceof Error ? cause.message : String(cause))
    }
  }

  async #mediaHost(): Promise<string> {
    try {
      const { hosts } = (await this.#socket?.refreshMediaConn(false)) ?? { hosts: [] }
      return hosts[0]?.hostname ?? DEFAULT_MEDIA_HOST
    } catch {
      return DEFAULT_MEDIA_HOST
    }
  }
}

function hasContent({ initialHistBootstrapInlinePayload, directPath }: Notification): boolean {
  return (initialHistBootstrapInlinePayload?.length ?? 0) > 0 || (directPath ?? '') !== ''
}

/** The file whole, up to the limit. @throws HistoryError too-large; whatever fetch throws */
async function download(
  url: string,
  options: RequestInit,
  stop: AbortSignal,
  maxBytes: number,
): Promise<Uint8Array> {
  const signal = AbortSignal.any([stop, AbortSignal.timeout(DOWNLOAD_DEADLINE_MS)])
  const response = await fetch(url, { ...options, signal })
  if (!response.ok || response.body === null) throw new Error(`the media host answered ${response.status}`)
  const announced = Number(response.headers.get('content-length') ?? 0)
  if (announced > maxBytes) throw tooLarge(maxBytes)
  let file = new Uint8Array(announced > 0 ? announced : 64 * 1024)
  let bytes = 0
  for await (const part of response.body) {
    if (bytes + part.byteLength > maxBytes) throw tooLarge(maxBytes)
    if (bytes + part.byteLength > file.byteLength) {
      const larger = new Uint8Array(Math.max(2 * file.byteLength, bytes + part.byteLength))
      larger.set(file.subarray(0, bytes))
      file = larger
    }
    file.set(part, bytes)
    bytes += part.byteLength
  }
  return bytes === file.byteLength ? file : file.slice(0, bytes)
}

function tooLarge(maxBytes: number): HistoryError {
  return new HistoryError('too-large', `the file has more than ${maxBytes} bytes`)
}

/** Newer tokens replace older ones, and the index of tokens learns of new chats. */
async function storeTokens(socket: WASocket, tokens: readonly HistoryToken[]): Promise<void> {
  const { keys } = socket.authState
  const { lidMapping } = socket.signalRepository
  const byJid = new Map<string, HistoryToken>()
  for (const token of tokens) {
    const jid = jidNormalizedUser(token.jid)
    byJid.set(jid.endsWith('@lid') ? jid : ((await lidMapping.getLIDForPN(jid)) ?? jid), token)
  }
  const known = await keys.get('tctoken', [...byJid.keys(), TOKEN_INDEX])
  const entries: Record<string, SignalDataTypeMap['tctoken']> = {}
  for (const [jid, { token, timestamp, senderTimestamp }] of byJid) {
    const old = known[jid]
    if (Number(old?.timestamp ?? 0) >= timestamp) continue
    entries[jid] = {
      ...old,
      token: Buffer.from(token),
      timestamp: String(timestamp),
      ...(senderTimestamp === undefined ? {} : { senderTimestamp }),
    }
  }
  if (Object.keys(entries).length === 0) return
  const index = new Set([...readIndex(known[TOKEN_INDEX]?.token), ...Object.keys(entries)])
  await keys.set({
    tctoken: { ...entries, [TOKEN_INDEX]: { token: Buffer.from(JSON.stringify([...index])) } },
  })
}

const TOKEN_INDEX = '__index'

function readIndex(token: Uint8Array | undefined): string[] {
  try {
    const jids: unknown = JSON.parse(Buffer.from(token ?? []).toString())
    return Array.isArray(jids) ? jids.filter((jid) => typeof jid === 'string') : []
  } catch {
    return []
  }
}
