import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What the system writes back by itself, and a sector's multiple. */
const PIECE = 4096

interface TracedFile {
  /** As the process saw it. */
  live: Buffer
  /** As it was at its last sync; null: its creation was never synced. */
  synced: Buffer | null
  /** Written since. bounded by: one trace */
  dirty: { readonly from: number; readonly to: number }[]
}

/**
 * The watched calls of processes on a disk shim, one after the other, and at each of them what a power cut would leave:
 * every byte that was synced, and of the others as many as `leaks` says.
 */
export class DiskTrace {
  readonly #bytes: Buffer
  #at = 0
  // bounded by: one trace
  readonly #files = new Map<string, TracedFile>()

  constructor(file: string) {
    this.#bytes = readFileSync(file)
  }

  /** How many calls there are. */
  count(): number {
    let count = 0
    for (let at = 0; at < this.#bytes.length; count++) {
      const { kind, length, next } = this.#callAt(at)
      at = next + (kind === 'write' ? length : 0)
    }
    return count
  }

  /** Goes past the next call; false at the end. */
  step(): boolean {
    if (this.#at >= this.#bytes.length) return false
    const { kind, name, from, length, next } = this.#callAt(this.#at)
    this.#at = next
    const file = this.#files.get(name) ?? { live: Buffer.alloc(0), synced: null, dirty: [] }
    this.#files.set(name, file)
    switch (kind) {
      case 'write': {
        const to = from + length
        if (to > file.live.length) file.live = resized(file.live, to)
        this.#bytes.copy(file.live, from, next, next + length)
        file.dirty.push({ from, to })
        this.#at = next + length
        break
      }
      case 'truncate':
        file.live = resized(file.live, from)
        break
      case 'sync': {
        const synced = resized(file.synced ?? Buffer.alloc(0), file.live.length)
        for (const { from, to } of file.dirty) file.live.copy(synced, from, from, to)
        file.synced = synced
        file.dirty = []
        break
      }
      case 'unlink':
        this.#files.delete(name)
        break
      default:
        throw new Error(`a trace with the call ${kind}`)
    }
    return true
  }

  get names(): readonly string[] {
    return [...this.#files.keys()]
  }

  /** What a process had written into a file, synced or not. */
  written(name: string): string {
    return this.#files.get(name)?.live.toString() ?? ''
  }

  /** Writes what a power cut would leave here; `leaks` decides of each unsynced piece. */
  cutInto(folder: string, leaks: () => boolean): void {
    for (const [name, { live, synced, dirty }] of this.#files) {
      if (synced === null) continue
      // Not Buffer.from: a small one would share its memory with others.
      let left: Buffer = Buffer.alloc(synced.length)
      synced.copy(left)
      for (const range of dirty) {
        for (let from = range.from; from < range.to; from += PIECE) {
          const to = Math.min(from + PIECE, range.to, live.length)
          if (to <= from || !leaks()) continue
          if (to > left.length) left = resized(left, to)
          live.copy(left, from, from, to)
        }
      }
      writeFileSync(join(folder, name), left)
    }
  }

  #callAt(at: number): {
    readonly kind: string
    readonly name: string
    readonly from: number
    readonly length: number
    readonly next: number
  } {
    const end = this.#bytes.indexOf(10, at)
    const [kind = '', name = '', from, length] = this.#bytes.toString('latin1', at, end).split(' ')
    return { kind, name, from: Number(from), length: Number(length), next: end + 1 }
  }
}

function resized(bytes: Buffer, length: number): Buffer {
  if (length <= bytes.length) return bytes.subarray(0, length)
  const { buffer, byteOffset } = bytes
  if (buffer.byteLength - byteOffset >= length) {
    const longer = Buffer.from(buffer, byteOffset, length)
    longer.fill(0, bytes.length)
    return longer
  }
  // Twice the room, so that a file that grows by pages is not copied for each.
  const grown = Buffer.from(new ArrayBuffer(2 * length), 0, length)
  bytes.copy(grown)
  return grown
}
