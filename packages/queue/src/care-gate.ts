import {
  type ChatId,
  type Clock,
  DAY,
  type InstanceId,
  type Logger,
  type TenantId,
  type TypedEmitter,
} from '@eclusa/kernel'
import {
  CARE_HOLDS,
  type CareOptions,
  type CareVerdict,
  type ChatStanding,
  COLD_HOLDS,
  type ColdFacts,
  coldPauseMs,
  type HoldReason,
  isInConversation,
  judgeCare,
  refusalOf,
} from './care.ts'
import type { ColdPause, ColdStore } from './cold-store.ts'
import type { HoldStore } from './hold-store.ts'
import type { ChatContext, OutboundFailure, OutboundIdentity, Purpose, QueueEvents } from './message.ts'
import { Places } from './places.ts'
import { Rates } from './rates.ts'
import { SendLog } from './send-log.ts'

export type Passage =
  | {
      readonly kind: 'go'
      /** Not before then, so that the rates hold. */
      readonly at: number
      /** The contact is in conversation or agreed to be written to: "typing…" is honest. */
      readonly mayType: boolean
      /** To somebody who is not in conversation; null when it is to one who is. */
      readonly cold: { readonly isAnswered: boolean; readonly wasPaused: boolean } | null
    }
  | {
      readonly kind: 'hold'
      readonly reason: HoldReason
      readonly until: number
      readonly wholeChat: boolean
      /** Until when it lives because it is held; null: as before. */
      readonly expiresAt: number | null
    }
  | { readonly kind: 'refuse'; readonly failure: OutboundFailure }
  /** Earlier messages of the chat took their places: the head is another one now. */
  | { readonly kind: 'again' }

/** Longer than anything lives. */
const MAX_HOLD_MS = 366 * DAY
/** So large a part of a tenant's times may be nobody's before the others move up. */
const UNUSED_PLACES = 0.1
const NOTHING_COLD: ColdFacts = { pausedUntil: null, slotAt: 0, contact: null }

/** Where each message stops for a moment: may it go to this person now? */
export class CareGate {
  readonly #context: ChatContext
  readonly #cold: ColdStore
  readonly #holds: HoldStore
  readonly #optionsOf: (tenant: TenantId, instance: InstanceId) => CareOptions
  readonly #clock: Clock
  readonly #log: Logger
  readonly #emitter: TypedEmitter<QueueEvents>
  readonly #rates: Rates
  readonly #places: Places
  readonly #sent: SendLog
  readonly #expireHeldAfterMs: number
  // Ends of what is being judged. bounded by: instances with lanes
  readonly #turns = new Map<InstanceId, Promise<void>>()

  constructor(options: {
    readonly context: ChatContext
    readonly cold: ColdStore
    readonly holds: HoldStore
    readonly optionsOf: (tenant: TenantId, instance: InstanceId) => CareOptions
    readonly clock: Clock
    readonly log: Logger
    readonly emitter: TypedEmitter<QueueEvents>
    readonly maxRates: number
    /** How long after its acceptance a message lives that is held back, unless its sender said otherwise. */
    readonly expireHeldAfterMs: number
  }) {
    this.#sent = new SendLog(options.maxRates)
    this.#expireHeldAfterMs = options.expireHeldAfterMs
    this.#rates = new Rates(options.maxRates)
    this.#places = new Places(options.maxRates)
    this.#context = options.context
    this.#cold = options.cold
    this.#holds = options.holds
    this.#optionsOf = options.optionsOf
    this.#clock = options.clock
    this.#log = options.log
    this.#emitter = options.emitter
  }

  /** When the next message of the instance may start. */
  instanceFreeAt(tenant: TenantId, instance: InstanceId): number {
    const now = this.#clock.now()
    const options = this.#optionsOf(tenant, instance)
    return options.enabled ? this.#rates.freeAt(instance, options.instance, now) : now
  }

  /** When the next message of the chat may start, if its contact is in conversation; others may have to wait longer. */
  contactFreeAt(tenant: TenantId, instance: InstanceId, chat: ChatId): number {
    const now = this.#clock.now()
    const options = this.#optionsOf(tenant, instance)
    return options.enabled ? this.#rates.freeAt(keyOf(instance, chat), options.conversation, now) : now
  }

