import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock, until } from '@eclusa/kernel/test-kit'
import { createSimulator } from '../src/index.ts'
import { makeRig } from './rig.ts'

test('time is what the clock says: in stanzas, in inboxes, and before a contact answers', async (t) => {
  const clock = new ManualClock(Date.UTC(2030, 0, 1))
  const { sim, number, contact } = await makeRig(t, { clock })
  const { client } = await number()
  const carol = contact({ replyWith: () => 'at last', delayMs: 60_000 })
  await client.send(carol.number, 'take your time')
  const message = await carol.waitFor((m) => m.text === 'take your time')
  assert.equal(message.at, Date.UTC(2030, 0, 1))
  await until(() => client.acks.length === 1, 'the ack')
  assert.equal(client.acks[0]?.['t'], String(Date.UTC(2030, 0, 1) / 1000))
  await until(() => client.presence.length === 1, 'typing')
  await clock.tick(59_000)
  await sim.settled()
  assert.deepEqual(client.texts, [])
  await clock.tick(1000)
  await until(() => client.texts.includes('at last'), 'the answer')
  await sim.assertClean()
})

test('the same seed gives the same LIDs and message ids', async (t) => {
  const made: unknown[] = []
  for (const seed of [7, 7, 8]) {
    const sim = await createSimulator({ seed })
    t.after(() => sim.stop())
    const one = sim.addContact('5521900000001')
    const two = sim.addContact('5521900000002')
    made.push([one.lid, two.lid, one.send(two.number, 'x').waMessageId])
    await sim.assertClean()
    assert.deepEqual(
      two.inbox.map((m) => m.text),
      ['x'],
    )
  }
  assert.deepEqual(made[0], made[1])
  assert.notDeepEqual(made[0], made[2])
})

test('numbers are taken with or without plus sign and separators, and each only once', async (t) => {
  const sim = await createSimulator()
  t.after(() => sim.stop())
  sim.addNumber('+55 (11) 90000-0001')
  assert.throws(() => sim.addContact('5511900000001'), { code: 'SIMULATOR_NUMBER_TAKEN' })
  for (const bad of ['', '123', 'abc', '1234567890123456']) {
    assert.throws(() => sim.addNumber(bad), { code: 'SIMULATOR_BAD_NUMBER' })
  }
  assert.equal(sim.number('+5511900000001').jid, '5511900000001@s.whatsapp.net')
  assert.throws(() => sim.contact('5511900000001'), { code: 'SIMULATOR_UNKNOWN_CONTACT' })
  assert.throws(() => sim.device('5511900000001'), { code: 'SIMULATOR_UNKNOWN_DEVICE' })
})

test('inboxes and transcripts keep the last so many', async (t) => {
  const { sim, number, contact } = await makeRig(t, { maxInbox: 10, maxTranscript: 20 })
  const { client, device } = await number()
  const carol = contact()
  for (let n = 0; n < 30; n++) await client.send(carol.number, `m${n}`)
  await carol.waitFor((m) => m.text === 'm29')
  assert.deepEqual(
    carol.inbox.map((m) => m.text),
    Array.from({ length: 10 }, (_, n) => `m${n + 20}`),
  )
  assert.equal(carol.inbox.at(-1)?.order, 30)
  assert.equal(device.transcript.length, 20)
  await sim.assertClean()
})

test('waiting for a message that never comes ends with an error', async (t) => {
  const sim = await createSimulator()
  t.after(() => sim.stop())
  const carol = sim.addContact('5521900000001')
  await assert.rejects(
    carol.waitFor(() => true, 10),
    { code: 'SIMULATOR_NOT_WITHIN' },
  )
})

test('a stopped simulator may be stopped again and answers nothing', async () => {
  const sim = await createSimulator()
  const { port } = sim
  await sim.stop()
  await sim.stop()
  await assert.rejects(fetch(`http://127.0.0.1:${port}/root-key`))
})

test('a connection that does not speak Noise is cut off and recorded', async (t) => {
  const { WebSocket } = await import('ws')
  const sim = await createSimulator()
  t.after(() => sim.stop())
  const socket = new WebSocket(sim.url)
  await new Promise((resolve) => socket.once('open', resolve))
  socket.send('GET / HTTP/1.1\r\n\r\n')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.deepEqual(
    sim.violations.map(({ kind }) => kind),
    ['bad-frame'],
  )
})
