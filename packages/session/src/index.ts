import { loadMigrations, type Migration } from '@eclusa/storage'

export { authSealedTables, AuthStore } from './auth-store.ts'
export type {
  CloseReason,
  Engine,
  EngineConnection,
  EngineHandlers,
  EngineMessage,
  EngineOptions,
  KnownPoll,
  MissingMessage,
  MissingMessages,
  OutboundContent,
  Receipt,
} from './engine.ts'
export { BaileysEngine } from './engines/baileys/baileys-engine.ts'
export { isLoopback, trustsWhatsApp } from './engines/baileys/trust.ts'
export { checkEngine, holdHistories, type MetricSample, socketCacheMetrics } from '@eclusa/baileys'
export { sessionErrors } from './errors.ts'
export {
  InboundJournal,
  journalSealedTable,
  type JournalEntry,
  type SetAsideEntry,
  type UnsettledEntry,
} from './inbound-journal-store.ts'
export {
  SessionPool,
  type SessionEvents,
  type SessionPoolOptions,
  type SessionPorts,
} from './session-pool.ts'
export { SharedFacts } from './shared-facts-store.ts'
export type { SessionState, SessionView } from './session.ts'

export const sessionMigrations: readonly Migration[] = loadMigrations(
  new URL('../migrations/', import.meta.url),
)
