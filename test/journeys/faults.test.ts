import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, SimulatorProcess } from '../harness.ts'

/*
 * What the API says when WhatsApp misbehaves. One gateway and one simulator serve all rows, because each row leaves
 * them as it found them; every row has a contact of its own.
 */

const COMPANY = '5511900000001'
const ACK_TIMEOUT_MS = 1_000

const closers: (() => unknown)[] = []
const scope = { after: (run: () => unknown): unknown => closers.push(run) }
let simulator: SimulatorProcess
let gateway: GatewayProcess
let instance = ''
let nextContact = 0

before(async () => {
  simulator = await SimulatorProcess.start(scope)
  gateway = await GatewayProcess.start(scope, {
    whatsapp: simulator.whatsapp,
    env: {
      ECLUSA_SESSION_ACK_TIMEOUT_MS: String(ACK_TIMEOUT_MS),
      ECLUSA_SESSION_KEEP_ALIVE_MS: '1000',
    },
  })
  instance = await gateway.pair(simulator, COMPANY)
})

after(async () => {
  for (const close of closers.toReversed()) await close()
})

async function newContact(): Promise<string> {
  const number = `5511930000${String(nextContact++).padStart(3, '0')}`
  await simulator.call('POST', '/contacts', { number, name: 'Contact', autoReceipt: true, autoRead: false })
  return number
}

interface Shown {
  readonly state: string
  readonly reason: { readonly code: string } | null
}

async function shown(): Promise<Shown> {
  return gateway.call<Shown>('GET', `/v1/instances/${instance}`)
}

async function arrivesOnce(number: string, text: string): Promise<void> {
  await until(async () => (await simulator.inbox(number)).length > 0, 'it arrives')
  assert.deepEqual(
    (await simulator.inbox(number)).map((message) => message.text),
    [text],
  )
}

test('a lost acknowledgement: the same id goes again, the contact has it once, the API says DELIVERED', async () => {
  const number = await newContact()
  await simulator.call('POST', '/faults', { on: 'ack', do: 'lose', times: 1, match: { contact: number } })
  const { id } = await gateway.send(instance, number, 'hello')
  await gateway.untilMessage(id, 'DELIVERED')
  await arrivesOnce(number, 'hello')
})

test('a delayed acknowledgement: PROCESSING until it comes, then SENT', async () => {
  const number = await newContact()
  // A receipt would be the better acknowledgement.
  await simulator.call('POST', `/contacts/${number}/online`, { online: false })
  await simulator.call('POST', '/faults', {
    on: 'ack',
    do: 'delay',
    ms: 400,
    times: 1,
    match: { contact: number },
  })
  const { id } = await gateway.send(instance, number, 'hello')
  await gateway.untilMessage(id, 'PROCESSING')
  await gateway.untilMessage(id, 'SENT')
  await simulator.call('POST', `/contacts/${number}/online`, { online: true })
  await gateway.untilMessage(id, 'DELIVERED')
  await arrivesOnce(number, 'hello')
})

test('an inbound message that is delivered twice is journalled once', async () => {
  const number = await newContact()
  await simulator.call('POST', '/faults', {
    on: 'deliver',
    do: 'duplicate',
    times: 1,
    match: { contact: number },
  })
  await simulator.call('POST', `/contacts/${number}/send`, { to: COMPANY, text: 'twice' })
  await simulator.call('POST', `/contacts/${number}/send`, { to: COMPANY, text: 'after it' })
  const fromHim = (): string[] =>
    gateway
      .sql(`SELECT wa_message_id FROM "InboundMessage" WHERE author = '${number}@s.whatsapp.net' ORDER BY id`)
      .map((row) => String(row['wa_message_id']))
  await until(() => fromHim().length >= 2, 'both are journalled')
  assert.equal(new Set(fromHim()).size, 2)
  assert.equal(fromHim().length, 2)
})

for (const [code, failure] of [
  [463, 'SESSION_ACCOUNT_RESTRICTED'],
  [479, 'SESSION_STALE_DEVICES'],
] as const) {
  test(`acknowledgements with error ${code} end as FAILED with ${failure}`, async () => {
    const number = await newContact()
    const fault = { on: 'ack', do: 'error', code, match: { contact: number } }
    const { id: faultId } = await simulator.call<{ id: string }>('POST', '/faults', fault)
    const { id } = await gateway.send(instance, number, 'hello')
    const message = await gateway.untilMessage(id, 'FAILED', 60_000)
    assert.equal(message.failure?.code, failure)
    assert.deepEqual(await simulator.inbox(number), [])
    await simulator.call('DELETE', `/faults/${faultId}`)
  })
}

test('one acknowledgement with error 479 is tried again and arrives', async () => {
  const number = await newContact()
  await simulator.call('POST', '/faults', {
    on: 'ack',
    do: 'error',
    code: 479,
    times: 1,
    match: { contact: number },
  })
  const { id } = await gateway.send(instance, number, 'hello')
  await gateway.untilMessage(id, 'DELIVERED')
  await arrivesOnce(number, 'hello')
})

