import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test as plainTest } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { createSimulator } from '@eclusa/simulator'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { type Answer, newInstance, pairByQr, startGateway, tenantKey, type TestGateway } from './harness.ts'

const SHOP = '5511900000101'
const ANA = '5521900000201'

type Item = Readonly<Record<string, unknown>>

const itemsOf = ({ body }: Answer): readonly Item[] => body['items'] as readonly Item[]

async function operator(gateway: TestGateway, name: string, sector: string, capacity = 2): Promise<string> {
  const base = '/v1/tenants/acme/operators'
  const made = await gateway.call('POST', base, { name, capacity, sectors: [{ sector }] })
  assert.equal(made.status, 201, made.text)
  const path = `${base}/${String(made.body['id'])}`
  const online = await gateway.call('PATCH', path, { availability: 'online' })
  assert.equal(online.body['isThere'], true, online.text)
  return String(made.body['id'])
}

test('a contact writes, waits, is answered, transferred, closed, and all of it stands in the history', async (t) => {
  const simulator = await createSimulator()
  t.after(() => simulator.stop())
  const gateway = await startGateway(t, {
    ECLUSA_WHATSAPP_URL: simulator.url,
    ECLUSA_LIMITS: 'off',
    ECLUSA_CONVERSATIONS_REOPEN_WITHIN_MS: '0',
  })
  const ana = simulator.addContact(ANA, { name: 'Ana' })
  const id = await newInstance(gateway)
  await pairByQr(gateway, simulator.addNumber(SHOP), id)
  const sectors = '/v1/tenants/acme/sectors'
  assert.equal((await gateway.call('POST', sectors, { id: 'sales', name: 'Sales' })).status, 201)
  assert.equal((await gateway.call('POST', sectors, { id: 'support', name: 'Support' })).status, 201)

  ana.send(simulator.number(SHOP), 'Is this open?')
  const list = '/v1/tenants/acme/conversations'
  await until(async () => itemsOf(await gateway.call('GET', list)).length === 1, 'a conversation')
  // No flow is published: to the line of the default sector.
  await until(async () => itemsOf(await gateway.call('GET', `${sectors}/sales/line`)).length === 1, 'a line')
  const [conversation] = itemsOf(await gateway.call('GET', list))
  assert.deepEqual(
    [conversation?.['state'], conversation?.['instance'], conversation?.['sector']],
    ['open', id, 'sales'],
  )
  const path = `/v1/conversations/${String(conversation?.['id'])}`

  const waiting = await gateway.call('POST', `${path}/wait`, { sector: 'sales' })
  assert.deepEqual([waiting.body['state'], waiting.body['position']], ['open', 0], waiting.text)
  const line = await gateway.call('GET', `${sectors}/sales/line`)
  assert.deepEqual(
    itemsOf(line).map((one) => one['id']),
    [conversation?.['id']],
  )
  const bia = await operator(gateway, 'Bia', 'sales')
  await until(async () => (await gateway.call('GET', path)).body['operator'] === bia, 'Bia has it')

  const caio = await operator(gateway, 'Caio', 'support')
  const answer = { text: 'We are, until six', by: bia }
  const key = { 'idempotency-key': 'answer 1' }
  const notHis = await gateway.call('POST', `${path}/messages`, { ...answer, by: caio })
  assert.deepEqual([notHis.status, notHis.body['code']], [403, 'CONVERSATION_NOT_YOURS'])
  const sent = await gateway.call('POST', `${path}/messages`, answer, key)
  assert.equal(sent.status, 202, sent.text)
  assert.equal((await gateway.call('POST', `${path}/messages`, answer, key)).text, sent.text)
  await until(() => ana.inbox.some(({ text }) => text === answer.text), 'Ana reads the answer')

  assert.equal((await gateway.call('POST', `${path}/notes`, { text: 'wants red', by: bia })).status, 201)
  const moved = await gateway.call('POST', `${path}/transfer`, {
    operator: caio,
    by: bia,
    comment: 'has a question about the manual',
  })
  assert.deepEqual([moved.body['operator'], moved.body['sector']], [caio, 'support'], moved.text)
  const closed = await gateway.call('POST', `${path}/close`, { by: caio, reason: 'sold' })
  assert.deepEqual([closed.body['state'], closed.body['closeReason']], ['closed', 'sold'])
  assert.equal((await gateway.call('POST', `${path}/messages`, answer)).body['code'], 'CONVERSATION_CLOSED')
  const again = await gateway.call('POST', `${path}/messages`, answer, key)
  assert.deepEqual([again.status, again.text], [202, sent.text], 'a retry gets the first answer, even now')
  assert.equal(again.headers.get('idempotency-replayed'), 'true')
  const other = await gateway.call('POST', `${path}/messages`, { ...answer, text: 'No' }, key)
  assert.deepEqual([other.status, other.body['code']], [422, 'QUEUE_IDEMPOTENCY_MISMATCH'])

  const history = itemsOf(await gateway.call('GET', `${path}/history`))
  assert.deepEqual(
    history.map(({ kind, actor, operator: to, text }) => [kind, actor, to, text]),
    [
      ['opened', 'contact', null, null],
      ['inbound', 'contact', null, null],
      ['waiting', 'flow', null, null],
      ['assigned', 'line', bia, null],
      ['outbound', bia, null, answer.text],
      ['note', bia, null, 'wants red'],
      ['transferred', bia, caio, 'has a question about the manual'],
      ['closed', caio, caio, null],
    ],
  )
  assert.equal((history[1]?.['inbound'] as Item | undefined)?.['text'], 'Is this open?')
  assert.equal((history[4]?.['outbound'] as Item | undefined)?.['id'], sent.body['id'])
  const rest = await gateway.call('GET', `${path}/history?after=${String(history[5]?.['id'])}&limit=1`)
  assert.deepEqual(itemsOf(rest), [history[6]])

  ana.send(simulator.number(SHOP), 'And tomorrow?')
  await until(async () => itemsOf(await gateway.call('GET', list)).length === 2, 'a new one')
  const statistics = await gateway.call('GET', `${list}/statistics?since=2020-01-01T00:00:00Z`)
  assert.equal(statistics.body['openedCount'], 2, statistics.text)
  assert.equal((await gateway.call('DELETE', `/v1/instances/${id}`)).status, 204)
  assert.deepEqual(itemsOf(await gateway.call('GET', list)), [])
})

