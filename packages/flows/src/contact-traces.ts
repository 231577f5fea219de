import type { ContactId, InstanceId, TenantId } from '@eclusa/kernel'
import type { Statement } from '@eclusa/storage'
import type { Conversation, ConversationEntry } from './conversation.ts'
import type { ConversationPlans, ConversationRef, Planned } from './conversation-plans.ts'
import type { ConversationChange, ConversationRow, ConversationStore, Place } from './conversation-store.ts'
import type { ContactTraceStore } from './contact-trace-store.ts'
import type { Operators } from './operator-store.ts'

/** Conversations looked at in one step. */
const STEP = 100
/** Entries of one page of an export. */
const PAGE = 500

/** How much was removed. */
export interface Forgotten {
  readonly conversationCount: number
  readonly entryCount: number
}

/** One page of what conversations know of a person: a conversation, and some of its history. */
export interface ExportedPage {
  readonly conversation: Conversation
  readonly entries: readonly ConversationEntry[]
}

/** What a person leaves in conversations: joined when two prove to be one, given out, and removed. */
export class ContactTraces {
  readonly #store: ConversationStore
  readonly #traces: ContactTraceStore
  readonly #operators: Operators
  readonly #plans: ConversationPlans
  readonly #commit: (plan: () => Promise<Planned>) => Promise<unknown>

  constructor(options: {
    readonly store: ConversationStore
    readonly traces: ContactTraceStore
    readonly operators: Operators
    readonly plans: ConversationPlans
    /** Until it took place: planned anew when somebody else was faster. */
    readonly commit: (plan: () => Promise<Planned>) => Promise<unknown>
  }) {
    this.#store = options.store
    this.#traces = options.traces
    this.#operators = options.operators
    this.#plans = options.plans
    this.#commit = options.commit
  }

