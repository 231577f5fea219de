import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createRawServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { EclusaError, KIB } from '@eclusa/kernel'
import { codeOf, ManualClock, until } from '@eclusa/kernel/test-kit'
import { ALLOW_NOTHING, type AllowList, parseAllowList } from '../../src/guarded-http/allow-list.ts'
import { GuardedHttp, type GuardedLimits, type Resolve } from '../../src/guarded-http/guarded-http.ts'
import { readTarget, refusalOfAnswers } from '../../src/guarded-http/target.ts'

interface Corpus {
  readonly allow: string
  /** What the names lead to. */
  readonly names: Readonly<Record<string, readonly string[]>>
  readonly allowed: Readonly<Record<string, readonly string[]>>
  /** By the word of the refusal. */
  readonly refused: Readonly<Record<string, readonly string[]>>
}

const corpus = JSON.parse(readFileSync(new URL('urls.json', import.meta.url), 'utf8')) as Corpus
const allow = allowed(corpus.allow)

test('calls what it may of the corpus, and refuses the rest for the reason that is true', () => {
  let count = 0
  const wrong: string[] = []
  for (const [verdict, urls] of Object.entries(corpus.refused)) {
    for (const url of urls) {
      count++
      const said = verdictOf(url)
      if (said !== verdict) wrong.push(`${JSON.stringify(url)}: ${String(said)} instead of ${verdict}`)
    }
  }
  for (const url of Object.values(corpus.allowed).flat()) {
    count++
    const said = verdictOf(url)
    if (said !== null) wrong.push(`${url}: ${said} instead of allowed`)
  }
  assert.deepEqual(wrong, [])
  assert.ok(count >= 120, `${count} URLs`)
})

test('refuses a URL of more than 2,048 characters', () => {
  assert.deepEqual(readTarget(`https://example.com/${'a'.repeat(2048)}`, ALLOW_NOTHING), {
    refused: 'tooLong',
  })
})

test('never calls a metadata server, also when the allow list covers it', () => {
  const wide = allowed('0.0.0.0/0,::/0,metadata.google.internal,169.254.169.254,crm.example')
  for (const url of corpus.refused['metadata'] ?? []) assert.equal(verdictOf(url, wide), 'metadata', url)
  const target = readTarget('https://crm.example/', wide)
  assert.ok('url' in target)
  assert.equal(refusalOfAnswers(target, ['169.254.169.254'], wide), 'metadata')
})

test('refuses an allow list that it cannot read', () => {
  for (const text of [
    'a b',
    'http://crm',
    'user@crm',
    'crm/path',
    '10.0.0.0/99',
    'crm:99999',
    '[::1',
    '*.crm?',
  ])
    assert.ok('fault' in parseAllowList(text), text)
  assert.ok('fault' in parseAllowList(Array.from({ length: 101 }, (_, n) => `crm${n}`).join(',')))
  assert.deepEqual(parseAllowList(' , '), ALLOW_NOTHING)
})

test('connects to the address that was judged, although the name leads elsewhere when it is asked again', async (t) => {
  const { port, hits } = await serverOf(t, (_request, response) => response.end('{}'))
  const inside = await serverOf(t, (_request, response) => response.end('secret'))
  let asked = 0
  const http = clientOf(`rebinds.example:${port}`, {
    // A name server of an attacker: a good answer for the guard, then the inside for the connection.
    resolve: async () => [{ address: asked++ === 0 ? '127.0.0.1' : '127.0.0.2' }],
  })
  assert.equal((await http.send({ url: `http://rebinds.example:${port}/`, method: 'GET' })).status, 200)
  assert.deepEqual([asked, hits(), inside.hits()], [1, 1, 0])
  // And one that leads inside at once is not called at all.
  const strict = new GuardedHttp({
    allow: ALLOW_NOTHING,
    clock: new ManualClock(),
    resolve: async () => [{ address: '127.0.0.1' }],
  })
  await refusedWith(
    strict.send({ url: 'https://rebinds.example/', method: 'GET' }),
    'HTTP_ADDRESS_REFUSED',
    'loopback',
  )
})

test('asks nobody for an address literal, and judges it', async () => {
  const http = new GuardedHttp({
    allow: ALLOW_NOTHING,
    clock: new ManualClock(),
    resolve: async () => assert.fail('asked'),
  })
  for (const host of ['127.0.0.1', '2130706433', '0x7f.1', '0', '[::ffff:127.0.0.1]', '[::1]'])
    assert.equal(await codeOf(http.send({ url: `https://${host}/`, method: 'GET' })), 'HTTP_ADDRESS_REFUSED')
})

