import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { type ClientOptions, WebSocket } from 'ws'
import { type Answer, KEY, newInstance, startGateway, type TestGateway } from './harness.ts'

function assertProblem(answer: Answer, status: number, code: string, field: string | null): void {
  assert.equal(answer.status, status, answer.text)
  assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/)
  const { type, title, detail, requestId } = answer.body
  assert.equal(answer.body['status'], status)
  assert.equal(answer.body['code'], code)
  assert.equal(answer.body['field'], field)
  assert.equal(type, `urn:eclusa:error:${code}`)
  assert.equal(requestId, answer.headers.get('x-request-id'))
  for (const sentence of [title, detail]) assert.ok(typeof sentence === 'string' && sentence.length > 5)
}

/** Messages on disk, whatever the API says: each accepted one is an event. */
async function acceptedCount(gateway: TestGateway): Promise<number> {
  const abort = new AbortController()
  const response = await fetch(`${gateway.app.url}/v1/events?after=0`, {
    headers: { accept: 'text/event-stream', authorization: `Bearer ${KEY}` },
    signal: abort.signal,
  })
  // One more event marks the end of what there is.
  await newInstanceEvent(gateway)
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array)
    if (text.includes('event: session.changed')) break
  }
  abort.abort()
  return text.match(/^event: outbound\.accepted$/gm)?.length ?? 0
}

async function newInstanceEvent(gateway: TestGateway): Promise<void> {
  const id = await newInstance(gateway, 'marker')
  await gateway.call('POST', `/v1/instances/${id}/start`)
}

test('instances: made, listed, shown and deleted', async (t) => {
  const gateway = await startGateway(t)
  const made = await gateway.call('POST', '/v1/tenants/acme/instances', { name: 'Front desk' })
  assert.equal(made.status, 201)
  assert.deepEqual(Object.keys(made.body).toSorted(), ['id', 'state'])
  assert.equal(made.body['state'], 'new')
  const path = `/v1/instances/${String(made.body['id'])}`
  assert.equal(made.headers.get('location'), path)
  const shown = await gateway.call('GET', path)
  assert.equal(shown.status, 200)
  assert.deepEqual(
    { ...shown.body, since: 0, createdAt: 0 },
    {
      id: made.body['id'],
      tenant: 'acme',
      name: 'Front desk',
      simulated: false,
      state: 'new',
      since: 0,
      number: null,
      reason: null,
      createdAt: 0,
    },
  )
  const listed = await gateway.call('GET', '/v1/instances')
  assert.deepEqual(listed.body, { items: [shown.body] })
  assert.equal((await gateway.call('DELETE', path)).status, 204)
  assertProblem(await gateway.call('GET', path), 404, 'GATEWAY_INSTANCE_UNKNOWN', 'instance')
  assert.deepEqual((await gateway.call('GET', '/v1/instances')).body, { items: [] })
})

test('instances: started, stopped and logged out, also with an empty JSON body', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const json = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' }
  const started = await gateway.raw('POST', `/v1/instances/${id}/start`, json, '')
  assert.equal(started.status, 200)
  assert.equal(started.body['id'], id)
  assert.ok(['starting', 'reconnecting'].includes(String(started.body['state'])), started.text)
  const stopped = await gateway.raw('POST', `/v1/instances/${id}/stop`, json, '{}')
  assert.equal(stopped.body['state'], 'stopped')
  const loggedOut = await gateway.call('POST', `/v1/instances/${id}/logout`)
  assert.equal(loggedOut.status, 200)
  assert.equal(loggedOut.body['state'], 'logged_out')
})

