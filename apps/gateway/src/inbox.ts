import {
  type ChatId,
  type Clock,
  EclusaError,
  type InboundOrigin,
  type InstanceId,
  KIB,
  type Lifecycle,
  type Logger,
  MINUTE,
  SECOND,
  type TenantId,
  type Timer,
  withDeadline,
  wordsOf,
} from '@eclusa/kernel'
import type { InboundJournal, UnsettledEntry } from '@eclusa/session'
import { type Ownership, storageErrors } from '@eclusa/storage'
import { gatewayErrors } from './errors.ts'
import type { InboxPorts } from './inbox-ports.ts'

/** What bounds the inbox's memory. Everything else stays on disk as rows that are not settled. */
export interface InboxLimits {
  /** Chats whose messages walk at the same time. */
  readonly maxWalking: number
  /** Chats known to have messages; of the others only their instance is known. */
  readonly maxChats: number
}

export const defaultInboxLimits: InboxLimits = { maxWalking: 200, maxChats: 2000 }

/** Rows of a chat read at once, and the content after which no more is read. */
export const INBOX_PAGE: { readonly limit: number; readonly maxBytes: number } = {
  limit: 20,
  maxBytes: 32 * KIB,
}
/** Rows looked at per step to find chats with messages. */
const FIND_STEP = 200
/** After so many tries a message is set aside. */
const MAX_ATTEMPTS = 5
/** A message that has not ended after so many tries walks alone: should it kill the process, it kills no other's try. */
const SUSPECT_AFTER_ATTEMPTS = 2
/** The next try comes after 1 s, 2 s, 4 s, 8 s; longer only while the database fails. */
const MAX_BACKOFF_MS = 30 * SECOND
/** Longest walk, past the 5 minutes that a flow may run by itself; then it counts as failed. */
const WALK_WITHIN_MS: number = 6 * MINUTE
/** Walks under way get so long to end when the gateway stops. */
const STOP_WITHIN_MS = SECOND

/**
 * | state   | meaning                                  | leaves for                                    |
 * |---------|------------------------------------------|-----------------------------------------------|
 * | ready   | in line for one of `maxWalking` places   | walking                                       |
 * | walking | its messages are read and walk in order  | resting (a try failed), gone (none are left)  |
 * | resting | a timer runs until the next try          | ready                                         |
 */
interface Chat {
  readonly line: Line
  readonly chat: ChatId
  state: 'ready' | 'walking' | 'resting'
  /** Something was journalled since its rows were last read. */
  hasMore: boolean
  /** Its rows may have been walked before, by this process or one that is gone. */
  isReplay: boolean
  /** Failures in a row, those that could not be counted on disk too. */
  failures: number
  timer: Timer | null
}

interface Line {
  readonly tenant: TenantId
  readonly instance: InstanceId
  /** Chats of it in memory. */
  chats: number
  /** Rows up to here were looked at for chats that are not in memory; null when there are none. */
  behindAfter: number | null
  /** A chat found no place in memory since the rows were looked at from the start. */
  overflowed: boolean
  isOver: boolean
}

/**
 * From the journal to exactly one processed message: of each chat one message at a time in the order of the journal,
 * chats side by side, each message through the ports and settled last. Nothing is polled: the journal's commits, a
 * takeover and the end of a rest are what wakes it.
 */
export class Inbox implements Lifecycle {
  readonly #journal: InboundJournal
  readonly #ports: InboxPorts
  readonly #ownership: Pick<Ownership, 'owns'>
  readonly #limits: InboxLimits
  readonly #clock: Clock
  readonly #log: Logger
  // Instances with chats in memory or behind. bounded by: instances of this process
  readonly #lines = new Map<InstanceId, Line>()
  // bounded by: maxChats
  readonly #chats = new Map<string, Chat>()
  // In order; each is in #chats. bounded by: maxChats
  readonly #ready: Chat[] = []
  #walkingCount = 0
  #finding = false
  #mustFind = false
  #findTimer: Timer | null = null
  /** The walk of a suspect ends before the next begins. */
  #suspects: Promise<void> = Promise.resolve()
  #running = false
  #stopped: Promise<void> | null = null
  #onIdle: (() => void) | null = null

