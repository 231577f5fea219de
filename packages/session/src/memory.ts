import { KIB, type MemoryLine, MIB } from '@eclusa/kernel'
import { MAX_HELD_BY_ALL, MAX_HELD_WHEN_FULL } from './engines/baileys/stanza-gate.ts'

/** Events that Baileys holds back in each connection: of few use here, where messages are taken as they are decrypted. */
export const EVENT_BUFFER = { maxItems: 200, maxBytes: 128 * KIB }
/** Largest inflated history; one is read at a time in the whole process. */
export const MAX_HISTORY_BYTES: number = 64 * MIB

/**
 * What sessions hold in memory at most. `cacheLimits` are the caps of one session's caches: their bytes come out of
 * the one budget, whatever the caps would allow.
 */
export function sessionMemory(options: {
  /** Sessions that may log in at the same time. */
  readonly maxStarting: number
  /** Largest history that is read, inflated. */
  readonly maxHistoryBytes: number
}): readonly MemoryLine[] {
  return [
    {
      owner: 'session',
      name: 'an idle session: its socket object, handlers, credentials',
      place: 'heap',
      perSession: true,
      maxCount: 1,
      bytesEach: 128 * KIB,
      boundedBy: 'ECLUSA_MAX_INSTANCES',
      source:
        'measured 74 kB after a restart, 163 kB for Baileys alone with its own caches (npm run bench:sessions)',
    },
    {
      owner: 'session',
      name: 'an idle session outside the heap: connection, allocator',
      place: 'outside',
      perSession: true,
      measuredAsRss: true,
      maxCount: 1,
      bytesEach: 820 * KIB,
      boundedBy: 'ECLUSA_MAX_INSTANCES',
      source: 'measured 0.87 MB of RSS each, less its heap (npm run bench:sessions)',
    },
    {
      owner: 'session',
      name: 'TLS of a connection to WhatsApp',
      place: 'outside',
      perSession: true,
      maxCount: 1,
      bytesEach: 64 * KIB,
      boundedBy: 'ECLUSA_MAX_INSTANCES',
      source: 'two records of 16 KiB and OpenSSL state; simulators are reached without TLS',
    },
    {
      owner: 'session',
      name: 'stanzas read and waiting for the database',
      place: 'heap',
      maxCount: MAX_HELD_BY_ALL.stanzas,
      bytesEach: KIB,
      boundedBy: 'MAX_HELD_BY_ALL, then connections are not read',
      source: 'a message stanza decodes to about 0.9 kB beside its content',
    },
    {
      owner: 'session',
      name: 'content of those stanzas',
      place: 'outside',
      maxCount: 1,
      bytesEach: MAX_HELD_BY_ALL.bytes,
      boundedBy: 'MAX_HELD_BY_ALL',
      source: 'the limit itself',
    },
    {
      owner: 'session',
      name: 'stanzas of each connection when that is full, and one network read',
      place: 'outside',
      perSession: true,
      maxCount: 1,
      bytesEach: MAX_HELD_WHEN_FULL.stanzas * KIB + MAX_HELD_WHEN_FULL.bytes + 64 * KIB,
      boundedBy: 'MAX_HELD_WHEN_FULL',
      source: 'the limit itself; Node reads 64 KiB at a time',
    },
    {
      owner: 'session',
      name: 'sessions that log in: offline messages, app state',
      place: 'heap',
      maxCount: options.maxStarting,
      bytesEach: 8 * MIB,
      boundedBy: 'ECLUSA_SESSION_MAX_STARTING',
      source: 'app state of 5,000 entries takes 1.8 MB, and up to four copies of it are alive during a sync',
    },
    {
      owner: 'session',
      name: 'histories that came within their notification and wait',
      place: 'outside',
      maxCount: 1,
      bytesEach: 8 * MIB,
      boundedBy: 'MAX_WAITING_BYTES',
      source: 'the limit itself',
    },
    {
      owner: 'session',
      name: 'sends and receipts under way between Baileys and the database',
      place: 'heap',
      perSession: true,
      maxCount: 4,
      bytesEach: 16 * KIB,
      boundedBy: 'one message and one receipt at a time (stanza gate), one send per chat',
      source: 'a pruned Signal session is at most 8 kB of JSON, held twice',
    },
    {
      owner: 'session',
      name: 'events held back, and one more',
      place: 'heap',
      perSession: true,
      maxCount: 2,
      bytesEach: EVENT_BUFFER.maxBytes,
      boundedBy: 'EVENT_BUFFER.maxBytes',
      source: 'the limit itself; an event with the longest text is as large',
    },
    {
      owner: 'session',
      name: 'notifications and calls inside Baileys',
      place: 'heap',
      perSession: true,
      maxCount: 500,
      bytesEach: 768,
      boundedBy: 'PAUSE_ABOVE of the stanza flow, then the connection is not read',
      source: 'a tag and about ten attributes, and the promise that waits',
    },
    {
      owner: 'session',
      name: 'undecryptable messages asked of the own phone',
      place: 'heap',
      perSession: true,
      maxCount: 1000,
      bytesEach: 300,
      boundedBy: 'MAX_PHONE_REQUESTS, 3 s each',
      source: 'a timer and a key',
    },
    {
      owner: 'session',
      name: 'sessions moved from number to LID',
      place: 'heap',
      perSession: true,
      maxCount: 1000,
      bytesEach: 584,
      boundedBy: 'MAX_MIGRATIONS',
      source: 'measured 584 B: an entry of lru-cache with its timer',
    },
    {
      owner: 'session',
      name: 'the history being read: its file, twice one conversation',
      place: 'outside',
      maxCount: 3,
      bytesEach: Math.min(8 * MIB, options.maxHistoryBytes),
      boundedBy: 'MAX_COMPRESSED_BYTES and MAX_FIELD_BYTES, or maxHistoryBytes; one at a time in the process',
      source: 'the limits themselves; the buffer doubles when it grows. It is read while it is inflated',
    },
    {
      owner: 'session',
      name: 'the thread that reads histories',
      place: 'outside',
      maxCount: 1,
      bytesEach: 72 * MIB,
      boundedBy: 'THREAD_HEAP_MB, THREAD_YOUNG_MB; it ends after 10 s without work',
      source: '52 MiB of heap and young generation, and the code of a thread',
    },
    {
      owner: 'session',
      name: 'LIDs of numbers as WhatsApp told them, for all sessions',
      place: 'heap',
      maxCount: 10_000,
      bytesEach: 300,
      boundedBy: 'DEFAULT_CACHE_MAX_KEYS.LID_GLOBAL, 1 h',
      source: 'a key of 60 characters, a LID and 88 B for the entry; it is outside of the cache budget',
    },
    cacheLine(
      'Signal keys',
      10_000,
      2_000,
      'SIGNAL_KEY_CACHE_ENTRIES, 5 min',
      'a pruned session: 1.5 kB of JSON',
    ),
    cacheLine(
      'devices of contacts',
      5_000,
      440,
      'DEFAULT_CACHE_LIMITS.userDevices, 5 min',
      'three devices each',
    ),
    cacheLine(
      'phone number and LID of contacts',
      2_000,
      170,
      'DEFAULT_CACHE_LIMITS.lidMapping, 1 h from its last use',
      'a string',
    ),
    cacheLine('retries of inbound messages', 10_000, 270, 'DEFAULT_CACHE_LIMITS.msgRetry, 1 h', 'a number'),
    cacheLine('call offers', 500, 490, 'DEFAULT_CACHE_LIMITS.callOffer, 5 min', 'an object of 9 fields'),
    cacheLine(
      'placeholder resends',
      5_000,
      420,
      'DEFAULT_CACHE_LIMITS.placeholderResend, 1 h',
      'a key and its metadata',
    ),
    cacheLine(
      'messages just sent or received',
      64,
      15_000,
      'DEFAULT_CACHE_LIMITS.recentMessages, 5 min',
      'an image with its thumbnail',
    ),
    cacheLine('counters of retries', 2_000, 270, 'DEFAULT_CACHE_LIMITS.retryCounters, 15 min', 'a number'),
    cacheLine('sessions made anew', 2_000, 270, 'DEFAULT_CACHE_LIMITS.sessionRecreation, 2 h', 'an instant'),
    cacheLine('base keys of retries', 256, 300, 'DEFAULT_CACHE_LIMITS.baseKeys, 15 min', '33 bytes'),
    cacheLine(
      'requests to send again',
      6_000,
      230,
      'MAX_MESSAGES and MAX_PEERS of the resend limit, 10 min',
      'two ids',
    ),
    cacheLine('messages journalled a moment ago', 1_000, 270, 'RECENTLY_JOURNALLED, 5 min', 'a key'),
  ]
}

/** Bytes of research on Baileys 7.0.0-rc14 under Node 24, container included. */
function cacheLine(
  name: string,
  maxCount: number,
  bytesEach: number,
  boundedBy: string,
  source: string,
): MemoryLine {
  return {
    owner: 'session',
    name: `cache: ${name}`,
    place: 'cache',
    perSession: true,
    maxCount,
    bytesEach,
    boundedBy,
    source,
  }
}
