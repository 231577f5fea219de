/*
 * The records of all caches of the process, in chunks: eight integers, one double, one key, one value and one owner per
 * entry. There is no object per entry, so a full garbage collection of a million entries costs as much as one of a bare Map, and an
 * empty cache owns nothing here. A chunk whose last entry left gives its memory back.
 *
 * A slot is a position: chunk number × CHUNK + line. Links are slots, NONE ends a list. Within a chunk all values of one
 * field stand together: a read touches the links of three entries, and those of 16 entries share a line of the
 * processor's cache.
 */

const CHUNK_BITS = 12
/** Entries in a chunk: 160 KB of integers, 64 KB of keys and values. */
const CHUNK = 4096
const LINE_MASK: number = CHUNK - 1
/** Integers of a record, the last two being one double: 40 bytes. */
const WIDTH = 10

export const NONE = -1

/** Fields of a record that are integers. */
export const LRU_OLDER = 0
export const LRU_NEWER = 1
/** Seconds since the cache's own epoch. */
export const LAST_USE = 2
export const CHARGE = 3
export const DUE_PREVIOUS = 4
export const DUE_NEXT = 5
/** The second whose bucket holds the entry; NONE when it never expires. */
export const DUE_TICK = 6
const FREE_NEXT = 7

/** Where the doubles begin, which are the ends of lives: after eight integers of each entry. */
const EXPIRES_AT: number = (8 / 2) * CHUNK

interface Chunk {
  readonly integers: Int32Array
  readonly doubles: Float64Array
  readonly keys: (string | undefined)[]
  readonly values: unknown[]
  /** Which cache an entry belongs to, for what finds it from outside: the expiry. */
  readonly owners: unknown[]
  free: number
  used: number
}

// bounded by: entries of all caches / CHUNK, each cache having a cap
const chunks: (Chunk | undefined)[] = []
/** No chunk below this one has room. */
let lowestWithRoom = 0

function makeChunk(): Chunk {
  const buffer = new ArrayBuffer(CHUNK * WIDTH * 4)
  const integers = new Int32Array(buffer)
  for (let line = 0; line < CHUNK; line++) integers[at(FREE_NEXT, line)] = line + 1
  integers[at(FREE_NEXT, CHUNK - 1)] = NONE
  return {
    integers,
    doubles: new Float64Array(buffer),
    keys: Array.from<string | undefined>({ length: CHUNK }),
    values: Array.from({ length: CHUNK }),
    owners: Array.from({ length: CHUNK }),
    free: 0,
    used: 0,
  }
}

/** A slot for an entry. What its record holds is left over from before: the caller sets every field. */
export function takeSlot(key: string, value: unknown, owner: unknown): number {
  let index = lowestWithRoom
  let chunk = chunks[index]
  while (chunk !== undefined && chunk.free === NONE) chunk = chunks[++index]
  if (chunk === undefined) {
    chunk = makeChunk()
    chunks[index] = chunk
  }
  lowestWithRoom = index
  const line = chunk.free
  chunk.free = chunk.integers[at(FREE_NEXT, line)] as number
  chunk.used++
  chunk.keys[line] = key
  chunk.values[line] = value
  chunk.owners[line] = owner
  return (index << CHUNK_BITS) | line
}

export function freeSlot(slot: number): void {
  const index = slot >> CHUNK_BITS
  const chunk = chunkOf(slot)
  const line = slot & LINE_MASK
  chunk.keys[line] = undefined
  chunk.values[line] = undefined
  chunk.owners[line] = undefined
  chunk.integers[at(FREE_NEXT, line)] = chunk.free
  chunk.free = line
  chunk.used--
  if (index < lowestWithRoom) lowestWithRoom = index
  // One empty chunk is kept at the front, so that a cache that breathes around a boundary does not allocate each time.
  if (chunk.used === 0 && index !== lowestWithRoom) chunks[index] = undefined
}

function chunkOf(slot: number): Chunk {
  return chunks[slot >> CHUNK_BITS] as Chunk
}

/** Where a field of a slot stands in its chunk. */
function at(field: number, slot: number): number {
  return (field << CHUNK_BITS) | (slot & LINE_MASK)
}

export function getField(slot: number, field: number): number {
  return chunkOf(slot).integers[at(field, slot)] as number
}

export function setField(slot: number, field: number, value: number): void {
  chunkOf(slot).integers[at(field, slot)] = value
}

/** Epoch milliseconds; Infinity for never. */
export function getExpiresAt(slot: number): number {
  return chunkOf(slot).doubles[EXPIRES_AT + (slot & LINE_MASK)] as number
}

export function setExpiresAt(slot: number, at: number): void {
  chunkOf(slot).doubles[EXPIRES_AT + (slot & LINE_MASK)] = at
}

export function keyAt(slot: number): string {
  return chunkOf(slot).keys[slot & LINE_MASK] as string
}

export function valueAt(slot: number): unknown {
  return chunkOf(slot).values[slot & LINE_MASK]
}

export function ownerAt(slot: number): unknown {
  return chunkOf(slot).owners[slot & LINE_MASK]
}

/**
 * What every read does, in one go: notes the second of the use, and takes `slot` out of its place in the list and puts
 * it after `newest`. Returns the new oldest when `slot` was the oldest of several, else NONE.
 */
export function useSlot(slot: number, newest: number, second: number): number {
  const line = slot & LINE_MASK
  const { integers } = chunkOf(slot)
  integers[(LAST_USE << CHUNK_BITS) | line] = second
  if (slot === newest) return NONE
  const older = integers[(LRU_OLDER << CHUNK_BITS) | line] as number
  const newer = integers[(LRU_NEWER << CHUNK_BITS) | line] as number
  integers[(LRU_OLDER << CHUNK_BITS) | line] = newest
  integers[(LRU_NEWER << CHUNK_BITS) | line] = NONE
  setField(newer, LRU_OLDER, older)
  setField(newest, LRU_NEWER, slot)
  if (older === NONE) return newer
  setField(older, LRU_NEWER, newer)
  return NONE
}

/** Bytes the slab holds now: what the tests of "really frees memory" look at. */
export function slabBytes(): number {
  return chunks.reduce((sum, chunk) => sum + (chunk === undefined ? 0 : CHUNK * (WIDTH * 4 + 24)), 0)
}
