import { KIB, type MemoryLine, MIB } from '@eclusa/kernel'
import { MAX_KNOWN_KEYS } from './envelope-sealer.ts'
import { MAX_FLUSH_BYTES } from './group-commit.ts'
import { MAX_PREPARED } from './postgres-connection.ts'
import { MAX_FORMS } from './postgres-flush.ts'
import { MAX_READ_LINES } from './postgres.ts'

/** The database in a thread of this process. */
export interface SqliteMemory {
  readonly dialect: 'sqlite'
  /** SQLite's page cache. */
  readonly pageCacheBytes: number
  /** The most that the heap of its thread may take. */
  readonly threadBytes: number
}

/** The database in a server of its own: what it needs itself is counted there. */
export interface PostgresMemory {
  readonly dialect: 'postgres'
  /** Instances that this process may own. */
  readonly maxLeases: number
  /** The largest answer to one read: a page, and one row more. */
  readonly maxReadBytes: number
}

/** What the database holds in memory of this process at most. */
export function storageMemory(
  options: (SqliteMemory | PostgresMemory) & {
    /** Calls that may wait for an answer at once: what bounds it lies with the callers. */
    readonly maxWaiting: number
  },
): readonly MemoryLine[] {
  return [
    ...(options.dialect === 'sqlite' ? sqliteLines(options) : postgresLines(options)),
    {
      owner: 'storage',
      name: 'calls that wait for their turn, each with what it writes',
      place: 'heap',
      maxCount: options.maxWaiting,
      bytesEach: 4 * KIB,
      boundedBy: 'the callers that wait: lanes, requests, sessions',
      source:
        'a send writes 3.1 kB of keys and state in the bench; larger texts are counted where they come in',
    },
    {
      owner: 'storage',
      name: 'data keys, unwrapped',
      place: 'outside',
      maxCount: MAX_KNOWN_KEYS,
      bytesEach: 1.5 * KIB,
      boundedBy: 'MAX_KNOWN_KEYS',
      source: 'measured: 1,524 bytes of RSS each (20,000 of them, 2026-11)',
    },
    {
      owner: 'storage',
      name: 'a read of the event log for those who follow it',
      place: 'heap',
      maxCount: 4,
      bytesEach: MIB / 4,
      boundedBy: 'BATCH_BYTES of the tail: row, opened, parsed, text',
      source: 'the limit itself',
    },
  ]
}

function sqliteLines({ pageCacheBytes, threadBytes }: SqliteMemory): readonly MemoryLine[] {
  return [
    {
      owner: 'storage',
      name: 'SQLite page cache',
      place: 'outside',
      maxCount: 1,
      bytesEach: pageCacheBytes,
      boundedBy: 'ECLUSA_MEMORY_PAGE_CACHE',
      source: 'the limit itself (pragma cache_size)',
    },
    {
      owner: 'storage',
      name: 'the thread of the database, beyond what it takes when idle',
      place: 'outside',
      maxCount: 1,
      bytesEach: threadBytes,
      boundedBy: 'maxThreadBytes, the limit of its own heap',
      source: 'the limit itself',
    },
    {
      owner: 'storage',
      name: 'a commit on its way: here, in the message, in the thread',
      place: 'outside',
      maxCount: 3,
      bytesEach: MAX_FLUSH_BYTES,
      boundedBy: 'MAX_FLUSH_BYTES',
      source: 'the limit itself',
    },
  ]
}

/** The connection that writes, those that read, and the one of the leases. */
const CONNECTIONS = 1 + MAX_READ_LINES + 1

function postgresLines({ maxLeases, maxReadBytes }: PostgresMemory): readonly MemoryLine[] {
  return [
    {
      owner: 'storage',
      name: 'connections to PostgreSQL: socket, parser, one network read each',
      place: 'outside',
      maxCount: CONNECTIONS,
      bytesEach: 192 * KIB,
      boundedBy: 'MAX_READ_LINES, one that writes, one for the leases',
      source: 'Node reads 64 KiB at a time, the parser keeps as much, and TLS two records',
    },
    {
      owner: 'storage',
      name: 'prepared statements of the connections',
      place: 'heap',
      maxCount: CONNECTIONS * MAX_PREPARED,
      bytesEach: 2 * KIB,
      boundedBy: 'MAX_PREPARED',
      source: 'the text, the types of its parameters, a decoder per column',
    },
    {
      owner: 'storage',
      name: 'statements for many units at once',
      place: 'heap',
      maxCount: MAX_FORMS,
      bytesEach: 4 * KIB,
      boundedBy: 'MAX_FORMS',
      source: 'two texts and the types of the parameters',
    },
    {
      owner: 'storage',
      name: 'a commit on its way: its arrays, the pipeline, the socket',
      place: 'outside',
      maxCount: 6,
      bytesEach: MAX_FLUSH_BYTES,
      boundedBy: 'MAX_FLUSH_BYTES',
      source: 'three copies, bytes in hexadecimal twice as large',
    },
    {
      owner: 'storage',
      name: 'answers to reads: as they come, in hexadecimal, as rows',
      place: 'heap',
      maxCount: 4 * MAX_READ_LINES,
      bytesEach: maxReadBytes,
      boundedBy: 'MAX_READ_LINES, and what one read may ask for',
      source: 'the limit itself, four times',
    },
    {
      owner: 'storage',
      name: 'leases of the instances owned here',
      place: 'heap',
      maxCount: maxLeases,
      bytesEach: 320,
      boundedBy: 'ECLUSA_MAX_INSTANCES',
      source: 'an id in a map and in a set, an epoch and an instant',
    },
  ]
}
