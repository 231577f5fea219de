import type { ChatId, ErrorKind, InstanceId, TenantId } from '@eclusa/kernel'
import type { Due } from './due-heap.ts'
import type { LiveMessage } from './live-messages.ts'

/** Less urgent than any message. */
export const NO_PRIORITY = 9

/** An instance that is online, or still has lanes. */
export interface Line {
  readonly instance: InstanceId
  /** Known with its first chat. */
  tenant: TenantId
  online: boolean
  /** Counts `instanceOnline`: an offline error from before the last one is old news. */
  epoch: number
  /** Set while it backs off, probes, or has used up its rate. */
  pause: Due | null
  pausedUntil: number
  /** Why, for whoever asks. */
  pausedBy: 'OFFLINE' | 'LIMITED' | 'INSTANCE_RATE'
  limitedCount: number
  // bounded by: maxLanesPerInstance
  readonly lanes: Set<Lane>
  // Chats that may start, oldest first. bounded by: maxOpenChatsPerInstance
  readonly ready: Set<Chat>
  // bounded by: maxOpenChatsPerInstance
  readonly chats: Set<Chat>
  /** Chats after this id may have rows that the window does not know; null when it knows all. */
  cursor: string | null
  /** A chat behind the cursor found no place: go round once more. */
  missed: boolean
  /** Resolved when the line is forgotten: offline, and nothing under way. */
  readonly idle: PromiseWithResolvers<void>
}

/**
 * A chat in the window:
 *
 * | state   | means                                             | left by                                  |
 * |---------|---------------------------------------------------|------------------------------------------|
 * | ready   | may have a message that is due                    | its turn → busy                          |
 * | busy    | has a lane: its head is claimed, paced, sent      | the lane's end → ready, waiting, closed  |
 * | waiting | its head is due later, or it pauses               | the time, or a more urgent message       |
 * | closed  | left the window: no rows, or the instance is away | –                                        |
 */
export interface Chat {
  readonly line: Line
  readonly id: ChatId
  state: 'ready' | 'busy' | 'waiting' | 'closed'
  due: Due | null
  /** When it goes on; only while waiting. */
  waitsUntil: number
  /** What waits has this priority; a message before it ends the wait. Null: nothing ends it early. */
  waitsFor: number | null
  /** The most urgent priority accepted while busy; NO_PRIORITY when none. */
  arrived: number
  /** Acknowledged, but the write that says so failed: it is written again, never sent again. */
  unfinished: { readonly live: LiveMessage; readonly sentAt: number } | null
  databaseFailures: number
  /** Is told once that the chat left the window; null while nobody waits for that. */
  onClosed: (() => void) | null
  /** A claim of it failed, and nobody knows whether it is on disk. */
  claimInDoubt: boolean
}

export interface Lane {
  readonly chat: Chat
  /** Ends a pacing wait at once; a new one takes its place when only the plan begins anew. Null before the first wait. */
  pacing: AbortController | null
  /** What it does just now. */
  stage: 'claiming' | 'waiting' | 'reading' | 'thinking' | 'typing' | 'sending'
  /** A message came in while this one was typed: how the plan takes note of it, once. */
  heard: 'no' | 'now' | 'before'
  /** Handed to the sender; ends when we stop. */
  readonly sending: AbortController
  why: 'cancelled' | 'away' | 'stopping' | null
  live: LiveMessage | null
  /** Of the claimed message. */
  priority: number
  onTheWire: boolean
  /** Ends the wait for a send whose end nobody will learn; null while there is none. */
  giveUp: ((why: ErrorKind) => void) | null
}

/** What a chat does after a lane. */
export type Next =
  | { readonly kind: 'empty' }
  | { readonly kind: 'again' }
  | { readonly kind: 'wait'; readonly until: number; readonly for: number | null }

export function newLine(instance: InstanceId): Line {
  return {
    instance,
    tenant: '' as TenantId,
    online: false,
    epoch: 0,
    pause: null,
    pausedUntil: 0,
    pausedBy: 'OFFLINE',
    limitedCount: 0,
    lanes: new Set(),
    ready: new Set(),
    chats: new Set(),
    cursor: null,
    missed: false,
    idle: Promise.withResolvers<void>(),
  }
}

export function interrupt(lane: Lane, why: 'cancelled' | 'away' | 'stopping'): void {
  lane.why ??= why
  lane.pacing?.abort()
}

/** What ends a pacing wait of the lane. */
export function pacingSignal(lane: Lane): AbortSignal {
  if (lane.pacing === null) {
    lane.pacing = new AbortController()
    if (lane.why !== null) lane.pacing.abort()
  }
  return lane.pacing.signal
}

export function keyOf({ instance, chat }: { readonly instance: InstanceId; readonly chat: ChatId }): string {
  return `${instance}|${chat}`
}
