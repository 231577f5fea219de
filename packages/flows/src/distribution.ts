import { seededRandom } from '@eclusa/kernel'
import type { DistributionRule, OperatorId } from './conversation.ts'

/** An operator who is there, has the skill and has room. */
export interface Candidate {
  readonly id: OperatorId
  /** Conversations assigned now. */
  readonly assignedCount: number
  /** Grows with each assignment: the least was assigned to the longest ago. */
  readonly turn: number
}

/**
 * Who gets the next conversation; undefined when nobody is there. The same candidates in whatever order and the same
 * seed give the same answer.
 *
 * `least_busy`: who has the fewest, among those who got one the longest ago. `round_robin`: who got one the longest ago.
 * `random`: anyone, by the seed.
 */
export function chooseOperator(
  candidates: readonly Candidate[],
  rule: DistributionRule,
  seed: number,
): OperatorId | undefined {
  const byTurn = candidates.toSorted((a, b) => a.turn - b.turn || (a.id < b.id ? -1 : 1))
  switch (rule) {
    case 'round_robin':
      return byTurn[0]?.id
    case 'least_busy':
      return byTurn.toSorted((a, b) => a.assignedCount - b.assignedCount)[0]?.id
    case 'random': {
      // By id, not by turn: the choice depends on who is there, not on what they got before.
      const byId = candidates.toSorted((a, b) => (a.id < b.id ? -1 : 1))
      return byId[Math.floor(seededRandom(seed)() * byId.length)]?.id
    }
    default:
      return rule satisfies never
  }
}
