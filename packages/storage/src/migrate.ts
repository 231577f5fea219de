import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { EclusaError } from '@eclusa/kernel'
import { storageErrors } from './errors.ts'

/** One forward-only step of the schema. `name` is unique in the installation: `001-queue`. */
export interface Migration {
  readonly name: string
  readonly sql: string
  /** For PostgreSQL, where it differs. */
  readonly postgres?: string
}

/** A row of the table "Migration". */
export interface AppliedMigration {
  readonly name: string
  readonly checksum: string
}

/**
 * The `NNN-name.sql` files of `folder` in order of their names; `NNN-name.postgres.sql` beside one takes its place on
 * PostgreSQL, and alone it changes nothing on SQLite.
 */
export function loadMigrations(folder: URL): Migration[] {
  const base = folder.href.endsWith('/') ? folder : new URL(`${folder.href}/`)
  const files = new Set(readdirSync(base).filter((file) => /^\d{3}-[a-z0-9-]+(\.postgres)?\.sql$/.test(file)))
  const read = (file: string): string => readFileSync(new URL(file, base), 'utf8')
  const names = new Set([...files].map((file) => file.slice(0, file.indexOf('.'))))
  return [...names].toSorted().map((name) => ({
    name,
    sql: files.has(`${name}.sql`) ? read(`${name}.sql`) : '',
    ...(files.has(`${name}.postgres.sql`) ? { postgres: read(`${name}.postgres.sql`) } : {}),
  }))
}

/**
 * Which of `known` are still to be applied, in their order. Pure.
 * @throws STORAGE_MIGRATION_REFUSED when an applied one has changed since, is not known here (a newer version made
 * this database), or two known ones share a name
 */
export function planMigrations(
  known: readonly Migration[],
  applied: readonly AppliedMigration[],
): readonly (Migration & { readonly checksum: string })[] {
  const checksums = new Map(applied.map(({ name, checksum }) => [name, checksum]))
  const names = new Set<string>()
  const todo = []
  for (const migration of known) {
    if (names.has(migration.name)) throw refused(`Two migrations are named ${migration.name}`, migration.name)
    names.add(migration.name)
    const checksum = checksumOf(migration.sql)
    const before = checksums.get(migration.name)
    if (before === undefined) todo.push({ ...migration, checksum })
    else if (before !== checksum) {
      throw refused(
        `Migration ${migration.name} was changed after it was applied to this database; ` +
          'run the version of Eclusa that made it, or restore the file as it was',
        migration.name,
      )
    }
  }
  for (const { name } of applied) {
    if (!names.has(name)) {
      throw refused(
        `This database has migration ${name}, which this version of Eclusa does not know; ` +
          'it was made by a newer version: run that one, or restore a backup from before the upgrade',
        name,
      )
    }
  }
  return todo
}

/** Line ends do not count: a checkout on Windows may change them. */
function checksumOf(sql: string): string {
  return createHash('sha256').update(sql.replaceAll('\r\n', '\n')).digest('hex')
}

function refused(message: string, migration: string): EclusaError {
  return new EclusaError(storageErrors.MIGRATION_REFUSED, { message, details: { migration } })
}