test('a message is accepted, shown with all its fields and cancelled once', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const sent = await gateway.call('POST', `/v1/instances/${id}/messages`, {
    to: '+5511999990000',
    text: 'Hello',
  })
  assert.equal(sent.status, 202)
  assert.deepEqual(Object.keys(sent.body).toSorted(), ['id', 'state'])
  assert.equal(sent.body['state'], 'PENDING')
  const path = `/v1/messages/${String(sent.body['id'])}`
  const shown = await gateway.call('GET', path)
  assert.equal(shown.status, 200)
  assert.deepEqual(Object.keys(shown.body), [
    'id',
    'state',
    'waMessageId',
    'acceptedAt',
    'sentAt',
    'deliveredAt',
    'readAt',
    'failure',
  ])
  assert.equal(shown.body['state'], 'PENDING')
  assert.match(String(shown.body['acceptedAt']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.match(String(shown.body['waMessageId']), /^3EB0[0-9A-F]{18}$/)
  const cancelled = await gateway.call('DELETE', path)
  assert.equal(cancelled.status, 200)
  assert.equal(cancelled.body['state'], 'CANCELLED')
  assert.equal((await gateway.call('GET', path)).body['state'], 'CANCELLED')
  assertProblem(await gateway.call('DELETE', path), 409, 'QUEUE_FINISHED', null)
})

test('a number and its WhatsApp id are the same chat: one idempotency key fits both', async (t) => {
  const gateway = await startGateway(t)
  const path = `/v1/instances/${await newInstance(gateway)}/messages`
  const key = { 'idempotency-key': 'order 4711' }
  const byNumber = await gateway.call('POST', path, { to: '+5511999990000', text: 'Hello' }, key)
  const byId = await gateway.call('POST', path, { to: '5511999990000@s.whatsapp.net', text: 'Hello' }, key)
  assert.equal(byNumber.status, 202)
  assert.equal(byId.body['id'], byNumber.body['id'])
})

test('an Idempotency-Key gives the same answer to the same body, 422 to another, and ends at its instance', async (t) => {
  const gateway = await startGateway(t)
  const [one, two] = [await newInstance(gateway), await newInstance(gateway)]
  const body = { to: '+5511999990000', text: 'Hello' }
  const key = { 'idempotency-key': 'k-1' }
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => gateway.call('POST', `/v1/instances/${one}/messages`, body, key)),
  )
  const accepted = answers.filter(({ status }) => status === 202)
  // The others asked while the first was being answered.
  for (const answer of answers) {
    if (!accepted.includes(answer)) assertProblem(answer, 409, 'QUEUE_IDEMPOTENCY_IN_FLIGHT', null)
  }
  accepted.push(await gateway.call('POST', `/v1/instances/${one}/messages`, body, key))
  assert.equal(new Set(accepted.map((answer) => answer.text)).size, 1)
  const other = await gateway.call('POST', `/v1/instances/${one}/messages`, { ...body, text: 'Bye' }, key)
  assertProblem(other, 422, 'QUEUE_IDEMPOTENCY_MISMATCH', null)
  const elsewhere = await gateway.call('POST', `/v1/instances/${two}/messages`, { ...body, text: 'Bye' }, key)
  assert.equal(elsewhere.status, 202)
  assert.equal(await acceptedCount(gateway), 2)
  for (const bad of ['', 'x'.repeat(256)]) {
    const answer = await gateway.call('POST', `/v1/instances/${one}/messages`, body, {
      'idempotency-key': bad,
    })
    assertProblem(answer, 400, 'GATEWAY_BAD_REQUEST', 'idempotency-key')
  }
})

test('bad input is refused by name, and nothing is stored', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const path = `/v1/instances/${id}/messages`
  const to = '+5511999990000'
  const text = 'Hello'
  const cases: readonly (readonly [body: unknown, field: string])[] = [
    [{ to, text: '' }, 'text'],
    [{ to, text: ' \n\t ' }, 'text'],
    [{ to, text: 'a'.repeat(65_537) }, 'text'],
    [{ to, text: 7 }, 'text'],
    [{ to, text: '\ud800' }, 'text'],
    [{ to }, 'text'],
    [{ text }, 'to'],
    [{ to: 5_511_999_990_000, text }, 'to'],
    ...[
      '',
      '5511999990000',
      '+55',
      '+0511999990000',
      '+55119999900001234',
      '+999123456789',
      '+55 11 99999-0000',
      'Ana',
      '+5511 9999x0000',
      'x@y',
      '@s.whatsapp.net',
      '5511999990000@example.com',
      `${'1'.repeat(300)}@lid`,
    ].map((bad) => [{ to: bad, text }, 'to'] as const),
    [{ to, text, tenant: 'acme' }, 'tenant'],
    [{ to, text, texto: 'x' }, 'texto'],
    [[], 'body'],
    [null, 'body'],
    ['text', 'body'],
  ]
  for (const [body, field] of cases) {
    assertProblem(await gateway.call('POST', path, body), 400, 'GATEWAY_BAD_REQUEST', field)
  }
  assertProblem(await gateway.call('POST', path), 400, 'GATEWAY_BAD_REQUEST', 'body')
  assert.equal(await acceptedCount(gateway), 0)
})

