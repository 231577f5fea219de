import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { createSimulator } from '@eclusa/simulator'
import { runSql, testEachDatabase } from '@eclusa/storage/test-kit'
import { type Answer, KEY, newInstance, pairByQr, startGateway, type TestGateway } from './harness.ts'

const SHOP = '5511900000101'
const ANA = '5511987650201'
const people = '/v1/tenants/acme/contacts'

interface Shown {
  readonly id: string
  readonly address: string
  readonly name: string | null
  readonly pushName: string | null
  readonly tags: string[]
  readonly fields: Record<string, string>
  readonly optedOutAt: string | null
}

const itemsOf = ({ body }: Answer): Shown[] => body['items'] as Shown[]

function importing(gateway: TestGateway, type: string, text: string): Promise<Answer> {
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': type }
  return gateway.raw('POST', '/v1/tenants/acme/contacts-import', headers, text)
}

testEachDatabase('contacts: made, found, changed, noted, listed, and nobody else’s', async (t) => {
  const gateway = await startGateway(t)
  const made = await gateway.call('POST', people, {
    address: '+5511987654321',
    name: 'Ana Lima',
    tags: ['vip'],
  })
  assert.equal(made.status, 201, made.text)
  const id = String(made.body['id'])
  const again = await gateway.call('POST', people, { address: '+551187654321', fields: { city: 'Recife' } })
  assert.deepEqual([again.status, again.body['id'], again.body['name']], [200, id, 'Ana Lima'])
  await gateway.call('POST', people, { address: '77001@lid', name: 'João' })

  const etag = again.headers.get('etag')
  const path = `${people}/${id}`
  const changed = await gateway.call('PATCH', path, { zone: 'america/manaus' }, { 'if-match': String(etag) })
  assert.deepEqual([changed.status, changed.body['zone']], [200, 'America/Manaus'])
  const stale = await gateway.call('PATCH', path, { name: 'x' }, { 'if-match': String(etag) })
  assert.deepEqual([stale.status, stale.body['code']], [412, 'CONTACT_CHANGED'])
  const wrong = await gateway.call('PATCH', path, { fields: { City: 'x' } })
  assert.deepEqual([wrong.status, wrong.body['field']], [400, 'fields.City'])
  assert.equal((await gateway.call('PATCH', path, { colour: 'red' })).body['field'], 'colour')

  assert.equal((await gateway.call('POST', `${path}/notes`, { text: 'calls at noon' })).status, 201)
  const [note] = (await gateway.call('GET', `${path}/notes`)).body['items'] as { id: number; text: string }[]
  assert.equal(note?.text, 'calls at noon')
  assert.equal((await gateway.call('DELETE', `${path}/notes/${note.id}`)).status, 204)
  assert.equal((await gateway.call('DELETE', `${path}/notes/${note.id}`)).status, 404)

  const found = async (query: string): Promise<(string | null)[]> =>
    itemsOf(await gateway.call('GET', `${people}?${query}`)).map(({ name }) => name)
  assert.deepEqual(await found('tag=vip'), ['Ana Lima'])
  assert.deepEqual(await found('name=joao'), ['João'])
  assert.deepEqual(new Set(await found('')), new Set(['Ana Lima', 'João']))
  const first = await gateway.call('GET', `${people}?limit=1`)
  const second = await gateway.call('GET', `${people}?limit=1&after=${String(first.body['next'])}`)
  assert.equal(new Set([...itemsOf(first), ...itemsOf(second)].map((one) => one.id)).size, 2)

  const stop = { entries: [{ contact: '+551187654321', kind: 'opt_out' }] }
  assert.equal((await gateway.call('POST', '/v1/tenants/acme/ledger', stop)).status, 201)
  assert.deepEqual(await found('optedOut=true'), ['Ana Lima'])
  assert.deepEqual(await found('optedOut=false'), ['João'])

  await gateway.call('POST', '/v1/tenants', { id: 'other' })
  const elsewhere = await gateway.call('GET', `/v1/tenants/other/contacts/${id}`)
  assert.deepEqual([elsewhere.status, elsewhere.body['code']], [404, 'CONTACT_UNKNOWN'])
  assert.equal((await gateway.call('GET', `${people}/+5511987654321`)).body['id'], id)
  assert.equal((await gateway.call('GET', `${people}/+5511900000000`)).status, 404)
})

