import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { type EclusaError, silentLogger } from '@eclusa/kernel'
import { openDatabase } from '../src/index.ts'
import { SqliteDatabase } from '../src/sqlite.ts'
import { openTestDatabase } from '../test-kit/index.ts'

const migrations = [
  { name: '001-test', sql: 'create table "Pair" (pair integer not null, half text not null)' },
]
const writer = fileURLToPath(new URL('./crash-writer.ts', import.meta.url))

/** Runs the writer until it has acknowledged `pairs` more pairs, then kills it without warning. */
async function writeAndKill(file: string, first: number, pairs: number): Promise<number[]> {
  const child = spawn(process.execPath, [writer, file, `${first}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  const acknowledged: number[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'open') {
      await assert.rejects(
        openDatabase({ file, migrations, log: silentLogger }),
        (error: EclusaError) => error.code === 'STORAGE_IN_USE',
      )
      continue
    }
    acknowledged.push(Number(line))
    if (acknowledged.length === pairs) child.kill('SIGKILL')
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return acknowledged
}

test('what was acknowledged survives kill -9, units are whole, and the lock is free again at once', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-test-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'eclusa.db')
  const acknowledged: number[] = []
  for (let kill = 0; kill < 10; kill++) {
    acknowledged.push(...(await writeAndKill(file, kill * 1_000_000, 20 + kill * 37)))
    const database = await openDatabase({ file, migrations, log: silentLogger })
    const rows = await database.read('select pair, count(*) as halves from "Pair" group by pair', [])
    await database.stop()
    const halves = new Map(rows.map((row) => [row['pair'], row['halves']]))
    assert.deepEqual(
      acknowledged.filter((pair) => halves.get(pair) !== 2),
      [],
      'acknowledged and not there',
    )
    assert(
      rows.every((row) => row['halves'] === 2),
      'half a unit',
    )
  }
  if (process.platform !== 'win32') assert.equal(statSync(file).mode & 0o077, 0, 'only its owner may read it')
})

test('when the database thread dies, waiting calls and later ones fail with STORAGE_BROKEN, told once', async () => {
  const thread = new Worker(`require('worker_threads').parentPort.on('message', () => process.exit(3))`, {
    eval: true,
  })
  let errors = 0
  const database = new SqliteDatabase(thread, { ...silentLogger, error: () => errors++ })
  const broken = (error: EclusaError): boolean => error.code === 'STORAGE_BROKEN'
  await Promise.all([
    assert.rejects(database.read('select 1', []), broken),
    assert.rejects(database.write([{ sql: 'select 1', params: [] }]), broken),
  ])
  await assert.rejects(database.write([]), broken)
  assert.equal(errors, 1)
  assert.equal(database.stats().waitingCount, 0)
  await database.stop()
})

test('a file that is no database is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-test-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'eclusa.db')
  writeFileSync(file, 'x'.repeat(5000))
  await assert.rejects(
    openDatabase({ file, migrations, log: silentLogger }),
    (error: EclusaError) => error.code === 'STORAGE_BROKEN',
  )
})

test('a parameter of the wrong kind fails its call, not the process', async (t) => {
  const { database } = await openTestDatabase(t, migrations)
  await assert.rejects(database.write([{ sql: 'select ?', params: [(() => 1) as never] }]))
  await assert.rejects(database.read('select ?', [Symbol('no') as never]))
  assert.equal((await database.read('select 1', [])).length, 1)
})
