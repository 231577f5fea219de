import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { makeRig } from './rig.ts'

for (const addressing of ['pn', 'lid'] as const) {
  test(`the contact sees typing, recording and paused, addressed by ${addressing}`, async (t) => {
    const { sim, number, contact } = await makeRig(t)
    const { client, phone } = await number()
    const carol = contact()
    const jid = addressing === 'pn' ? carol.jid : carol.lid
    for (const state of ['composing', 'recording', 'paused'] as const)
      await client.sock.sendPresenceUpdate(state, jid)
    await until(() => carol.presence.length === 3, 'three states')
    assert.deepEqual(
      carol.presence.map(({ number: from, chat, state }) => ({ from, chat, state })),
      ['composing', 'recording', 'paused'].map((state) => ({
        from: phone.number,
        chat: phone.number,
        state,
      })),
    )
    await sim.assertClean()
  })
}

test('the client sees the contact typing and stopping', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact()
  carol.typing(phone, 'composing')
  carol.typing(phone, 'recording')
  carol.typing(phone, 'paused')
  await until(() => client.presence.length === 3, 'three states')
  assert.deepEqual(
    client.presence.map(({ id, states }) => [id, ...states]),
    [
      [carol.jid, 'composing'],
      [carol.jid, 'recording'],
      [carol.jid, 'available'],
    ],
  )
  await sim.assertClean()
})

test('presence is told to those who subscribed, both ways', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const carol = contact()
  const { client, phone } = await number()
  carol.watchPresence(phone)
  await client.sock.presenceSubscribe(carol.jid)
  await until(() => client.presence.length === 1, 'the first state')
  carol.goOffline()
  await until(() => client.presence.length === 2, 'offline')
  carol.goOnline()
  await until(() => client.presence.length === 3, 'online')
  assert.deepEqual(
    client.presence.map(({ states }) => states[0]),
    ['available', 'unavailable', 'available'],
  )
  await client.sock.sendPresenceUpdate('unavailable')
  await until(() => carol.presence.at(-1)?.state === 'unavailable', 'unavailable')
  await client.sock.sendPresenceUpdate('available')
  await until(() => carol.presence.at(-1)?.state === 'available', 'available again')
  await sim.assertClean()
})

test('a contact that answers shows typing first', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact({ replyWith: () => 'yes', delayMs: 20 })
  await client.send(carol.number, 'sure?')
  await until(() => client.texts.includes('yes'), 'the answer')
  assert.deepEqual(
    client.presence.map(({ states }) => states[0]),
    ['composing'],
  )
  await sim.assertClean()
})
