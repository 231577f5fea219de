export type SessionState =
  | 'new'
  | 'starting'
  | 'qr'
  | 'code'
  | 'syncing'
  | 'online'
  | 'reconnecting'
  | 'logged_out'
  | 'banned'
  | 'failed'
  | 'stopped'

export interface Reason {
  readonly code: string
  readonly message: string
}

export interface Instance {
  readonly id: string
  readonly tenant: string
  readonly name: string
  readonly simulated: boolean
  readonly state: SessionState
  readonly since: string
  readonly number: string | null
  readonly reason: Reason | null
  readonly createdAt: string
}

/** Who is signed in, and what they may do. */
export interface Session {
  readonly kind: 'key' | 'user'
  readonly name: string
  /** `*`: every tenant. */
  readonly reach: string
  readonly scopes: readonly string[]
  readonly expiresAt: string
}

export type MessageState = 'PENDING' | 'PROCESSING' | 'SENT' | 'DELIVERED' | 'READ' | 'FAILED' | 'CANCELLED'

export interface Message {
  readonly id: string
  readonly instance: string
  readonly chat: string
  readonly state: MessageState
  readonly waMessageId: string
  readonly acceptedAt: string
  readonly sentAt: string | null
  readonly deliveredAt: string | null
  readonly readAt: string | null
  readonly failure: Reason | null
}

export interface Why {
  readonly id: string
  readonly state: MessageState
  readonly waits: readonly {
    readonly reason: string
    readonly message: string
    readonly until: string | null
  }[]
  readonly expiresAt: string | null
}

export interface QueueCounts {
  readonly pending: number
  readonly processing: number
  readonly failed: number
}

export interface InstanceQueue extends QueueCounts {
  readonly instance: string
  readonly tenant: string
  readonly oldestAcceptedAt: string | null
  readonly online: boolean
  readonly paused: { readonly tenant: boolean; readonly instance: boolean; readonly chats: readonly string[] }
  readonly coldChatsPaused: { readonly until: string; readonly code: string } | null
  readonly proactive: {
    readonly level: 'WELL' | 'SLOWED' | 'PAUSED'
    readonly cause: string | null
    readonly since: string | null
  }
}

export interface MemoryReport {
  readonly plan: {
    readonly ceilingBytes: number
    readonly machineBytes: number
    readonly machineSource: string
    readonly worstCaseBytes: number
    readonly heapLimitBytes: number
    readonly liveHeapBytes: number
    readonly outsideBytes: number
    readonly cacheBytes: number
    readonly sessions: number
    readonly sessionsAsked: number
    readonly lines: readonly MemoryPlanLine[]
  }
  readonly now: {
    readonly rssBytes: number
    readonly heapUsedBytes: number
    readonly heapLiveBytes: number
    readonly heapLimitBytes: number
    readonly externalBytes: number
    readonly lagMs: number
    readonly cacheBytes: number
    readonly cacheBudgetBytes: number
  }
  readonly pressure: {
    readonly level: number
    readonly busy: boolean
    readonly fullest: string
    readonly percent: number
    readonly cacheShare: number
    readonly historyHeld: boolean
    readonly mediaHeld: boolean
    readonly startsHeld: boolean
    readonly pressedCount: number
    readonly relievedCount: number
    readonly shedBytes: number
  }
}

export interface MemoryPlanLine {
  readonly owner: string
  readonly name: string
  readonly place: string
  readonly perSession: boolean
  readonly maxCount: number
  readonly bytesEach: number
  readonly worstBytes: number
  readonly boundedBy: string
  readonly source: string
}

/** What the gateway measured every few seconds, oldest first; columns of equal length. */
export interface History {
  readonly everyMs: number
  readonly at: readonly number[]
  readonly series: {
    readonly accepted: readonly number[]
    readonly sent: readonly number[]
    readonly failed: readonly number[]
    readonly inbound: readonly number[]
    readonly waiting: readonly number[]
    readonly online: readonly number[]
    readonly rssBytes: readonly number[]
    readonly heapBytes: readonly number[]
    readonly externalBytes: readonly number[]
    readonly cacheBytes: readonly number[]
    readonly lagMs: readonly number[]
  }
}

export interface GatewayEvent {
  /** Its place in the log; null: told while it goes on, and kept nowhere. */
  readonly id: number | null
  readonly type: string
  readonly at: string
  readonly tenant: string
  readonly instance: string | null
  readonly payload: Readonly<Record<string, unknown>>
}

export interface LoggedEvent extends GatewayEvent {
  readonly id: number
}
