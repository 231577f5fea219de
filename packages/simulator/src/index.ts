export type { AppStateChange } from './app-state.ts'
export type { FaultAction, FaultHandle, FaultMatch, FaultOptions, FaultPoint } from './faults.ts'
export type { Group } from './groups.ts'
export type { HistoryOptions, HostileHistory, SentHistory } from './history.ts'
export { historyChat, historyMessageId } from './history.ts'
export type { Addressing } from './jid.ts'
export type { MediaReference, MessageKind } from './message-content.ts'
export type { PhoneOptions, ReceivedMessage, SeenPresence, SeenReceipt, SendOptions } from './phone.ts'
export { Phone } from './phone.ts'
export { simulatorErrors } from './simulator-errors.ts'
export type {
  CheckResult,
  ContactOptions,
  NumberOptions,
  PendingStanza,
  ScanOptions,
  SimulatorOptions,
  SimulatorStats,
} from './simulator.ts'
export { createSimulator, DeviceHandle, NumberPhone, Simulator } from './simulator.ts'
export type { Violation, ViolationKind } from './strictness.ts'
export type { TranscriptEntry, TranscriptNode } from './transcript.ts'
export type { UnknownStanza } from './world.ts'
