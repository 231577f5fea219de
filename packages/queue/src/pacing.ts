import { EclusaError, SECOND } from '@eclusa/kernel'
import { queueErrors } from './errors.ts'

export interface Range {
  readonly min: number
  readonly max: number
}

/** How human a send looks. Settable per tenant and instance. */
export interface PacingOptions {
  readonly enabled: boolean
  /** The last unread inbound message is read at this speed. */
  readonly readingWordsPerMinute: Range
  /** Reading takes no longer than this, however long the message. */
  readonly maxReadingMs: number
  readonly thinkingMs: Range
  readonly typingWordsPerMinute: Range
  readonly maxTypingMs: number
  /** "typing…" shows at least this long, also for one word. */
  readonly visibleTypingMs: Range
  /** From the end of one message of a chat to the beginning of the next. */
  readonly betweenMs: Range
}

/** The defaults of document 1 (design.md §8). */
export const defaultPacing: PacingOptions = {
  enabled: true,
  readingWordsPerMinute: { min: 200, max: 250 },
  maxReadingMs: 60 * SECOND,
  thinkingMs: { min: 2 * SECOND, max: 8 * SECOND },
  typingWordsPerMinute: { min: 40, max: 60 },
  maxTypingMs: 30 * SECOND,
  visibleTypingMs: { min: 1 * SECOND, max: 3 * SECOND },
  betweenMs: { min: 0.5 * SECOND, max: 2 * SECOND },
}

interface PacingStep {
  readonly kind: 'read' | 'think' | 'type'
  readonly forMs: number
}

export type PacingPlan = readonly PacingStep[]

/** What happens before a send, in order; empty when pacing is off. Pure. */
export function planPacing(input: {
  readonly hasUnread: boolean
  /** Words of the last unread inbound message. */
  readonly unreadWords: number
  readonly text: string
  readonly options: PacingOptions
  readonly random: () => number
}): PacingPlan {
  const { hasUnread, unreadWords, text, options, random } = input
  if (!options.enabled) return []
  const steps: PacingStep[] = []
  if (hasUnread) {
    const readingMs = msFor(unreadWords, within(options.readingWordsPerMinute, random))
    steps.push({ kind: 'read', forMs: Math.min(readingMs, options.maxReadingMs) })
  }
  steps.push({ kind: 'think', forMs: within(options.thinkingMs, random) })
  const typingMs = msFor(countWords(text), within(options.typingWordsPerMinute, random))
  const visibleMs = within(options.visibleTypingMs, random)
  steps.push({ kind: 'type', forMs: Math.max(visibleMs, Math.min(typingMs, options.maxTypingMs)) })
  return steps
}

/** The pause after a message of a chat; 0 when pacing is off. */
export function pauseBetween(options: PacingOptions, random: () => number): number {
  return options.enabled ? within(options.betweenMs, random) : 0
}

/** Runs of characters that are not white space, without building a list of them. */
export function countWords(text: string): number {
  let count = 0
  for (const _ of text.matchAll(/\S+/g)) count++
  return count
}

/** @throws QUEUE_BAD_PACING naming the field */
export function checkPacing(options: PacingOptions): void {
  const { readingWordsPerMinute, typingWordsPerMinute, thinkingMs, visibleTypingMs, betweenMs } = options
  const speeds = { readingWordsPerMinute, typingWordsPerMinute }
  const ranges = { ...speeds, thinkingMs, visibleTypingMs, betweenMs }
  for (const [field, { min, max }] of Object.entries(ranges)) {
    if (!(min >= 0 && max < Number.POSITIVE_INFINITY)) throw bad(field, 'must not be negative')
    if (min > max) throw bad(field, 'must have min ≤ max')
  }
  for (const [field, { min }] of Object.entries(speeds)) {
    if (min <= 0) throw bad(field, 'must be greater than 0')
  }
  for (const field of ['maxReadingMs', 'maxTypingMs'] as const) {
    if (!(options[field] >= 0)) throw bad(field, 'must not be negative')
  }
}

function bad(field: string, rule: string): EclusaError {
  return new EclusaError(queueErrors.BAD_PACING, { message: `${field} ${rule}`, details: { field } })
}

function msFor(words: number, wordsPerMinute: number): number {
  return (words / wordsPerMinute) * 60 * SECOND
}

function within({ min, max }: Range, random: () => number): number {
  return min + (max - min) * random()
}
