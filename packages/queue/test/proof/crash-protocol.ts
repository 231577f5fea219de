import type { DatabasePlace } from '@eclusa/storage/test-kit'
import type { Priority } from '../../src/index.ts'

/* What the judge and the process that is to be killed say to each other. Plain values: they travel as JSON. */

export interface OpenOrder {
  readonly kind: 'open'
  readonly place: DatabasePlace
  readonly tenant: string
  readonly instance: string
  /** Milliseconds that a message is thought about and typed at most; 0 sends at once. */
  readonly pacingMs: number
  readonly seed: number
}

export type Order =
  | OpenOrder
  | {
      readonly kind: 'enqueue'
      readonly ref: string
      readonly chat: string
      readonly priority: Priority
      readonly key: string | null
    }
  | { readonly kind: 'cancel'; readonly ref: string; readonly id: string }
  | { readonly kind: 'receipt'; readonly waMessageId: string; readonly read: boolean }
  | { readonly kind: 'session'; readonly online: boolean }
  | { readonly kind: 'send-ended'; readonly nth: number; readonly how: 'ack' | 'refused' | 'unknown' }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'stop' }

export type Report =
  | { readonly kind: 'loaded' }
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly code: string }
  | { readonly kind: 'accepted'; readonly ref: string; readonly id: string; readonly waMessageId: string }
  | { readonly kind: 'refused'; readonly ref: string; readonly code: string }
  | { readonly kind: 'cancelled'; readonly ref: string; readonly done: boolean }
  | {
      readonly kind: 'send'
      readonly nth: number
      readonly ref: string
      readonly chat: string
      readonly waMessageId: string
    }
  | {
      readonly kind: 'waiting'
      readonly count: number
      readonly lanes: number
      /** Rows by status as SQL counts them differ from the counters. */
      readonly isOff: boolean
    }
  | { readonly kind: 'stopped' }
