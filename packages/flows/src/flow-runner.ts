import {
  type ChatId,
  type ContactId,
  EclusaError,
  type InboundMessage,
  type InboundOrigin,
  type InstanceId,
  kernelErrors,
  type Lifecycle,
  type Logger,
  MINUTE,
  Places,
  SECOND,
  type TenantId,
  type Timer,
  withDeadline,
  wordsOf,
} from '@eclusa/kernel'
import { type NewEvent, storageErrors } from '@eclusa/storage'
import type { Conversation, SectorId } from './conversation.ts'
import type { Step } from './flow-definition.ts'
import { flowErrors } from './flow-errors.ts'
import type { Heard, HeardMessage } from './flow-ports.ts'
import {
  EMPTY_MEMORY,
  type FlowRun,
  isOrphan,
  makeFlowRunId,
  MAX_ACTIVE_MS,
  type RunMemory,
} from './flow-run.ts'
import type { FlowRuns, RunUnit } from './flow-runs.ts'
import { FlowSteps, ITS_OWN_RULE, type StepPorts, type Turn } from './flow-steps.ts'
import type { RunnableFlow } from './flow-store.ts'

/** Flows that walk at the same time; more wait, and with them their messages on disk. */
export const MAX_ACTIVE_FLOWS = 200
/** Document 1: a warning, and nothing else, above this many. */
export const WARN_ACTIVE_FLOWS = 100

/** Steps without a wait after which a flow is taken to go in circles. */
const MAX_HOPS = 100
/** Lost races in a row after which a step is given up; each lost one means that something else was stored. */
const MAX_RACES = 20
/** Runs looked at in one pass over what is due. */
const DUE_STEP = 100
/** Of those, under way at the same time. */
const DUE_AT_ONCE = 20
/** What is active on disk for so long, and not here, was left by a process that ended. */
const LEFT_AFTER_MS = 30 * SECOND
/** What another process has left is found this soon after this one got its instance. */
const LOOK_EVERY_MS = MINUTE
const RETRY_MS = 5 * SECOND
const MAX_WORDS = 4096

export interface HeardBy {
  readonly contact: ContactId
  readonly conversation: Conversation
  readonly message: InboundMessage
  readonly heard: Heard
}

export interface FlowRunnerOptions extends Omit<StepPorts, 'serving' | 'onceUntil'> {
  readonly runs: FlowRuns
  readonly flows: {
    serving(tenant: TenantId, sector: SectorId | null): Promise<RunnableFlow | undefined>
    version(tenant: TenantId, name: string, version: number): Promise<RunnableFlow>
  }
  /** Whether this process acts for the instance. */
  readonly owns: (instance: InstanceId) => boolean
  readonly log: Logger
}

/** Whose flow. */
interface Who {
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly contact: ContactId
  readonly sector: SectorId | null
}

/** A flow that walks now, in this process. */
interface ActiveFlow {
  readonly tenant: TenantId
  sector: SectorId | null
  readonly startedAt: number
  readonly abort: AbortController
  readonly ended: Promise<void>
}

/** Flows that walk now, by whose they are; ages in milliseconds. */
export interface ActiveFlowsStats {
  readonly total: number
  readonly oldestMs: number
  readonly flows: readonly {
    readonly tenant: TenantId
    /** `default`: everybody's. */
    readonly sector: string
    readonly count: number
    readonly oldestMs: number
  }[]
}

/**
 * Walks contacts through flows. Where a run stands is in the database, and each step is one commit: the run moved on,
 * the conversation changed, the message heard, the event. What a step sends is queued before under a key of the run's
 * visit, so a step that is taken again after a crash sends nothing twice.
 *
 * A customer is never dropped: a step that fails goes to its fallback, and without one to a sector's line; so does what
 * still walks after 5 minutes.
 */
