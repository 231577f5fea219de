import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { test, type TestContext } from 'node:test'
import { testEachDatabase } from '@eclusa/storage/test-kit'
import { fileURLToPath } from 'node:url'
import { until } from '@eclusa/kernel/test-kit'
import { createSimulator, type Simulator } from '@eclusa/simulator'
import { KEY, newInstance, pairByQr, startGateway, stateOf, type TestGateway } from './harness.ts'

const SHOP = '5511900000101'
const ANA = '5511900000201'

async function world(t: TestContext): Promise<{ gateway: TestGateway; simulator: Simulator }> {
  const simulator = await createSimulator()
  const gateway = await startGateway(t, { ECLUSA_WHATSAPP_URL: simulator.url })
  t.after(() => simulator.stop())
  return { gateway, simulator }
}

testEachDatabase(
  'a number is paired by QR, sends, is answered, and every step can be asked for',
  async (t) => {
    const { gateway, simulator } = await world(t)
    simulator.addNumber(SHOP)
    const ana = simulator.addContact(ANA, { name: 'Ana', autoRead: true })
    const id = await newInstance(gateway)
    await pairByQr(gateway, simulator.number(SHOP), id)
    const shown = await gateway.call('GET', `/v1/instances/${id}`)
    assert.equal(shown.body['number'], `+${SHOP}`)

    const sent = await gateway.call('POST', `/v1/instances/${id}/messages`, {
      to: `+${ANA}`,
      text: 'Hello Ana',
    })
    const path = `/v1/messages/${String(sent.body['id'])}`
    await until(async () => (await gateway.call('GET', path)).body['state'] === 'READ', 'it is read')
    const { body } = await gateway.call('GET', path)
    const times = ['acceptedAt', 'sentAt', 'deliveredAt', 'readAt'].map((name) =>
      Date.parse(String(body[name])),
    )
    assert.ok(times.every((time) => !Number.isNaN(time)))
    assert.deepEqual(
      ana.inbox.map(({ text, waMessageId }) => ({ text, waMessageId })),
      [{ text: 'Hello Ana', waMessageId: body['waMessageId'] }],
    )

    ana.send(simulator.number(SHOP), 'Hello shop')
    const inbound = `/v1/instances/${id}/inbound`
    await until(
      async () => ((await gateway.call('GET', inbound)).body['items'] as unknown[]).length === 1,
      'the answer is here',
    )
    const page = (await gateway.call('GET', inbound)).body as { items: Record<string, unknown>[]; next: null }
    assert.deepEqual(page.items[0]?.['content'], { kind: 'text', text: 'Hello shop' })
    assert.equal(page.items[0]?.['from'], `+${ANA}`)
    assert.equal(page.items[0]?.['text'], 'Hello shop')
    const after = await gateway.call('GET', `${inbound}?after=${String(page.items[0]?.['id'])}`)
    assert.deepEqual(after.body, { items: [], next: null })
    await simulator.assertClean()
  },
)

test('the QR code comes as JSON, SVG and PNG, and there is none once it is scanned', async (t) => {
  const { gateway, simulator } = await world(t)
  simulator.addNumber(SHOP)
  const id = await newInstance(gateway)
  await gateway.call('POST', `/v1/instances/${id}/start`)
  await until(async () => (await stateOf(gateway, id)) === 'qr', 'a QR code')
  const path = `/v1/instances/${id}/qr`
  for (const [accept, type, start] of [
    ['image/svg+xml', 'image/svg+xml', '<svg'],
    ['image/png', 'image/png', '\ufffdPNG'],
    ['application/json', 'application/json; charset=utf-8', '{"qr":"https://wa.me/'],
    ['*/*', 'application/json; charset=utf-8', '{"qr":"https://wa.me/'],
    ['text/html, image/png;q=0.8', 'image/png', '\ufffdPNG'],
  ] as const) {
    const answer = await gateway.call('GET', path, undefined, { accept })
    assert.equal(answer.status, 200)
    assert.equal(answer.headers.get('content-type'), type)
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    assert.ok(answer.text.startsWith(start), accept)
  }
  const { body } = await gateway.call('GET', path)
  await simulator.number(SHOP).scanQr(String(body['qr']))
  await until(async () => (await stateOf(gateway, id)) === 'online', 'it is online')
  const none = await gateway.call('GET', path)
  assert.equal(none.status, 404)
  assert.match(String(none.body['detail']), /paired/)
})

