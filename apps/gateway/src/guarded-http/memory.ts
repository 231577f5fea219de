import { KIB, type MemoryLine } from '@eclusa/kernel'
import { defaultGuardedLimits } from './guarded-http.ts'

/** What calls to other servers hold in memory at most. */
export function guardedMemory(limits = defaultGuardedLimits): readonly MemoryLine[] {
  return [
    {
      owner: 'outgoing',
      name: 'calls to other servers: connection, request, answer and its parts',
      place: 'outside',
      maxCount: limits.maxCalls,
      bytesEach: 64 * KIB + limits.maxRequestBytes + 2 * limits.maxAnswerBytes,
      boundedBy: 'maxCalls, maxRequestBytes, maxAnswerBytes',
      source: 'the limits themselves; a TLS connection is taken as 64 KiB',
    },
    {
      owner: 'outgoing',
      name: 'calls to other servers that wait for their turn',
      place: 'heap',
      maxCount: limits.maxWaiting,
      bytesEach: limits.maxRequestBytes + 4 * KIB,
      boundedBy: 'maxWaiting, then HTTP_BUSY',
      source: 'the limit itself, and a few short fields',
    },
  ]
}
