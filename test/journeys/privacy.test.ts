import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { until } from '@eclusa/kernel/test-kit'
import { makeTestSchema, runSql, testEachDatabase } from '@eclusa/storage/test-kit'
import { API_KEY, GatewayProcess, SimulatorProcess } from '../harness.ts'

const COMPANY = '5511900000001'
const CONTACT = '5511910000077'
const STRANGER = '5511910000078'

/** Words that must stand nowhere but in the answers to whoever may ask for them. */
const WORDS = {
  'the text of a message that came in': 'canary-inbound-marmalade',
  'the text of a message that went out': 'canary-outbound-tangerine',
  'the text of a message that waits': 'canary-waiting-quince',
  'the name a contact gave themselves': 'Canary Pushname Zuleica',
  'a name that was given to a contact': 'Canary Given Name Ottilie',
  'a field of a contact': 'canary-field-apricot',
  'a note about a contact': 'canary-note-persimmon',
  'what a flow says': 'canary-flow-mulberry',
  'what a menu understands': 'canary-menu-loquat',
  'a note in a conversation': 'canary-entry-damson',
  'a text that is refused': 'canary-refused-medlar',
} as const

const FLOW = {
  format: 1,
  starts: 'everybody',
  start: 'menu',
  steps: [
    {
      id: 'menu',
      kind: 'menu',
      text: WORDS['what a flow says'],
      options: [
        { label: WORDS['what a menu understands'], next: 'person' },
        { label: 'Something else', next: 'person' },
      ],
    },
    { id: 'person', kind: 'hand_over' },
  ],
}

testEachDatabase(
  'what people say and are called, and every secret, is in no log, error, report or byte of the database',
  async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'eclusa-privacy-'))
    const { url, drop } = await makeTestSchema(t)
    const simulator = await SimulatorProcess.start(t)
    const gateway = await GatewayProcess.start(t, {
      whatsapp: simulator.whatsapp,
      folder,
      env: { ECLUSA_LOG_LEVEL: 'debug', ECLUSA_LOG_FORMAT: 'json', ECLUSA_DATABASE_URL: url },
    })
    t.after(async () => {
      await gateway.stop()
      await drop()
      rmSync(folder, { recursive: true, force: true })
    })
    const seen = await walk(simulator, gateway)

    const keyFile = path.join(folder, 'data.key')
    const secrets = {
      'the API key': API_KEY,
      'the master key': readFileSync(keyFile, 'utf8').trim().split(' ')[1] ?? '',
      'what a QR code holds': seen.qr,
    }
    // Numbers are what chats are found by, so they stand in the database; in logs, errors and reports they do not.
    const numbers = { 'a number': CONTACT, 'a number nobody answers': STRANGER, 'our own number': COMPANY }

    const outside = {
      log: gateway.output,
      'answers with errors': seen.errors,
      'the report of memory': JSON.stringify(await gateway.call('GET', '/v1/memory')),
      'the report of keys': JSON.stringify(await gateway.call('GET', '/v1/encryption')),
    }
    assert.ok(gateway.output.includes('"level":"debug"') && gateway.output.length < 200_000)
    for (const [where, text] of Object.entries(outside)) {
      for (const [what, canary] of Object.entries({ ...WORDS, ...secrets, ...numbers })) {
        const at = text.indexOf(canary)
        assert.equal(at, -1, `${what} stands in ${where}: ${text.slice(Math.max(0, at - 300), at + 100)}`)
      }
    }

    // As it lies on disk: killed, so that nothing is tidied up first.
    await gateway.kill()
    const stored = url === '' ? filesOf(path.join(folder, 'data')) : await columnsOf(url)
    assert.ok(stored.includes(CONTACT), 'it is the database that was written')
    for (const [what, canary] of Object.entries({ ...WORDS, ...secrets })) {
      for (const form of [
        canary,
        Buffer.from(canary).toString('hex'),
        Buffer.from(canary).toString('base64'),
      ]) {
        assert.equal(stored.includes(form), false, `${what} stands in the database`)
      }
    }
    const key = Buffer.from(secrets['the master key'], 'base64')
    assert.equal(stored.includes(key), false, 'the master key stands in the database')
    // Nothing is sealed in the old way, and everything with the key of its own tenant.
    if (url === '') {
      const database = new DatabaseSync(path.join(folder, 'data', 'eclusa.db'), { readOnly: true })
      const tenants = database.prepare('select tenant, uses from "DataKey" order by tenant').all()
      assert.deepEqual(
        tenants.map((row) => row['tenant']),
        ['*', 'exatron', 'other'],
      )
      database.close()
    }
  },
)

