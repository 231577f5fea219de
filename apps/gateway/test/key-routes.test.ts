import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { type Answer, KEY, newInstance, startGateway, type TestGateway } from './harness.ts'

const BIN = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))

type Call = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Record<string, string>,
) => Promise<Answer>

/** Calls with another key. */
function callerWith(gateway: TestGateway, key: string): Call {
  return (method, path, body, headers = {}) =>
    gateway.call(method, path, body, { authorization: `Bearer ${key}`, ...headers })
}

async function keyFor(gateway: TestGateway, tenant: string, more: object): Promise<string> {
  const made = await gateway.call('POST', `/v1/tenants/${tenant}/keys`, { name: 'test', ...more })
  assert.equal(made.status, 201, made.text)
  return String(made.body['key'])
}

async function auditOf(
  gateway: TestGateway,
  path = '/v1/audit',
): Promise<readonly Record<string, unknown>[]> {
  return (await gateway.call('GET', path)).body['items'] as readonly Record<string, unknown>[]
}

test('a key is told once, lists and shows without its secret, rotates and ends', async (t) => {
  const gateway = await startGateway(t)
  await newInstance(gateway)
  const made = await gateway.call('POST', '/v1/tenants/acme/keys', {
    name: 'shop',
    scopes: ['send', 'read'],
    addresses: ['127.0.0.0/8', '::1'],
    expiresAt: '2100-01-01T00:00:00Z',
  })
  assert.equal(made.status, 201)
  const { key, ...view } = made.body
  assert.match(String(key), /^ecl_[0-9a-z]{8}_[0-9A-Za-z_-]{43}$/)
  assert.deepEqual(
    { ...view, createdAt: '' },
    {
      id: String(key).slice(4, 12),
      name: 'shop',
      tenant: 'acme',
      scopes: ['read', 'send'],
      instances: null,
      addresses: ['127.0.0.0/8', '::1'],
      origin: 'made',
      madeBy: 'preset',
      createdAt: '',
      expiresAt: '2100-01-01T00:00:00.000Z',
      lastUsedAt: null,
    },
  )
  const theirs = callerWith(gateway, String(key))
  assert.equal((await theirs('GET', '/v1/instances')).status, 200)
  const listed = await gateway.call('GET', '/v1/tenants/acme/keys')
  assert.ok(!listed.text.includes(String(key).slice(-43)))
  assert.equal((await gateway.call('GET', `/v1/keys/${String(view['id'])}`)).body['name'], 'shop')
  const rotated = await gateway.call('POST', `/v1/keys/${String(view['id'])}/rotate`, { overlapMs: 60_000 })
  assert.equal(rotated.status, 201)
  const fresh = callerWith(gateway, String(rotated.body['key']))
  assert.equal((await fresh('GET', '/v1/instances')).status, 200)
  assert.equal((await theirs('GET', '/v1/instances')).status, 200)
  assert.equal((await gateway.call('DELETE', `/v1/keys/${String(view['id'])}`)).status, 204)
  assert.equal((await theirs('GET', '/v1/instances')).status, 401)
  assert.equal((await fresh('GET', '/v1/instances')).status, 200)
  await gateway.restart()
  assert.equal((await fresh('GET', '/v1/instances')).status, 200)
  assert.equal((await theirs('GET', '/v1/instances')).status, 401)
})

test('a route without the scope of the key is 403 and names it', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const theirs = callerWith(gateway, await keyFor(gateway, 'acme', { scopes: ['read'] }))
  const answer = await theirs('POST', `/v1/instances/${id}/messages`, { to: '+5511999990000', text: 'x' })
  assert.equal(answer.status, 403)
  assert.equal(answer.headers.get('content-type'), 'application/problem+json; charset=utf-8')
  assert.equal(answer.body['code'], 'GATEWAY_SCOPE_MISSING')
  assert.match(String(answer.body['detail']), /lacks the scope "send"$/)
})