test('sends method, headers and body, and gives status, media type and body back', async (t) => {
  let seen: { method?: string | undefined; headers: IncomingMessage['headers']; body: string } | null = null
  const { port } = await serverOf(t, async (request, response) => {
    let body = ''
    for await (const part of request) body += String(part)
    seen = { method: request.method, headers: request.headers, body }
    response.writeHead(404, { 'content-type': 'Application/JSON; charset=utf-8' }).end('{"no":1}')
  })
  const answer = await clientOf(`127.0.0.1:${port}`).send({
    url: `http://127.0.0.1:${port}/x`,
    method: 'POST',
    headers: { 'x-api-key': 'k', 'content-type': 'application/json' },
    body: '{"a":"é"}',
    accept: ['application/json'],
  })
  assert.deepEqual(
    { ...answer, body: Buffer.from(answer.body).toString() },
    {
      status: 404,
      mediaType: 'application/json',
      body: '{"no":1}',
    },
  )
  assert.deepEqual(
    [
      seen!.method,
      seen!.body,
      seen!.headers['x-api-key'],
      seen!.headers['accept-encoding'],
      seen!.headers.connection,
    ],
    ['POST', '{"a":"é"}', 'k', 'identity', 'close'],
  )
})

test('follows no redirect, takes nothing packed, and no other media type', async (t) => {
  const { port, hits } = await serverOf(t, ({ url }, response) => {
    if (url === '/redirect') response.writeHead(302, { location: '/' }).end()
    else if (url === '/packed') response.writeHead(200, { 'content-encoding': 'gzip' }).end('x')
    else response.writeHead(200, { 'content-type': 'text/html' }).end('<p>')
  })
  const http = clientOf(`127.0.0.1:${port}`)
  const call = (path: string) =>
    http.send({ url: `http://127.0.0.1:${port}${path}`, method: 'GET', accept: ['application/json'] })
  await refusedWith(call('/redirect'), 'HTTP_ANSWER_REFUSED', 'redirect')
  await refusedWith(call('/packed'), 'HTTP_ANSWER_REFUSED', 'encoded')
  await refusedWith(call('/html'), 'HTTP_ANSWER_REFUSED', 'mediaType')
  assert.equal(hits(), 3)
})

test('reads no more than its limit of an answer, announced or not, nor of its headers', async (t) => {
  const { port } = await serverOf(t, ({ url }, response) => {
    if (url === '/announced') response.writeHead(200, { 'content-length': String(65 * KIB) }).write('x')
    else if (url === '/headers') response.writeHead(200, { 'x-large': 'x'.repeat(17 * KIB) }).end()
    else {
      // Without end: whoever reads on never stops.
      const more = (): boolean => response.write('x'.repeat(8 * KIB)) && setImmediate(more) !== null
      response.on('drain', more)
      more()
    }
  })
  const http = clientOf(`127.0.0.1:${port}`)
  const call = (path: string) => http.send({ url: `http://127.0.0.1:${port}${path}`, method: 'GET' })
  await refusedWith(call('/announced'), 'HTTP_ANSWER_TOO_LARGE', 'announced')
  await refusedWith(call('/endless'), 'HTTP_ANSWER_TOO_LARGE', 'read')
  await refusedWith(call('/headers'), 'HTTP_UNREACHABLE', 'connection')
})

test('sends no body above its limit, and no header that steers the connection', async () => {
  const http = clientOf('crm.example')
  const call = (more: object) => http.send({ url: 'https://crm.example/', method: 'POST', ...more })
  await refusedWith(call({ body: 'x'.repeat(16 * KIB + 1) }), 'HTTP_REQUEST_REFUSED', 'bodyTooLarge')
  for (const name of [
    'host',
    'Host',
    'content-length',
    'transfer-encoding',
    'connection',
    'proxy-authorization',
  ])
    await refusedWith(call({ headers: { [name]: 'x' } }), 'HTTP_REQUEST_REFUSED', 'ownHeader')
  await refusedWith(call({ headers: { 'x-a': 'b\r\nhost: c' } }), 'HTTP_REQUEST_REFUSED', 'badHeader')
  await refusedWith(call({ headers: { 'x a': 'b' } }), 'HTTP_REQUEST_REFUSED', 'badHeader')
})