  /**
   * `from` proved to be `into`: its conversations are theirs from now on. Where both have one that is not closed, the
   * older goes on with the history of both, in order, and stays with whoever answers it, or with who answers the
   * younger. Again changes nothing.
   */
  async merged(tenant: TenantId, from: ContactId, into: ContactId): Promise<void> {
    if (from === into) return
    // Until nothing is left: a message under the old name may open one more while we look.
    while (!(await this.#traces.isMerged(tenant, from, into))) {
      await this.#commit(() => this.#planMerge(tenant, from, into))
    }
  }

  /** Everything of a contact, with its history; `contact.erased` tells that it happened, not of whom. */
  async forgetContact(tenant: TenantId, contact: ContactId): Promise<Forgotten> {
    let forgotten: Forgotten = { conversationCount: 0, entryCount: 0 }
    for (;;) {
      const ids = await this.#traces.ofContact(tenant, contact, STEP)
      if (ids.length === 0) break
      for (const id of ids) forgotten = add(forgotten, await this.#forget({ tenant, id }))
    }
    await this.#traces.forgetNames(tenant, contact)
    return forgotten
  }

  /** Everything that came over an instance. */
  async forgetInstance(instance: InstanceId): Promise<Forgotten> {
    let forgotten: Forgotten = { conversationCount: 0, entryCount: 0 }
    for (;;) {
      const refs = await this.#traces.ofInstance(instance, STEP)
      if (refs.length === 0) return forgotten
      for (const ref of refs) forgotten = add(forgotten, await this.#forget(ref))
    }
  }

  /** Sectors and operators, once the tenant's instances are gone. */
  forgetTenant(tenant: TenantId): Promise<void> {
    return this.#traces.forgetTenant(tenant)
  }

  /** All conversations of a contact with their whole history, a page at a time; messages are named, not repeated. */
  async *exportContact(tenant: TenantId, contact: ContactId): AsyncGenerator<ExportedPage> {
    let before = Number.MAX_SAFE_INTEGER
    for (;;) {
      const { items, next } = await this.#store.list(tenant, { contact }, { before, limit: STEP })
      for (const conversation of items) {
        let after = 0
        for (;;) {
          const entries = await this.#store.history(conversation, { after, limit: PAGE })
          if (entries.length > 0) yield { conversation, entries }
          if (entries.length === 0) break
          after = entries.at(-1)?.id ?? after
        }
      }
      if (next === null) return
      before = next
    }
  }

  async #forget(ref: ConversationRef): Promise<Forgotten> {
    const entryCount = await this.#traces.shortenHistory(ref.id)
    await this.#commit(async () => {
      const row = await this.#store.get(ref.tenant, ref.id)
      if (row === undefined) return planned([])
      const { operator } = row
      return planned(
        [
          ...this.#traces.forget(row),
          ...(operator === null ? [] : [this.#operators.countDown(ref.tenant, operator)]),
        ],
        () => this.#plans.moved(ref.tenant, { operator, sector: null }),
      )
    })
    return { conversationCount: 1, entryCount }
  }

  async #planMerge(tenant: TenantId, from: ContactId, into: ContactId): Promise<Planned> {
    const statements: Statement[] = []
    const wakes: (() => void)[] = []
    for (const id of await this.#traces.notClosedOf(tenant, from)) {
      const own = await this.#store.get(tenant, id)
      if (own === undefined || own.state === 'closed') continue
      const other = await this.#store.notClosedOf(own.instance, into)
      if (other === undefined) {
        statements.push(this.#store.change(own, { contact: into }, 'kept'))
        continue
      }
      const [kept, gone] = own.seq < other.seq ? [own, other] : [other, own]
      const joined = this.#join(kept, gone, into)
      statements.push(...joined.statements)
      wakes.push(() => joined.after())
    }
    statements.push(...this.#traces.merge(tenant, from, into))
    return planned(statements, () => {
      for (const wake of wakes) wake()
    })
  }

  #join(kept: ConversationRow, gone: ConversationRow, contact: ContactId): Planned {
    const { tenant } = kept
    const { change, place, released } = joinedState(kept, gone)
    const last = kept.lastInboundAt >= gone.lastInboundAt ? kept : gone
    const next = { ...change, contact, chat: last.chat, lastInboundAt: last.lastInboundAt }
    return planned(
      [
        this.#traces.moveHistory(gone, kept),
        // It must be closed before the other can be of the same contact.
        ...this.#plans.closeMerged(gone, contact),
        ...this.#plans.mergedEntry({ ...kept, ...next }, gone),
        this.#store.change(kept, next, place),
        ...(released === null ? [] : [this.#operators.countDown(tenant, released)]),
      ],
      () => this.#plans.moved(tenant, { operator: released, sector: next.sector ?? kept.sector }),
    )
  }
}

/** What becomes of the older: who answers it stays; else who answers the younger; else the line of either. Pure. */
function joinedState(
  kept: ConversationRow,
  gone: ConversationRow,
): {
  readonly change: ConversationChange
  readonly place: Place
  readonly released: Conversation['operator']
} {
  if (kept.operator !== null) return { change: {}, place: 'kept', released: gone.operator }
  const { state, sector, operator, lastOperator, skill, rule, seed, waitingSince, lineSince, assignedAt } =
    gone
  const its = {
    state,
    sector,
    operator,
    lastOperator,
    skill,
    rule,
    seed,
    waitingSince,
    lineSince,
    assignedAt,
  }
  // The operator has as many as before: one instead of the other.
  if (gone.operator !== null) return { change: its, place: gone.place, released: null }
  if (kept.waitingSince !== null || gone.waitingSince === null) {
    return { change: {}, place: 'kept', released: null }
  }
  return {
    change: { ...its, lastOperator: kept.lastOperator ?? gone.lastOperator },
    place: gone.place,
    released: null,
  }
}

function add(a: Forgotten, b: Forgotten): Forgotten {
  return {
    conversationCount: a.conversationCount + b.conversationCount,
    entryCount: a.entryCount + b.entryCount,
  }
}

function planned(statements: readonly Statement[], after: () => void = () => undefined): Planned {
  return { outcome: { done: false, why: 'NOT_FOUND' }, statements, after }
}
