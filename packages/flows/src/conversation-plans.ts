import { type Clock, type ContactId, EclusaError, type TenantId } from '@eclusa/kernel'
import type { EventLog, Statement } from '@eclusa/storage'
import type {
  Actor,
  Conversation,
  DistributionRule,
  EntryKind,
  OperatorId,
  SectorId,
} from './conversation.ts'
import type {
  ConversationChange,
  ConversationRow,
  ConversationStore,
  NewEntry,
} from './conversation-store.ts'
import { conversationErrors, type Refusal } from './errors.ts'
import type { Operator, Operators } from './operator-store.ts'
import type { Sectors } from './sector-store.ts'

/** Names a conversation. */
export type ConversationRef = Pick<Conversation, 'tenant' | 'id'>

/** What a change came to: expected outcomes are no errors. */
export type Outcome =
  | { readonly done: true; readonly conversation: Conversation }
  | { readonly done: false; readonly why: Refusal }

/** The conversation as it is now. @throws CONVERSATION_… of the refusal */
export function assertDone(outcome: Outcome): Conversation {
  if (outcome.done) return outcome.conversation
  throw new EclusaError(conversationErrors[outcome.why])
}

/**
 * A change that is not committed yet. Put `statements` into one unit with whatever must happen with it, and call `after`
 * when that is committed; STORAGE_CONFLICT means that the conversation, or the operator, changed meanwhile: plan anew.
 * Without statements there is nothing to do: it is done already, or refused.
 */
export interface Planned {
  readonly outcome: Outcome
  readonly statements: readonly Statement[]
  /** Lets the lines move that the change may let move. */
  after(): void
}

/** Who changed it, and what they said about it, which only its history keeps (at most 4,096 characters). */
export interface By {
  readonly by: Actor
  readonly comment?: string | null
}

export interface WaitOptions extends By {
  /** Null: the tenant's default sector. */
  readonly sector: SectorId | null
  /** What an operator must be marked for to get it. Default: nothing special. */
  readonly skill?: string | null
  /** Who gets it. Default: by the sector's own rule. */
  readonly rule?: DistributionRule | null
  /** Of `random`. Default: made from the conversation. */
  readonly seed?: number | null
}

export interface AssignOptions extends By {
  readonly operator: OperatorId
  /** Default: the operator must be online and within their hours. Nobody is ever given more than their capacity. */
  readonly evenIfAway?: boolean
}

export interface TransferOptions extends AssignOptions {
  /** Default: the conversation's, when the operator answers there, else the operator's first. */
  readonly sector?: SectorId
}

const NOTHING = { statements: [], after: () => undefined } as const

/**
 * The changes of a conversation, each as a unit that is not committed yet.
 *
 * | from | waitInLine | assign | transfer | returnToLine | close | reopen |
 * |---|---|---|---|---|---|---|
 * | open, no line | in the line's end | assigned | assigned, or in a line's end | refused | closed | refused |
 * | open, in line | another sector: its end | assigned | assigned, or in a line's end | as it is | closed | refused |
 * | assigned | refused | as it is, or refused | assigned, or in a line's end | where it stood in the line | closed | refused |
 * | closed | refused | refused | refused | refused | as it is | open, where it belongs |
 *
 * And `release`, from the operator who has it alone: open, in no line.
 */
export class ConversationPlans {
  readonly #store: ConversationStore
  readonly #sectors: Sectors
  readonly #operators: Operators
  readonly #events: EventLog
  readonly #clock: Clock
  readonly #moved: (tenant: TenantId, moved: Moved) => void

  constructor(options: {
    readonly store: ConversationStore
    readonly sectors: Sectors
    readonly operators: Operators
    readonly events: EventLog
    readonly clock: Clock
    /** Is told after each commit which lines may move. */
    readonly moved: (tenant: TenantId, moved: Moved) => void
  }) {
    this.#store = options.store
    this.#sectors = options.sectors
    this.#operators = options.operators
    this.#events = options.events
    this.#clock = options.clock
    this.#moved = options.moved
  }