export class FlowRunner implements Lifecycle {
  readonly #options: FlowRunnerOptions
  readonly #steps: FlowSteps
  readonly #places = new Places(MAX_ACTIVE_FLOWS)
  // bounded by: MAX_ACTIVE_FLOWS places
  readonly #active = new Map<string, ActiveFlow>()
  #isCrowded = false
  #timer: Timer | null = null
  #timerDueAt = Number.POSITIVE_INFINITY
  #pass: Promise<void> | null = null
  #stopped = false

  constructor(options: FlowRunnerOptions) {
    this.#options = options
    this.#steps = new FlowSteps({
      ...options,
      serving: (tenant, sector) => options.flows.serving(tenant, sector),
      onceUntil: (run, key) => options.runs.onceUntil(run.tenant, run.contact, key),
    })
  }

  /** From here on time-outs take place. Resolves when those of before have, and what a crash left has gone on. */
  async start(): Promise<void> {
    await this.#look(0)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    for (const { abort } of this.#active.values()) abort.abort(stopping())
    await this.#pass
    await Promise.all([...this.#active.values()].map(({ ended }) => ended))
  }

  /** Flows that walk just now. Those that wait for a contact are on disk, and no part of it. */
  getActiveFlowsStats(): ActiveFlowsStats {
    const now = this.#options.clock.now()
    const flows = [
      ...Map.groupBy(this.#active.values(), ({ tenant, sector }) => `${tenant} ${sector ?? ''}`).values(),
    ]
    return {
      total: this.#active.size,
      oldestMs: Math.max(0, ...[...this.#active.values()].map(({ startedAt }) => now - startedAt)),
      flows: flows.map((group) => ({
        tenant: group[0]?.tenant as TenantId,
        sector: group[0]?.sector ?? 'default',
        count: group.length,
        oldestMs: Math.max(...group.map(({ startedAt }) => now - startedAt)),
      })),
    }
  }

  /** Whether the contact was asked something by their flow. */
  async isWaiting({ instance }: Pick<InboundOrigin, 'instance'>, contact: ContactId): Promise<boolean> {
    const run = await this.#options.runs.liveOf(instance, contact)
    return run?.state === 'waiting' && run.memory.askedAt !== null
  }

  /**
   * A contact wrote: begins the flow that serves them, or hands the message to the one that runs. Resolves when that
   * waits, or has ended. The same message again changes nothing, but carries on what a crash interrupted.
   */
  async hear(origin: InboundOrigin, by: HeardBy): Promise<void> {
    const message = heardOf(by.message)
    await this.#alone({ ...origin, contact: by.contact, sector: by.conversation.sector }, (signal) =>
      this.#untilSettled(async (races) => {
        const known = by.conversation
        const conversation = races === 0 ? known : await this.#options.conversations.get(known)
        await this.#hear(origin, { ...by, conversation: conversation ?? known, message }, signal)
      }),
    )
  }

  /**
   * Runs a flow that starts by hand for a conversation, which stays with the operator who has it.
   * @throws FLOW_UNKNOWN, FLOW_NOT_BY_HAND, FLOW_ALREADY_RUNS
   */
  async startByHand(conversation: Conversation, flow: RunnableFlow): Promise<FlowRun> {
    const isFree = conversation.state !== 'closed' && conversation.waitingSince === null
    if (flow.definition.starts !== 'by_hand' || !isFree) {
      throw new EclusaError(flowErrors.NOT_BY_HAND)
    }
    const { runs } = this.#options
    const { instance, contact, chat } = conversation
    const run = this.#newRun({ conversation, chat, flow, sector: conversation.sector, message: null })
    await this.#alone(run, async (signal) => {
      if ((await runs.liveOf(instance, contact)) !== undefined) throw new EclusaError(flowErrors.ALREADY_RUNS)
      await runs.begin(run, { events: [startedEvent(run)] })
      await this.#walk(run, signal)
    })
    return (await runs.get(run.id)) ?? run
  }

  async #hear(
    origin: InboundOrigin,
    by: Omit<HeardBy, 'message'> & { readonly message: HeardMessage & { readonly chat: ChatId } },
    signal: AbortSignal,
  ): Promise<void> {
    const { runs, clock } = this.#options
    const { contact, conversation, heard } = by
    let run = await runs.liveOf(origin.instance, contact)
    if (await runs.wasHeard(origin)) {
      // A crash came after the commit that heard it: the steps behind it are still to be taken.
      if (run === undefined) return
      if (isOrphan(run, clock.now())) await this.#rescue({ ...origin, contact, sector: run.sector })
      else await this.#walk(run, signal)
      return
    }
    if (run !== undefined && isOrphan(run, clock.now())) {
      await this.#commit(run, endTurn('orphaned'), {})
      run = undefined
    }
    if (run !== undefined && !isStillFor(run, conversation)) {
      await this.#commit(run, endTurn('taken_over'), {})
      run = undefined
    }
    if (heard === 'opted_out' && run !== undefined) {
      // Nothing is said any more; a person sees the conversation in their line.
      await this.#commit(run, await this.#steps.toPerson(run, null, 'opted_out'), { heard: origin })
      return
    }
    if (run !== undefined) return this.#join(run, origin, by, signal)
    const isWithPerson = conversation.state !== 'open' || conversation.waitingSince !== null
    if (isWithPerson) return
    await this.#begin(origin, by, signal)
  }

  /** A message for a run: an answer, or part of what the contact was still saying. */
  async #join(
    run: FlowRun,
    origin: InboundOrigin,
    { heard, message }: { readonly heard: Heard; readonly message: HeardMessage },
    signal: AbortSignal,
  ): Promise<void> {
    const flow = await this.#flowOf(run)
    if (heard === 'wants_person') {
      const turn = await this.#steps.toPerson(run, null, 'wants_person')
      await this.#commit(run, turn, { heard: origin })
      return
    }
    if (heard === 'asks_to_stop' && run.state === 'waiting' && !run.memory.stopAsked) {
      await this.#steps.askToStop(flow.definition, run)
      await this.#commit(run, stay({ stopAsked: true, message: wordsAlone(message) }), { heard: origin })
      return
    }
    if (run.state === 'active') {
      // Left by a crash while it walked: it has not asked anything that this could answer.
      await this.#walk(await this.#commit(run, stay({}), { heard: origin }), signal)
      return
    }
    const step = stepOf(flow, run.step)
    const turn =
      step === undefined
        ? await this.#failed(run, undefined, new EclusaError(flowErrors.STEP_GONE))
        : await this.#trying(run, step, () => this.#steps.answer(step, run, message), signal)
    // Only an answer is worth remembering: what joined it does not take its place.
    const memory = turn === null ? {} : { message: wordsAlone(message), hops: 0 }
    const next = turn ?? stay({})
    const moved = await this.#commit(
      run,
      { ...next, memory: { ...memory, ...next.memory } },
      { heard: origin },
    )
    await this.#walk(moved, signal)
  }

  async #begin(
    origin: InboundOrigin,
    by: {
      readonly conversation: Conversation
      readonly heard: Heard
      readonly message: HeardMessage & { readonly chat: ChatId }
    },
    signal: AbortSignal,
  ): Promise<void> {
    const { runs, conversations } = this.#options
    const { conversation, heard, message } = by
    const { tenant } = origin
    const ofSector =
      conversation.sector === null
        ? undefined
        : await this.#options.flows.serving(tenant, conversation.sector)
    const flow = ofSector ?? (await this.#options.flows.serving(tenant, null))
    if (flow === undefined && !(await conversations.hasLine(tenant))) {
      // A tenant without flows and sectors takes messages by its own program: no line grows that nobody serves.
      await runs.heardAlone(origin, {})
      return
    }
    if (flow === undefined || heard === 'wants_person' || heard === 'opted_out') {
      const lines = new Set([conversation.sector, null])
      for (const sector of lines) {
        const move = await conversations.waitInLine(conversation, { sector, ...ITS_OWN_RULE })
        if (!move.outcome.done) continue
        await runs.heardAlone(origin, { statements: move.statements })
        move.after()
        return
      }
      await runs.heardAlone(origin, {})
      return
    }
    const sector = ofSector === undefined ? null : conversation.sector
    const run = this.#newRun({ conversation, chat: message.chat, flow, sector, message: wordsAlone(message) })
    await runs.begin(run, { heard: origin, events: [startedEvent(run)] })
    await this.#walk(run, signal)
  }

  #newRun(of: {
    readonly conversation: Conversation
    readonly chat: ChatId
    readonly flow: RunnableFlow
    readonly sector: SectorId | null
    readonly message: HeardMessage | null
  }): FlowRun {
    const { conversation, flow, sector } = of
    const now = this.#options.clock.now()
    return {
      id: makeFlowRunId(),
      tenant: conversation.tenant,
      instance: conversation.instance,
      contact: conversation.contact,
      conversation: conversation.id,
      chat: of.chat,
      flow: flow.name,
      version: flow.version,
      sector,
      step: flow.definition.start,
      visit: 1,
      state: 'active',
      startedAt: now,
      activeSince: now,
      dueAt: null,
      endedAt: null,
      outcome: null,
      memory: {
        ...EMPTY_MEMORY,
        message: of.message,
        withOperator: conversation.operator,
        sectors: sector === null ? [] : [sector],
      },
    }
  }

  /** Takes steps until the run waits, or has ended. */
  async #walk(from: FlowRun, signal: AbortSignal): Promise<void> {
    let run = from
    let races = 0
    const active = this.#active.get(keyOf(run))
    while (run.state === 'active') {
      signal.throwIfAborted()
      if (active !== undefined) active.sector = run.sector
      const flow = await this.#flowOf(run)
      const step = stepOf(flow, run.step)
      const turn = await this.#turnOf(run, step, signal)
      signal.throwIfAborted()
      try {
        run = await this.#commit(run, turn, {})
        races = 0
      } catch (error) {
        if (!isRace(error) || ++races > MAX_RACES) throw error
        const now = await this.#options.runs.get(run.id)
        // Somebody else took it on, or ended it.
        if (now === undefined || now.visit !== run.visit) return
      }
    }
  }

  async #turnOf(run: FlowRun, step: Step | undefined, signal: AbortSignal): Promise<Turn> {
    if (step === undefined) return this.#failed(run, undefined, new EclusaError(flowErrors.STEP_GONE))
    if (run.memory.hops >= MAX_HOPS) return this.#failed(run, undefined, new EclusaError(flowErrors.LOOPS))
    const turn = await this.#trying(run, step, () => this.#steps.take(step, run, signal), signal)
    return { ...turn, memory: { hops: run.memory.hops + 1, ...turn.memory } }
  }

  /** What `work` comes to; when it fails, what follows from that. */
  async #trying<T extends Turn | null>(
    run: FlowRun,
    step: Step,
    work: () => Promise<T>,
    signal: AbortSignal,
  ): Promise<T | Turn> {
    try {
      return await work()
    } catch (error) {
      signal.throwIfAborted()
      if (isStorage(error)) throw error
      return this.#failed(run, step, error)
    }
  }

  async #failed(run: FlowRun, step: Step | undefined, error: unknown): Promise<Turn> {
    const code = error instanceof EclusaError ? error.code : 'unknown'
    const { tenant, instance, flow, version } = run
    this.#options.log.warn(
      {
        tenant,
        instance,
        flow,
        version,
        step: run.step,
        code,
        ...(code === 'unknown' ? { err: error } : {}),
      },
      'a step of a flow failed: the contact goes to its fallback, or to a person',
    )
    if (step?.fallback !== undefined) return { next: { kind: 'go', step: step.fallback }, failure: code }
    return { ...(await this.#steps.toPerson(run, null)), failure: code }
  }

  async #commit(run: FlowRun, turn: Turn, unit: Pick<RunUnit, 'heard'>): Promise<FlowRun> {
    const after = moved(run, turn, this.#options.clock.now())
    const { next } = turn
    const move = (next.kind === 'end' || next.kind === 'wait' ? next.move : null) ?? null
    const events: NewEvent[] = []
    if (turn.failure !== undefined) events.push(failedEvent(run, turn.failure))
    if (after.state === 'ended') events.push(endedEvent(after))
    await this.#options.runs.move(run, after, {
      ...unit,
      statements: move?.statements ?? [],
      events,
      ...(turn.once === undefined ? {} : { once: turn.once }),
    })
    if (after.dueAt !== null) this.#dueAt(after.dueAt)
    move?.after()
    return after
  }

  #flowOf(run: FlowRun): Promise<RunnableFlow> {
    return this.#options.flows.version(run.tenant, run.flow, run.version)
  }

  /**
   * One at a time for a contact: whoever comes while a flow walks waits for it, then finds it where it waits. Nothing
   * holds them up for longer than a walk may take.
   */
  async #alone(who: Who, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock } = this.#options
    const key = keyOf(who)
    for (;;) {
      this.#dropOrphans()
      await this.#active.get(key)?.ended
      const leave = await this.#places.enter()
      try {
        if (this.#stopped) throw stopping()
        if (this.#active.has(key)) continue
        const { promise: ended, resolve } = Promise.withResolvers<void>()
        const abort = new AbortController()
        const active = { tenant: who.tenant, sector: who.sector, startedAt: clock.now(), abort, ended }
        this.#active.set(key, active)
        this.#warnWhenCrowded()
        try {
          await withDeadline(clock, MAX_ACTIVE_MS, 'a flow', work(abort.signal))
          return
        } catch (error) {
          // What still hangs somewhere must not commit when it comes back.
          abort.abort(error)
          const isCurrent = this.#active.get(key) === active
          if (isDeadline(error) && isCurrent) await this.#untilSettled(() => this.#rescue(who))
          throw error
        } finally {
          if (this.#active.get(key) === active) this.#active.delete(key)
          resolve()
        }
      } finally {
        leave()
      }
    }
  }

  /** A walk took too long: somebody will see the contact. */
  async #rescue({ instance, contact }: Who): Promise<void> {
    const run = await this.#options.runs.liveOf(instance, contact)
    if (run?.state !== 'active') return
    await this.#commit(run, await this.#steps.toPerson(run, null, 'orphaned'), {})
  }

  /** Before one starts, those go that should long have ended: they may not commit any more. */
  #dropOrphans(): void {
    const now = this.#options.clock.now()
    for (const [key, { startedAt, abort }] of this.#active) {
      if (now - startedAt <= MAX_ACTIVE_MS) continue
      abort.abort(new EclusaError(kernelErrors.DEADLINE_PASSED))
      this.#active.delete(key)
    }
  }

  #warnWhenCrowded(): void {
    const count = this.#active.size
    if (count > WARN_ACTIVE_FLOWS && !this.#isCrowded) {
      this.#isCrowded = true
      this.#options.log.warn(
        { active: count, above: WARN_ACTIVE_FLOWS, max: MAX_ACTIVE_FLOWS },
        'many flows walk at the same time: are the servers that they ask slow? Nothing is refused; more than the most wait on disk',
      )
    } else if (count <= WARN_ACTIVE_FLOWS * 0.8) this.#isCrowded = false
  }

  /** What is due by now, and what was active since before `leftAfterMs` ago and does not walk here. By itself on time. */
  async pass(leftAfterMs = LEFT_AFTER_MS): Promise<void> {
    const { runs, clock } = this.#options
    let skipped = 0
    let failed = false
    let lookedAt = clock.now()
    for (;;) {
      const now = clock.now()
      lookedAt = now
      const found = await runs.overdue(now, now - leftAfterMs, { limit: DUE_STEP, offset: skipped })
      // Many can be due at once, after a night: those that ask a slow server hold up only their neighbours.
      for (let from = 0; from < found.length; from += DUE_AT_ONCE) {
        if (this.#stopped) return
        const some = found.slice(from, from + DUE_AT_ONCE)
        const outcomes = await Promise.all(some.map((run) => this.#wakeOne(run)))
        skipped += outcomes.filter((outcome) => outcome !== 'done').length
        failed ||= outcomes.includes('failed')
      }
      if (found.length < DUE_STEP) break
    }
    // From when it was looked, not from now: what became due since was not seen.
    const next = (await runs.nextDueAt(lookedAt)) ?? Number.POSITIVE_INFINITY
    this.#dueAt(Math.min(next, clock.now() + (failed ? RETRY_MS : LOOK_EVERY_MS)))
  }

  async #wakeOne(run: FlowRun): Promise<'done' | 'not_ours' | 'failed'> {
    const { owns, log } = this.#options
    if (!owns(run.instance) || this.#active.has(keyOf(run))) return 'not_ours'
    try {
      await this.#alone(run, (signal) => this.#untilSettled(() => this.#wake(run, signal)))
      return 'done'
    } catch (error) {
      if (this.#stopped) return 'failed'
      const { tenant, instance, flow } = run
      log.warn({ tenant, instance, flow, err: error }, 'a flow could not go on; it is tried again')
      return 'failed'
    }
  }

  async #wake({ id }: FlowRun, signal: AbortSignal): Promise<void> {
    const { runs, clock, conversations } = this.#options
    const run = await runs.get(id)
    if (run === undefined || run.state === 'ended') return
    const now = clock.now()
    const conversation = await conversations.get({ tenant: run.tenant, id: run.conversation })
    if (conversation === undefined || !isStillFor(run, conversation)) {
      await this.#commit(run, endTurn('taken_over'), {})
      return
    }
    if (isOrphan(run, now)) {
      await this.#commit(run, await this.#steps.toPerson(run, null, 'orphaned'), {})
      return
    }
    if (run.state === 'active') return this.#walk(run, signal)
    if ((run.dueAt ?? now) > now) return
    const flow = await this.#flowOf(run)
    const step = stepOf(flow, run.step)
    const turn =
      step === undefined
        ? await this.#failed(run, undefined, new EclusaError(flowErrors.STEP_GONE))
        : await this.#trying(run, step, () => this.#steps.timeOut(step, run), signal)
    await this.#walk(await this.#commit(run, { ...turn, memory: { hops: 0, ...turn.memory } }, {}), signal)
  }

  #dueAt(at: number): void {
    if (this.#stopped || at >= this.#timerDueAt) return
    this.#timer?.cancel()
    this.#timerDueAt = at
    this.#timer = this.#options.clock.setTimer(Math.max(0, at - this.#options.clock.now()), () =>
      this.#fire(),
    )
  }

  #fire(): void {
    this.#timer = null
    this.#timerDueAt = Number.POSITIVE_INFINITY
    // One after another: what became due during a pass is found by the next.
    this.#pass = (this.#pass ?? Promise.resolve()).then(() => this.#look(LEFT_AFTER_MS))
  }

  async #look(leftAfterMs: number): Promise<void> {
    if (this.#stopped) return
    try {
      await this.pass(leftAfterMs)
    } catch (error) {
      if (this.#stopped) return
      this.#options.log.warn({ err: error }, 'flows that are due could not be looked for; trying again')
      this.#dueAt(this.#options.clock.now() + RETRY_MS)
    }
  }

  /** Looks anew and tries again when something else was stored first. */
  async #untilSettled(attempt: (races: number) => Promise<void>): Promise<void> {
    for (let races = 0; ; races++) {
      try {
        return await attempt(races)
      } catch (error) {
        if (!isRace(error) || races >= MAX_RACES) throw error
      }
    }
  }
}

