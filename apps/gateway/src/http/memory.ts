import { KIB, type MemoryLine } from '@eclusa/kernel'
import { LEAST_UNSENT_BYTES } from '../events/event-streams.ts'
import { SINK_BATCH_BYTES } from '../events/sinks/event-forwarder.ts'
import { type HttpLimits, MAX_EXPORTS, MAX_HEADER_BYTES, ONE_MORE_BYTES, PAGE_BYTES } from './limits.ts'

/** What the HTTP API holds in memory at most. */
export function httpMemory(limits: HttpLimits, maxStreams: number): readonly MemoryLine[] {
  return [
    {
      owner: 'http',
      name: 'connections: socket, parser, head of a request',
      place: 'outside',
      maxCount: limits.maxConnections,
      bytesEach: 12 * KIB + MAX_HEADER_BYTES,
      boundedBy: 'maxConnections, MAX_HEADER_BYTES',
      source: 'socket and parser, and the largest head of a request',
    },
    {
      owner: 'http',
      name: 'connections: objects of the request under way',
      place: 'heap',
      maxCount: limits.maxConnections,
      bytesEach: 12 * KIB,
      boundedBy: 'maxConnections',
      source: 'measured 2.0 kB when idle (npm run bench:memory); a request under way has its objects',
    },
    {
      owner: 'http',
      name: 'request bodies: read, parsed',
      place: 'heap',
      maxCount: 2,
      bytesEach: limits.maxBodiesBytes,
      boundedBy: 'maxBodiesBytes, then GATEWAY_BUSY',
      source: 'the limit itself',
    },
    {
      owner: 'http',
      name: 'request bodies: received, sealed for the disk',
      place: 'outside',
      maxCount: 2,
      bytesEach: limits.maxBodiesBytes,
      boundedBy: 'maxBodiesBytes, then GATEWAY_BUSY',
      source: 'the limit itself',
    },
    {
      owner: 'http',
      name: 'pages, replays and steps through many rows: rows, opened, answer',
      place: 'heap',
      maxCount: 3 * limits.maxReads,
      bytesEach: PAGE_BYTES + ONE_MORE_BYTES,
      boundedBy: 'maxReads, PAGE_BYTES and one message more each',
      source: 'the limit itself; 500 messages without their text, or 500 entries of the ledger, are less',
    },
    {
      owner: 'http',
      name: 'brokers: events on their way, read and as messages',
      place: 'heap',
      maxCount: 2,
      bytesEach: 2 * SINK_BATCH_BYTES,
      boundedBy: 'SINK_BATCH_BYTES, passed by one event at most',
      source: 'the limit itself, twice',
    },
    {
      owner: 'http',
      name: 'event streams: what clients have not taken',
      place: 'outside',
      maxCount: 1,
      bytesEach: Math.max(limits.maxUnsentBytes, maxStreams * LEAST_UNSENT_BYTES),
      boundedBy: 'maxUnsentBytes, divided among the open streams',
      source: 'the limit itself',
    },
    {
      owner: 'http',
      name: 'event streams: one event more each',
      place: 'outside',
      maxCount: maxStreams,
      bytesEach: ONE_MORE_BYTES,
      boundedBy: 'ECLUSA_EVENTS_MAX_STREAMS',
      source: 'the longest text',
    },
    {
      owner: 'http',
      name: 'answers being written',
      place: 'outside',
      maxCount: limits.maxConnections,
      bytesEach: 4 * KIB,
      boundedBy: 'answers other than pages and streams are under 4 kB; the list of instances is one row each',
      source: 'a page is counted above',
    },
    {
      owner: 'http',
      name: 'exports of contacts: the rows of a step, their text, the socket',
      place: 'heap',
      maxCount: MAX_EXPORTS,
      bytesEach: 512 * KIB,
      boundedBy: 'MAX_EXPORTS, a step of 25 contacts or 200 messages',
      source: '25 contacts with 16 kB of fields; a message of 0.8 kB three times',
    },
  ]
}
