import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { textOf } from './client.ts'
import { makeRig } from './rig.ts'

test('a text reaches the contact decrypted, is acknowledged, delivered and read', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact({ name: 'Carol', autoRead: true })
  const id = await client.send(carol.number, 'oi')
  const message = await carol.waitFor((m) => m.text === 'oi')
  assert.deepEqual(
    { ...message, at: 0 },
    {
      waMessageId: id,
      from: phone.number,
      chat: phone.number,
      addressing: 'pn',
      fromMe: false,
      kind: 'text',
      text: 'oi',
      media: undefined,
      at: 0,
      repeats: 0,
      order: 1,
    },
  )
  await until(
    () => client.acks.some((ack) => ack['id'] === id && ack['error'] === undefined),
    'the server ack',
  )
  await sim.assertClean()
  const types = sim
    .transcript(client.jid)
    .filter((entry) => entry.direction === 'out' && entry.tag === 'receipt' && entry.attrs['id'] === id)
    .map((entry) => entry.attrs['type'] ?? 'delivered')
  assert.deepEqual(types, ['delivered', 'read'])
  // The account's own phone got its copy.
  assert.deepEqual(
    phone.inbox.map(({ fromMe, chat, text }) => ({ fromMe, chat, text })),
    [{ fromMe: true, chat: carol.number, text: 'oi' }],
  )
})

for (const addressing of ['pn', 'lid'] as const) {
  test(`messages go both ways when the contact is addressed by ${addressing}`, async (t) => {
    const { sim, number, contact } = await makeRig(t, { addressing })
    const { client, phone } = await number()
    const carol = contact({ replyWith: (m) => `re: ${m.text}` })
    await client.send(addressing === 'pn' ? carol.jid : carol.lid, 'first')
    await until(() => client.texts.includes('re: first'), 'the answer')
    await client.send(addressing === 'pn' ? carol.jid : carol.lid, 'second')
    await until(() => client.texts.includes('re: second'), 'the second answer')
    const received = client.upserts.find(({ message }) => textOf(message) === 're: second')?.message
    assert.equal(received?.key.remoteJid, addressing === 'pn' ? carol.jid : carol.lid)
    assert.equal(received?.key.remoteJidAlt, addressing === 'pn' ? carol.lid : carol.jid)
    carol.send(phone, 'third')
    await until(() => client.texts.includes('third'), 'a message unasked')
    await sim.assertClean()
    assert.equal(new Set(carol.receipts.map((receipt) => receipt.waMessageId)).size, 3)
  })
}

test('the client reads: the contact sees delivered, then read', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact()
  const { waMessageId } = carol.send(phone, 'are you there?')
  await until(() => client.texts.length === 1, 'the message')
  const key = client.upserts.find(({ message }) => textOf(message) !== '')?.message.key
  assert.ok(key)
  await client.sock.readMessages([key])
  await until(() => carol.receipts.some((receipt) => receipt.type === 'read'), 'the read receipt')
  assert.deepEqual(
    carol.receipts.map(({ waMessageId: id, type, from, deviceId }) => ({ id, type, from, deviceId })),
    ['delivered', 'read'].map((type) => ({ id: waMessageId, type, from: phone.number, deviceId: 1 })),
  )
  await sim.assertClean()
})

test('a burst of 20 messages to each of 50 contacts arrives in order, each once, acknowledged each', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const contacts = Array.from({ length: 50 }, () => contact())
  for (let round = 0; round < 20; round++) {
    await Promise.all(contacts.map((one) => client.send(one.number, `m${round}`)))
  }
  await until(() => contacts.every((one) => one.inbox.length === 20), 'all 1,000')
  const expected = Array.from({ length: 20 }, (_, round) => `m${round}`)
  for (const one of contacts)
    assert.deepEqual(
      one.inbox.map((m) => m.text),
      expected,
    )
  await until(() => client.acks.length === 1000, 'all acks')
  await sim.assertClean(15_000)
  assert.equal(sim.accepted.length, 1000)
})

test('messages from 50 contacts at once reach the client in order per chat', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const contacts = Array.from({ length: 50 }, () => contact())
  for (let round = 0; round < 10; round++)
    for (const one of contacts) one.send(phone, `${one.number} ${round}`)
  await until(() => client.texts.length === 500, 'all 500')
  for (const one of contacts) {
    const mine = client.texts.filter((text) => text.startsWith(one.number))
    assert.deepEqual(
      mine,
      Array.from({ length: 10 }, (_, round) => `${one.number} ${round}`),
    )
  }
  await sim.assertClean(15_000)
  assert.equal(sim.acknowledged.length, 500)
  assert.equal(new Set(sim.acknowledged.map((item) => item.waMessageId)).size, 500)
})

test('two clients of different numbers talk to each other end to end', async (t) => {
  const { sim, number } = await makeRig(t)
  const one = await number()
  const two = await number()
  await one.client.send(two.phone.number, 'hello')
  await until(() => two.client.texts.includes('hello'), 'hello')
  await two.client.send(one.phone.number, 'hi')
  await until(() => one.client.texts.includes('hi'), 'hi')
  await sim.assertClean()
  // Their phones got copies they could decrypt.
  assert.deepEqual(
    one.phone.inbox.map((m) => m.text),
    ['hello', 'hi'],
  )
})

test('an unknown number has no devices and is not on WhatsApp', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  assert.deepEqual(await client.sock.getUSyncDevices(['5599911112222@s.whatsapp.net'], true, false), [])
  const asked = await client.sock.onWhatsApp('5599911112222', carol.number)
  // Baileys leaves out those that are not on WhatsApp.
  assert.deepEqual(asked, [{ jid: carol.jid, exists: true }])
  await sim.assertClean()
})

test('the same id sent again after a reconnect is counted as a repeat and gets its receipt, not a second entry', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, device } = await number()
  const carol = contact()
  await client.send(carol.number, 'once', '3EB0AAAAAAAAAAAAAAAAAA')
  await carol.waitFor((m) => m.text === 'once')
  client.reconnect()
  await client.untilOpen()
  await until(() => device.online, 'online')
  await client.send(carol.number, 'once', '3EB0AAAAAAAAAAAAAAAAAA')
  await until(() => carol.inbox[0]?.repeats === 1, 'the repeat')
  assert.equal(carol.inbox.length, 1)
  await sim.assertClean()
  assert.equal(sim.stats.totals['receiptsOut'], 2)
})

test('a contact that is offline gives no receipt until it is back', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  carol.goOffline()
  await client.send(carol.number, 'later')
  await until(() => client.acks.length === 1, 'the server has it')
  await sim.settled()
  assert.equal(carol.inbox.length, 0)
  assert.equal(sim.stats.totals['receiptsOut'], 0)
  carol.goOnline()
  await carol.waitFor((m) => m.text === 'later')
  await sim.assertClean()
})

test('texts of any script and length arrive unchanged', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact({ replyWith: (m) => m.text })
  for (const text of ['ação 👋🏽', '\u0000\n\t', 'x'.repeat(65_536), '你好 שלום']) {
    await client.send(carol.number, text)
    await until(() => client.texts.includes(text), 'the echo')
    assert.equal(carol.inbox.at(-1)?.text, text)
  }
  await sim.assertClean()
})
