import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Agent, request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { KEY, newInstance, startGateway, type TestGateway } from './harness.ts'

/** Ways out of a folder, as they are written and encoded; device names; names that JavaScript objects have. */
const ESCAPES: readonly string[] = [
  ...['', '/', './', '%2e/', '..;/'].flatMap((lead) =>
    [
      '../',
      '..%2f',
      '..%2F',
      '%2e%2e/',
      '%2e%2e%2f',
      '%2E%2E%2F',
      '..\\',
      '..%5c',
      '..%255c',
      '%252e%252e%252f',
    ].map((up) => `${lead}${up.repeat(6)}etc/passwd`),
  ),
  '....//....//etc/passwd',
  '..../etc/passwd',
  '..%c0%af..%c0%afetc/passwd',
  '%c0%ae%c0%ae/etc/passwd',
  '%uff0e%uff0e/etc/passwd',
  '\u2025/\u2025/etc/passwd',
  '..%00/etc/passwd',
  '%00',
  'x%00.png',
  '.%00.',
  'file:///etc/passwd',
  'file:%2f%2f%2fetc%2fpasswd',
  '/etc/passwd',
  '//etc/passwd',
  '\\\\localhost\\c$\\x',
  'C:%5cWindows%5cwin.ini',
  'CON',
  'NUL',
  'aux.json',
  'COM1',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  '__defineGetter__',
  '~root/.ssh/id_rsa',
  '$HOME',
  '${HOME}',
  '.env',
  '.git/config',
  'package.json',
  '%',
  '%2',
  '%zz',
  '..',
  '.',
  '%2e',
  '%2e%2e',
  '*',
  '?',
  ';',
  ':',
  '@',
  '#',
].map((text) => encodeURI(text).replaceAll('%25', '%'))

const agent = new Agent({ keepAlive: true, maxSockets: 16 })

/** Exactly this address: nothing of it is resolved on the way, as other clients do. */
function ask(
  gateway: TestGateway,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(new URL(gateway.app.url), { agent, method, path, headers }, (response) => {
      let text = ''
      response.setEncoding('latin1')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    request.on('error', reject)
    request.on('close', () => reject(new Error(`${method} ${path} ends without an answer`)))
    request.end(body)
  })
}

test('no way out of a folder leads anywhere, in any part of any address', async (t) => {
  assert.ok(ESCAPES.length >= 80)
  const gateway = await startGateway(t)
  const secrets = [
    /root:.*:0:0:/,
    /"name": "(?:eclusa|@fastify)/,
    new RegExp(
      RegExp.escape(
        readFileSync(join(gateway.folder, 'data', 'eclusa.db'))
          .subarray(0, 15)
          .toString('latin1'),
      ),
    ),
  ]
  const places = [
    ...new Set(
      gateway.app.routes
        .filter(({ method }) => method === 'GET')
        .flatMap(({ path }) =>
          [...path.matchAll(/:\w+|\*/g)].map(([hole]) =>
            path.replace(hole, '{}').replaceAll(/:\w+/g, 'acme'),
          ),
        ),
    ),
    '/{}',
    '/docs/static/{}',
    '/docs/{}',
    '/assets/{}',
  ]
  const asked = places.flatMap((place) => ESCAPES.map((escape) => place.replace('{}', escape)))
  let count = 0
  const worker = async (): Promise<void> => {
    for (let path = asked.pop(); path !== undefined; path = asked.pop()) {
      const { status, text } = await ask(gateway, 'GET', path, { authorization: `Bearer ${KEY}` })
      count++
      // The dashboard need not be built for the tests, and says so.
      const isNotBuilt = status === 503 && text.includes('dashboard is not built')
      assert.ok(isNotBuilt || (status < 500 && status >= 200), `${status} ${path}: ${text.slice(0, 200)}`)
      for (const secret of secrets) assert.doesNotMatch(text, secret, path)
    }
  }
  await Promise.all(Array.from({ length: 16 }, worker))
  assert.ok(count > 2000, `${count} addresses were asked for`)
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
})

/** What servers were made to parse a body unchecked with. */
const CONTENT_TYPES: readonly string[] = [
  'application/json ; charset=utf-8',
  'application/json;',
  'application/json;charset',
  'application/json\t',
  'application/json\u00a0',
  ' application/json',
  'APPLICATION/JSON',
  'application/json; application/x',
  'application/json,application/json',
  'application/json;charset=utf-7',
  'application/vnd.x+json',
  'application/jsonx',
  'application/json/x',
  'text/json',
  'application/json; boundary=x',
  'application/x-ndjson',
  'text/csv',
  '*/*',
  'json',
]