test('65,536 characters are accepted, however many bytes their JSON takes', async (t) => {
  const gateway = await startGateway(t)
  const path = `/v1/instances/${await newInstance(gateway)}/messages`
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' }
  const escaped = '\\u00e9'.repeat(65_536)
  const answers = [
    await gateway.call('POST', path, { to: '+5511999990000', text: 'a'.repeat(65_536) }),
    await gateway.raw('POST', path, headers, `{"to":"+5511999990000","text":"${escaped}"}`),
  ]
  assert.deepEqual(
    answers.map((answer) => answer.status),
    [202, 202],
  )
})

test('broken JSON, another content type and a body too large are told apart', async (t) => {
  const gateway = await startGateway(t)
  const path = `/v1/instances/${await newInstance(gateway)}/messages`
  const auth = { authorization: `Bearer ${KEY}` }
  const json = { ...auth, 'content-type': 'application/json' }
  const good = '{"to":"+5511999990000","text":"Hello"}'
  for (const broken of ['{', '{"to":', 'null,', '{"to":"+5511999990000","text":"x","__proto__":{"a":1}}']) {
    assertProblem(await gateway.raw('POST', path, json, broken), 400, 'GATEWAY_BROKEN_JSON', 'body')
  }
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonp',
    'multipart/form-data; boundary=x',
  ]) {
    const answer = await gateway.raw('POST', path, { ...auth, 'content-type': type }, good)
    assertProblem(answer, 415, 'GATEWAY_UNSUPPORTED_MEDIA_TYPE', 'content-type')
  }
  const large = `{"to":"+5511999990000","text":"${'x'.repeat(1_100_000)}"}`
  assertProblem(await gateway.raw('POST', path, json, large), 413, 'GATEWAY_BODY_TOO_LARGE', 'body')
  assert.equal(await acceptedCount(gateway), 0)
})

test('without the right key there is nothing to see, on any route of the API', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const routes = gateway.app.routes.filter(({ scope, method }) => scope !== 'public' && method !== 'HEAD')
  assert.ok(routes.length > 80)
  const wrong = [
    {},
    { authorization: 'Bearer wrong' },
    { authorization: KEY },
    { authorization: `Basic ${KEY}` },
  ]
  for (const { method, path } of routes) {
    for (const headers of wrong) {
      const answer = await gateway.raw(method, path.replace(':id', id), headers)
      assertProblem(answer, 401, 'GATEWAY_UNAUTHORIZED', 'authorization')
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer')
    }
  }
  assert.equal((await gateway.call('GET', `/v1/instances/${id}`)).status, 200)
})

test('what does not exist is 404: instances, messages, routes', async (t) => {
  const gateway = await startGateway(t)
  for (const id of ['ins_00000000000000000000', 'nonsense', '..%2f..%2fetc', '__proto__']) {
    const path = `/v1/instances/${id}`
    assertProblem(await gateway.call('GET', path), 404, 'GATEWAY_INSTANCE_UNKNOWN', 'instance')
    assertProblem(
      await gateway.call('POST', `${path}/messages`, { to: '+5511999990000', text: 'x' }),
      404,
      'GATEWAY_INSTANCE_UNKNOWN',
      'instance',
    )
    assertProblem(await gateway.call('GET', `${path}/inbound`), 404, 'GATEWAY_INSTANCE_UNKNOWN', 'instance')
  }
  for (const id of ['msg_00000000099', 'msg_zzzzzzzzzzz', 'nonsense']) {
    assertProblem(await gateway.call('GET', `/v1/messages/${id}`), 404, 'MESSAGE_FORGOTTEN', 'message')
    assertProblem(await gateway.call('DELETE', `/v1/messages/${id}`), 404, 'MESSAGE_FORGOTTEN', 'message')
  }
  assertProblem(await gateway.call('GET', '/v1/nothing'), 404, 'GATEWAY_NO_SUCH_ROUTE', null)
})

test('instances with a bad tenant, name or unknown field are refused by name', async (t) => {
  const gateway = await startGateway(t)
  const cases: readonly (readonly [string, object, string])[] = [
    ['Acme!', { name: 'x' }, 'tenant'],
    ['acme', { tenant: 'acme', name: 'x' }, 'tenant'],
    ['acme', { name: '' }, 'name'],
    ['acme', { name: 'x'.repeat(101) }, 'name'],
    ['acme', { name: 'x', simulated: true }, 'simulated'],
  ]
  for (const [tenant, body, field] of cases) {
    const answer = await gateway.call('POST', `/v1/tenants/${tenant}/instances`, body)
    assertProblem(answer, 400, 'GATEWAY_BAD_REQUEST', field)
  }
  assertProblem(await gateway.call('GET', '/v1/instances?tenant=acme'), 400, 'GATEWAY_BAD_REQUEST', 'tenant')
  assert.deepEqual((await gateway.call('GET', '/v1/instances')).body, { items: [] })
})

