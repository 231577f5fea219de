import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { until } from '@eclusa/kernel/test-kit'
import { createSimulator } from '@eclusa/simulator'
import { KEY, newInstance, pairByQr, startGateway } from './harness.ts'

const run = promisify(execFile)
const bin = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))

const SHOP = '5511900000101'
const ANA = '5521900000201'

test('what was set aside is listed, tried again or dropped, by its own tenant alone', async (t) => {
  const simulator = await createSimulator()
  t.after(() => simulator.stop())
  const gateway = await startGateway(t, { ECLUSA_WHATSAPP_URL: simulator.url })
  const ana = simulator.addContact(ANA, { name: 'Ana' })
  const id = await newInstance(gateway)
  await pairByQr(gateway, simulator.addNumber(SHOP), id)
  ana.send(simulator.number(SHOP), 'Hello shop')
  const path = `/v1/instances/${id}/inbound`
  const eclusa = async (...args: readonly string[]): Promise<string> => {
    const env = { PATH: process.env['PATH'], ECLUSA_API_KEY: KEY }
    const { stdout } = await run(process.execPath, [bin, 'inbound', ...args, '--url', gateway.app.url], {
      env,
    })
    return stdout
  }
  const messages = async (at: string): Promise<Record<string, unknown>[]> =>
    (await gateway.call('GET', at)).body['items'] as Record<string, unknown>[]
  await until(async () => (await messages(path)).length === 1, 'it came in')

  const database = new DatabaseSync(join(gateway.folder, 'data', 'eclusa.db'), { timeout: 5000 })
  t.after(() => database.close())
  const settled = (): unknown =>
    database.prepare('SELECT settled_at FROM "InboundMessage"').get()?.['settled_at']
  await until(() => settled() !== null, 'it is processed')
  const setAside = (): void => {
    database.exec(
      `UPDATE "InboundMessage" SET settled_at = NULL, attempts = 5, set_aside_at = 1000, set_aside_reason = 'no room'`,
    )
  }

  setAside()
  const [item] = await messages(`${path}/set-aside`)
  assert.equal(item?.['from'], `+${ANA}`)
  assert.deepEqual(item?.['content'], { kind: 'text', text: 'Hello shop' })
  assert.deepEqual(
    [item?.['setAsideAt'], item?.['reason'], item?.['attempts']],
    ['1970-01-01T00:00:01.000Z', 'no room', 5],
  )
  const one = `${path}/set-aside/${String(item?.['id'])}`
  assert.match(await eclusa('set-aside', id), /Hello shop +set aside: no room/)
  assert.match(await eclusa('retry', id, String(item?.['id'])), /is processed again/)
  assert.deepEqual(await messages(`${path}/set-aside`), [])
  await until(() => settled() !== null, 'it is processed now')
  for (const [method, at] of [
    ['POST', `${one}/retry`],
    ['DELETE', one],
    ['DELETE', `${path}/set-aside/x`],
  ] as const) {
    const { status, body } = await gateway.call(method, at)
    assert.deepEqual([status, body['code']], [404, 'GATEWAY_NOT_SET_ASIDE'])
  }

  setAside()
  const { body: key } = await gateway.call('POST', '/v1/keys', { tenant: 'other', name: 'theirs' })
  if (typeof key['key'] === 'string') {
    const stranger = await gateway.raw('GET', `${path}/set-aside`, { authorization: `Bearer ${key['key']}` })
    assert.equal(stranger.status, 404)
  }
  assert.equal((await gateway.call('DELETE', one)).status, 204)
  assert.deepEqual(await messages(`${path}/set-aside`), [])
  assert.notEqual(settled(), null)
  assert.equal((await messages(path)).length, 1, 'it stays in the journal')
})