test("a tenant's key neither resumes proactive messages nor sees or allows paused texts", async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const scopes = ['read', 'send', 'control', 'queue', 'flow', 'settings', 'app', 'erase', 'admin']
  const theirs = callerWith(gateway, await keyFor(gateway, 'acme', { scopes }))
  for (const [method, path] of [
    ['POST', `/v1/instances/${id}/queue/resume-proactive`],
    ['GET', '/v1/paused-texts'],
    ['POST', '/v1/paused-texts/abc/allow'],
    ['PUT', `/v1/instances/${id}/limits`],
    ['GET', '/v1/memory'],
    ['GET', '/v1/audit/check'],
  ] as const) {
    const answer = await theirs(method, path, method === 'PUT' ? {} : undefined)
    assert.equal(answer.status, 403, `${method} ${path}`)
    assert.equal(answer.body['code'], 'GATEWAY_FORBIDDEN')
  }
  assert.equal((await gateway.call('POST', `/v1/instances/${id}/queue/resume-proactive`)).status, 200)
})

test('a key for some instances reaches nothing of the others, and nothing that is not about instances', async (t) => {
  const gateway = await startGateway(t)
  const mine = await newInstance(gateway)
  const other = await newInstance(gateway)
  const theirs = callerWith(
    gateway,
    await keyFor(gateway, 'acme', { scopes: ['read', 'send', 'queue'], instances: [mine] }),
  )
  const message = { to: '+5511999990000', text: 'x' }
  const ofMine = await theirs('POST', `/v1/instances/${mine}/messages`, message)
  assert.equal(ofMine.status, 202)
  const { body: ofOther } = await gateway.call('POST', `/v1/instances/${other}/messages`, message)
  assert.equal((await theirs('POST', `/v1/instances/${other}/messages`, message)).status, 404)
  assert.equal((await theirs('GET', `/v1/messages/${String(ofOther['id'])}`)).status, 404)
  assert.equal((await theirs('DELETE', `/v1/messages/${String(ofOther['id'])}`)).status, 404)
  assert.equal((await theirs('GET', `/v1/messages/${String(ofMine.body['id'])}`)).status, 200)
  const ids = async (path: string): Promise<readonly unknown[]> =>
    ((await theirs('GET', path)).body['items'] as readonly Record<string, unknown>[]).map(
      (item) => item['instance'] ?? item['id'],
    )
  assert.deepEqual(await ids('/v1/instances'), [mine])
  assert.deepEqual(await ids('/v1/messages'), [mine])
  assert.deepEqual(await ids('/v1/queue'), [mine])
  const wide = await theirs('GET', '/v1/tenants/acme/contacts')
  assert.equal(wide.status, 403)
  assert.match(String(wide.body['detail']), /made for some instances/)
  await newInstance(gateway, 'globex')
  const bad = await gateway.call('POST', '/v1/tenants/globex/keys', {
    name: 'x',
    scopes: ['read'],
    instances: [mine],
  })
  assert.equal(bad.body['field'], 'instances.0')
})

test('a key for some addresses believes only the proxies that were named', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_TRUSTED_PROXIES: '127.0.0.1' })
  await newInstance(gateway)
  const key = await keyFor(gateway, 'acme', { scopes: ['read'], addresses: ['10.0.0.0/8'] })
  const theirs = callerWith(gateway, key)
  const from = (address: string): Promise<Answer> =>
    theirs('GET', '/v1/instances', undefined, { 'x-forwarded-for': address })
  assert.equal((await from('10.1.2.3')).status, 200)
  assert.equal((await from('11.0.0.1')).status, 403)
  // The last hop that is not a proxy counts, not what the client put before it.
  assert.equal((await from('10.1.2.3, 11.0.0.1')).status, 403)
  assert.equal((await theirs('GET', '/v1/instances')).status, 403)
})

test('nobody is believed about their address unless it is said who may be', async (t) => {
  const gateway = await startGateway(t)
  await newInstance(gateway)
  const key = await keyFor(gateway, 'acme', { scopes: ['read'], addresses: ['10.0.0.0/8'] })
  const forged = { 'x-forwarded-for': '10.1.2.3' }
  assert.equal((await callerWith(gateway, key)('GET', '/v1/instances', undefined, forged)).status, 403)
})

