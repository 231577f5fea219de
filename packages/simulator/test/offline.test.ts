import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { textOf } from './client.ts'
import { makeRig } from './rig.ts'

test('what arrives while a client is away waits and comes in order, as append', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone, device } = await number()
  const carol = contact()
  client.end()
  await until(() => !device.online, 'the server noticed')
  for (let n = 0; n < 300; n++) carol.send(phone, `waiting ${n}`)
  assert.equal(sim.pending(device.jid).length, 300)
  client.reconnect()
  await client.untilOpen()
  await until(() => client.texts.length === 300, 'all 300')
  assert.deepEqual(
    client.texts,
    Array.from({ length: 300 }, (_, n) => `waiting ${n}`),
  )
  const types = new Set(
    client.upserts.filter(({ message }) => textOf(message) !== '').map(({ type }) => type),
  )
  assert.deepEqual([...types], ['append'])
  await sim.assertClean()
  assert.equal(sim.pending(device.jid).length, 0)
})

test('a message that was delivered but not acknowledged is delivered again after the client is gone', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone, device } = await number()
  const carol = contact()
  const lost = sim.fault({ on: 'receipt', do: 'lose', match: { direction: 'in' } })
  const { waMessageId } = carol.send(phone, 'did you get this?')
  await until(() => client.texts.length === 1, 'the first delivery')
  await until(() => lost.struck > 0, 'the receipt is lost')
  lost.clear()
  assert.deepEqual(
    sim.pending(device.jid).map(({ id, attempts }) => ({ id, attempts })),
    [{ id: waMessageId, attempts: 1 }],
  )
  device.drop()
  await client.untilClosed()
  client.reconnect()
  await client.untilOpen()
  await until(() => sim.pending(device.jid).length === 0, 'acknowledged at last')
  assert.equal(sim.stats.totals['redeliveries'], 1)
  await sim.assertClean()
})

test('receipts and device notifications wait for an absent client too', async (t) => {
  const { sim, number, link, contact } = await makeRig(t)
  const { client, phone, device } = await number()
  const carol = contact({ autoReceipt: false })
  const id = await client.send(carol.number, 'oi')
  await carol.waitFor((m) => m.text === 'oi')
  client.end()
  await until(() => !device.online, 'the server noticed')
  carol.read(carol.inbox)
  await link(phone)
  assert.deepEqual(
    sim.pending(device.jid).map((pending) => pending.kind),
    ['receipt', 'notification', 'notification'],
  )
  client.reconnect()
  await client.untilOpen()
  await until(() => client.updates.some((update) => update.id === id && update.status === 4), 'read')
  await sim.assertClean()
})
