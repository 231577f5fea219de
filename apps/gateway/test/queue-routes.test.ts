import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newInstance, startGateway, type TestGateway } from './harness.ts'

const to = '+5511999990000'

async function send(gateway: TestGateway, instance: string, more: object = {}): Promise<string> {
  const answer = await gateway.call('POST', `/v1/instances/${instance}/messages`, { to, text: 'Hi', ...more })
  assert.equal(answer.status, 202, answer.text)
  return String(answer.body['id'])
}

test('a batch is queued in its order under one key; a bad message of it is named and nothing is stored', async (t) => {
  const gateway = await startGateway(t)
  const path = `/v1/instances/${await newInstance(gateway)}/messages/batch`
  const messages = Array.from({ length: 100 }, (_, n) => ({ to, text: `${n}` }))
  const key = { 'idempotency-key': 'batch 1' }
  const first = await gateway.call('POST', path, { messages }, key)
  assert.equal(first.status, 202, first.text)
  const ids = (first.body['items'] as { id: string }[]).map(({ id }) => id)
  assert.deepEqual(ids, ids.toSorted())
  assert.equal(ids.length, 100)
  const again = await gateway.call('POST', path, { messages }, key)
  assert.equal(again.text, first.text)
  assert.equal(again.headers.get('idempotency-replayed'), 'true')
  const other = await gateway.call('POST', path, { messages: messages.slice(1) }, key)
  assert.equal(other.body['code'], 'QUEUE_IDEMPOTENCY_MISMATCH')
  const bad = await gateway.call('POST', path, {
    messages: [
      { to, text: 'x' },
      { to: '12', text: 'x' },
    ],
  })
  assert.deepEqual([bad.status, bad.body['field']], [400, 'messages.1.to'])
  const tooMany = await gateway.call('POST', path, { messages: [...messages, { to, text: 'x' }] })
  assert.deepEqual([tooMany.status, tooMany.body['field']], [400, 'messages'])
  const { body } = await gateway.call('GET', '/v1/queue')
  assert.deepEqual(body['total'], { pending: 100, processing: 0, failed: 0 })
})

test('above 500 waiting messages each answer says so, and none is refused', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const messages = Array.from({ length: 100 }, (_, n) => ({ to, text: `${n}` }))
  for (let n = 0; n < 5; n++) {
    const answer = await gateway.call('POST', `/v1/instances/${id}/messages/batch`, { messages })
    assert.equal(answer.headers.get('eclusa-queue-warning'), null)
  }
  const answer = await gateway.call('POST', `/v1/instances/${id}/messages`, { to, text: 'one more' })
  assert.equal(answer.status, 202)
  assert.match(answer.headers.get('eclusa-queue-warning') ?? '', /^501 messages/)
})

test('a message says why it waits; pauses come and go and outlive a restart', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const message = await send(gateway, id)
  const later = await send(gateway, id, { sendAt: new Date(Date.now() + 3_600_000).toISOString() })
  const reasons = async (of: string): Promise<string[]> =>
    ((await gateway.call('GET', `/v1/messages/${of}/why`)).body['waits'] as { reason: string }[]).map(
      ({ reason }) => reason,
    )
  assert.deepEqual(await reasons(message), ['INSTANCE_OFFLINE'])
  assert.deepEqual(await reasons(later), ['SCHEDULED', 'INSTANCE_OFFLINE'])
  const chat = encodeURIComponent(to)
  for (const path of [
    `/v1/instances/${id}/chats/${chat}`,
    `/v1/instances/${id}/queue`,
    '/v1/tenants/acme/queue',
  ]) {
    assert.equal((await gateway.call('POST', `${path}/pause`)).status, 200)
  }
  await gateway.restart()
  assert.deepEqual(await reasons(message), [
    'TENANT_PAUSED',
    'INSTANCE_PAUSED',
    'CHAT_PAUSED',
    'INSTANCE_OFFLINE',
  ])
  const paused = await gateway.call('GET', `/v1/instances/${id}/queue`)
  assert.deepEqual(paused.body['paused'], {
    tenant: true,
    instance: true,
    chats: ['5511999990000@s.whatsapp.net'],
  })
  assert.equal(paused.body['pending'], 2)
  for (const path of [
    `/v1/instances/${id}/chats/${chat}`,
    `/v1/instances/${id}/queue`,
    '/v1/tenants/acme/queue',
  ]) {
    assert.equal((await gateway.call('POST', `${path}/resume`)).status, 200)
  }
  assert.deepEqual(await reasons(message), ['INSTANCE_OFFLINE'])
  const now = await gateway.call('POST', `/v1/messages/${later}/send-now`)
  assert.equal(now.status, 200, now.text)
  assert.deepEqual(await reasons(message), ['INSTANCE_OFFLINE', 'BEHIND_OTHERS'])
  const cancelled = await gateway.call('DELETE', `/v1/instances/${id}/chats/${chat}/messages`)
  assert.deepEqual(cancelled.body, { cancelled: 2, onTheWire: 0 })
  assert.deepEqual(await reasons(message), [])
})

