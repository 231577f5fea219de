import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, SimulatorProcess } from '../harness.ts'

/*
 * Care for people and for the number, through the whole gateway against the simulator. One gateway serves all tests;
 * every test has an instance and contacts of its own.
 */

const closers: (() => unknown)[] = []
const scope = { after: (run: () => unknown): unknown => closers.push(run) }
let simulator: SimulatorProcess
let gateway: GatewayProcess
let nextNumber = 1
let nextContact = 0

before(async () => {
  simulator = await SimulatorProcess.start(scope)
  gateway = await GatewayProcess.start(scope, {
    whatsapp: simulator.whatsapp,
    env: {
      ECLUSA_LIMITS: 'on',
      ECLUSA_LIMITS_CONTACT_EVERY_MS: '0',
      // No night anywhere, unless a test makes one.
      ECLUSA_LIMITS_QUIET_FROM_HOUR: '0',
      ECLUSA_LIMITS_QUIET_TO_HOUR: '0',
    },
  })
})

after(async () => {
  for (const close of closers.toReversed()) await close()
})

const newInstance = (tenant: string): Promise<string> =>
  gateway.pair(simulator, `551190000000${nextNumber++}`, tenant)

async function newContact(): Promise<string> {
  const number = `5511940000${String(nextContact++).padStart(3, '0')}`
  await simulator.call('POST', '/contacts', { number, name: 'Contact', autoReceipt: true, autoRead: false })
  return number
}

/** The contact writes to the instance, which is its number in the order of the tests. */
async function writes(contact: string, instance: string): Promise<void> {
  const { number } = await gateway.call<{ number: string }>('GET', `/v1/instances/${instance}`)
  const before = gateway.count('"InboundMessage"')
  await simulator.call('POST', `/contacts/${contact}/send`, { to: number.slice(1), text: 'Hello?' })
  await until(() => gateway.count('"InboundMessage"') > before, 'what they wrote is journalled')
}

const send = (instance: string, contact: string, more: object = {}): Promise<{ id: string }> =>
  gateway.call('POST', `/v1/instances/${instance}/messages`, { to: `+${contact}`, text: 'Hi', ...more })

async function untilWaitsFor(id: string, reason: string): Promise<string | null> {
  let last: readonly { reason: string; until: string | null }[] = []
  await until(async () => {
    last = (await gateway.call<{ waits: typeof last }>('GET', `/v1/messages/${id}/why`)).waits
    return last.some((wait) => wait.reason === reason)
  }, `it waits for ${reason}`)
  return last.find((wait) => wait.reason === reason)?.until ?? null
}

async function untilRefused(id: string, code: string): Promise<void> {
  const { failure } = await gateway.untilMessage(id, 'FAILED')
  assert.equal(failure?.code, code)
}

const record = (tenant: string, contact: string, kind: string, more: object = {}): Promise<unknown> =>
  gateway.call('POST', `/v1/tenants/${tenant}/ledger`, {
    entries: [{ contact: `+${contact}`, kind, ...more }],
  })

for (const [code, name] of [
  [463, 'SESSION_ACCOUNT_RESTRICTED'],
  [429, 'SESSION_RATE_LIMITED'],
] as const) {
  test(`WhatsApp’s answer ${code} to a stranger pauses the cold chats, visibly; conversations flow`, async () => {
    const tenant = `restricted${code}`
    const instance = await newInstance(tenant)
    const [stranger, other, talking] = [await newContact(), await newContact(), await newContact()]
    await writes(talking, instance)
    const fault = { on: 'ack', do: 'error', code, match: { contact: stranger } }
    const { id: faultId } = await simulator.call<{ id: string }>('POST', '/faults', fault)
    const cold = await send(instance, stranger)
    const pausedUntil = await untilWaitsFor(cold.id, 'COLD_PAUSED')
    const alsoCold = await send(instance, other)
    assert.equal(await untilWaitsFor(alsoCold.id, 'COLD_PAUSED'), pausedUntil)
    const answer = await send(instance, talking)
    await gateway.untilMessage(answer.id, 'DELIVERED')
    const queue = await gateway.call<{ coldChatsPaused: unknown; pending: number; failed: number }>(
      'GET',
      `/v1/instances/${instance}/queue`,
    )
    assert.deepEqual(queue.coldChatsPaused, { until: pausedUntil, code: name })
    assert.deepEqual([queue.pending, queue.failed], [2, 0])
    const told = gateway.sql(
      `SELECT type FROM "Event" WHERE type = 'cold_chats.paused' AND tenant = '${tenant}'`,
    )
    assert.equal(told.length, 1)
    // Who writes is not cold any more.
    await simulator.call('DELETE', `/faults/${faultId}`)
    await writes(stranger, instance)
    await gateway.untilMessage(cold.id, 'DELIVERED')
    await untilWaitsFor(alsoCold.id, 'COLD_PAUSED')
    assert.deepEqual(await simulator.inbox(other), [])
  })
}

