import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { makeInstanceId, silentLogger } from '@eclusa/kernel'
import { codeOf, ManualClock, settle, until } from '@eclusa/kernel/test-kit'
import pg from 'pg'
import { openNode, type OpenedDatabase } from '../src/index.ts'
import { PostgresLeases } from '../src/postgres-leases.ts'
import { openPostgres } from '../src/postgres.ts'
import { eachDatabase, type TestDatabase } from '../test-kit/index.ts'
import { line, migrations } from './lines.ts'

eachDatabase(({ dialect, test, open }) => {
  if (dialect === 'sqlite') {
    test('a database for one process owns every instance', async (t) => {
      const { database } = await open(t, migrations)
      const { ownership } = database as OpenedDatabase
      const instance = makeInstanceId()
      assert.equal(await ownership.take(instance), true)
      assert.equal(ownership.owns(instance), true)
      assert.equal(await codeOf(database.write([line('a', 1)], { instance })), 'no error')
    })

    test('a data folder is one node, the same after a restart, in one process at a time', (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'eclusa-test-'))
      t.after(() => rmSync(folder, { recursive: true, force: true }))
      const node = openNode(folder)
      assert.throws(() => openNode(folder), { code: 'STORAGE_IN_USE' })
      node.release()
      node.release()
      const again = openNode(folder)
      assert.equal(again.id, node.id)
      again.release()
    })
    return
  }

  /** Nodes on the database of the test; they end with it. */
  const nodesOn = (t: TestContext, { place }: TestDatabase) => {
    const opened: OpenedDatabase[] = []
    t.after(async () => void (await Promise.all(opened.map((database) => database.stop()))))
    return async (node: string, more: Partial<Parameters<typeof openPostgres>[0]> = {}) => {
      const { url } = place as { readonly url: string }
      const database = await openPostgres({ url, node, migrations, log: silentLogger, ...more })
      opened.push(database)
      return database
    }
  }
  /** As if its lease had not been renewed for 15 s. */
  const runOut = (db: TestDatabase) =>
    db.database.write([{ sql: 'update "InstanceLease" set "expiresAt" = clock_timestamp()', params: [] }])

  test('one node owns an instance; another takes it when it is released, and not before', async (t) => {
    const db = await open(t, migrations)
    const node = nodesOn(t, db)
    const [a, b] = [await node('a'), await node('b')]
    const instance = makeInstanceId()
    assert.equal(
      await codeOf(a.write([line('a', 0)], { instance })),
      'STORAGE_NOT_OWNER',
      'it was not taken yet',
    )
    assert.equal(await a.ownership.take(instance), true)
    assert.equal(await b.ownership.take(instance), false)
    assert.equal(await codeOf(a.write([line('a', 1)], { instance })), 'no error')
    assert.equal(await codeOf(b.write([line('b', 1)], { instance })), 'STORAGE_NOT_OWNER')
    await a.stop()
    assert.equal(await b.ownership.take(instance), true)
    assert.equal(await codeOf(b.write([line('b', 2)], { instance })), 'no error')
  })

  test('a node that crashed takes its own back at once, and what it sent before is refused', async (t) => {
    const db = await open(t, migrations)
    const node = nodesOn(t, db)
    const instance = makeInstanceId()
    const crashed = await node('a')
    await crashed.ownership.take(instance)
    const restarted = await node('a')
    assert.equal(await restarted.ownership.take(instance), true)
    const losses: unknown[] = []
    crashed.ownership.onChange((lost, owned) => losses.push([lost, owned]))
    const late = crashed.write([line('crashed', 1)], { instance })
    assert.equal(await codeOf(late), 'STORAGE_NOT_OWNER')
    assert.deepEqual(losses, [[instance, false]])
    assert.equal(crashed.ownership.owns(instance), false)
    assert.equal(await codeOf(restarted.write([line('restarted', 1)], { instance })), 'no error')
  })

  test('the units of a lost instance are refused, the others of the same flush are kept', async (t) => {
    const db = await open(t, migrations)
    const node = nodesOn(t, db)
    const [lost, kept] = [makeInstanceId(), makeInstanceId()]
    const [a, b] = [await node('a'), await node('b')]
    await a.ownership.take(lost)
    await runOut(db)
    await b.ownership.take(lost)
    await a.ownership.take(kept)
    const codes = await Promise.all([
      codeOf(a.write([line('lost', 1)], { instance: lost })),
      codeOf(a.write([line('kept', 1)], { instance: kept })),
      codeOf(a.write([line('free', 1)])),
      codeOf(a.write([{ ...line('wrong', 1), mustChange: 2 }], { instance: kept })),
      codeOf(a.write([line('lost', 2)], { instance: lost })),
      codeOf(a.write([line('kept', 2)], { instance: kept })),
    ])
    assert.deepEqual(codes, [
      'STORAGE_NOT_OWNER',
      'no error',
      'no error',
      'STORAGE_CONFLICT',
      'STORAGE_NOT_OWNER',
      'no error',
    ])
    const rows = await db.database.read('select node, number from "Line" order by seq', [])
    assert.deepEqual(
      rows.map((row) => `${String(row['node'])} ${String(row['number'])}`),
      ['kept 1', 'free 1', 'kept 2'],
    )
  })

  test('an owner that cannot renew stops acting before others may begin, and takes it back when it can', async (t) => {
    const db = await open(t, migrations)
    const clock = new ManualClock()
    let monotonic = 0
    const a = await nodesOn(t, db)('a', { clock, monotonicNow: () => monotonic })
    const instance = makeInstanceId()
    const changes: boolean[] = []
    a.ownership.onChange((_, owned) => changes.push(owned))
    await a.ownership.take(instance)
    monotonic = 11_999
    assert.equal(a.ownership.owns(instance), true)
    monotonic = 12_000
    assert.equal(a.ownership.owns(instance), false)
    assert.equal(await codeOf(a.write([line('a', 1)], { instance })), 'STORAGE_NOT_OWNER')
    await clock.tick(1000)
    assert.deepEqual(changes, [false])
    await clock.tick(4000)
    await until(() => changes.length === 2, 'it is taken back')
    assert.equal(await codeOf(a.write([line('a', 2)], { instance })), 'no error')
  })

  test('a lease that ran out allows no write, though nobody has taken it over', async (t) => {
    const db = await open(t, migrations)
    const a = await nodesOn(t, db)('a')
    const instance = makeInstanceId()
    await a.ownership.take(instance)
    await runOut(db)
    assert.equal(await codeOf(a.write([line('a', 1)], { instance })), 'STORAGE_NOT_OWNER')
  })

  test('a process that another of its node replaced renews nothing, and learns that it lost', async (t) => {
    const db = await open(t, migrations)
    const node = nodesOn(t, db)
    const instance = makeInstanceId()
    const replaced = await node('a', { clock: new ManualClock(), monotonicNow: () => 0 })
    await replaced.ownership.take(instance)
    await (await node('a')).ownership.take(instance)
    const changes: boolean[] = []
    replaced.ownership.onChange((_, owned) => changes.push(owned))
    assert(replaced.ownership instanceof PostgresLeases)
    await replaced.ownership.pass()
    assert.equal(changes[0], false)
  })

  test('a process that another of its node replaced hands nothing over when it stops', async (t) => {
    const db = await open(t, migrations)
    const node = nodesOn(t, db)
    const instance = makeInstanceId()
    const replaced = await node('a', { clock: new ManualClock(), monotonicNow: () => 0 })
    await replaced.ownership.take(instance)
    const other = await node('a')
    await other.ownership.take(instance)
    await replaced.stop()
    assert.equal(await codeOf(other.write([line('a', 1)], { instance })), 'no error')
  })

  test('a lease counts from when it was asked for, however late the answer comes', async (t) => {
    const db = await open(t, migrations)
    // The clock stands at 0 when it asks, and at 5,000 when the answer is there.
    let monotonic = 5000
    const asked = [0]
    const monotonicNow = () => asked.shift() ?? monotonic
    const a = await nodesOn(t, db)('a', { clock: new ManualClock(), monotonicNow })
    const instance = makeInstanceId()
    await a.ownership.take(instance)
    monotonic = 11_999
    assert.equal(a.ownership.owns(instance), true)
    monotonic = 12_000
    assert.equal(a.ownership.owns(instance), false)
  })

  test('a lease is renewed by the time of the database', async (t) => {
    const db = await open(t, migrations)
    const clock = new ManualClock()
    let monotonic = 0
    const a = await nodesOn(t, db)('a', { clock, monotonicNow: () => monotonic })
    const instance = makeInstanceId()
    await a.ownership.take(instance)
    const expiry = async () =>
      (await db.database.read('select "expiresAt"::text as at from "InstanceLease"', []))[0]?.['at']
    for (let second = 0; second < 60; second += 5) {
      const before = await expiry()
      monotonic += 5000
      await clock.tick(5000)
      await until(async () => (await expiry()) !== before, 'the renewal')
      await settle()
    }
    assert.equal(a.ownership.owns(instance), true)
  })

  test('a take-over waits for a flush under way, so nothing comes between the check and the commit', async (t) => {
    const db = await open(t, migrations)
    const node = nodesOn(t, db)
    const [a, b] = [await node('a'), await node('b')]
    const instance = makeInstanceId()
    await a.ownership.take(instance)
    await a.write([line('a', 1)])
    // Somebody holds the row that the flush wants to change.
    const { url } = db.place as { readonly url: string }
    const shell = new pg.Client({ connectionString: url })
    await shell.connect()
    await shell.query('begin; select * from "Line" for update')
    const write = a.write([{ sql: 'update "Line" set number = 2', params: [] }], { instance })
    const waiting = async (count: number) => {
      const { rows } = await shell.query(
        `select count(*)::int as n from pg_locks where not granted and pid <> pg_backend_pid()
         and pid in (select pid from pg_locks where relation = '"InstanceLease"'::regclass)`,
      )
      return (rows as { readonly n: number }[])[0]!.n >= count
    }
    await until(() => waiting(1), 'the flush to hang behind the lock')
    let taken: boolean | undefined
    const takeOver = b.ownership.take(instance).then((outcome) => (taken = outcome))
    await until(async () => taken !== undefined || (await waiting(2)), 'the take-over to wait for the flush')
    const hasWaited = taken === undefined
    await shell.query('rollback')
    await shell.end()
    assert(hasWaited, 'the take-over did not wait')
    assert.equal(await codeOf(write), 'no error')
    await takeOver
    assert.equal(taken, false, 'its lease had not run out')
  })

  test('a zombie owner, stopped and woken after the take-over, writes nothing more and is told so', async (t) => {
    const db = await open(t, migrations)
    const { url } = db.place as { readonly url: string }
    const instance = makeInstanceId()
    const script = fileURLToPath(new URL('./owner.ts', import.meta.url))
    const zombie = spawn(process.execPath, [script, url, 'zombie', instance], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => void zombie.kill('SIGKILL'))
    const said: string[] = []
    createInterface({ input: zombie.stdout }).on('line', (text) => said.push(text))
    await until(() => said.length > 20, 'the owner at work')
    assert.equal(said[0], 'own')

    zombie.kill('SIGSTOP')
    const heir = await nodesOn(t, db)('heir')
    assert.equal(await heir.ownership.take(instance), false, 'its lease holds while it is only slow')
    await runOut(db)
    assert.equal(await heir.ownership.take(instance), true)
    await heir.write([line('heir', 1)], { instance })
    const ofZombie = async () =>
      (await db.database.read(`select number from "Line" where node = 'zombie' order by number`, [])).map(
        (row) => String(row['number']),
      )
    const atTakeOver = await ofZombie()

    zombie.kill('SIGCONT')
    const [exitCode] = await once(zombie, 'close')
    assert.equal(exitCode, 0)
    assert.deepEqual(await ofZombie(), atTakeOver, 'nothing came after the take-over')
    const acknowledged = said.filter((text) => /^\d+$/.test(text))
    assert.deepEqual(acknowledged, atTakeOver.slice(0, acknowledged.length), 'what was acknowledged is there')
    const refusals = said.filter((text) => text.startsWith('STORAGE'))
    assert(refusals.length > 3 && refusals.every((code) => code === 'STORAGE_NOT_OWNER'), refusals.join())
  })
})