test('bad keys are refused by name', async (t) => {
  const gateway = await startGateway(t)
  await newInstance(gateway)
  const cases: readonly (readonly [object, string])[] = [
    [{ scopes: ['read'] }, 'name'],
    [{ name: 'a\u0000b', scopes: ['read'] }, 'name'],
    [{ name: 'x' }, 'scopes'],
    [{ name: 'x', scopes: [] }, 'scopes'],
    [{ name: 'x', scopes: ['everything'] }, 'scopes.0'],
    [{ name: 'x', scopes: ['read'], addresses: ['10.0.0.0/33'] }, 'addresses.0'],
    [{ name: 'x', scopes: ['read'], addresses: ['0.0.0.0/0'] }, 'addresses.0'],
    [{ name: 'x', scopes: ['read'], addresses: ['here'] }, 'addresses.0'],
    [{ name: 'x', scopes: ['read'], instances: ['ins_00000000000000000000'] }, 'instances.0'],
    [{ name: 'x', scopes: ['read'], expiresAt: '2001-01-01T00:00:00Z' }, 'expiresAt'],
    [{ name: 'x', scopes: ['read'], tenant: 'globex' }, 'tenant'],
  ]
  for (const [body, field] of cases) {
    const answer = await gateway.call('POST', '/v1/tenants/acme/keys', body)
    assert.equal(answer.status, 400, JSON.stringify(body))
    assert.equal(answer.body['field'], field)
  }
})

test('an act of control stands in the audit log before it is done, and one that failed is taken back', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const path = `/v1/instances/${id}`
  const paused = await gateway.call('POST', `${path}/queue/pause`)
  await gateway.call('POST', `${path}/chats/${encodeURIComponent('+5511999990000')}/pause`)
  const missing = await gateway.call('DELETE', '/v1/messages/msg_00000000099')
  await gateway.call('PUT', `${path}/pacing`, { enabled: false })
  await gateway.call('POST', '/v1/tenants/acme/ledger', {
    entries: [{ contact: '+5511999990000', kind: 'opt_in', proof: 'said so' }],
  })
  // Reading and sending are no acts of control.
  await gateway.call('GET', path)
  await gateway.call('POST', `${path}/messages`, { to: '+5511999990000', text: 'secret words' })
  const entries = await auditOf(gateway)
  assert.deepEqual(
    entries.map(({ action, outcome, tenant }) => ({ action, outcome, tenant })),
    [
      { action: 'ledger.recorded', outcome: 'intended', tenant: 'acme' },
      { action: 'pacing.changed', outcome: 'intended', tenant: 'acme' },
      { action: 'DELETE /v1/messages/:id', outcome: 'failed', tenant: '*' },
      { action: 'DELETE /v1/messages/:id', outcome: 'intended', tenant: '*' },
      { action: 'POST /v1/instances/:id/chats/:chat/pause', outcome: 'intended', tenant: 'acme' },
      { action: 'POST /v1/instances/:id/queue/pause', outcome: 'intended', tenant: 'acme' },
      { action: 'POST /v1/tenants/:tenant/instances', outcome: 'intended', tenant: 'acme' },
      { action: 'tenant.made', outcome: 'done', tenant: 'main' },
      { action: 'tenant.made', outcome: 'done', tenant: 'acme' },
    ],
  )
  const [ledger, pacing, failed, , chat, pause] = entries
  assert.equal(pause?.['key'], 'preset')
  assert.equal(pause?.['requestId'], paused.headers.get('x-request-id'))
  assert.match(String(pause?.['addressHash']), /^[0-9a-f]{10}$/)
  assert.deepEqual(pause?.['object'], { id })
  assert.deepEqual(pacing?.['before'], {})
  assert.deepEqual(pacing?.['after'], { enabled: false })
  assert.deepEqual(failed?.['after'], { status: 404, code: 'MESSAGE_FORGOTTEN' })
  assert.equal(failed?.['requestId'], missing.headers.get('x-request-id'))
  assert.match(JSON.stringify([ledger, chat]), /"contact":"hash:[0-9a-f]{10}","kind":"opt_in"/)
  const all = JSON.stringify(entries)
  for (const hidden of ['99999', 'said so', 'secret words', '127.0.0.1', KEY])
    assert.ok(!all.includes(hidden))
  const { body } = await gateway.call('GET', '/v1/audit/check')
  assert.deepEqual(body, { entries: 9, brokenAt: null })
})