/** The run after a turn. Pure. */
function moved(run: FlowRun, turn: Turn, now: number): FlowRun {
  const memory: RunMemory = { ...run.memory, ...turn.memory }
  const base = { ...run, visit: run.visit + 1, memory }
  const active = { state: 'active', activeSince: run.activeSince ?? now, dueAt: null } as const
  const { next } = turn
  switch (next.kind) {
    case 'go':
      return { ...base, ...active, step: next.step }
    case 'enter': {
      const { flow, sector } = next
      return {
        ...base,
        ...active,
        flow: flow.name,
        version: flow.version,
        sector,
        step: flow.definition.start,
      }
    }
    case 'wait':
      return { ...base, state: 'waiting', activeSince: null, dueAt: next.dueAt }
    case 'stay':
      // What it was about to say has its key already.
      return run.state === 'active' ? { ...base, visit: run.visit } : base
    case 'end':
      return { ...base, state: 'ended', activeSince: null, dueAt: null, endedAt: now, outcome: next.outcome }
    default:
      return next satisfies never
  }
}

function stay(memory: Partial<RunMemory>): Turn {
  return { next: { kind: 'stay' }, memory }
}

function endTurn(outcome: NonNullable<FlowRun['outcome']>): Turn {
  return { next: { kind: 'end', outcome, move: null } }
}

