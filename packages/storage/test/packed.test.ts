import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLogger } from '@eclusa/kernel'
import { openDatabase } from '../src/index.ts'
import { KnownTexts, MAX_TEXTS, TextNumbers } from '../src/packed.ts'
import { openTestDatabase } from '../test-kit/index.ts'
import { insert, migrations } from './notes.ts'

const pooled = Buffer.from([1, 2, 3])

test('statements come out of the pack as they went in, each text sent once', () => {
  const numbers = new TextNumbers()
  const texts = new KnownTexts((text) => text)
  const units = [
    [{ sql: 'a', params: ['x', 1, null, pooled, new Uint8Array(0)], mustChange: 1 }],
    [],
    [
      { sql: 'b', params: [] },
      { sql: 'a', params: [new Uint8Array([9])], mustChange: 0 },
    ],
  ]
  for (const newTexts of [['a', 'b'], []]) {
    const packed = structuredClone(numbers.pack(units))
    assert.deepEqual(packed.newTexts, newTexts)
    const unpacked = texts.unpack(packed).map((unit) =>
      unit.map(({ text, params, mustChange }) => ({
        sql: text.sql,
        params: params.map((value) => (value instanceof Uint8Array ? Buffer.from(value) : value)),
        ...(mustChange === -1 ? {} : { mustChange }),
      })),
    )
    assert.deepEqual(
      unpacked,
      units.map((unit) =>
        unit.map((statement) => ({
          ...statement,
          params: statement.params.map((value) => (value instanceof Uint8Array ? Buffer.from(value) : value)),
        })),
      ),
    )
  }
})

test('past the limit both sides forget the texts, and no number means two of them', () => {
  const numbers = new TextNumbers()
  const texts = new KnownTexts((text) => text)
  const seen = new Map<number, string>()
  for (let n = 0; n < 5 * MAX_TEXTS; n++) {
    const sql = `text ${n % (MAX_TEXTS + 9)}`
    const [[first] = []] = texts.unpack(structuredClone(numbers.pack([[{ sql, params: [] }]])))
    assert.equal(first?.text.sql, sql)
    assert.equal(seen.get(first.text.number) ?? sql, sql)
    seen.set(first.text.number, sql)
  }
})

test('rows keep their names while more texts come than are known at once', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  await database.write([insert(1, 'a')])
  const asked = Array.from({ length: 3 * MAX_TEXTS }, (_, n) => database.read(`select ${n} as "n${n}"`, []))
  for (const [n, rows] of (await Promise.all(asked)).entries()) assert.deepEqual(rows, [{ [`n${n}`]: n }])
  assert.equal((await database.read('select count(*) as n from "Note"', []))[0]?.['n'], 1)
})

test('a parameter that cannot be copied fails its part alone, also in the middle of a burst', async (t) => {
  const { database, file } = await openTestDatabase(t, migrations)
  const writes = Array.from({ length: 100 }, (_, n) => database.write([insert(n, `${n}`)]))
  const bad = database.write([{ sql: 'insert into "Note" (id) values (?)', params: [(() => 1) as never] }])
  const outcomes = await Promise.allSettled([...writes, bad])
  assert.equal(outcomes.at(-1)?.status, 'rejected')
  assert(outcomes.filter(({ status }) => status === 'fulfilled').length >= 80)
  const stored = await database.read('select count(*) as n from "Note"', [])
  assert.equal(stored[0]?.['n'], outcomes.filter(({ status }) => status === 'fulfilled').length)
  await database.write([insert(1000, 'after')])
  await database.stop()
  const again = await openDatabase({ file, migrations, log: silentLogger })
  t.after(() => again.stop())
  assert.equal((await again.read('select text from "Note" where id = 1000', []))[0]?.['text'], 'after')
})

test('a burst of more units than one part fails only where it must', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const outcomes = await Promise.allSettled(
    Array.from({ length: 200 }, (_, n) => database.write([insert(n === 150 ? 0 : n, `${n}`)])),
  )
  const failed = outcomes.flatMap(({ status }, n) => (status === 'rejected' ? [n] : []))
  assert.deepEqual(failed, [150])
  assert.equal((await database.read('select count(*) as n from "Note"', []))[0]?.['n'], 199)
})

test('a read in the middle of a burst sees committed state only', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  const writes: Promise<unknown>[] = []
  let failing: Promise<unknown> = Promise.resolve()
  const reads: Promise<unknown>[] = []
  for (let n = 0; n < 64; n++) {
    if (n === 40)
      failing = Promise.allSettled([database.write([insert(500), { sql: 'not sql', params: [] }])])
    writes.push(database.write([insert(n)]))
    if (n === 20 || n === 45) reads.push(database.read('select count(*) as n from "Note" where id = 500', []))
  }
  assert.deepEqual(await Promise.all(reads), [[{ n: 0 }], [{ n: 0 }]])
  await Promise.all([...writes, failing])
})
