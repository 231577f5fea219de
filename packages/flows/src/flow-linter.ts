import { plain } from './answer.ts'
import { type Finding, type FlowDefinition, parseFlow, type Step } from './flow-definition.ts'
import { edgesOf, givesToPerson, reachableFrom } from './flow-graph.ts'
import { placeholdersIn } from './placeholders.ts'

/** What the tenant has; names that it does not have are errors. Left out, they are not judged. */
export interface Surroundings {
  readonly sectors?: ReadonlySet<string>
  readonly operators?: ReadonlySet<string>
  /** Why a URL would not be called; null when it would. */
  readonly refusalOfUrl?: (url: string) => string | null
}

/**
 * Everything that is wrong with a definition, in the order of its steps, errors before warnings; empty when it is fine.
 * A definition that is wrong in its form is judged for that alone.
 */
export function lintFlow(input: unknown, around: Surroundings = {}): readonly Finding[] {
  const parsed = parseFlow(input)
  if ('findings' in parsed) return parsed.findings
  const { flow } = parsed
  const findings = [
    ...faultsOfIds(flow),
    ...flow.steps.flatMap((step, nth) => faultsOf(step, nth, flow, around)),
  ]
  // Ways that lead nowhere would be told of again by everything that follows them.
  if (findings.every(({ level }) => level === 'warning')) findings.push(...faultsOfWays(flow))
  return findings.toSorted((a, b) => Number(a.level === 'warning') - Number(b.level === 'warning'))
}

function faultsOfIds(flow: FlowDefinition): Finding[] {
  const seen = new Set<string>()
  const findings: Finding[] = []
  for (const [nth, { id }] of flow.steps.entries()) {
    if (seen.has(id)) findings.push(error(id, `steps.${nth}.id`, 'has the id of a step before it'))
    seen.add(id)
  }
  if (!seen.has(flow.start)) {
    findings.push({
      level: 'error',
      step: null,
      field: 'start',
      message: `The flow begins at "${flow.start}", which is no step`,
    })
  }
  return findings
}

function faultsOf(step: Step, nth: number, flow: FlowDefinition, around: Surroundings): Finding[] {
  const at = (field: string): string => `steps.${nth}.${field}`
  const ids = new Set(flow.steps.map(({ id }) => id))
  const findings = edgesOf(step)
    .filter(({ to }) => !ids.has(to))
    .map(({ to, field }) => error(step.id, at(field), `goes to "${to}" (${field}), which is no step`))
  const sector = sectorOf(step)
  if (sector !== null && around.sectors?.has(sector) === false) {
    findings.push(error(step.id, at('sector'), `names the sector "${sector}", which does not exist`))
  }
  if (step.kind === 'sector' && typeof flow.starts === 'object' && flow.starts.sector === step.sector) {
    findings.push(error(step.id, at('sector'), 'goes on with the flow of the sector whose flow this is'))
  }
  if (step.kind === 'assign' && 'operator' in step.to && around.operators?.has(step.to.operator) === false) {
    findings.push(error(step.id, at('to.operator'), 'names an operator who does not exist'))
  }
  if (step.kind === 'menu') findings.push(...faultsOfMenu(step, at))
  if (step.kind === 'question') findings.push(...faultsOfQuestion(step, at))
  if (step.kind === 'condition') {
    for (const [place, { when }] of step.cases.entries()) {
      const fault = faultOfTest(when)
      if (fault !== null) findings.push(error(step.id, at(`cases.${place}.when`), fault))
    }
  }
  if (step.kind === 'lookup') findings.push(...faultsOfLookup(step, at, around))
  findings.push(...faultsOfPlaceholders(step, at, flow))
  return findings
}

function faultsOfMenu(step: Extract<Step, { kind: 'menu' }>, at: (field: string) => string): Finding[] {
  if (step.options.length === 0) return [error(step.id, at('options'), 'is a menu without options')]
  const findings: Finding[] = []
  const taken = new Map<string, number>()
  for (const [place, option] of step.options.entries()) {
    const said = [option.key ?? String(place + 1), option.label, ...(option.words ?? [])].map(plain)
    for (const word of new Set(said)) {
      const before = taken.get(word)
      if (before !== undefined) {
        findings.push(
          error(
            step.id,
            at(`options.${place}`),
            `has "${word}" for the options ${before + 1} and ${place + 1}`,
          ),
        )
      }
      taken.set(word, place)
    }
  }
  return findings
}

function faultsOfQuestion(
  step: Extract<Step, { kind: 'question' }>,
  at: (field: string) => string,
): Finding[] {
  const { kind, choices, min, max } = step.answer
  if ((kind === 'choice') !== (choices !== undefined)) {
    return [
      error(step.id, at('answer.choices'), 'must have choices when its answer is a choice, and only then'),
    ]
  }
  if (min !== undefined && max !== undefined && min > max) {
    return [error(step.id, at('answer.min'), 'takes no answer: min is above max')]
  }
  return []
}

