import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { makeRig } from './rig.ts'

const verified = { appStateMacVerification: { patch: true, snapshot: true } }

test('the phone renames itself and saves a contact; its linked devices learn both', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number({}, verified)
  const carol = contact()
  await phone.rename('The Shop')
  await until(() => client.auth.creds.me?.name === 'The Shop', 'the new name')
  await phone.setContact(carol.number, 'Carol of Sales')
  await until(
    () =>
      client.events.some(
        ({ name, payload }) =>
          name === 'contacts.upsert' && JSON.stringify(payload).includes('Carol of Sales'),
      ),
    'the contact',
  )
  await sim.assertClean()
})

test('a device archives a chat: the phone can read the patch and the other device follows', async (t) => {
  const { sim, number, link, contact } = await makeRig(t)
  const first = await number({}, verified)
  const second = await link(first.phone, verified)
  const carol = contact()
  await until(() => first.client.auth.creds.myAppStateKeyId !== undefined, 'the key')
  await first.client.sock.chatModify({ pin: true }, carol.jid)
  await until(() => first.phone.appStateChanges.length === 1, 'the phone sees it')
  assert.deepEqual(first.phone.appStateChanges[0]?.index, ['pin_v1', carol.jid])
  await until(
    () =>
      second.client.events.some(
        ({ name, payload }) => name === 'chats.update' && JSON.stringify(payload).includes('pinned'),
      ),
    'the other device follows',
  )
  await second.client.sock.chatModify({ pin: false }, carol.jid)
  await until(() => first.phone.appStateChanges.length === 2, 'the second change')
  await sim.assertClean()
})

test('a device linked later gets the whole app state', async (t) => {
  const { sim, number, link } = await makeRig(t)
  const { phone } = await number()
  await phone.rename('Before')
  await phone.rename('After')
  const second = await link(phone, verified)
  await until(() => second.client.auth.creds.me?.name === 'After', 'the name')
  await sim.assertClean()
})

test('the phone tells a new device about its chats and contacts', async (t) => {
  const { sim, client, contact } = await makeRig(t)
  const carol = contact()
  const phone = sim.addNumber('5511900000001')
  const waiting = client()
  await phone.scanQr(await waiting.untilQr(), {
    history: {
      syncType: 0,
      conversations: [{ id: carol.jid, name: 'Carol', unreadCount: 2, conversationTimestamp: 1_760_000_000 }],
      pushnames: [{ id: carol.jid, pushname: 'Carol' }],
      phoneNumberToLidMappings: [{ pnJid: carol.jid, lidJid: carol.lid }],
    },
  })
  await waiting.untilClosed()
  waiting.reconnect()
  await waiting.untilOpen()
  await until(() => waiting.events.some(({ name }) => name === 'messaging-history.set'), 'the history')
  const set = waiting.events.find(({ name }) => name === 'messaging-history.set')?.payload as {
    chats: { id: string; unreadCount: number }[]
  }
  assert.deepEqual(
    set.chats.map(({ id, unreadCount }) => ({ id, unreadCount })),
    [{ id: carol.jid, unreadCount: 2 }],
  )
  await sim.assertClean()
})

test('without history a client opens just the same', async (t) => {
  const { sim, number, contact } = await makeRig(t, { history: false })
  const { client, phone } = await number()
  const carol = contact()
  carol.send(phone, 'still')
  await until(() => client.texts.includes('still'), 'the message')
  assert.equal(client.auth.creds.accountSyncCounter, 0)
  await sim.assertClean()
})