test('imports and exports NDJSON and CSV, the same again changes nothing, a bad line takes nothing', async (t) => {
  const gateway = await startGateway(t)
  const csv =
    '\ufeffaddress,name,tags,field.city\r\n' +
    '+5511987654321,"Lima, ""Ana""",vip|new,Recife\r\n' +
    '+14155550100,=HYPERLINK(1),,"two\nlines"\r\n'
  const first = await importing(gateway, 'text/csv', csv)
  assert.deepEqual(first.body, { lines: 2, created: 2, changed: 0, unchanged: 0 }, first.text)
  const again = await importing(gateway, 'text/csv', csv)
  assert.deepEqual(again.body, { lines: 2, created: 0, changed: 0, unchanged: 2 })
  const ana = itemsOf(await gateway.call('GET', `${people}?name=lima`))[0]
  assert.deepEqual([ana?.name, ana?.tags, ana?.fields], ['Lima, "Ana"', ['new', 'vip'], { city: 'Recife' }])

  const exported = await gateway.call('GET', '/v1/tenants/acme/contacts-export?format=csv&fields=city')
  assert.match(exported.text, /'=HYPERLINK/, 'no formula for a spreadsheet')
  const back = await importing(gateway, 'text/csv', exported.text)
  assert.deepEqual(back.body, { lines: 2, created: 0, changed: 0, unchanged: 2 }, back.text)
  const lines = await gateway.call('GET', '/v1/tenants/acme/contacts-export')
  const backLines = await importing(gateway, 'application/x-ndjson', lines.text)
  assert.deepEqual(backLines.body, { lines: 2, created: 0, changed: 0, unchanged: 2 }, backLines.text)

  const bad = [
    ['application/x-ndjson', '{"address":"+5511911111111"}\n{"address":"+55"}', 'address', 'line 2'],
    ['application/x-ndjson', '{"address":"+5511911111111"}\n\n[]', 'line', 'line 3'],
    ['application/x-ndjson', '{"address":"+5511911111111","tags":"vip"}', 'tags', 'line 1'],
    ['text/csv', 'address,name\n+5511911111111,a\n"+1\n2",b', 'address', 'line 3'],
    ['text/csv', 'address,name\n+5511911111111', 'line', 'line 2'],
    ['text/csv', 'address,name\n+5511911111111,"a', 'line', 'line 2'],
    ['text/csv', 'address,colour\n+5511911111111,red', 'colour', 'line 2'],
  ] as const
  for (const [type, text, field, line] of bad) {
    const answer = await importing(gateway, type, text)
    assert.deepEqual([answer.status, answer.body['field']], [400, field], answer.text)
    assert.match(String(answer.body['detail']), new RegExp(line))
  }
  assert.equal((await gateway.call('GET', `${people}/+5511911111111`)).status, 404)
})

testEachDatabase(
  'who writes STOP is told once and gets nothing more; who is erased is nowhere, and is still not written to',
  async (t) => {
    const simulator = await createSimulator()
    const gateway = await startGateway(t, { ECLUSA_WHATSAPP_URL: simulator.url })
    t.after(() => simulator.stop())
    simulator.addNumber(SHOP)
    const ana = simulator.addContact(ANA, { name: 'Zulmira' })
    const id = await newInstance(gateway)
    await pairByQr(gateway, simulator.number(SHOP), id)
    const send = async (text: string): Promise<string> => {
      const { body } = await gateway.call('POST', `/v1/instances/${id}/messages`, { to: `+${ANA}`, text })
      const path = `/v1/messages/${String(body['id'])}`
      await until(async () => {
        const state = String((await gateway.call('GET', path)).body['state'])
        return state !== 'PENDING' && state !== 'PROCESSING'
      }, 'it ended')
      const { state, failure } = (await gateway.call('GET', path)).body as {
        state: string
        failure: { code: string } | null
      }
      return failure?.code ?? state
    }
    ana.send(simulator.number(SHOP), 'bom dia, aqui fala Quitéria')
    await until(async () => itemsOf(await gateway.call('GET', people)).length === 1, 'the contact is known')
    await send('olá Zulmira')
    ana.send(simulator.number(SHOP), 'Parar!')
    await until(() => ana.inbox.some(({ text }) => /VOLTAR/.test(text ?? '')), 'the confirmation')
    const [contact] = itemsOf(await gateway.call('GET', `${people}?optedOut=true`))
    assert.equal(contact?.pushName, 'Zulmira')
    assert.equal(await send('one more thing'), 'CONTACT_OPTED_OUT')
    await gateway.call('POST', `${people}/${contact.id}/notes`, { text: 'likes Quitéria' })

    const exported = await gateway.call('GET', `${people}/${contact.id}/export`)
    const kinds = exported.text
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { kind: string }).kind)
    assert.deepEqual(
      new Set(kinds),
      new Set(['contact', 'note', 'conversation', 'entry', 'ledger', 'inbound', 'outbound']),
      exported.text,
    )
    assert.match(exported.text, /Quitéria/)
    assert.match(exported.text, /olá Zulmira/)

    const erased = await gateway.call('DELETE', `${people}/${contact.id}`)
    assert.equal(erased.status, 200, erased.text)
    const { removed } = erased.body as { removed: Record<string, number> }
    assert.deepEqual(
      [removed['Contact'], removed['ContactNote'], removed['InboundMessage'], removed['Conversation']],
      [1, 1, 2, 1],
    )
    assert.deepEqual(
      await traces(gateway, [ANA, `5511${ANA.slice(5)}`, 'Zulmira', 'Quitéria', contact.id]),
      [],
    )
    for (const path of [people, '/v1/messages', `/v1/instances/${id}/inbound`, '/v1/tenants/acme/ledger']) {
      assert.deepEqual(itemsOf(await gateway.call('GET', path)), [], path)
    }
    const events = await eventsOf(gateway)
    assert.doesNotMatch(events, new RegExp(`${ANA}|Zulmira|Quitéria`))
    assert.equal(await send('hello again'), 'CONTACT_OPTED_OUT')
    ana.send(simulator.number(SHOP), 'voltar')
    await until(() => ana.inbox.some(({ text }) => /PARAR/.test(text ?? '')), 'they came back')
    assert.notEqual(await send('welcome back'), 'CONTACT_OPTED_OUT')
  },
)

