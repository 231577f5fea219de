import type { CacheBudget, CacheOwner, CacheStats, OwnerOptions } from '@eclusa/bounded-cache'
import {
  type ChatId,
  type Clock,
  EclusaError,
  type InstanceId,
  type Lifecycle,
  type Logger,
  ninthDigitVariant,
  Places,
  type TenantId,
  TypedEmitter,
  type WaMessageId,
} from '@eclusa/kernel'
import type { AuthStore } from './auth-store.ts'
import type { Engine, OutboundContent, Receipt } from './engine.ts'
import { isLoopback, trustRootKey } from './engines/baileys/trust.ts'
import { numberOfLid } from './canonical-chat.ts'
import { sessionErrors } from './errors.ts'
import type { InboundJournal, UnreadRow } from './inbound-journal-store.ts'
import { Session, type SessionView } from './session.ts'
import type { SharedFacts } from './shared-facts-store.ts'

/** What sessions need of the rest of the gateway. */
export interface SessionPorts {
  /** An own message reached its contact or was read. Resolves when that is on disk. */
  receipt(instance: InstanceId, receipt: Receipt): Promise<void>
  /** The content of an own message, for a recipient that could not decrypt it. */
  contentForRetry(instance: InstanceId, waMessageId: string): Promise<OutboundContent | undefined>
  /** A message of this chat was journalled a moment ago. */
  journalled?(tenant: TenantId, instance: InstanceId, chat: ChatId): void
}

export type SessionEvents = {
  'session.changed': {
    readonly tenant: TenantId
    readonly instance: InstanceId
    readonly view: SessionView
    readonly previous: SessionView['state']
  }
}

export interface SessionPoolOptions {
  readonly engine: Engine
  readonly url: string
  readonly ackTimeoutMs: number
  /** Sessions that may log in at the same time. */
  readonly maxStarting: number
  /** Sessions this process may hold. */
  readonly maxSessions: number
  readonly store: AuthStore
  readonly journal: InboundJournal
  /** The second tier of caches of facts about contacts: device lists. Without it they are in memory alone. */
  readonly facts?: SharedFacts
  readonly ports: SessionPorts
  readonly events: TypedEmitter<SessionEvents>
  /**
   * What all caches of all sessions share: Baileys' own, Signal keys, what was journalled a moment ago. One owner for
   * each tenant, named after it and kept while the tenant has a session here; its sessions share that. Without a
   * budget each cache has its cap only.
   */
  readonly cacheBudget?: CacheBudget
  /** Weight, floor and ceiling of a tenant in that budget. Default: all alike. */
  readonly cacheShareOf?: (tenant: TenantId) => OwnerOptions
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
}

/** The view of an instance without a session. */
const UNSTARTED: SessionView = {
  state: 'new',
  since: 0,
  number: null,
  qr: null,
  pairingCode: null,
  reason: null,
}

/** All sessions of this process by instance. */
export class SessionPool implements Lifecycle {
  readonly #options: SessionPoolOptions
  /** Starting costs memory and CPU that those who are online need. */
  readonly #admission: Places
  // bounded by: maxSessions
  readonly #sessions = new Map<InstanceId, Session>()
  // bounded by: maxSessions; how many of them each tenant has
  readonly #sessionsOf = new Map<TenantId, number>()
  #url: string

  constructor(options: SessionPoolOptions) {
    this.#options = options
    this.#url = options.url
    this.#admission = new Places(options.maxStarting)
  }

  async start(): Promise<void> {}

