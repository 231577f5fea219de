import {
  type ChatId,
  type Clock,
  type ContactId,
  EclusaError,
  type InboundOrigin,
  type InstanceId,
  type Logger,
  MINUTE,
  type TenantId,
} from '@eclusa/kernel'
import { type Database, type EventLog, type Sealer, storageErrors } from '@eclusa/storage'
import { ContactOwners } from './contact-owner-store.ts'
import { ContactTraceStore } from './contact-trace-store.ts'
import { ContactTraces } from './contact-traces.ts'
import {
  type Actor,
  type Conversation,
  type ConversationEntry,
  type ConversationId,
  makeConversationId,
  type OperatorId,
  type SectorId,
} from './conversation.ts'
import {
  type AssignOptions,
  type By,
  ConversationPlans,
  type ConversationRef,
  type Outcome,
  type Planned,
  type TransferOptions,
  type WaitOptions,
} from './conversation-plans.ts'
import {
  type ConversationFilter,
  ConversationStore,
  openingKey,
  type SentMessage,
} from './conversation-store.ts'
import { Operators } from './operator-store.ts'
import { Retention } from './retention.ts'
import { RetentionStore } from './retention-store.ts'
import { Sectors } from './sector-store.ts'
import { ConversationStatistics } from './statistics-store.ts'
import { WaitingLine } from './waiting-line.ts'

export interface ConversationsOptions {
  readonly database: Database
  readonly sealer: Sealer
  readonly events: EventLog
  readonly clock: Clock
  readonly log: Logger
  /** A contact who writes this soon after the close goes on in the same conversation. Default: 10 min; 0: never. */
  readonly reopenWithinMs?: number
  /**
   * The contact of a conversation writes under another name of theirs; called before that is filed, and again when it
   * fails. Default: nothing is to be done.
   */
  readonly renamed?: (conversation: Conversation, chat: ChatId) => Promise<void>
}

export const DEFAULT_REOPEN_WITHIN_MS = 10 * MINUTE

/** Lost races in a row after which a change is given up; each lost one means that somebody else's took place. */
const MAX_ATTEMPTS = 50

/** Conversations of an operator that are given back in one step. */
const RETURN_STEP = 100

/** What a message came to. */
export interface Received {
  readonly conversation: Conversation
  /** Opened for this message. */
  readonly isNew: boolean
  /** Reopened for this message: it went back to where it was, so no flow need ask again. */
  readonly isReopened: boolean
}

/**
 * Conversations with contacts: at most one that is not closed for each contact of an instance.
 *
 * Every change is one commit: the row, the capacity of the operators it concerns, its line in the history and its event
 * `conversation.…`. Nothing is kept in memory but which lines move just now.
 */
export class Conversations {
  /** The same changes, to be committed together with something else. */
  readonly plan: ConversationPlans
  readonly sectors: Sectors
  readonly operators: Operators
  readonly owners: ContactOwners
  readonly line: WaitingLine
  /** A person as a whole: joined with another, given out, removed. */
  readonly traces: ContactTraces
  /** What goes by age. */
  readonly retention: Retention
  readonly statistics: ConversationStatistics
  readonly #database: Database
  readonly #clock: Clock
  readonly #store: ConversationStore
  readonly #reopenWithinMs: number
  readonly #renamed: NonNullable<ConversationsOptions['renamed']>

