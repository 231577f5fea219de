import assert from 'node:assert/strict'
import type { ChatId } from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { defaultPacing } from '../src/index.ts'
import { chatA, chatB, exatron, startQueue } from './harness.ts'

const lid = '99000000000001@lid' as ChatId

test('messages to a LID and to its number are one line, in order of acceptance, from when the pair is known', async (t) => {
  const h = await startQueue(t, { online: false })
  await h.enqueue('1', { chat: lid })
  await h.enqueue('2', { chat: chatA })
  await h.enqueue('3', { chat: lid })
  await h.enqueue('4', { chat: chatA, priority: 'urgent' })
  const late = await h.enqueue('5', { chat: lid, sendAt: h.clock.now() + 60_000 })
  h.sender.numbers.set(lid, chatA)
  await h.queue.control.joinChats(h.instance, [lid])
  assert.equal((await h.queue.outbox.status(late.id))?.chat, chatA)
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['4', '1', '2', '3'])
  await h.advance(61_000, 1000)
  assert.deepEqual(h.sender.texts, ['4', '1', '2', '3', '5'])
  assert.deepEqual([...new Set(h.sender.sends.map(({ chat }) => chat))], [chatA])
})

test('while one of the two is on the wire the other waits for it; what follows keeps its order', async (t) => {
  const h = await startQueue(t)
  h.sender.outcome = ({ content }) => (content.text === '1' ? 'hang' : 'ack')
  await h.enqueue('1', { chat: lid })
  await h.enqueue('3', { chat: lid })
  await h.quiet()
  h.sender.numbers.set(lid, chatA)
  const joined = h.queue.control.joinChats(h.instance, [lid])
  await h.quiet()
  await h.enqueue('4', { chat: chatA })
  await h.enqueue('other', { chat: chatB })
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1', 'other'])
  h.sender.release()
  await joined
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1', 'other', '3', '4'])
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 1, timers: 0 })
})

test('what is being typed waits again under its person’s one id, and a lost acknowledgement keeps its WhatsApp id', async (t) => {
  const h = await startQueue(t, { pacing: defaultPacing })
  h.sender.outcome = (_, nth) => (nth === 1 ? 'hang' : 'ack')
  const { waMessageId } = await h.enqueue('1', { chat: lid })
  await h.advance(20_000, 500)
  assert.equal(h.sender.sends.length, 1)
  await h.advance(130_000, 1000)
  await h.enqueue('2', { chat: chatA })
  h.sender.numbers.set(lid, chatA)
  const joined = h.queue.control.joinChats(h.instance, [lid])
  await h.advance(60_000, 500)
  await joined
  h.sender.release()
  await h.advance(60_000, 500)
  assert.equal(h.sender.texts.at(-1), '2')
  assert.deepEqual([...new Set(h.sender.sends.slice(0, -1).map((sent) => sent.waMessageId))], [waMessageId])
  assert.equal((await h.rows()).length, 0)
})

test('a LID whose number became known while nobody listened joins it before it sends, also over a crash', async (t) => {
  const h = await startQueue(t, { online: false })
  await h.enqueue('1', { chat: lid })
  await h.queue.control.pause({ tenant: exatron, instance: h.instance, chat: lid })
  h.sender.numbers.set(lid, chatA)
  await h.crash()
  await h.enqueue('2', { chat: chatA })
  await h.queue.control.resume({ tenant: exatron, instance: h.instance, chat: lid })
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.advance(2000, 500)
  assert.deepEqual(
    h.sender.sends.map(({ chat }) => chat),
    [chatA, chatA],
  )
  assert.deepEqual(h.queue.dispatcher.stats(), { lanes: 0, openChats: 0, lines: 1, timers: 0 })
})

test('a pause of a LID is one of the person: their number waits, too', async (t) => {
  const h = await startQueue(t)
  await h.queue.control.pause({ tenant: exatron, instance: h.instance, chat: lid })
  await h.enqueue('1', { chat: lid })
  h.sender.numbers.set(lid, chatA)
  await h.queue.control.joinChats(h.instance, [lid])
  await h.enqueue('2', { chat: chatA })
  await h.quiet()
  assert.deepEqual(h.sender.texts, [])
  await h.queue.control.resume({ tenant: exatron, instance: h.instance, chat: chatA })
  await h.quiet()
  assert.deepEqual(h.sender.texts, ['1', '2'])
})