test('one instance too many is refused', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_MAX_INSTANCES: '2' })
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => gateway.call('POST', '/v1/tenants/acme/instances', { name: 'x' })),
  )
  assert.equal(answers.filter((answer) => answer.status === 201).length, 2)
  assert.equal(answers.filter((answer) => answer.status === 409).length, 3)
})

test('without a QR code to show the answer says what to do', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const none = await gateway.call('GET', `/v1/instances/${id}/qr`)
  assertProblem(none, 404, 'GATEWAY_NO_QR', null)
  assert.match(String(none.body['detail']), /start it/)
  assert.equal(none.headers.get('cache-control'), 'no-store')
  const other = await gateway.call('GET', `/v1/instances/${id}/qr`, undefined, { accept: 'image/webp' })
  assertProblem(other, 406, 'GATEWAY_NOT_ACCEPTABLE', 'accept')
  const code = await gateway.call('POST', `/v1/instances/${id}/pairing-code`, { number: '5511' })
  assertProblem(code, 400, 'GATEWAY_BAD_REQUEST', 'number')
})

test('inbound of a new instance is an empty page; a bad cursor is refused', async (t) => {
  const gateway = await startGateway(t)
  const path = `/v1/instances/${await newInstance(gateway)}/inbound`
  for (const query of ['', '?after=', '?after=0', '?after=7&limit=500']) {
    const page = await gateway.call('GET', `${path}${query}`)
    assert.deepEqual(page.body, { items: [], next: null }, query)
  }
  for (const [query, field] of [
    ['?after=x', 'after'],
    ['?after=-1', 'after'],
    ['?limit=501', 'limit'],
    ['?before=1', 'before'],
  ]) {
    assertProblem(await gateway.call('GET', `${path}${query}`), 400, 'GATEWAY_BAD_REQUEST', field ?? '')
  }
})

test('health needs no key, and readiness is a real write', async (t) => {
  const gateway = await startGateway(t)
  for (const path of ['/livez', '/readyz']) {
    const answer = await gateway.raw('GET', path, {})
    assert.equal(answer.status, 200)
    assert.deepEqual(answer.body, { status: 'ok' })
  }
})

test('every answer forbids sniffing, framing and caching, and no page of another origin may read it', async (t) => {
  const gateway = await startGateway(t)
  const answer = await gateway.call('GET', '/v1/instances', undefined, { origin: 'https://example.com' })
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff')
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.match(answer.headers.get('content-security-policy') ?? '', /default-src 'none'/)
  assert.equal(answer.headers.get('access-control-allow-origin'), null)
})

test('events: replay by Last-Event-ID and by ?after, a bad cursor refused, streams beyond the limit refused', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_EVENTS_MAX_STREAMS: '2' })
  const path = `/v1/instances/${await newInstance(gateway)}/messages`
  for (const text of ['one', 'two', 'three']) await gateway.call('POST', path, { to: '+5511999990000', text })
  const first = await streamUntil(gateway, '/v1/events?after=0', {}, /id: 3\n/)
  assert.match(first.head.get('content-type') ?? '', /^text\/event-stream/)
  assert.equal(first.head.get('x-content-type-options'), 'nosniff')
  assert.deepEqual(
    [...first.text.matchAll(/^id: (\d+)$/gm)].map((match) => match[1]),
    ['1', '2', '3'],
  )
  const second = await streamUntil(gateway, '/v1/events', { 'last-event-id': '2' }, /id: 3\n/)
  assert.deepEqual(
    [...second.text.matchAll(/^id: (\d+)$/gm)].map((match) => match[1]),
    ['3'],
  )
  assertProblem(await gateway.call('GET', '/v1/events?after=x'), 400, 'GATEWAY_BAD_REQUEST', 'after')
  assertProblem(
    await gateway.call('GET', '/v1/events', undefined, { 'last-event-id': 'x' }),
    400,
    'GATEWAY_BAD_REQUEST',
    'last-event-id',
  )
  const third = await gateway.call('GET', '/v1/events', undefined, { accept: 'text/event-stream' })
  assertProblem(third, 429, 'GATEWAY_TOO_MANY_STREAMS', null)
  first.close()
  second.close()
})

