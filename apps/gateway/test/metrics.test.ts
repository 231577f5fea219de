import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TenantId } from '@eclusa/kernel'
import { until } from '@eclusa/kernel/test-kit'
import type { CachesReport } from '../src/measurements/caches-report.ts'
import type { MemoryReport } from '../src/memory/memory-report.ts'
import { MAX_TENANT_LABELS, Metrics } from '../src/metrics/metrics.ts'
import { newInstance, startGateway, tenantKey } from './harness.ts'

/** The value of a series, as the text has it; undefined when it is not told. */
function valueOf(text: string, series: string): number | undefined {
  const line = text.split('\n').find((one) => one.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}

test('Prometheus reads the queue, the sessions, memory, events and requests of a gateway, with an operator’s key', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  for (const text of ['one', 'two']) {
    await gateway.call('POST', `/v1/instances/${id}/messages`, { to: '+5511999990000', text })
  }
  const scrape = async (): Promise<string> => (await gateway.call('GET', '/metrics')).text
  await until(
    async () => valueOf(await scrape(), 'eclusa_events_total{type="outbound.accepted",tenant="acme"}') === 2,
    'both events are counted',
  )
  const text = await scrape()
  assert.equal(valueOf(text, 'eclusa_queue_messages{tenant="acme",status="pending"}'), 2)
  assert.equal(valueOf(text, 'eclusa_sessions{state="new"}'), 1)
  assert.equal(
    valueOf(text, 'eclusa_http_requests_total{route="POST /v1/instances/:id/messages",code="202"}'),
    2,
  )
  for (const series of [
    'eclusa_memory_bytes{kind="rss"}',
    'eclusa_memory_limit_bytes{kind="rss"}',
    'eclusa_database_commits',
    'eclusa_http_request_seconds_count{route="POST /v1/instances/:id/messages"}',
  ]) {
    assert.ok((valueOf(text, series) ?? 0) > 0, series)
  }
  assert.doesNotMatch(text, /5511999990000|ins_/, 'neither numbers nor instances are labels')
  const theirs = { authorization: `Bearer ${await tenantKey(gateway, 'acme')}` }
  assert.equal((await gateway.raw('GET', '/metrics', theirs)).status, 403)
  assert.equal((await gateway.raw('GET', '/metrics', {})).status, 401)
})

test('addresses that do not exist make no series of their own', async (t) => {
  const gateway = await startGateway(t)
  for (let n = 0; n < 20; n++) await gateway.call('GET', `/v1/nothing-${n}`)
  const { text } = await gateway.call('GET', '/metrics')
  assert.equal(valueOf(text, 'eclusa_http_requests_total{route="GET (unknown)",code="404"}'), 20)
  assert.doesNotMatch(text, /nothing-/)
})

test('tenants beyond the bound share one label', async (t) => {
  const gateway = await startGateway(t)
  const of = async (path: string): Promise<unknown> => (await gateway.call('GET', path)).body
  const memory = (await of('/v1/memory')) as MemoryReport
  const caches = (await of('/v1/caches')) as CachesReport
  const metrics = new Metrics({
    memory: () => memory,
    caches: () => caches,
    queue: () => Promise.resolve([]),
    sessions: () => [],
    activeFlows: () => 0,
    database: () => ({
      commitCount: 0,
      unitCount: 0,
      statementCount: 0,
      failedUnitCount: 0,
      readCount: 0,
      waitingCount: 0,
    }),
    sinks: () => Promise.resolve([]),
  })
  for (let n = 0; n < MAX_TENANT_LABELS + 50; n++) {
    metrics.countEvent({
      seq: n,
      at: 0,
      tenant: `t${n}` as TenantId,
      instance: null,
      type: 'outbound.sent',
      payload: {},
    })
  }
  const { body: text } = await metrics.text()
  assert.equal(text.match(/^eclusa_events_total/gm)?.length, MAX_TENANT_LABELS + 1)
  assert.equal(valueOf(text, 'eclusa_events_total{type="outbound.sent",tenant="other"}'), 50)
})