test('messages are listed newest first, by pages and filters', async (t) => {
  const gateway = await startGateway(t)
  const [one, two] = [await newInstance(gateway), await newInstance(gateway, 'other')]
  const ids = [await send(gateway, one), await send(gateway, two), await send(gateway, one)]
  await gateway.call('DELETE', `/v1/messages/${ids[0]}`)
  const idsOf = async (query: string): Promise<unknown> =>
    ((await gateway.call('GET', `/v1/messages${query}`)).body['items'] as { id: string }[]).map(
      ({ id }) => id,
    )
  assert.deepEqual(await idsOf(''), ids.toReversed())
  assert.deepEqual(await idsOf(`?instance=${one}`), [ids[2], ids[0]])
  assert.deepEqual(await idsOf('?state=CANCELLED'), [ids[0]])
  const page = await gateway.call('GET', '/v1/messages?limit=2')
  assert.deepEqual(await idsOf(`?before=${String(page.body['next'])}`), [ids[0]])
  for (const [query, field] of [
    ['?limit=0', 'limit'],
    ['?state=LOST', 'state'],
    ['?before=x', 'before'],
    ['?chat=x', 'chat'],
  ] as const) {
    const bad = await gateway.call('GET', `/v1/messages${query}`)
    assert.deepEqual([bad.status, bad.body['field']], [400, field], query)
  }
  assert.equal((await gateway.call('POST', `/v1/messages/${ids[0]}/retry`)).body['code'], 'QUEUE_NOT_FAILED')
  assert.deepEqual((await gateway.call('POST', `/v1/instances/${one}/queue/retry-failed`)).body, {
    retried: 0,
  })
})

test('pacing of a tenant and of an instance counts at once, field by field, and outlives a restart', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_PACING: 'on' })
  const id = await newInstance(gateway)
  const path = `/v1/instances/${id}/pacing`
  const thinkingMs = { min: 10, max: 20 }
  assert.equal(
    (await gateway.call('PUT', '/v1/tenants/acme/pacing', { thinkingMs, maxTypingMs: 5 })).status,
    200,
  )
  const own = await gateway.call('PUT', path, { maxTypingMs: 7, enabled: false })
  assert.equal(own.status, 200, own.text)
  await gateway.restart()
  const { body } = await gateway.call('GET', path)
  assert.deepEqual(body['own'], { maxTypingMs: 7, enabled: false })
  const effective = body['effective'] as Record<string, unknown>
  assert.deepEqual(
    [effective['thinkingMs'], effective['maxTypingMs'], effective['enabled'], effective['betweenMs']],
    [thinkingMs, 7, false, { min: 500, max: 2000 }],
  )
  for (const [wrong, field] of [
    [{ thinkingMs: { min: 3, max: 2 } }, 'thinkingMs'],
    [{ betweenMs: { min: -1, max: 2 } }, 'betweenMs.min'],
    [{ typingWordsPerMinute: { min: 0, max: 2 } }, 'typingWordsPerMinute.min'],
    [{ typing: 1 }, 'typing'],
  ] as const) {
    const bad = await gateway.call('PUT', path, wrong)
    assert.deepEqual([bad.status, bad.body['field']], [400, field])
  }
  await gateway.call('DELETE', path)
  await gateway.call('DELETE', '/v1/tenants/acme/pacing')
  assert.deepEqual((await gateway.call('GET', path)).body['own'], {})
  assert.deepEqual((await gateway.call('GET', '/v1/tenants/acme/pacing')).body, {})
})

