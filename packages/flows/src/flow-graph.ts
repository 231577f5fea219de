import type { FlowDefinition, Step } from './flow-definition.ts'

/** A way from one step to another. */
export interface Edge {
  readonly to: string
  /** Where in the step it is written: `options.0.next`. */
  readonly field: string
  /** Taken only after the contact wrote, or time passed. */
  readonly waits: boolean
}

/** Every way out of a step. Pure. */
export function edgesOf(step: Step): readonly Edge[] {
  const waits = step.kind === 'menu' || step.kind === 'question' || step.kind === 'wait'
  const edge = (field: string, to: string | undefined): readonly Edge[] =>
    to === undefined ? [] : [{ to, field, waits }]
  return [...ownEdges(step, edge), ...edge('fallback', step.fallback)]
}

function ownEdges(
  step: Step,
  edge: (field: string, to: string | undefined) => readonly Edge[],
): readonly Edge[] {
  switch (step.kind) {
    case 'send':
    case 'returning':
    case 'owner':
    case 'lookup':
    case 'set':
      return edge('next', step.next)
    case 'hours':
      return [...edge('open', step.open), ...edge('closed', step.closed)]
    case 'only_admin':
      return [...edge('yes', step.yes), ...edge('no', step.no)]
    case 'menu':
      return [
        ...step.options.flatMap(({ next }, nth) => edge(`options.${nth}.next`, next)),
        ...edge('timeOut.next', step.timeOut?.next),
      ]
    case 'question':
      return [...edge('next', step.next), ...edge('timeOut.next', step.timeOut?.next)]
    case 'condition':
      return [
        ...step.cases.flatMap(({ next }, nth) => edge(`cases.${nth}.next`, next)),
        ...edge('otherwise', step.otherwise),
      ]
    case 'wait':
      return [...edge('next', step.next), ...edge('heard', step.heard)]
    case 'sector':
    case 'assign':
    case 'hand_over':
    case 'close':
      return []
    default:
      return step satisfies never
  }
}

/** Whether a step puts the contact in a person's hands, or may. */
export function givesToPerson({ kind }: Step): boolean {
  return kind === 'assign' || kind === 'hand_over' || kind === 'sector'
}

/** Steps that can be reached from `from`, itself included. */
export function reachableFrom(flow: FlowDefinition, from: string): ReadonlySet<string> {
  const steps = new Map(flow.steps.map((step) => [step.id, step]))
  const seen = new Set<string>()
  const todo = [from]
  for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
    const step = steps.get(id)
    if (step === undefined || seen.has(id)) continue
    seen.add(id)
    todo.push(...edgesOf(step).map(({ to }) => to))
  }
  return seen
}
