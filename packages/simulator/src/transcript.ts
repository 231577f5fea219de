import { Ring } from './ring.ts'
import type { Stanza } from './wire.ts'

/** A stanza as remembered: the tree without its bytes. Byte strings are replaced by their length. */
export interface TranscriptNode {
  readonly tag: string
  readonly attrs: Readonly<Record<string, string>>
  readonly children: readonly TranscriptNode[]
  /** Length of the binary content, when it has any. */
  readonly contentBytes: number | undefined
  /** Text content, at most MAX_TEXT characters. */
  readonly text: string | undefined
}

export interface TranscriptEntry extends TranscriptNode {
  /** Epoch ms by the simulator's clock. */
  readonly at: number
  /** `in`: the client sent it. `out`: the server did. */
  readonly direction: 'in' | 'out'
}

/** 812 pre-keys in one stanza would cost more than the rest of the transcript. */
const MAX_CHILDREN = 32
const MAX_TEXT = 256
const NO_CHILDREN: readonly TranscriptNode[] = Object.freeze([])

/** What one device and the server said to each other: the last `max` stanzas. */
export class Transcript {
  readonly #entries: Ring<TranscriptEntry>

  constructor(max: number) {
    this.#entries = new Ring(max)
  }

  record(direction: 'in' | 'out', node: Stanza, at: number): void {
    this.#entries.push({ at, direction, ...compact(node) })
  }

  get entries(): readonly TranscriptEntry[] {
    return this.#entries.items
  }
}

function compact(node: Stanza): TranscriptNode {
  const { tag, attrs, content } = node
  if (Array.isArray(content)) {
    return {
      tag,
      attrs,
      children: content.slice(0, MAX_CHILDREN).map(compact),
      contentBytes: undefined,
      text: undefined,
    }
  }
  if (typeof content === 'string') {
    return {
      tag,
      attrs,
      children: NO_CHILDREN,
      contentBytes: content.length,
      text: content.slice(0, MAX_TEXT),
    }
  }
  return { tag, attrs, children: NO_CHILDREN, contentBytes: content?.length, text: undefined }
}
