import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { textOf } from './client.ts'
import { makeRig } from './rig.ts'

test('every linked device of a number gets what comes in and a copy of what the others send', async (t) => {
  const { sim, number, link, contact } = await makeRig(t)
  const first = await number()
  const second = await link(first.phone)
  const carol = contact()
  await first.client.send(carol.number, 'from the first')
  await until(
    () =>
      second.client.upserts.some(
        ({ message }) => message.key.fromMe === true && textOf(message) === 'from the first',
      ),
    'the copy at the second',
  )
  const copy = second.client.upserts.find(({ message }) => textOf(message) === 'from the first')?.message
  assert.equal(copy?.key.remoteJid, carol.jid)
  carol.send(first.phone, 'to both')
  await until(
    () => first.client.texts.includes('to both') && second.client.texts.includes('to both'),
    'both have it',
  )
  await until(
    () => new Set(carol.receipts.map((receipt) => receipt.deviceId)).size === 2,
    'a receipt from each',
  )
  await sim.assertClean()
})

test('a client that knows a number learns of its new device at once', async (t) => {
  const { sim, number, link } = await makeRig(t)
  const sender = await number()
  const receiver = await number()
  await sender.client.send(receiver.phone.number, 'before')
  await until(() => receiver.client.texts.includes('before'), 'before')
  const second = await link(receiver.phone)
  await sim.settled()
  await sender.client.send(receiver.phone.number, 'after')
  await until(
    () => second.client.texts.includes('after') && receiver.client.texts.includes('after'),
    'both devices have it',
  )
  await sim.assertClean()
})

test('a removed device gets nothing more, and its client is told 401', async (t) => {
  const { sim, number, link, contact } = await makeRig(t)
  const first = await number()
  const second = await link(first.phone)
  const carol = contact()
  first.phone.unlink(second.device.id)
  assert.equal(await second.client.untilClosed(), 401)
  assert.deepEqual(
    first.phone.devices().map((device) => device.id),
    [1],
  )
  carol.send(first.phone, 'only the first')
  await until(() => first.client.texts.includes('only the first'), 'the first has it')
  second.client.reconnect()
  assert.equal(await second.client.untilClosed(), 401)
  await sim.assertClean()
})

test('logout by the client removes its device', async (t) => {
  const { sim, number } = await makeRig(t)
  const { client, phone } = await number()
  await client.sock.logout()
  assert.equal(await client.untilClosed(), 401)
  await until(() => phone.devices().length === 0, 'the device is gone')
  await sim.assertClean()
})

test('receipts name the device or only the user, as the option says', async (t) => {
  for (const receiptFrom of ['device', 'user'] as const) {
    const { sim, number } = await makeRig(t, { receiptFrom })
    const one = await number()
    const two = await number()
    await one.client.send(two.phone.number, 'hello')
    await until(() => two.client.texts.includes('hello'), 'hello')
    await sim.assertClean()
    const receipt = sim
      .transcript(one.client.jid)
      .find((entry) => entry.direction === 'out' && entry.tag === 'receipt')
    assert.equal(receipt?.attrs['from'], receiptFrom === 'device' ? two.client.jid : two.phone.jid)
  }
})

test('pre-keys: the stock runs low, the server says so, the client uploads more', async (t) => {
  const { sim, number, contact } = await makeRig(t, { skipPreKeyUpload: false, preKeyLow: 4 })
  const { device } = await number()
  assert.equal(device.preKeysLeft >= 811, true)
  const before = device.preKeysLeft
  device.announcePreKeys(3)
  await until(() => device.preKeysLeft === before + 5, 'five more')
  contact()
  await sim.assertClean()
})
