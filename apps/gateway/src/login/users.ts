import { type Clock, EclusaError, OPERATORS } from '@eclusa/kernel'
import type { SealedTable, Sealer } from '@eclusa/storage'
import { gatewayErrors } from '../errors.ts'
import type { KeyScope, Reach } from '../keys/scopes.ts'
import type { Attempts } from './attempts.ts'
import { MAX_USERS } from './limits.ts'
import type { LoginStore, UserRow } from './login-store.ts'
import type { Passwords } from './passwords.ts'
import { base32, makeTotpSecret, totpStep, totpUri } from './totp.ts'

/** A user as others may see them. */
export interface User {
  readonly name: string
  readonly reach: Reach
  readonly scopes: readonly KeyScope[]
  readonly hasTotp: boolean
  readonly createdAt: number
}

/** People with a password, and the authenticator apps of those who have one. */
export class Users {
  readonly #store: LoginStore
  readonly #sealer: Sealer
  readonly #passwords: Passwords
  readonly #attempts: Attempts
  readonly #clock: Clock
  // bounded by: MAX_USERS
  readonly #users: Map<string, UserRow>

  constructor(options: {
    readonly store: LoginStore
    readonly sealer: Sealer
    readonly passwords: Passwords
    readonly attempts: Attempts
    readonly clock: Clock
    readonly users: readonly UserRow[]
  }) {
    this.#store = options.store
    this.#sealer = options.sealer
    this.#passwords = options.passwords
    this.#attempts = options.attempts
    this.#clock = options.clock
    this.#users = new Map(options.users.map((user) => [user.name, user]))
  }

