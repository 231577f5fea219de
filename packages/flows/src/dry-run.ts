import {
  chatOfNumber,
  type Clock,
  type ContactId,
  EclusaError,
  type InboundOrigin,
  makeInstanceId,
  MINUTE,
  silentLogger,
  type TenantId,
  type Timer,
  type WaMessageId,
} from '@eclusa/kernel'
import { storageErrors } from '@eclusa/storage'
import { type Conversation, makeConversationId, type OperatorId, type SectorId } from './conversation.ts'
import { flowErrors } from './flow-errors.ts'
import type { ContactFacts, Heard, PlannedMove } from './flow-ports.ts'
import type { FlowRun } from './flow-run.ts'
import type { FlowRuns } from './flow-runs.ts'
import { FlowRunner } from './flow-runner.ts'
import type { FlowDefinition } from './flow-definition.ts'

/** What the contact of a dry run does: says something, or lets time pass. */
export type DryRunLine = { readonly say: string } | { readonly waitMinutes: number }

export interface DryRunOptions {
  readonly definition: FlowDefinition
  /** At most 100. */
  readonly lines: readonly DryRunLine[]
  /** Epoch milliseconds of the first line. */
  readonly startAt: number
  readonly contact?: Partial<ContactFacts>
  /** What every lookup answers. Default: they fail. */
  readonly lookup?: unknown
  /** Who answered the contact a day before, and whose customer they are; both are there and have room. */
  readonly lastOperator?: string
  readonly owner?: string
  /** What the words that always work come to; `atMenu`: the flow waits for an answer. Default: nothing. */
  readonly hear?: (words: string, atMenu: boolean) => Heard
}

interface DryRunEntry {
  /** Milliseconds since the first line. */
  readonly afterMs: number
  readonly who: 'contact' | 'flow' | 'event'
  readonly text: string
}

export interface DryRunReport {
  readonly entries: readonly DryRunEntry[]
  /** Where it stands: the step it waits at; null when it has ended. */
  readonly waitsAt: string | null
  readonly outcome: FlowRun['outcome']
  readonly sector: string | null
  readonly operator: string | null
  readonly state: Conversation['state']
  readonly fields: Readonly<Record<string, string>>
  readonly tags: readonly string[]
}

const TENANT = 'dry-run' as TenantId
const CONTACT = 'con_00000000000000000000' as ContactId
/** Longer than it is taken for the same breath. */
const BETWEEN_MS = 30_000

/** A flow against a scripted contact, by the real runner on a clock and rows of its own: nothing is sent, or kept. */
export async function dryRun(options: DryRunOptions): Promise<DryRunReport> {
  const clock = new ScriptClock(options.startAt)
  const world = new DryWorld(options, clock)
  const runner = new FlowRunner({
    runs: world.runs,
    flows: {
      serving: async (_tenant, sector) => (sector === null ? world.flow : undefined),
      version: async () => world.flow,
    },
    conversations: world.conversations,
    contacts: world.contacts,
    messages: world.messages,
    lookups: { call: async () => world.lookup() },
    owns: () => true,
    clock,
    log: { ...silentLogger, warn: (fields) => world.noteFailure(fields) },
  })
  try {
    if (options.definition.starts === 'by_hand') await runner.startByHand(world.conversation, world.flow)
    // What starts by hand has spoken already.
    let hasSpoken = world.hasEntries
    for (const line of options.lines) {
      if ('say' in line && hasSpoken) clock.advance(BETWEEN_MS)
      hasSpoken = 'say' in line
      if ('waitMinutes' in line) {
        // In steps from one time-out to the next, as the runner's own timer would.
        const until = clock.now() + line.waitMinutes * MINUTE
        for (;;) {
          const next = await world.runs.nextDueAt(clock.now())
          if (next === null || next > until) break
          clock.advance(next - clock.now())
          await runner.pass()
        }
        clock.advance(until - clock.now())
        continue
      }
      world.note('contact', line.say)
      const atMenu = await runner.isWaiting(world.conversation, CONTACT)
      await runner.hear(world.nextOrigin(), {
        contact: CONTACT,
        conversation: world.conversation,
        heard: options.hear?.(line.say, atMenu) ?? 'nothing',
        message: world.messageOf(line.say),
      })
    }
    return world.report()
  } finally {
    await runner.stop()
  }
}

