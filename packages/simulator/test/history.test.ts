import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { historyChat, historyMessageId } from '../src/index.ts'
import { makeRig } from './rig.ts'

interface HistorySet {
  readonly chats: readonly { readonly id?: string | null }[]
  readonly messages: readonly { readonly key: { readonly id?: string | null } }[]
}

test('a history in chunks reaches the client whole: every chat, every message, every LID', async (t) => {
  const { sim, number } = await makeRig(t)
  const { phone, client } = await number()
  const sent = await phone.sendHistory({ chats: 30, messagesPerChat: 20, chunks: 3, delivery: 'inline' })
  assert.deepEqual([sent.notifications, sent.chats, sent.messages], [3, 30, 600])
  const sets = (): HistorySet[] =>
    client.events.flatMap(({ name, payload }) =>
      name === 'messaging-history.set' ? [payload as HistorySet] : [],
    )
  await until(() => sets().flatMap(({ messages }) => messages).length >= 600, 'the history')
  const ids = new Set(sets().flatMap(({ messages }) => messages.map(({ key }) => key.id)))
  assert.equal(ids.size, 600)
  assert.ok(ids.has(historyMessageId(29, 19)))
  const { jid, lid } = historyChat(29)
  assert.equal(await client.sock.signalRepository.lidMapping.getLIDForPN(jid), lid)
  await sim.assertClean()
})

test('a bomb of a few kilobytes inflates to what it says', async (t) => {
  const { number } = await makeRig(t)
  const { phone } = await number()
  const sent = await phone.sendHistory({ hostile: 'bomb', bombBytes: 20 * 1024 * 1024, delivery: 'inline' })
  assert.ok(sent.inflatedBytes > 20 * 1024 * 1024)
  assert.ok(sent.compressedBytes < 64 * 1024)
})

test('a history that cannot be is refused by the name of its field', async (t) => {
  const { number } = await makeRig(t)
  const { phone } = await number()
  await assert.rejects(phone.sendHistory({ chats: -1 }), /chats must be a whole number/)
  await assert.rejects(phone.sendHistory({ chats: 20_000, messagesPerChat: 11 }), /more than 200000/)
  await assert.rejects(phone.sendHistory({ hostile: 'other' as 'bomb' }), /hostile must be one of/)
})
