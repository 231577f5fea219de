import { KIB, type MemoryLine } from '@eclusa/kernel'
import { WEBHOOK_CALL_LIMITS } from './attempt.ts'
import { MAX_UNSAVED } from './recorder.ts'
import type { WebhookLimits } from './webhook.ts'

/** What sending webhooks holds in memory at most. */
export function webhookMemory(limits: WebhookLimits): readonly MemoryLine[] {
  return [
    {
      owner: 'webhooks',
      name: 'endpoints: what is set, how they do, their places in line',
      place: 'heap',
      maxCount: limits.maxWebhooks,
      bytesEach: 3 * KIB,
      boundedBy: 'ECLUSA_WEBHOOKS_MAX',
      source: 'a URL, 50 types, 32 places of the window; what waits is on disk',
    },
    {
      owner: 'webhooks',
      name: 'events on their way: as text, read and opened before',
      place: 'heap',
      maxCount: 2,
      bytesEach: limits.maxEventBytes + WEBHOOK_CALL_LIMITS.maxRequestBytes,
      boundedBy: 'maxEventBytes, and one event more',
      source: 'the limit itself',
    },
    {
      owner: 'webhooks',
      name: 'calls: connection, request, head of the answer',
      place: 'outside',
      maxCount: limits.maxCalls,
      bytesEach: 80 * KIB + 2 * WEBHOOK_CALL_LIMITS.maxAnswerBytes,
      boundedBy: 'maxCalls',
      source: 'a TLS connection is taken as 64 KiB; bodies are under maxEventBytes together',
    },
    {
      owner: 'webhooks',
      name: 'bodies being sent',
      place: 'outside',
      maxCount: 1,
      bytesEach: limits.maxEventBytes + WEBHOOK_CALL_LIMITS.maxRequestBytes,
      boundedBy: 'maxEventBytes, and one event more',
      source: 'the limit itself',
    },
    {
      owner: 'webhooks',
      name: 'tries that are not stored yet',
      place: 'heap',
      maxCount: MAX_UNSAVED + limits.maxCalls,
      bytesEach: 1 * KIB,
      boundedBy: 'MAX_UNSAVED, then nothing more is sent',
      source: 'twelve short values of a statement',
    },
  ]
}
