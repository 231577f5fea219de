import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { makeRig } from './rig.ts'

const ID = '3EB0FFFFFFFFFFFFFFFFFF'

test('connect: refused, dropped, delayed, never answered', async (t) => {
  const { sim, number } = await makeRig(t)
  const { client } = await number({}, { connectTimeoutMs: 400 })
  const refused = sim.fault({ on: 'connect', do: 'error', code: 503, times: 1 })
  client.reconnect()
  // rc14 listens to the refusal and does nothing: it never reports a close, so whoever uses it needs a deadline.
  await until(() => refused.struck === 1, 'refused')
  assert.equal(client.closed, undefined)
  sim.fault({ on: 'connect', do: 'drop', times: 1 })
  client.reconnect()
  assert.notEqual(await client.untilClosed(), 0)
  sim.fault({ on: 'connect', do: 'ignore', times: 1 })
  client.reconnect()
  assert.equal(await client.untilClosed(), 408)
  const delayed = sim.fault({ on: 'connect', do: 'delay', ms: 50, times: 1 })
  client.reconnect()
  await client.untilOpen()
  assert.equal(delayed.struck, 1)
  await sim.assertClean()
})

test('login: refused with a code, dropped, delayed', async (t) => {
  const { sim, number } = await makeRig(t)
  const { client, phone } = await number()
  sim.fault({ on: 'login', do: 'error', code: 503, times: 1, match: { number: phone.number } })
  client.reconnect()
  assert.equal(await client.untilClosed(), 503)
  sim.fault({ on: 'login', do: 'dropConnection', times: 1 })
  client.reconnect()
  assert.equal(await client.untilClosed(), 428)
  sim.fault({ on: 'login', do: 'delay', ms: 50, times: 1 })
  client.reconnect()
  await client.untilOpen()
  await sim.assertClean()
})

test('iq: an error reaches the caller, a lost answer times out, a delayed one comes, a broken connection rejects', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number({}, { defaultQueryTimeoutMs: 300 })
  const carol = contact()
  const ask = (): Promise<unknown> => client.sock.getUSyncDevices([carol.jid], false, false)
  sim.fault({ on: 'iq', do: 'error', code: 429, times: 1, match: { xmlns: 'usync' } })
  await assert.rejects(ask(), /rate-overlimit/)
  sim.fault({ on: 'iq', do: 'lose', times: 1, match: { xmlns: 'usync' } })
  assert.deepEqual(await ask(), [])
  sim.fault({
    on: 'iq',
    do: 'delay',
    ms: 50,
    times: 1,
    match: { xmlns: 'usync', type: 'get', child: 'usync' },
  })
  assert.equal(((await ask()) as unknown[]).length, 1)
  sim.fault({ on: 'iq', do: 'dropConnection', times: 1, match: { xmlns: 'usync' } })
  await assert.rejects(ask())
  await client.untilClosed()
  await sim.assertClean()
})

test('message: lost without a trace; the contact never sees it', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  const fault = sim.fault({ on: 'message', do: 'lose', times: 1, match: { contact: carol.number } })
  await client.send(carol.number, 'lost')
  await client.send(carol.number, 'kept')
  await carol.waitFor((m) => m.text === 'kept')
  assert.deepEqual(
    carol.inbox.map((m) => m.text),
    ['kept'],
  )
  await until(() => client.acks.length > 0, 'one ack')
  await sim.settled()
  assert.equal(client.acks.length, 1)
  assert.equal(fault.struck, 1)
  await sim.assertClean()
})

for (const code of [429, 463, 479]) {
  test(`ack: error ${code} comes with the ack and the message is not delivered`, async (t) => {
    const { sim, number, contact } = await makeRig(t)
    const { client } = await number()
    const carol = contact()
    sim.fault({ on: 'ack', do: 'error', code, times: 1, match: { id: ID } })
    await client.send(carol.number, 'refused', ID)
    await until(() => client.acks.length === 1, 'the ack')
    assert.equal(client.acks[0]?.['error'], String(code))
    await client.send(carol.number, 'accepted')
    await carol.waitFor((m) => m.text === 'accepted')
    assert.deepEqual(
      carol.inbox.map((m) => m.text),
      ['accepted'],
    )
    await sim.assertClean()
  })
}

test('ack: lost, although the message arrives', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  sim.fault({ on: 'ack', do: 'lose', times: 1 })
  await client.send(carol.number, 'arrives', ID)
  await carol.waitFor((m) => m.waMessageId === ID)
  await sim.assertClean()
  assert.equal(client.acks.length, 0)
})

test('ack: lost together with the message when told so', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  sim.fault({ on: 'ack', do: 'lose', process: false, times: 1 })
  await client.send(carol.number, 'gone', ID)
  await client.send(carol.number, 'there')
  await carol.waitFor((m) => m.text === 'there')
  assert.equal(carol.inbox.length, 1)
  await sim.assertClean()
})

test('ack: delayed, repeated, and replaced by a broken connection after the message was accepted', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  sim.fault({ on: 'ack', do: 'delay', ms: 50, times: 1 })
  await client.send(carol.number, 'one')
  await carol.waitFor((m) => m.text === 'one')
  await until(() => client.acks.length === 1, 'the late ack')
  sim.fault({ on: 'ack', do: 'duplicate', times: 1 })
  await client.send(carol.number, 'two')
  await until(() => client.acks.length === 3, 'two acks of one message')
  sim.fault({ on: 'ack', do: 'dropConnection', times: 1 })
  await client.send(carol.number, 'three', ID)
  assert.equal(await client.untilClosed(), 428)
  await carol.waitFor((m) => m.text === 'three')
  client.reconnect()
  await client.untilOpen()
  // As a gateway does after a crash: the same id once more.
  await client.send(carol.number, 'three', ID)
  await until(() => client.acks.at(-1)?.['id'] === ID, 'acknowledged now')
  await until(() => carol.inbox.at(-1)?.repeats === 1, 'seen as a repeat')
  await sim.assertClean()
})

