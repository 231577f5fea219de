import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import Fastify from 'fastify'
import { builtDashboard } from '../src/dashboard/built-dashboard.ts'
import { dashboardRoutes } from '../src/http/routes/dashboard.ts'
import type { HttpServer } from '../src/http/server.ts'
import { startGateway } from './harness.ts'

test('every address of a person is the dashboard, every other one stays as it is', async (t) => {
  const gateway = await startGateway(t)
  const page = { accept: 'text/html,application/xhtml+xml' }
  for (const path of ['/', '/inbox', '/numbers/ins_1?tab=2']) {
    const { status, headers } = await gateway.raw('GET', path, page)
    assert.match(headers.get('content-type') ?? '', /^text\/html/, path)
    // 503 where nobody has built it.
    assert.ok(status === 200 || status === 503, path)
  }
  for (const path of ['/v1/nothing', '/assets/nothing.js', '/metrics/nothing']) {
    const answer = await gateway.raw('GET', path, page)
    assert.equal(answer.body['code'], 'GATEWAY_NO_SUCH_ROUTE', path)
  }
  assert.equal((await gateway.raw('GET', '/inbox', {})).body['code'], 'GATEWAY_NO_SUCH_ROUTE')
  assert.equal((await gateway.raw('POST', '/inbox', page)).body['code'], 'GATEWAY_NO_SUCH_ROUTE')
  const api = await gateway.call('GET', '/v1/instances')
  assert.equal(api.headers.get('content-security-policy'), "default-src 'none'; frame-ancestors 'none'")
})

test('only the files that the build listed are handed out, packed where they are welcome', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-dist-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const script = 'console.log(1)'
  writeFileSync(join(folder, 'app.js'), script)
  writeFileSync(join(folder, 'app.js.gz'), gzipSync(script))
  writeFileSync(join(folder, 'secret.txt'), 'not listed')
  const files = [{ path: 'app.js', type: 'text/javascript', etag: 'e1' }]
  writeFileSync(join(folder, 'build.json'), JSON.stringify({ hash: 'h', files }))
  const built = builtDashboard(pathToFileURL(`${folder}/`))
  const http = Fastify()
  await http.register(async (server) => dashboardRoutes(server as unknown as HttpServer, { built }))
  const ask = (url: string, headers: Record<string, string> = {}) => http.inject({ url, headers })
  const packed = await ask('/app.js', { 'accept-encoding': 'gzip, deflate' })
  assert.equal(packed.headers['content-encoding'], 'gzip')
  assert.equal(gunzipSync(packed.rawPayload).toString(), script)
  assert.equal((await ask('/app.js', { 'accept-encoding': 'gzip;q=0' })).body, script)
  assert.match(
    String(packed.headers['content-security-policy']),
    /script-src 'self';.*require-trusted-types-for 'script'/,
  )
  assert.equal((await ask('/app.js', { 'if-none-match': '"e1"' })).statusCode, 304)
  for (const path of [
    '/secret.txt',
    '/build.json',
    '/app.js.gz',
    '/../package.json',
    '/%2e%2e/package.json',
    '/assets/..%2f..%2fpackage.json',
  ])
    assert.equal((await ask(path)).statusCode, 404, path)
  assert.equal((await ask('/')).statusCode, 503, 'no page in this build')
  assert.equal(builtDashboard(new URL('nothing/', pathToFileURL(`${folder}/`))), null)
})