test('a pairing code can be asked for at once, and links the phone that types it', async (t) => {
  const { gateway, simulator } = await world(t)
  const phone = simulator.addNumber(SHOP)
  const id = await newInstance(gateway)
  const { status, body } = await gateway.call('POST', `/v1/instances/${id}/pairing-code`, {
    number: `+${SHOP}`,
  })
  assert.equal(status, 200)
  assert.match(String(body['code']), /^[0-9A-Z]{8}$/)
  assert.equal(await stateOf(gateway, id), 'code')
  await phone.enterPairingCode(String(body['code']))
  await until(async () => (await stateOf(gateway, id)) === 'online', 'it is online')
  const again = await gateway.call('POST', `/v1/instances/${id}/pairing-code`, { number: `+${SHOP}` })
  assert.equal(again.body['code'], 'SESSION_ALREADY_PAIRED')
})

testEachDatabase('stopping an instance keeps its link and its messages; deleting it ends both', async (t) => {
  const { gateway, simulator } = await world(t)
  const phone = simulator.addNumber(SHOP)
  simulator.addContact(ANA)
  const id = await newInstance(gateway)
  await pairByQr(gateway, simulator.number(SHOP), id)
  await gateway.call('POST', `/v1/instances/${id}/stop`)
  assert.equal(await stateOf(gateway, id), 'stopped')
  assert.equal(phone.devices().length, 1)
  const waiting = await gateway.call('POST', `/v1/instances/${id}/messages`, { to: `+${ANA}`, text: 'Later' })
  await gateway.call('POST', `/v1/instances/${id}/start`)
  const path = `/v1/messages/${String(waiting.body['id'])}`
  await until(
    async () => (await gateway.call('GET', path)).body['state'] === 'DELIVERED',
    'it went out after the start',
  )
  await gateway.call('POST', `/v1/instances/${id}/stop`)
  const last = await gateway.call('POST', `/v1/instances/${id}/messages`, { to: `+${ANA}`, text: 'Never' })
  await gateway.call('POST', `/v1/instances/${id}/start`)
  await gateway.call('POST', `/v1/instances/${id}/stop`)
  assert.equal((await gateway.call('DELETE', `/v1/instances/${id}`)).status, 204)
  for (const { body } of [waiting, last]) {
    const { status } = await gateway.call('GET', `/v1/messages/${String(body['id'])}`)
    assert.equal(status, 404)
  }
  assert.equal((await gateway.call('GET', `/v1/instances/${id}`)).status, 404)
})

test('state changes are events, without the QR code in them', async (t) => {
  const { gateway, simulator } = await world(t)
  simulator.addNumber(SHOP)
  const id = await newInstance(gateway)
  await pairByQr(gateway, simulator.number(SHOP), id)
  const abort = new AbortController()
  t.after(() => abort.abort())
  const response = await fetch(`${gateway.app.url}/v1/events?after=0`, {
    headers: { accept: 'text/event-stream', authorization: `Bearer ${KEY}` },
    signal: abort.signal,
  })
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk as Uint8Array).toString()
    if (text.includes('"state":"online"')) break
  }
  const states = [...text.matchAll(/"payload":\{"state":"(\w+)"/g)].map((match) => match[1])
  assert.equal(states.at(0), 'starting')
  assert.ok(states.includes('qr') && states.at(-1) === 'online', states.join())
  assert.doesNotMatch(text, /2@/)
})

test('the command line pairs: by QR code into a new instance, by code, and says so when it is done already', async (t) => {
  const { gateway, simulator } = await world(t)
  const phone = simulator.addNumber(SHOP)
  const seen: Record<string, unknown>[] = []
  const pair = async (
    args: readonly string[],
    onFact: (fact: Record<string, unknown>) => Promise<unknown>,
  ): Promise<void> => {
    const bin = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))
    const child = spawn(process.execPath, [bin, 'pair', '--json', '--url', gateway.app.url, ...args], {
      env: { PATH: process.env['PATH'], ECLUSA_API_KEY: KEY },
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 30_000,
    })
    for await (const line of createInterface({ input: child.stdout })) {
      const fact = JSON.parse(line) as Record<string, unknown>
      seen.push(fact)
      await onFact(fact)
    }
    if (child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve))
    assert.equal(child.exitCode, 0)
  }
  const scan = async ({ qr }: Record<string, unknown>): Promise<unknown> =>
    typeof qr === 'string' ? phone.scanQr(qr) : undefined
  await pair(['--tenant', 'acme', '--name', 'Front desk'], scan)
  const first = seen.at(-1)
  assert.equal(first?.['state'], 'online')
  assert.equal(first?.['number'], `+${SHOP}`)
  // The same tenant and name is the same instance, not another one.
  await pair(['--tenant', 'acme', '--name', 'Front desk'], scan)
  assert.deepEqual(seen.at(-1), first)

  await gateway.call('POST', `/v1/instances/${String(first?.['id'])}/logout`)
  await pair([String(first?.['id']), '--code', '+55 11 90000-0101'], async ({ code }) =>
    typeof code === 'string' ? phone.enterPairingCode(code) : undefined,
  )
  assert.deepEqual(seen.at(-1), first)
})
