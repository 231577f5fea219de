import type { CacheOwner, CacheStats } from '@eclusa/bounded-cache'
import {
  type ChatId,
  type Clock,
  EclusaError,
  type ErrorKind,
  type InstanceId,
  type Logger,
  MINUTE,
  type TenantId,
  type Timer,
} from '@eclusa/kernel'
import type { CloseReason, Engine, EngineConnection, EngineHandlers, EngineMessage } from './engine.ts'
import { sessionErrors } from './errors.ts'
import { planReconnect } from './reconnect.ts'
import type { SharedFacts } from './shared-facts-store.ts'

/**
 * | state        | holds                    | leaves for                                            |
 * |--------------|--------------------------|-------------------------------------------------------|
 * | new          | nothing                  | starting (start)                                      |
 * | starting     | a connection, a slot     | qr, online, reconnecting, a resting state             |
 * | qr, code     | a connection, no slot    | syncing (linked), new (nobody scanned)                |
 * | syncing      | linked, logging in       | online, reconnecting                                  |
 * | online       | a connection             | reconnecting, a resting state                         |
 * | reconnecting | a timer, or a connection | online, a resting state                               |
 * | logged_out, banned, failed, stopped | nothing | starting (start)                                |
 */
export type SessionState =
  | 'new'
  | 'starting'
  | 'qr'
  | 'code'
  | 'syncing'
  | 'online'
  | 'reconnecting'
  | 'logged_out'
  | 'banned'
  | 'failed'
  | 'stopped'

/** What anybody may see of a session. Instants in epoch milliseconds; `number` has digits only. */
export interface SessionView {
  readonly state: SessionState
  readonly since: number
  readonly number: string | null
  readonly qr: { readonly text: string; readonly expiresAt: number } | null
  readonly pairingCode: string | null
  /** Why it is not online, in a plain sentence; null when there is nothing to say. */
  readonly reason: { readonly code: string; readonly message: string } | null
}

/** Codes shown before somebody must ask again: endless QR loops cost memory and look abusive. */
const MAX_QR_CODES = 6
/** Longest way from a new connection to a code or to being online, and from a scan to the restart. */
const LOGIN_DEADLINE_MS: number = 2 * MINUTE

export interface SessionOptions {
  readonly instance: InstanceId
  readonly tenant: TenantId
  readonly engine: Engine
  readonly url: string
  readonly ackTimeoutMs: number
  /** Asked for each connection. */
  readonly cacheOwner?: () => CacheOwner | undefined
  readonly facts?: SharedFacts | undefined
  /** Admission control: waits for a place among those that are starting; the function returned gives it back. */
  readonly admit: () => Promise<() => void>
  /** The engine's ports that are not the session's own business. */
  readonly ports: Omit<EngineHandlers, 'qr' | 'paired' | 'online' | 'closed'>
  readonly onChange: (view: SessionView) => void
  /** Credentials that WhatsApp no longer accepts are deleted before the instance can be linked anew. */
  readonly forgetCredentials: () => Promise<void>
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
}

/** One instance's connection: at most one engine connection at a time, the old one ended before a new one is made. */
export class Session {
  readonly #options: SessionOptions
  #view: SessionView
  #connection: EngineConnection | undefined
  #timer: Timer | undefined
  #releaseSlot: (() => void) | undefined
  /** Connections in a row that did not get online. */
  #failures = 0
  #qrCodes = 0
  /** Grows whenever what is under way loses its meaning: late callbacks of an old connection find another number. */
  #epoch = 0
  /** The epoch of the attempt to connect that is under way. */
  #attempt: number | undefined
  /** Attempts happen one after another, so that there are never two connections. */
  #lastAttempt: Promise<void> = Promise.resolve()
  /** Ends an attempt that hangs. */
  #watch: Timer | undefined
  /** WhatsApp does not accept the credentials any more, and they are still on disk. */
  #mustForget = false
  /** Starting, stopping and reconnecting happen one after another. */
  #turn: Promise<void> = Promise.resolve()

