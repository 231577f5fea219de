import { contactsMemory } from '@eclusa/contacts'
import { flowsMemory } from '@eclusa/flows'
import { KIB, type MemoryLine, MIB } from '@eclusa/kernel'
import { defaultDispatcherLimits, type DispatcherLimits, MAX_BATCH, queueMemory } from '@eclusa/queue'
import { MAX_HISTORY_BYTES, sessionMemory } from '@eclusa/session/memory'
import { DEFAULT_PAGE_CACHE_BYTES, storageMemory } from '@eclusa/storage'
import type { Config } from '../config.ts'
import { guardedMemory } from '../guarded-http/memory.ts'
import { defaultHttpLimits, type HttpLimits, ONE_MORE_BYTES, PAGE_BYTES } from '../http/limits.ts'
import { httpMemory } from '../http/memory.ts'
import { defaultInboxLimits, INBOX_PAGE, type InboxLimits } from '../inbox.ts'
import { MAX_KEYS } from '../keys/limits.ts'
import { webhookMemory } from '../webhooks/memory.ts'
import { defaultWebhookLimits, smallWebhookLimits, type WebhookLimits } from '../webhooks/webhook.ts'
import { loginMemory } from '../login/memory.ts'
import { MEASUREMENT_BYTES } from '../measurements/measurements.ts'
import { MAX_TENANTS } from '../tenants/tenants.ts'
import { partOf } from './ceiling.ts'

/** What bounds the parts of the gateway. */
export interface GatewayLimits {
  readonly queue: DispatcherLimits
  readonly http: HttpLimits
  readonly inbox: InboxLimits
  readonly webhooks: WebhookLimits
  /** SQLite's page cache; 0 with PostgreSQL. */
  readonly pageCacheBytes: number
  /** The heap of SQLite's thread; 0 with PostgreSQL. */
  readonly storageThreadBytes: number
  /** One of the three semi-spaces of V8's young generation. */
  readonly semiSpaceBytes: number
  /** Sessions that may log in at the same time. */
  readonly maxStarting: number
  /** Largest history that is read, inflated. */
  readonly maxHistoryBytes: number
}

/** Where memory is not scarce. Semi-spaces of 8 MiB leave 10 MB less RSS than V8's 16 on an idle gateway. */
export function usualLimits(config: Config, ceilingBytes: number): GatewayLimits {
  return {
    queue: defaultDispatcherLimits,
    http: defaultHttpLimits,
    inbox: defaultInboxLimits,
    webhooks: { ...defaultWebhookLimits, maxWebhooks: config.webhooksMax },
    pageCacheBytes: pageCacheOf(config, ceilingBytes) ?? DEFAULT_PAGE_CACHE_BYTES,
    storageThreadBytes: config.databaseUrl === '' ? 64 * MIB : 0,
    semiSpaceBytes: 8 * MIB,
    maxStarting: config.sessionMaxStarting,
    maxHistoryBytes: MAX_HISTORY_BYTES,
  }
}

/** Where it is: less of everything that is not a session, so that sessions have room. */
export function smallLimits(config: Config, ceilingBytes: number): GatewayLimits {
  return {
    queue: {
      ...defaultDispatcherLimits,
      maxLanes: 500,
      maxLanesPerInstance: 100,
      maxOpenChats: 5000,
      maxOpenChatsPerInstance: 1000,
      maxContentBytes: 4 * MIB,
      maxClaims: 32,
      maxRecentBytes: MIB,
      maxRates: 5000,
    },
    http: { maxConnections: 250, maxBodiesBytes: 4 * MIB, maxReads: 4, maxUnsentBytes: 8 * MIB },
    inbox: { maxWalking: 50, maxChats: 500 },
    webhooks: { ...smallWebhookLimits, maxWebhooks: config.webhooksMax },
    pageCacheBytes: pageCacheOf(config, ceilingBytes) ?? 8 * MIB,
    storageThreadBytes: config.databaseUrl === '' ? 32 * MIB : 0,
    semiSpaceBytes: 4 * MIB,
    maxStarting: Math.min(2, config.sessionMaxStarting),
    maxHistoryBytes: MAX_HISTORY_BYTES,
  }
}

