import type { Migration } from './migrate.ts'
import type { Row, SqlValue, Statement } from './database.ts'

/** What the main thread and the thread that owns the connection say to each other. One reply per request, in order. */
export type Request =
  | {
      readonly kind: 'batch'
      readonly units: readonly (readonly Statement[])[]
      readonly reads: readonly ReadRequest[]
    }
  | { readonly kind: 'stop' }

export interface ReadRequest {
  readonly sql: string
  readonly params: readonly SqlValue[]
}

export type Reply =
  | { readonly kind: 'opened' }
  | { readonly kind: 'refused'; readonly failure: Failure }
  | {
      readonly kind: 'done'
      readonly committed: boolean
      readonly units: readonly (readonly WireResult[] | Failure)[]
      readonly reads: readonly (readonly Row[] | Failure)[]
    }
  | { readonly kind: 'stopped' }

/** The number of changed rows, or rows: most statements return none, and a number is cheaper to copy. */
export type WireResult = number | { readonly rows: readonly Row[]; readonly changes: number }

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
