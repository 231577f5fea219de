export type { ForgottenRows } from './chat-trace-store.ts'
export type { OutboundTrace } from './chat-traces.ts'
export {
  type CareOptions,
  type ChatStanding,
  checkCare,
  CONVERSATION_MS,
  defaultCare,
  type HoldReason,
  type Rate,
  refusalOf,
} from './care.ts'
export type { ColdPause } from './cold-store.ts'
export { contentSealedTable } from './content-store.ts'
export { type InstanceQueue, type MessagePage, QueueControl } from './control.ts'
export type { QueueStats } from './counts.ts'
export { SEND_DEADLINE_MS } from './delivery.ts'
export { defaultDispatcherLimits, Dispatcher, type DispatcherLimits } from './dispatcher.ts'
export { careErrors, queueErrors } from './errors.ts'
export { queueMemory } from './memory.ts'
export type {
  ChatContext,
  DurableEventName,
  LiveEventName,
  MessageSender,
  OutboundContent,
  OutboundEvent,
  OutboundFailure,
  OutboundMessage,
  OutboundState,
  OutboundStatus,
  Priority,
  Purpose,
  QueueEvents,
  UnreadMessage,
} from './message.ts'
export type { Health, HealthCause, HealthFacts, HealthLimits, Share } from './health.ts'
export { openQueue, type PausedTexts, type Queue, queueMigrations, type QueueOptions } from './open-queue.ts'
export {
  type Accepted,
  MAX_BATCH,
  MAX_REASON_LENGTH,
  MAX_TEXT_LENGTH,
  type NewBatch,
  type NewOutbound,
  Outbox,
} from './outbox.ts'
export { checkPacing, countWords, defaultPacing, type PacingOptions, type Range } from './pacing.ts'
export { quietEndOf, type QuietTimes } from './quiet-times.ts'
export type { ProactiveHealth } from './proactive-health.ts'
export { Rates } from './rates.ts'
export type { Receipt } from './receipts.ts'
export type { Setting } from './setting-store.ts'
export type { Settings } from './settings.ts'
export type { PausedText } from './repeated-texts.ts'
export { defaultSweepOptions, Sweep, type SweepOptions, type SweepResult } from './sweep.ts'
export type { Pause } from './pause-store.ts'
export type { Waiting, WaitReason } from './why.ts'
