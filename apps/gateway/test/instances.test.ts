import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test, type TestContext } from 'node:test'
import { silentLogger } from '@eclusa/kernel'
import { ManualClock, settle, until } from '@eclusa/kernel/test-kit'
import { createSimulator, type NumberPhone, type Simulator } from '@eclusa/simulator'
import { testEachDatabase } from '@eclusa/storage/test-kit'
import { ServerTrust } from '../src/simulator-trust.ts'
import { newInstance, pairByQr, startGateway, stateOf, type TestGateway } from './harness.ts'

const SHOP = '5511900000101'
const ANA = '5511900000201'

async function world(
  t: TestContext,
): Promise<{ gateway: TestGateway; simulator: Simulator; phone: NumberPhone; id: string }> {
  const simulator = await createSimulator()
  const gateway = await startGateway(t, { ECLUSA_WHATSAPP_URL: simulator.url })
  t.after(() => simulator.stop())
  simulator.addContact(ANA, { autoRead: true })
  const phone = simulator.addNumber(SHOP)
  return { gateway, simulator, phone, id: await newInstance(gateway) }
}

async function shownOf(gateway: TestGateway, id: string): Promise<Record<string, unknown>> {
  const { state, number, reason, since } = (await gateway.call('GET', `/v1/instances/${id}`)).body
  return { state, number, code: (reason as { code: string } | null)?.code ?? null, since }
}

testEachDatabase(
  'a banned number is not logged in again by a restart, and is shown as before; starting it tries anew',
  async (t) => {
    const { gateway, simulator, phone, id } = await world(t)
    await pairByQr(gateway, phone, id)
    phone.devices()[0]?.ban()
    await until(async () => (await stateOf(gateway, id)) === 'banned', 'it is banned')
    const before = await shownOf(gateway, id)
    assert.deepEqual(
      { ...before, since: 0 },
      { state: 'banned', number: `+${SHOP}`, code: 'SESSION_BANNED', since: 0 },
    )
    const { total } = simulator.stats.connections

    await gateway.restart()
    assert.deepEqual(await shownOf(gateway, id), before)
    await gateway.restart()
    assert.deepEqual(await shownOf(gateway, id), before)
    assert.equal(simulator.stats.connections.total, total)

    phone.devices()[0]?.allowLogin()
    await gateway.call('POST', `/v1/instances/${id}/start`)
    await until(async () => (await stateOf(gateway, id)) === 'online', 'it is online again')
    await gateway.restart()
    await until(async () => (await stateOf(gateway, id)) === 'online', 'it is online after a restart')
  },
)

test('a number unlinked on the phone stays logged out over a restart, without its number', async (t) => {
  const { gateway, simulator, phone, id } = await world(t)
  await pairByQr(gateway, phone, id)
  phone.devices()[0]?.logout401()
  await until(async () => (await stateOf(gateway, id)) === 'logged_out', 'it is logged out')
  const before = await shownOf(gateway, id)
  assert.equal(before['number'], null)
  const { total } = simulator.stats.connections
  await gateway.restart()
  assert.deepEqual(await shownOf(gateway, id), before)
  assert.equal(simulator.stats.connections.total, total)
})

test('a stopped instance still shows its number after a restart, until it is logged out', async (t) => {
  const { gateway, phone, id } = await world(t)
  await pairByQr(gateway, phone, id)
  await gateway.call('POST', `/v1/instances/${id}/stop`)
  await gateway.restart()
  assert.deepEqual(
    { ...(await shownOf(gateway, id)), since: 0 },
    { state: 'stopped', number: `+${SHOP}`, code: null, since: 0 },
  )
  const loggedOut = await gateway.call('POST', `/v1/instances/${id}/logout`)
  assert.deepEqual([loggedOut.body['state'], loggedOut.body['number']], ['logged_out', null])
  await gateway.restart()
  assert.equal((await shownOf(gateway, id))['number'], null)
})