  /** Ends every connection; the devices stay linked. */
  async stop(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.stop()))
    for (const instance of this.#sessions.keys()) this.#drop(instance)
  }

  /**
   * Where sessions connect from now on, and whose certificates they trust: WhatsApp's with `rootKey: null`. No session
   * may be connected, because the trusted key is global to the process.
   * @throws Error when a session exists, or for a foreign root key that is not on this machine
   */
  useServer(server: { readonly url: string; readonly rootKey: Uint8Array | null }): void {
    if (this.#sessions.size > 0)
      throw new Error('sessions are connected; stop them before changing the server')
    trustRootKey(server.url, server.rootKey)
    this.#url = server.url
  }

  /** Whether sessions connect to a simulator on this machine. */
  get isSimulated(): boolean {
    return isLoopback(this.#url)
  }

  /** Sessions that would connect wait until `letStartsGo`; those that are connected or connecting stay. */
  holdStarts(): void {
    this.#admission.hold()
  }

  letStartsGo(): void {
    this.#admission.letGo()
  }

  /** @throws SESSION_TOO_MANY */
  async startInstance(instance: { readonly instance: InstanceId; readonly tenant: TenantId }): Promise<void> {
    let session = this.#sessions.get(instance.instance)
    if (session === undefined) {
      if (this.#sessions.size >= this.#options.maxSessions) throw new EclusaError(sessionErrors.TOO_MANY)
      session = this.#make(instance.instance, instance.tenant)
      this.#sessions.set(instance.instance, session)
      this.#sessionsOf.set(instance.tenant, (this.#sessionsOf.get(instance.tenant) ?? 0) + 1)
    }
    await session.start()
  }

  async stopInstance(instance: InstanceId): Promise<void> {
    await this.#sessions.get(instance)?.stop()
  }

  /** Unlinks the device and forgets its credentials; works offline too, then only the credentials go. */
  async logoutInstance(instance: InstanceId): Promise<void> {
    const session = this.#sessions.get(instance)
    if (session === undefined) await this.#options.store.forget(instance)
    else await session.logout()
  }

  /** Ends the session and deletes everything it kept: credentials, keys, inbound messages. */
  async forgetInstance(instance: InstanceId): Promise<void> {
    await this.logoutInstance(instance)
    this.#drop(instance)
    await this.#options.store.forget(instance)
    await this.#options.facts?.forget(instance)
    await this.#options.journal.forget(instance)
  }

  /** Ends the session without a trace in the pool; credentials stay on disk. */
  async releaseInstance(instance: InstanceId): Promise<void> {
    await this.#sessions.get(instance)?.stop()
    this.#drop(instance)
  }

  /** Every cache of every connection, for `socketCacheMetrics({ sockets: [pool], budget })`. */
  cacheStats(): readonly CacheStats[] {
    return [...this.#sessions.values()].flatMap((session) => session.cacheStats())
  }

  view(instance: InstanceId): SessionView {
    return this.#sessions.get(instance)?.view ?? UNSTARTED
  }

  /** @throws SESSION_NOT_STARTED, SESSION_ALREADY_PAIRED, SESSION_NOT_WAITING_FOR_CODE */
  async requestPairingCode(instance: InstanceId, number: string): Promise<string> {
    const session = this.#sessions.get(instance)
    if (session === undefined) throw new EclusaError(sessionErrors.NOT_STARTED)
    return session.requestPairingCode(number)
  }

  /** Sends one message and resolves at WhatsApp's acknowledgement. @throws the errors of EngineConnection.send */
  async send(
    message: {
      readonly instance: InstanceId
      readonly chat: ChatId
      readonly waMessageId: WaMessageId
      readonly content: OutboundContent
    },
    signal: AbortSignal,
  ): Promise<{ readonly ackedAt: number }> {
    signal.throwIfAborted()
    return this.#session(message.instance).send(message)
  }

  /** Tells the contact that these were read, then notes it in the journal. */
  async markRead(instance: InstanceId, chat: ChatId, messages: readonly UnreadRow[]): Promise<void> {
    await this.#session(instance).markRead(messages)
    await this.#options.journal.markRead(
      instance,
      chat,
      messages.map(({ waMessageId }) => waMessageId),
    )
  }

  async setPresence(instance: InstanceId, chat: ChatId, presence: 'composing' | 'paused'): Promise<void> {
    await this.#session(instance).setPresence(chat, presence)
  }

  /** The unread messages of a chat, oldest first, at most 100, and the words of the last one. */
  unread(
    instance: InstanceId,
    chat: ChatId,
  ): Promise<{ readonly messages: readonly UnreadRow[]; readonly lastWordCount: number }> {
    return this.#options.journal.unread(instance, chat)
  }

  /**
   * The one id that a person's chat has here, as far as the instance knows: the number instead of the LID, and of a
   * Brazilian number with and without its ninth digit the one in which they wrote. Everything of a chat must be queued
   * under it, or there would be two chats without a common order.
   */
  async canonicalChat(instance: InstanceId, chat: ChatId): Promise<ChatId> {
    const known = await numberOfLid(this.#options.store, instance, chat)
    const variant = ninthDigitVariant(known)
    if (variant === null) return known
    return (await this.#options.journal.firstKnown(instance, [known, variant])) ?? known
  }

  /** The last session of a tenant takes the tenant's share of the budget with it. */
  #drop(instance: InstanceId): void {
    const session = this.#sessions.get(instance)
    if (session === undefined) return
    this.#sessions.delete(instance)
    const left = (this.#sessionsOf.get(session.tenant) ?? 1) - 1
    if (left > 0) {
      this.#sessionsOf.set(session.tenant, left)
      return
    }
    this.#sessionsOf.delete(session.tenant)
    this.#cacheOwner(session.tenant)?.close()
  }

  #cacheOwner(tenant: TenantId): CacheOwner | undefined {
    const { cacheBudget, cacheShareOf } = this.#options
    return cacheBudget?.owner(tenant, cacheShareOf?.(tenant))
  }

  #session(instance: InstanceId): Session {
    const session = this.#sessions.get(instance)
    if (session === undefined) throw new EclusaError(sessionErrors.OFFLINE)
    return session
  }

  #make(instance: InstanceId, tenant: TenantId): Session {
    const { engine, ackTimeoutMs, store, journal, ports, events, clock, random, log } = this.#options
    let previous: SessionView['state'] = 'new'
    return new Session({
      instance,
      tenant,
      engine,
      url: this.#url,
      ackTimeoutMs,
      cacheOwner: () => this.#cacheOwner(tenant),
      facts: this.#options.facts,
      admit: () => this.#admission.enter(),
      ports: {
        receipt: (receipt) => ports.receipt(instance, receipt),
        contentForRetry: (waMessageId) => ports.contentForRetry(instance, waMessageId),
        journal: (message, pollSecret) => journal.append(tenant, instance, message, pollSecret),
        journalled: (chat) => ports.journalled?.(tenant, instance, chat),
        spoofed: (stranger, waMessageId, name) => {
          log.warn(
            { tenant, instance, chat: stranger, message: name },
            'a stranger posed as an own device: refused',
          )
          return [journal.spoofed(tenant, instance, { stranger, waMessageId, name })]
        },
        missing: journal.missing(tenant, instance),
        poll: (chat, poll) => journal.poll(instance, chat, poll),
        isJournalled: (chat, author, waMessageId) => journal.has(instance, chat, author, waMessageId),
      },
      onChange: (view) => {
        events.emit('session.changed', { tenant, instance, view, previous })
        previous = view.state
      },
      forgetCredentials: () => store.forget(instance),
      clock,
      random,
      log,
    })
  }
}
