import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { textOf } from './client.ts'
import { makeRig } from './rig.ts'

test('a client creates a group and everyone in it reads what it writes there, encrypted once with its sender key', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const other = await number()
  const carol = contact({ autoRead: true })
  const dave = contact()
  const group = await client.sock.groupCreate('Team', [carol.jid, dave.jid, other.phone.jid])
  assert.equal(group.subject, 'Team')
  assert.equal(group.participants.length, 4)
  for (const text of ['first', 'second', 'third']) {
    await client.send(group.id, text)
    await carol.waitFor((m) => m.text === text)
    await dave.waitFor((m) => m.text === text)
    await until(() => other.client.texts.includes(text), `${text} at the other number`)
  }
  assert.deepEqual(
    carol.inbox.map(({ chat, from, text }) => ({ chat, from, text })),
    ['first', 'second', 'third'].map((text) => ({ chat: group.id, from: phone.number, text })),
  )
  await sim.assertClean()
  // Only the first message carried the sender key to each device.
  const sent = sim
    .transcript(client.jid)
    .filter((entry) => entry.direction === 'in' && entry.tag === 'message')
  assert.deepEqual(
    sent.map((entry) => entry.children.some((part) => part.tag === 'participants')),
    [true, false, false],
  )
  // rc14 merges receipts that come at once into the upsert of the own message.
  const read = client.upserts
    .flatMap(({ message }) => message.userReceipt ?? [])
    .filter((receipt) => receipt.readTimestamp != null)
  assert.deepEqual([...new Set(read.map((receipt) => receipt.userJid))], [carol.lid])
})

test('contacts write in a group; the client reads all of them', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact()
  const dave = contact()
  const group = sim.createGroup('Family', [carol, dave, phone])
  for (let n = 0; n < 3; n++) {
    carol.send(group.jid, `carol ${n}`)
    dave.send(group.jid, `dave ${n}`)
  }
  await until(() => client.texts.length === 6, 'six messages')
  assert.deepEqual(
    client.texts.filter((text) => text.startsWith('carol')),
    ['carol 0', 'carol 1', 'carol 2'],
  )
  const chats = client.upserts
    .filter(({ message }) => textOf(message) !== '')
    .map(({ message }) => message.key.remoteJid)
  assert.deepEqual([...new Set(chats)], [group.jid])
  assert.deepEqual(
    dave.inbox.map((m) => m.text),
    ['carol 0', 'carol 1', 'carol 2'],
  )
  await sim.assertClean()
})

test('a member that lost its sender keys asks again and reads the message', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  const group = await client.sock.groupCreate('Team', [carol.jid])
  await client.send(group.id, 'first')
  await carol.waitFor((m) => m.text === 'first')
  carol.reinstall()
  const id = await client.send(group.id, 'second')
  const message = await carol.waitFor((m) => m.text === 'second')
  assert.equal(message.waMessageId, id)
  await client.send(group.id, 'third')
  await carol.waitFor((m) => m.text === 'third')
  await sim.assertClean()
})

test('group changes reach the other members', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const other = await number()
  const carol = contact()
  const group = await client.sock.groupCreate('Team', [other.phone.jid])
  await client.sock.groupUpdateSubject(group.id, 'The Team')
  await client.sock.groupUpdateDescription(group.id, 'what it is for')
  await client.sock.groupParticipantsUpdate(group.id, [carol.jid], 'add')
  await client.sock.groupParticipantsUpdate(group.id, [other.phone.jid], 'promote')
  const seen = await other.client.sock.groupMetadata(group.id)
  assert.equal(seen.subject, 'The Team')
  assert.equal(seen.desc, 'what it is for')
  assert.deepEqual(
    seen.participants.map((participant) => [participant.id, participant.admin ?? null]),
    [
      [phone.lid, 'superadmin'],
      [other.phone.lid, 'admin'],
      [carol.lid, null],
    ],
  )
  assert.deepEqual(Object.keys(await other.client.sock.groupFetchAllParticipating()), [group.id])
  await other.client.sock.groupLeave(group.id)
  await assert.rejects(other.client.sock.groupMetadata(group.id))
  await until(
    () => other.client.events.some(({ name }) => name === 'groups.upsert'),
    'the group was announced',
  )
  await sim.assertClean()
})
