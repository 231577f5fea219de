import type { MemoryLine } from '@eclusa/kernel'
import { MAX_MOVING } from './waiting-line.ts'

/** What conversations and flows hold in memory at most. Conversations, lines and operators are on disk. */
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
  ]
}
