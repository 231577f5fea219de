import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keyScopes } from '../src/keys/scopes.ts'
import { hotp } from '../src/login/totp.ts'
import { type Answer, KEY, startGateway, type TestGateway } from './harness.ts'

const PAGE = { 'x-eclusa-request': '1', 'content-type': 'application/json' } as const

/** What a browser sends back of a cookie that it was given. */
function cookieOf(answer: Answer): string {
  const [first = ''] = answer.headers.getSetCookie()
  return first.split(';')[0] ?? ''
}

async function signIn(
  gateway: TestGateway,
  body: object,
  more: Record<string, string> = {},
): Promise<Answer> {
  return gateway.raw('POST', '/v1/session', { ...PAGE, ...more }, JSON.stringify(body))
}

async function addUser(gateway: TestGateway, more: object = {}): Promise<void> {
  const user = { name: 'ana', password: 'a long pass phrase', ...more }
  const { status, text } = await gateway.call('POST', '/v1/users', user)
  assert.equal(status, 201, text)
}

test('a key opens the dashboard: the cookie works where the key does, until it is signed out', async (t) => {
  const gateway = await startGateway(t)
  assert.deepEqual((await gateway.raw('GET', '/v1/session', {})).body, { session: null })
  const answer = await signIn(gateway, { key: KEY })
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.body['kind'], 'key')
  assert.equal(answer.body['reach'], '*')
  assert.deepEqual(answer.body['scopes'], [...keyScopes])
  const [header = ''] = answer.headers.getSetCookie()
  assert.match(header, /^eclusa=[0-9a-z]{12}\.[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=\d+$/)
  assert.ok(!answer.text.includes(KEY) && !header.includes(KEY))
  const cookie = cookieOf(answer)
  assert.equal((await gateway.raw('GET', '/v1/instances', { cookie })).status, 200)
  const made = await gateway.raw(
    'POST',
    '/v1/tenants/acme/instances',
    { ...PAGE, cookie },
    JSON.stringify({ name: 'Front' }),
  )
  assert.equal(made.status, 201, made.text)
  await gateway.restart()
  assert.equal((await gateway.raw('GET', '/v1/instances', { cookie })).status, 200, 'after a restart')
  const out = await gateway.raw('DELETE', '/v1/session', { 'x-eclusa-request': '1', cookie })
  assert.equal(out.status, 204)
  assert.match(String(out.headers.getSetCookie()), /Max-Age=0/)
  assert.equal((await gateway.raw('GET', '/v1/instances', { cookie })).status, 401)
})

test('over TLS the cookie is secure and bound to the host', async (t) => {
  const gateway = await startGateway(t)
  const { host } = new URL(gateway.app.url)
  const [header = ''] = (
    await signIn(gateway, { key: KEY }, { origin: `https://${host}` })
  ).headers.getSetCookie()
  assert.match(header, /^__Host-eclusa=.*; Path=\/; HttpOnly; SameSite=Strict; Max-Age=\d+; Secure$/)
})

test('a cookie is no way in for pages of other origins', async (t) => {
  const gateway = await startGateway(t)
  const cookie = cookieOf(await signIn(gateway, { key: KEY }))
  const body = JSON.stringify({ name: 'Front' })
  const json = { cookie, 'content-type': 'application/json' }
  const refused: Readonly<Record<string, Record<string, string>>> = {
    'no guard': json,
    'another site': { ...json, ...PAGE, 'sec-fetch-site': 'cross-site' },
    'another subdomain': { ...json, ...PAGE, 'sec-fetch-site': 'same-site' },
    'another origin': { ...json, ...PAGE, origin: 'https://evil.example' },
    'no origin at all': { ...json, ...PAGE, origin: 'null' },
  }
  for (const [what, headers] of Object.entries(refused)) {
    const answer = await gateway.raw('POST', '/v1/tenants/acme/instances', headers, body)
    assert.equal(answer.status, 403, what)
    assert.equal(answer.body['code'], 'GATEWAY_CROSS_ORIGIN', what)
  }
  const read = await gateway.raw('GET', '/v1/instances', { cookie, 'sec-fetch-site': 'cross-site' })
  assert.equal(read.status, 403)
  const login = await signIn(gateway, { key: KEY }, { origin: 'https://evil.example' })
  assert.equal(login.body['code'], 'GATEWAY_CROSS_ORIGIN')
  assert.deepEqual((await gateway.call('GET', '/v1/instances')).body, { items: [] })
})

