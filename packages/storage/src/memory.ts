import { KIB, type MemoryLine, MIB } from '@eclusa/kernel'
import { MAX_FLUSH_BYTES } from './sqlite.ts'

/** What the database holds in memory at most. */
export function storageMemory(options: {
  /** SQLite's page cache. */
  readonly pageCacheBytes: number
  /** The most that the heap of its thread may take. */
  readonly threadBytes: number
  /** Calls that may wait for an answer at once: what bounds it lies with the callers. */
  readonly maxWaiting: number
}): readonly MemoryLine[] {
  return [
    {
      owner: 'storage',
      name: 'SQLite page cache',
      place: 'outside',
      maxCount: 1,
      bytesEach: options.pageCacheBytes,
      boundedBy: 'ECLUSA_MEMORY_PAGE_CACHE',
      source: 'the limit itself (pragma cache_size)',
    },
    {
      owner: 'storage',
      name: 'the thread of the database, beyond what it takes when idle',
      place: 'outside',
      maxCount: 1,
      bytesEach: options.threadBytes,
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
      name: 'a read of the event log for those who follow it',
      place: 'heap',
      maxCount: 4,
      bytesEach: MIB / 4,
      boundedBy: 'BATCH_BYTES of the tail: row, opened, parsed, text',
      source: 'the limit itself',
    },
  ]
}