/** Where in the database any of these stands in clear, but for what the protocol needs. */
async function traces(gateway: TestGateway, needles: readonly string[]): Promise<string[]> {
  const needed = ['SignalKey', 'SharedFact', 'Credential']
  const rowsOf = await reader(gateway)
  const found: string[] = []
  for (const table of await rowsOf.tables()) {
    if (needed.includes(table)) continue
    for (const row of await rowsOf.all(table)) {
      for (const [column, value] of Object.entries(row)) {
        const text = value instanceof Uint8Array ? Buffer.from(value).toString() : String(value)
        // That they were erased is told.
        if (table === 'Event' && text.includes('"contact":"con_')) continue
        for (const needle of needles) if (text.includes(needle)) found.push(`${table}.${column}: ${needle}`)
      }
    }
  }
  rowsOf.end()
  return found
}

async function reader(gateway: TestGateway) {
  if (gateway.databaseUrl !== '') {
    const sql = (text: string): Promise<Record<string, unknown>[]> =>
      runSql(gateway.databaseUrl, text) as Promise<Record<string, unknown>[]>
    return {
      tables: async () =>
        (
          await sql(
            'select table_name as name from information_schema.tables where table_schema = current_schema()',
          )
        ).map(({ name }) => String(name)),
      all: (table: string) => sql(`select * from "${table}"`),
      end: () => {},
    }
  }
  const database = new DatabaseSync(join(gateway.folder, 'data', 'eclusa.db'), { readOnly: true })
  return {
    tables: async () =>
      database
        .prepare("select name from sqlite_master where type = 'table' and name not like 'sqlite%'")
        .all()
        .map(({ name }) => String(name)),
    all: async (table: string) =>
      database.prepare(`select * from "${table}"`).all() as Record<string, unknown>[],
    end: () => database.close(),
  }
}

/** All events of the log, as they are streamed. */
async function eventsOf(gateway: TestGateway): Promise<string> {
  const abort = new AbortController()
  const response = await fetch(`${gateway.app.url}/v1/events?after=0`, {
    headers: { accept: 'text/event-stream', authorization: `Bearer ${KEY}` },
    signal: abort.signal,
  })
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true })
    if (text.includes('event: contact.erased')) break
  }
  abort.abort()
  return text
}