test('limits of a tenant and of an instance count at once, field by field, and outlive a restart', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_LIMITS: 'on' })
  const id = await newInstance(gateway)
  const path = `/v1/instances/${id}/limits`
  const tenant = '/v1/tenants/acme/limits'
  const quietHours = { from: '22:30', to: '06:05' }
  const ofTenant = {
    maxNewContactsPerDay: 9,
    conversation: { everyMs: 1, burst: 2 },
    tenant: { everyMs: 500, burst: 3 },
  }
  assert.deepEqual((await gateway.call('PUT', tenant, ofTenant)).body, ofTenant)
  const own = {
    quietHours,
    maxNewContactsPerDay: 7,
    zone: 'Europe/Lisbon',
    maxSameTextPerHour: 7,
    minDeliveredPercent: 1,
    minRepliesPercent: 2,
    maxOptOutsPercent: 3,
    quietSundays: true,
    holidays: ['12-25', '2027-03-26'],
  }
  const answer = await gateway.call('PUT', path, own)
  assert.equal(answer.status, 200, answer.text)
  await gateway.restart()
  const { body } = await gateway.call('GET', path)
  assert.deepEqual(body['own'], own)
  assert.deepEqual(body['effective'], {
    enabled: true,
    cold: { everyMs: 6000, burst: 1 },
    instance: { everyMs: 1000, burst: 30 },
    maxPerContactHour: 20,
    maxPerContactDay: 60,
    conversation: ofTenant.conversation,
    tenant: ofTenant.tenant,
    ...own,
  })
  for (const [wrong, field] of [
    [{ quietHours: { from: '24:00', to: '06:00' } }, 'quietHours.from'],
    [{ cold: { everyMs: -1, burst: 1 } }, 'cold.everyMs'],
    [{ instance: { everyMs: 1, burst: 0 } }, 'instance.burst'],
    [{ maxNewContactsPerDay: 1.5 }, 'maxNewContactsPerDay'],
    [{ zone: 'Mars/Olympus' }, 'zone'],
    [{ quiet: 1 }, 'quiet'],
    [{ quietSundays: 'yes' }, 'quietSundays'],
    [{ holidays: ['12-25', '2027-02-29'] }, 'holidays.1'],
    // Not an instance's to set.
    [{ tenant: { everyMs: 0, burst: 1 } }, 'tenant'],
  ] as const) {
    const bad = await gateway.call('PUT', path, wrong)
    assert.deepEqual([bad.status, bad.body['field']], [400, field])
  }
  await gateway.call('DELETE', path)
  assert.deepEqual((await gateway.call('GET', path)).body['own'], {})
  await gateway.call('DELETE', tenant)
  assert.deepEqual((await gateway.call('GET', tenant)).body, {})
})

test('a proactive message needs a consent in the ledger; the ledger is listed, and says what counts', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const proactive = { to, text: 'News', purpose: 'proactive' }
  const refused = await gateway.call('POST', `/v1/instances/${id}/messages`, proactive)
  assert.deepEqual([refused.status, refused.body['code']], [409, 'CONTACT_CONSENT_MISSING'])
  const entries = [{ contact: to, kind: 'consent', channel: 'form', proof: 'form 17' }]
  const recorded = await gateway.call('POST', '/v1/tenants/acme/ledger', { entries })
  assert.deepEqual([recorded.status, recorded.body], [201, { recorded: 1 }])
  assert.equal((await gateway.call('POST', `/v1/instances/${id}/messages`, proactive)).status, 202)
  // One that passes others needs a reason, which goes on record.
  const urgent = { ...proactive, priority: 'urgent' }
  const path = `/v1/instances/${id}/messages`
  const withoutReason = await gateway.call('POST', path, urgent)
  assert.deepEqual(
    [withoutReason.status, withoutReason.body['code'], withoutReason.body['field']],
    [400, 'QUEUE_REASON_MISSING', 'reason'],
  )
  const batch = await gateway.call('POST', `${path}/batch`, { messages: [proactive, urgent] })
  assert.deepEqual([batch.status, batch.body['field']], [400, 'messages.1.reason'])
  assert.equal((await gateway.call('POST', path, { ...urgent, reason: '  ' })).body['field'], 'reason')
  const reason = 'The clinic is closed today'
  assert.equal((await gateway.call('POST', path, { ...urgent, reason })).status, 202)
  await gateway.call('POST', '/v1/tenants/acme/ledger', { entries: [{ contact: to, kind: 'opt_out' }] })
  const { body } = await gateway.call('GET', '/v1/tenants/acme/ledger')
  assert.deepEqual(
    (body['items'] as { kind: string; proof: string | null }[]).map((one) => [one.kind, one.proof]),
    [
      ['consent', 'form 17'],
      ['opt_out', null],
    ],
  )
  const standing = await gateway.call('GET', `/v1/tenants/acme/contacts/${encodeURIComponent(to)}/standing`)
  assert.equal(standing.body['consent'], false)
  assert.match(String(standing.body['optedOutAt']), /^\d{4}-/)
})

test('what was slowed and texts that were paused are shown, and ended by the operator', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_LIMITS: 'on' })
  const id = await newInstance(gateway)
  const resumed = await gateway.call('POST', `/v1/instances/${id}/queue/resume-proactive`)
  assert.equal(resumed.status, 200, resumed.text)
  assert.deepEqual(resumed.body['proactive'], { level: 'WELL', cause: null, since: null })
  assert.deepEqual((await gateway.call('GET', '/v1/paused-texts')).body, { items: [] })
  const unknown = await gateway.call('POST', '/v1/paused-texts/none/allow')
  assert.deepEqual([unknown.status, unknown.body['code']], [404, 'GATEWAY_NO_SUCH_TEXT'])
})
