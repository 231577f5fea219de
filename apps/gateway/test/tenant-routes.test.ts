import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test as plainTest } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { runSql, testEachDatabase as test } from '@eclusa/storage/test-kit'
import { type Answer, KEY, newInstance, startGateway, tenantKey, type TestGateway } from './harness.ts'

const BIN = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))

function assertProblem(answer: Answer, status: number, code: string, field: string | null = null): void {
  assert.deepEqual(
    [answer.status, answer.body['code'], answer.body['field']],
    [status, code, field],
    answer.text,
  )
}

/** Every value of every column of every table, with where it stands. */
async function everything(gateway: TestGateway): Promise<readonly (readonly [string, string])[]> {
  const found: (readonly [string, string])[] = []
  const shown = (value: unknown): string =>
    value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String(value)
  const add = (table: string, rows: readonly object[]): void => {
    for (const row of rows)
      for (const [name, value] of Object.entries(row)) found.push([`${table}.${name}`, shown(value)])
  }
  if (gateway.databaseUrl === '') {
    const database = new DatabaseSync(join(gateway.folder, 'data', 'eclusa.db'), {
      readOnly: true,
      timeout: 5000,
    })
    const tables = database.prepare(`select name from sqlite_master where type = 'table'`).all()
    for (const { name } of tables)
      add(String(name), database.prepare(`select * from "${String(name)}"`).all())
    database.close()
    return found
  }
  const tables = await runSql(
    gateway.databaseUrl,
    `select relname::text as name from pg_class where relkind = 'r' and relnamespace = current_schema()::regnamespace`,
  )
  for (const { name } of tables as readonly { readonly name: string }[])
    add(name, await runSql(gateway.databaseUrl, `select * from "${name}"`))
  return found
}

test('a tenant is made, changed with its ETag, listed, and refused by name', async (t) => {
  const gateway = await startGateway(t)
  const made = await gateway.call('POST', '/v1/tenants', {
    id: 'globex',
    name: 'Globex',
    quotas: { instances: 2, sends: { everyMs: 2000, burst: 5 }, memoryWeight: 1.5 },
  })
  assert.equal(made.status, 201, made.text)
  const { createdAt, changedAt, ...rest } = made.body
  assert.equal(createdAt, changedAt)
  const quotas = {
    instances: 2,
    sends: { everyMs: 2000, burst: 5 },
    memoryWeight: 1.5,
    mediaBytes: null,
    apiPerSecond: null,
    apiBurst: null,
  }
  assert.deepEqual(rest, { id: 'globex', name: 'Globex', state: 'active', quotas, used: { instances: 0 } })
  // The rate of sends is the one of the limits, whoever sets it.
  const limits = await gateway.call('GET', '/v1/tenants/globex/limits')
  assert.deepEqual(limits.body, { tenant: { everyMs: 2000, burst: 5 } })
  await gateway.call('PUT', '/v1/tenants/globex/limits', { maxNewContactsPerDay: 9 })
  const etag = made.headers.get('etag') ?? ''
  const path = '/v1/tenants/globex'
  const changed = await gateway.call(
    'PATCH',
    path,
    { quotas: { sends: { everyMs: 1, burst: 1 }, instances: null } },
    {
      'if-match': etag,
    },
  )
  assert.deepEqual(changed.body['quotas'], { ...quotas, instances: null, sends: { everyMs: 1, burst: 1 } })
  assert.deepEqual((await gateway.call('GET', `${path}/limits`)).body, {
    maxNewContactsPerDay: 9,
    tenant: { everyMs: 1, burst: 1 },
  })
  assertProblem(
    await gateway.call('PATCH', path, { name: 'x' }, { 'if-match': etag }),
    412,
    'GATEWAY_TENANT_CHANGED',
    'if-match',
  )
  assertProblem(
    await gateway.call('POST', '/v1/tenants', { id: 'globex' }),
    409,
    'GATEWAY_TENANT_EXISTS',
    'id',
  )
  const page = await gateway.call('GET', '/v1/tenants?limit=2')
  assert.deepEqual(
    (page.body['items'] as { id: string }[]).map(({ id }) => id),
    ['acme', 'globex'],
  )
  assert.equal(page.body['next'], 'globex')
  for (const [body, field] of [
    [{ id: 'Globex!' }, 'id'],
    [{ id: 'x', quotas: { instances: -1 } }, 'quotas.instances'],
    [{ id: 'x', quotas: { memoryWeight: 0 } }, 'quotas.memoryWeight'],
    [{ id: 'x', quotas: { messages: 1 } }, 'quotas.messages'],
    [{ id: 'x', name: '' }, 'name'],
  ] as const) {
    assertProblem(await gateway.call('POST', '/v1/tenants', body), 400, 'GATEWAY_BAD_REQUEST', field)
  }
  for (const where of ['', '/keys', '/contacts', '/audit'])
    assertProblem(
      await gateway.call('GET', `/v1/tenants/nobody${where}`),
      404,
      'GATEWAY_TENANT_UNKNOWN',
      'tenant',
    )
  await gateway.restart()
  assert.equal((await gateway.call('GET', path)).body['name'], 'Globex')
})

