import type { Migration } from './migrate.ts'
import type { SqlValue } from './database.ts'
import type { PackedStatements } from './packed.ts'

/** What the main thread and the thread that owns the connection say to each other. */
export type Request =
  /** A part of a flush: it runs while the caller still prepares the rest. No reply. */
  | { readonly kind: 'part'; readonly units: PackedStatements }
  /** The end of a flush: its last units, then the commit, then reads, one statement each. One reply. */
  | {
      readonly kind: 'commit'
      readonly units: PackedStatements
      /** So many of the last units are reads. */
      readonly readCount: number
    }
  | { readonly kind: 'stop' }

export type Reply =
  | { readonly kind: 'opened' }
  | { readonly kind: 'refused'; readonly failure: Failure }
  | {
      readonly kind: 'done'
      readonly committed: boolean
      /** Of every statement of the flush, in order; units that failed count with none. */
      readonly changes: readonly number[]
      readonly rows: readonly WireRows[]
      readonly failed: readonly { readonly unit: number; readonly failure: Failure }[]
      readonly reads: readonly (WireRows | Failure)[]
      readonly columns: readonly WireColumns[]
    }
  | { readonly kind: 'stopped' }

/** The rows of one statement, one after the other. */
export interface WireRows {
  /** Of a statement that writes: its place in `changes`. */
  readonly at: number
  readonly text: number
  readonly values: readonly SqlValue[]
}

/** The names of a text's columns, told once, before its first rows. */
export interface WireColumns {
  readonly text: number
  readonly names: readonly string[]
}

/** An error as plain values: structured clone drops what an Error knows besides its message. */
export interface Failure {
  readonly failure: FailureKind
  readonly message: string
  readonly details?: Readonly<Record<string, unknown>>
}

export type FailureKind = 'in-use' | 'full' | 'conflict' | 'statement' | 'broken' | 'migration' | 'too-old'

export interface OpenOptions {
  readonly file: string
  readonly migrations: readonly Migration[]
  readonly maxBytes: number | null
  readonly pageCacheBytes: number
}

export function isFailure(value: object): value is Failure {
  return 'failure' in value
}