/** Whether the conversation is still the run's: in nobody's hands, or in those it was in when it was started by hand. */
function isStillFor(run: FlowRun, conversation: Conversation): boolean {
  return (
    conversation.id === run.conversation &&
    conversation.state !== 'closed' &&
    conversation.operator === run.memory.withOperator &&
    conversation.waitingSince === null
  )
}

function stepOf({ definition }: RunnableFlow, id: string): Step | undefined {
  return definition.steps.find((step) => step.id === id)
}

function heardOf({ content, sentAt, chat }: InboundMessage): HeardMessage & { readonly chat: ChatId } {
  const words = content.kind === 'answer' && content.text === '' ? content.choiceId : wordsOf(content)
  return { kind: content.kind, words: words?.slice(0, MAX_WORDS) ?? null, sentAt, chat }
}

function wordsAlone({ kind, words, sentAt }: HeardMessage): HeardMessage {
  return { kind, words, sentAt }
}

function startedEvent(run: FlowRun): NewEvent {
  return eventOf(run, 'flow.started', {})
}

function endedEvent(run: FlowRun): NewEvent {
  return eventOf(run, 'flow.ended', { outcome: run.outcome })
}

function failedEvent(run: FlowRun, code: string): NewEvent {
  return eventOf(run, 'flow.failed', { code })
}

function eventOf(run: FlowRun, type: string, more: object): NewEvent {
  const { id, tenant, instance, contact, conversation, flow, version, sector, step } = run
  return {
    tenant,
    instance,
    type,
    payload: { run: id, flow, version, sector, contact, conversation, step, ...more },
  }
}

function keyOf({ instance, contact }: Pick<Who, 'instance' | 'contact'>): string {
  return `${instance} ${contact}`
}

function isDeadline(error: unknown): boolean {
  return error instanceof EclusaError && error.code === kernelErrors.DEADLINE_PASSED.code
}

function isRace(error: unknown): boolean {
  const codes: readonly string[] = [storageErrors.CONFLICT.code, storageErrors.BUSY.code]
  return error instanceof EclusaError && codes.includes(error.code)
}

/** The database's own troubles are nobody's fault who wrote a flow: the message comes again when they are over. */
function isStorage(error: unknown): boolean {
  return error instanceof EclusaError && error.code.startsWith('STORAGE_')
}

function stopping(): EclusaError {
  return new EclusaError(storageErrors.STOPPED)
}
