import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setDefaultCACertificates, getCACertificates } from 'node:tls'
import { until } from '@eclusa/kernel/test-kit'
import { historyChat, historyMessageId, type Simulator } from '@eclusa/simulator'
import { type BaileysEventMap, type BoundedSocket, holdHistories } from '../src/index.ts'
import { makeRig } from './rig.ts'

type HistoryEvent = BaileysEventMap['messaging-history.set']

function histories(socket: BoundedSocket): HistoryEvent[] {
  const seen: HistoryEvent[] = []
  socket.ev.on('messaging-history.set', (event) => seen.push(event))
  return seen
}

/** Downloads of `fetch` trust the simulator's media host. */
function trustMedia(sim: Simulator): void {
  setDefaultCACertificates([...getCACertificates('bundled'), sim.mediaCertificate])
}

test('a history arrives whole, in batches of at most 200 rows, with its LIDs and tokens stored', async (t) => {
  const rig = await makeRig(t)
  const client = await rig.account()
  const seen = histories(client.socket)
  await client.phone.sendHistory({ chats: 50, messagesPerChat: 40, chunks: 2, delivery: 'inline' })
  await until(
    () => client.socket.socketStats().history.read >= 3,
    'the empty one of the link and both of these',
  )
  const ids = new Set(seen.flatMap(({ messages }) => messages.map(({ key }) => key.id)))
  assert.equal(ids.size, 2_000)
  assert.ok(ids.has(historyMessageId(49, 39)))
  assert.equal(new Set(seen.flatMap(({ chats }) => chats.map(({ id }) => id))).size, 50)
  assert.ok(
    seen.every(({ chats, contacts, messages }) => chats.length + contacts.length + messages.length <= 200),
  )
  assert.deepEqual(
    [...new Set(seen.map(({ progress }) => progress))].filter((p) => p !== null),
    // The empty history of the link comes first.
    [100, 50],
  )
  const { jid, lid } = historyChat(49)
  assert.equal(await client.socket.signalRepository.lidMapping.getLIDForPN(jid), lid)
  const { [lid]: token } = await client.keys.get('tctoken', [lid])
  assert.equal((token as { token?: Uint8Array } | undefined)?.token?.length, 16)
  await rig.sim.assertClean()
})

test('what is kept of a history shares no memory with the rest of it', async (t) => {
  const rig = await makeRig(t)
  const client = await rig.account()
  const seen = histories(client.socket)
  await client.phone.sendHistory({ chats: 2, messagesPerChat: 3, thumbnailBytes: 3_000, delivery: 'inline' })
  await until(() => client.socket.socketStats().history.read >= 2, 'the history')
  const images = seen.flatMap(({ messages }) => messages.map(({ message }) => message?.imageMessage))
  assert.equal(images.length, 6)
  for (const image of images) {
    assert.equal(image?.mediaKey?.byteLength, 32)
    assert.equal(image?.mediaKey?.buffer.byteLength, 32)
    assert.equal(image?.jpegThumbnail?.buffer.byteLength, 3_000)
  }
})

test('a history on the media host is fetched, opened and told', async (t) => {
  const rig = await makeRig(t)
  trustMedia(rig.sim)
  const client = await rig.account()
  const seen = histories(client.socket)
  await client.phone.sendHistory({ chats: 3, messagesPerChat: 5, delivery: 'file' })
  await until(() => seen.flatMap(({ messages }) => messages).length >= 15, 'the history')
  await rig.sim.assertClean()
})

test('bombs, torn, altered, missing and meaningless histories cost themselves only', async (t) => {
  const rig = await makeRig(t)
  trustMedia(rig.sim)
  const client = await rig.account({ history: { maxInflatedBytes: 8 * 1024 * 1024 } })
  const failed = () => client.socket.socketStats().history.failed
  await client.phone.sendHistory({ hostile: 'bomb', bombBytes: 32 * 1024 * 1024 })
  await until(() => failed()['too-large'] === 1, 'the bomb is refused')
  await client.phone.sendHistory({ hostile: 'truncated' })
  await client.phone.sendHistory({ hostile: 'garbage' })
  await client.phone.sendHistory({ hostile: 'altered' })
  await client.phone.sendHistory({ hostile: 'missing' })
  await until(() => failed().damaged === 3 && failed()['not-found'] === 1, 'the others are refused')
  const contact = rig.sim.addContact('5521900000001')
  contact.send(client.phone, 'still here')
  await until(() => client.texts.includes('still here'), 'a message after all that')
  await client.phone.sendHistory({ chats: 1, messagesPerChat: 1 })
  await until(() => client.socket.socketStats().history.rows > 0, 'a good history after them')
  await rig.sim.assertClean()
})

test('the first link syncs app state with our history as with upstream', async (t) => {
  const rig = await makeRig(t)
  const client = await rig.account()
  const names: (string | null | undefined)[] = []
  client.socket.ev.on('contacts.upsert', (contacts) => names.push(...contacts.map(({ name }) => name)))
  await until(() => client.creds.accountSyncCounter > 0, 'the first app-state sync')
  rig.sim.addContact('5521900000002')
  await client.phone.setContact('5521900000002', 'Carla da Silva')
  await until(() => names.includes('Carla da Silva'), 'a change of app state')
})

test('a caller that wants no history gets none, and nothing is read', async (t) => {
  const rig = await makeRig(t)
  const client = await rig.account({ shouldSyncHistoryMessage: () => false })
  const seen = histories(client.socket)
  await client.phone.sendHistory({ chats: 3 })
  await rig.sim.settled()
  assert.deepEqual([seen.length, client.socket.socketStats().history.read], [0, 0])
})

test('credentials remember 20 histories, not all there ever were', async (t) => {
  const rig = await makeRig(t)
  const client = await rig.account()
  for (let i = 0; i < 25; i++) await client.phone.sendHistory({ chats: 1, messagesPerChat: 1 })
  await until(() => client.socket.socketStats().history.read >= 26, 'all histories')
  assert.equal(client.creds.processedHistoryMessages.length, 20)
})

test('while histories are held none is begun, and afterwards none is missing', async (t) => {
  const rig = await makeRig(t)
  const client = await rig.account()
  await until(() => client.socket.socketStats().history.read >= 1, 'the empty one of the link')
  t.after(() => holdHistories(false))
  holdHistories(true)
  await client.phone.sendHistory({ chats: 2, messagesPerChat: 2 })
  await rig.sim.settled()
  assert.equal(client.socket.socketStats().history.rows, 0)
  holdHistories(false)
  await until(() => client.socket.socketStats().history.read >= 2, 'the history')
})
