import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, SimulatorProcess } from '../harness.ts'

/*
 * What people do to messages that wait, are on the wire and have failed, through the API of a gateway whose number is
 * online. Contacts are of one test each.
 */

const closers: (() => unknown)[] = []
const scope = { after: (run: () => unknown): unknown => closers.push(run) }
let simulator: SimulatorProcess
let gateway: GatewayProcess
let instance = ''
let nextContact = 0

before(async () => {
  simulator = await SimulatorProcess.start(scope)
  gateway = await GatewayProcess.start(scope, { whatsapp: simulator.whatsapp })
  instance = await gateway.pair(simulator, '5511900000001')
})

after(async () => {
  for (const close of closers.toReversed()) await close()
})

async function newContact(): Promise<string> {
  const number = `5511960000${String(nextContact++).padStart(3, '0')}`
  await simulator.call('POST', '/contacts', { number, name: 'Contact', autoReceipt: true })
  return number
}

const textsOf = async (number: string): Promise<readonly string[]> =>
  (await simulator.inbox(number)).map(({ text }) => text)

async function codeOf(method: string, url: string): Promise<readonly [number, string]> {
  const response = await gateway.fetch(method, url)
  return [response.status, ((await response.json()) as { code?: string }).code ?? '']
}

test('a message on the wire is not cancelled (409), what waits behind it is; ended ones say so', async () => {
  const number = await newContact()
  const fault = { on: 'ack', do: 'delay', ms: 2000, times: 1, match: { contact: number } }
  await simulator.call('POST', '/faults', fault)
  await simulator.call('POST', `/contacts/${number}/online`, { online: false })
  const first = await gateway.send(instance, number, 'first')
  const others = [
    await gateway.send(instance, number, 'second'),
    await gateway.send(instance, number, 'third'),
  ]
  const why = async (): Promise<readonly string[]> =>
    (await gateway.call<{ waits: { reason: string }[] }>('GET', `/v1/messages/${first.id}/why`)).waits.map(
      ({ reason }) => reason,
    )
  await until(async () => (await why())[0] === 'ON_THE_WIRE', 'it is on the wire')
  assert.deepEqual(await codeOf('DELETE', `/v1/messages/${first.id}`), [409, 'QUEUE_ON_THE_WIRE'])
  assert.deepEqual(await codeOf('POST', `/v1/messages/${first.id}/send-now`), [409, 'QUEUE_NOT_WAITING'])
  assert.equal(
    (await gateway.call<{ state: string }>('DELETE', `/v1/messages/${others[0]?.id}`)).state,
    'CANCELLED',
  )
  const chat = encodeURIComponent(`+${number}`)
  const rest = await gateway.call('DELETE', `/v1/instances/${instance}/chats/${chat}/messages`)
  assert.deepEqual(rest, { cancelled: 1, onTheWire: 1 })
  await gateway.untilMessage(first.id, 'SENT')
  assert.deepEqual(await codeOf('DELETE', `/v1/messages/${first.id}`), [409, 'QUEUE_FINISHED'])
  assert.deepEqual(await codeOf('DELETE', `/v1/messages/${others[0]?.id}`), [409, 'QUEUE_FINISHED'])
  await simulator.call('POST', `/contacts/${number}/online`, { online: true })
  await gateway.untilMessage(first.id, 'DELIVERED')
  assert.deepEqual(await textsOf(number), ['first'])
})

test('failed messages are tried again one by one and all at once, under the same WhatsApp ids', async () => {
  const numbers = [await newContact(), await newContact(), await newContact()]
  const faults = await Promise.all(
    numbers.map((contact) =>
      simulator.call<{ id: string }>('POST', '/faults', {
        on: 'ack',
        do: 'error',
        code: 463,
        match: { contact },
      }),
    ),
  )
  const sent = await Promise.all(numbers.map((number) => gateway.send(instance, number, 'again')))
  const failed = await Promise.all(sent.map(({ id }) => gateway.untilMessage(id, 'FAILED')))
  const list = await gateway.call<{ items: { id: string; failure: { code: string } }[] }>(
    'GET',
    `/v1/messages?instance=${instance}&state=FAILED`,
  )
  assert.deepEqual(list.items.map(({ id }) => id).toSorted(), sent.map(({ id }) => id).toSorted())
  for (const { id } of faults) await simulator.call('DELETE', `/faults/${id}`)
  await gateway.call('POST', `/v1/messages/${sent[0]?.id}/retry`)
  await gateway.untilMessage(sent[0]?.id ?? '', 'DELIVERED')
  assert.deepEqual(await codeOf('POST', `/v1/messages/${sent[0]?.id}/retry`), [409, 'QUEUE_NOT_FAILED'])
  const bulk = await gateway.call('POST', `/v1/instances/${instance}/queue/retry-failed`)
  assert.deepEqual(bulk, { retried: 2 })
  for (const { id, waMessageId } of failed) {
    assert.equal((await gateway.untilMessage(id, 'DELIVERED')).waMessageId, waMessageId)
  }
  for (const number of numbers) assert.deepEqual(await textsOf(number), ['again'])
})

test('a chat, an instance and a tenant are paused alone; what is moved to now goes first when they go on', async () => {
  const [paused, other] = [await newContact(), await newContact()]
  const chat = `/v1/instances/${instance}/chats/${encodeURIComponent(`+${paused}`)}`
  await gateway.call('POST', `${chat}/pause`)
  const held = [await gateway.send(instance, paused, '1'), await gateway.send(instance, paused, '2')]
  await gateway.untilMessage((await gateway.send(instance, other, 'flows')).id, 'DELIVERED')
  await gateway.call('POST', `/v1/messages/${held[1]?.id}/send-now`)
  assert.deepEqual(await textsOf(paused), [])
  await gateway.call('POST', `${chat}/resume`)
  for (const { id } of held) await gateway.untilMessage(id, 'DELIVERED')
  assert.deepEqual(await textsOf(paused), ['2', '1'])
  for (const what of [`/v1/instances/${instance}/queue`, '/v1/tenants/exatron/queue']) {
    await gateway.call('POST', `${what}/pause`)
    const { id } = await gateway.send(instance, other, what)
    const counts = await gateway.call<{ total: unknown }>('GET', '/v1/queue')
    assert.deepEqual(counts.total, { pending: 1, processing: 0, failed: 0 })
    assert.equal((await gateway.message(id)).state, 'PENDING')
    await gateway.call('POST', `${what}/resume`)
    await gateway.untilMessage(id, 'DELIVERED')
  }
  await simulator.check()
})