function faultsOfLookup(
  step: Extract<Step, { kind: 'lookup' }>,
  at: (field: string) => string,
  { refusalOfUrl }: Surroundings,
): Finding[] {
  const findings: Finding[] = []
  const host = /^[a-z]+:\/\/[^/?#]*/i.exec(step.url)?.[0] ?? step.url
  if (host.includes('{')) {
    findings.push(
      error(step.id, at('url'), 'has a placeholder in the host of its URL: anybody could choose the server'),
    )
  } else {
    const refusal = refusalOfUrl?.(step.url.replaceAll(/\{[^{}]*\}/g, 'x')) ?? null
    if (refusal !== null) findings.push(error(step.id, at('url'), `has a URL that is not called: ${refusal}`))
  }
  if (step.method === 'GET' && step.body !== undefined) {
    findings.push(error(step.id, at('body'), 'is a GET with a body'))
  }
  if (step.fallback === undefined) {
    findings.push(
      warning(
        step.id,
        at('fallback'),
        'has no fallback: when the server fails, the contact goes to a person',
      ),
    )
  }
  return findings
}

function faultsOfPlaceholders(step: Step, at: (field: string) => string, flow: FlowDefinition): Finding[] {
  const set = new Set(flow.steps.flatMap(fieldsSetBy))
  return placeholdersIn(JSON.stringify(step)).flatMap((name) => {
    if (name === 'contact.name' || name === 'contact.number') return []
    if (!name.startsWith('field.')) {
      return [
        error(
          step.id,
          at('text'),
          `has the placeholder {${name}}, which is none: there is contact.name, contact.number and field.NAME`,
        ),
      ]
    }
    if (set.has(name.slice('field.'.length))) return []
    return [
      warning(
        step.id,
        at('text'),
        `uses {${name}}, which no step of this flow sets; it is empty unless the contact has it`,
      ),
    ]
  })
}

function faultsOfWays(flow: FlowDefinition): Finding[] {
  const placeOf = new Map(flow.steps.map(({ id }, nth) => [id, nth]))
  const reachable = reachableFrom(flow, flow.start)
  const findings = flow.steps
    .filter(({ id }) => !reachable.has(id))
    .map(({ id }) => error(id, `steps.${placeOf.get(id)}`, 'is never reached'))
  for (const loop of loopsWithoutWait(flow)) {
    const [first = ''] = loop
    findings.push(
      error(
        first,
        `steps.${placeOf.get(first)}`,
        `is in a loop without a wait: ${[...loop, first].join(' → ')}`,
      ),
    )
  }
  const persons = flow.steps.filter(givesToPerson)
  const toPerson = (from: string): boolean => {
    const behind = reachableFrom(flow, from)
    return persons.some(({ id }) => behind.has(id))
  }
  // By hand a person started it, and has the conversation.
  if (flow.starts !== 'by_hand') {
    if (!toPerson(flow.start)) {
      findings.push({
        level: 'error',
        step: null,
        field: 'steps',
        message: 'The flow has no way to a person',
      })
    }
    for (const { id, kind } of flow.steps) {
      if (kind === 'menu' && reachable.has(id) && !toPerson(id)) {
        findings.push(warning(id, `steps.${placeOf.get(id)}`, 'has no way to a person behind it'))
      }
    }
  }
  return findings
}

/** One loop for each step that closes one, by depth-first search over the ways that wait for nothing. */
function loopsWithoutWait(flow: FlowDefinition): readonly (readonly string[])[] {
  const steps = new Map(flow.steps.map((step) => [step.id, step]))
  const loops: string[][] = []
  const done = new Set<string>()
  const path: string[] = []
  const visit = (id: string): void => {
    const begins = path.indexOf(id)
    if (begins !== -1) {
      loops.push(path.slice(begins))
      return
    }
    const step = steps.get(id)
    if (step === undefined || done.has(id)) return
    path.push(id)
    for (const { to } of edgesOf(step).filter(({ waits }) => !waits)) visit(to)
    path.pop()
    done.add(id)
  }
  for (const { id } of flow.steps) visit(id)
  return loops
}

function faultOfTest(test: Extract<Step, { kind: 'condition' }>['cases'][number]['when']): string | null {
  if ('all' in test) return test.all.map(faultOfTest).find((fault) => fault !== null) ?? null
  if ('any' in test) return test.any.map(faultOfTest).find((fault) => fault !== null) ?? null
  if ('not' in test) return faultOfTest(test.not)
  if (test.is === 'set') return test.to === undefined ? null : 'compares "set" with something'
  if (test.to === undefined) return `compares ${test.value} with nothing`
  if ((test.is === 'one_of') !== Array.isArray(test.to)) return '"one_of" takes a list, and nothing else does'
  return null
}

function sectorOf(step: Step): string | null {
  if (step.kind === 'sector') return step.sector
  if (step.kind === 'hand_over') return step.sector ?? null
  if (step.kind === 'assign' && 'sector' in step.to) return step.to.sector
  return null
}

function fieldsSetBy(step: Step): readonly string[] {
  if (step.kind === 'question') return [step.save]
  if (step.kind === 'lookup') return step.save.map(({ field }) => field)
  if (step.kind === 'set') return Object.keys(step.fields ?? {})
  if (step.kind === 'close') return step.satisfaction === undefined ? [] : [step.satisfaction.save]
  return []
}

function error(step: string, field: string, what: string): Finding {
  return { level: 'error', step, field, message: `Step "${step}" ${what}` }
}

function warning(step: string, field: string, what: string): Finding {
  return { level: 'warning', step, field, message: `Step "${step}" ${what}` }
}