plainTest('a tenant has as many instances and calls as its quota says, and sees it', async (t) => {
  const gateway = await startGateway(t)
  const path = '/v1/tenants/acme'
  await gateway.call('PATCH', path, { quotas: { instances: 2, apiPerSecond: 1, apiBurst: 5 } })
  const answers = await Promise.all(
    Array.from({ length: 4 }, () => gateway.call('POST', `${path}/instances`, { name: 'x' })),
  )
  assert.equal(answers.filter(({ status }) => status === 201).length, 2)
  assertProblem(
    answers.find(({ status }) => status === 409)!,
    409,
    'GATEWAY_TENANT_FULL',
  )
  const one = { authorization: `Bearer ${await tenantKey(gateway, 'acme')}` }
  const other = { authorization: `Bearer ${await tenantKey(gateway, 'acme')}` }
  const calls: Answer[] = []
  // All keys of a tenant share one rate.
  for (let nth = 0; nth < 8; nth++) calls.push(await gateway.raw('GET', path, nth % 2 === 0 ? one : other))
  const refused = calls.filter(({ status }) => status === 429)
  assert.ok(refused.length >= 2, `${refused.length} were refused`)
  assert.ok(calls.slice(0, 5).every(({ status }) => status === 200))
  assertProblem(refused[0]!, 429, 'GATEWAY_TOO_MANY_REQUESTS')
  assert.equal(refused[0]!.headers.get('retry-after'), '1')
  assert.deepEqual(calls[0]!.body['used'], { instances: 2 })
  // An operator is not held up.
  for (let nth = 0; nth < 10; nth++) assert.equal((await gateway.call('GET', path)).status, 200)
})

plainTest('a suspended tenant is refused, its streams end, and resumed it goes on', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const key = { authorization: `Bearer ${await tenantKey(gateway, 'acme')}` }
  const stream = await fetch(`${gateway.app.url}/v1/events`, {
    headers: { ...key, accept: 'text/event-stream' },
  })
  const ended = stream.text().catch(() => 'cut off')
  assert.equal((await gateway.call('POST', '/v1/tenants/acme/suspend')).body['state'], 'suspended')
  assertProblem(await gateway.raw('GET', '/v1/instances', key), 403, 'GATEWAY_TENANT_SUSPENDED')
  await ended
  const message = { to: '+5511999990000', text: 'x' }
  const send = (): Promise<Answer> => gateway.call('POST', `/v1/instances/${id}/messages`, message)
  assertProblem(await send(), 403, 'GATEWAY_TENANT_SUSPENDED')
  assertProblem(await gateway.call('POST', `/v1/instances/${id}/start`), 403, 'GATEWAY_TENANT_SUSPENDED')
  await gateway.restart()
  assertProblem(await gateway.raw('GET', '/v1/instances', key), 403, 'GATEWAY_TENANT_SUSPENDED')
  assert.equal((await gateway.call('POST', '/v1/tenants/acme/resume')).body['state'], 'active')
  assert.equal((await gateway.raw('GET', '/v1/instances', key)).status, 200)
  assert.equal((await send()).status, 202)
})

plainTest('a stream ends when its key is revoked', async (t) => {
  const gateway = await startGateway(t)
  const key = await tenantKey(gateway, 'acme')
  const headers = { authorization: `Bearer ${key}`, accept: 'text/event-stream' }
  const stream = await fetch(`${gateway.app.url}/v1/events`, { headers })
  const ended = stream.text().catch(() => 'cut off')
  assert.equal((await gateway.call('DELETE', `/v1/keys/${key.slice(4, 12)}`)).status, 204)
  await ended
})

