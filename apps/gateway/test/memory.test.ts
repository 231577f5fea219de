import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'
import { GIB, MIB } from '@eclusa/kernel'
import { until } from '@eclusa/kernel/test-kit'
import type { MemoryReport } from '../src/memory/memory-report.ts'
import type { MemoryReading } from '../src/memory/pressure.ts'
import { KEY, newInstance, startGateway, tenantKey, type TestGateway } from './harness.ts'

async function reportOf(gateway: TestGateway): Promise<MemoryReport> {
  const answer = await gateway.call('GET', '/v1/memory')
  assert.equal(answer.status, 200, answer.text)
  return answer.body as unknown as MemoryReport
}

const CALM: MemoryReading = {
  rssBytes: 100 * MIB,
  heapUsedBytes: 50 * MIB,
  heapLiveBytes: 40 * MIB,
  externalBytes: 20 * MIB,
  lagMs: 0,
}

test('an operator sees the plan, every line of it, and what is used', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_MAX_INSTANCES: '10', ECLUSA_MEMORY_CEILING: '2GiB' })
  const { plan, now, pressure } = await reportOf(gateway)
  assert.equal(plan.ceilingBytes, 2 * GIB)
  assert.equal(plan.sessions, 10)
  assert.ok(plan.worstCaseBytes <= plan.ceilingBytes)
  assert.ok(plan.lines.length > 30)
  for (const { worstBytes, maxCount, bytesEach, perSession, name } of plan.lines)
    assert.equal(worstBytes, maxCount * bytesEach * (perSession ? 10 : 1), name)
  assert.ok(now.rssBytes > 50 * MIB && now.heapUsedBytes > 10 * MIB)
  assert.equal(now.cacheBudgetBytes, plan.cacheBytes)
  assert.equal(pressure.level, 0)
})

test('a tenant’s key does not see the memory of all', async (t) => {
  const gateway = await startGateway(t)
  const key = await tenantKey(gateway, 'acme')
  const headers = { authorization: `Bearer ${key}` }
  assert.equal((await gateway.raw('GET', '/v1/instances', headers)).status, 200)
  const answer = await gateway.raw('GET', '/v1/memory', headers)
  assert.equal(answer.status, 403)
  assert.equal(answer.body['code'], 'GATEWAY_FORBIDDEN')
  assert.equal((await gateway.raw('GET', '/v1/memory', {})).status, 401)
})

test('under pressure caches are shed and starts wait, messages are still taken, and the API says so', async (t) => {
  const full = { ...CALM, rssBytes: 0.95 * 2 * GIB }
  const readings = { read: () => full, stop() {} }
  const env = { ECLUSA_MEMORY_CEILING: '2GiB', ECLUSA_MAX_INSTANCES: '10' }
  const gateway = await startGateway(t, env, { readings, machine: { bytes: 8 * GIB, source: 'machine' } })
  await until(async () => (await reportOf(gateway)).pressure.level === 3, 'the pressure is seen')
  const { plan, now, pressure } = await reportOf(gateway)
  assert.equal(now.cacheBudgetBytes, Math.floor(plan.cacheBytes / 10))
  assert.deepEqual(
    [pressure.historyHeld, pressure.mediaHeld, pressure.startsHeld, pressure.fullest, pressure.percent],
    [true, true, true, 'rss', 95],
  )
  const id = await newInstance(gateway)
  await gateway.call('POST', `/v1/instances/${id}/start`)
  const sent = await gateway.call('POST', `/v1/instances/${id}/messages`, {
    to: '+5511999990000',
    text: 'not held',
  })
  assert.equal(sent.status, 202)
  const { body } = await gateway.call('GET', `/v1/instances/${id}`)
  assert.equal(body['state'], 'starting', 'its start waits for a place')
  const events = await eventsOf(gateway, 'outbound.accepted')
  assert.match(events, /event: memory\.pressed\ndata: .*"tenant":"\*".*"level":3/)
})

/** What the event stream replays, up to the first event of `type`. */
async function eventsOf(gateway: TestGateway, type: string): Promise<string> {
  const abort = new AbortController()
  const response = await fetch(`${gateway.app.url}/v1/events?after=0`, {
    headers: { accept: 'text/event-stream', authorization: `Bearer ${KEY}` },
    signal: abort.signal,
  })
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true })
    if (text.includes(`event: ${type}`)) break
  }
  abort.abort()
  return text
}

test('bodies that are never finished hold no more memory than is planned: others wait their turn', async (t) => {
  const small = { bytes: 700 * MIB, source: 'machine' } as const
  const gateway = await startGateway(t, { ECLUSA_MEMORY_CEILING: '100%' }, { machine: small })
  const id = await newInstance(gateway)
  const url = new URL(`${gateway.app.url}/v1/instances/${id}/messages`)
  const begin = (): ReturnType<typeof request> => {
    const half = request(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${KEY}`,
        'content-type': 'application/json',
        'content-length': 512 * 1024,
      },
    })
    half.on('error', () => {})
    half.write('{"to":')
    return half
  }
  // 4 MiB is the budget of so small a machine.
  const halves = Array.from({ length: 8 }, begin)
  const send = (): ReturnType<TestGateway['call']> =>
    gateway.call('POST', `/v1/instances/${id}/messages`, { to: '+5511999990000', text: 'hello' })
  await Promise.all(halves.map((half) => new Promise((resolve) => half.once('socket', resolve))))
  const waiting = send()
  assert.equal((await gateway.call('GET', '/v1/instances')).status, 200, 'what has no body is served')
  const closed = Promise.all(halves.map((half) => new Promise((resolve) => half.once('close', resolve))))
  for (const half of halves) half.destroy()
  await closed
  assert.equal((await waiting).status, 202)
})
