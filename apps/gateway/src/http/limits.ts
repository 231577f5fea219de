import { KIB, MIB } from '@eclusa/kernel'

/** What bounds the memory of the HTTP API and its event streams. */
export interface HttpLimits {
  /** Sockets at once; the next is closed by the system. */
  readonly maxConnections: number
  /** Bytes of request bodies being read or worked on at once; a request for which there is no room waits, at last GATEWAY_BUSY. */
  readonly maxBodiesBytes: number
  /** Pages and batches of event streams read, and chats or instances worked through, at once; the next waits. */
  readonly maxReads: number
  /** What all event streams together may have written without its being taken. */
  readonly maxUnsentBytes: number
}

export const defaultHttpLimits: HttpLimits = {
  maxConnections: 1000,
  maxBodiesBytes: 16 * MIB,
  maxReads: 16,
  maxUnsentBytes: 64 * MIB,
}

export const MAX_HEADER_BYTES: number = 16 * KIB
/** Sealed bytes of a page of inbound messages: it ends with the message that reaches them, whatever `limit` says. */
export const PAGE_BYTES: number = MIB
/** One event or message more than a limit of bytes: the longest text, as UTF-8. */
export const ONE_MORE_BYTES: number = 192 * KIB

/** Exports of contacts under way. */
export const MAX_EXPORTS = 4