function pageCacheOf({ memoryPageCache, databaseUrl }: Config, ceilingBytes: number): number | null {
  if (databaseUrl !== '') return 0
  return memoryPageCache === null ? null : partOf(memoryPageCache, ceilingBytes)
}

/** Every bounded structure of the process, package by package. */
export function memoryLines(config: Config, limits: GatewayLimits): readonly MemoryLine[] {
  const { queue, http, inbox, webhooks, pageCacheBytes, storageThreadBytes, maxStarting, maxHistoryBytes } =
    limits
  return [
    ...processMemory(config),
    ...storageMemory({
      ...(config.databaseUrl === ''
        ? { dialect: 'sqlite', pageCacheBytes, threadBytes: storageThreadBytes }
        : { dialect: 'postgres', maxLeases: config.maxInstances, maxReadBytes: PAGE_BYTES + ONE_MORE_BYTES }),
      // A batch asks for the chat of each of its messages at once.
      maxWaiting: queue.maxLanes + http.maxConnections + http.maxReads * MAX_BATCH,
    }),
    ...queueMemory(queue),
    ...sessionMemory({ maxStarting, maxHistoryBytes }),
    ...contactsMemory(),
    ...flowsMemory(),
    ...httpMemory(http, config.eventsMaxStreams),
    ...guardedMemory(),
    ...inboxMemory(inbox),
    ...webhookMemory(webhooks),
  ]
}

/** What contacts wrote, on its way through contacts, conversations and flows. */
function inboxMemory({ maxWalking, maxChats }: InboxLimits): readonly MemoryLine[] {
  return [
    {
      owner: 'gateway',
      name: 'chats with messages that came in',
      place: 'heap',
      maxCount: maxChats,
      bytesEach: 512,
      boundedBy: 'InboxLimits.maxChats; the others are found again on disk',
      source: 'a key, an id of a chat, a timer',
    },
    {
      owner: 'gateway',
      name: 'messages that are being processed',
      place: 'heap',
      maxCount: maxWalking,
      // A page ends with the message that reaches its bytes: that one may be the largest that is taken.
      bytesEach: 4 * INBOX_PAGE.maxBytes,
      boundedBy: 'InboxLimits.maxWalking, pages of 20 messages or 32 KiB',
      source: 'sealed, opened, and parsed; texts of 64 KiB are rare enough to share',
    },
  ]
}

/** The program itself. */
function processMemory(config: Config): readonly MemoryLine[] {
  return [
    {
      owner: 'process',
      name: 'the program and its libraries in the heap',
      place: 'heap',
      maxCount: 1,
      bytesEach: 46 * MIB,
      boundedBy: 'the code',
      source: 'measured 44.7 MiB after a collection, without a session (npm run bench:memory)',
    },
    {
      owner: 'process',
      name: 'Node, WebAssembly, machine code, an idle database thread',
      place: 'outside',
      measuredAsRss: true,
      maxCount: 1,
      bytesEach: 132 * MIB,
      boundedBy: 'the code',
      source: 'measured: RSS less the heap, without a session (npm run bench:memory)',
    },
    {
      owner: 'gateway',
      name: 'instances, connected or not',
      place: 'heap',
      maxCount: config.maxInstances,
      bytesEach: 1 * KIB,
      boundedBy: 'ECLUSA_MAX_INSTANCES',
      source: 'ten short fields, and counters of the queue',
    },
    {
      owner: 'gateway',
      name: 'tenants, and the rates of their calls',
      place: 'heap',
      maxCount: MAX_TENANTS,
      bytesEach: 768,
      boundedBy: 'MAX_TENANTS',
      source: 'an id, a name of up to 100 characters, quotas; a number',
    },
    {
      owner: 'gateway',
      name: 'API keys',
      place: 'heap',
      maxCount: MAX_KEYS,
      bytesEach: 2 * KIB,
      boundedBy: 'MAX_KEYS, MAX_KEY_INSTANCES, MAX_KEY_ADDRESSES',
      source: 'ids, a name and scopes; the few that are limited to 20 instances or 16 addresses share',
    },
    {
      owner: 'gateway',
      name: 'the last hour and day of measurements',
      place: 'outside',
      maxCount: 1,
      bytesEach: MEASUREMENT_BYTES,
      boundedBy: 'their steps',
      source: 'arrays of fixed length',
    },
    ...loginMemory(),
  ]
}
