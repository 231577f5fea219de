import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { type Clock, type Logger, randomBase32 } from '@eclusa/kernel'
import type { Database, Sealer } from '@eclusa/storage'
import type { ApiKeys } from '../keys/api-keys.ts'
import type { Caller } from '../keys/scopes.ts'
import { Attempts } from './attempts.ts'
import { IDLE_MS, MAX_AGE_MS, MAX_SESSIONS, MAX_SESSIONS_EACH, MAX_USERS, SEEN_STEP_MS } from './limits.ts'
import { LoginStore, type SessionRow } from './login-store.ts'
import { Passwords } from './passwords.ts'
import { Users } from './users.ts'

/** A browser that is signed in. */
export interface LoginSession {
  readonly id: string
  readonly kind: 'key' | 'user'
  /** The id of the key, or the name of the user. */
  readonly name: string
  readonly caller: Caller
  readonly createdAt: number
  readonly seenAt: number
  readonly expiresAt: number
}

/** What an unknown session is compared with, so that it takes as long as a known one. */
const NOBODY: Uint8Array = sha256(randomBytes(32).toString('hex'))

/**
 * Browsers that are signed in, each for a key or a user. What the key or user may do is asked each time: whoever loses
 * it, loses it everywhere.
 */
export class Logins {
  readonly users: Users
  readonly #store: LoginStore
  readonly #keys: ApiKeys
  readonly #clock: Clock
  readonly #log: Logger
  // bounded by: MAX_SESSIONS
  readonly #sessions: Map<string, SessionRow>
  // bounded by: the event streams that are open
  readonly #watchers = new Map<string, Set<() => void>>()

  private constructor(options: {
    readonly users: Users
    readonly store: LoginStore
    readonly keys: ApiKeys
    readonly clock: Clock
    readonly log: Logger
    readonly sessions: readonly SessionRow[]
  }) {
    this.users = options.users
    this.#store = options.store
    this.#keys = options.keys
    this.#clock = options.clock
    this.#log = options.log
    // Least recently seen first.
    this.#sessions = new Map(options.sessions.toReversed().map((session) => [session.id, session]))
  }

  static async open(options: {
    readonly database: Database
    readonly sealer: Sealer
    readonly keys: ApiKeys
    readonly clock: Clock
    readonly log: Logger
  }): Promise<Logins> {
    const { database, sealer, keys, clock, log } = options
    const store = new LoginStore(database)
    const users = new Users({
      store,
      sealer,
      passwords: new Passwords(),
      attempts: new Attempts(clock),
      clock,
      users: await store.users(MAX_USERS),
    })
    const sessions = await store.sessions(MAX_SESSIONS)
    const logins = new Logins({ users, store, keys, clock, log, sessions })
    await logins.#end(sessions.filter((session) => logins.#isOver(session)).map(({ id }) => id))
    return logins
  }

