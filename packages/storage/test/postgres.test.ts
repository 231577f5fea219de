import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { EclusaError, silentLogger } from '@eclusa/kernel'
import { until } from '@eclusa/kernel/test-kit'
import pg from 'pg'
import { openPostgres, type PostgresOptions } from '../src/postgres.ts'
import { eachDatabase, type TestDatabase } from '../test-kit/index.ts'
import { line, migrations } from './lines.ts'

const urlOf = ({ place }: TestDatabase): string => (place as { readonly url: string }).url

/** A loopback way to the server that can be cut: where `cuts` holds for bytes of an answer, they and the connection go. */
async function proxy(
  t: TestContext,
  url: string,
  cuts: (answer: Buffer) => boolean,
): Promise<{ url: string; refuse(on: boolean): void }> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  let refuses = false
  const server = createServer((client) => {
    const upstream = connect(Number(target.port || 5432), target.hostname)
    const end = (): void => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', end).on('close', () => {
        sockets.delete(socket)
        end()
      })
    }
    if (refuses) return end()
    client.on('data', (bytes) => void upstream.write(bytes))
    upstream.on('data', (bytes) => {
      if (cuts(bytes)) end()
      else client.write(bytes)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const way = new URL(url)
  way.hostname = '127.0.0.1'
  way.port = String((server.address() as { readonly port: number }).port)
  return {
    url: way.href,
    refuse(on) {
      refuses = on
      if (on) for (const socket of sockets) socket.destroy()
    },
  }
}

eachDatabase(({ dialect, test, open }) => {
  if (dialect === 'sqlite') return

  const openAt = async (t: TestContext, url: string, more: Partial<PostgresOptions> = {}) => {
    const database = await openPostgres({ url, migrations, log: silentLogger, ...more })
    t.after(() => database.stop())
    return database
  }
  const numbers = async (db: TestDatabase) =>
    (await db.database.read('select number from "Line" order by seq', [])).map((row) => row['number'])

  for (const [what, answer] of [
    ['its answer to the commit', 'COMMIT\0'],
    ['its answers before the commit', 'INSERT 0 1\0'],
  ] as const) {
    test(`a flush that loses ${what} is looked up, not guessed: stored once, and told so`, async (t) => {
      const db = await open(t, migrations)
      let armed = false
      let cutCount = 0
      const way = await proxy(t, urlOf(db), (bytes) => {
        if (!armed || !bytes.includes(answer)) return false
        armed = false
        cutCount++
        return true
      })
      const database = await openAt(t, way.url)
      await database.write([line('a', 1)])
      for (let number = 2; number <= 6; number += 2) {
        armed = true
        await Promise.all([database.write([line('a', number)]), database.write([line('a', number + 1)])])
      }
      assert.equal(cutCount, 3)
      assert.deepEqual(await numbers(db), [1, 2, 3, 4, 5, 6, 7])
    })
  }

  test('while the server is away callers wait, then hear it at once, and work again when it is back', async (t) => {
    const db = await open(t, migrations)
    const way = await proxy(t, urlOf(db), () => false)
    const database = await openAt(t, way.url, { patienceMs: 0 })
    way.refuse(true)
    const unreachable = { code: 'STORAGE_UNREACHABLE' }
    await assert.rejects(database.write([line('a', 1)]), unreachable)
    await assert.rejects(database.read('select 1 as one', []), unreachable)
    assert.equal(database.stats().waitingCount, 0)
    way.refuse(false)
    await database.write([line('a', 2)])
    assert.equal((await database.read('select 1 as one', [])).length, 1)
    assert.deepEqual(await numbers(db), [2])

    const patient = await openAt(t, way.url)
    way.refuse(true)
    const late = patient.write([line('a', 3)])
    const read = patient.read('select count(*) as n from "Line"', [])
    way.refuse(false)
    await late
    assert.equal((await read)[0]?.['n'], 2)
  })

  test('connections killed under load lose nothing, double nothing and leave no call without an answer', async (t) => {
    const db = await open(t, migrations)
    const database = await openAt(t, urlOf(db))
    const shell = new pg.Client({ connectionString: urlOf(db) })
    await shell.connect()
    let next = 0
    const stored: number[] = []
    const writeOn = async (): Promise<void> => {
      while (next < 3000) {
        const number = ++next
        await database.write([line('a', number), { sql: 'select 1 as one', params: [] }])
        stored.push(number)
      }
    }
    let killCount = 0
    const killOn = async (): Promise<void> => {
      for (let at = 300; at < 3000; at += 300) {
        await until(() => stored.length >= at, 'the load to go on')
        const { rowCount } = await shell.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'eclusa writes'
           and query not like '%pg_stat_activity%' and pid in (
             select pid from pg_locks where relation = '"Line"'::regclass)`,
        )
        killCount += rowCount ?? 0
      }
    }
    await Promise.all([killOn(), ...Array.from({ length: 20 }, writeOn)])
    await shell.end()
    t.diagnostic(`${killCount} connections killed`)
    const rows = await numbers(db)
    assert.equal(rows.length, 3000)
    assert.equal(new Set(rows).size, 3000)
  })

  test('somebody who holds a row locked makes nobody wait for ever', async (t) => {
    const db = await open(t, migrations)
    await db.database.write([line('a', 1)])
    const shell = new pg.Client({ connectionString: urlOf(db) })
    await shell.connect()
    await shell.query('begin; select * from "Line" for update')
    const url = new URL(urlOf(db))
    const database = await openAt(t, url.href, { lockTimeoutMs: 50 })
    const [held, free] = await Promise.allSettled([
      database.write([{ sql: 'update "Line" set number = 2', params: [] }]),
      database.write([line('a', 3)]),
    ])
    assert(held.status === 'rejected' && held.reason instanceof EclusaError)
    assert.equal(held.reason.code, 'STORAGE_BUSY')
    assert.equal(free.status, 'fulfilled')
    await shell.end()
  })

  test('a server that cannot be used is named in the refusal, without the password', async (t) => {
    const db = await open(t, migrations)
    const noDatabase = new URL(urlOf(db))
    noDatabase.pathname = '/no_such_database'
    // A server that trusts this machine asks for none, and goes on to the database that does not exist.
    const noPassword = new URL(noDatabase)
    noPassword.password = 'secret-password'
    for (const [wrong, why] of [
      [noDatabase, /no_such_database/],
      [noPassword, /no_such_database|password authentication failed/],
    ] as const) {
      await assert.rejects(
        openPostgres({ url: wrong.href, migrations, log: silentLogger }),
        (error: EclusaError) => {
          assert.equal(error.code, 'STORAGE_UNREACHABLE')
          assert.match(error.message, why)
          const told = `${error.message} ${JSON.stringify(error.details)}`
          assert.doesNotMatch(told, /secret-password/)
          if (noDatabase.password !== '') assert(!told.includes(noDatabase.password))
          return true
        },
      )
    }
  })
})
