export type { QueueStats } from './counts.ts'
export { defaultDispatcherLimits, Dispatcher, type DispatcherLimits, SEND_DEADLINE_MS } from './dispatcher.ts'
export { queueErrors } from './errors.ts'
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
  QueueEvents,
  UnreadMessage,
} from './message.ts'
export { openQueue, type Queue, queueMigrations, type QueueOptions } from './open-queue.ts'
export { type Accepted, MAX_TEXT_LENGTH, type NewOutbound, Outbox } from './outbox.ts'
export { checkPacing, countWords, defaultPacing, type PacingOptions, type Range } from './pacing.ts'
export type { Receipt } from './receipts.ts'
export { defaultSweepOptions, Sweep, type SweepOptions, type SweepResult } from './sweep.ts'