test('nothing of a deleted instance stays, in any table; another instance keeps all', async (t) => {
  const { gateway, phone, id } = await world(t)
  const other = await newInstance(gateway)
  await pairByQr(gateway, phone, id)
  const send = async (instance: string, text: string): Promise<string> => {
    const path = `/v1/instances/${instance}/messages`
    const answer = await gateway.call('POST', path, { to: `+${ANA}`, text }, { 'idempotency-key': text })
    return `/v1/messages/${String(answer.body['id'])}`
  }
  const theirs = await send(other, 'Waits')
  const sent = await send(id, 'Hello')
  await until(async () => (await gateway.call('GET', sent)).body['state'] === 'READ', 'it is read')
  await gateway.call('POST', `/v1/instances/${id}/stop`)
  const waiting = await send(id, 'Later')
  assert.equal((await gateway.call('DELETE', `/v1/instances/${id}`)).status, 204)
  for (const path of [sent, waiting]) assert.equal((await gateway.call('GET', path)).status, 404)
  assert.equal((await gateway.call('GET', theirs)).body['state'], 'PENDING')
  await gateway.app.stop()

  const database = new DatabaseSync(join(gateway.folder, 'data', 'eclusa.db'), { readOnly: true })
  t.after(() => database.close())
  const tables = database
    .prepare(
      `select m.name as name, c.name as key from sqlite_master m join pragma_table_info(m.name) c
       where m.type = 'table' and (c.name = 'instance' or (m.name = 'Instance' and c.name = 'id'))`,
    )
    .all()
  assert.ok(tables.length >= 8, `${tables.length} tables name an instance`)
  for (const { name, key } of tables) {
    const rows = database
      .prepare(`select count(*) as n from "${String(name)}" where "${String(key)}" = ?`)
      .get(id)
    assert.equal(rows?.['n'], 0, String(name))
  }
  assert.ok(Number(database.prepare('select count(*) as n from "Event"').get()?.['n']) > 0)
})

test('an instance is unknown from the moment it is being deleted: no start brings its session back', async (t) => {
  const { gateway, simulator, id } = await world(t)
  const path = `/v1/instances/${id}`
  await gateway.call('POST', `${path}/start`)
  await until(async () => (await stateOf(gateway, id)) === 'qr', 'a QR code')
  const answers = await Promise.all([
    gateway.call('DELETE', path),
    gateway.call('DELETE', path),
    ...Array.from({ length: 30 }, () => gateway.call('POST', `${path}/start`)),
  ])
  assert.equal(answers[0]?.status, 204)
  for (const { status } of answers) assert.ok([200, 204, 404].includes(status), String(status))
  assert.equal((await gateway.call('GET', path)).status, 404)
  assert.equal((await gateway.call('DELETE', path)).status, 404)
  await until(() => simulator.stats.connections.now === 0, 'its connection has ended')
  await settle(50)
  assert.equal(simulator.stats.connections.now, 0)
})

test('a simulator that tells its key late is asked again until patience ends, and again before a session', async (t) => {
  let asked = 0
  let tells = false
  const server = createServer((_, response) => {
    asked++
    if (tells) response.end(JSON.stringify({ publicKey: Buffer.from('key').toString('base64') }))
    else response.writeHead(503).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => void server.close())
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws/chat`
  const clock = new ManualClock()
  const used: (string | null)[] = []
  const use = (key: Uint8Array | null): void => {
    used.push(key === null ? null : Buffer.from(key).toString())
  }
  const trust = new ServerTrust({ url, use, clock, log: silentLogger })
  const settled = trust.settle(500)
  for (let n = 1; n <= 3; n++) {
    await until(() => asked === n && clock.pendingTimers === (n < 3 ? 1 : 0), `question ${n}`)
    await clock.tick(250)
  }
  await settled
  assert.deepEqual(used, [null])
  tells = true
  await Promise.all([trust.settle(), trust.settle()])
  await trust.settle()
  assert.deepEqual(used, [null, 'key'])
  assert.equal(asked, 4)
})

test('nobody but a simulator on this machine is asked for a key', async () => {
  const used: unknown[] = []
  const clock = new ManualClock()
  const use = (key: Uint8Array | null): void => void used.push(key)
  const trust = new ServerTrust({ url: 'wss://web.whatsapp.com/ws/chat', use, clock, log: silentLogger })
  await trust.settle(10_000)
  await trust.settle()
  assert.deepEqual(used, [null])
})