  list(): readonly User[] {
    return [...this.#users.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)).map(shown)
  }

  find(name: string): User | undefined {
    const user = this.#users.get(name)
    return user === undefined ? undefined : shown(user)
  }

  /** @throws GATEWAY_USER_UNKNOWN */
  get(name: string): User {
    return shown(this.#row(name))
  }

  /** @throws GATEWAY_USER_EXISTS, GATEWAY_TOO_MANY_USERS, GATEWAY_BUSY */
  async add(user: {
    readonly name: string
    readonly password: string
    readonly reach: Reach
    readonly scopes: readonly KeyScope[]
  }): Promise<User> {
    if (this.#users.has(user.name))
      throw new EclusaError(gatewayErrors.USER_EXISTS, { details: { field: 'name' } })
    if (this.#users.size >= MAX_USERS) throw new EclusaError(gatewayErrors.TOO_MANY_USERS)
    const row: UserRow = {
      ...user,
      password: await this.#passwords.hash(user.password),
      totp: null,
      totpConfirmed: false,
      totpStep: 0,
      createdAt: this.#clock.now(),
    }
    await this.#store.insertUser(row)
    this.#users.set(row.name, row)
    return shown(row)
  }

  /** What is left out stays. @throws GATEWAY_USER_UNKNOWN, GATEWAY_BUSY */
  async change(
    name: string,
    change: { readonly password?: string; readonly reach?: Reach; readonly scopes?: readonly KeyScope[] },
  ): Promise<User> {
    this.#row(name)
    const { password, ...rest } = change
    const hash = password === undefined ? {} : { password: await this.#passwords.hash(password) }
    // Read after the hash: somebody may have changed it meanwhile.
    return shown(await this.#keep({ ...this.#row(name), ...rest, ...hash }))
  }

  /** @throws GATEWAY_USER_UNKNOWN */
  async remove(name: string): Promise<void> {
    this.#row(name)
    await this.#store.deleteUser(name)
    this.#users.delete(name)
  }

  /**
   * Who signs in with these. The password is looked at before the code is asked for, and takes as long when there is no
   * such user.
   * @throws GATEWAY_LOGIN_LOCKED, GATEWAY_LOGIN_REFUSED, GATEWAY_TOTP_NEEDED, GATEWAY_BUSY
   */
  async verify(given: {
    readonly user: string
    readonly password: string
    readonly totp: string | null
    /** Where they ask from. */
    readonly address: string
  }): Promise<User> {
    const { user: name, password, totp, address } = given
    const waitMs = this.#attempts.waitMs(name, address)
    if (waitMs > 0) {
      const minutes = Math.ceil(waitMs / 60_000)
      throw new EclusaError(gatewayErrors.LOGIN_LOCKED, {
        message: `Too many wrong tries: try again in ${minutes} min`,
        details: { waitMs },
      })
    }
    // Counted before it is looked at, so that many at once are no way around.
    this.#attempts.failed(name, address)
    const known = this.#users.get(name)
    const matches = await this.#passwords.matches(password, known?.password ?? null)
    const user = this.#users.get(name)
    if (!matches || user === undefined || user.password !== known?.password) {
      throw new EclusaError(gatewayErrors.LOGIN_REFUSED)
    }
    if (user.totpConfirmed) {
      if (totp === null) {
        this.#attempts.forgive(name, address)
        throw new EclusaError(gatewayErrors.TOTP_NEEDED, { details: { field: 'totp' } })
      }
      if (!(await this.#useCode(user, totp))) {
        throw new EclusaError(gatewayErrors.LOGIN_REFUSED, { details: { field: 'totp' } })
      }
    }
    this.#attempts.succeeded(name, address)
    return shown(user)
  }

  /** A secret for an authenticator app, shown once; it counts from its first right code on. @throws GATEWAY_USER_UNKNOWN */
  async beginTotp(name: string): Promise<{ readonly secret: string; readonly uri: string }> {
    const secret = makeTotpSecret()
    const totp = this.#sealer.seal(secret, contextOf(name), OPERATORS)
    await this.#keep({ ...this.#row(name), totp, totpConfirmed: false, totpStep: 0 })
    return { secret: base32(secret), uri: totpUri(name, secret) }
  }

  /** @throws GATEWAY_USER_UNKNOWN, GATEWAY_LOGIN_REFUSED */
  async confirmTotp(name: string, code: string): Promise<void> {
    const user = this.#row(name)
    if (user.totp === null || !(await this.#useCode(user, code))) {
      throw new EclusaError(gatewayErrors.LOGIN_REFUSED, { details: { field: 'code' } })
    }
    await this.#keep({ ...this.#row(name), totpConfirmed: true })
  }

  /** @throws GATEWAY_USER_UNKNOWN */
  async endTotp(name: string): Promise<void> {
    await this.#keep({ ...this.#row(name), totp: null, totpConfirmed: false, totpStep: 0 })
  }

  async #useCode(user: UserRow, code: string): Promise<boolean> {
    if (user.totp === null) return false
    await this.#sealer.know([user.totp])
    const secret = this.#sealer.open(user.totp, contextOf(user.name), OPERATORS)
    // As it is now: the same code may have been used while we waited.
    const now = this.#row(user.name)
    const step = totpStep(secret, code, { now: this.#clock.now(), after: now.totpStep })
    if (step === null) return false
    await this.#keep({ ...now, totpStep: step })
    return true
  }

  /** In memory first: what comes while it is written must see it (a code counts once). */
  async #keep(user: UserRow): Promise<UserRow> {
    const before = this.#row(user.name)
    this.#users.set(user.name, user)
    try {
      await this.#store.updateUser(user)
    } catch (error) {
      if (this.#users.get(user.name) === user) this.#users.set(user.name, before)
      throw error
    }
    return user
  }

  #row(name: string): UserRow {
    const user = this.#users.get(name)
    if (user === undefined) throw new EclusaError(gatewayErrors.USER_UNKNOWN, { details: { field: 'user' } })
    return user
  }
}

export const totpSealedTable: SealedTable = {
  table: 'LoginUser',
  column: 'totp',
  key: ['name'],
  start: [''],
  page: 'select name, totp as sealed from "LoginUser" where name > ? order by name limit ?',
  placeOf: (row) => ({ tenant: OPERATORS, context: contextOf(row['name'] as string) }),
}

function contextOf(name: string): string {
  return `login-totp|${name}`
}

function shown({ name, reach, scopes, totpConfirmed, createdAt }: UserRow): User {
  return { name, reach, scopes, hasTotp: totpConfirmed, createdAt }
}