test('gives up on a name, a connection, headers or a body that take too long', async (t) => {
  const silent = createRawServer(() => {})
  const silentPort = await listening(t, silent)
  const { port } = await serverOf(t, (_request, response) => response.writeHead(200).write('begun'))
  const clock = new ManualClock()
  const names = clientOf('slow.example', { clock, resolve: () => new Promise(() => {}) })
  const call = async (work: Promise<unknown>, waited: Promise<unknown>, ms: number, reason: string) => {
    const refused = refusedWith(work, 'HTTP_DEADLINE_PASSED', reason)
    await waited
    await clock.tick(ms)
    await refused
    assert.equal(clock.pendingTimers, 0)
  }
  await call(names.send({ url: 'http://slow.example/', method: 'GET' }), Promise.resolve(), 5000, 'connect')
  const headers = clientOf(`127.0.0.1:${silentPort}`, { clock })
  const connected = new Promise((resolve) => silent.once('connection', resolve)).then(() =>
    until(() => clock.pendingTimers === 2, 'connected'),
  )
  await call(
    headers.send({ url: `http://127.0.0.1:${silentPort}/`, method: 'GET' }),
    connected,
    8000,
    'headers',
  )
  const total = clientOf(`127.0.0.1:${port}`, { clock })
  const work = total.send({ url: `http://127.0.0.1:${port}/`, method: 'GET' })
  await call(
    work,
    until(() => clock.pendingTimers === 1, 'the answer has begun'),
    10_000,
    'total',
  )
})

test('ends a call when its signal aborts, and says when a server is not there', async (t) => {
  const { port } = await serverOf(t, () => {})
  const http = clientOf(`127.0.0.1:${port},127.0.0.1:9,gone.example`, {
    resolve: async () => Promise.reject(new Error('ENOTFOUND')),
  })
  const abort = new AbortController()
  const work = http.send({ url: `http://127.0.0.1:${port}/`, method: 'GET', signal: abort.signal })
  abort.abort()
  await refusedWith(work, 'HTTP_UNREACHABLE', 'stopped')
  await refusedWith(
    http.send({ url: 'http://127.0.0.1:9/', method: 'GET' }),
    'HTTP_UNREACHABLE',
    'connection',
  )
  await refusedWith(
    http.send({ url: 'http://gone.example/', method: 'GET' }),
    'HTTP_UNREACHABLE',
    'nameUnknown',
  )
})

test('makes no more calls at a time than its limit, and keeps no more waiting', async (t) => {
  const answers: ServerResponse[] = []
  const { port } = await serverOf(t, (_request, response) => answers.push(response))
  const http = clientOf(`127.0.0.1:${port}`, { limits: { maxCalls: 2, maxWaiting: 1 } })
  const call = () => http.send({ url: `http://127.0.0.1:${port}/`, method: 'GET' })
  const calls = [call(), call(), call()]
  await refusedWith(call(), 'HTTP_BUSY', 'tooManyWaiting')
  await until(() => answers.length === 2, 'two are under way')
  for (const answer of answers) answer.end()
  await until(() => answers.length === 3, 'the third has its turn')
  answers[2]!.end()
  assert.deepEqual(
    (await Promise.all(calls)).map(({ status }) => status),
    [200, 200, 200],
  )
})

function verdictOf(url: string, permitted: AllowList = allow): string | null {
  const target = readTarget(url, permitted)
  if ('refused' in target) return target.refused
  const answers = target.isAddress ? [target.host] : corpus.names[target.host]
  assert.ok(answers !== undefined, `${url} leads to ${target.host}, which the corpus does not name`)
  return refusalOfAnswers(target, answers, permitted)
}

function allowed(text: string): AllowList {
  const parsed = parseAllowList(text)
  assert.ok(!('fault' in parsed))
  return parsed
}

function clientOf(
  permitted: string,
  options: { clock?: ManualClock; resolve?: Resolve; limits?: Partial<GuardedLimits> } = {},
): GuardedHttp {
  return new GuardedHttp({ allow: allowed(permitted), clock: new ManualClock(), ...options })
}

async function refusedWith(work: Promise<unknown>, code: string, reason: string): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof EclusaError, String(error))
    assert.deepEqual([error.code, error.details['reason']], [code, reason])
    return true
  })
}

async function serverOf(
  t: TestContext,
  answer: (request: IncomingMessage, response: ServerResponse) => unknown,
): Promise<{ port: number; hits: () => number }> {
  let hits = 0
  const server = createServer((request, response) => {
    hits++
    void answer(request, response)
  })
  return { port: await listening(t, server), hits: () => hits }
}

async function listening(
  t: TestContext,
  server: Server | ReturnType<typeof createRawServer>,
): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    if ('closeAllConnections' in server) server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
