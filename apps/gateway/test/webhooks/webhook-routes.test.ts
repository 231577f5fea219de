import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { until } from '@eclusa/kernel/test-kit'
import { testEachDatabase } from '@eclusa/storage/test-kit'
import { Webhook as Verifier } from 'standardwebhooks'
import { KEY, newInstance, startGateway } from '../harness.ts'
import { receiverOf, status } from './harness.ts'

const BIN = fileURLToPath(new URL('../../bin/eclusa.js', import.meta.url))
const acme = '/v1/tenants/acme/webhooks'

testEachDatabase('a webhook is made over HTTP, gets what happens, and says how it does', async (t) => {
  const receiver = await receiverOf(t)
  const gateway = await startGateway(t, { ECLUSA_OUTGOING_ALLOW: `127.0.0.1:${receiver.port}` })
  const instance = await newInstance(gateway)
  const made = await gateway.call('POST', acme, {
    url: receiver.url,
    types: ['outbound.*'],
    instance,
    description: 'the shop',
  })
  assert.equal(made.status, 201, made.text)
  const { id, secret } = made.body as { id: string; secret: string }
  assert.equal(made.headers.get('location'), `/v1/webhooks/${id}`)
  assert.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/)
  const path = `/v1/webhooks/${id}`
  for (const text of [(await gateway.call('GET', path)).text, (await gateway.call('GET', acme)).text]) {
    assert.ok(text.includes('the shop'))
    assert.equal(text.includes(secret), false)
  }
  await gateway.call('POST', `/v1/instances/${instance}/messages`, {
    to: '+5511999990000',
    text: 'secret words',
  })
  await until(() => receiver.got.length === 1, 'the event')
  const [{ text, headers, event } = assert.fail()] = receiver.got
  assert.equal(event.type, 'outbound.accepted')
  assert.deepEqual(new Verifier(secret).verify(text, headers), event)

  const tested = await gateway.call('POST', `${path}/test`)
  assert.deepEqual([tested.status, tested.body['delivered'], tested.body['status']], [200, true, 200])
  await until(
    async () => ((await gateway.call('GET', `${path}/deliveries`)).body['items'] as unknown[]).length === 2,
    'logged',
  )
  const deliveries = await gateway.call('GET', `${path}/deliveries?limit=1`)
  assert.equal(deliveries.text.includes('secret words'), false)
  assert.equal(deliveries.text.includes('5511999990000'), false)
  const next = await gateway.call('GET', `${path}/deliveries?before=${String(deliveries.body['next'])}`)
  assert.equal((next.body['items'] as unknown[]).length, 1)

  const replayed = await gateway.call('POST', `${path}/replay`, { since: '2020-01-01T00:00:00Z' })
  assert.deepEqual([replayed.status, replayed.body['count'], replayed.body['complete']], [200, 1, true])
  await until(() => receiver.got.length === 3, 'it came again')
  assert.equal(receiver.got[2]?.headers['webhook-id'], headers['webhook-id'])

  const rotated = await gateway.call('POST', `${path}/rotate`, { overlapHours: 1 })
  assert.notEqual(rotated.body['secret'], secret)
  assert.notEqual(rotated.body['oldSecretUntil'], null)
  await gateway.restart()
  receiver.answer(status(500))
  await gateway.call('POST', `/v1/instances/${instance}/messages`, { to: '+5511999990000', text: 'two' })
  const health = async (): Promise<Record<string, unknown>> =>
    (await gateway.call('GET', path)).body['health'] as Record<string, unknown>
  await until(async () => (await health())['waiting'] === 1, 'it waits')
  assert.deepEqual([(await health())['lastError'], (await health())['dead']], ['WEBHOOK_ANSWERED', 0])
  const waiting = (await gateway.call('GET', `${path}/waiting`)).body['items'] as Record<string, unknown>[]
  assert.deepEqual([waiting[0]?.['type'], waiting[0]?.['attempts']], ['outbound.accepted', 1])
  assert.deepEqual((await gateway.call('GET', `${path}/dead`)).body, { items: [], next: null })

  const off = await gateway.call('PATCH', path, { enabled: false })
  assert.deepEqual([off.body['enabled'], off.body['disabledReason']], [false, 'asked'])
  assert.equal(
    (await gateway.call('POST', `${path}/replay`, { dead: true })).body['code'],
    'WEBHOOK_DISABLED',
  )
  receiver.answer(status(200))
  const before = receiver.got.length
  await gateway.call('PATCH', path, { enabled: true })
  await until(() => receiver.got.length > before, 'what waited comes')
  assert.equal((await gateway.call('DELETE', path)).status, 204)
  assert.equal((await gateway.call('GET', path)).body['code'], 'WEBHOOK_UNKNOWN')
})