/** Everything a canary can be put into. */
async function walk(
  simulator: SimulatorProcess,
  gateway: GatewayProcess,
): Promise<{ readonly errors: string; readonly qr: string }> {
  let qr = ''
  await simulator.call('POST', '/contacts', {
    number: CONTACT,
    name: WORDS['the name a contact gave themselves'],
    autoReceipt: true,
    autoRead: true,
  })
  await simulator.call('POST', '/numbers', { number: COMPANY, name: 'Company' })
  const tenant = '/v1/tenants/exatron'
  await gateway.call('PUT', `${tenant}/flows/main`, FLOW)
  await gateway.call('POST', `${tenant}/flows/main/publish`, {})
  await gateway.call('POST', '/v1/tenants/other/instances', { name: 'Other' })
  const instance = await gateway.link({
    name: 'Front desk',
    tenant: 'exatron',
    scan(code) {
      qr = code
      return simulator.call('POST', `/numbers/${COMPANY}/scan`, { qr: code })
    },
  })
  const say = (text: string): Promise<unknown> =>
    simulator.call('POST', `/contacts/${CONTACT}/send`, { to: COMPANY, text })
  await say(WORDS['the text of a message that came in'])
  await until(
    async () => (await simulator.inbox(CONTACT)).some(({ text }) => text.includes(WORDS['what a flow says'])),
    'the flow has answered',
  )
  await say('2')
  const sent = await gateway.send(instance, CONTACT, WORDS['the text of a message that went out'])
  await gateway.untilMessage(sent.id, 'READ')

  const contact = encodeURIComponent(`+${CONTACT}`)
  await gateway.call('PATCH', `${tenant}/contacts/${contact}`, {
    name: WORDS['a name that was given to a contact'],
    fields: { cpf: WORDS['a field of a contact'] },
  })
  await gateway.call('POST', `${tenant}/contacts/${contact}/notes`, {
    by: 'op1',
    text: WORDS['a note about a contact'],
  })
  const { items } = await gateway.call<{ items: { id: string }[] }>('GET', `${tenant}/conversations`)
  await gateway.call('POST', `/v1/conversations/${items[0]?.id}/notes`, {
    text: WORDS['a note in a conversation'],
  })
  const errors: string[] = []
  const refuse = async (
    method: string,
    url: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<void> => {
    const response = await gateway.fetch(method, url, body, headers)
    assert.ok(response.status >= 400, `${method} ${url} was not refused`)
    errors.push(await response.text())
  }
  const text = WORDS['a text that is refused']
  await refuse('POST', `/v1/instances/${instance}/messages`, { to: `+${CONTACT}`, text, extra: text })
  await refuse('POST', `/v1/instances/${instance}/messages`, { to: text, text })
  await refuse('POST', `/v1/instances/${instance}/messages`, { to: `+${CONTACT}`, text: [text] })
  await refuse('POST', `/v1/instances/${instance}/messages`, { to: `+${CONTACT}`, text, priority: text })
  await refuse('PUT', `${tenant}/flows/main`, { ...FLOW, steps: text })
  await refuse('GET', `${tenant}/contacts/${encodeURIComponent(`+${STRANGER}`)}`)
  await refuse('GET', '/v1/instances', undefined, { authorization: `Bearer x${API_KEY}` })
  await refuse('GET', `/v1/events?after=${CONTACT}${text}`)

  // Last: what waits is not sent any more.
  await gateway.call('POST', `/v1/instances/${instance}/stop`)
  await gateway.send(instance, STRANGER, WORDS['the text of a message that waits'])
  return { errors: errors.join('\n'), qr }
}

/** All files, the log of what is not in its place yet among them. */
function filesOf(folder: string): Buffer {
  return Buffer.concat(readdirSync(folder).map((file) => readFileSync(path.join(folder, file))))
}

/** Every value of every table. */
async function columnsOf(url: string): Promise<Buffer> {
  const tables = (await runSql(
    url,
    'select table_name as name from information_schema.tables where table_schema = current_schema()',
  )) as readonly { readonly name: string }[]
  const values: Buffer[] = []
  for (const { name } of tables) {
    for (const row of await runSql(url, `select * from "${name}"`)) {
      for (const value of Object.values(row) as unknown[]) {
        values.push(Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value) ?? ''))
      }
    }
  }
  return Buffer.concat(values)
}
