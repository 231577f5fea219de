export type {
  Database,
  DatabaseStats,
  OpenedDatabase,
  Row,
  SqlValue,
  Statement,
  StatementResult,
  WriteOptions,
} from './database.ts'
export type { DataKeyCounts } from './data-key-store.ts'
export { storageErrors } from './errors.ts'
export { EventLog, eventSealedTable, type LoggedEvent, type NewEvent } from './event-log-store.ts'
export { storageMemory } from './memory.ts'
export { loadMigrations, type Migration } from './migrate.ts'
export { type Node, openNode } from './node.ts'
export { type DatabaseOptions, openDatabase } from './open.ts'
export { type Neighbours, noNeighbours } from './neighbours.ts'
export { type Ownership, soleOwnership } from './ownership.ts'
export { EnvelopeSealer, openSealer, type SealerOptions } from './envelope-sealer.ts'
export type { MasterKeySource } from './master-key.ts'
export { Resealer, type ResealProgress, type SealedPlace, type SealedTable } from './resealer.ts'
export type { Sealer } from './sealer.ts'
export { DEFAULT_PAGE_CACHE_BYTES } from './sqlite.ts'
export { storageMigrations } from './storage-migrations.ts'
