import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import { RouteRules } from '../src/http/route-rules.ts'

test('a route that does not say who may use it stops the start', async () => {
  const http = Fastify()
  const rules = new RouteRules()
  http.addHook('onRoute', (route) => rules.declare(route))
  assert.throws(
    () => http.get('/v1/open', async () => 'x'),
    /^Error: GET \/v1\/open declares no scope: give its options config: \{ scope: … \}$/,
  )
  assert.throws(
    () => http.post('/v1/odd', { config: { scope: 'everything' as 'read' } }, async () => 'x'),
    /POST \/v1\/odd declares no scope/,
  )
  assert.throws(
    () => http.get('/v1/mute', { config: { scope: 'read' } }, async () => 'x'),
    /GET \/v1\/mute is not described: give its schema an operationId and a summary/,
  )
  const schema = { operationId: 'say', summary: 'Say something' }
  http.get('/v1/said', { config: { scope: 'read', byInstance: true }, schema }, async () => 'x')
  await http.ready()
  const said = {
    path: '/v1/said',
    scope: 'read',
    operatorsOnly: false,
    byInstance: true,
    audit: 'none',
    hidden: false,
  }
  assert.deepEqual(rules.all, [
    { method: 'GET', ...said },
    { method: 'HEAD', ...said },
  ])
  await http.close()
})
