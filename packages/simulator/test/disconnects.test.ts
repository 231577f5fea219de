import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import type { DeviceHandle } from '../src/index.ts'
import { makeRig } from './rig.ts'

/** What the server does to a connected client, and the status code the client reports. */
const live: readonly (readonly [string, (device: DeviceHandle) => void, number])[] = [
  ['breaks the TCP connection', (device) => device.drop(), 428],
  ['closes the WebSocket', (device) => device.close(), 428],
  ['ends the XML stream', (device) => device.endStream(), 428],
  ['sends stream error 515', (device) => device.streamError(515), 515],
  ['sends stream error 503', (device) => device.streamError(503), 503],
  ['sends an unknown stream error', (device) => device.streamError(), 500],
  ['says that another socket has taken over', (device) => device.conflict(), 440],
  ['ends the stream of a banned number', (device) => device.ban(), 428],
]

for (const [name, act, code] of live) {
  test(`the server ${name}: the client reports ${code} and can come back`, async (t) => {
    const { sim, number, contact } = await makeRig(t)
    const { client, phone, device } = await number()
    const carol = contact()
    act(device)
    assert.equal(await client.untilClosed(), code)
    device.allowLogin()
    carol.send(phone, 'while you were away')
    client.reconnect()
    await client.untilOpen()
    await until(() => client.texts.includes('while you were away'), 'what was missed')
    await sim.assertClean()
  })
}

for (const reason of [401, 403, 405, 406, 409, 429, 503]) {
  test(`a login refused with ${reason} closes the client with ${reason}; it opens once that is lifted`, async (t) => {
    const { sim, number } = await makeRig(t)
    const { client, device } = await number()
    device.refuseLogin({ reason, times: 1 })
    client.reconnect()
    assert.equal(await client.untilClosed(), reason)
    client.reconnect()
    await client.untilOpen()
    assert.equal(sim.stats.totals['refusedLogins'], 1)
    await sim.assertClean()
  })
}

test('a banned number is refused with 402, its kind and how long', async (t) => {
  const { sim, number } = await makeRig(t)
  const { client, device } = await number()
  device.ban({ code: 104, expire: 7200 })
  await client.untilClosed()
  let attrs: Record<string, string> = {}
  client.reconnect()
  client.sock.ws.on('CB:failure', (node: { attrs: Record<string, string> }) => (attrs = node.attrs))
  assert.equal(await client.untilClosed(), 402)
  assert.deepEqual([attrs['code'], attrs['expire']], ['104', '7200'])
  await sim.assertClean()
})

test('unlinked on the phone: 401 at once and at every login', async (t) => {
  const { sim, number } = await makeRig(t)
  const { client, device } = await number()
  device.logout401()
  assert.equal(await client.untilClosed(), 401)
  client.reconnect()
  assert.equal(await client.untilClosed(), 401)
  await sim.assertClean()
})

test('a second socket with the same credentials wins; the first is told 440', async (t) => {
  const { sim, number, client } = await makeRig(t)
  const first = await number()
  const second = client({ auth: first.client.auth })
  await second.untilOpen()
  assert.equal(await first.client.untilClosed(), 440)
  assert.equal(first.device.online, true)
  await sim.assertClean()
})

test('a server that falls silent is noticed by the keep-alive: 408', async (t) => {
  const { sim, number } = await makeRig(t)
  const { client, device } = await number({}, { keepAliveIntervalMs: 300, defaultQueryTimeoutMs: 1000 })
  device.goSilent()
  assert.equal(device.online, false)
  // rc14 waits keepAliveIntervalMs + 5 s.
  assert.equal(await client.untilClosed(), 408)
  await sim.assertClean()
})

test('a login with a foreign noise key is refused with 401', async (t) => {
  const { sim, number } = await makeRig(t)
  const { client } = await number()
  const { initAuthCreds } = await import('baileys')
  Object.assign(client.auth.creds, { noiseKey: initAuthCreds().noiseKey })
  client.reconnect()
  assert.equal(await client.untilClosed(), 401)
  await sim.assertClean()
})

test('a client whose QR nobody scans gives up with 408', async (t) => {
  const { sim, client } = await makeRig(t)
  const waiting = client({ qrTimeout: 20 })
  assert.equal(await waiting.untilClosed(), 408)
  assert.equal(waiting.qrs.length, 6)
  await sim.assertClean()
})