  constructor(options: ConversationsOptions) {
    const { database, sealer, events, clock, log } = options
    this.#database = database
    this.#clock = clock
    this.#reopenWithinMs = options.reopenWithinMs ?? DEFAULT_REOPEN_WITHIN_MS
    this.#renamed = options.renamed ?? (async () => {})
    this.#store = new ConversationStore({ database, sealer })
    this.sectors = new Sectors({ database, clock })
    this.operators = new Operators({ database, clock })
    this.owners = new ContactOwners({ database, clock })
    this.statistics = new ConversationStatistics(database)
    const parts = { store: this.#store, sectors: this.sectors, operators: this.operators, clock }
    this.line = new WaitingLine({
      ...parts,
      log,
      plans: () => this.plan,
      commit: (planned) => this.#write(planned),
    })
    this.plan = new ConversationPlans({
      ...parts,
      events,
      moved: (tenant, moved) => this.line.wake(tenant, moved),
    })
    this.retention = new Retention({ store: new RetentionStore(database), clock })
    this.traces = new ContactTraces({
      store: this.#store,
      traces: new ContactTraceStore(database),
      operators: this.operators,
      plans: this.plan,
      commit: (plan) => this.#change(plan),
    })
  }

  /** From here on lines move by themselves, at first those that a crash left. */
  async start(): Promise<void> {
    this.line.start()
  }

  async stop(): Promise<void> {
    await this.line.stop()
  }

  /**
   * A contact wrote: their conversation that is not closed, opened or reopened when there is none, with the message in
   * its history. The same message again gives the same answer and changes nothing.
   */
  async receive(
    origin: InboundOrigin,
    message: { readonly contact: ContactId; readonly chat: ChatId; readonly at: number },
  ): Promise<Received> {
    const { tenant, instance, journalId } = origin
    const { chat, at } = message
    const inbound = { kind: 'inbound', at, actor: 'contact', journalId } as const
    return this.#untilSettled(async () => {
      const [filed, contact] = await Promise.all([
        this.#store.ofInbound(origin),
        this.#store.mergedInto(tenant, message.contact),
      ])
      if (filed !== undefined) {
        const { conversation, openedFor } = filed
        return { conversation, isNew: openedFor === 'opened', isReopened: openedFor === 'reopened' }
      }
      const current = await this.#store.notClosedOf(instance, contact)
      if (current !== undefined) {
        if (current.chat !== chat) await this.#renamed(current, chat)
        await this.#database.write(
          [this.#store.heard(current, chat, at), this.#store.addEntry(current, inbound)],
          { rows: rowsOf(instance, contact) },
        )
        return {
          conversation: { ...current, chat, lastInboundAt: at },
          isNew: false,
          isReopened: false,
        }
      }
      const reopened = await this.#reopenFor(origin, { ...message, contact })
      if (reopened !== null) return { conversation: reopened, isNew: false, isReopened: true }
      const conversation = newConversation(origin, { contact, chat, at }, this.#clock.now())
      await this.#database.write([
        this.#store.insert(conversation),
        this.#store.addEntry(conversation, {
          kind: 'opened',
          at: conversation.openedAt,
          actor: 'contact',
          key: openingKey(origin),
        }),
        this.#store.addEntry(conversation, inbound),
        this.plan.openedEvent(conversation),
      ])
      return { conversation, isNew: true, isReopened: false }
    })
  }

  /** What was written on another device of the account goes into the history of the chat's conversation, if one is not closed. */
  async receiveOwn(
    origin: InboundOrigin,
    message: { readonly chat: ChatId; readonly at: number },
  ): Promise<Conversation | null> {
    return this.#untilSettled(async () => {
      const filed = await this.#store.ofInbound(origin)
      if (filed !== undefined) return filed.conversation
      const current = await this.#store.notClosedIn(origin.instance, message.chat)
      if (current === undefined) return null
      const entry = { kind: 'inbound', at: message.at, actor: 'system', journalId: origin.journalId } as const
      await this.#database.write([this.#store.addEntry(current, entry)])
      return current
    })
  }

  /** Puts it at the end of a sector's line. */
  waitInLine(ref: ConversationRef, how: WaitOptions): Promise<Outcome> {
    return this.#change(() => this.plan.waitInLine(ref, how))
  }

  /** `waitInLine`, and waits until the line has moved: the answer says who got it, or that it waits. */
  async distribute(ref: ConversationRef, how: WaitOptions): Promise<Outcome> {
    const outcome = await this.waitInLine(ref, how)
    if (!outcome.done || outcome.conversation.sector === null) return outcome
    await this.line.move(ref.tenant, outcome.conversation.sector)
    const now = await this.#store.get(ref.tenant, ref.id)
    return now === undefined ? { done: false, why: 'NOT_FOUND' } : { done: true, conversation: now }
  }

  assign(ref: ConversationRef, how: AssignOptions): Promise<Outcome> {
    return this.#change(() => this.plan.assign(ref, how))
  }

  transferToOperator(ref: ConversationRef, how: TransferOptions): Promise<Outcome> {
    return this.#change(() => this.plan.transferToOperator(ref, how))
  }

  transferToSector(
    ref: ConversationRef,
    how: By & { readonly sector: SectorId; readonly skill?: string | null },
  ): Promise<Outcome> {
    return this.#change(() => this.plan.transferToSector(ref, how))
  }

  returnToLine(ref: ConversationRef, how: By): Promise<Outcome> {
    return this.#change(() => this.plan.returnToLine(ref, how))
  }

  close(ref: ConversationRef, how: By & { readonly reason: string }): Promise<Outcome> {
    return this.#change(() => this.plan.close(ref, how))
  }

  reopen(ref: ConversationRef, how: By): Promise<Outcome> {
    return this.#change(() => this.plan.reopen(ref, how))
  }

  note(
    ref: ConversationRef,
    how: { readonly text: string; readonly by: Actor; readonly key?: string },
  ): Promise<Outcome> {
    return this.#change(() => this.plan.note(ref, how))
  }

  /** The first of a sector's line whom the operator can answer, on their own demand. */
  async takeFirst(tenant: TenantId, sector: SectorId, id: OperatorId): Promise<Outcome> {
    const operator = await this.operators.get(tenant, id)
    if (operator === undefined) return { done: false, why: 'OPERATOR_UNKNOWN' }
    const own = operator.sectors.find((one) => one.sector === sector)
    if (own === undefined) return { done: false, why: 'SECTOR_UNKNOWN' }
    if (!this.operators.isThere(operator)) return { done: false, why: 'OPERATOR_AWAY' }
    if (operator.assignedCount >= operator.capacity) return { done: false, why: 'OPERATOR_FULL' }
    const conversation = await this.line.takeFirst(tenant, sector, { id, skills: ['', ...own.skills] })
    return conversation === undefined ? { done: false, why: 'NOT_WAITING' } : { done: true, conversation }
  }

  /** Of whichever tenant. */
  find(id: ConversationId): Promise<Conversation | undefined> {
    return this.#store.find(id)
  }

  get(tenant: TenantId, id: ConversationId): Promise<Conversation | undefined> {
    return this.#store.get(tenant, id)
  }

  /** The one that is not closed, if any. */
  notClosedOf(instance: InstanceId, contact: ContactId): Promise<Conversation | undefined> {
    return this.#store.notClosedOf(instance, contact)
  }

  /** As `notClosedOf`, by the chat in which the contact last wrote, under either of its names. */
  notClosedIn(instance: InstanceId, chat: ChatId, alias: ChatId = chat): Promise<Conversation | undefined> {
    return this.#store.notClosedIn(instance, chat, alias)
  }

  /** Newest first; go on with `next` as `before`, null at the end. A page may be short and not the last. */
  list(
    tenant: TenantId,
    filter: ConversationFilter,
    page: { readonly before: number; readonly limit: number },
  ): Promise<{ readonly items: readonly Conversation[]; readonly next: number | null }> {
    return this.#store.list(tenant, filter, page)
  }

  /**
   * Entries after the cursor, oldest first, at most 500, ending with the one that reaches `maxBytes` (default: 1 MiB) of
   * sealed words: at least one comes.
   */
  history(
    ref: ConversationRef,
    page: { readonly after: number; readonly limit: number; readonly maxBytes?: number },
  ): Promise<readonly ConversationEntry[]> {
    return this.#store.history(ref, page)
  }

  /** Who waits in a sector, the first first; `after` is the `place` of the last one of the page before, 0 at first. */
  waiting(
    tenant: TenantId,
    sector: SectorId,
    page: { readonly after: number; readonly limit: number },
  ): Promise<readonly (Conversation & { readonly place: number | null })[]> {
    return this.#store.line(tenant, sector, page)
  }

  /**
   * Gives back what an operator has, each to where it stood in its line; returns how many. What is given to them
   * meanwhile comes back too, so make them unavailable first.
   */
  async returnAll(tenant: TenantId, operator: OperatorId, how: By): Promise<number> {
    let returnedCount = 0
    for (;;) {
      const theirs = await this.#store.assignedTo(tenant, operator, RETURN_STEP)
      for (const one of theirs) {
        const outcome = await this.#change(async () => {
          const now = await this.#store.get(tenant, one.id)
          // Somebody moved it meanwhile.
          if (now?.operator !== operator) return this.plan.nothing('NOT_WAITING')
          return this.plan.returnToLine(one, how)
        })
        if (outcome.done) returnedCount++
      }
      if (theirs.length < RETURN_STEP) return returnedCount
    }
  }

  /**
   * Takes an operator away; what they have goes back to its lines.
   * @throws CONVERSATION_OPERATOR_UNKNOWN
   */
  async deleteOperator(tenant: TenantId, operator: OperatorId, how: By): Promise<void> {
    await this.operators.change(tenant, operator, { availability: 'offline', capacity: 0 })
    for (let count = 0; !(await this.operators.delete(tenant, operator)); count++) {
      if (count >= MAX_ATTEMPTS) throw new EclusaError(storageErrors.BUSY)
      await this.returnAll(tenant, operator, how)
    }
  }

  /** Those that are not closed in any of these chats (at most 1,000). */
  notClosedInAny(instance: InstanceId, chats: readonly ChatId[]): Promise<readonly Conversation[]> {
    return this.#store.notClosedInAny(instance, chats)
  }

  /** Its chat has a better name: the number of a LID. */
  async rename(conversation: Conversation, chat: ChatId): Promise<void> {
    await this.#database.write([this.#store.rename(conversation, chat)])
  }

  /**
   * Files what was sent to the contact before it was known that it was to them, in this order (at most 500); what stands
   * in a history already, or the conversation is closed by now, is left out.
   */
  async fileSent(conversation: Conversation, messages: readonly SentMessage[]): Promise<void> {
    if (messages.length === 0) return
    await this.#database.write(messages.map((message) => this.#store.addSent(conversation, message)))
  }

  /**
   * Whether who comes to a line's end now would wait there: it is served by hand, or those who are there and know the
   * skill have no more room than who waits before takes.
   */
  async mustWait(
    tenant: TenantId,
    { sector, skill }: { readonly sector: SectorId; readonly skill: string | null },
  ): Promise<boolean> {
    const rule = (await this.sectors.get(tenant, sector))?.rule
    if (rule === undefined || rule === 'manual') return true
    const fitting = (await this.operators.free(tenant, sector)).filter(({ skills }) =>
      skills.includes(skill ?? ''),
    )
    const room = fitting.reduce((sum, one) => sum + one.room, 0)
    if (room === 0) return true
    const skills = [...new Set(fitting.flatMap((one) => one.skills))]
    return (await this.#store.countWaiting(tenant, sector, skills)) >= room
  }

  /** How many wait before it in its line: 0 for the first; null when it does not wait. */
  async positionOf(ref: ConversationRef): Promise<number | null> {
    const row = await this.#store.get(ref.tenant, ref.id)
    return row === undefined || row.waitingSince === null ? null : this.#store.countBefore(row)
  }

  /** Who last answered this contact; null when nobody did. */
  lastOperatorOf(tenant: TenantId, contact: ContactId): Promise<OperatorId | null> {
    return this.#store.lastOperatorOf(tenant, contact)
  }

  ownerOf(tenant: TenantId, contact: ContactId): Promise<OperatorId | null> {
    return this.owners.of(tenant, contact)
  }

  /** Null when the last one was closed too long ago, or there is none. */
  async #reopenFor(
    origin: InboundOrigin,
    message: { readonly contact: ContactId; readonly chat: ChatId; readonly at: number },
  ): Promise<Conversation | null> {
    if (this.#reopenWithinMs === 0) return null
    const last = await this.#store.lastOf(origin.tenant, origin.instance, message.contact)
    if (last?.state !== 'closed' || last.closedAt === null) return null
    if (this.#clock.now() - last.closedAt > this.#reopenWithinMs) return null
    const { chat, at } = message
    const planned = await this.plan.planReopening(last, {
      by: 'contact',
      kind: 'reopened',
      key: openingKey(origin),
      change: { chat, lastInboundAt: at },
    })
    if (!planned.outcome.done) return null
    const inbound = this.#store.addEntry(last, {
      kind: 'inbound',
      at,
      actor: 'contact',
      journalId: origin.journalId,
    })
    await this.#write({ ...planned, statements: [...planned.statements, inbound] })
    return planned.outcome.conversation
  }

  #change(plan: () => Promise<Planned>): Promise<Outcome> {
    return this.#untilSettled(async () => {
      const planned = await plan()
      await this.#write(planned)
      return planned.outcome
    })
  }

  async #write(planned: Planned): Promise<void> {
    if (planned.statements.length === 0) return
    await this.#database.write(planned.statements)
    planned.after()
  }

  /** Looks anew and tries again when somebody else was faster. */
  async #untilSettled<T>(attempt: () => Promise<T>): Promise<T> {
    for (let count = 1; ; count++) {
      try {
        return await attempt()
      } catch (error) {
        const isRace =
          error instanceof EclusaError &&
          (error.code === storageErrors.CONFLICT.code || error.code === storageErrors.BUSY.code)
        if (!isRace || count >= MAX_ATTEMPTS) throw error
      }
    }
  }
}

function newConversation(
  origin: InboundOrigin,
  { contact, chat, at }: { readonly contact: ContactId; readonly chat: ChatId; readonly at: number },
  now: number,
): Conversation {
  return {
    id: makeConversationId(),
    tenant: origin.tenant,
    instance: origin.instance,
    contact,
    chat,
    state: 'open',
    sector: null,
    operator: null,
    lastOperator: null,
    skill: null,
    waitingSince: null,
    openedAt: now,
    assignedAt: null,
    closedAt: null,
    closeReason: null,
    lastInboundAt: at,
  }
}

/** Messages of one contact, one after the other; those of many, side by side. */
function rowsOf(instance: InstanceId, contact: ContactId): string {
  return `conversation|${instance}|${contact}`
}
