import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { makeRig } from './rig.ts'

test('a contact that was reinstalled asks again and gets the message under the same id', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact({ replyWith: (m) => (m.text === 'one' ? 'ok' : undefined) })
  await client.send(carol.number, 'one')
  await until(() => client.texts.includes('ok'), 'a session both ways')
  carol.reinstall()
  const id = await client.send(carol.number, 'two')
  const message = await carol.waitFor((m) => m.text === 'two')
  assert.equal(message.waMessageId, id)
  assert.equal(sim.stats.totals['retriesAskedByPhones'], 1)
  carol.send(phone, 'three')
  await until(() => client.texts.includes('three'), 'the new identity is accepted')
  await sim.assertClean()
})

test('a reinstalled contact that announces itself needs no retry', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact({ replyWith: () => 'ok' })
  await client.send(carol.number, 'one')
  await until(() => client.texts.includes('ok'), 'a session both ways')
  carol.reinstall({ announce: true })
  await sim.settled()
  await client.send(carol.number, 'two')
  await carol.waitFor((m) => m.text === 'two')
  await sim.assertClean()
  assert.equal(sim.stats.totals['retriesAskedByPhones'], 0)
})

test('a message damaged on its way is asked for again by the client and decrypted then', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact()
  await client.send(carol.number, 'hello')
  await carol.waitFor((m) => m.text === 'hello')
  carol.send(phone, 'first')
  await until(() => client.texts.includes('first'), 'first')
  sim.fault({ on: 'deliver', do: 'error', times: 1 })
  carol.send(phone, 'damaged')
  await until(() => client.texts.includes('damaged'), 'the resent message')
  assert.equal(sim.stats.totals['retriesAskedByClients'], 1)
  await sim.assertClean()
})

test('a stanza delivered twice reaches the application twice under one id, and the simulator explains why', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact()
  await client.send(carol.number, 'hello')
  await carol.waitFor((m) => m.text === 'hello')
  sim.fault({ on: 'deliver', do: 'duplicate', times: 1 })
  const { waMessageId } = carol.send(phone, 'twice')
  await until(
    () =>
      client.upserts.filter(({ message }) => message.key.id === waMessageId && message.message != null)
        .length === 2,
    'both copies',
  )
  await sim.assertClean()
})
