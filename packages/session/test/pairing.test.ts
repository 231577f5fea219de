import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { setup, tenant } from './harness.ts'

test('an instance is linked by QR and shows each state on its way', async (t) => {
  const bench = await setup(t)
  const { instance, phone } = await bench.pair('5511900000001')
  const states = bench.states.map(({ view }) => view.state)
  assert.deepEqual(
    states.filter((state, index) => state !== states[index - 1]),
    ['starting', 'qr', 'syncing', 'online'],
  )
  assert.equal(bench.pool.view(instance).number, '5511900000001')
  assert.equal(bench.pool.view(instance).qr, null)
  assert.equal(phone.devices().length, 1)
  await bench.simulator.assertClean()
})

test('an instance is linked by the code that is typed on the phone', async (t) => {
  const bench = await setup(t)
  const instance = bench.newInstance()
  const phone = bench.simulator.addNumber('5511900000001')
  await bench.pool.startInstance({ instance, tenant })
  await bench.untilState(instance, 'qr')
  const code = await bench.pool.requestPairingCode(instance, '5511900000001')
  assert.match(code, /^[0-9A-Z]{8}$/)
  assert.equal(bench.pool.view(instance).state, 'code')
  await phone.enterPairingCode(code)
  await bench.untilState(instance, 'online')
  await bench.simulator.assertClean()
})

test('a server that refuses the connection is tried again', async (t) => {
  const bench = await setup(t)
  const instance = bench.newInstance()
  bench.simulator.fault({ on: 'connect', do: 'error', code: 503, times: 1 })
  await bench.pool.startInstance({ instance, tenant })
  await bench.untilState(instance, 'reconnecting')
  await bench.untilState(instance, 'qr')
})

test('a code that was never typed leaves nothing behind: the next connection shows a QR', async (t) => {
  const bench = await setup(t)
  const instance = bench.newInstance()
  const phone = bench.simulator.addNumber('5511900000001')
  await bench.pool.startInstance({ instance, tenant })
  await bench.untilState(instance, 'qr')
  await bench.pool.requestPairingCode(instance, '5511900000001')
  await bench.pool.stopInstance(instance)
  await bench.pool.startInstance({ instance, tenant })
  const { qr } = await bench.untilState(instance, 'qr')
  await phone.scanQr(qr?.text ?? '')
  await bench.untilState(instance, 'online')
})

test('a code is refused with the reason while nothing is waiting for one', async (t) => {
  const bench = await setup(t)
  const { instance } = await bench.pair('5511900000001')
  await assert.rejects(bench.pool.requestPairingCode(instance, '5511900000001'), {
    code: 'SESSION_ALREADY_PAIRED',
  })
  await assert.rejects(bench.pool.requestPairingCode(bench.newInstance(), '5511900000001'), {
    code: 'SESSION_NOT_STARTED',
  })
})

test("an account's pre-keys are in the database when WhatsApp has them", async (t) => {
  const bench = await setup(t, { simulator: { skipPreKeyUpload: false } })
  const { instance, phone } = await bench.pair('5511900000001')
  // 812 were uploaded; the phone used one of them for its first message.
  await until(async () => {
    const [row] = await bench.database.read(
      `SELECT COUNT(*) AS count FROM "SignalKey" WHERE instance = ? AND type = 'pre-key'`,
      [instance],
    )
    return row?.['count'] === 811
  }, 'the keys that are left are in the database')
  assert.equal(phone.devices()[0]?.preKeysLeft, 811)
  await bench.simulator.assertClean()
})

test('a restart logs in again without a QR', async (t) => {
  const bench = await setup(t)
  const { instance } = await bench.pair('5511900000001')
  await bench.pool.stopInstance(instance)
  assert.equal(bench.pool.view(instance).state, 'stopped')
  bench.states.length = 0
  await bench.pool.startInstance({ instance, tenant })
  await bench.untilState(instance, 'online')
  assert.equal(
    bench.states.some(({ view }) => view.state === 'qr'),
    false,
  )
  await bench.simulator.assertClean()
})

test('logging out unlinks the device at WhatsApp and forgets its credentials', async (t) => {
  const bench = await setup(t)
  const { instance, phone } = await bench.pair('5511900000001')
  await bench.pool.logoutInstance(instance)
  await until(() => phone.devices().length === 0, 'the device is unlinked')
  assert.equal(bench.pool.view(instance).state, 'logged_out')
  assert.equal(await bench.store.loadCredentials(instance), undefined)
  const [row] = await bench.database.read('SELECT COUNT(*) AS count FROM "SignalKey" WHERE instance = ?', [
    instance,
  ])
  assert.equal(row?.['count'], 0)
})

test('a device that was unlinked on the phone is logged out, and starting it shows a new QR', async (t) => {
  const bench = await setup(t)
  const { instance, phone } = await bench.pair('5511900000001')
  bench.simulator.device('5511900000001').logout401()
  const view = await bench.untilState(instance, 'logged_out')
  assert.equal(view.reason?.code, 'SESSION_LOGGED_OUT')
  assert.equal(view.number, null)
  assert.equal(await bench.store.loadCredentials(instance), undefined)
  await bench.pool.startInstance({ instance, tenant })
  const { qr } = await bench.untilState(instance, 'qr')
  await phone.scanQr(qr?.text ?? '')
  await bench.untilState(instance, 'online')
})

test('no more sessions log in at the same time than may', async (t) => {
  const bench = await setup(t, { maxStarting: 1 })
  const instances = Array.from({ length: 4 }, () => bench.newInstance())
  let starting = 0
  let most = 0
  const connections = bench.simulator.stats.connections
  assert.equal(connections.total, 0)
  await Promise.all(instances.map((instance) => bench.pool.startInstance({ instance, tenant })))
  await until(() => {
    starting = bench.simulator.stats.connections.total
    const shown = instances.filter((instance) => bench.pool.view(instance).state === 'qr').length
    most = Math.max(most, starting - shown)
    return shown === instances.length
  }, 'all show a QR')
  assert.ok(most <= 1, `${most} were logging in at once`)
})

test('a process that holds all the sessions it may refuses one more', async (t) => {
  const bench = await setup(t, { maxSessions: 1 })
  await bench.pool.startInstance({ instance: bench.newInstance(), tenant })
  await assert.rejects(bench.pool.startInstance({ instance: bench.newInstance(), tenant }), {
    code: 'SESSION_TOO_MANY',
  })
})

test('a foreign root key is trusted for a simulator on this machine only, and not while sessions are connected', async (t) => {
  const bench = await setup(t)
  const rootKey = new Uint8Array(32)
  assert.throws(
    () => bench.pool.useServer({ url: 'wss://web.whatsapp.com/ws/chat', rootKey }),
    /on this machine/,
  )
  assert.throws(() => bench.pool.useServer({ url: 'ws://10.0.0.1/ws/chat', rootKey }), /on this machine/)
  await bench.pool.startInstance({ instance: bench.newInstance(), tenant })
  assert.throws(() => bench.pool.useServer({ url: bench.simulator.url, rootKey }), /sessions are connected/)
})
