import { type Clock, DAY, EclusaError, isOpen, MINUTE, SECOND } from '@eclusa/kernel'
import { readAnswer } from './answer.ts'
import { holds } from './condition.ts'
import type { Conversation, OperatorId, SectorId } from './conversation.ts'
import { DEFAULT_WAIT_MINUTES, type FlowDefinition, type Step, type StepOf } from './flow-definition.ts'
import { flowErrors } from './flow-errors.ts'
import type {
  ContactFacts,
  FlowContacts,
  FlowConversations,
  FlowLookups,
  FlowMessages,
  HeardMessage,
  PlannedMove,
} from './flow-ports.ts'
import type { FlowRun, RunMemory, RunOutcome } from './flow-run.ts'
import { chosenFrom, menuText } from './menu-choice.ts'
import { fill, fillAll, type Named } from './placeholders.ts'
import type { RunnableFlow } from './flow-store.ts'

/** What a step came to; committed before anything follows from it. */
export interface Turn {
  readonly next:
    | { readonly kind: 'go'; readonly step: string }
    | { readonly kind: 'wait'; readonly dueAt: number; readonly move?: PlannedMove }
    | { readonly kind: 'enter'; readonly flow: RunnableFlow; readonly sector: SectorId }
    /** Stands where it stood. */
    | { readonly kind: 'stay' }
    | { readonly kind: 'end'; readonly outcome: RunOutcome; readonly move: PlannedMove | null }
  readonly memory?: Partial<RunMemory>
  /** Code of the error that led to it. */
  readonly failure?: string
  readonly once?: { readonly key: string; readonly until: number }
}

/** The turn of a step that asked the contact. */
interface Asked {
  readonly next: { readonly kind: 'wait'; readonly dueAt: number }
  readonly memory: Partial<RunMemory>
}

export interface StepPorts {
  readonly conversations: FlowConversations
  readonly contacts: FlowContacts
  readonly messages: FlowMessages
  readonly lookups: FlowLookups
  /** The published flow of a sector, or with null everybody's. */
  readonly serving: (tenant: FlowRun['tenant'], sector: SectorId | null) => Promise<RunnableFlow | undefined>
  readonly onceUntil: (run: FlowRun, key: string) => Promise<number>
  readonly clock: Clock
}

/**
 * Within this time after a question, what is no answer to it is taken as part of what the contact was still writing:
 * people send one thought in several messages.
 */
const STILL_WRITING_MS = 10 * SECOND
const MAX_FIELD = 1000
/** The sector decides who gets it. */
export const ITS_OWN_RULE = { rule: null, seed: null, skill: null } as const

/** Does what a step says. Nothing of a run is changed here: what is to follow comes back as a turn. */
export class FlowSteps {
  readonly #ports: StepPorts

  constructor(ports: StepPorts) {
    this.#ports = ports
  }