test('new contacts past the budget wait and say until when; answers are not counted, and a greater budget counts at once', async () => {
  const instance = await newInstance('budget')
  const limits = `/v1/instances/${instance}/limits`
  await gateway.call('PUT', limits, { maxNewContactsPerDay: 2 })
  const talking = await newContact()
  await writes(talking, instance)
  for (let n = 0; n < 2; n++) {
    await gateway.untilMessage((await send(instance, await newContact())).id, 'DELIVERED')
  }
  const began = Date.now()
  const third = await send(instance, await newContact())
  const opensAt = Date.parse((await untilWaitsFor(third.id, 'NEW_CONTACT_BUDGET')) ?? '')
  assert.ok(Math.abs(opensAt - began - 86_400_000) < 600_000, `a day after the first one, not ${opensAt}`)
  await gateway.untilMessage((await send(instance, talking)).id, 'DELIVERED')
  await gateway.call('PUT', limits, { maxNewContactsPerDay: 3 })
  await gateway.untilMessage(third.id, 'DELIVERED')
})

test('proactive messages wait at night, answers do not; who writes is awake', async () => {
  const instance = await newInstance('night')
  const contact = await newContact()
  await record('night', contact, 'consent', { channel: 'form', proof: 'form 1' })
  // Around now on the clock of the contact, whose zone has no summer time.
  const minute = (Math.floor(Date.now() / 60_000) - 180) % 1440
  const at = (offset: number): string =>
    new Date((((minute + offset) % 1440) + 1440) * 60_000).toISOString().slice(11, 16)
  await gateway.call('PUT', `/v1/instances/${instance}/limits`, {
    quietHours: { from: at(-60), to: at(120) },
  })
  const news = await send(instance, contact, { purpose: 'proactive', text: 'News' })
  const morning = await untilWaitsFor(news.id, 'QUIET_HOURS')
  assert.equal(morning?.slice(14, 16), at(120).slice(3), 'the end of the night')
  await gateway.untilMessage((await send(instance, contact)).id, 'DELIVERED')
  await writes(contact, instance)
  await gateway.untilMessage(news.id, 'DELIVERED')
  assert.deepEqual(
    (await simulator.inbox(contact)).map(({ text }) => text),
    ['Hi', 'News'],
  )
})

test('an opt-out ends what waits and what comes, until they write; proactive messages also then', async () => {
  const instance = await newInstance('optout')
  const contact = await newContact()
  await record('optout', contact, 'consent')
  await gateway.call('POST', `/v1/instances/${instance}/queue/pause`)
  const waiting = [await send(instance, contact), await send(instance, contact, { purpose: 'proactive' })]
  await record('optout', contact, 'opt_out')
  await gateway.call('POST', `/v1/instances/${instance}/queue/resume`)
  for (const { id } of waiting) await untilRefused(id, 'CONTACT_OPTED_OUT')
  await untilRefused((await send(instance, contact)).id, 'CONTACT_OPTED_OUT')
  assert.deepEqual(await simulator.inbox(contact), [])
  await writes(contact, instance)
  await gateway.untilMessage((await send(instance, contact, { text: 'Yes?' })).id, 'DELIVERED')
  await untilRefused((await send(instance, contact, { purpose: 'proactive' })).id, 'CONTACT_OPTED_OUT')
  await record('optout', contact, 'opt_in')
  await record('optout', contact, 'consent')
  await gateway.untilMessage((await send(instance, contact, { purpose: 'proactive' })).id, 'DELIVERED')
})

test('a consent that ends before the message’s turn counts no more', async () => {
  const instance = await newInstance('expiry')
  const contact = await newContact()
  const expiresAt = Date.now() + 1500
  await record('expiry', contact, 'consent', { expiresAt: new Date(expiresAt).toISOString() })
  const now = await send(instance, contact, { purpose: 'proactive' })
  const sendAt = new Date(expiresAt + 500).toISOString()
  const later = await send(instance, contact, { purpose: 'proactive', sendAt })
  await gateway.untilMessage(now.id, 'DELIVERED')
  await untilRefused(later.id, 'CONTACT_CONSENT_MISSING')
  const refused = await gateway.fetch('POST', `/v1/instances/${instance}/messages`, {
    to: `+${contact}`,
    text: 'x',
    purpose: 'proactive',
  })
  assert.equal(refused.status, 409)
  await simulator.check()
})
