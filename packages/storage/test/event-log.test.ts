import assert from 'node:assert/strict'
import { type InstanceId, parseTenantId } from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { EventLog } from '../src/index.ts'
import { eachDatabase, testSealer } from '../test-kit/index.ts'

const exatron = parseTenantId('exatron')
const other = parseTenantId('other')
const instance = 'ins_00000000000000000000' as InstanceId

eachDatabase(({ test, open }) => {
  test('reads what follows a cursor, of all tenants or one, with payloads as they were', async (t) => {
    const { database } = await open(t, [])
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

  test('an open event is stored as it is, and read like a sealed one', async (t) => {
    const { database } = await open(t, [])
    const log = new EventLog({ database, sealer: testSealer(), clock: new ManualClock() })
    const event = { tenant: exatron, instance, type: 'test.happened' }
    await database.write([
      log.append({ ...event, payload: { n: 1, says: '"é\\' }, isOpen: true }),
      log.append({ ...event, payload: { n: 2 } }),
    ])
    const { events } = await log.readBatch({ after: 0, maxEvents: 10, maxBytes: 1000 })
    assert.deepEqual(
      events.map(({ payload }) => payload),
      [{ n: 1, says: '"é\\' }, { n: 2 }],
    )
    const [raw] = await database.read('select payload from "Event" where seq = 1', [])
    assert.match(Buffer.from(raw?.['payload'] as Uint8Array).toString(), /"n":1/)
  })

  test('an event is there exactly when its unit is', async (t) => {
    const { database } = await open(t, [])
    const log = new EventLog({ database, sealer: testSealer(), clock: new ManualClock() })
    const event = { tenant: exatron, instance: null, type: 'test.happened', payload: {} }
    await assert.rejects(database.write([log.append(event), { sql: 'not sql', params: [] }]))
    await database.write([log.append(event)])
    assert.equal((await log.read({ after: 0, limit: 10 })).length, 1)
  })

  test('the sweep takes old events in steps, keeps young ones, and no cursor is used twice', async (t) => {
    const db = await open(t, [])
    const clock = new ManualClock()
    const log = new EventLog({ database: db.database, sealer: testSealer(), clock })
    const event = { tenant: exatron, instance: null, type: 'test.happened', payload: {} }
    await Promise.all(Array.from({ length: 2500 }, () => db.database.write([log.append(event)])))
    await clock.tick(1000)
    await db.database.write([log.append(event)])
    assert.equal(await log.sweep({ keepForMs: 500 }), 2500)
    assert.equal(await log.sweep({ keepForMs: 500 }), 0)
    await clock.tick(1000)
    assert.equal(await log.sweep({ keepForMs: 500 }), 1)
    assert.equal(await log.lastSeq(), 2501)
    const reopened = new EventLog({ database: await db.reopen(), sealer: testSealer(), clock })
    assert.equal(await reopened.lastSeq(), 2501)
  })

  test('of a tenant with too many events the newest stay, of the others all', async (t) => {
    const { database } = await open(t, [])
    const clock = new ManualClock()
    const log = new EventLog({ database, sealer: testSealer(), clock })
    const write = (tenant: typeof exatron, count: number) =>
      Promise.all(
        Array.from({ length: count }, () =>
          database.write([log.append({ tenant, instance: null, type: 'test.happened', payload: {} })]),
        ),
      )
    await write(other, 3)
    await write(exatron, 12_500)
    assert.equal(await log.sweep({ keepForMs: 1000, maxPerTenant: 12_500 }), 0)
    assert.equal(await log.sweep({ keepForMs: 1000, maxPerTenant: 10_001 }), 2499)
    assert.equal(await log.sweep({ keepForMs: 1000, maxPerTenant: 10_001 }), 0)
    const seqs = async (tenant: typeof exatron) =>
      (await log.read({ after: 0, limit: 1000, tenant })).map(({ seq }) => seq)
    assert.deepEqual(await seqs(other), [1, 2, 3])
    assert.equal((await seqs(exatron))[0], 2503)
  })

  test('who reads on from before what a sweep left is told: of all, or of its tenant', async (t) => {
    const { database } = await open(t, [])
    const clock = new ManualClock()
    const log = new EventLog({ database, sealer: testSealer(), clock })
    const write = async (tenant: typeof exatron, count: number) => {
      for (let n = 0; n < count; n++) {
        await database.write([log.append({ tenant, instance: null, type: 'test.happened', payload: {} })])
      }
    }
    await write(exatron, 2)
    await clock.tick(1000)
    await write(other, 1)
    await write(exatron, 4)
    assert.equal(await log.wasSwept(0), false)
    await log.sweep({ keepForMs: 500 })
    assert.deepEqual([await log.wasSwept(1), await log.wasSwept(2)], [true, false])
    assert.deepEqual([await log.wasSwept(1, other), await log.wasSwept(2, other)], [true, false])
    await log.sweep({ keepForMs: 500, maxPerTenant: 1 })
    assert.deepEqual([await log.wasSwept(2, other), await log.wasSwept(2, exatron)], [false, true])
    assert.deepEqual([await log.wasSwept(6, exatron), await log.wasSwept(5)], [false, true])
  })

  test('a batch ends with the event that reaches its bytes, so that even one too large for it comes', async (t) => {
    const { database } = await open(t, [])
    const log = new EventLog({ database, sealer: testSealer(), clock: new ManualClock() })
    const append = (tenant: typeof exatron, size: number) =>
      database.write([
        log.append({ tenant, instance, type: 'test.happened', payload: { text: 'x'.repeat(size) } }),
      ])
    for (const size of [10, 10, 5000, 10, 10]) await append(exatron, size)
    await append(other, 10)
    const batch = async (after: number, maxEvents: number, tenant?: typeof exatron) => {
      const { events, isEnd } = await log.readBatch({
        after,
        maxEvents,
        maxBytes: 1000,
        ...(tenant === undefined ? {} : { tenant }),
      })
      return [events.map(({ seq }) => seq), isEnd]
    }
    assert.deepEqual(await batch(0, 100), [[1, 2, 3], false])
    assert.deepEqual(await batch(2, 100), [[3], false])
    assert.deepEqual(await batch(3, 100), [[4, 5, 6], true])
    assert.deepEqual(await batch(3, 2), [[4, 5], false])
    assert.deepEqual(await batch(0, 100, other), [[6], true])
    assert.deepEqual(await batch(6, 100), [[], true])
  })

  test('forgetting an instance deletes its events, in steps, and nobody else’s', async (t) => {
    const { database } = await open(t, [])
    const log = new EventLog({ database, sealer: testSealer(), clock: new ManualClock() })
    const gone = 'ins_00000000000000000001' as InstanceId
    await database.write(
      Array.from({ length: 2500 }, (_, n) =>
        log.append({
          tenant: exatron,
          instance: n % 2 === 0 ? gone : instance,
          type: 'test.happened',
          payload: {},
        }),
      ),
    )
    await database.write([log.append({ tenant: other, instance, type: 'test.happened', payload: {} })])
    assert.equal(await log.forgetInstance(exatron, gone), 1250)
    assert.equal(await log.forgetInstance(exatron, gone), 0)
    const left = await database.read('select count(*) as n, max(seq) as last from "Event"', [])
    assert.deepEqual({ ...left[0] }, { n: 1251, last: 2501 })
  })
})