test('refuses what is wrong by the name of the field', async (t) => {
  const gateway = await startGateway(t)
  const sectors = '/v1/tenants/acme/sectors'
  const operators = '/v1/tenants/acme/operators'
  await gateway.call('POST', sectors, { id: 'sales', name: 'Sales' })
  const bia = await operator(gateway, 'Bia', 'sales')
  const unknown = `/v1/conversations/cnv_${'0'.repeat(20)}`
  const wrong: readonly (readonly [string, string, unknown, number, string | null])[] = [
    ['POST', sectors, { id: 'Sales', name: 'Sales' }, 400, 'id'],
    ['POST', sectors, { id: 'sales', name: 'Sales' }, 409, 'id'],
    ['POST', sectors, { id: 'b', name: ' ' }, 400, 'name'],
    ['PATCH', `${sectors}/sales`, { rule: 'first' }, 400, 'rule'],
    ['PATCH', `${sectors}/none`, { name: 'x' }, 404, null],
    ['POST', operators, { name: 'x', capacity: -1 }, 400, 'capacity'],
    ['POST', operators, { name: 'x', sectors: [{ sector: 'none' }] }, 404, 'sectors.0.sector'],
    ['POST', operators, { name: 'x', hours: { zone: 'Mars' } }, 400, 'hours.zone'],
    ['PATCH', `${operators}/${bia}`, { availability: 'asleep' }, 400, 'availability'],
    ['PATCH', `${operators}/opr_x`, { capacity: 1 }, 404, null],
    ['GET', unknown, undefined, 404, null],
    ['GET', '/v1/conversations/x', undefined, 404, null],
    ['POST', `${unknown}/transfer`, {}, 400, 'sector'],
    ['POST', `${unknown}/close`, { reason: 'merged' }, 400, 'reason'],
    ['POST', `${unknown}/assign`, { operator: 'x' }, 400, 'operator'],
    ['GET', '/v1/tenants/acme/conversations?contact=x', undefined, 400, 'contact'],
    ['GET', '/v1/tenants/acme/conversations?limit=0', undefined, 400, 'limit'],
    ['POST', `${sectors}/sales/take`, { operator: bia }, 409, null],
  ]
  for (const [method, path, body, status, field] of wrong) {
    const answer = await gateway.call(method, path, body)
    assert.deepEqual([answer.status, answer.body['field']], [status, field], `${path}: ${answer.text}`)
  }
  assert.equal((await gateway.call('DELETE', `${operators}/${bia}`)).status, 204)
  assert.deepEqual(itemsOf(await gateway.call('GET', operators)), [])
})

plainTest('a tenant’s key reaches nothing of another tenant', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  await gateway.call('POST', '/v1/tenants/acme/sectors', { id: 'sales', name: 'Sales' })
  const bia = await operator(gateway, 'Bia', 'sales')
  const key = await tenantKey(gateway, 'other')
  const conversation = `cnv_${'0'.repeat(20)}`
  const database = new DatabaseSync(join(gateway.folder, 'data', 'eclusa.db'), { timeout: 5000 })
  database
    .prepare(
      `insert into "Conversation" (id, tenant, instance, contact, chat, state, opened_at, last_inbound_at)
       values (?, 'acme', ?, 'con_00000000000000000000', '5521900000201@s.whatsapp.net', 'open', 1, 1)`,
    )
    .run(conversation, id)
  database.close()
  await gateway.restart()
  const path = `/v1/conversations/${conversation}`
  assert.equal((await gateway.call('GET', path)).status, 200)
  const theirs = {
    authorization: `Bearer ${key}`,
    'content-type': 'application/json',
  }
  for (const [method, at, body] of [
    ['GET', path],
    ['GET', `${path}/history`],
    ['POST', `${path}/messages`, '{"text":"Hi"}'],
    ['POST', `${path}/notes`, '{"text":"Hi"}'],
    ['POST', `${path}/assign`, `{"operator":"${bia}"}`],
    ['POST', `${path}/close`, '{}'],
  ] as const) {
    const answer = await gateway.raw(method, at, theirs, body)
    assert.deepEqual([answer.status, answer.body['code']], [404, 'CONVERSATION_NOT_FOUND'], at)
  }
  for (const at of ['conversations', 'sectors', 'operators', `operators/${bia}`, 'sectors/sales/line']) {
    assert.equal((await gateway.raw('GET', `/v1/tenants/acme/${at}`, theirs)).status, 403, at)
  }
  // Nor is another tenant's operator known in one's own.
  assert.equal((await gateway.raw('GET', `/v1/tenants/other/operators/${bia}`, theirs)).status, 404)
})
