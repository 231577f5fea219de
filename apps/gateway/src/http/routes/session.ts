import { EclusaError } from '@eclusa/kernel'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import { type KeyScope, keyScopes, type Reach } from '../../keys/scopes.ts'
import { MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH } from '../../login/limits.ts'
import type { LoginSession } from '../../login/logins.ts'
import type { User } from '../../login/users.ts'
import { callerOf } from '../auth.ts'
import { noBody, tenantIdOf } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'
import { assertOwnPage, clearToken, setToken, tokenOf } from '../session-cookie.ts'
import { iso } from '../instants.ts'

const userName = z
  .string('must be a text')
  .regex(/^[a-z0-9][a-z0-9._@-]{0,63}$/, 'must be 1 to 64 lower-case letters, digits, ".", "_", "@" or "-"')
const newPassword = z
  .string('must be a text')
  .min(MIN_PASSWORD_LENGTH, `must have at least ${MIN_PASSWORD_LENGTH} characters`)
  .max(MAX_PASSWORD_LENGTH, `must have at most ${MAX_PASSWORD_LENGTH} characters`)
const code = z.string('must be the six digits of the app').max(10, 'must be the six digits of the app')

const signInBody = z.union(
  [
    z.strictObject({ key: z.string().min(1).max(1000) }),
    z.strictObject({
      user: z.string().max(64),
      password: z.string().max(MAX_PASSWORD_LENGTH),
      totp: code.optional(),
    }),
  ],
  'must be {"key"} or {"user", "password"}, with "totp" where the user has an authenticator app',
)

const scopesInput = z.array(
  z.enum(keyScopes, `must be among ${keyScopes.join(', ')}`),
  'must be a list of scopes',
)

const session = z.object({
  kind: z.enum(['key', 'user']),
  name: z.string(),
  reach: z.string().describe('`*`: every tenant'),
  scopes: z.array(z.string()),
  expiresAt: z.iso.datetime(),
})

const shownSession = z.object({
  id: z.string(),
  kind: z.enum(['key', 'user']),
  name: z.string(),
  createdAt: z.iso.datetime(),
  seenAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  own: z.boolean().describe('The one that asks'),
})

const user = z.object({
  name: z.string(),
  reach: z.string(),
  scopes: z.array(z.string()),
  hasTotp: z.boolean(),
  createdAt: z.iso.datetime(),
})

const addBody = z.strictObject({
  name: userName,
  password: newPassword,
  reach: z.string('must be a tenant, or "*"').default('*').describe('`*`: every tenant'),
  scopes: scopesInput.default([...keyScopes]),
})
const changeBody = z.strictObject({
  password: newPassword.optional(),
  reach: z.string('must be a tenant, or "*"').optional(),
  scopes: scopesInput.optional(),
})

const userParams = z.object({ user: z.string().max(64) })

