import type { OpenedDatabase } from './database.ts'
import { openPostgres, type PostgresOptions } from './postgres.ts'
import { openSqlite, type SqliteOptions } from './sqlite.ts'

export type DatabaseOptions = SqliteOptions | PostgresOptions

/**
 * Opens the database and brings its schema up to date: the SQLite file, or PostgreSQL where a URL is given.
 * @throws STORAGE_MIGRATION_REFUSED; for SQLite STORAGE_IN_USE, STORAGE_SQLITE_TOO_OLD, STORAGE_FULL, STORAGE_BROKEN;
 * for PostgreSQL STORAGE_UNREACHABLE, STORAGE_POSTGRES_TOO_OLD
 */
export function openDatabase(options: DatabaseOptions): Promise<OpenedDatabase> {
  return 'url' in options ? openPostgres(options) : openSqlite(options)
}
