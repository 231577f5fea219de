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

interface Reason {
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

interface MemoryPlanLine {
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

export interface Conversation {
  readonly id: string
  readonly tenant: string
  readonly instance: string
  readonly contact: string
  readonly chat: string
  readonly state: 'open' | 'assigned' | 'closed'
  readonly sector: string | null
  readonly operator: string | null
  readonly lastOperator: string | null
  readonly waitingSince: string | null
  readonly openedAt: string
  readonly assignedAt: string | null
  readonly closedAt: string | null
  readonly closeReason: string | null
  readonly lastInboundAt: string
}

export interface HistoryEntry {
  readonly id: number
  readonly kind:
    | 'inbound'
    | 'outbound'
    | 'note'
    | 'opened'
    | 'waiting'
    | 'assigned'
    | 'transferred'
    | 'closed'
    | 'reopened'
    | 'merged'
  readonly at: string
  readonly actor: string
  readonly sector: string | null
  readonly operator: string | null
  readonly text: string | null
  readonly inbound: {
    readonly kind: string
    readonly text: string | null
    readonly pushName: string | null
    readonly quoted: { readonly text: string | null } | null
    readonly content: { readonly media?: { readonly type: string; readonly fileName: string | null } }
  } | null
  readonly outbound: { readonly id: string; readonly state: MessageState | null } | null
}

export interface Contact {
  readonly id: string
  readonly address: string
  readonly name: string | null
  readonly pushName: string | null
  readonly tags: readonly string[]
  readonly fields: Readonly<Record<string, string>>
  readonly optedOutAt: string | null
  readonly consent: boolean
}

export interface Sector {
  readonly id: string
  readonly name: string
  readonly waitingCount: number
}

export interface Operator {
  readonly id: string
  readonly name: string
  readonly isThere: boolean
  readonly capacity: number
  readonly assignedCount: number
}

export interface CachesReport {
  readonly budget: {
    readonly maxBytes: number
    readonly usedBytes: number
    readonly peakBytes: number
    readonly evictions: number
    readonly shed: number
    readonly refused: number
  }
  readonly caches: readonly CacheRow[]
  readonly tenants: readonly {
    readonly tenant: string
    readonly usedBytes: number
    readonly shareBytes: number
    readonly floorBytes: number
    readonly ceilingBytes: number
    readonly evictions: number
  }[]
}

export interface CacheRow {
  readonly name: string
  readonly count: number
  readonly entries: number
  readonly maxEntries: number
  readonly bytes: number
  readonly hits: number
  readonly misses: number
  readonly evictions: number
  readonly expirations: number
  readonly shed: number
  readonly refused: number
}

export interface Flow {
  readonly name: string
  readonly publishedVersion: number | null
  readonly lastVersion: number
  readonly changedAt: string
}

export interface Finding {
  readonly level: 'error' | 'warning'
  readonly step: string | null
  readonly field: string
  readonly message: string
}

export interface DryRun {
  readonly entries: readonly {
    readonly afterMs: number
    readonly who: 'contact' | 'flow' | 'event'
    readonly text: string
  }[]
  readonly waitsAt: string | null
  readonly outcome: string | null
  readonly state: string
}

export interface Webhook {
  readonly id: string
  readonly url: string
  readonly types: readonly string[]
  readonly description: string
  readonly enabled: boolean
  readonly disabledReason: string | null
}

export interface WebhookHealth {
  readonly lastSuccessAt: string | null
  readonly failingSince: string | null
  readonly lastError: string | null
  readonly waiting: number
  readonly dead: number
  readonly p95TookMs: number | null
}

export interface Delivery {
  readonly id: number
  readonly event: number | null
  readonly type: string
  readonly at: string
  readonly attempt: number
  readonly delivered: boolean
  readonly status: number | null
  readonly error: string | null
  readonly tookMs: number
}

export interface ApiKey {
  readonly id: string
  readonly name: string
  readonly tenant: string | null
  readonly scopes: readonly string[]
  readonly origin: string
  readonly createdAt: string
  readonly expiresAt: string | null
  readonly lastUsedAt: string | null
}

export interface User {
  readonly name: string
  readonly reach: string
  readonly scopes: readonly string[]
  readonly hasTotp: boolean
  readonly createdAt: string
}

export interface SignedIn {
  readonly id: string
  readonly kind: 'key' | 'user'
  readonly name: string
  readonly seenAt: string
  readonly own: boolean
}

export interface AuditEntry {
  readonly seq: number
  readonly at: string
  readonly tenant: string
  readonly key: string
  readonly person: string | null
  readonly action: string
  readonly outcome: 'intended' | 'done' | 'failed'
  readonly object: Readonly<Record<string, string>>
}
