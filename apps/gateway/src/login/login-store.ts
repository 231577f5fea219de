import type { Database, Row } from '@eclusa/storage'
import type { KeyScope, Reach } from '../keys/scopes.ts'
import type { PasswordHash } from './passwords.ts'

export interface UserRow {
  readonly name: string
  readonly password: PasswordHash
  readonly reach: Reach
  readonly scopes: readonly KeyScope[]
  /** Sealed. */
  readonly totp: Uint8Array | null
  readonly totpConfirmed: boolean
  readonly totpStep: number
  readonly createdAt: number
}

export interface SessionRow {
  readonly id: string
  /** SHA-256, 32 bytes. */
  readonly digest: Uint8Array
  readonly kind: 'key' | 'user'
  /** What stands for the key (`ApiKeys.subjectOf`), or the name of the user. */
  readonly subject: string
  readonly createdAt: number
  readonly seenAt: number
}

/** The tables "LoginUser" and "LoginSession". */
export class LoginStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async users(limit: number): Promise<readonly UserRow[]> {
    const rows = await this.#database.read('select * from "LoginUser" order by name limit ?', [limit])
    return rows.map(toUser)
  }

  async insertUser(user: UserRow): Promise<void> {
    await this.#database.write([
      {
        sql: `insert into "LoginUser" (name, password, reach, scopes, totp, totp_confirmed, totp_step, created_at)
          values (?, ?, ?, ?, ?, ?, ?, ?)`,
        params: [user.name, user.password, user.reach, ...changing(user), user.createdAt],
      },
    ])
  }

  async updateUser(user: UserRow): Promise<void> {
    await this.#database.write([
      {
        sql: `update "LoginUser" set password = ?, reach = ?, scopes = ?, totp = ?, totp_confirmed = ?, totp_step = ?
          where name = ?`,
        params: [user.password, user.reach, ...changing(user), user.name],
      },
    ])
  }

  /** With their sessions. */
  async deleteUser(name: string): Promise<void> {
    await this.#database.write([
      { sql: 'delete from "LoginUser" where name = ?', params: [name] },
      { sql: `delete from "LoginSession" where kind = 'user' and subject = ?`, params: [name] },
    ])
  }

  async sessions(limit: number): Promise<readonly SessionRow[]> {
    const rows = await this.#database.read('select * from "LoginSession" order by seen_at desc limit ?', [
      limit,
    ])
    return rows.map((row) => ({
      id: row['id'] as string,
      digest: row['digest'] as Uint8Array,
      kind: row['kind'] as SessionRow['kind'],
      subject: row['subject'] as string,
      createdAt: Number(row['created_at']),
      seenAt: Number(row['seen_at']),
    }))
  }

  /** A new one, and those that make room for it go. */
  async replaceSessions(session: SessionRow, gone: readonly string[]): Promise<void> {
    await this.#database.write([
      ...gone.map(deletion),
      {
        sql: 'insert into "LoginSession" (id, digest, kind, subject, created_at, seen_at) values (?, ?, ?, ?, ?, ?)',
        params: [
          session.id,
          session.digest,
          session.kind,
          session.subject,
          session.createdAt,
          session.seenAt,
        ],
      },
    ])
  }

  async seen(id: string, seenAt: number): Promise<void> {
    await this.#database.write([
      { sql: 'update "LoginSession" set seen_at = ? where id = ?', params: [seenAt, id] },
    ])
  }

  async deleteSessions(ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#database.write(ids.map(deletion))
  }
}

function deletion(id: string): { readonly sql: string; readonly params: readonly [string] } {
  return { sql: 'delete from "LoginSession" where id = ?', params: [id] }
}

function changing(user: UserRow): readonly [string, Uint8Array | null, number, number] {
  return [user.scopes.join(' '), user.totp, user.totpConfirmed ? 1 : 0, user.totpStep]
}

function toUser(row: Row): UserRow {
  return {
    name: row['name'] as string,
    password: row['password'] as string,
    reach: row['reach'] as Reach,
    scopes: (row['scopes'] as string).split(' ').filter((scope) => scope !== '') as KeyScope[],
    totp: (row['totp'] as Uint8Array | null) ?? null,
    totpConfirmed: Number(row['totp_confirmed']) === 1,
    totpStep: Number(row['totp_step']),
    createdAt: Number(row['created_at']),
  }
}
