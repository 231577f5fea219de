/*
 * The records of all caches of the process, in chunks: twelve integers, one key and one value per entry. There is no
 * object per entry, so a full garbage collection of a million entries costs as much as one of a bare Map, and an empty
 * cache owns nothing here. A chunk whose last entry left gives its memory back.
 *
 * A slot is a position: chunk number × CHUNK + line. Links are slots, NONE ends a list. Entries are met at random, and
 * what counts is how many lines of the processor's cache each takes: what is read of one entry stands together in 32
 * bytes, its key and value in 16; but the links of a list, of which a read changes those of three entries, stand apart
 * with those of others, 8 bytes each.
 */

const CHUNK_BITS = 11
/** Entries in a chunk: 96 KB of integers, 32 KB of keys and values. */
const CHUNK = 2048
const LINE_MASK: number = CHUNK - 1

export const NONE = -1

/** Fields of a record. The last two of its eight integers are one double, the end of the entry's life. */
export const HASH = 0
/** The next entry of the same bucket of its cache's index. */
export const HASH_NEXT = 1
/** Seconds since 1970. */
export const LAST_USE = 2
export const CHARGE = 3
/** The second whose bucket holds the entry; NONE when it never expires. */
export const DUE_TICK = 4
/** Which cache an entry belongs to, by its number, for what finds it from outside: the expiry. */
const OWNER = 5
/** Of a record that is free. */
const FREE_NEXT: number = HASH_NEXT
const WIDTH = 8
const EXPIRES_AT = 3
const DOUBLES: number = WIDTH / 2

/** The lists an entry stands in: where the links of all entries of a chunk begin, two integers each. */
export const BY_USE: number = CHUNK * WIDTH
export const BY_END: number = BY_USE + CHUNK * 2
const CHUNK_INTEGERS: number = BY_END + CHUNK * 2

interface Chunk {
  readonly integers: Int32Array
  readonly doubles: Float64Array
  /** Key and value of each entry in turn. */
  readonly pairs: unknown[]
  free: number
  used: number
}

// bounded by: entries of all caches / CHUNK, each cache having a cap
const chunks: (Chunk | undefined)[] = []
/** No chunk below this one has room. */
let lowestWithRoom = 0

// bounded by: caches that hold entries
const owners: unknown[] = []
// bounded by: as owners
const freeOwners: number[] = []

/** A number for what owns entries; `freeOwner` gives it back. */
export function takeOwner(owner: unknown): number {
  const number = freeOwners.pop() ?? owners.length
  owners[number] = owner
  return number
}

export function freeOwner(number: number): void {
  owners[number] = undefined
  freeOwners.push(number)
}

export function ownerAt(slot: number): unknown {
  return owners[getField(slot, OWNER)]
}

function makeChunk(): Chunk {
  const buffer = new ArrayBuffer(CHUNK_INTEGERS * 4)
  const integers = new Int32Array(buffer)
  for (let line = 0; line < CHUNK; line++) integers[line * WIDTH + FREE_NEXT] = line + 1
  integers[(CHUNK - 1) * WIDTH + FREE_NEXT] = NONE
  return {
    integers,
    doubles: new Float64Array(buffer),
    pairs: Array<unknown>(CHUNK * 2).fill(undefined),
    free: 0,
    used: 0,
  }
}

/** A slot for an entry. What its record holds is left over from before: the caller sets every field. */
export function takeSlot(key: string, value: unknown, owner: number): number {
  let index = lowestWithRoom
  let chunk = chunks[index]
  while (chunk !== undefined && chunk.free === NONE) chunk = chunks[++index]
  if (chunk === undefined) {
    chunk = makeChunk()
    chunks[index] = chunk
  }
  lowestWithRoom = index
  const line = chunk.free
  chunk.free = chunk.integers[line * WIDTH + FREE_NEXT] as number
  chunk.used++
  chunk.pairs[line * 2] = key
  chunk.pairs[line * 2 + 1] = value
  chunk.integers[line * WIDTH + OWNER] = owner
  return (index << CHUNK_BITS) | line
}