test('a tenant’s own words are set over HTTP, heard in a dry run, and refused by the word that is wrong', async (t) => {
  const gateway = await startGateway(t)
  const settings = '/v1/tenants/acme/contact-settings'
  const words = async (): Promise<unknown> => (await gateway.call('GET', settings)).body['words']
  assert.deepEqual(await words(), { optOut: [], person: [] })
  const own = { optOut: ['Chega de ofertas'], person: ['vendedora'] }
  assert.equal((await gateway.call('PUT', `${settings}/words`, own)).status, 204)
  assert.deepEqual(await words(), own)
  for (const [body, field] of [
    [{ optOut: ['voltar'] }, 'optOut.0'],
    [{ person: ['vendedora', 7] }, 'person.1'],
    [{ stop: [] }, 'stop'],
  ] as const) {
    const answer = await gateway.call('PUT', `${settings}/words`, body)
    assert.deepEqual([answer.status, answer.body['field']], [400, field], answer.text)
  }
  assert.deepEqual(await words(), own, 'what is refused changes nothing')
  const menu = {
    id: 'menu',
    kind: 'menu',
    text: 'What is it about?',
    options: [{ label: 'Sales', next: 'person' }],
  }
  const definition = {
    format: 1,
    starts: 'everybody',
    start: 'menu',
    steps: [menu, { id: 'person', kind: 'hand_over' }],
  }
  const outcomeFor = async (tenant: string, text: string): Promise<unknown> => {
    const lines = [{ say: 'hi' }, { say: text }]
    const path = `/v1/tenants/${tenant}/flows/dry-run`
    return (await gateway.call('POST', path, { definition, lines })).body['outcome']
  }
  assert.equal(await outcomeFor('acme', 'Vendedora!'), 'wants_person')
  assert.equal(await outcomeFor('acme', 'chega de ofertas'), 'opted_out')
  assert.equal(await outcomeFor('other', 'chega de ofertas'), null)
})

test('over HTTP, outside of the hours either the flow that looks at them or the automatic reply speaks, not both', async (t) => {
  const simulator = await createSimulator()
  t.after(() => simulator.stop())
  const gateway = await startGateway(t, { ECLUSA_WHATSAPP_URL: simulator.url, ECLUSA_LIMITS: 'off' })
  const id = await newInstance(gateway)
  await pairByQr(gateway, simulator.addNumber(SHOP), id)
  const acme = '/v1/tenants/acme'
  const ok = async (method: string, path: string, body?: unknown): Promise<void> => {
    const answer = await gateway.call(method, path, body)
    assert.ok(answer.status < 300, answer.text)
  }
  const never = { zone: 'America/Sao_Paulo', week: {} }
  await ok('POST', `${acme}/sectors`, { id: 'desk', name: 'Desk', rule: 'manual' })
  await ok('PUT', `${acme}/contact-settings/auto-replies`, {
    tenant: { hours: never, text: 'The reply: we are closed' },
  })
  await ok('PUT', `${acme}/flows/main`, {
    format: 1,
    starts: 'everybody',
    start: 'hours',
    steps: [
      { id: 'hours', kind: 'hours', hours: never, open: 'person', closed: 'say' },
      { id: 'say', kind: 'send', text: 'The flow: we are closed', next: 'person' },
      { id: 'person', kind: 'hand_over' },
    ],
  })
  await ok('POST', `${acme}/flows/main/publish`)
  const desk = simulator.number(SHOP)
  const heardBy = (phone: { readonly inbox: readonly { readonly text: string | null }[] }) =>
    phone.inbox.map(({ text }) => text)
  const ana = simulator.addContact(ANA, { name: 'Ana' })
  ana.send(desk, 'hello')
  await until(() => heardBy(ana).length > 0, 'the flow answers')
  await ok('DELETE', `${acme}/flows/main/publish`)
  const bia = simulator.addContact('5521900000202', { name: 'Bia' })
  bia.send(desk, 'hello')
  await until(() => heardBy(bia).length > 0, 'the reply answers')
  assert.deepEqual(heardBy(bia), ['The reply: we are closed'])
  const messages = await gateway.call(
    'GET',
    `/v1/messages?instance=${id}&chat=${encodeURIComponent(`+${ANA}`)}`,
  )
  assert.equal(itemsOf(messages).length, 1, 'nothing else is on its way to her')
  // Her flow has ended; what she writes now no flow takes.
  ana.send(desk, 'are you there?')
  await until(() => heardBy(ana).length > 1, 'now the reply answers her too')
  assert.deepEqual(heardBy(ana), ['The flow: we are closed', 'The reply: we are closed'])
})
