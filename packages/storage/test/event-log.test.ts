import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type InstanceId, parseTenantId } from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { EventLog } from '../src/index.ts'
import { openTestDatabase, testSealer } from '../test-kit/index.ts'

const exatron = parseTenantId('exatron')
const other = parseTenantId('other')
const instance = 'ins_00000000000000000000' as InstanceId

test('reads what follows a cursor, of all tenants or one, with payloads as they were', async (t) => {
  const { database } = await openTestDatabase(t, [])
  const clock = new ManualClock()
  const log = new EventLog({ database, sealer: testSealer(), clock })
  assert.equal(await log.lastSeq(), 0)
  for (let n = 1; n <= 6; n++) {
    const tenant = n % 2 === 0 ? other : exatron
    await database.write([
      log.append({ tenant, instance: n > 3 ? instance : null, type: 'test.happened', payload: { n } }),
    ])
    await clock.tick(10)
  }
  assert.equal(await log.lastSeq(), 6)
  const page = await log.read({ after: 2, limit: 2 })
  assert.deepEqual(page, [
    {
      seq: 3,
      at: clock.now() - 40,
      tenant: exatron,
      instance: null,
      type: 'test.happened',
      payload: { n: 3 },
    },
    { seq: 4, at: clock.now() - 30, tenant: other, instance, type: 'test.happened', payload: { n: 4 } },
  ])
  const theirs = await log.read({ after: 2, limit: 10, tenant: other })
  assert.deepEqual(
    theirs.map(({ seq }) => seq),
    [4, 6],
  )
  const [raw] = await database.read('select payload from "Event" where seq = 1', [])
  assert.equal(Buffer.from(raw?.['payload'] as Uint8Array).includes('"n"'), false, 'sealed')
})

test('an event is there exactly when its unit is', async (t) => {
  const { database } = await openTestDatabase(t, [])
  const log = new EventLog({ database, sealer: testSealer(), clock: new ManualClock() })
  const event = { tenant: exatron, instance: null, type: 'test.happened', payload: {} }
  await assert.rejects(database.write([log.append(event), { sql: 'not sql', params: [] }]))
  await database.write([log.append(event)])
  assert.equal((await log.read({ after: 0, limit: 10 })).length, 1)
})

test('the sweep takes old events in steps, keeps young ones, and no cursor is used twice', async (t) => {
  const db = await openTestDatabase(t, [])
  const clock = new ManualClock()
  const log = new EventLog({ database: db.database, sealer: testSealer(), clock })
  const event = { tenant: exatron, instance: null, type: 'test.happened', payload: {} }
  await Promise.all(Array.from({ length: 2500 }, () => db.database.write([log.append(event)])))
  await clock.tick(1000)
  await db.database.write([log.append(event)])
  assert.equal(await log.sweep(500), 2500)
  assert.equal(await log.sweep(500), 0)
  await clock.tick(1000)
  assert.equal(await log.sweep(500), 1)
  assert.equal(await log.lastSeq(), 2501)
  const reopened = new EventLog({ database: await db.reopen(), sealer: testSealer(), clock })
  assert.equal(await reopened.lastSeq(), 2501)
})