export function freeSlot(slot: number): void {
  const index = slot >> CHUNK_BITS
  const chunk = chunkOf(slot)
  const line = slot & LINE_MASK
  chunk.pairs[line * 2] = undefined
  chunk.pairs[line * 2 + 1] = undefined
  chunk.integers[line * WIDTH + FREE_NEXT] = chunk.free
  chunk.free = line
  chunk.used--
  // One empty chunk is kept, the lowest with room, so that a cache that breathes around a boundary does not allocate
  // each time.
  if (index < lowestWithRoom) {
    if (chunks[lowestWithRoom]?.used === 0) chunks[lowestWithRoom] = undefined
    lowestWithRoom = index
  }
  if (chunk.used === 0 && index !== lowestWithRoom) chunks[index] = undefined
}

function chunkOf(slot: number): Chunk {
  return chunks[slot >> CHUNK_BITS] as Chunk
}

/** Where a field of a slot stands in its chunk. */
function at(slot: number, field: number): number {
  return (slot & LINE_MASK) * WIDTH + field
}

export function getField(slot: number, field: number): number {
  return chunkOf(slot).integers[at(slot, field)] as number
}

export function setField(slot: number, field: number, value: number): void {
  chunkOf(slot).integers[at(slot, field)] = value
}

/** What stands before a slot in a list: nearer to its beginning. */
export function getBefore(slot: number, list: number): number {
  return chunkOf(slot).integers[list + (slot & LINE_MASK) * 2] as number
}

export function setBefore(slot: number, list: number, before: number): void {
  chunkOf(slot).integers[list + (slot & LINE_MASK) * 2] = before
}

export function getAfter(slot: number, list: number): number {
  return chunkOf(slot).integers[list + (slot & LINE_MASK) * 2 + 1] as number
}

export function setAfter(slot: number, list: number, after: number): void {
  chunkOf(slot).integers[list + (slot & LINE_MASK) * 2 + 1] = after
}

/** Epoch milliseconds; Infinity for never. */
export function getExpiresAt(slot: number): number {
  return chunkOf(slot).doubles[(slot & LINE_MASK) * DOUBLES + EXPIRES_AT] as number
}

export function setExpiresAt(slot: number, expiresAt: number): void {
  chunkOf(slot).doubles[(slot & LINE_MASK) * DOUBLES + EXPIRES_AT] = expiresAt
}

export function keyAt(slot: number): string {
  return chunkOf(slot).pairs[(slot & LINE_MASK) * 2] as string
}

export function valueAt(slot: number): unknown {
  return chunkOf(slot).pairs[(slot & LINE_MASK) * 2 + 1]
}

/**
 * What every read does, in one go: notes the second of the use, and takes `slot` out of its place in the list and puts
 * it after `newest`. Returns the new oldest when `slot` was the oldest of several, else NONE.
 */
export function useSlot(slot: number, newest: number, second: number): number {
  const { integers } = chunkOf(slot)
  integers[at(slot, LAST_USE)] = second
  if (slot === newest) return NONE
  const links = BY_USE + (slot & LINE_MASK) * 2
  const older = integers[links] as number
  const newer = integers[links + 1] as number
  integers[links] = newest
  integers[links + 1] = NONE
  setBefore(newer, BY_USE, older)
  setAfter(newest, BY_USE, slot)
  if (older === NONE) return newer
  setAfter(older, BY_USE, newer)
  return NONE
}

/** The slot of a key among those that hang on `first` by HASH_NEXT, or NONE. */
export function findAmong(first: number, key: string, hash: number): number {
  let slot = first
  while (slot !== NONE) {
    const { integers, pairs } = chunkOf(slot)
    const record = at(slot, 0)
    if (integers[record + HASH] === hash && pairs[(slot & LINE_MASK) * 2] === key) return slot
    slot = integers[record + HASH_NEXT] as number
  }
  return NONE
}

/** Bytes the slab holds now: what the tests of "really frees memory" look at. */
export function slabBytes(): number {
  return chunks.reduce((sum, chunk) => sum + (chunk === undefined ? 0 : CHUNK_INTEGERS * 4 + CHUNK * 16), 0)
}