  constructor(options: {
    readonly journal: InboundJournal
    readonly ports: InboxPorts
    readonly ownership: Pick<Ownership, 'owns'>
    readonly limits?: InboxLimits
    readonly clock: Clock
    readonly log: Logger
  }) {
    this.#journal = options.journal
    this.#ports = options.ports
    this.#ownership = options.ownership
    this.#limits = options.limits ?? defaultInboxLimits
    this.#clock = options.clock
    this.#log = options.log
  }

  /** From now on messages walk; those of instances that are told of by `instanceTaken` too. */
  async start(): Promise<void> {
    if (this.#stopped !== null) return
    this.#running = true
    this.#pump()
    this.#find()
  }

  /** Begins nothing more, and waits up to a second for what walks. What has not ended walks again at the next start. */
  stop(): Promise<void> {
    this.#stopped ??= this.#finish()
    return this.#stopped
  }

  /** How much is in memory now. */
  stats(): { readonly chats: number; readonly walking: number; readonly lines: number } {
    return { chats: this.#chats.size, walking: this.#walkingCount, lines: this.#lines.size }
  }

  /** This process owns the instance from now on: what it, or another process, has left walks. */
  instanceTaken(tenant: TenantId, instance: InstanceId): void {
    const line = this.#line(tenant, instance)
    line.behindAfter = 0
    // What is known to wait may have been walked by another process meanwhile.
    for (const chat of this.#chats.values()) if (chat.line === line) chat.isReplay = true
    this.#find()
  }

  /** The instance belongs to another process, or is gone: what walks ends as it ends, nothing more begins. */
  instanceLost(instance: InstanceId): void {
    const line = this.#lines.get(instance)
    if (line === undefined) return
    line.isOver = true
    this.#lines.delete(instance)
    for (const chat of this.#chats.values()) {
      if (chat.line === line && chat.state !== 'walking') this.#forget(chat)
    }
  }

  /** A message of this chat is in the journal. */
  arrived(tenant: TenantId, instance: InstanceId, chat: ChatId): void {
    if (this.#stopped !== null) return
    this.#admit(this.#line(tenant, instance), chat, false)
    this.#pump()
  }

  /** A message set aside goes back into its chat's line with all its tries. @throws GATEWAY_NOT_SET_ASIDE */
  async retry(tenant: TenantId, instance: InstanceId, id: number): Promise<void> {
    const chat = await this.#journal.chatSetAside(instance, id)
    if (chat === null || !(await this.#journal.decideSetAside(instance, id, 'retry'))) {
      throw new EclusaError(gatewayErrors.NOT_SET_ASIDE)
    }
    this.arrived(tenant, instance, chat)
  }

  /** A message set aside is done with; it stays in the journal. @throws GATEWAY_NOT_SET_ASIDE */
  async drop(instance: InstanceId, id: number): Promise<void> {
    if (!(await this.#journal.decideSetAside(instance, id, 'drop'))) {
      throw new EclusaError(gatewayErrors.NOT_SET_ASIDE)
    }
  }

  #line(tenant: TenantId, instance: InstanceId): Line {
    const known = this.#lines.get(instance)
    if (known !== undefined) return known
    const line: Line = { tenant, instance, chats: 0, behindAfter: null, overflowed: false, isOver: false }
    this.#lines.set(instance, line)
    return line
  }

  /** Gives the chat a place in memory; false when there is none, and the chat is found later. */
  #admit(line: Line, chat: ChatId, isReplay: boolean): boolean {
    const key = keyOf(line.instance, chat)
    const known = this.#chats.get(key)
    if (known !== undefined && known.line === line) {
      known.hasMore = true
      known.isReplay ||= isReplay
      return true
    }
    // No instance takes more than a half, so that there is room for the others. A walk that is left over from before
    // this process lost the instance and took it back must end before the chat goes on.
    if (
      known !== undefined ||
      this.#chats.size >= this.#limits.maxChats ||
      line.chats >= Math.max(1, this.#limits.maxChats / 2)
    ) {
      line.overflowed = true
      line.behindAfter ??= 0
      return false
    }
    const made: Chat = { line, chat, state: 'ready', hasMore: true, isReplay, failures: 0, timer: null }
    this.#chats.set(key, made)
    line.chats++
    this.#ready.push(made)
    return true
  }

  #forget(chat: Chat): void {
    chat.timer?.cancel()
    const key = keyOf(chat.line.instance, chat.chat)
    if (this.#chats.get(key) !== chat) return
    this.#chats.delete(key)
    chat.line.chats--
    if (chat.state === 'ready') this.#ready.splice(this.#ready.indexOf(chat), 1)
    this.#release(chat.line)
  }

  #pump(): void {
    while (this.#running && this.#walkingCount < this.#limits.maxWalking) {
      const chat = this.#ready.shift()
      if (chat === undefined) return
      chat.state = 'walking'
      this.#walkingCount++
      void this.#walkChat(chat)
    }
  }

  /** Brings chats into memory for which there was no room, or which another process left; one search at a time. */
  #find(): void {
    this.#mustFind = true
    if (this.#finding || !this.#running) return
    this.#finding = true
    void this.#findAll().finally(() => {
      this.#finding = false
    })
  }

  async #findAll(): Promise<void> {
    while (this.#mustFind && this.#running) {
      this.#mustFind = false
      for (const line of this.#lines.values()) {
        if (line.behindAfter === null || !this.#hasRoom(line)) continue
        if (await this.#findIn(line)) this.#mustFind = true
        this.#pump()
      }
    }
  }

  #hasRoom(line: Line): boolean {
    return this.#chats.size < this.#limits.maxChats && line.chats < Math.max(1, this.#limits.maxChats / 2)
  }

  /** One step; false when it found no room or failed, and the end of some chat must come first. */
  async #findIn(line: Line): Promise<boolean> {
    const after = line.behindAfter ?? 0
    if (after === 0) line.overflowed = false
    let rows: Awaited<ReturnType<InboundJournal['unsettledChats']>>
    try {
      rows = await this.#journal.unsettledChats(line.instance, after, FIND_STEP)
    } catch (error) {
      if (this.#running) {
        this.#log.warn({ instance: line.instance, err: error }, 'messages that wait could not be looked for')
        this.#findTimer?.cancel()
        this.#findTimer = this.#clock.setTimer(MAX_BACKOFF_MS, () => this.#find())
      }
      return false
    }
    if (line.isOver) return false
    for (const { id, chat } of rows) {
      if (!this.#admit(line, chat, true)) {
        line.behindAfter = id - 1
        return false
      }
      line.behindAfter = id
    }
    if (rows.length === FIND_STEP) return true
    // The end; what found no room meanwhile has an id that was not passed, or stands before it: from the start again.
    line.behindAfter = line.overflowed ? 0 : null
    this.#release(line)
    return line.overflowed
  }

  #release(line: Line): void {
    if (line.chats > 0 || line.behindAfter !== null || this.#lines.get(line.instance) !== line) return
    this.#lines.delete(line.instance)
  }

  async #walkChat(chat: Chat): Promise<void> {
    let restMs: number | null = null
    try {
      restMs = await this.#walkRows(chat)
    } catch (error) {
      restMs = this.#failed(chat, error)
    }
    this.#walkingCount--
    if (restMs !== null && this.#isOn(chat)) {
      chat.state = 'resting'
      chat.timer = this.#clock.setTimer(restMs, () => {
        chat.timer = null
        chat.state = 'ready'
        this.#ready.push(chat)
        this.#pump()
      })
    } else {
      this.#forget(chat)
    }
    this.#pump()
    this.#find()
    if (this.#walkingCount === 0) this.#onIdle?.()
  }

  /** All rows of the chat, in order; returns how long to rest before a failed one is tried again, null at the end. */
  async #walkRows(chat: Chat): Promise<number | null> {
    while (this.#isOn(chat)) {
      chat.hasMore = false
      const entries = await this.#journal.unsettledOf(chat.line.instance, chat.chat, INBOX_PAGE)
      for (const entry of entries) {
        if (!this.#isOn(chat)) return null
        const restMs = await this.#tryEntry(chat, entry)
        if (restMs !== null) return restMs
        chat.failures = 0
      }
      if (entries.length > 0) continue
      chat.isReplay = false
      if (!chat.hasMore) return null
    }
    return null
  }

  async #tryEntry(chat: Chat, entry: UnsettledEntry): Promise<number | null> {
    const { instance } = chat.line
    if (entry.attempts >= MAX_ATTEMPTS) {
      await this.#setAside(chat, entry, 'it did not end in five tries')
      return null
    }
    // A try that the process does not survive must count too; the first of what has just come is not worth a write.
    const isCounted = chat.isReplay || entry.attempts > 0
    const walk = async (): Promise<void> => {
      if (isCounted) await this.#journal.countAttempt(instance, entry.id)
      await this.#walk(chat, entry)
    }
    try {
      await (entry.attempts >= SUSPECT_AFTER_ATTEMPTS ? this.#alone(walk) : walk())
      return null
    } catch (error) {
      if (!this.#isOn(chat) || isOurEnd(error)) return null
      const restMs = this.#failed(chat, error, entry)
      // Where the database fails, this does too: that is not the message's fault and counts for nothing.
      if (!isCounted) await this.#journal.countAttempt(instance, entry.id)
      if (entry.attempts + 1 < MAX_ATTEMPTS) return restMs
      await this.#setAside(chat, entry, reasonOf(error))
      return null
    }
  }

  #alone(walk: () => Promise<void>): Promise<void> {
    const turn = this.#suspects.then(walk)
    this.#suspects = turn.catch(() => {})
    return turn
  }

  async #walk(chat: Chat, entry: UnsettledEntry): Promise<void> {
    const { tenant, instance } = chat.line
    const origin: InboundOrigin = { tenant, instance, journalId: entry.id }
    await withDeadline(this.#clock, WALK_WITHIN_MS, 'processing a message', this.#pass(origin, entry))
    await this.#journal.settle(instance, entry.id)
  }

  async #pass(origin: InboundOrigin, { message, receivedAt: at }: UnsettledEntry): Promise<void> {
    const { contacts, care, conversations, flows } = this.#ports
    const { author: address, alias, chat, content, fromMe, pushName } = message
    if (fromMe) {
      await conversations.receiveOwn(origin, { chat, at })
      return
    }
    const contact = await contacts.seen(origin, { address, alias, pushName, at })
    const atMenu = await flows.isWaiting(origin, contact)
    const heard = await care.hear(origin, { contact, address, words: wordsOf(content), at, atMenu })
    const received = await conversations.receive(origin, { contact, chat, at })
    const { conversation, isReopened } = received
    await flows.hear(origin, { contact, conversation, isReopened, message, heard })
  }

  async #setAside(chat: Chat, entry: UnsettledEntry, reason: string): Promise<void> {
    const { tenant, instance } = chat.line
    await this.#journal.setAside(tenant, instance, entry, reason)
    this.#log.error(
      { tenant, instance, chat: chat.chat, journalId: entry.id, reason },
      'a message that came in could not be processed and is set aside: see GET /v1/instances/{id}/inbound/set-aside',
    )
  }

  /** Notes the failure; returns how long the chat rests. */
  #failed(chat: Chat, error: unknown, entry?: UnsettledEntry): number {
    const { tenant, instance } = chat.line
    const restMs = Math.min(MAX_BACKOFF_MS, SECOND * 2 ** Math.min(chat.failures, 10))
    chat.failures++
    if (!this.#isOn(chat) || isOurEnd(error)) return restMs
    this.#log.warn(
      { tenant, instance, chat: chat.chat, journalId: entry?.id, restMs, err: error },
      'processing a message that came in failed; it is tried again',
    )
    return restMs
  }

  #isOn({ line }: Chat): boolean {
    return this.#running && !line.isOver && this.#ownership.owns(line.instance)
  }

  async #finish(): Promise<void> {
    this.#running = false
    this.#findTimer?.cancel()
    for (const chat of this.#chats.values()) if (chat.state !== 'walking') this.#forget(chat)
    if (this.#walkingCount === 0) return
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve
    })
    await withDeadline(this.#clock, STOP_WITHIN_MS, 'ending what walks', idle).catch(() => {})
  }
}

function keyOf(instance: InstanceId, chat: ChatId): string {
  return `${instance} ${chat}`
}

/** This process stops, or does not own the instance any more: nothing failed. */
function isOurEnd(error: unknown): boolean {
  if (!(error instanceof EclusaError)) return false
  return error.code === storageErrors.STOPPED.code || error.code === storageErrors.NOT_OWNER.code
}

/** For people who decide what becomes of the message: what failed, without a number that may be someone's. */
function reasonOf(error: unknown): string {
  const code = error instanceof EclusaError ? `${error.code}: ` : ''
  const message = error instanceof Error ? error.message : 'an unknown failure'
  return `${code}${message.split('\n', 1)[0] ?? ''}`.replaceAll(/\d{6,}/g, '…').slice(0, 500)
}