test('who sends an urgent message that nobody asked for stands in the audit log', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const to = '+5511999990000'
  await gateway.call('POST', '/v1/tenants/acme/ledger', { entries: [{ contact: to, kind: 'consent' }] })
  const key = await keyFor(gateway, 'acme', { scopes: ['send'] })
  const theirs = callerWith(gateway, key)
  const urgent = {
    to,
    text: 'secret words',
    purpose: 'proactive',
    priority: 'urgent',
    reason: 'flood warning',
  }
  const sent = await theirs('POST', `/v1/instances/${id}/messages`, urgent)
  assert.equal(sent.status, 202, sent.text)
  await theirs('POST', `/v1/instances/${id}/messages`, { to, text: 'as ever' })
  const [entry, before] = await auditOf(gateway)
  assert.equal(entry?.['action'], 'message.urgent')
  assert.equal(entry?.['key'], key.slice(4, 12))
  assert.equal(entry?.['tenant'], 'acme')
  assert.equal(entry?.['requestId'], sent.headers.get('x-request-id'))
  assert.match(JSON.stringify(entry?.['after']), /^\{"to":\["hash:[0-9a-f]{10}"\]\}$/)
  assert.equal(before?.['action'], 'key.made')
})

test('the audit log comes in pages, and a tenant sees what was done to it', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  await newInstance(gateway, 'globex')
  const key = await keyFor(gateway, 'acme', { scopes: ['admin'] })
  await gateway.call('POST', `/v1/instances/${id}/queue/pause`)
  const first = await gateway.call('GET', '/v1/audit?limit=4')
  const rest = await gateway.call('GET', `/v1/audit?limit=4&before=${String(first.body['next'])}`)
  const seqs = [first, rest].flatMap(({ body }) => (body['items'] as { seq: number }[]).map(({ seq }) => seq))
  assert.deepEqual(seqs, [6, 5, 4, 3, 2, 1])
  assert.equal(rest.body['next'], null)
  const theirs = (await callerWith(gateway, key)('GET', '/v1/audit')).body['items'] as { action: string }[]
  assert.deepEqual(
    theirs.map(({ action }) => action),
    ['POST /v1/instances/:id/queue/pause', 'key.made', 'POST /v1/tenants/:tenant/instances', 'tenant.made'],
  )
  assert.equal((await callerWith(gateway, key)('GET', '/v1/tenants/globex/audit')).status, 403)
  assert.equal((await auditOf(gateway, '/v1/tenants/globex/audit')).length, 1)
})

test('keys are made, listed, rotated and ended from the command line', async (t) => {
  const gateway = await startGateway(t)
  await newInstance(gateway)
  const eclusa = (...args: readonly string[]): Promise<string> =>
    new Promise((resolve) => {
      const to = ['--url', gateway.app.url, '--key', KEY]
      execFile(process.execPath, [BIN, ...args, ...to], (_, out, err) => resolve(`${out}${err}`))
    })
  const made = await eclusa('keys', 'create', '--tenant', 'acme', '--name', 'shop', '--scopes', 'read,send')
  const [, id = '', key = ''] =
    /(\w{8}) {2}acme {2}shop {2}read,send {2}never used\n(ecl_\S{52})\n/.exec(made) ?? []
  assert.match(made, /This is the only time it is shown/)
  assert.equal((await callerWith(gateway, key)('GET', '/v1/instances')).status, 200)
  assert.match(await eclusa('keys', 'list'), /preset {2}\(operator\)[\s\S]*acme {2}shop {2}read,send {2}used/)
  assert.match(await eclusa('keys', 'rotate', id, '--overlap', '5'), new RegExp(`\n${id} works until 20`))
  assert.match(await eclusa('keys', 'revoke', id), /is no key any more/)
  assert.equal((await callerWith(gateway, key)('GET', '/v1/instances')).status, 401)
  assert.match(
    await eclusa('keys', 'create', '--name', 'x', '--scopes', 'all'),
    /scopes\.0 must be one of read/,
  )
  assert.match(await eclusa('audit', 'list', '--limit', '1'), /^\d+ {2}\S+ {2}acme {2}preset {2}key\.revoked/)
  assert.match(await eclusa('audit', 'check'), /all 6 entries are as they were written/)
})
