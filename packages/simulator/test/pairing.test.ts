import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { makeRig } from './rig.ts'

test('a real client links by QR, opens, uploads its pre-keys, and says nothing the server does not know', async (t) => {
  const { sim, client } = await makeRig(t, { skipPreKeyUpload: false })
  const phone = sim.addNumber('+55 11 90000-0001', { name: 'Loja' })
  const waiting = client()
  const device = await phone.scanQr(await waiting.untilQr())
  assert.equal(await waiting.untilClosed(), 515)
  waiting.reconnect()
  await waiting.untilOpen()
  assert.equal(waiting.jid, '5511900000001:1@s.whatsapp.net')
  assert.equal(waiting.auth.creds.me?.lid, phone.lid.replace('@', ':1@'))
  assert.equal(device.preKeysLeft >= 811, true)
  await until(() => (waiting.auth.creds.accountSyncCounter ?? 0) === 1, 'keys and history from the phone')
  // The phone's own messages carry its name.
  assert.equal(waiting.auth.creds.me?.name, 'Loja')
  await sim.assertClean()
})

test('a client reconnects with the credentials it has and is not asked to link again', async (t) => {
  const { sim, number } = await makeRig(t)
  const { client, device } = await number()
  client.reconnect()
  await client.untilOpen()
  await until(() => device.online, 'online again')
  assert.equal(sim.stats.totals['pairings'], 1)
  assert.equal(client.qrs.length, 1)
  await sim.assertClean()
})

test('a client links by pairing code; a wrong code links nothing and the right one still works', async (t) => {
  const { sim, client } = await makeRig(t)
  const phone = sim.addNumber('5511900000001')
  const waiting = client()
  await waiting.untilQr()
  const code = await waiting.sock.requestPairingCode('5511900000001')
  const wrong = code === 'AAAAAAAA' ? 'BBBBBBBB' : 'AAAAAAAA'
  await assert.rejects(phone.enterPairingCode(wrong), { code: 'SIMULATOR_WRONG_CODE' })
  assert.equal(phone.devices().length, 0)
  const device = await phone.enterPairingCode(`${code.slice(0, 4)}-${code.slice(4).toLowerCase()}`)
  assert.equal(await waiting.untilClosed(), 515)
  waiting.reconnect()
  await waiting.untilOpen()
  assert.equal(device.jid, '5511900000001:1@s.whatsapp.net')
  await sim.assertClean()
})

test('a QR that nobody shows, one with foreign keys, and text that is no QR are refused', async (t) => {
  const { sim, client } = await makeRig(t)
  const phone = sim.addNumber('5511900000001')
  const qr = await client().untilQr()
  const parts = qr.split(',')
  await assert.rejects(phone.scanQr('hello'), { code: 'SIMULATOR_BAD_QR' })
  await assert.rejects(
    phone.scanQr(['https://wa.me/settings/linked_devices#2@none', ...parts.slice(1)].join(',')),
    {
      code: 'SIMULATOR_QR_NOT_WAITING',
    },
  )
  const foreign = Buffer.alloc(32, 7).toString('base64')
  await assert.rejects(phone.scanQr([parts[0], foreign, ...parts.slice(2)].join(',')), {
    code: 'SIMULATOR_BAD_QR',
  })
  await assert.rejects(phone.enterPairingCode('ABCD1234'), { code: 'SIMULATOR_CODE_NOT_WAITING' })
  assert.equal(phone.devices().length, 0)
  await sim.assertClean()
})

test('a client whose secret is not the one in the QR refuses the link, and nothing is linked', async (t) => {
  const { sim, client } = await makeRig(t)
  const phone = sim.addNumber('5511900000001')
  const waiting = client()
  const parts = (await waiting.untilQr()).split(',')
  const otherSecret = Buffer.alloc(32, 9).toString('base64')
  await assert.rejects(phone.scanQr([...parts.slice(0, 3), otherSecret, parts[4]].join(',')), {
    code: 'SIMULATOR_PAIRING_BROKEN_OFF',
  })
  assert.equal(phone.devices().length, 0)
  await sim.assertClean()
})

test('a number links at most as many devices as it may', async (t) => {
  const { sim, number, client } = await makeRig(t, { maxDevices: 1 })
  const { phone } = await number()
  await assert.rejects(phone.scanQr(await client().untilQr()), { code: 'SIMULATOR_TOO_MANY_DEVICES' })
  await sim.assertClean()
})

test('the trusted root key is replaced by trust() and restored by what it returns', async (t) => {
  const { WA_CERT_DETAILS } = await import('baileys')
  const before = Buffer.from(WA_CERT_DETAILS.PUBLIC_KEY)
  const { createSimulator } = await import('../src/index.ts')
  const sim = await createSimulator()
  t.after(() => sim.stop())
  const restore = sim.trust()
  assert.deepEqual(Buffer.from(WA_CERT_DETAILS.PUBLIC_KEY), sim.rootPublicKey)
  restore()
  assert.deepEqual(Buffer.from(WA_CERT_DETAILS.PUBLIC_KEY), before)
  const answer = await fetch(`http://127.0.0.1:${sim.port}/root-key`)
  assert.deepEqual(await answer.json(), { publicKey: sim.rootPublicKey.toString('base64') })
})