test('a number that is not on WhatsApp is FAILED at once with the reason', async () => {
  const { id } = await gateway.send(instance, '5511999999999', 'anybody?')
  const message = await gateway.untilMessage(id, 'FAILED')
  assert.equal(message.failure?.code, 'SESSION_NUMBER_UNKNOWN')
  assert.equal(message.sentAt, null)
})

test('while the instance is stopped messages wait as PENDING, and go when it is started', async () => {
  const number = await newContact()
  await gateway.call('POST', `/v1/instances/${instance}/stop`)
  assert.equal((await shown()).state, 'stopped')
  const { id } = await gateway.send(instance, number, 'hello')
  assert.equal((await gateway.message(id)).state, 'PENDING')
  await gateway.call('POST', `/v1/instances/${instance}/start`)
  await gateway.untilMessage(id, 'DELIVERED')
  await arrivesOnce(number, 'hello')
})

for (const [name, path, body, code] of [
  ['a dropped TCP connection (428)', 'drop', undefined, 'SESSION_SERVER_ENDED'],
  ['a closed WebSocket (428)', 'close', undefined, 'SESSION_SERVER_ENDED'],
  ['stream error 503', 'stream-error', { code: 503 }, 'SESSION_SERVER_UNAVAILABLE'],
  ['stream error 515', 'stream-error', { code: 515 }, 'SESSION_RESTART_REQUIRED'],
  ['a server that goes silent (408)', 'silent', {}, 'SESSION_CONNECTION_LOST'],
  ['an unknown stream error (500)', 'stream-error', {}, 'SESSION_BAD_SESSION'],
] as const) {
  test(`${name}: reconnecting with the reason, then online, and messages flow`, async () => {
    const number = await newContact()
    const seen: Shown[] = []
    await simulator.call('POST', `/devices/${COMPANY}/${path}`, body ?? {})
    await until(async () => {
      seen.push(await shown())
      return seen.some(({ state }) => state !== 'online') && seen.at(-1)?.state === 'online'
    }, 'it is online again')
    const reasons = seen.flatMap(({ reason }) => (reason === null ? [] : [reason.code]))
    // A restart (515) happens at once, too fast to be seen by asking again and again.
    if (code !== 'SESSION_RESTART_REQUIRED') assert.ok(reasons.includes(code), reasons.join())
    const { id } = await gateway.send(instance, number, 'still here')
    await gateway.untilMessage(id, 'DELIVERED')
  })
}

for (const [reason, state, code] of [
  [402, 'banned', 'SESSION_BANNED'],
  [403, 'failed', 'SESSION_LOCKED'],
] as const) {
  test(`a login refused with ${reason}: the instance is ${state} with ${code}; started again it goes on`, async () => {
    const number = await newContact()
    await simulator.call('POST', `/devices/${COMPANY}/refuse-login`, { reason })
    await simulator.call('POST', `/devices/${COMPANY}/drop`, {})
    await gateway.untilState(instance, state)
    assert.equal((await shown()).reason?.code, code)
    const { id } = await gateway.send(instance, number, 'later')
    assert.equal((await gateway.message(id)).state, 'PENDING')
    await simulator.call('POST', `/devices/${COMPANY}/allow-login`, {})
    await gateway.call('POST', `/v1/instances/${instance}/start`)
    await gateway.untilMessage(id, 'DELIVERED')
  })
}

test('a conflict (440): failed with SESSION_REPLACED, no fight over the connection', async () => {
  await simulator.call('POST', `/devices/${COMPANY}/conflict`, {})
  await gateway.untilState(instance, 'failed')
  assert.equal((await shown()).reason?.code, 'SESSION_REPLACED')
  await gateway.call('POST', `/v1/instances/${instance}/start`)
  await gateway.untilState(instance, 'online')
})

test('the simulator saw nothing unknown, undelivered or undecryptable in all of this', async () => {
  await simulator.check()
})

test('an acknowledgement with error 429 makes the instance wait, and the message stays PENDING', async () => {
  const number = await newContact()
  await simulator.call('POST', '/faults', {
    on: 'ack',
    do: 'error',
    code: 429,
    times: 1,
    match: { contact: number },
  })
  const { id } = await gateway.send(instance, number, 'hello')
  await until(
    async () => (await simulator.accepted()) >= 0 && (await gateway.message(id)).state === 'PENDING',
    'it waits',
  )
  await until(
    () => gateway.sql(`SELECT "sentAt" FROM "MessageQueueItem"`)[0]?.['sentAt'] !== undefined,
    'it was tried',
  )
  assert.deepEqual(await simulator.inbox(number), [])
})

test('a device that was unlinked on the phone (401): logged_out with SESSION_LOGGED_OUT', async () => {
  await simulator.call('POST', `/devices/${COMPANY}/logout`, {})
  await gateway.untilState(instance, 'logged_out')
  assert.equal((await shown()).reason?.code, 'SESSION_LOGGED_OUT')
})