  /** At the end of a sector's line, from where it goes to an operator by the sector's rule. */
  async waitInLine(ref: ConversationRef, how: WaitOptions): Promise<Planned> {
    const before = await this.#store.get(ref.tenant, ref.id)
    if (before === undefined) return refused('NOT_FOUND')
    if (before.state === 'closed') return refused('CLOSED')
    if (before.state === 'assigned') return refused('ASSIGNED')
    const sector =
      how.sector === null
        ? await this.#sectors.default(ref.tenant)
        : await this.#sectors.get(ref.tenant, how.sector)
    if (sector === undefined) return refused('SECTOR_UNKNOWN')
    const { skill = null, rule = null, seed = null } = how
    if (before.waitingSince !== null && before.sector === sector.id && before.skill === skill) {
      return unchanged(before)
    }
    return this.#planned(before, inLine(sector.id, this.#clock.now(), { skill, rule, seed }), {
      ...how,
      kind: 'waiting',
      place: 'new',
      entry: { sector: sector.id },
    })
  }

  /** To an operator, past any line. */
  async assign(ref: ConversationRef, how: AssignOptions): Promise<Planned> {
    const before = await this.#store.get(ref.tenant, ref.id)
    if (before === undefined) return refused('NOT_FOUND')
    if (before.state === 'closed') return refused('CLOSED')
    if (before.operator === how.operator) return unchanged(before)
    if (before.state === 'assigned') return refused('ASSIGNED')
    const operator = await this.#available(before, how)
    if (typeof operator === 'string') return refused(operator)
    return this.#planned(before, assigned(operator.id, this.#clock.now()), {
      ...how,
      kind: 'assigned',
      entry: {
        operator: operator.id,
        sector: before.sector,
        waitedMs: this.#waitedMs(before),
      },
      taken: operator.id,
    })
  }

  /** The first of its line to an operator who was found to be free; a conflict when it is not the first any more. */
  assignFirst(
    before: ConversationRow,
    operator: { readonly id: OperatorId; readonly skills: readonly string[] },
    by: Actor,
  ): Planned {
    return this.#planned(before, assigned(operator.id, this.#clock.now()), {
      by,
      kind: 'assigned',
      entry: { operator: operator.id, sector: before.sector, waitedMs: this.#waitedMs(before) },
      taken: operator.id,
      firstFor: operator.skills,
    })
  }

  /** From wherever it is to an operator. */
  async transferToOperator(ref: ConversationRef, how: TransferOptions): Promise<Planned> {
    const before = await this.#store.get(ref.tenant, ref.id)
    if (before === undefined) return refused('NOT_FOUND')
    if (before.state === 'closed') return refused('CLOSED')
    if (before.operator === how.operator && (how.sector ?? before.sector) === before.sector) {
      return unchanged(before)
    }
    if (how.sector !== undefined && (await this.#sectors.get(ref.tenant, how.sector)) === undefined) {
      return refused('SECTOR_UNKNOWN')
    }
    const operator = await this.#available(before, how)
    if (typeof operator === 'string') return refused(operator)
    const own = operator.sectors.map((one) => one.sector)
    const stays = before.sector !== null && (own.includes(before.sector) || own.length === 0)
    const sector = how.sector ?? (stays ? before.sector : (own[0] ?? null))
    const isOther = before.operator !== operator.id
    return this.#planned(
      before,
      {
        ...assigned(operator.id, this.#clock.now()),
        sector,
        // A place is one in a certain line.
        ...(sector === before.sector ? {} : { lineSince: null }),
      },
      {
        ...how,
        kind: 'transferred',
        entry: { operator: operator.id, sector },
        released: isOther ? before.operator : null,
        taken: isOther ? operator.id : null,
      },
    )
  }

  /** From wherever it is to the end of a sector's line. */
  async transferToSector(
    ref: ConversationRef,
    how: By & { readonly sector: SectorId; readonly skill?: string | null },
  ): Promise<Planned> {
    const before = await this.#store.get(ref.tenant, ref.id)
    if (before === undefined) return refused('NOT_FOUND')
    if (before.state === 'closed') return refused('CLOSED')
    const sector = await this.#sectors.get(ref.tenant, how.sector)
    if (sector === undefined) return refused('SECTOR_UNKNOWN')
    const { skill = null } = how
    const change = inLine(sector.id, this.#clock.now(), { skill, rule: null, seed: null })
    return this.#planned(before, change, {
      ...how,
      kind: 'transferred',
      place: 'new',
      entry: { sector: sector.id },
      released: before.operator,
    })
  }

  /** Its sector is gone: to the default's line, so that nobody waits where nobody looks. */
  async rescue(before: ConversationRow): Promise<Planned> {
    const sector = await this.#sectors.default(before.tenant)
    return this.#planned(before, inLine(sector.id, before.waitingSince, before), {
      by: 'system',
      kind: 'waiting',
      place: 'new',
      entry: { sector: sector.id },
    })
  }

  /** From its operator back to where it stood in its sector's line: before those who came after it. */
  async returnToLine(ref: ConversationRef, how: By): Promise<Planned> {
    const before = await this.#store.get(ref.tenant, ref.id)
    if (before === undefined) return refused('NOT_FOUND')
    if (before.state === 'closed') return refused('CLOSED')
    if (before.waitingSince !== null) return unchanged(before)
    if (before.operator === null) return refused('NOT_WAITING')
    const known = before.sector === null ? undefined : await this.#sectors.get(ref.tenant, before.sector)
    const sector = known ?? (await this.#sectors.default(ref.tenant))
    // Assigned without ever having waited here: it has no place yet.
    const hasPlace = before.place !== null && before.lineSince !== null && sector.id === before.sector
    const since = hasPlace ? before.lineSince : this.#clock.now()
    return this.#planned(before, inLine(sector.id, since, before), {
      ...how,
      kind: 'waiting',
      place: hasPlace ? 'kept' : 'new',
      entry: { sector: sector.id, operator: before.operator },
      released: before.operator,
    })
  }

  /** The operator's part is done, a flow has the rest: with nobody, in no line. Only from `operator`. */
  async release(ref: ConversationRef, how: By & { readonly operator: OperatorId }): Promise<Planned> {
    const before = await this.#store.get(ref.tenant, ref.id)
    if (before === undefined) return refused('NOT_FOUND')
    if (before.state === 'closed') return refused('CLOSED')
    if (before.operator !== how.operator) return refused('ASSIGNED')
    return this.#planned(
      before,
      { state: 'open', operator: null },
      {
        ...how,
        kind: 'released',
        entry: { sector: before.sector, operator: how.operator },
        released: how.operator,
      },
    )
  }

  /**
   * @param how `reason` as `parseCloseReason` lets through; `servedBy`: who had it when nobody has it any more
   */
  async close(
    ref: ConversationRef,
    how: By & { readonly reason: string; readonly servedBy?: OperatorId | null },
  ): Promise<Planned> {
    const before = await this.#store.get(ref.tenant, ref.id)
    if (before === undefined) return refused('NOT_FOUND')
    if (before.state === 'closed') return unchanged(before)
    const closedAt = this.#clock.now()
    return this.#planned(
      before,
      {
        state: 'closed',
        operator: null,
        waitingSince: null,
        lineSince: null,
        closedAt,
        closeReason: how.reason,
      },
      {
        ...how,
        kind: 'closed',
        entry: { sector: before.sector, operator: before.operator ?? how.servedBy ?? null },
        released: before.operator,
      },
    )
  }

  /** Back to who answered last when they are there and have room, else into its sector's line. */
  async reopen(ref: ConversationRef, how: By): Promise<Planned> {
    const before = await this.#store.get(ref.tenant, ref.id)
    if (before === undefined) return refused('NOT_FOUND')
    if (before.state !== 'closed') return refused('NOT_CLOSED')
    if (before.closeReason === 'merged') return refused('MERGED')
    const other = await this.#store.notClosedOf(before.instance, before.contact)
    if (other !== undefined) return refused('ANOTHER_OPEN')
    return this.planReopening(before, { ...how, kind: 'reopened' })
  }

  /** `reopen` of a row known to be closed, with what the caller adds to the unit's entries. */
  async planReopening(
    before: ConversationRow,
    how: By & { readonly kind: 'reopened'; readonly key?: string; readonly change?: ConversationChange },
  ): Promise<Planned> {
    const now = this.#clock.now()
    const open: ConversationChange = { ...how.change, state: 'open', closedAt: null, closeReason: null }
    const key = how.key === undefined ? {} : { key: how.key }
    const last =
      before.lastOperator === null
        ? 'OPERATOR_UNKNOWN'
        : await this.#available(before, { ...how, operator: before.lastOperator })
    if (typeof last !== 'string') {
      return this.#planned(
        before,
        { ...open, ...assigned(last.id, now) },
        {
          ...how,
          entry: { operator: last.id, sector: before.sector, ...key },
          taken: last.id,
        },
      )
    }
    const sector =
      before.sector === null
        ? undefined
        : ((await this.#sectors.get(before.tenant, before.sector)) ??
          (await this.#sectors.default(before.tenant)))
    return this.#planned(
      before,
      { ...open, ...(sector === undefined ? {} : inLine(sector.id, now, before)) },
      {
        ...how,
        place: sector === undefined ? 'kept' : 'new',
        entry: { sector: sector?.id ?? null, ...key },
      },
    )
  }

  /** Words for the history, 1 to 4,096 characters, also of a closed conversation. The same `key` again adds nothing. */
  async note(
    ref: ConversationRef,
    how: { readonly text: string; readonly by: Actor; readonly key?: string },
  ): Promise<Planned> {
    const before = await this.#store.get(ref.tenant, ref.id)
    if (before === undefined) return refused('NOT_FOUND')
    const key = how.key === undefined ? {} : { key: `note:${how.key}` }
    if (key.key !== undefined && (await this.#store.hasKey(before.id, key.key))) return unchanged(before)
    const at = this.#clock.now()
    return {
      outcome: { done: true, conversation: before },
      statements: [
        this.#store.addEntry(before, { kind: 'note', at, actor: how.by, text: how.text, ...key }),
        this.#event(before, 'noted', how.by),
      ],
      after: () => undefined,
    }
  }

  /** An answer in the history: to be committed with the row of the queue. @param how `messageSeq` as the queue counts */
  outboundEntry(
    conversation: Pick<Conversation, 'id' | 'tenant' | 'instance'>,
    how: { readonly messageSeq: number; readonly text: string; readonly by: Actor },
  ): Statement {
    const { messageSeq, text, by } = how
    return this.#store.addOutbound(conversation, { at: this.#clock.now(), actor: by, messageSeq, text })
  }

  /** It became part of an older one, which has its history now. */
  closeMerged(gone: ConversationRow, contact: ContactId): readonly Statement[] {
    const change = {
      contact,
      state: 'closed',
      operator: null,
      waitingSince: null,
      lineSince: null,
      closedAt: this.#clock.now(),
      closeReason: 'merged',
    } as const
    return [
      this.#store.change(gone, change, 'kept'),
      this.#event({ ...gone, ...change }, 'closed', 'system', gone),
    ]
  }

  mergedEntry(kept: Conversation, gone: Conversation): readonly Statement[] {
    const { sector, operator } = kept
    const entry: NewEntry = { kind: 'merged', at: this.#clock.now(), actor: 'system', sector, operator }
    return [
      this.#store.addEntry(kept, { ...entry, text: gone.id }),
      this.#event(kept, 'merged', 'system', gone),
    ]
  }

  nothing(why: Refusal): Planned {
    return refused(why)
  }

  /** Tells which lines a commit may let move. */
  moved(tenant: TenantId, moved: Moved): void {
    this.#moved(tenant, moved)
  }

  openedEvent(conversation: Conversation): Statement {
    return this.#event(conversation, 'opened', 'contact')
  }

  async #available(
    { tenant }: ConversationRow,
    how: AssignOptions,
  ): Promise<Operator | 'OPERATOR_UNKNOWN' | 'OPERATOR_FULL' | 'OPERATOR_AWAY'> {
    const operator = await this.#operators.get(tenant, how.operator)
    if (operator === undefined) return 'OPERATOR_UNKNOWN'
    if (how.evenIfAway !== true && !this.#operators.isThere(operator)) return 'OPERATOR_AWAY'
    return operator.assignedCount < operator.capacity ? operator : 'OPERATOR_FULL'
  }

  #waitedMs({ waitingSince }: ConversationRow): number | null {
    return waitingSince === null ? null : Math.max(0, this.#clock.now() - waitingSince)
  }

  #planned(
    before: ConversationRow,
    change: ConversationChange,
    how: By & {
      readonly kind: EntryKind
      readonly entry: Partial<NewEntry>
      readonly place?: 'kept' | 'new'
      /** Whose conversation it is no more. */
      readonly released?: OperatorId | null
      /** Whose it becomes. */
      readonly taken?: OperatorId | null
      readonly evenIfAway?: boolean
      /** Only when it is the first in its line for these skills. */
      readonly firstFor?: readonly string[]
    },
  ): Planned {
    const { tenant } = before
    const after = { ...before, ...change }
    const { released = null, taken = null, place = 'kept' } = how
    const statements: Statement[] = [
      this.#store.addEntry(before, {
        kind: how.kind,
        at: this.#clock.now(),
        actor: how.by,
        text: how.comment ?? null,
        ...how.entry,
      }),
      how.firstFor === undefined
        ? this.#store.change(before, change, place)
        : this.#store.changeFirst(before, change, how.firstFor),
      ...(released === null ? [] : [this.#operators.countDown(tenant, released)]),
      ...(taken === null
        ? []
        : [
            this.#operators.countUp(tenant, taken, {
              conversation: before.id,
              mustBeOnline: how.evenIfAway !== true,
            }),
          ]),
      this.#event(after, how.kind, how.by, before),
    ]
    return {
      outcome: { done: true, conversation: after },
      statements,
      after: () =>
        this.#moved(tenant, {
          operator: released,
          sector: after.waitingSince === null ? null : after.sector,
        }),
    }
  }

  #event(
    conversation: Conversation,
    name: EntryKind | 'noted',
    by: Actor,
    before: Conversation = conversation,
  ): Statement {
    const { tenant, instance, id, contact, chat, state, sector, operator } = conversation
    const iso = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString())
    return this.#events.append({
      tenant,
      instance,
      type: `conversation.${name}`,
      payload: {
        conversation: id,
        contact,
        chat,
        state,
        sector,
        operator,
        waitingSince: iso(conversation.waitingSince),
        closeReason: conversation.closeReason,
        by,
        ...(before.operator !== operator || before.sector !== sector
          ? { from: { sector: before.sector, operator: before.operator } }
          : {}),
      },
    })
  }
}

/** What a commit may let move: a line with somebody new in it, the lines of an operator who has room again. */
export interface Moved {
  readonly sector: SectorId | null
  readonly operator: OperatorId | null
}

function inLine(
  sector: SectorId,
  since: number | null,
  { skill, rule, seed }: Pick<ConversationRow, 'skill' | 'rule' | 'seed'>,
): ConversationChange {
  return { state: 'open', sector, operator: null, skill, rule, seed, waitingSince: since, lineSince: since }
}

function assigned(operator: OperatorId, at: number): ConversationChange {
  return { state: 'assigned', operator, lastOperator: operator, waitingSince: null, assignedAt: at }
}

function refused(why: Refusal): Planned {
  return { outcome: { done: false, why }, ...NOTHING }
}

function unchanged(conversation: Conversation): Planned {
  return { outcome: { done: true, conversation }, ...NOTHING }
}