  /** The step's own part. A throw means that it could not do it. */
  async take(step: Step, run: FlowRun, signal: AbortSignal): Promise<Turn> {
    const { clock, conversations } = this.#ports
    switch (step.kind) {
      case 'send':
        return this.#send(step, run)
      case 'hours':
        return go(isOpen(step.hours, clock.now()) ? step.open : step.closed)
      case 'only_admin': {
        const { tags } = await this.#facts(run)
        return go(tags.includes(step.tag) ? step.yes : step.no)
      }
      case 'returning':
        return (await this.#toLastOperator(step, run)) ?? go(step.next)
      case 'owner': {
        const owner = await conversations.ownerOf(run)
        return (owner === undefined ? null : await this.#assigned(run, owner)) ?? go(step.next)
      }
      case 'menu':
        await this.#say(run, menuText(step))
        return this.#asked(step.timeOut?.minutes)
      case 'question':
        await this.#say(run, step.text)
        return this.#asked(step.timeOut?.minutes)
      case 'condition':
        return this.#decide(step, run)
      case 'lookup':
        return this.#lookup(step, run, signal)
      case 'set':
        return this.#set(step, run)
      case 'sector':
        return this.#enter(step, run)
      case 'assign':
        return this.#assign(step, run)
      case 'hand_over': {
        if (step.text !== undefined) await this.#say(run, step.text)
        return this.toPerson(run, (step.sector ?? null) as SectorId | null)
      }
      case 'wait':
        return {
          next: { kind: 'wait', dueAt: clock.now() + step.minutes * MINUTE },
          memory: { askedAt: null },
        }
      case 'close': {
        if (step.text !== undefined) await this.#say(run, step.text, 'text')
        if (step.satisfaction === undefined) return ended(await this.#closed(run, step), 'closed')
        return this.#survey(step.satisfaction, run)
      }
      default:
        return step satisfies never
    }
  }

  /** What the contact's words come to at a step that waits; null when they only belong to what was said before. */
  async answer(step: Step, run: FlowRun, message: HeardMessage): Promise<Turn | null> {
    const words = message.words ?? ''
    switch (step.kind) {
      case 'menu': {
        const chosen = chosenFrom(step, words)
        return chosen === null ? this.#again(step, run, menuText(step)) : go(chosen.next)
      }
      case 'question': {
        if (wroteBefore(message, run.memory.askedAt)) return null
        const answer = readAnswer(step.answer, words)
        if (answer === null) return this.#again(step, run, step.text)
        await this.#ports.contacts.change(run, { fields: { [step.save]: answer } })
        return { ...go(step.next), memory: { fields: { ...run.memory.fields, [step.save]: answer } } }
      }
      case 'wait':
        return step.heard === undefined ? null : go(step.heard)
      case 'close':
        return this.#rated(step, run, message)
      case 'send':
      case 'hours':
      case 'only_admin':
      case 'returning':
      case 'owner':
      case 'condition':
      case 'lookup':
      case 'set':
      case 'sector':
      case 'assign':
      case 'hand_over':
        return null
      default:
        return step satisfies never
    }
  }

  /** Time is up at a step that waits. */
  async timeOut(step: Step, run: FlowRun): Promise<Turn> {
    if (step.kind === 'wait') return go(step.next)
    if (step.kind === 'close') return ended(await this.#closed(run, step), 'closed')
    const next =
      (step.kind === 'menu' || step.kind === 'question' ? step.timeOut?.next : undefined) ?? step.fallback
    return next === undefined ? this.toPerson(run, null) : go(next)
  }

  /** The line of `sector`, else of the run's own, else of the tenant's default sector: somebody will see the contact. */
  async toPerson(run: FlowRun, sector: SectorId | null, outcome: RunOutcome = 'in_line'): Promise<Turn> {
    for (const candidate of new Set([sector ?? run.sector, run.sector, null])) {
      const how = { sector: candidate, ...ITS_OWN_RULE }
      const move = await this.#ports.conversations.waitInLine(ref(run), how)
      if (move.outcome.done) return { next: { kind: 'end', outcome, move } }
      if (move.outcome.why === 'ASSIGNED' || move.outcome.why === 'CLOSED') return ended(null, 'taken_over')
    }
    return ended(null, 'stranded')
  }

  /** Asks what the definition, or a default in the contact's language, says. */
  async askToStop(definition: FlowDefinition, run: FlowRun): Promise<void> {
    const { number } = await this.#facts(run)
    await this.#say(run, definition.stopQuestion ?? stopQuestionFor(number), 'stop')
  }

  async #send(step: StepOf<'send'>, run: FlowRun): Promise<Turn> {
    const { clock, onceUntil } = this.#ports
    if (step.onceInMinutes === undefined) {
      await this.#say(run, step.text)
      return go(step.next)
    }
    const key = `${run.flow} ${step.id}`
    if ((await onceUntil(run, key)) > clock.now()) return go(step.next)
    await this.#say(run, step.text)
    return { ...go(step.next), once: { key, until: clock.now() + step.onceInMinutes * MINUTE } }
  }

  async #decide(step: StepOf<'condition'>, run: FlowRun): Promise<Turn> {
    const contact = await this.#facts(run)
    const facts = {
      contact,
      message: run.memory.message,
      fields: { ...contact.fields, ...run.memory.fields },
      now: this.#ports.clock.now(),
    }
    return go(step.cases.find(({ when }) => holds(when, facts))?.next ?? step.otherwise)
  }

  async #lookup(step: StepOf<'lookup'>, run: FlowRun, signal: AbortSignal): Promise<Turn> {
    const named = await this.#named(run)
    const found = await this.#ports.lookups.call({
      tenant: run.tenant,
      method: step.method,
      url: fill(step.url, named, encodeURIComponent),
      headers: Object.fromEntries(
        // A header takes no line ends, nor letters beyond ASCII.
        Object.entries(step.headers ?? {}).map(([name, value]) => [
          name,
          fill(value, named, encodeURIComponent),
        ]),
      ),
      body: step.body === undefined ? undefined : fillAll(step.body, named),
      signal,
    })
    const saved: Record<string, string> = {}
    for (const { field, from } of step.save) {
      const value = valueAt(found, from)
      if (value === null) throw new EclusaError(flowErrors.LOOKUP_FAILED, { details: { missing: from } })
      saved[field] = value.slice(0, MAX_FIELD)
    }
    return { ...go(step.next), memory: { fields: { ...run.memory.fields, ...saved } } }
  }

  async #set(step: StepOf<'set'>, run: FlowRun): Promise<Turn> {
    const named = await this.#named(run)
    const fields: Record<string, string | null> = {}
    for (const [name, value] of Object.entries(step.fields ?? {})) {
      fields[name] = value === null ? null : fill(value, named).slice(0, MAX_FIELD)
    }
    const { addTags = [], removeTags = [] } = step
    await this.#ports.contacts.change(run, { fields, addTags, removeTags })
    const kept = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, value ?? '']))
    return { ...go(step.next), memory: { fields: { ...run.memory.fields, ...kept } } }
  }

  async #enter(step: StepOf<'sector'>, run: FlowRun): Promise<Turn> {
    const sector = step.sector as SectorId
    const flow = run.memory.sectors.includes(sector)
      ? undefined
      : await this.#ports.serving(run.tenant, sector)
    if (flow === undefined) return this.toPerson(run, sector)
    return { next: { kind: 'enter', flow, sector }, memory: { sectors: [...run.memory.sectors, sector] } }
  }

  async #assign(step: StepOf<'assign'>, run: FlowRun): Promise<Turn> {
    const { conversations } = this.#ports
    const { to } = step
    if (step.text !== undefined) await this.#say(run, step.text, 'text')
    if ('sector' in to) {
      const sector = to.sector as SectorId
      const how = { sector, rule: to.rule ?? null, seed: to.seed ?? null, skill: to.skill ?? null }
      const move = await conversations.waitInLine(ref(run), how)
      if (!move.outcome.done) return this.#elsewhere(step, run, move)
      return this.#sayInLine(step, run, ended(move, 'in_line'))
    }
    const candidates = 'admin' in to ? await conversations.admins(run.tenant) : [to.operator as OperatorId]
    for (const operator of candidates) {
      const turn = await this.#assigned(run, operator)
      if (turn !== null) return turn
    }
    return this.#sayInLine(step, run, await this.#elsewhere(step, run, null))
  }

  /** That they wait, when they will: not to who goes on in the flow, nor to whom somebody gets at once. */
  async #sayInLine({ lineText }: StepOf<'assign'>, run: FlowRun, turn: Turn): Promise<Turn> {
    const outcome = turn.next.kind === 'end' ? turn.next.move?.outcome : undefined
    if (lineText === undefined || outcome?.done !== true) return turn
    const { sector, skill } = outcome.conversation
    if (sector !== null && (await this.#ports.conversations.mustWait(run.tenant, { sector, skill }))) {
      await this.#say(run, lineText, 'line')
    }
    return turn
  }

  /** When those whom a step names cannot take it. */
  async #elsewhere(step: Step, run: FlowRun, move: PlannedMove | null): Promise<Turn> {
    const isTaken = move?.outcome.done === false && /^(?:ASSIGNED|CLOSED)$/.test(move.outcome.why)
    if (isTaken) return ended(null, 'taken_over')
    return step.fallback === undefined ? this.toPerson(run, null) : go(step.fallback)
  }

  async #toLastOperator(step: StepOf<'returning'>, run: FlowRun): Promise<Turn | null> {
    const { conversations, clock } = this.#ports
    const conversation = await conversations.get(ref(run))
    if (conversation === undefined) return null
    const last = await conversations.lastOperatorOf(conversation)
    if (last === undefined || clock.now() - last.at > step.withinDays * DAY) return null
    return this.#assigned(run, last.operator)
  }

  /** Null when they cannot take it now. */
  async #assigned(run: FlowRun, operator: OperatorId): Promise<Turn | null> {
    const move = await this.#ports.conversations.assign(ref(run), operator)
    if (move.outcome.done) return ended(move, 'assigned')
    const isTaken = move.outcome.why === 'ASSIGNED' || move.outcome.why === 'CLOSED'
    return isTaken ? ended(null, 'taken_over') : null
  }

  async #rated(step: StepOf<'close'>, run: FlowRun, message: HeardMessage): Promise<Turn | null> {
    const { satisfaction } = step
    const { contacts } = this.#ports
    if (satisfaction === undefined || wroteBefore(message, run.memory.askedAt)) return null
    const rule = { kind: 'number', min: 1, max: satisfaction.best } as const
    const answer = readAnswer(rule, /\d+/.exec(message.words ?? '')?.[0] ?? '')
    const isWhole = answer !== null && Number.isInteger(Number(answer))
    if (!isWhole && run.memory.tries === 0) {
      if (this.#isStillWriting(run)) return null
      await this.#say(run, satisfaction.again ?? satisfaction.text)
      return { ...this.#asked(satisfaction.minutes), memory: { tries: 1, askedAt: this.#ports.clock.now() } }
    }
    if (isWhole) {
      await contacts.change(run, { fields: { [satisfaction.save]: answer } })
      if (satisfaction.thanks !== undefined) await this.#say(run, satisfaction.thanks)
    }
    return ended(await this.#closed(run, step), 'closed')
  }

  /**
   * Asks for a rating. Who had the conversation has done their part: from here on it takes no room of theirs, however
   * long the contact takes to answer.
   */
  async #survey(satisfaction: NonNullable<StepOf<'close'>['satisfaction']>, run: FlowRun): Promise<Turn> {
    await this.#say(run, satisfaction.text, 'question')
    const { next, memory } = this.#asked(satisfaction.minutes)
    const { withOperator } = run.memory
    if (withOperator === null) return { next, memory }
    const move = await this.#ports.conversations.release(ref(run), withOperator)
    if (!move.outcome.done) return ended(move, 'taken_over')
    return { next: { ...next, move }, memory: { ...memory, withOperator: null, servedBy: withOperator } }
  }

  #closed(run: FlowRun, { reason }: StepOf<'close'>): Promise<PlannedMove> {
    return this.#ports.conversations.close(ref(run), reason, run.memory.servedBy ?? null)
  }

  /** Not an answer: once more, until it was tried often enough. */
  async #again(step: StepOf<'menu'> | StepOf<'question'>, run: FlowRun, text: string): Promise<Turn | null> {
    if (this.#isStillWriting(run)) return null
    const tries = run.memory.tries + 1
    if (tries >= step.tries) return step.fallback === undefined ? this.toPerson(run, null) : go(step.fallback)
    await this.#say(run, step.again ?? text)
    return { ...this.#asked(step.timeOut?.minutes), memory: { tries, askedAt: this.#ports.clock.now() } }
  }

  #isStillWriting({ memory }: FlowRun): boolean {
    return memory.askedAt !== null && this.#ports.clock.now() - memory.askedAt < STILL_WRITING_MS
  }

  #asked(minutes: number = DEFAULT_WAIT_MINUTES): Asked {
    const now = this.#ports.clock.now()
    return { next: { kind: 'wait', dueAt: now + minutes * MINUTE }, memory: { askedAt: now, tries: 0 } }
  }

  /** One text of a visit; `part` tells several of one visit apart. */
  async #say(run: FlowRun, text: string, part = 'text'): Promise<void> {
    const filled = fill(text, await this.#named(run)).trim()
    if (filled === '') return
    await this.#ports.messages.enqueue({
      tenant: run.tenant,
      instance: run.instance,
      chat: run.chat,
      conversation: run.conversation,
      text: filled,
      key: `flow:${run.id}:${run.visit}:${part}`,
    })
  }

  async #named(run: FlowRun): Promise<Named> {
    const { name, number, fields } = await this.#facts(run)
    return { contactName: name, contactNumber: number, fields: { ...fields, ...run.memory.fields } }
  }

  #facts(run: FlowRun): Promise<ContactFacts> {
    return this.#ports.contacts.facts(run)
  }
}