test('a user signs in with a password, for what they were given and no more', async (t) => {
  const gateway = await startGateway(t)
  await addUser(gateway, { reach: 'acme', scopes: ['read'] })
  const answer = await signIn(gateway, { user: 'ana', password: 'a long pass phrase' })
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual(
    { ...answer.body, expiresAt: 0 },
    { kind: 'user', name: 'ana', reach: 'acme', scopes: ['read'], expiresAt: 0 },
  )
  const cookie = cookieOf(answer)
  const at = (path: string): Promise<Answer> => gateway.raw('GET', path, { cookie })
  assert.equal((await at('/v1/tenants/acme/sectors')).status, 200)
  assert.equal((await at('/v1/tenants/other/sectors')).status, 403)
  assert.equal((await at('/v1/users')).status, 403)
  const listed = await gateway.call('GET', '/v1/users')
  assert.ok(!listed.text.includes('argon2') && !listed.text.includes('password'))
  // A new password signs out everywhere, and the old one is no use any more.
  await gateway.call('PATCH', '/v1/users/ana', { password: 'another pass phrase' })
  assert.equal((await at('/v1/instances')).status, 401)
  const old = await signIn(gateway, { user: 'ana', password: 'a long pass phrase' })
  assert.equal(old.body['code'], 'GATEWAY_LOGIN_REFUSED')
  // So does another reach, or other scopes: what is open was opened with those of before.
  const before = await signIn(gateway, { user: 'ana', password: 'another pass phrase' })
  await gateway.call('PATCH', '/v1/users/ana', { scopes: ['read', 'send'] })
  assert.equal((await gateway.raw('GET', '/v1/instances', { cookie: cookieOf(before) })).status, 401)
  const again = await signIn(gateway, { user: 'ana', password: 'another pass phrase' })
  await gateway.call('DELETE', '/v1/users/ana')
  assert.equal((await gateway.raw('GET', '/v1/instances', { cookie: cookieOf(again) })).status, 401)
})

test('ten wrong passwords lock the user out, and no key', async (t) => {
  const gateway = await startGateway(t)
  await addUser(gateway)
  for (let nth = 0; nth < 10; nth++) {
    const wrong = await signIn(gateway, { user: 'ana', password: `wrong ${nth}` })
    assert.equal(wrong.body['code'], 'GATEWAY_LOGIN_REFUSED')
  }
  const locked = await signIn(gateway, { user: 'ana', password: 'a long pass phrase' })
  assert.equal(locked.status, 429)
  assert.equal(locked.body['code'], 'GATEWAY_LOGIN_LOCKED')
  assert.equal((await signIn(gateway, { key: KEY })).status, 200)
  assert.equal((await gateway.call('GET', '/v1/instances')).status, 200)
  const other = await signIn(gateway, { user: 'nobody', password: 'whatever it is' })
  assert.equal(other.body['code'], 'GATEWAY_LOGIN_REFUSED', 'others are not locked out')
})

