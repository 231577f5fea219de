import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { sealedTables } from '../src/sealing.ts'
import { newInstance, startGateway, type TestGateway } from './harness.ts'

/** Columns of bytes, beside hashes, that nothing has to be sealed anew in, and why. */
const NOT_SEALED_ANEW: Readonly<Record<string, string>> = {
  'DataKey.wrapped': 'wrapped by the master key',
  'SealerCheck.sealed': 'sealed by the master key itself',
  'SharedFact.sealed': 'device lists, gone after 5 minutes',
}

function openFile(gateway: TestGateway): DatabaseSync {
  return new DatabaseSync(join(gateway.folder, 'data', 'eclusa.db'), { readOnly: true })
}

test('every column of bytes in the schema is sealed anew after a rotation, or need not be', async (t) => {
  const gateway = await startGateway(t)
  const database = openFile(gateway)
  t.after(() => database.close())
  const columns = database
    .prepare(
      `select tables.name as "table", columns.name as "column" from sqlite_master as tables
       join pragma_table_info(tables.name) as columns where tables.type = 'table' and columns.type = 'BLOB'`,
    )
    .all()
    .map((row) => [row['table'], row['column']].join('.'))
    .filter((column) => !/[._](?:hash|digest)$/.test(column))
  const known = sealedTables(() => undefined).map(({ table, column }) => `${table}.${column}`)
  assert.deepEqual(
    columns.toSorted(),
    [...known, ...Object.keys(NOT_SEALED_ANEW)].toSorted(),
    'a new one belongs into sealedTables, or with its reason into this test',
  )
  // And their statements run, on a row of each that there is.
  for (const { page, start } of sealedTables(() => undefined)) database.prepare(page).all(...start, 10)
})

/** Tables without anything of a person. */
const NOT_PERSONAL: ReadonlySet<string> = new Set([
  'AuditAnchor',
  'ApiKey',
  'ColdPause',
  'DataKey',
  'EventMark',
  'EventSink',
  'EventSwept',
  'Flow',
  'InstallSecret',
  'Migration',
  'OperatorSector',
  'ProactiveHealth',
  'ReadyProbe',
  'ResealRound',
  'SealerCheck',
  'Tenant',
  'TenantRemoval',
])

test('docs/privacy.md says of every table that holds something of people what is kept, and for how long', async (t) => {
  const gateway = await startGateway(t)
  const database = openFile(gateway)
  t.after(() => database.close())
  const tables = database
    .prepare(`select name from sqlite_master where type = 'table' and name not like 'sqlite_%'`)
    .all()
    .map((row) => String(row['name']))
  const told = new Set(
    [
      ...readFileSync(new URL('../../../docs/privacy.md', import.meta.url), 'utf8').matchAll(/`"(\w+)"`/g),
    ].map((match) => match[1] ?? ''),
  )
  assert.deepEqual(
    tables.filter((table) => !told.has(table) && !NOT_PERSONAL.has(table)),
    [],
  )
  assert.deepEqual(
    [...told].filter((table) => !tables.includes(table)),
    [],
  )
})

test('keys are changed while messages are accepted, and everything opens as before', async (t) => {
  const gateway = await startGateway(t)
  const keyFile = join(gateway.folder, 'data.key')
  const before = readFileSync(keyFile, 'utf8')
  const instance = await newInstance(gateway)
  const send = (nth: number): Promise<unknown> =>
    gateway.call('POST', `/v1/instances/${instance}/messages`, { to: '+5511900000201', text: `words ${nth}` })
  await send(1)
  const rotated = await gateway.call('POST', '/v1/encryption/master-key/rotations')
  assert.equal(rotated.status, 204)
  assert.notEqual(readFileSync(keyFile, 'utf8'), before)
  assert.equal(existsSync(`${keyFile}.next`), false)
  await send(2)
  const { status, body } = await gateway.call('POST', '/v1/encryption/data-keys/rotations')
  assert.equal(status, 202)
  assert.ok(Number(body['rotatedCount']) >= 2, 'of the tenant, and of the installation')
  await send(3)
  const report = (await gateway.call('GET', '/v1/encryption')).body as {
    dataKeys: { active: number; retired: number }
    resealing: unknown
  }
  assert.equal(report.dataKeys.active, 2)
  assert.equal(report.dataKeys.retired, 2)
  assert.equal(report.resealing, null, 'not before what is under way has settled')

  await gateway.restart()
  const database = openFile(gateway)
  t.after(() => database.close())
  const rows = database.prepare('select payload from "OutboundContent" order by seq').all()
  const keys = new Set(rows.map((row) => Buffer.from(row['payload'] as Uint8Array).toString('hex', 0, 5)))
  assert.equal(rows.length, 3)
  assert.equal(keys.size, 2, 'two with the old data key, one with the new')
  await until(async () => {
    const { items } = (await gateway.call('GET', '/v1/events?after=0')).body as { items?: { type: string }[] }
    return items?.filter(({ type }) => type === 'outbound.accepted').length === 3
  }, 'the events open')
})

test('keys are for operators, and a key from the environment is theirs to change', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_MASTER_KEY: 'gOjUVYdzg2D8+1tRZg7sWWuRIYAEPv0QQgZrCdmTdNE=' })
  assert.equal(existsSync(join(gateway.folder, 'data.key')), false)
  const { status, body } = await gateway.call('POST', '/v1/encryption/master-key/rotations')
  assert.equal(status, 409)
  assert.equal(body['code'], 'STORAGE_KEY_NOT_OURS')
  assert.equal((await gateway.raw('GET', '/v1/encryption', {})).status, 401)
})