function go(step: string): Turn {
  return { next: { kind: 'go', step } }
}

function ended(move: PlannedMove | null, outcome: RunOutcome): Turn {
  if (move?.outcome.done === false) return { next: { kind: 'end', outcome: 'taken_over', move: null } }
  return { next: { kind: 'end', outcome, move } }
}

function ref(run: FlowRun): Pick<Conversation, 'tenant' | 'id'> {
  return { tenant: run.tenant, id: run.conversation }
}

/** WhatsApp tells the second in which it received a message. Beyond a few seconds clocks may differ, so it counts no longer. */
function wroteBefore({ sentAt }: HeardMessage, askedAt: number | null): boolean {
  if (askedAt === null) return false
  const askedIn = Math.floor(askedAt / SECOND) * SECOND
  return sentAt < askedIn && askedIn - sentAt < STILL_WRITING_MS
}

/** A text, number or truth value inside a JSON value: `customer.orders.0.state`. */
function valueAt(value: unknown, path: string): string | null {
  let found: unknown = value
  for (const key of path.split('.')) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return null
    found = (found as Readonly<Record<string, unknown>>)[key]
  }
  const isPlain = typeof found === 'string' || typeof found === 'number' || typeof found === 'boolean'
  return isPlain ? String(found) : null
}

/** By the country code: Portuguese in Brazil, Portugal, Angola, Mozambique; Spanish in Spain and most of Latin America. */
function stopQuestionFor(number: string | null): string {
  if (/^(?:55|351|244|258)/.test(number ?? '')) {
    return 'Você quer deixar de receber as nossas mensagens? Responda PARAR para confirmar, ou siga com a resposta à pergunta anterior.'
  }
  if (/^(?:34|5[1-46-8]|50[2-7]|59[1358])/.test(number ?? '')) {
    return '¿Quiere dejar de recibir nuestros mensajes? Responda PARAR para confirmar, o siga con la respuesta a la pregunta anterior.'
  }
  return 'Do you want to get no more messages from us? Answer STOP to confirm, or go on with the answer to the question before.'
}