  list(): readonly LoginSession[] {
    return [...this.#sessions.values()].flatMap((row) => this.#shown(row) ?? []).toReversed()
  }

  /** Signs a browser in; the token is what its cookie holds. */
  async begin(
    kind: 'key' | 'user',
    subject: string,
  ): Promise<{ readonly token: string; readonly session: LoginSession }> {
    const now = this.#clock.now()
    const secret = randomBytes(32).toString('base64url')
    const row: SessionRow = {
      id: randomBase32(12),
      digest: sha256(secret),
      kind,
      subject,
      createdAt: now,
      seenAt: now,
    }
    const gone = this.#makingRoomFor(row)
    await this.#store.replaceSessions(row, gone)
    this.#forget(gone)
    this.#sessions.set(row.id, row)
    const session = this.#shown(row)
    // The key or the user was there a moment ago.
    if (session === null) throw new Error('whoever signs in is gone')
    this.#log.info({ session: row.id, kind }, 'somebody signed in to the dashboard')
    return { token: `${row.id}.${secret}`, session }
  }

  /** Whose token it is; null when it is over, or none of ours. */
  find(token: string, address: string): LoginSession | null {
    const [, id, secret] = /^([0-9a-z]{12})\.([0-9A-Za-z_-]{43})$/.exec(token) ?? []
    const row = id === undefined ? undefined : this.#sessions.get(id)
    const isTheirs = timingSafeEqual(sha256(secret ?? ''), row?.digest ?? NOBODY)
    if (!isTheirs || row === undefined) return null
    const session = this.#shown(row, address)
    if (session === null) {
      // Elsewhere it may still be good.
      if (this.#shown(row) === null) this.#endLater([row.id])
      return null
    }
    this.#see(row)
    return session
  }

  /** Signs it out, wherever it is. Returns whether there was one. */
  async end(id: string): Promise<boolean> {
    const isKnown = this.#sessions.has(id)
    await this.#end([id])
    return isKnown
  }

  /** All of a key or a user, but `except`: after a new password, or when they are gone. */
  async endAllOf(kind: 'key' | 'user', subject: string, except: string | null = null): Promise<void> {
    const theirs = [...this.#sessions.values()].filter(
      (row) => row.kind === kind && row.subject === subject && row.id !== except,
    )
    await this.#end(theirs.map(({ id }) => id))
  }

  /** Calls `listener` once when the session is over; returns its remover. */
  whenOver(id: string, listener: () => void): () => void {
    const watchers = this.#watchers.get(id) ?? new Set()
    this.#watchers.set(id, watchers)
    watchers.add(listener)
    return () => {
      watchers.delete(listener)
      if (watchers.size === 0 && this.#watchers.get(id) === watchers) this.#watchers.delete(id)
    }
  }

  #shown(row: SessionRow, address: string | null = null): LoginSession | null {
    if (this.#isOver(row)) return null
    const caller =
      row.kind === 'key' ? this.#keys.callerOfSubject(row.subject, address) : this.#callerOfUser(row.subject)
    if (caller === null) return null
    const { id, kind, subject, createdAt, seenAt } = row
    const name = kind === 'key' ? (subject.split(':')[0] ?? subject) : subject
    return {
      id,
      kind,
      name,
      createdAt,
      seenAt,
      caller,
      expiresAt: Math.min(row.seenAt + IDLE_MS, row.createdAt + MAX_AGE_MS),
    }
  }

  #callerOfUser(name: string): Caller | null {
    const user = this.users.find(name)
    if (user === undefined) return null
    return {
      keyId: `user:${name}`,
      person: name,
      reach: user.reach,
      scopes: new Set(user.scopes),
      instances: null,
    }
  }

  #isOver({ createdAt, seenAt }: SessionRow): boolean {
    const now = this.#clock.now()
    return now - seenAt >= IDLE_MS || now - createdAt >= MAX_AGE_MS
  }

  /** Moves it to the end of the line of those that would go. */
  #see(row: SessionRow): void {
    const now = this.#clock.now()
    if (now - row.seenAt < SEEN_STEP_MS) return
    this.#sessions.delete(row.id)
    this.#sessions.set(row.id, { ...row, seenAt: now })
    this.#store
      .seen(row.id, now)
      .catch((error: unknown) =>
        this.#log.warn({ err: error }, 'a session of the dashboard was not kept fresh'),
      )
  }

  /** Those that are over, and the least recently seen ones above the limits. */
  #makingRoomFor(next: SessionRow): readonly string[] {
    const rows = [...this.#sessions.values()]
    const over = rows.filter((row) => this.#isOver(row))
    const rest = rows.filter((row) => !over.includes(row))
    const theirs = rest.filter(({ kind, subject }) => kind === next.kind && subject === next.subject)
    const tooManyOfThem = theirs.slice(0, Math.max(0, theirs.length + 1 - MAX_SESSIONS_EACH))
    const tooMany = rest
      .filter((row) => !tooManyOfThem.includes(row))
      .slice(0, Math.max(0, rest.length - tooManyOfThem.length + 1 - MAX_SESSIONS))
    return [...over, ...tooManyOfThem, ...tooMany].map(({ id }) => id)
  }

  async #end(ids: readonly string[]): Promise<void> {
    this.#forget(ids)
    await this.#store.deleteSessions(ids)
  }

  #endLater(ids: readonly string[]): void {
    this.#end(ids).catch((error: unknown) =>
      this.#log.warn({ err: error }, 'a session of the dashboard that is over was not deleted'),
    )
  }

  #forget(ids: readonly string[]): void {
    for (const id of ids) {
      this.#sessions.delete(id)
      const watchers = this.#watchers.get(id)
      this.#watchers.delete(id)
      for (const listener of watchers ?? []) listener()
    }
  }
}

function sha256(text: string): Uint8Array {
  return createHash('sha256').update(text).digest()
}
