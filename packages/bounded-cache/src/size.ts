/*
 * How much memory an entry takes, in bytes. Exact to a few percent for strings and buffers; for objects a bounded walk.
 * Measured on Node 24 x64 against heap and external memory per entry (`test/memory.test.ts` holds the accuracy):
 * within ±12 % for the value classes of a WhatsApp session.
 */

/**
 * Charged for each entry beside key and value: 64 of the slab, and its part of the heads of the index, 8 to 12 while
 * entries come and up to 27 while they go (`npm run bench:cache` measures 72–79 in a full cache).
 */
export const ENTRY_OVERHEAD_BYTES = 88
/** Of a key beside one for each of its units. */
export const KEY_BYTES = 16

/** Values looked at in one estimate: bounds its cost at a few microseconds. */
const MAX_NODES = 96
/** Elements of a long array looked at; the rest is taken to be like them. */
const MAX_ELEMENTS = 16
const MAX_DEPTH = 12

const OBJECT_BYTES = 24
const SLOT_BYTES = 8
const HEAP_NUMBER_BYTES = 16
const STRING_HEADER_BYTES = 16
const ARRAY_BYTES = 32
/** JSArrayBuffer, its view and the backing store's book-keeping. */
const TYPED_ARRAY_BYTES = 216
/** Per element of a Map or Set beside its key and value. */
const HASH_ENTRY_BYTES = 36

interface Walk {
  nodes: number
  readonly seen: Set<object>
}

/** Bytes that keeping `value` costs, its own parts included. Never throws, also not for proxies or getters that do. */
export function estimateBytes(value: unknown): number {
  if (typeof value === 'string') return stringBytes(value)
  if (typeof value !== 'object' || value === null) return primitiveBytes(value)
  if (ArrayBuffer.isView(value)) return TYPED_ARRAY_BYTES + value.byteLength
  try {
    return objectBytes(value, { nodes: 0, seen: new Set() }, 0)
  } catch {
    // A value that cannot be read can still be kept; it is charged as a large object.
    return 1024
  }
}

/** Of a string as V8 keeps it: one byte a unit, two when it has any beyond Latin-1. */
function stringBytes(text: string): number {
  const { length } = text
  const units = isWide(text) ? length * 2 : length
  return STRING_HEADER_BYTES + ((units + 7) & ~7)
}

/** Looks at up to 64 units spread over the text, and so errs on a long text with few wide ones. */
function isWide(text: string): boolean {
  const { length } = text
  const step = length <= 64 ? 1 : length >> 6
  for (let at = 0; at < length; at += step) if (text.charCodeAt(at) > 0xff) return true
  return false
}

function primitiveBytes(value: unknown): number {
  switch (typeof value) {
    case 'number':
      return Number.isInteger(value) && Math.abs(value) < 2 ** 31 ? 0 : HEAP_NUMBER_BYTES
    case 'bigint':
      return HEAP_NUMBER_BYTES + 8
    case 'function':
      return 64
    default:
      return 0
  }
}

function partBytes(value: unknown, walk: Walk, depth: number): number {
  if (typeof value === 'string') return stringBytes(value)
  if (typeof value !== 'object' || value === null) return primitiveBytes(value)
  if (ArrayBuffer.isView(value)) return TYPED_ARRAY_BYTES + value.byteLength
  return objectBytes(value, walk, depth)
}

function objectBytes(value: object, walk: Walk, depth: number): number {
  if (walk.seen.has(value) || depth > MAX_DEPTH) return 0
  walk.seen.add(value)
  walk.nodes++
  if (Array.isArray(value))
    return ARRAY_BYTES + value.length * SLOT_BYTES + elementBytes(value, value.length, walk, depth)
  if (value instanceof ArrayBuffer) return TYPED_ARRAY_BYTES + value.byteLength
  if (value instanceof Map) {
    return (
      96 +
      value.size * (HASH_ENTRY_BYTES + SLOT_BYTES) +
      elementBytes(flatten(value), value.size * 2, walk, depth)
    )
  }
  if (value instanceof Set)
    return 96 + value.size * HASH_ENTRY_BYTES + elementBytes(value, value.size, walk, depth)
  if (value instanceof Date) return 40
  return propertyBytes(value, walk, depth)
}

function propertyBytes(value: object, walk: Walk, depth: number): number {
  const keys = Object.keys(value)
  // Objects with many properties are dictionaries, whose entries take three slots and whose keys are their own.
  const isDictionary = keys.length > 64
  let bytes = OBJECT_BYTES + keys.length * (isDictionary ? SLOT_BYTES * 6 : SLOT_BYTES)
  let looked = 0
  let parts = 0
  for (const key of keys) {
    if (walk.nodes > MAX_NODES || looked >= MAX_NODES) break
    looked++
    parts += partBytes((value as Record<string, unknown>)[key], walk, depth + 1)
    // Names that look like ids are not shared by other objects.
    if (isDictionary || /[^a-zA-Z_]/.test(key)) parts += stringBytes(key)
  }
  if (looked > 0) bytes += (parts / looked) * keys.length
  return Math.round(bytes)
}

function elementBytes(elements: Iterable<unknown>, count: number, walk: Walk, depth: number): number {
  let looked = 0
  let bytes = 0
  for (const element of elements) {
    if (looked >= MAX_ELEMENTS || walk.nodes > MAX_NODES) break
    looked++
    bytes += partBytes(element, walk, depth + 1)
  }
  return looked === 0 ? 0 : Math.round((bytes / looked) * count)
}

function* flatten(map: ReadonlyMap<unknown, unknown>): Iterable<unknown> {
  for (const [key, value] of map) {
    yield key
    yield value
  }
}

/** Node allocates Buffers below half of this from shared slabs; keeping one keeps its whole slab. */
const POOLED_BELOW = 32_768
/** V8 keeps typed arrays up to this on its heap; touching `.buffer` of such a one would move it off. */
const ON_HEAP_UP_TO = 64

/**
 * What may be kept of `value`: itself, or a copy when it is a view that would pin a larger buffer (a 33-byte slice of
 * an 8 KB frame keeps 8 KB, a small Buffer keeps its 64 KB slab).
 */
export function withoutPinning<Value>(value: Value): Value {
  if (!(value instanceof Uint8Array)) return value
  if (Buffer.isBuffer(value)) {
    if (value.byteLength >= POOLED_BELOW && value.byteLength * 2 >= value.buffer.byteLength) return value
    if (value.byteOffset === 0 && value.byteLength === value.buffer.byteLength) return value
    const copy = Buffer.allocUnsafeSlow(value.byteLength)
    copy.set(value)
    return copy as unknown as Value
  }
  if (value.byteOffset === 0 && value.byteLength <= ON_HEAP_UP_TO) return value
  if (value.byteLength * 2 >= value.buffer.byteLength) return value
  return Uint8Array.from(value) as unknown as Value
}
