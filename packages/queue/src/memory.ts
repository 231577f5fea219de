import { KIB, type MemoryLine } from '@eclusa/kernel'
import { defaultDispatcherLimits, type DispatcherLimits } from './dispatcher.ts'
import { ADMIT_STEP } from './holds.ts'
import { MAX_LIVE } from './live-messages.ts'
import { MAX_TEXT_LENGTH } from './outbox.ts'
import { MAX_PAUSES } from './pauses.ts'
import { MEAN_TIMES } from './send-log.ts'
import { MAX_SETTINGS } from './settings.ts'

/** What the queue holds in memory at most. Messages that wait are on disk: a million of them cost nothing here. */
export function queueMemory(limits: DispatcherLimits = defaultDispatcherLimits): readonly MemoryLine[] {
  return [
    {
      owner: 'queue',
      name: 'chats in the window, each with its place in the order and a timer',
      place: 'heap',
      maxCount: limits.maxOpenChats,
      bytesEach: 512,
      boundedBy: 'maxOpenChats',
      source: 'measured 488 B, timer included (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'lanes: messages being paced or sent, without their text',
      place: 'heap',
      maxCount: limits.maxLanes,
      bytesEach: 7 * KIB,
      boundedBy: 'maxLanes',
      source: 'measured 6.3 kB while it is paced (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'texts of the messages in lanes',
      place: 'heap',
      maxCount: 1,
      bytesEach: limits.maxContentBytes,
      boundedBy: 'maxContentBytes',
      source: 'the limit itself: two bytes a character are counted',
    },
    {
      owner: 'queue',
      name: 'texts of the newest messages that wait',
      place: 'heap',
      maxCount: 1,
      bytesEach: limits.maxRecentBytes,
      boundedBy: 'maxRecentBytes, the oldest first; then they are read from disk',
      source: 'the limit itself: two bytes a character and an entry are counted',
    },
    {
      owner: 'queue',
      name: 'texts on their way from disk, by which the line above may be passed',
      place: 'heap',
      maxCount: limits.maxClaims,
      bytesEach: 2 * MAX_TEXT_LENGTH,
      boundedBy: 'maxClaims',
      source: 'the longest text, two bytes a character',
    },
    {
      owner: 'queue',
      name: 'texts encoded and encrypted for the wire',
      place: 'outside',
      maxCount: 4,
      bytesEach: limits.maxContentBytes,
      boundedBy: 'maxContentBytes',
      source: 'plain, padded, and two ciphertexts: the contact and the own phone',
    },
    {
      owner: 'queue',
      name: 'messages whose receipts may come before their acknowledgement',
      place: 'heap',
      maxCount: MAX_LIVE,
      bytesEach: 640,
      boundedBy: 'MAX_LIVE',
      source: 'measured 604 B (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'rates of contacts and instances',
      place: 'heap',
      maxCount: limits.maxRates,
      bytesEach: 256,
      boundedBy: 'maxRates, the longest unused first',
      source: 'measured 223 B (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'contacts written to within a day, for the ceilings of an hour and a day',
      place: 'heap',
      maxCount: limits.maxRates,
      bytesEach: 448,
      boundedBy: `maxRates, the longest unused first; ${MEAN_TIMES} times each on average`,
      source: 'measured 422 B with 10 times each (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'times given to messages at the rates of their tenants, and of instances that were slowed',
      place: 'heap',
      maxCount: 2 * limits.maxRates,
      bytesEach: 256,
      boundedBy: 'maxRates; past it the messages ask again',
      source: 'measured 198 B with a tenant each (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'what people paused',
      place: 'heap',
      maxCount: MAX_PAUSES,
      bytesEach: 512,
      boundedBy: 'MAX_PAUSES, then QUEUE_TOO_MANY_PAUSES',
      source: 'measured 498 B (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'pacing of tenants and instances',
      place: 'heap',
      maxCount: MAX_SETTINGS,
      bytesEach: KIB,
      boundedBy: 'MAX_SETTINGS, then QUEUE_TOO_MANY_SETTINGS',
      source: 'measured 955 B with every field set (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'limits of tenants and instances',
      place: 'heap',
      maxCount: MAX_SETTINGS,
      bytesEach: 2 * KIB,
      boundedBy: 'MAX_SETTINGS, then QUEUE_TOO_MANY_SETTINGS',
      source: 'measured 1979 B with every field set and 20 holidays (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'messages that were held and take their places, in one step',
      place: 'heap',
      maxCount: ADMIT_STEP,
      bytesEach: KIB,
      boundedBy: 'ADMIT_STEP; those that are held are on disk',
      source: 'a row of ten short fields, and its identity',
    },
  ]
}