test('what is wrong with a webhook is told by its field', async (t) => {
  const gateway = await startGateway(t)
  const other = await newInstance(gateway, 'globex')
  const right = { url: 'https://hooks.example/', types: ['*'] }
  const refused = async (body: object): Promise<unknown[]> => {
    const answer = await gateway.call('POST', acme, body)
    return [answer.status, answer.body['code'], answer.body['field']]
  }
  const bad = 'GATEWAY_BAD_REQUEST'
  assert.deepEqual(await refused({ ...right, url: 'http://hooks.example/' }), [
    400,
    'HTTP_ADDRESS_REFUSED',
    'url',
  ])
  assert.deepEqual(await refused({ ...right, url: 'https://127.0.0.1/' }), [
    400,
    'HTTP_ADDRESS_REFUSED',
    'url',
  ])
  assert.deepEqual(await refused({ ...right, types: [] }), [400, bad, 'types'])
  assert.deepEqual(await refused({ ...right, types: ['outbound.sold'] }), [400, bad, 'types.0'])
  assert.deepEqual(await refused({ ...right, tenant: 'globex' }), [400, bad, 'tenant'])
  assert.deepEqual(await refused({ ...right, instance: other }), [400, bad, 'instance'])
  for (let count = 0; count < 20; count++) assert.equal((await gateway.call('POST', acme, right)).status, 201)
  assert.deepEqual(await refused(right), [409, 'WEBHOOK_LIMIT_REACHED', null])
  const [{ id } = assert.fail()] = (await gateway.call('GET', acme)).body['items'] as { id: string }[]
  for (const body of [{}, { event: 1, dead: true }, { event: 0 }, { since: 'yesterday' }])
    assert.equal((await gateway.call('POST', `/v1/webhooks/${id}/replay`, body)).status, 400)
  assert.equal(
    (await gateway.call('PATCH', `/v1/webhooks/${id}`, { fromNow: true })).body['field'],
    'fromNow',
  )
  assert.equal((await gateway.call('GET', '/v1/webhooks/whk_x')).status, 404)
})

test('a webhook is made, tried, read and removed from the command line', async (t) => {
  const receiver = await receiverOf(t)
  const gateway = await startGateway(t, { ECLUSA_OUTGOING_ALLOW: `127.0.0.1:${receiver.port}` })
  const eclusa = (...args: readonly string[]): Promise<string> =>
    new Promise((resolve) => {
      const to = ['--url', gateway.app.url, '--key', KEY]
      execFile(process.execPath, [BIN, 'webhooks', ...args, ...to], (_, out, err) => resolve(`${out}${err}`))
    })
  const of = ['--tenant', 'acme']
  const made = await eclusa('create', receiver.url, ...of, '--types', 'outbound.*,inbound.received')
  assert.match(made, /^whk_\S{20}\nsecret, shown only now: whsec_/)
  const id = made.split('\n')[0] ?? ''
  assert.match(await eclusa('test', id), /^delivered: 200 in \d+ ms\n$/)
  assert.match(await eclusa('deliveries', id), /test {2}webhook\.test {2}try 1 {2}delivered {2}200/)
  assert.match(await eclusa('show', id), /\nwaiting: 0\n/)
  assert.match(await eclusa('change', id, '--types', 'nonsense'), /types\.0 must be "\*"/)
  assert.match(await eclusa('remove', id), /removed/)
})
