import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test as plainTest } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { createSimulator } from '@eclusa/simulator'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { type Answer, newInstance, pairByQr, startGateway, tenantKey, type TestGateway } from './harness.ts'

const SHOP = '5511900000101'
const ANA = '5521900000201'
const acme = '/v1/tenants/acme'

type Item = Readonly<Record<string, unknown>>
type Call = readonly [method: string, path: string, body: unknown, status: number, field: string | null]

const itemsOf = ({ body }: Answer): readonly Item[] => body['items'] as readonly Item[]

async function assertRefused(gateway: TestGateway, calls: readonly Call[]): Promise<void> {
  for (const [method, path, body, status, field] of calls) {
    const answer = await gateway.call(method, path, body)
    const what = `${method} ${path} ${JSON.stringify(body)}: ${answer.text}`
    assert.deepEqual([answer.status, answer.body['field'] ?? null], [status, field], what)
    assert.match(answer.headers.get('content-type') ?? '', /problem\+json/, what)
  }
}

test('over HTTP a conversation is moved, surveyed, written to by other ways, and reopened', async (t) => {
  const simulator = await createSimulator()
  t.after(() => simulator.stop())
  const gateway = await startGateway(t, { ECLUSA_WHATSAPP_URL: simulator.url, ECLUSA_LIMITS: 'off' })
  const ok = async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const answer = await gateway.call(method, path, body)
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.text}`)
    return answer
  }
  const ana = simulator.addContact(ANA, { name: 'Ana' })
  const id = await newInstance(gateway)
  await pairByQr(gateway, simulator.addNumber(SHOP), id)
  for (const sector of ['sales', 'support']) {
    await ok('POST', `${acme}/sectors`, { id: sector, name: sector, rule: 'manual' })
  }
  const [bia, caio] = await Promise.all(
    ['Bia', 'Caio'].map(async (name) => {
      const made = await ok('POST', `${acme}/operators`, {
        name,
        capacity: 1,
        sectors: [{ sector: 'sales' }, { sector: 'support' }],
      })
      await ok('PATCH', `${acme}/operators/${String(made.body['id'])}`, { availability: 'online' })
      return String(made.body['id'])
    }),
  )

  // Before there is a conversation, what is sent belongs to none.
  await ok('POST', `/v1/instances/${id}/messages`, { to: `+${ANA}`, text: 'We are new here' })
  await until(() => ana.inbox.length === 1, 'it came')
  ana.send(simulator.number(SHOP), 'hello')
  await until(async () => itemsOf(await ok('GET', `${acme}/sectors/sales/line`)).length === 1, 'she waits')
  const [waiting] = itemsOf(await ok('GET', `${acme}/conversations?state=open&instance=${id}`))
  const path = `/v1/conversations/${String(waiting?.['id'])}`
  assert.equal((await ok('GET', path)).body['position'], 0)

  // From the line to an operator, back to where it stood, and on.
  const taken = await ok('POST', `${acme}/sectors/sales/take`, { operator: bia })
  assert.deepEqual([taken.body['id'], taken.body['operator']], [waiting?.['id'], bia])
  assert.equal((await ok('POST', `${path}/return`, { by: bia })).body['state'], 'open')
  assert.equal((await ok('POST', `${path}/assign`, { operator: bia })).body['operator'], bia)
  assert.deepEqual(
    itemsOf(await ok('GET', `${acme}/conversations?operator=${bia}`)).map((one) => one['id']),
    [waiting?.['id']],
  )
  assert.deepEqual((await ok('POST', `${acme}/operators/${bia}/return-all`, {})).body, { returned: 1 })
  assert.equal((await ok('GET', `${acme}/operators/${bia}`)).body['availability'], 'away')
  await assertRefused(gateway, [
    ['POST', `${path}/assign`, { operator: bia }, 409, null],
    ['POST', `${path}/reopen`, {}, 409, null],
    ['POST', `${acme}/sectors/sales/take`, { operator: bia }, 409, null],
  ])
  const moved = await ok('POST', `${path}/transfer`, { sector: 'support', comment: 'about the manual' })
  assert.deepEqual([moved.body['sector'], moved.body['state']], ['support', 'open'])
  await ok('POST', `${path}/transfer`, { operator: caio, sector: 'support' })

  // What others send to the contact is in the history too: once for each, in the order in which it was accepted.
  const send = (text: string, key: string): Promise<Answer> =>
    gateway.call('POST', `/v1/instances/${id}/messages`, { to: `+${ANA}`, text }, { 'idempotency-key': key })
  const first = await send('from the shop system', 'a')
  assert.equal((await send('from the shop system', 'a')).text, first.text)
  await send('from the shop system', 'b')
  const batch = [1, 2].map((nth) => ({ to: `+${ANA}`, text: `order ${nth}` }))
  await ok('POST', `/v1/instances/${id}/messages/batch`, { messages: batch })
  await ok('POST', `${path}/messages`, { text: 'from Caio', by: caio })
  const said = itemsOf(await ok('GET', `${path}/history`)).filter(({ kind }) => kind === 'outbound')
  assert.deepEqual(
    said.map(({ text, actor }) => [text, actor]),
    [
      ['from the shop system', 'api'],
      ['from the shop system', 'api'],
      ['order 1', 'api'],
      ['order 2', 'api'],
      ['from Caio', caio],
    ],
  )
  assert.equal((said[0]?.['outbound'] as Item | undefined)?.['id'], first.body['id'])
  await until(() => ana.inbox.length === 6, 'all of it came')

  // A survey begins by hand, and closes it.
  const survey = {
    format: 1,
    starts: 'by_hand',
    start: 'rate',
    steps: [
      {
        id: 'rate',
        kind: 'close',
        reason: 'rated',
        satisfaction: { text: 'From 1 to 5?', best: 5, save: 'rating', thanks: 'Thank you' },
      },
    ],
  }
  const person = { format: 1, starts: 'everybody', start: 'a', steps: [{ id: 'a', kind: 'hand_over' }] }
  await ok('PUT', `${acme}/flows/survey`, survey)
  await ok('PUT', `${acme}/flows/main`, person)
  await assertRefused(gateway, [
    ['POST', `${path}/flow`, { flow: 'survey' }, 409, null],
    ['POST', `${path}/flow`, { flow: 'none' }, 404, null],
    ['POST', `${path}/flow`, { flow: 1 }, 400, 'flow'],
    ['POST', `${path}/flow`, { flow: 'survey', at: 'once' }, 400, 'at'],
    ['POST', `${path}/flow`, undefined, 400, 'body'],
    ['POST', `/v1/conversations/cnv_${'0'.repeat(20)}/flow`, { flow: 'survey' }, 404, null],
  ])
  await ok('POST', `${acme}/flows/survey/publish`)
  await ok('POST', `${acme}/flows/main/publish`)
  await assertRefused(gateway, [['POST', `${path}/flow`, { flow: 'main' }, 409, null]])
  const started = await gateway.call('POST', `${path}/flow`, { flow: 'survey' })
  assert.deepEqual(
    [started.status, started.body['state'], started.body['step'], started.body['conversation']],
    [201, 'waiting', 'rate', waiting?.['id']],
    started.text,
  )
  await assertRefused(gateway, [['POST', `${path}/flow`, { flow: 'survey' }, 409, null]])
  assert.equal((await ok('GET', `${acme}/operators/${caio}`)).body['assignedCount'], 0, 'his part is done')
  await until(() => ana.inbox.some(({ text }) => text === 'From 1 to 5?'), 'she is asked')
  ana.send(simulator.number(SHOP), '5')
  await until(async () => (await ok('GET', path)).body['state'] === 'closed', 'she answers')
  const contact = String(waiting?.['contact'])
  const [run] = itemsOf(await ok('GET', `${acme}/contacts/${contact}/flow-runs`))
  assert.deepEqual([run?.['flow'], run?.['state'], run?.['outcome']], ['survey', 'ended', 'closed'])
  assert.deepEqual((await ok('GET', `${acme}/contacts/${contact}`)).body['fields'], { rating: '5' })

  const reopened = await ok('POST', `${path}/reopen`, {})
  assert.deepEqual([reopened.body['state'], reopened.body['operator']], ['assigned', caio])
  await ok('POST', `${path}/close`, { reason: 'resolved', comment: 'done' })

  // Whose customer she is.
  assert.deepEqual((await ok('PUT', `${acme}/contacts/${contact}/owner`, { operator: caio })).body, {
    operator: caio,
  })
  assert.deepEqual((await ok('GET', `${acme}/contacts/${contact}/owner`)).body, { operator: caio })
  await assertRefused(gateway, [
    ['PUT', `${acme}/contacts/${contact}/owner`, { operator: `opr_${'0'.repeat(20)}` }, 404, 'operator'],
    ['PUT', `${acme}/contacts/${contact}/owner`, {}, 400, 'operator'],
    ['GET', `${acme}/contacts/ana/owner`, undefined, 400, 'contact'],
    ['GET', `${acme}/contacts/ana/flow-runs`, undefined, 400, 'contact'],
  ])

  // Sectors: the default moves, what is empty can go.
  assert.equal((await ok('PATCH', `${acme}/sectors/support`, { isDefault: true })).body['isDefault'], true)
  await ok('PATCH', `${acme}/sectors/sales`, { name: 'Sales', rule: 'round_robin' })
  await ok('DELETE', `${acme}/sectors/sales`)
  assert.deepEqual(
    itemsOf(await ok('GET', `${acme}/sectors`)).map((one) => [
      one['id'],
      one['isDefault'],
      one['waitingCount'],
    ]),
    [['support', true, 0]],
  )
  await assertRefused(gateway, [
    ['DELETE', `${acme}/sectors/sales`, undefined, 404, null],
    ['PATCH', `${acme}/sectors/support`, { isDefault: false }, 400, 'isDefault'],
    ['GET', `${acme}/sectors/support/line?limit=501`, undefined, 400, 'limit'],
    ['GET', `${acme}/sectors/support/line?after=x`, undefined, 400, 'after'],
  ])
})

plainTest('bad input to any of these routes is refused by the name of its field', async (t) => {
  const gateway = await startGateway(t)
  const conversation = `/v1/conversations/cnv_${'0'.repeat(20)}`
  const someone = `${acme}/contacts/+5511987654321`
  await gateway.call('POST', `${acme}/contacts`, { address: '+5511987654321' })
  await assertRefused(gateway, [
    ['GET', `${conversation}/history?limit=101`, undefined, 400, 'limit'],
    ['GET', `${conversation}/history?after=-1`, undefined, 400, 'after'],
    ['GET', `${conversation}/history?from=1`, undefined, 400, 'from'],
    ['POST', `${conversation}/messages`, { text: ' ' }, 400, 'text'],
    ['POST', `${conversation}/messages`, { text: 'x', priority: 'high' }, 400, 'priority'],
    ['POST', `${conversation}/messages`, { text: 'x', expiresAt: 'soon' }, 400, 'expiresAt'],
    ['POST', `${conversation}/notes`, { text: '' }, 400, 'text'],
    ['POST', `${conversation}/notes`, { text: 'x', key: '' }, 400, 'key'],
    ['POST', `${conversation}/notes`, { text: 'x', by: 'Bia' }, 400, 'by'],
    ['POST', `${conversation}/wait`, { sector: 'No way' }, 400, 'sector'],
    ['POST', `${conversation}/wait`, { rule: 'manual' }, 400, 'rule'],
    ['POST', `${conversation}/wait`, { seed: -1 }, 400, 'seed'],
    ['POST', `${conversation}/wait`, { skill: 'A' }, 400, 'skill'],
    ['POST', `${conversation}/assign`, {}, 400, 'operator'],
    ['POST', `${conversation}/return`, { comment: 'x'.repeat(4097) }, 400, 'comment'],
    ['POST', `${conversation}/close`, { reason: 'No way' }, 400, 'reason'],
    ['POST', `${conversation}/reopen`, { by: 1 }, 400, 'by'],
    ['GET', `${acme}/conversations?state=lost`, undefined, 400, 'state'],
    ['GET', `${acme}/conversations?before=x`, undefined, 400, 'before'],
    ['GET', `${acme}/conversations?sector=No way`, undefined, 400, 'sector'],
    ['GET', `${acme}/conversations?instance=ins_none`, undefined, 404, 'instance'],
    ['GET', `${acme}/conversations/statistics`, undefined, 400, 'since'],
    ['GET', '/v1/tenants/A!/conversations', undefined, 400, 'tenant'],
    ['POST', `${acme}/operators/opr_${'0'.repeat(20)}/return-all`, {}, 404, 'operator'],
    ['DELETE', `${acme}/operators/opr_${'0'.repeat(20)}`, undefined, 404, null],
    ['POST', `${acme}/sectors/sales/take`, {}, 400, 'operator'],
    ['GET', `${acme}/flows/main?version=0`, undefined, 400, 'version'],
    ['GET', `${acme}/flows/none`, undefined, 404, null],
    ['GET', `${acme}/flows/none/versions`, undefined, 404, null],
    ['DELETE', `${acme}/flows/none/publish`, undefined, 404, null],
    ['POST', `${acme}/flows/none/publish`, { version: 'last' }, 400, 'version'],
    ['POST', `${acme}/flows/dry-run`, { flow: 'none', lines: [] }, 404, null],
    ['POST', `${acme}/flows/dry-run`, { flow: 'none', lines: [{ says: 'x' }] }, 400, 'lines.0'],
    ['GET', `${acme}/contacts?limit=0`, undefined, 400, 'limit'],
    ['GET', `${acme}/contacts?optedOut=maybe`, undefined, 400, 'optedOut'],
    ['POST', `${acme}/contacts`, {}, 400, 'address'],
    ['POST', `${acme}/contacts`, { address: '+1' }, 400, 'address'],
    ['GET', `${acme}/contacts/nobody`, undefined, 400, 'contact'],
    ['POST', `${someone}/notes`, { text: '' }, 400, 'text'],
    ['DELETE', `${someone}/notes/9`, undefined, 404, 'note'],
    ['GET', `${acme}/contacts-export?format=xml`, undefined, 400, 'format'],
    ['PUT', `${acme}/contact-settings/confirmations`, { optOutText: 1 }, 400, 'optOutText'],
    ['PUT', `${acme}/contact-settings/auto-replies`, { tenant: { text: 'x' } }, 400, 'tenant.hours'],
    ['POST', `${acme}/ledger`, { entries: [] }, 400, 'entries'],
    ['POST', `${acme}/ledger`, { entries: [{ contact: '+1', kind: 'opt_out' }] }, 400, 'entries.0.contact'],
    ['GET', `${acme}/ledger?contact=x`, undefined, 400, 'contact'],
    ['GET', `${acme}/contacts/x/standing`, undefined, 400, 'contact'],
  ])
})

/** A body that is right, of the routes that want one. */
const BODIES: Readonly<Record<string, unknown>> = {
  'POST /conversations/:id/messages': { text: 'Hi' },
  'POST /conversations/:id/notes': { text: 'Hi' },
  'POST /conversations/:id/assign': { operator: `opr_${'0'.repeat(20)}` },
  'POST /conversations/:id/transfer': { sector: 'sales' },
  'POST /conversations/:id/flow': { flow: 'survey' },
  'POST /tenants/:tenant/sectors': { id: 'sales', name: 'Sales' },
  'PATCH /tenants/:tenant/sectors/:sector': { name: 'Sales' },
  'POST /tenants/:tenant/sectors/:sector/take': { operator: `opr_${'0'.repeat(20)}` },
  'POST /tenants/:tenant/operators': { name: 'Bia' },
  'PATCH /tenants/:tenant/operators/:operator': { name: 'Bia' },
  'PUT /tenants/:tenant/contacts/:contact/owner': { operator: null },
  'POST /tenants/:tenant/contacts/:contact/notes': { text: 'Hi' },
  'POST /tenants/:tenant/flows/dry-run': { flow: 'main', lines: [] },
  'POST /tenants/:tenant/ledger': { entries: [{ contact: '+5511987654321', kind: 'opt_out' }] },
}
const PARAMS: Readonly<Record<string, string>> = {
  tenant: 'acme',
  id: `cnv_${'1'.repeat(20)}`,
  contact: `con_${'0'.repeat(20)}`,
  operator: `opr_${'0'.repeat(20)}`,
  sector: 'sales',
  flow: 'main',
  note: '1',
}
const QUERIES: Readonly<Record<string, string>> = {
  'GET /tenants/:tenant/conversations/statistics': '?since=2026-01-01T00:00:00Z',
}

/** Every route of a tenant or a conversation, as the sources name them: none is forgotten here. */
function routesOfTenants(): readonly (readonly [method: string, path: string])[] {
  const folder = new URL('../src/http/routes/', import.meta.url)
  return readdirSync(folder).flatMap((file) =>
    [
      ...readFileSync(new URL(file, folder), 'utf8').matchAll(
        /\.(get|post|put|patch|delete)\(\s*'(\/(?:tenants\/:tenant|conversations\/:id)[^']*)'/g,
      ),
    ].map(([, method = '', path = '']) => [method.toUpperCase(), path] as const),
  )
}

plainTest('every route of a tenant refuses another tenant’s key, and whoever has none', async (t) => {
  const gateway = await startGateway(t)
  const instance = await newInstance(gateway)
  const key = await tenantKey(gateway, 'other')
  const database = new DatabaseSync(join(gateway.folder, 'data', 'eclusa.db'), { timeout: 5000 })
  database
    .prepare(
      `insert into "Conversation" (id, tenant, instance, contact, chat, state, opened_at, last_inbound_at)
       values (?, 'acme', ?, 'con_00000000000000000000', '5521900000201@s.whatsapp.net', 'open', 1, 1)`,
    )
    .run(PARAMS['id'] ?? '', instance)
  database.close()
  await gateway.restart()
  const routes = routesOfTenants()
  assert.ok(routes.length > 45, `${routes.length} routes were found`)
  for (const [method, route] of routes) {
    const name = `${method} ${route}`
    const path = `/v1${route.replaceAll(/:(\w+)/g, (_, key: string) => PARAMS[key] ?? '')}${QUERIES[name] ?? ''}`
    const isImport = route.endsWith('contacts-import')
    const body = isImport
      ? '{"address":"+5511987654321"}'
      : method === 'GET'
        ? undefined
        : JSON.stringify(BODIES[name] ?? {})
    const type: Record<string, string> =
      body === undefined ? {} : { 'content-type': isImport ? 'application/x-ndjson' : 'application/json' }
    const without = await gateway.raw(method, path, type, body)
    assert.deepEqual([without.status, without.body['code']], [401, 'GATEWAY_UNAUTHORIZED'], name)
    const theirs = { ...type, authorization: `Bearer ${key}` }
    const answer = await gateway.raw(method, path, theirs, body)
    const expected = route.startsWith('/conversations/')
      ? [404, 'CONVERSATION_NOT_FOUND']
      : [403, 'GATEWAY_FORBIDDEN']
    assert.deepEqual([answer.status, answer.body['code']], expected, `${name}: ${answer.text}`)
  }
  const row = await gateway.call('GET', `/v1/conversations/${PARAMS['id']}`)
  assert.deepEqual([row.status, row.body['state']], [200, 'open'], 'nothing of it was changed')
})