test('no header makes an unchecked body pass, another method count, or another tenant speak', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const path = `/v1/instances/${id}/messages`
  const authorization = `Bearer ${KEY}`
  const wrong = JSON.stringify({ to: '+5511999990000', text: 'Hello', tenant: 'other' })
  for (const type of CONTENT_TYPES) {
    const { status, text } = await ask(gateway, 'POST', path, { authorization, 'content-type': type }, wrong)
    assert.ok([400, 415].includes(status), `${type}: ${status} ${text}`)
  }
  const tricks: readonly Record<string, string>[] = [
    { 'x-http-method-override': 'DELETE' },
    { 'x-http-method': 'DELETE' },
    { 'x-method-override': 'DELETE' },
    { 'x-original-url': `/v1/instances/${id}/logout` },
    { 'x-rewrite-url': `/v1/instances/${id}/logout` },
    { 'x-forwarded-host': 'evil.example' },
    { 'x-forwarded-for': '127.0.0.1' },
    { 'x-forwarded-proto': 'https, http' },
    { 'x-tenant': 'other', 'x-tenant-id': 'other' },
    { forwarded: 'for=127.0.0.1;host=evil.example' },
    { host: 'evil.example' },
    { expect: '100-continue' },
    { te: 'trailers', 'accept-encoding': 'x'.repeat(4000) },
    { accept: `${'a/b,'.repeat(3000)}*/*` },
    { cookie: 'a=b; '.repeat(1000) },
    { 'if-match': '"x"', 'last-event-id': '../../x' },
  ]
  for (const headers of tricks) {
    const { status, text } = await ask(gateway, 'GET', `/v1/instances/${id}`, { authorization, ...headers })
    assert.equal(status, 200, JSON.stringify(headers))
    assert.doesNotMatch(text, /evil|logged_out/)
    assert.equal(
      (await ask(gateway, 'GET', `/v1/instances/${id}`, headers)).status,
      401,
      'nobody comes in by it',
    )
  }
  for (const bad of [
    '',
    'Bearer',
    `Bearer ${KEY},x`,
    `Bearer ${KEY} x`,
    `Token ${KEY}`,
    KEY,
    `Bearer ${KEY.slice(1)}`,
  ]) {
    assert.equal((await ask(gateway, 'GET', '/v1/instances', { authorization: bad })).status, 401, bad)
  }
  const large = await ask(gateway, 'GET', '/v1/instances', { authorization, 'x-large': 'x'.repeat(20_000) })
  assert.equal(large.status, 431)
  assert.equal((await gateway.call('GET', '/v1/messages')).text, '{"items":[],"next":null}')
})

test('every address tells its methods, and refuses others by name', async (t) => {
  const gateway = await startGateway(t)
  const byPath = Map.groupBy(
    gateway.app.routes.filter(({ path }) => !path.includes('*')),
    ({ path }) => path,
  )
  assert.ok(byPath.size > 80)
  for (const [path, routes] of byPath) {
    const address = path.replaceAll(/:\w+/g, 'acme')
    // Two patterns may fit one address.
    const told = await gateway.raw('OPTIONS', address, {})
    assert.equal(told.status, 204, address)
    assert.equal(told.headers.get('access-control-allow-origin'), null)
    const allowed = (told.headers.get('allow') ?? '').split(', ')
    for (const { method } of routes) assert.ok(allowed.includes(method), `${address} has ${method}`)
    const other = ['PUT', 'PATCH', 'DELETE', 'POST'].find((method) => !allowed.includes(method))
    if (other === undefined) continue
    const refused = await gateway.raw(other, address, { authorization: `Bearer ${KEY}` })
    assert.equal(refused.status, 405, `${other} ${address}`)
    assert.equal(refused.body['code'], 'GATEWAY_METHOD_NOT_ALLOWED')
    assert.equal(refused.headers.get('allow'), allowed.join(', '))
  }
})

test('no route takes a parameter or a field that it does not know', async (t) => {
  const gateway = await startGateway(t)
  const routes = gateway.app.routes.filter(({ method, hidden }) => method !== 'HEAD' && !hidden)
  for (const { method, path } of routes) {
    const address = path.replaceAll(/:\w+/g, 'acme')
    const query = await gateway.call(method, `${address}?unheard=1`, method === 'GET' ? undefined : {})
    // Some are refused for what else is wrong with them; nothing is done in any case.
    assert.ok(query.status >= 400 && query.status < 500, `${method} ${address}: ${query.status}`)
    if (query.body['field'] === 'unheard') continue
    assert.equal(query.status, 400, `${method} ${address}: ${query.text}`)
  }
})
