import {
  type ChatId,
  type ContactId,
  type InstanceId,
  MINUTE,
  randomBase32,
  type TenantId,
} from '@eclusa/kernel'
import type { ConversationId, OperatorId, SectorId } from './conversation.ts'
import type { HeardMessage } from './flow-ports.ts'

/** One run of a flow for a contact: `run_` and 20 base-32 characters. */
export type FlowRunId = string & { readonly __brand: 'FlowRunId' }

/**
 * | state | it stands at `step` and | left when |
 * |---|---|---|
 * | active | walks on by itself, since `activeSince` | it waits, or ends; after 5 minutes it is an orphan |
 * | waiting | has asked the contact, or waits, until `dueAt` | the contact writes, or time is up |
 * | ended | is over, with `outcome` | – |
 */
export type RunState = 'active' | 'waiting' | 'ended'

/** How a run ended. */
export type RunOutcome =
  /** With an operator. */
  | 'assigned'
  /** In a sector's line. */
  | 'in_line'
  /** The conversation is closed. */
  | 'closed'
  /** Somebody else had taken, or closed, the conversation. */
  | 'taken_over'
  /** The contact asked for a person, by the words that always work. */
  | 'wants_person'
  | 'opted_out'
  /** It was still at its automatic steps after 5 minutes. */
  | 'orphaned'
  /** Its contact proved to be another, who has a run of their own. */
  | 'merged'
  /** A step failed, and nobody could be found to go on: the conversation is open, in no line. */
  | 'stranded'

export interface FlowRun {
  readonly id: FlowRunId
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly contact: ContactId
  readonly conversation: ConversationId
  readonly chat: ChatId
  /** The flow's name and version; a later version does not change what runs. */
  readonly flow: string
  readonly version: number
  /** Whose flow it is; null: everybody's. */
  readonly sector: SectorId | null
  readonly step: string
  /** Grows with what is committed of the run: names what a step does, so that it is done once. */
  readonly visit: number
  readonly state: RunState
  readonly startedAt: number
  readonly activeSince: number | null
  readonly dueAt: number | null
  readonly endedAt: number | null
  readonly outcome: RunOutcome | null
  readonly memory: RunMemory
}

/** What a run knows; sealed in the database. */
export interface RunMemory {
  /** Set in this run, over those of the contact. */
  readonly fields: Readonly<Record<string, string>>
  /** The last one heard. */
  readonly message: HeardMessage | null
  /** Wrong answers to the question it stands at. */
  readonly tries: number
  readonly askedAt: number | null
  /** Steps since it last waited for the contact. */
  readonly hops: number
  /** It was asked whether the contact wants to be left alone. */
  readonly stopAsked: boolean
  /** Who has the conversation while a flow runs that was started by hand. */
  readonly withOperator: OperatorId | null
  /** Who had it until a survey began. */
  readonly servedBy?: OperatorId | null
  /** Sectors whose flows it has been in. */
  readonly sectors: readonly string[]
}

export const EMPTY_MEMORY: RunMemory = {
  fields: {},
  message: null,
  tries: 0,
  askedAt: null,
  hops: 0,
  stopAsked: false,
  withOperator: null,
  sectors: [],
}

/** How long a run may walk by itself; older ones are dropped before the next one of the contact starts (document 1). */
export const MAX_ACTIVE_MS = 5 * MINUTE

export function makeFlowRunId(): FlowRunId {
  return `run_${randomBase32(20)}` as FlowRunId
}

export function isOrphan(run: Pick<FlowRun, 'state' | 'activeSince'>, now: number): boolean {
  return run.state === 'active' && now - (run.activeSince ?? now) > MAX_ACTIVE_MS
}