/** Time that the script moves; what the runner wants to be called for, the script calls. */
class ScriptClock implements Clock {
  #now: number

  constructor(startAt: number) {
    this.#now = startAt
  }

  now(): number {
    return this.#now
  }

  advance(ms: number): void {
    this.#now += ms
  }

  setTimer(): Timer {
    return { cancel: () => undefined }
  }
}

/** What the runner meets in a dry run. */
class DryWorld {
  readonly flow: { readonly name: string; readonly version: number; readonly definition: FlowDefinition }
  readonly runs: FlowRuns & { nextDueAt(now: number): Promise<number | null> }
  conversation: Conversation
  readonly #options: DryRunOptions
  readonly #clock: Clock
  // bounded by: the lines of the script, and the steps a flow may take for each
  readonly #entries: DryRunEntry[] = []
  // bounded by: as the entries
  readonly #said = new Set<string>()
  // bounded by: the fields and tags that the flow names
  #contact: ContactFacts
  #run: FlowRun | null = null
  #journalId = 0

  constructor(options: DryRunOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    this.flow = { name: 'dry-run', version: 1, definition: options.definition }
    this.#contact = { name: null, number: '5511999990000', tags: [], fields: {}, ...options.contact }
    const now = clock.now()
    const isByHand = options.definition.starts === 'by_hand'
    const operator = isByHand ? ('opr_of_the_conversation' as OperatorId) : null
    this.conversation = {
      id: makeConversationId(),
      tenant: TENANT,
      instance: makeInstanceId(),
      contact: CONTACT,
      chat: chatOfNumber(this.#contact.number ?? '0'),
      state: isByHand ? 'assigned' : 'open',
      sector:
        typeof options.definition.starts === 'object' ? (options.definition.starts.sector as SectorId) : null,
      operator,
      lastOperator: operator,
      skill: null,
      waitingSince: null,
      openedAt: now,
      assignedAt: isByHand ? now : null,
      closedAt: null,
      closeReason: null,
      lastInboundAt: now,
    }
    this.runs = this.#makeRuns()
  }

  get hasEntries(): boolean {
    return this.#entries.length > 0
  }

  note(who: DryRunEntry['who'], text: string): void {
    this.#entries.push({ afterMs: this.#clock.now() - this.#options.startAt, who, text })
  }

  noteFailure(fields: Readonly<Record<string, unknown>>): void {
    if (typeof fields['step'] === 'string')
      this.note('event', `step "${fields['step']}" failed: ${String(fields['code'])}`)
  }

  nextOrigin(): InboundOrigin {
    return { tenant: TENANT, instance: this.conversation.instance, journalId: ++this.#journalId }
  }

  messageOf(text: string): Parameters<FlowRunner['hear']>[1]['message'] {
    return {
      chat: this.conversation.chat,
      author: this.conversation.chat,
      addressedAs: this.conversation.chat,
      alias: null,
      waMessageId: `DRY${this.#journalId}` as WaMessageId,
      fromMe: false,
      content: { kind: 'text', text },
      quoted: null,
      mentions: [],
      pushName: null,
      sentAt: this.#clock.now(),
    }
  }

  readonly contacts = {
    facts: async (): Promise<ContactFacts> => this.#contact,
    change: async (
      _who: unknown,
      change: {
        readonly fields?: Readonly<Record<string, string | null>>
        readonly addTags?: readonly string[]
        readonly removeTags?: readonly string[]
      },
    ): Promise<void> => {
      const { fields = {}, addTags = [], removeTags = [] } = change
      const all = Object.entries({ ...this.#contact.fields, ...fields })
      const tags = new Set([...this.#contact.tags.filter((tag) => !removeTags.includes(tag)), ...addTags])
      this.#contact = {
        ...this.#contact,
        fields: Object.fromEntries(all.flatMap(([name, value]) => (value === null ? [] : [[name, value]]))),
        tags: [...tags].toSorted(),
      }
    },
  }

  readonly messages = {
    enqueue: async ({ text, key }: { readonly text: string; readonly key: string }): Promise<void> => {
      if (!this.#said.has(key)) this.note('flow', text)
      this.#said.add(key)
    },
  }

  readonly conversations = {
    get: async (): Promise<Conversation> => this.conversation,
    waitInLine: async (_ref: unknown, how: { readonly sector: SectorId | null }): Promise<PlannedMove> =>
      this.#planned(
        { sector: how.sector ?? ('default' as SectorId), waitingSince: this.#clock.now() },
        (after) => this.note('event', `in line of the sector "${after.sector}"`),
      ),
    assign: async (_ref: unknown, operator: OperatorId): Promise<PlannedMove> =>
      this.#planned({ state: 'assigned', operator }, () => this.note('event', `assigned to "${operator}"`)),
    release: async (): Promise<PlannedMove> =>
      this.#planned({ state: 'open', operator: null }, () =>
        this.note('event', 'released by its operator until the contact has answered'),
      ),
    close: async (_ref: unknown, reason: string): Promise<PlannedMove> =>
      this.#planned(
        { state: 'closed', operator: null, closedAt: this.#clock.now(), closeReason: reason },
        () => this.note('event', `closed: ${reason}`),
      ),
    lastOperatorOf: async (): Promise<{ readonly operator: OperatorId; readonly at: number } | undefined> => {
      const { lastOperator, startAt } = this.#options
      if (lastOperator === undefined) return undefined
      return { operator: lastOperator as OperatorId, at: startAt - 24 * 60 * MINUTE }
    },
    ownerOf: async (): Promise<OperatorId | undefined> => this.#options.owner as OperatorId | undefined,
    admins: async (): Promise<readonly OperatorId[]> => ['admin' as OperatorId],
    hasLine: async (): Promise<boolean> => true,
    mustWait: async (): Promise<boolean> => false,
  }

  lookup(): unknown {
    const { lookup } = this.#options
    if (lookup === undefined) throw new EclusaError(flowErrors.LOOKUP_FAILED)
    return lookup
  }

  report(): DryRunReport {
    const { sector, operator, state } = this.conversation
    const run = this.#run
    return {
      entries: this.#entries,
      waitsAt: run?.state === 'waiting' ? run.step : null,
      outcome: run?.outcome ?? null,
      sector,
      operator,
      state,
      fields: { ...this.#contact.fields, ...(run?.state === 'waiting' ? run.memory.fields : {}) },
      tags: this.#contact.tags,
    }
  }

  #planned(change: Partial<Conversation>, note: (after: Conversation) => void): PlannedMove {
    const after = { ...this.conversation, ...change }
    return {
      outcome: { done: true, conversation: after },
      statements: [],
      after: () => {
        this.conversation = after
        note(after)
      },
    }
  }

  #makeRuns(): FlowRuns {
    // bounded by: the lines of the script
    const heard = new Set<number>()
    // bounded by: the steps of the flow
    const once = new Map<string, number>()
    const keep = (run: FlowRun, unit: Parameters<FlowRuns['begin']>[1]): void => {
      this.#run = run
      if (unit.heard !== undefined) heard.add(unit.heard.journalId)
      if (unit.once !== undefined) once.set(unit.once.key, unit.once.until)
    }
    const live = (): FlowRun | undefined =>
      this.#run === null || this.#run.state === 'ended' ? undefined : this.#run
    const isDue = ({ dueAt }: FlowRun, now: number): boolean => dueAt !== null && dueAt <= now
    return {
      liveOf: async () => live(),
      get: async () => this.#run ?? undefined,
      wasHeard: async ({ journalId }) => heard.has(journalId),
      onceUntil: async (_tenant, _contact, key) => once.get(key) ?? 0,
      begin: async (run, unit) => keep(run, unit),
      move: async (before, after, unit) => {
        if (this.#run?.visit !== before.visit) throw new EclusaError(storageErrors.CONFLICT)
        keep(after, unit)
      },
      heardAlone: async ({ journalId }) => void heard.add(journalId),
      overdue: async (now) => [live()].filter((run) => run !== undefined).filter((run) => isDue(run, now)),
      nextDueAt: async (now) => {
        const dueAt = live()?.dueAt ?? null
        return dueAt !== null && dueAt > now ? dueAt : null
      },
    }
  }
}
