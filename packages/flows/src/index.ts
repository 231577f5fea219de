import { loadMigrations, type Migration, type SealedTable } from '@eclusa/storage'
import { conversationSealedTable } from './conversation-store.ts'
import { flowRunSealedTable } from './flow-run-store.ts'
import { flowSealedTable } from './flow-store.ts'

export type {
  Actor,
  Availability,
  Conversation,
  ConversationEntry,
  ConversationId,
  ConversationState,
  DistributionRule,
  EntryKind,
  OperatorId,
  SectorId,
  SectorRule,
} from './conversation.ts'
export {
  parseCloseReason,
  parseConversationId,
  parseOperatorId,
  parseSectorId,
  parseSkill,
} from './conversation.ts'
export { type ContactTraces, type ExportedPage, type Forgotten } from './contact-traces.ts'
export {
  assertDone,
  type AssignOptions,
  type By,
  ConversationPlans,
  type ConversationRef,
  type Outcome,
  type Planned,
  type TransferOptions,
  type WaitOptions,
} from './conversation-plans.ts'
export {
  Conversations,
  type ConversationsOptions,
  DEFAULT_REOPEN_WITHIN_MS,
  type Received,
} from './conversations.ts'
export type { SentMessage } from './conversation-store.ts'
export { chooseOperator } from './distribution.ts'
export { conversationErrors, type Refusal } from './errors.ts'
export { dryRun, type DryRunLine, type DryRunOptions, type DryRunReport } from './dry-run.ts'
export { conversationsForFlows } from './flow-conversations.ts'
export { type Finding, parseFlow, renderFlowSchema } from './flow-definition.ts'
export { flowErrors } from './flow-errors.ts'
export { lintFlow } from './flow-linter.ts'
export { FlowLog } from './flow-log.ts'
export type { FlowRun } from './flow-run.ts'
export { FlowRunner, type FlowRunnerOptions } from './flow-runner.ts'
export { FlowRunStore } from './flow-run-store.ts'
export { type FlowEntry, Flows, type RunnableFlow } from './flow-store.ts'
export { flowsMemory } from './memory.ts'
export {
  MAX_CAPACITY,
  MAX_OPERATORS,
  type Operator,
  type OperatorInput,
  Operators,
  type OperatorSector,
} from './operator-store.ts'
export type { KeepClosed } from './retention.ts'
export type { Activity } from './statistics-store.ts'
export { readTemplate, templateLanguages, templateNames } from './templates.ts'
export { MAX_SECTORS, type Sector, type SectorLine, Sectors } from './sector-store.ts'

/** Every column in which this package seals something. */
export const flowSealedTables: readonly SealedTable[] = [
  flowSealedTable,
  flowRunSealedTable,
  conversationSealedTable,
]

export const flowMigrations: readonly Migration[] = loadMigrations(new URL('../migrations/', import.meta.url))