test('events by pages: after a cursor, of some types, of an instance; bad input is refused with its field', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const other = await newInstance(gateway)
  for (const instance of [id, other, id]) {
    await gateway.call('POST', `/v1/instances/${instance}/messages`, { to: '+5511999990000', text: 'hello' })
  }
  const all = await gateway.call('GET', '/v1/events?after=0')
  const items = all.body['items'] as { id: number; type: string; instance: string }[]
  assert.deepEqual(
    items.map((item) => [item.id, item.type, item.instance]),
    [id, other, id].map((instance, index) => [index + 1, 'outbound.accepted', instance]),
  )
  assert.deepEqual([all.body['next'], all.body['missed']], [3, false])
  const some = await gateway.call('GET', `/v1/events?after=1&types=outbound.*&instance=${id}`)
  assert.deepEqual(
    (some.body['items'] as { id: number }[]).map((item) => item.id),
    [3],
  )
  assert.deepEqual((await gateway.call('GET', '/v1/events')).body, { items: [], next: 3, missed: false })
  for (const [query, field] of [
    ['types=nonsense.*', 'types'],
    ['limit=0', 'limit'],
    ['wait=31', 'wait'],
    ['after=-1', 'after'],
    ['before=1', 'before'],
  ] as const) {
    assertProblem(await gateway.call('GET', `/v1/events?${query}`), 400, 'GATEWAY_BAD_REQUEST', field)
  }
  assertProblem(
    await gateway.call('GET', '/v1/events?instance=ins_00000000000000000000'),
    404,
    'GATEWAY_INSTANCE_UNKNOWN',
    'instance',
  )
})

test('events over a WebSocket: replay and live as JSON; no key, a foreign page and one too many are refused', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_EVENTS_MAX_STREAMS: '1' })
  const path = `/v1/instances/${await newInstance(gateway)}/messages`
  const send = () => gateway.call('POST', path, { to: '+5511999990000', text: 'hello' })
  await send()
  const address = `${gateway.app.url.replace('http', 'ws')}/v1/events?after=0&types=outbound.accepted`
  const headers = { authorization: `Bearer ${KEY}` }
  const open = (options: ClientOptions) => {
    const socket = new WebSocket(address, options)
    t.after(() => socket.terminate())
    return socket
  }
  const seen: number[] = []
  const socket = open({ headers })
  socket.on('message', (data: Buffer) => seen.push((JSON.parse(data.toString()) as { id: number }).id))
  await until(() => seen.length === 1, 'the replay')
  await send()
  await until(() => seen.length === 2, 'the live event')
  assert.deepEqual(seen, [1, 2])
  const [tooMany] = (await once(open({ headers }), 'close')) as [number]
  assert.equal(tooMany, 1013)
  for (const [options, status] of [
    [{}, 401],
    [{ headers, origin: 'https://example.com' }, 401],
  ] as const) {
    const [error] = (await once(open(options), 'error')) as [Error]
    assert.match(error.message, new RegExp(`${status}`))
  }
  socket.send('who listens has nothing to say')
  const [spoke] = (await once(socket, 'close')) as [number]
  assert.equal(spoke, 1008)
})

test('the catalogue of events names each with the schema of what it carries', async (t) => {
  const gateway = await startGateway(t)
  const { body } = await gateway.call('GET', '/v1/event-types')
  const types = body['types'] as Record<string, { tells: string; live: boolean; payload: { type: string } }>
  assert.equal(types['outbound.typing']?.live, true)
  assert.equal(types['inbound.received']?.payload.type, 'object')
  for (const { tells } of Object.values(types)) assert.ok(tells.length > 10)
})

async function streamUntil(
  gateway: TestGateway,
  path: string,
  headers: Record<string, string>,
  end: RegExp,
): Promise<{ text: string; head: Headers; close: () => void }> {
  const abort = new AbortController()
  const response = await fetch(`${gateway.app.url}${path}`, {
    headers: { accept: 'text/event-stream', authorization: `Bearer ${KEY}`, ...headers },
    signal: abort.signal,
  })
  assert.equal(response.status, 200)
  const reader = response.body?.getReader()
  const decoder = new TextDecoder()
  let text = ''
  while (!end.test(text)) {
    const { value, done } = (await reader?.read()) ?? { done: true }
    if (done) break
    text += decoder.decode(value as Uint8Array)
  }
  return { text, head: response.headers, close: () => abort.abort() }
}
