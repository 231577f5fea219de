import { KIB, type MemoryLine } from '@eclusa/kernel'
import { defaultDispatcherLimits, type DispatcherLimits } from './dispatcher.ts'
import { MAX_LIVE } from './live-messages.ts'
import { MAX_TEXT_LENGTH } from './outbox.ts'

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
      source: 'measured 350 B, and a timer (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'lanes: messages being paced or sent, without their text',
      place: 'heap',
      maxCount: limits.maxLanes,
      bytesEach: 6 * KIB,
      boundedBy: 'maxLanes',
      source: 'measured 5.1 kB while it is paced (npm run bench:memory)',
    },
    {
      owner: 'queue',
      name: 'texts of the messages in lanes',
      place: 'heap',
      maxCount: 1,
      bytesEach: limits.maxContentBytes,
      boundedBy: 'maxContentBytes',
      source: 'the limit itself: a text takes no more in the heap than sealed',
    },
    {
      owner: 'queue',
      name: 'texts of claims on their way, by which the line above may be passed',
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
      source: 'measured 611 B (npm run bench:memory)',
    },
  ]
}
