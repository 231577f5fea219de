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
export { storageErrors } from './errors.ts'
export { EventLog, type LoggedEvent, type NewEvent } from './event-log-store.ts'
export { storageMemory } from './memory.ts'
export { loadMigrations, type Migration } from './migrate.ts'
export { type Node, openNode } from './node.ts'
export { type DatabaseOptions, openDatabase } from './open.ts'
export { type Neighbours, noNeighbours } from './neighbours.ts'
export { type Ownership, soleOwnership } from './ownership.ts'
export { AesSealer, openSealer, type Sealer } from './sealer.ts'
export { DEFAULT_PAGE_CACHE_BYTES } from './sqlite.ts'
export { storageMigrations } from './storage-migrations.ts'