test('a deleted tenant is nowhere, others keep everything, a crash in between means going on', async (t) => {
  const gateway = await startGateway(t)
  await gateway.call('POST', '/v1/tenants', { id: 'goner' })
  const key = await tenantKey(gateway, 'goner')
  const make = async (tenant: string): Promise<string> => {
    const path = `/v1/tenants/${tenant}`
    const id = await newInstance(gateway, tenant)
    for (let nth = 0; nth < 3; nth++)
      await gateway.call('POST', `/v1/instances/${id}/messages`, { to: `+551199999000${nth}`, text: 'hello' })
    for (let nth = 0; nth < 3; nth++) {
      const contact = `+551199999000${nth}`
      await gateway.call('POST', `${path}/contacts`, { address: contact, name: 'Bia', tags: ['vip'] })
      await gateway.call('POST', `${path}/contacts/${encodeURIComponent(contact)}/notes`, { text: 'a note' })
    }
    await gateway.call('POST', `${path}/ledger`, {
      entries: [{ contact: '+5511999990000', kind: 'opt_out' }],
    })
    await gateway.call('POST', `${path}/sectors`, { id: 'sales', name: 'Sales' })
    await gateway.call('POST', `${path}/operators`, { name: 'Ana', capacity: 1 })
    await gateway.call('PUT', `${path}/pacing`, { enabled: false })
    await gateway.call('PUT', `/v1/instances/${id}/pacing`, { enabled: false })
    await gateway.call('POST', `${path}/queue/pause`)
    await gateway.call('POST', `${path}/webhooks`, {
      url: 'https://example.com/hook',
      types: ['outbound.sent'],
    })
    return id
  }
  const goner = await make('goner')
  const stays = await make('acme')
  const names = (rows: readonly (readonly [string, string])[], text: string): readonly string[] => [
    ...new Set(rows.filter(([, value]) => value.includes(text)).map(([where]) => where)),
  ]
  const before = await everything(gateway)
  const tables = new Set(names(before, 'goner').map((where) => where.split('.')[0]))
  for (const table of [
    'Event',
    'Contact',
    'ContactLedger',
    'Sector',
    'Operator',
    'PacingSetting',
    'QueuePause',
    'Webhook',
  ])
    assert.ok(tables.has(table), `${table} has rows of it before`)
  const begun = await gateway.call('DELETE', '/v1/tenants/goner')
  assert.equal(begun.status, 202)
  assert.equal(
    (await gateway.raw('GET', '/v1/instances', { authorization: `Bearer ${key}` })).status >= 400,
    true,
  )
  // As after a crash: the row says that there is more to do.
  await gateway.restart()
  const removal = `/v1/tenant-removals/${String(begun.body['id'])}`
  await until(async () => (await gateway.call('GET', removal)).body['endedAt'] !== null, 'it is removed')
  const receipt = (await gateway.call('GET', removal)).body
  const removed = receipt['removed'] as Record<string, number>
  assert.equal(removed['Contact'], 3)
  assert.equal(removed['Instance'], 1)
  assert.equal(removed['Sector'], 1)
  assertProblem(await gateway.call('GET', '/v1/tenants/goner'), 404, 'GATEWAY_TENANT_UNKNOWN', 'tenant')
  const after = await everything(gateway)
  const left = (text: string): readonly string[] =>
    names(after, text).filter((where) => !/^(?:AuditEntry|TenantRemoval|DataKey|InstanceLease)\./.test(where))
  assert.deepEqual([left('goner'), left(goner)], [[], []])
  assert.equal((await gateway.raw('GET', '/v1/instances', { authorization: `Bearer ${key}` })).status, 401)
  // Of the other, every row that was there is there.
  const of = (rows: readonly (readonly [string, string])[], text: string): number =>
    rows.filter(([where, value]) => value === text && !where.startsWith('Event.')).length
  for (const text of ['acme', stays]) assert.equal(of(after, text), of(before, text), text)
  for (const table of ['ContactNote.id', 'Contact.id', 'ContactTag.tag'])
    assert.equal(after.filter(([where]) => where === table).length, 3, table)
  // Its name is not used again.
  assertProblem(
    await gateway.call('POST', '/v1/tenants', { id: 'goner' }),
    409,
    'GATEWAY_TENANT_REMOVED',
    'tenant',
  )
  const again = await gateway.call('POST', '/v1/tenants/goner/instances', { name: 'x' })
  assertProblem(again, 409, 'GATEWAY_TENANT_REMOVED', 'tenant')
  const { body } = await gateway.call('GET', '/v1/audit/check')
  assert.equal(body['brokenAt'], null)
})

plainTest('tenants are made, changed and deleted from the command line', async (t) => {
  const gateway = await startGateway(t)
  const eclusa = (...args: readonly string[]): Promise<string> =>
    new Promise((resolve) => {
      const to = ['--url', gateway.app.url, '--key', KEY]
      execFile(process.execPath, [BIN, 'tenants', ...args, ...to], (_, out, err) => resolve(`${out}${err}`))
    })
  const made = await eclusa('create', 'globex', 'instances=3', 'sends=2000/5', '--name', 'Globex')
  assert.match(made, /^globex {2}active {2}Globex {2}instances 0 {2}instances=3 {2}sends=2000\/5/)
  assert.match(await eclusa('set', 'globex', 'instances=none'), /instances 0 {2}sends=2000\/5\n$/)
  assert.match(await eclusa('list'), /acme {2}active[\s\S]*globex {2}active[\s\S]*main {2}active/)
  assert.match(await eclusa('suspend', 'globex'), /^globex {2}suspended/)
  assert.match(await eclusa('delete', 'globex', '--yes', 'acme'), /nothing was deleted/)
  assert.match(await eclusa('delete', 'globex', '--yes', 'globex'), /^rem_\w{20} {2}globex {2}since/)
  assert.match(await eclusa('removals'), /^rem_\w{20} {2}globex/)
})
