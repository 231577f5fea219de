import { EclusaError } from '@eclusa/kernel'
import { simulatorErrors } from './simulator-errors.ts'

/** Where a fault strikes; what each action does there is the table in README.md. */
const FAULT_POINTS = ['connect', 'login', 'iq', 'message', 'ack', 'deliver', 'receipt', 'media'] as const
export type FaultPoint = (typeof FAULT_POINTS)[number]

const FAULT_ACTIONS = ['lose', 'delay', 'error', 'duplicate', 'drop', 'dropConnection', 'ignore'] as const
export type FaultAction = (typeof FAULT_ACTIONS)[number]

/** What a fault can be limited to; every given field must fit. */
export interface FaultMatch {
  /** The account of the client concerned, digits. */
  readonly number?: string
  /** The other side of a message or receipt, digits or group JID. */
  readonly contact?: string
  /** WhatsApp id of the message. */
  readonly id?: string
  /** Of an iq. */
  readonly xmlns?: string
  /** Of the stanza: `get`/`set` of an iq, `read` of a receipt (`delivered` for one without a type). */
  readonly type?: string
  /** First child of an iq: `usync`, `key`, `ping` … */
  readonly child?: string
  /** Of a receipt: `in` from the client, `out` to it. Of media: `in` upload, `out` download. */
  readonly direction?: 'in' | 'out'
}

export interface FaultOptions {
  readonly on: FaultPoint
  readonly do: FaultAction
  readonly match?: FaultMatch
  /** Strikes this often, then rests; unlimited until cleared when left out. */
  readonly times?: number
  /** Lets this many matching events pass first. */
  readonly after?: number
  /** Of `error`: the code WhatsApp would send. */
  readonly code?: number
  /** Of `delay`. */
  readonly ms?: number
  /**
   * Whether a message struck at `message` or `ack` still reaches its recipients. Default: yes for a lost, delayed or
   * repeated ack, no for a lost message and for an error.
   */
  readonly process?: boolean
}

export interface FaultHandle {
  readonly id: string
  /** How often it struck. */
  readonly struck: number
  clear(): void
}

interface Rule {
  readonly id: string
  readonly options: FaultOptions
  readonly predicate: ((subject: FaultMatch) => boolean) | undefined
  passed: number
  struck: number
}

const MAX_RULES = 1000

/** The faults in force. The first that fits strikes. */
export class Faults {
  // bounded by: MAX_RULES; add() refuses
  readonly #rules = new Map<string, Rule>()
  #next = 1

  /** @throws SIMULATOR_BAD_INPUT naming the field, SIMULATOR_TOO_MANY */
  add(options: FaultOptions, predicate?: (subject: FaultMatch) => boolean): FaultHandle {
    if (!FAULT_POINTS.includes(options.on)) throw badInput('on', `must be one of ${FAULT_POINTS.join(', ')}`)
    if (!FAULT_ACTIONS.includes(options.do))
      throw badInput('do', `must be one of ${FAULT_ACTIONS.join(', ')}`)
    if (options.do === 'delay' && options.ms === undefined) throw badInput('ms', 'is needed to delay')
    for (const field of ['times', 'after', 'code', 'ms'] as const) {
      const value = options[field]
      if (value !== undefined && (!Number.isInteger(value) || value < 0 || value > 86_400_000)) {
        throw badInput(field, 'must be a whole number from 0 to 86,400,000')
      }
    }
    if (this.#rules.size >= MAX_RULES) throw new EclusaError(simulatorErrors.TOO_MANY)
    const rule: Rule = { id: `fault-${this.#next++}`, options, predicate, passed: 0, struck: 0 }
    this.#rules.set(rule.id, rule)
    return {
      id: rule.id,
      get struck(): number {
        return rule.struck
      },
      clear: () => this.#rules.delete(rule.id),
    }
  }

  /** @throws SIMULATOR_UNKNOWN_FAULT */
  clear(id: string): void {
    if (!this.#rules.delete(id)) throw new EclusaError(simulatorErrors.UNKNOWN_FAULT)
  }

  clearAll(): void {
    this.#rules.clear()
  }

  /** The fault that strikes here and now; counts it. */
  take(point: FaultPoint, subject: FaultMatch): FaultOptions | undefined {
    for (const rule of this.#rules.values()) {
      if (rule.options.on !== point || !fits(rule, subject)) continue
      if (rule.passed < (rule.options.after ?? 0)) {
        rule.passed += 1
        continue
      }
      if (rule.options.times !== undefined && rule.struck >= rule.options.times) continue
      rule.struck += 1
      return rule.options
    }
    return undefined
  }
}

function fits(rule: Rule, subject: FaultMatch): boolean {
  for (const [name, wanted] of Object.entries(rule.options.match ?? {})) {
    if (subject[name as keyof FaultMatch] !== wanted) return false
  }
  return rule.predicate === undefined || rule.predicate(subject)
}

function badInput(field: string, rule: string): EclusaError {
  return new EclusaError(simulatorErrors.BAD_INPUT, { message: `${field} ${rule}`, details: { field } })
}
