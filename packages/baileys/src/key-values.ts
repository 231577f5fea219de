import { BufferJSON, proto, type SignalDataTypeMap } from 'baileys'
import { pruneSession } from './prune-session.ts'

/** Above this many devices a group's record of who has its sender key is begun anew: they are sent the key again. */
const MAX_SENDER_KEY_DEVICES = 5_000

/** Chats with a trusted-contact token that are looked at when old tokens are pruned; 28 days of the newest. */
const MAX_TOKEN_INDEX = 10_000

/** Upstream's key of the list of those chats, among the tokens themselves. */
const TOKEN_INDEX_ID = '__index'

/**
 * Key types that no cache keeps: app state is rewritten whole at each patch (1.8 MB of objects at 5,000 entries) and
 * read seldom, a pre-key is read once.
 */
export const UNCACHED_KEY_TYPES: ReadonlySet<string> = new Set([
  'pre-key',
  'app-state-sync-version',
  'app-state-sync-key',
])

/**
 * A key without what grows for ever: session records keep 5 closed chains and 8 closed sessions, a group's record of
 * devices is begun anew above 5,000, the index of tokens keeps the newest 10,000.
 */
export function pruneKey(type: string, id: string, value: unknown): unknown {
  switch (type) {
    case 'session':
      return pruneSession(value)
    case 'sender-key-memory':
      return isRecord(value) && Object.keys(value).length > MAX_SENDER_KEY_DEVICES ? {} : value
    case 'tctoken':
      return id === TOKEN_INDEX_ID ? trimTokenIndex(value) : value
    default:
      return value
  }
}

/** A key as JSON, pruned. Its length is its size: one byte a character. */
export function serialiseKey(type: string, id: string, value: unknown): string {
  const pruned = pruneKey(type, id, value)
  // Sessions are plain JSON in libsignal's own form; everything else may hold bytes.
  return type === 'session' ? JSON.stringify(pruned) : JSON.stringify(pruned, BufferJSON.replacer)
}

/** A fresh copy each time: Baileys changes what it gets. */
export function parseKey<Type extends keyof SignalDataTypeMap>(
  type: Type,
  json: string,
): SignalDataTypeMap[Type] {
  // A reviver is called for every value of the object: for a session that costs more than the rest of a send's reads.
  const value: unknown = type === 'session' ? JSON.parse(json) : JSON.parse(json, BufferJSON.reviver)
  // The one type that must be a protobuf object again.
  if (type === 'app-state-sync-key') {
    return proto.Message.AppStateSyncKeyData.fromObject(value as object) as unknown as SignalDataTypeMap[Type]
  }
  return value as SignalDataTypeMap[Type]
}

/** Upstream appends to it and writes it whole for each new chat; the oldest stand first. */
function trimTokenIndex(value: unknown): unknown {
  if (!isRecord(value) || !(value['token'] instanceof Uint8Array)) return value
  let jids: unknown
  try {
    jids = JSON.parse(Buffer.from(value['token']).toString())
  } catch {
    return value
  }
  if (!Array.isArray(jids) || jids.length <= MAX_TOKEN_INDEX) return value
  return { ...value, token: Buffer.from(JSON.stringify(jids.slice(-MAX_TOKEN_INDEX))) }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}
