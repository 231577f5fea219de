import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startGateway } from './harness.ts'

const person = { id: 'person', kind: 'hand_over' }
const flow = (...steps: readonly object[]) => {
  const [first] = steps as readonly { readonly id: string }[]
  return { format: 1, starts: 'everybody', start: first?.id, steps }
}
const acme = '/v1/tenants/acme'

test('a flow is put, judged, published and taken back, and comes back as it was put', async (t) => {
  const gateway = await startGateway(t)
  const first = await gateway.call('PUT', `${acme}/flows/main`, flow(person))
  assert.deepEqual([first.status, first.body], [201, { name: 'main', version: 1, findings: [] }])
  const lost = { id: 'lost', kind: 'hand_over', sector: 'gone' }
  const second = await gateway.call('PUT', `${acme}/flows/main`, flow(person, lost))
  assert.equal(second.status, 201)
  assert.match(second.text, /names the sector \\"gone\\", which does not exist/)
  const refused = await gateway.call('POST', `${acme}/flows/main/publish`)
  assert.deepEqual([refused.status, refused.body['code']], [422, 'FLOW_REFUSED'])
  assert.match(String(refused.body['detail']), /Step "lost" names the sector "gone"/)
  const published = await gateway.call('POST', `${acme}/flows/main/publish`, { version: 1 })
  assert.deepEqual([published.status, published.body['publishedVersion']], [200, 1])

  await gateway.call('PUT', `${acme}/flows/other`, flow(person))
  const taken = await gateway.call('POST', `${acme}/flows/other/publish`)
  assert.deepEqual([taken.status, taken.body['code']], [409, 'FLOW_STARTS_TAKEN'])
  await gateway.restart()
  const stored = await gateway.call('GET', `${acme}/flows/main`)
  assert.deepEqual([stored.body['version'], stored.body['definition']], [1, flow(person)])
  const last = await gateway.call('GET', `${acme}/flows/main?version=2`)
  assert.deepEqual(last.body['definition'], flow(person, lost))
  const versions = await gateway.call('GET', `${acme}/flows/main/versions?limit=1`)
  assert.deepEqual(
    (versions.body['items'] as { version: number }[]).map(({ version }) => version),
    [2],
  )
  assert.equal((await gateway.call('DELETE', `${acme}/flows/main/publish`)).status, 200)
  const list = await gateway.call('GET', `${acme}/flows`)
  assert.deepEqual(
    (list.body['items'] as { name: string; publishedVersion: number | null }[]).map((one) => [
      one.name,
      one.publishedVersion,
    ]),
    [
      ['main', null],
      ['other', null],
    ],
  )
  await gateway.call('POST', '/v1/tenants', { id: 'other' })
  assert.deepEqual((await gateway.call('GET', '/v1/tenants/other/flows')).body, { items: [] })
})

test('what is wrong with a flow is told by step, and a server that is not called is wrong', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_OUTGOING_ALLOW: 'crm.intranet' })
  const bad = await gateway.call('PUT', `${acme}/flows/main`, flow({ id: 'a', kind: 'send', text: '' }))
  assert.deepEqual([bad.status, bad.body['code']], [422, 'FLOW_REFUSED'])
  assert.match(String(bad.body['detail']), /^Step "a": text must not be empty; Step "a": next must be/)
  const none = await gateway.call('POST', `${acme}/flows/none/publish`)
  assert.deepEqual([none.status, none.body['code']], [404, 'FLOW_UNKNOWN'])
  assert.equal((await gateway.call('PUT', `${acme}/flows/NO`, flow(person))).status, 400)
  const look = (url: string) => ({
    id: 'look',
    kind: 'lookup',
    url,
    save: [],
    fallback: 'person',
    next: 'person',
  })
  const lint = async (url: string): Promise<string> =>
    (await gateway.call('POST', `${acme}/flows/lint`, flow(look(url), person))).text
  for (const url of [
    'http://crm.example/',
    'https://169.254.169.254/',
    'https://localhost/{field.a}',
    'https://crm.example:22/',
  ])
    assert.match(await lint(url), /has a URL that is not called/, url)
  assert.match(await lint('http://crm.intranet/orders/{contact.number}'), /"findings":\[\]/)
})

test('a dry run shows what a contact would meet, of a document or of a flow that was put', async (t) => {
  const gateway = await startGateway(t)
  const { body: definition } = await gateway.call('GET', '/v1/flow-templates/departments?language=pt-BR')
  const lines = [{ say: 'oi' }, { waitMinutes: 5 }, { say: 'boleto' }]
  const startAt = '2026-11-28T12:00:00Z'
  const tried = await gateway.call('POST', `${acme}/flows/dry-run`, { definition, lines, startAt })
  assert.equal(tried.status, 200, tried.text)
  assert.deepEqual(
    [tried.body['outcome'], tried.body['sector'], tried.body['state']],
    ['in_line', 'billing', 'open'],
  )
  await gateway.call('PUT', `${acme}/flows/main`, definition)
  const stored = await gateway.call('POST', `${acme}/flows/dry-run`, { flow: 'main', lines, startAt })
  assert.deepEqual(stored.body, tried.body)
  const both = await gateway.call('POST', `${acme}/flows/dry-run`, { flow: 'main', definition, lines })
  assert.deepEqual([both.status, both.body['field']], [400, 'definition'])
  const tooLong = await gateway.call('POST', `${acme}/flows/dry-run`, {
    flow: 'main',
    lines: Array.from({ length: 101 }, () => ({ say: 'x' })),
  })
  assert.deepEqual([tooLong.status, tooLong.body['field']], [400, 'lines'])
  assert.deepEqual((await gateway.call('GET', '/v1/flow-templates')).body['languages'], ['en', 'pt-BR'])
  assert.equal((await gateway.call('GET', '/v1/flow-templates/none')).status, 404)
  assert.deepEqual((await gateway.call('GET', '/v1/flows/active')).body, { total: 0, oldestMs: 0, flows: [] })
})
