import { KIB, type MemoryLine } from '@eclusa/kernel'
import { flowLimits } from './flow-definition.ts'
import { MAX_ACTIVE_FLOWS } from './flow-runner.ts'
import { MAX_READ_FLOWS } from './flow-store.ts'
import { MAX_MOVING } from './waiting-line.ts'

/** What conversations and flows hold in memory at most. Conversations, lines, operators and waiting flows are on disk. */
export function flowsMemory(): readonly MemoryLine[] {
  return [
    {
      owner: 'flows',
      name: 'waiting lines that move just now',
      place: 'heap',
      maxCount: MAX_MOVING,
      bytesEach: 512,
      boundedBy: 'MAX_MOVING; the others move with the next pass',
      source: 'a key of two ids, two promises',
    },
    {
      owner: 'flows',
      name: 'flows that walk just now, with what they know of their contacts',
      place: 'heap',
      maxCount: MAX_ACTIVE_FLOWS,
      bytesEach: 48 * KIB,
      boundedBy: 'MAX_ACTIVE_FLOWS; more wait, their messages are on disk',
      source: 'a run with its last message (8 KiB), a few fields of 1,000 characters, and the contact',
    },
    {
      owner: 'flows',
      name: 'definitions of flows, read',
      place: 'heap',
      maxCount: MAX_READ_FLOWS,
      bytesEach: 4 * flowLimits.bytes,
      boundedBy: 'MAX_READ_FLOWS, the least used first',
      source: 'the longest document; as objects a JSON text takes up to four times its length',
    },
  ]
}
