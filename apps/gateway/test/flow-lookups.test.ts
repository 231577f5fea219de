import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { EclusaError, parseTenantId } from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { lookupsFor } from '../src/flows.ts'
import { parseAllowList } from '../src/guarded-http/allow-list.ts'
import { GuardedHttp } from '../src/guarded-http/guarded-http.ts'

test('a lookup gives the JSON of an answer, and fails with everything else', async (t) => {
  const server = createServer((request, response) => {
    const json = { 'content-type': 'application/json' }
    if (request.url === '/missing') response.writeHead(404, json).end('{}')
    else if (request.url === '/broken') response.writeHead(200, json).end('{')
    else if (request.url === '/page') response.writeHead(200, { 'content-type': 'text/html' }).end('<p>')
    else if (request.url === '/moved') response.writeHead(302, { location: '/' }).end()
    else {
      let body = ''
      request.on('data', (part) => (body += String(part)))
      request.on('end', () =>
        response
          .writeHead(200, json)
          .end(JSON.stringify({ method: request.method, key: request.headers['x-key'], body })),
      )
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const allow = parseAllowList(host)
  assert.ok(!('fault' in allow))
  const { call } = lookupsFor(new GuardedHttp({ allow, clock: new ManualClock() }))
  const ask = (path: string, more: object = {}): Promise<unknown> => {
    const signal = new AbortController().signal
    const request = {
      tenant: parseTenantId('acme'),
      method: 'GET',
      headers: { 'x-key': 'k' },
      body: undefined,
      signal,
    } as const
    return call({ ...request, url: path.startsWith('http') ? path : `http://${host}${path}`, ...more })
  }
  assert.deepEqual(await ask('/', { method: 'POST', body: { a: 1 } }), {
    method: 'POST',
    key: 'k',
    body: '{"a":1}',
  })
  assert.deepEqual(await ask('/'), { method: 'GET', key: 'k', body: '' })
  const fails: Readonly<Record<string, string>> = {
    '/missing': 'FLOW_LOOKUP_FAILED',
    '/broken': 'FLOW_LOOKUP_FAILED',
    '/page': 'HTTP_ANSWER_REFUSED',
    '/moved': 'HTTP_ANSWER_REFUSED',
    'https://localhost/': 'HTTP_ADDRESS_REFUSED',
  }
  for (const [path, code] of Object.entries(fails)) {
    await assert.rejects(ask(path), (error) => error instanceof EclusaError && error.code === code, path)
  }
})
