import { loadMigrations, type Migration } from './migrate.ts'

/** Storage's own tables: the event log and the check of the key. `openDatabase` puts them first by itself. */
export const storageMigrations: readonly Migration[] = loadMigrations(
  new URL('../migrations/', import.meta.url),
)
