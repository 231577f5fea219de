import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startGateway } from './harness.ts'

test('the reference of the API is there without a key, from this gateway alone, and nowhere else may a script run', async (t) => {
  const gateway = await startGateway(t)
  const page = await gateway.raw('GET', '/docs', {})
  assert.equal(page.status, 200)
  const linked = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address]) => address ?? '')
  assert.ok(linked.length >= 5)
  for (const address of linked) {
    assert.match(address, /^\.?\/docs\/static\//, 'it comes from here')
    assert.equal((await gateway.raw('GET', address, {})).status, 200, address)
  }
  const policy = page.headers.get('content-security-policy') ?? ''
  assert.match(policy, /default-src 'none'; script-src 'self';/)
  assert.match(policy, /connect-src 'self'/)
  assert.doesNotMatch(policy, /https?:|\*|unsafe-eval/)
  const document = await gateway.raw('GET', '/docs/json', {})
  assert.equal(document.body['openapi'], '3.1.1')
  const answer = await gateway.call('GET', '/v1/instances')
  assert.equal(answer.headers.get('content-security-policy'), "default-src 'none'; frame-ancestors 'none'")
  for (const path of ['/docs/static/..%2f..%2fpackage.json', '/docs/static/%2e%2e/index.js']) {
    assert.ok([400, 403, 404].includes((await gateway.raw('GET', path, {})).status), path)
  }
})

test('the reference can be switched off', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_HTTP_API_PAGES: 'off' })
  for (const path of ['/docs', '/docs/json', '/docs/static/swagger-ui.css']) {
    assert.equal((await gateway.raw('GET', path, {})).status, 404, path)
  }
})