  /** The verdict on a message that was never sent. */
  async pass(message: OutboundIdentity, purpose: Purpose | null, expiresAt: number | null): Promise<Passage> {
    const { tenant, instance, chat } = message
    const options = this.#optionsOf(tenant, instance)
    // A group is not a person: no consent, no quiet hours.
    const isPerson = !chat.endsWith('@g.us')
    const standing = isPerson ? ((await this.#context.standing?.(message)) ?? null) : null
    if (standing === null) return this.#go(message, options, expiresAt, { mayType: true, cold: null })
    const inConversation = isInConversation(standing, this.#clock.now())
    if (!options.enabled || (inConversation && purpose !== 'proactive')) {
      const verdict = judgeCare({ now: this.#clock.now(), options, purpose, standing, cold: NOTHING_COLD })
      if (verdict.kind !== 'go') return this.#passageOf(verdict, message, expiresAt)
      return this.#go(message, options, expiresAt, {
        mayType: inConversation || standing.consent,
        cold: null,
      })
    }
    // One at a time, so that two together do not pass a budget that has room for one.
    return this.#inTurn(instance, () => this.#passCold(message, purpose, expiresAt, standing, options))
  }

  /** Why a message that was tried before must not go again: an opt-out counts for it, too. Null when nothing is in the way. */
  async refusal(
    message: OutboundIdentity,
    purpose: Purpose | null,
  ): Promise<Extract<Passage, { kind: 'refuse' }>['failure'] | null> {
    if (message.chat.endsWith('@g.us')) return null
    const standing = await this.#context.standing?.(message)
    const verdict = standing === undefined ? null : refusalOf(purpose, standing)
    return verdict === null ? null : { code: verdict.code, message: verdict.message }
  }

  async #passCold(
    message: OutboundIdentity,
    purpose: Purpose | null,
    expiresAt: number | null,
    standing: ChatStanding,
    options: CareOptions,
  ): Promise<Passage> {
    const { instance, chat } = message
    const facts = await this.#cold.facts(instance, chat, options.maxNewContactsPerDay)
    const now = this.#clock.now()
    const verdict = judgeCare({ now, options, purpose, standing, cold: facts })
    if (verdict.kind !== 'go') {
      const passage = this.#passageOf(verdict, message, expiresAt)
      const isPromised = passage.kind === 'hold' && passage.until < this.#lastsUntil(message, expiresAt)
      // A time of its own, unless it would not live to see it.
      if (isPromised && passage.reason === 'NEW_CONTACT_BUDGET' && facts.contact === null)
        await this.#cold.start(instance, chat, passage.until)
      return passage
    }
    const inConversation = isInConversation(standing, now)
    const place = this.#places.of(message, options.tenant, now, this.#lastsUntil(message, expiresAt))
    if (place > now) {
      const hold = { kind: 'hold', reason: 'TENANT_RATE', until: place, wholeChat: !inConversation } as const
      return this.#held(hold, message, expiresAt)
    }
    // Earlier ones that were held for what is over must not be overtaken.
    const over = purpose === 'proactive' ? CARE_HOLDS : COLD_HOLDS
    if ((await this.#holds.releaseChat(instance, chat, over, message.seq)) > 0) return { kind: 'again' }
    if (facts.contact === null && !inConversation) await this.#cold.start(instance, chat, now)
    const cold = inConversation && purpose !== 'proactive' ? null : coldOf(standing, facts)
    return this.#go(message, options, expiresAt, { mayType: inConversation || standing.consent, cold })
  }

  /** Counted before it begins: a crash may count one that never went, not the other way round. */
  async sending({ instance, chat }: OutboundIdentity, cold: { readonly isAnswered: boolean }): Promise<void> {
    await this.#cold.record(instance, chat, cold.isAnswered)
  }

  /** A cold message went through: WhatsApp restricts the instance no more. */
  async passed({ instance }: OutboundIdentity): Promise<void> {
    await this.#cold.endPause(instance)
  }

  /** WhatsApp refused a cold message: the cold chats of the instance wait, conversations flow. */
  async restricted(
    message: OutboundIdentity,
    code: string,
    expiresAt: number | null,
  ): Promise<Extract<Passage, { kind: 'hold' }>> {
    const until = await this.#pauseCold(message, code)
    const hold = { kind: 'hold', reason: 'COLD_PAUSED', until, wholeChat: true } as const
    return this.#held(hold, message, expiresAt)
  }

  /** Until when. */
  async #pauseCold({ tenant, instance }: OutboundIdentity, code: string): Promise<number> {
    const before = await this.#cold.pause(instance)
    const now = this.#clock.now()
    // Others that were on the wire at the same time do not make it longer.
    if (before !== null && before.until > now) return before.until
    const count = (before?.count ?? 0) + 1
    const until = now + coldPauseMs(count)
    await this.#cold.setPause(tenant, instance, { until, code, count })
    this.#log.warn(
      { tenant, instance, code, until: new Date(until).toISOString() },
      'WhatsApp restricts this instance: nobody new is written to until then, conversations go on; write to fewer strangers',
    )
    this.#emitter.emit('cold_chats.paused', { tenant, instance, code, until })
    return until
  }

  coldPause(instance: InstanceId): Promise<ColdPause | null> {
    return this.#cold.pause(instance)
  }

  /** Whatever care held back of the chat takes its place. How many. */
  release(instance: InstanceId, chat: ChatId): Promise<number> {
    return this.#holds.releaseChat(instance, chat, CARE_HOLDS)
  }

  /** The times that messages of the tenant wait for at its rate are to be given anew, once they are judged again. */
  freePlaces(tenant: TenantId): void {
    this.#places.free(tenant)
  }

  /** Tenants of which many of those that waited for a time of their own do not need it any more. */
  async tenantsWithUnusedPlaces(): Promise<readonly TenantId[]> {
    const tenants: TenantId[] = []
    for (const [tenant, count] of this.#places.counts(this.#clock.now())) {
      const needed = Math.ceil(count * (1 - UNUSED_PLACES))
      if ((await this.#holds.countHeld({ tenant }, 'TENANT_RATE', needed)) < needed) tenants.push(tenant)
    }
    return tenants
  }

  /** What is held for a time that it can live to see lives longer: that it waits is our doing, not its sender's. */
  #passageOf(
    verdict: Exclude<CareVerdict, { kind: 'go' }>,
    message: OutboundIdentity,
    expiresAt: number | null,
  ): Passage {
    if (verdict.kind === 'refuse') {
      return { kind: 'refuse', failure: { code: verdict.code, message: verdict.message } }
    }
    return this.#held(verdict, message, expiresAt)
  }

  #held(
    verdict: Extract<CareVerdict, { kind: 'hold' }>,
    message: OutboundIdentity,
    expiresAt: number | null,
  ): Extract<Passage, { kind: 'hold' }> {
    const { reason, wholeChat, ages } = verdict
    // No clock knows of "never".
    const until = Math.min(verdict.until, this.#clock.now() + MAX_HOLD_MS)
    const lastsUntil = this.#lastsUntil(message, expiresAt)
    const isLonger = expiresAt === null && ages !== true && until < lastsUntil
    return { kind: 'hold', reason, until, wholeChat, expiresAt: isLonger ? lastsUntil : null }
  }

  #lastsUntil({ acceptedAt }: OutboundIdentity, expiresAt: number | null): number {
    return expiresAt ?? acceptedAt + this.#expireHeldAfterMs
  }

  #inTurn<T>(instance: InstanceId, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(instance) ?? Promise.resolve()
    const result = before.then(work)
    const end = result
      .catch(() => undefined)
      .then(() => {
        if (this.#turns.get(instance) === end) this.#turns.delete(instance)
      })
    this.#turns.set(instance, end)
    return result
  }

  async #go(
    message: OutboundIdentity,
    options: CareOptions,
    expiresAt: number | null,
    passage: Omit<Extract<Passage, { kind: 'go' }>, 'kind' | 'at'>,
  ): Promise<Passage> {
    const { instance, chat } = message
    const now = this.#clock.now()
    if (!options.enabled) return { kind: 'go', at: now, ...passage }
    const contact = keyOf(instance, chat)
    const freeAt = this.#sent.freeAt(contact, options, now)
    if (freeAt > now) {
      this.#sent.hold(contact)
      const hold = { kind: 'hold', reason: 'CONTACT_LIMIT', until: freeAt, wholeChat: true } as const
      return this.#passageOf(hold, message, expiresAt)
    }
    if (this.#sent.isHeld(contact)) {
      // As above: what waited for this must not be overtaken by what came at the moment it is over.
      if ((await this.#holds.releaseChat(instance, chat, ['CONTACT_LIMIT'])) > 0) return { kind: 'again' }
      this.#sent.release(contact)
    }
    this.#sent.add(contact, now)
    const contactRate = passage.cold === null ? options.conversation : options.cold
    const at = Math.max(
      this.#rates.take(instance, options.instance, now),
      this.#rates.take(contact, contactRate, now),
    )
    return { kind: 'go', at, ...passage }
  }
}

function coldOf(
  { lastInboundAt }: ChatStanding,
  { contact, pausedUntil }: ColdFacts,
): { readonly isAnswered: boolean; readonly wasPaused: boolean } {
  const isAnswered =
    contact === null ||
    contact.unansweredCount === 0 ||
    (lastInboundAt !== null && lastInboundAt > contact.lastAt)
  return { isAnswered, wasPaused: pausedUntil !== null }
}

function keyOf(instance: InstanceId, chat: ChatId): string {
  return `${instance}|${chat}`
}
