import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type StorageErrorName =
  | 'IN_USE'
  | 'FULL'
  | 'CONFLICT'
  | 'STATEMENT_FAILED'
  | 'BROKEN'
  | 'UNREACHABLE'
  | 'OUTCOME_UNKNOWN'
  | 'BUSY'
  | 'NOT_OWNER'
  | 'STOPPED'
  | 'WRONG_KEY'
  | 'SEAL_BROKEN'
  | 'KEY_NOT_OURS'
  | 'MIGRATION_REFUSED'
  | 'SQLITE_TOO_OLD'
  | 'POSTGRES_TOO_OLD'

/** What storage can fail with. `delivered` is `no` throughout: nothing here speaks to WhatsApp. */
export const storageErrors: Readonly<Record<StorageErrorName, ErrorKind>> = defineErrors('STORAGE', {
  IN_USE: {
    status: 503,
    retry: 'never',
    delivered: 'no',
    message:
      'Another Eclusa process is using this database; stop it first or give this one its own data folder',
  },
  FULL: {
    status: 507,
    retry: 'later',
    delivered: 'no',
    message: 'The disk is full; free space on it, nothing needs a restart',
  },
  CONFLICT: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'The rows are not as this change needs them; nothing was changed',
  },
  STATEMENT_FAILED: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'The database refused a statement; nothing of its unit was changed',
  },
  BROKEN: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'The database stopped working; check the disk, then restart Eclusa',
  },
  UNREACHABLE: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message:
      'PostgreSQL cannot be reached, and nothing of this was stored; Eclusa goes on by itself when it is back',
  },
  OUTCOME_UNKNOWN: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message:
      'The connection to PostgreSQL broke during the commit, and whether this was stored cannot be found out; ' +
      'look before doing it again',
  },
  BUSY: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'Somebody else held these rows locked for too long; nothing was changed',
  },
  NOT_OWNER: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'Another process owns this instance now; nothing was changed',
  },
  STOPPED: { status: 503, retry: 'later', delivered: 'no', message: 'The database is stopped' },
  WRONG_KEY: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'The master key does not open this database; put back the one that belongs to it',
  },
  SEAL_BROKEN: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'A sealed value was changed, moved or sealed with another key',
  },
  KEY_NOT_OURS: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message:
      'This master key is not for Eclusa to change: set the new one as ECLUSA_MASTER_KEY, the old one as ' +
      'ECLUSA_MASTER_KEY_OTHER, and start again; with several nodes give all of them both first',
  },
  MIGRATION_REFUSED: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'The database does not fit this version of Eclusa',
  },
  SQLITE_TOO_OLD: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'This Node contains an SQLite that can corrupt its log; run Eclusa with Node 24.21 or newer',
  },
  POSTGRES_TOO_OLD: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'This PostgreSQL is too old; Eclusa needs 14 or newer',
  },
})