test('an authenticator app is asked for once it is confirmed, and no code counts twice', async (t) => {
  const gateway = await startGateway(t)
  await addUser(gateway)
  const { body } = await gateway.call('POST', '/v1/users/ana/totp')
  const secret = fromBase32(String(body['secret']))
  assert.match(String(body['uri']), /^otpauth:\/\/totp\/Eclusa:ana\?secret=[A-Z2-7]{32}&issuer=Eclusa$/)
  const right = { user: 'ana', password: 'a long pass phrase' }
  assert.equal((await signIn(gateway, right)).status, 200, 'not before it is confirmed')
  const step = Math.floor(Date.now() / 30_000)
  const confirmed = await gateway.call('POST', '/v1/users/ana/totp/confirm', { code: hotp(secret, step) })
  assert.equal(confirmed.body['hasTotp'], true, confirmed.text)
  assert.equal((await signIn(gateway, right)).body['code'], 'GATEWAY_TOTP_NEEDED')
  const used = await signIn(gateway, { ...right, totp: hotp(secret, step) })
  assert.equal(used.body['code'], 'GATEWAY_LOGIN_REFUSED', 'it was used to confirm')
  assert.equal((await signIn(gateway, { ...right, totp: hotp(secret, step + 1) })).status, 200)
  const twice = await signIn(gateway, { ...right, totp: hotp(secret, step + 1) })
  assert.equal(twice.body['code'], 'GATEWAY_LOGIN_REFUSED')
  await gateway.call('DELETE', '/v1/users/ana/totp')
  assert.equal((await signIn(gateway, right)).status, 200)
})

test('who signs out sees no more events, and an administrator can sign anybody out', async (t) => {
  const gateway = await startGateway(t)
  const cookie = cookieOf(await signIn(gateway, { key: KEY }))
  const stream = await fetch(`${gateway.app.url}/v1/events`, {
    headers: { cookie, accept: 'text/event-stream' },
  })
  assert.equal(stream.status, 200)
  const ended = (async () => {
    // Cut off, not ended: there are no last words for who is gone.
    try {
      for await (const _ of stream.body ?? []) continue
    } catch {
      return
    }
  })()
  const { body } = await gateway.call('GET', '/v1/sessions')
  const [session] = body['items'] as readonly { id: string; name: string; own: boolean }[]
  assert.deepEqual({ ...session, id: '' }.own, false)
  assert.equal((await gateway.call('DELETE', `/v1/sessions/${session?.id}`)).status, 204)
  await ended
  assert.equal((await gateway.raw('GET', '/v1/instances', { cookie })).status, 401)
  assert.equal((await gateway.call('DELETE', '/v1/sessions/nosuch')).status, 404)
})

test('one key keeps twenty browsers signed in: the next one takes the place of the least used', async (t) => {
  const gateway = await startGateway(t)
  const cookies: string[] = []
  for (let nth = 0; nth < 21; nth++) cookies.push(cookieOf(await signIn(gateway, { key: KEY })))
  const statuses = await Promise.all(
    cookies.map(async (cookie) => (await gateway.raw('GET', '/v1/instances', { cookie })).status),
  )
  assert.deepEqual(statuses, [401, ...Array.from({ length: 20 }, () => 200)])
})

test('nobody makes a user who may do more than themselves, and signing in stands in the audit log', async (t) => {
  const gateway = await startGateway(t)
  await addUser(gateway, { scopes: ['read', 'admin'] })
  const cookie = cookieOf(await signIn(gateway, { user: 'ana', password: 'a long pass phrase' }))
  const stronger = { name: 'eve', password: 'a long pass phrase', scopes: ['read', 'erase'] }
  const made = await gateway.raw('POST', '/v1/users', { ...PAGE, cookie }, JSON.stringify(stronger))
  assert.equal(made.body['code'], 'GATEWAY_KEY_TOO_STRONG')
  const { body } = await gateway.call('GET', '/v1/audit')
  const items = body['items'] as readonly { action: string; person: string | null }[]
  assert.ok(
    items.some(({ action, person }) => action === 'session.begun' && person === 'ana'),
    JSON.stringify(body),
  )
})

function fromBase32(text: string): Uint8Array {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  const bits = Array.from(text, (char) => alphabet.indexOf(char).toString(2).padStart(5, '0')).join('')
  return Uint8Array.from(bits.match(/.{8}/g) ?? [], (byte) => Number.parseInt(byte, 2))
}