/** Signing in to the dashboard, and who may. */
export async function sessionRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { logins, keys } = ports
  const { users } = logins
  const admin = { scope: 'admin', operatorsOnly: true } as const

  http.post(
    '/session',
    {
      config: {
        scope: 'public',
        errors: [
          gatewayErrors.LOGIN_REFUSED,
          gatewayErrors.LOGIN_LOCKED,
          gatewayErrors.TOTP_NEEDED,
          gatewayErrors.BUSY,
          gatewayErrors.CROSS_ORIGIN,
        ],
      },
      schema: {
        operationId: 'signIn',
        summary: 'Sign a browser in',
        body: signInBody,
        response: { 200: session },
      },
    },
    async (request, reply) => {
      // Also here: nobody shall be signed in as somebody else by another page.
      assertOwnPage(request)
      const given = request.body
      if ('key' in given) {
        const caller = keys.callerOf(given.key, request.ip)
        if (caller === null) throw new EclusaError(gatewayErrors.LOGIN_REFUSED, { details: { field: 'key' } })
        const begun = await logins.begin('key', keys.subjectOf(caller))
        return welcome(request, reply, begun)
      }
      const { totp = null, ...rest } = given
      const { name } = await users.verify({ ...rest, totp, address: request.ip })
      const begun = await logins.begin('user', name)
      return welcome(request, reply, begun)
    },
  )

  http.get(
    '/session',
    {
      config: { scope: 'public', errors: [gatewayErrors.CROSS_ORIGIN] },
      schema: {
        operationId: 'getOwnSession',
        summary: 'Who is signed in with this browser',
        description: 'Null for who is not signed in.',
        response: { 200: z.object({ session: session.nullable() }) },
      },
    },
    async (request) => {
      assertOwnPage(request)
      const found = ownSession(request)
      return { session: found === null ? null : shownOwn(found) }
    },
  )

  http.delete(
    '/session',
    {
      config: { scope: 'public', errors: [gatewayErrors.CROSS_ORIGIN] },
      schema: {
        operationId: 'signOut',
        summary: 'Sign this browser out',
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      assertOwnPage(request)
      const found = ownSession(request)
      if (found !== null) await logins.end(found.id)
      clearToken(reply)
      return reply.code(204).send(null)
    },
  )

  http.get(
    '/sessions',
    {
      config: admin,
      schema: {
        operationId: 'listSessions',
        summary: 'List browsers that are signed in',
        response: { 200: z.object({ items: z.array(shownSession) }) },
      },
    },
    async (request) => {
      const own = ownSession(request)?.id
      return {
        items: logins.list().map((one) => ({
          id: one.id,
          kind: one.kind,
          name: one.name,
          createdAt: iso(one.createdAt),
          seenAt: iso(one.seenAt),
          expiresAt: iso(one.expiresAt),
          own: one.id === own,
        })),
      }
    },
  )

  http.delete(
    '/sessions/:session',
    {
      config: { ...admin, errors: [gatewayErrors.NO_SUCH_SESSION] },
      schema: {
        operationId: 'endSession',
        summary: 'Sign a browser out',

        params: z.object({ session: z.string().max(40) }),
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      if (!(await logins.end(request.params.session))) throw new EclusaError(gatewayErrors.NO_SUCH_SESSION)
      return reply.code(204).send(null)
    },
  )

  http.get(
    '/users',
    {
      config: admin,
      schema: {
        operationId: 'listUsers',
        summary: 'List the people who may sign in',
        response: { 200: z.object({ items: z.array(user) }) },
      },
    },
    async () => ({ items: users.list().map(shownUser) }),
  )

  http.post(
    '/users',
    {
      config: {
        ...admin,
        errors: [
          gatewayErrors.USER_EXISTS,
          gatewayErrors.TOO_MANY_USERS,
          gatewayErrors.KEY_TOO_STRONG,
          gatewayErrors.BUSY,
        ],
      },
      schema: {
        operationId: 'createUser',
        summary: 'Let a person sign in',
        body: addBody,
        response: { 201: user },
      },
    },
    async (request, reply) => {
      const { reach, ...rest } = request.body
      assertNotStronger(request, rest.scopes)
      return reply.code(201).send(shownUser(await users.add({ ...rest, reach: reachOf(reach) })))
    },
  )

  http.patch(
    '/users/:user',
    {
      config: {
        ...admin,
        errors: [gatewayErrors.USER_UNKNOWN, gatewayErrors.KEY_TOO_STRONG, gatewayErrors.BUSY],
      },
      schema: {
        operationId: 'changeUser',
        summary: 'Change a password, a reach or scopes',
        description: 'Any of it signs all their other browsers out.',
        params: userParams,
        body: changeBody,
        response: { 200: user },
      },
    },
    async (request) => {
      const { password, reach, scopes } = request.body
      // A new password is a way in as that user.
      assertNotStronger(request, [...users.get(request.params.user).scopes, ...(scopes ?? [])])
      const changed = await users.change(request.params.user, {
        ...(password === undefined ? {} : { password }),
        ...(reach === undefined ? {} : { reach: reachOf(reach) }),
        ...(scopes === undefined ? {} : { scopes }),
      })
      // Streams that are open keep what they were opened with.
      if (password !== undefined || reach !== undefined || scopes !== undefined)
        await logins.endAllOf('user', changed.name, ownSession(request)?.id ?? null)
      return shownUser(changed)
    },
  )

  http.delete(
    '/users/:user',
    {
      config: { ...admin, errors: [gatewayErrors.USER_UNKNOWN] },
      schema: {
        operationId: 'deleteUser',
        summary: 'Let a person sign in no more',
        params: userParams,
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await users.remove(request.params.user)
      await logins.endAllOf('user', request.params.user)
      return reply.code(204).send(null)
    },
  )

  http.post(
    '/users/:user/totp',
    {
      config: { ...admin, errors: [gatewayErrors.USER_UNKNOWN] },
      schema: {
        operationId: 'beginTotp',
        summary: 'Begin to ask a person for codes of an app',
        description: 'Shown once; it counts after the first right code.',

        params: userParams,
        body: noBody,
        response: { 200: z.object({ secret: z.string(), uri: z.string() }) },
      },
    },
    async (request) => users.beginTotp(request.params.user),
  )

  http.post(
    '/users/:user/totp/confirm',
    {
      config: { ...admin, errors: [gatewayErrors.USER_UNKNOWN, gatewayErrors.LOGIN_REFUSED] },
      schema: {
        operationId: 'confirmTotp',
        summary: 'Ask a person for codes of an app from now on',
        params: userParams,
        body: z.strictObject({ code }),
        response: { 200: user },
      },
    },
    async (request) => {
      await users.confirmTotp(request.params.user, request.body.code)
      return shownUser(users.get(request.params.user))
    },
  )

  http.delete(
    '/users/:user/totp',
    {
      config: { ...admin, errors: [gatewayErrors.USER_UNKNOWN] },
      schema: {
        operationId: 'endTotp',
        summary: 'Ask a person for codes of an app no more',
        params: userParams,
        body: noBody,
        response: { 200: user },
      },
    },
    async (request) => {
      await users.endTotp(request.params.user)
      return shownUser(users.get(request.params.user))
    },
  )

  async function welcome(
    request: FastifyRequest,
    reply: FastifyReply,
    { token, session: begun }: Awaited<ReturnType<typeof logins.begin>>,
  ): Promise<z.input<typeof session>> {
    request.caller = begun.caller
    const { reach: tenant } = begun.caller
    const deed = { action: 'session.begun', tenant, object: { session: begun.id } }
    await ports.audit.record(ports.audited.done(request, deed))
    setToken(request, reply, token)
    return shownOwn(begun)
  }

  function ownSession(request: FastifyRequest): LoginSession | null {
    const token = tokenOf(request)
    return token === null ? null : logins.find(token, request.ip)
  }
}

function shownOwn({ kind, name, caller, expiresAt }: LoginSession): z.input<typeof session> {
  return { kind, name, reach: caller.reach, scopes: [...caller.scopes], expiresAt: iso(expiresAt) }
}

function shownUser(one: User): z.input<typeof user> {
  return { ...one, scopes: [...one.scopes], createdAt: iso(one.createdAt) }
}

/** Nobody makes a user who may do more than themselves. @throws GATEWAY_KEY_TOO_STRONG */
function assertNotStronger(request: FastifyRequest, scopes: readonly KeyScope[]): void {
  const caller = callerOf(request)
  if (scopes.some((scope) => !caller.scopes.has(scope))) throw new EclusaError(gatewayErrors.KEY_TOO_STRONG)
}

function reachOf(text: string): Reach {
  return text === '*' ? '*' : tenantIdOf(text, 'reach')
}