  constructor(options: SessionOptions) {
    this.#options = options
    this.#view = {
      state: 'new',
      since: options.clock.now(),
      number: null,
      qr: null,
      pairingCode: null,
      reason: null,
    }
  }

  get tenant(): TenantId {
    return this.#options.tenant
  }

  /** Of the connection, while there is one. */
  cacheStats(): readonly CacheStats[] {
    return this.#connection?.cacheStats?.() ?? []
  }

  get view(): SessionView {
    return this.#view
  }

  /** Connects, unless it is connected or on its way. Resolves when the attempt has begun, not when it is online. */
  start(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#connection !== undefined || this.#timer !== undefined || this.#attempt !== undefined) return
      if (this.#mustForget) await this.#forget()
      this.#failures = 0
      this.#qrCodes = 0
      this.#show('starting', null)
      this.#connect()
    })
  }

  /** Disconnects and stays away until `start`; the device stays linked. */
  stop(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#disconnect()
      this.#show('stopped', null)
    })
  }

  /** Unlinks the device at WhatsApp and forgets its credentials. */
  logout(): Promise<void> {
    return this.#inTurn(async () => {
      const connection = this.#connection
      this.#epoch++
      if (connection !== undefined) await connection.logout()
      await this.#disconnect()
      this.#mustForget = true
      this.#view = { ...this.#view, number: null }
      this.#show('logged_out', null)
      await this.#forget()
    })
  }

  /** @throws SESSION_NOT_STARTED, SESSION_ALREADY_PAIRED, SESSION_NOT_WAITING_FOR_CODE */
  async requestPairingCode(number: string): Promise<string> {
    if (this.#view.number !== null) throw new EclusaError(sessionErrors.ALREADY_PAIRED)
    const connection = this.#connection
    if (connection === undefined) throw new EclusaError(sessionErrors.NOT_STARTED)
    const code = await connection.requestPairingCode(number)
    if (connection !== this.#connection) throw new EclusaError(sessionErrors.NOT_WAITING_FOR_CODE)
    this.#view = { ...this.#view, pairingCode: code }
    this.#show('code', null)
    return code
  }

  /**
   * Sends and waits for WhatsApp's acknowledgement. One that does not come in time means that the connection may be
   * stuck while it looks healthy: it is rebuilt.
   */
  async send(message: EngineMessage): Promise<{ readonly ackedAt: number }> {
    const connection = this.#onlineConnection()
    const epoch = this.#epoch
    try {
      return await connection.send(message)
    } catch (error) {
      const stalled = error instanceof EclusaError && error.code === sessionErrors.ACK_TIMEOUT.code
      if (stalled) void this.#rebuild(epoch, 'no acknowledgement in time')
      throw error
    }
  }

  async markRead(...args: Parameters<EngineConnection['markRead']>): Promise<void> {
    await this.#onlineConnection().markRead(...args)
  }

  async setPresence(chat: ChatId, presence: 'composing' | 'paused'): Promise<void> {
    await this.#onlineConnection().setPresence(chat, presence)
  }

  #onlineConnection(): EngineConnection {
    if (this.#view.state !== 'online' || this.#connection === undefined)
      throw new EclusaError(sessionErrors.OFFLINE)
    return this.#connection
  }

  #connect(): void {
    const epoch = ++this.#epoch
    this.#attempt = epoch
    this.#lastAttempt = this.#lastAttempt.then(() => this.#attemptToConnect(epoch))
  }

  async #attemptToConnect(epoch: number): Promise<void> {
    const { engine, instance, tenant, url, ackTimeoutMs, ports, log } = this.#options
    const current = (): boolean => epoch === this.#epoch
    if (!current()) return
    const release = await this.#options.admit()
    if (!current()) {
      release()
      return
    }
    this.#releaseSlot = release
    this.#watchAttempt()
    try {
      const connection = await engine.connect({
        instance,
        tenant,
        url,
        ackTimeoutMs,
        cacheOwner: this.#options.cacheOwner?.(),
        facts: this.#options.facts,
        log,
        handlers: {
          ...ports,
          qr: (text, expiresAt) => current() && this.#onQr(text, expiresAt),
          paired: () => current() && this.#onPaired(),
          online: (number) => current() && this.#onOnline(number),
          closed: (reason) => current() && this.#onClosed(reason),
        },
      })
      if (current()) {
        this.#connection = connection
        this.#attempt = undefined
      } else {
        await connection.close()
      }
    } catch (error) {
      log.warn({ instance, error: String(error) }, 'the engine could not be started')
      if (current()) this.#onClosed({ statusCode: 0, message: 'the engine could not be started' })
    } finally {
      if (!current()) release()
    }
  }

  /** Baileys has no deadline of its own between the handshake and the login, nor between the scan and the restart. */
  #watchAttempt(): void {
    const epoch = this.#epoch
    this.#watch?.cancel()
    this.#watch = this.#options.clock.setTimer(LOGIN_DEADLINE_MS, () => {
      this.#watch = undefined
      void this.#rebuild(epoch, 'logging in took too long')
    })
  }

  #stopWatching(): void {
    this.#watch?.cancel()
    this.#watch = undefined
  }

  #onQr(text: string, expiresAt: number): void {
    this.#stopWatching()
    this.#giveSlotBack()
    if (++this.#qrCodes > MAX_QR_CODES) {
      void this.#inTurn(async () => {
        await this.#disconnect()
        this.#show('new', sessionErrors.PAIRING_EXPIRED)
      })
      return
    }
    this.#view = { ...this.#view, qr: { text, expiresAt } }
    this.#show(this.#view.pairingCode === null ? 'qr' : 'code', null)
  }

  #onPaired(): void {
    this.#watchAttempt()
    this.#show('syncing', null)
  }

  #onOnline(number: string): void {
    this.#failures = 0
    this.#stopWatching()
    this.#giveSlotBack()
    this.#view = { ...this.#view, number }
    this.#show('online', null)
  }

  #onClosed(reason: CloseReason): void {
    const { clock, random, log, instance } = this.#options
    const epoch = ++this.#epoch
    this.#connection = undefined
    this.#attempt = undefined
    this.#stopWatching()
    this.#giveSlotBack()
    const paired = this.#view.number !== null || this.#view.state === 'syncing' || this.#isKnown()
    const plan = planReconnect(reason, this.#failures, paired, random)
    const facts = { instance, statusCode: reason.statusCode, code: plan.error.code, next: plan.next }
    // WhatsApp asks every newly linked device to connect anew.
    if (reason.statusCode === 515) log.debug(facts, 'connection over')
    else log.info(facts, 'connection over')
    if (plan.next === 'rest') {
      this.#rest(plan.state, plan.forget, plan.error)
      return
    }
    this.#failures++
    // The restart after linking is part of linking.
    const isRestart = reason.statusCode === 515 && this.#view.state === 'syncing'
    this.#show(isRestart ? 'syncing' : 'reconnecting', plan.error)
    this.#timer = clock.setTimer(plan.afterMs, () => {
      this.#timer = undefined
      void this.#inTurn(async () => {
        if (epoch === this.#epoch) this.#connect()
      })
    })
  }

  /** A connection that showed no code was logging in: its instance has credentials. */
  #isKnown(): boolean {
    return this.#qrCodes === 0
  }

  /** Shows it at once; what cannot be deleted now is deleted before the next start. */
  #rest(state: SessionState, forget: boolean, error: ErrorKind): void {
    if (forget) {
      this.#mustForget = true
      this.#view = { ...this.#view, number: null }
    }
    this.#show(state, error)
    if (forget) void this.#inTurn(() => this.#forget())
  }

  async #forget(): Promise<void> {
    if (!this.#mustForget) return
    await this.#options.forgetCredentials()
    this.#mustForget = false
  }

  #rebuild(epoch: number, why: string): Promise<void> {
    return this.#inTurn(async () => {
      if (epoch !== this.#epoch) return
      this.#options.log.warn({ instance: this.#options.instance }, `connecting anew: ${why}`)
      await this.#disconnect()
      this.#failures++
      this.#show('reconnecting', sessionErrors.CONNECTION_LOST)
      this.#connect()
    })
  }

  async #disconnect(): Promise<void> {
    this.#epoch++
    this.#attempt = undefined
    this.#stopWatching()
    this.#timer?.cancel()
    this.#timer = undefined
    const connection = this.#connection
    this.#connection = undefined
    await connection?.close()
    this.#giveSlotBack()
  }

  #giveSlotBack(): void {
    this.#releaseSlot?.()
    this.#releaseSlot = undefined
  }

  #show(state: SessionState, error: ErrorKind | null): void {
    const pairing = state === 'qr' || state === 'code'
    this.#view = {
      ...this.#view,
      state,
      since: state === this.#view.state ? this.#view.since : this.#options.clock.now(),
      qr: pairing ? this.#view.qr : null,
      pairingCode: pairing ? this.#view.pairingCode : null,
      reason: error === null ? null : { code: error.code, message: error.message },
    }
    this.#options.onChange(this.#view)
  }

  #inTurn(step: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(step)
    this.#turn = turn.catch((error: unknown) => {
      this.#options.log.error(
        { instance: this.#options.instance, error: String(error) },
        'a session step failed',
      )
    })
    return turn
  }
}