test('message: delivered twice by the network, kept once by the contact', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  sim.fault({ on: 'message', do: 'duplicate', times: 1 })
  await client.send(carol.number, 'once')
  await until(() => carol.inbox[0]?.repeats === 1, 'the repeat')
  await sim.assertClean()
})

test('message: the connection breaks before the server took it; sent again under the same id it arrives once', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  sim.fault({ on: 'message', do: 'dropConnection', times: 1 })
  await client.send(carol.number, 'again', ID)
  await client.untilClosed()
  client.reconnect()
  await client.untilOpen()
  await client.send(carol.number, 'again', ID)
  const message = await carol.waitFor((m) => m.waMessageId === ID)
  assert.equal(message.repeats, 0)
  await sim.assertClean()
})

test('deliver: lost now, delivered at the next connection; until then the check names it', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact()
  sim.fault({ on: 'deliver', do: 'lose', times: 1, match: { number: phone.number, contact: carol.number } })
  const { waMessageId } = carol.send(phone, 'later')
  carol.send(phone, 'now')
  await until(() => client.texts.includes('now'), 'the other one')
  await assert.rejects(sim.assertClean(100), new RegExp(`undelivered: message ${waMessageId}`))
  client.reconnect()
  await client.untilOpen()
  await until(() => client.texts.includes('later'), 'at the next connection')
  await sim.assertClean()
})

test('deliver: dropped for ever, delayed, and a connection that breaks instead', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact()
  sim.fault({ on: 'deliver', do: 'drop', times: 1 })
  carol.send(phone, 'never')
  sim.fault({ on: 'deliver', do: 'delay', ms: 50, times: 1 })
  carol.send(phone, 'late')
  carol.send(phone, 'in time')
  await until(() => client.texts.length === 2, 'two of three')
  assert.deepEqual(client.texts, ['in time', 'late'])
  sim.fault({ on: 'deliver', do: 'dropConnection', times: 1 })
  carol.send(phone, 'after the break')
  assert.equal(await client.untilClosed(), 428)
  client.reconnect()
  await client.untilOpen()
  await until(() => client.texts.includes('after the break'), 'redelivered')
  await sim.assertClean()
})

test('receipt: the one to the client is lost, late or doubled; the one from the client is lost', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone, device } = await number()
  const carol = contact()
  sim.fault({ on: 'receipt', do: 'drop', times: 1, match: { direction: 'out', type: 'delivered' } })
  await client.send(carol.number, 'no receipt', ID)
  await carol.waitFor((m) => m.waMessageId === ID)
  await sim.assertClean()
  assert.equal(
    sim.transcript(client.jid).some((entry) => entry.direction === 'out' && entry.tag === 'receipt'),
    false,
  )
  sim.fault({ on: 'receipt', do: 'delay', ms: 50, times: 1, match: { direction: 'out' } })
  const late = await client.send(carol.number, 'late receipt')
  // Baileys merges a receipt that comes while it buffers into the message itself: the transcript tells for sure.
  await until(
    () =>
      sim
        .transcript(client.jid)
        .some(
          ({ direction, tag, attrs }) => direction === 'out' && tag === 'receipt' && attrs['id'] === late,
        ),
    'the late receipt',
  )
  sim.fault({ on: 'receipt', do: 'duplicate', times: 1, match: { direction: 'out' } })
  await client.send(carol.number, 'two receipts')
  await sim.assertClean()
  sim.fault({ on: 'receipt', do: 'lose', times: 1, match: { direction: 'in' } })
  const { waMessageId } = carol.send(phone, 'and you?')
  await until(() => client.texts.includes('and you?'), 'the message')
  await sim.settled(200)
  assert.equal(carol.receipts.length, 0)
  assert.deepEqual(
    sim.pending(device.jid).map(({ id }) => id),
    [waMessageId],
  )
})

test('a fault strikes after some, so many times, and not once it is cleared', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  const fault = sim.fault({ on: 'message', do: 'lose', after: 1, times: 2 })
  for (let n = 0; n < 5; n++) await client.send(carol.number, `m${n}`)
  await carol.waitFor((m) => m.text === 'm4')
  assert.deepEqual(
    carol.inbox.map((m) => m.text),
    ['m0', 'm3', 'm4'],
  )
  assert.equal(fault.struck, 2)
  const all = sim.fault({ on: 'message', do: 'lose' })
  all.clear()
  await client.send(carol.number, 'after')
  await carol.waitFor((m) => m.text === 'after')
  assert.throws(() => sim.fault({ on: 'message', do: 'delay' }), { code: 'SIMULATOR_BAD_INPUT' })
  assert.throws(() => sim.fault({ on: 'nowhere' as never, do: 'lose' }), { code: 'SIMULATOR_BAD_INPUT' })
  assert.throws(() => sim.clearFault('fault-99'), { code: 'SIMULATOR_UNKNOWN_FAULT' })
  await sim.assertClean()
})
