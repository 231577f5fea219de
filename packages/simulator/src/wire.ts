/**
 * The only file that imports Baileys: its binary XML codec, its protobufs and its app-state patch coder. Everything
 * else of the simulator, Signal and Noise included, is our own, so that a client is tested against an independent
 * implementation. If a future Baileys hides one of these exports, this is the file to change.
 */
import {
  binaryNodeToString,
  decodeBinaryNode,
  decodeSyncdPatch,
  encodeBinaryNode,
  encodeSyncdPatch,
  newLTHashState,
  proto,
  WA_CERT_DETAILS,
  type ChatMutation,
  type LTHashState,
  type WAPatchCreate,
  type WAPatchName,
} from 'baileys'

/** A WhatsApp stanza, decoded. Attribute values are always text; JIDs are written `user:device@server`. */
export interface Stanza {
  tag: string
  attrs: Record<string, string>
  content?: Stanza[] | string | Uint8Array
}

/** The sender of everything the server says itself: a JID with an empty user. `s.whatsapp.net` alone is another JID. */
export const SERVER = '@s.whatsapp.net'

export type Attributes = Readonly<Record<string, string | number | undefined>>
export type Content = Stanza[] | string | Uint8Array | undefined

/** Builds a stanza; attributes and content that are undefined are left out. */
export function el(tag: string, attrs: Attributes = {}, content?: Content): Stanza {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(attrs)) if (value !== undefined) kept[name] = String(value)
  return content === undefined ? { tag, attrs: kept } : { tag, attrs: kept, content }
}

export function children(node: Stanza | undefined, tag?: string): Stanza[] {
  const content = node?.content
  if (!Array.isArray(content)) return []
  return tag === undefined ? content : content.filter((item) => item.tag === tag)
}

export function child(node: Stanza | undefined, tag: string): Stanza | undefined {
  const content = node?.content
  return Array.isArray(content) ? content.find((item) => item.tag === tag) : undefined
}

/** The node's own bytes, or those of its child `tag`; undefined when it holds none. */
export function bytesOf(node: Stanza | undefined, tag?: string): Buffer | undefined {
  const content = (tag === undefined ? node : child(node, tag))?.content
  if (typeof content === 'string') return Buffer.from(content)
  if (content instanceof Uint8Array)
    return Buffer.from(content.buffer, content.byteOffset, content.byteLength)
  return undefined
}

/** A big-endian unsigned integer in the child `tag`. */
export function uintOf(node: Stanza | undefined, tag: string): number | undefined {
  const bytes = bytesOf(node, tag)
  if (bytes === undefined || bytes.length === 0 || bytes.length > 6) return undefined
  return bytes.readUIntBE(0, bytes.length)
}

export function uintBytes(value: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  bytes.writeUIntBE(value, 0, length)
  return bytes
}

/** The frame body of a stanza: a zero flag byte (no compression) and the binary XML. */
export function encodeStanza(node: Stanza): Buffer {
  return encodeBinaryNode(node)
}

export async function decodeStanza(body: Buffer): Promise<Stanza> {
  return await decodeBinaryNode(body)
}

/** Readable XML for error messages. */
export function stanzaText(node: Stanza): string {
  return binaryNodeToString(node)
}

/** The key every Baileys of this process trusts as WhatsApp's root; process-wide, so whoever sets it restores it. */
export function trustedRootKey(): Buffer {
  return Buffer.from(WA_CERT_DETAILS.PUBLIC_KEY)
}

export function setTrustedRootKey(publicKey: Uint8Array): void {
  ;(WA_CERT_DETAILS as { PUBLIC_KEY: Buffer }).PUBLIC_KEY = Buffer.from(publicKey)
}

export { decodeSyncdPatch, encodeSyncdPatch, newLTHashState, proto }
export type { ChatMutation, LTHashState, WAPatchCreate, WAPatchName }
