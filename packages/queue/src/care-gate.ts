import {
  type ChatId,
  type Clock,
  DAY,
  type InstanceId,
  type Logger,
  type TenantId,
  MINUTE,
  SECOND,
  type TypedEmitter,
} from '@eclusa/kernel'
import {
  CARE_HOLDS,
  type CareOptions,
  type CareVerdict,
  type ChatStanding,
  type ColdFacts,
  coldPauseMs,
  type HoldReason,
  isInConversation,
  isUnasked,
  judgeCare,
  overFor,
  refusalOf,
} from './care.ts'
import type { ColdPause, ColdStore } from './cold-store.ts'
import { type Health, SLOW_FACTOR } from './health.ts'
import type { HoldStore, Whose } from './hold-store.ts'
import type { ChatContext, OutboundFailure, OutboundIdentity, Purpose, QueueEvents } from './message.ts'
import { Places } from './places.ts'
import type { ProactiveHealth } from './proactive-health.ts'
import { Rates } from './rates.ts'
import type { RepeatedTexts } from './repeated-texts.ts'
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

/** What care needs to know of a message beyond who it is for. */
export interface Asked {
  readonly purpose: Purpose | null
  /** Of its own; null: none. */
  readonly expiresAt: number | null
  readonly text: string
}

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
  /** At the rates of tenants, and at those of instances that were slowed. */
  readonly #places: Places<TenantId>
  readonly #slowPlaces: Places<InstanceId>
  readonly #health: ProactiveHealth
  readonly #texts: RepeatedTexts
  readonly #sent: SendLog
  readonly #expireHeldAfterMs: number
  // Ends of what is being judged. bounded by: instances with lanes
  readonly #turns = new Map<InstanceId, Promise<void>>()

  constructor(options: {
    readonly context: ChatContext
    readonly cold: ColdStore
    readonly holds: HoldStore
    readonly health: ProactiveHealth
    readonly texts: RepeatedTexts
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
    this.#places = new Places(options.maxRates, MINUTE)
    // The other rate may keep it for long after its slow place.
    this.#slowPlaces = new Places(options.maxRates, DAY)
    this.#context = options.context
    this.#cold = options.cold
    this.#holds = options.holds
    this.#health = options.health
    this.#texts = options.texts
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
  async pass(message: OutboundIdentity, asked: Asked): Promise<Passage> {
    const { tenant, instance, chat } = message
    const { purpose, expiresAt } = asked
    const options = this.#optionsOf(tenant, instance)
    // A group is not a person: no consent, no quiet hours.
    const isPerson = !chat.endsWith('@g.us')
    const standing = isPerson ? ((await this.#context.standing?.(message)) ?? null) : null
    if (standing === null) return this.#go(message, options, expiresAt, { mayType: true, cold: null })
    const inConversation = isInConversation(standing, this.#clock.now())
    if (!options.enabled || (inConversation && purpose !== 'proactive')) {
      const { acceptedAt } = message
      const now = this.#clock.now()
      const verdict = judgeCare({ now, options, purpose, acceptedAt, standing, cold: NOTHING_COLD })
      if (verdict.kind !== 'go') return this.#passageOf(verdict, message, expiresAt)
      return this.#go(message, options, expiresAt, {
        mayType: inConversation || standing.consent,
        cold: null,
      })
    }
    // One at a time, so that two together do not pass a budget that has room for one.
    return this.#inTurn(instance, () => this.#passCold(message, asked, standing, options))
  }

  /** Why a message that was tried before must not go again: an opt-out counts for it, too. Null when nothing is in the way. */
  async refusal(
    message: OutboundIdentity,
    purpose: Purpose | null,
  ): Promise<Extract<Passage, { kind: 'refuse' }>['failure'] | null> {
    if (message.chat.endsWith('@g.us')) return null
    const standing = await this.#context.standing?.(message)
    const verdict =
      standing === undefined ? null : refusalOf({ purpose, acceptedAt: message.acceptedAt }, standing)
    return verdict === null ? null : { code: verdict.code, message: verdict.message }
  }

  async #passCold(
    message: OutboundIdentity,
    asked: Asked,
    standing: ChatStanding,
    options: CareOptions,
  ): Promise<Passage> {
    const { instance, chat, acceptedAt } = message
    const { purpose, expiresAt, text } = asked
    const facts = await this.#cold.facts(instance, chat, options.maxNewContactsPerDay)
    const now = this.#clock.now()
    const verdict = judgeCare({ now, options, purpose, acceptedAt, standing, cold: facts })
    if (verdict.kind !== 'go') {
      const passage = this.#passageOf(verdict, message, expiresAt)
      const isPromised = passage.kind === 'hold' && passage.until < this.#lastsUntil(message, expiresAt)
      // A time of its own, unless it would not live to see it.
      if (isPromised && passage.reason === 'NEW_CONTACT_BUDGET' && facts.contact === null)
        await this.#cold.start(instance, chat, passage.until)
      return passage
    }
    const inConversation = isInConversation(standing, now)
    const unasked = isUnasked(purpose, standing)
    const { level } = this.#health.of(instance)
    const wholeChat = !inConversation
    if (unasked && level === 'PAUSED') {
      const hold = { kind: 'hold', reason: 'HEALTH_PAUSED', until: now + DAY, wholeChat, ages: true } as const
      return this.#held(hold, message, expiresAt)
    }
    const within = this.#lastsUntil(message, expiresAt)
    if (unasked && level === 'SLOWED') {
      const rate = { everyMs: SLOW_FACTOR * Math.max(options.tenant.everyMs, SECOND), burst: 1 }
      const until = this.#slowPlaces.of(instance, message.seq, { rate, now, within })
      if (until > now)
        return this.#held({ kind: 'hold', reason: 'SLOWED', until, wholeChat }, message, expiresAt)
    }
    const place = this.#places.of(message.tenant, message.seq, { rate: options.tenant, now, within })
    if (place > now) {
      const hold = { kind: 'hold', reason: 'TENANT_RATE', until: place, wholeChat } as const
      return this.#held(hold, message, expiresAt)
    }
    // Earlier ones that were held for what is over must not be overtaken.
    const over = overFor(purpose)
    if ((await this.#holds.releaseChat(instance, chat, over, message.seq)) > 0) return { kind: 'again' }
    if (unasked) {
      const until = await this.#texts.pass(message, text, options.maxSameTextPerHour)
      if (until !== null) {
        const hold = { kind: 'hold', reason: 'SAME_TEXT', until, wholeChat: false, ages: true } as const
        return this.#held(hold, message, expiresAt)
      }
    }
    if (facts.contact === null && !inConversation) await this.#cold.start(instance, chat, now)
    const cold = inConversation && purpose !== 'proactive' ? null : coldOf(standing, facts)
    return this.#go(message, options, expiresAt, { mayType: inConversation || standing.consent, cold })
  }

  /** Counted before it begins: a crash may count one that never went, not the other way round. */
  async sending(
    { instance, chat, seq }: OutboundIdentity,
    cold: { readonly isAnswered: boolean },
  ): Promise<void> {
    this.#places.done(seq)
    this.#slowPlaces.done(seq)
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

  health(instance: InstanceId): Health {
    return this.#health.of(instance)
  }

  coldPause(instance: InstanceId): Promise<ColdPause | null> {
    return this.#cold.pause(instance)
  }

  /** Whatever care held back of the chat takes its place. How many. */
  release(instance: InstanceId, chat: ChatId): Promise<number> {
    return this.#holds.releaseChat(instance, chat, CARE_HOLDS)
  }

  /** The times that messages wait for at the rate of the tenant, or of an instance that was slowed, are to be given anew. */
  freePlaces(whose: Whose): void {
    if ('tenant' in whose) this.#places.free(whose.tenant)
    else this.#slowPlaces.free(whose.instance)
  }

  /** Of whom many of the messages that waited for a time of their own do not need it any more, and why they are held. */
  async unusedPlaces(): Promise<readonly { readonly whose: Whose; readonly reason: HoldReason }[]> {
    const now = this.#clock.now()
    const unused: { whose: Whose; reason: HoldReason }[] = []
    const look = async (whose: Whose, reason: HoldReason, count: number): Promise<void> => {
      const needed = Math.ceil(count * (1 - UNUSED_PLACES))
      if ((await this.#holds.countHeld(whose, reason, needed)) < needed) unused.push({ whose, reason })
    }
    for (const [tenant, count] of this.#places.counts(now)) await look({ tenant }, 'TENANT_RATE', count)
    for (const [instance, count] of this.#slowPlaces.counts(now)) await look({ instance }, 'SLOWED', count)
    return unused
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
