import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { compileDiskShim, diskShimEnv } from '@eclusa/storage/test-kit'
import pg from 'pg'
import type { EngineName } from './queue/engines.ts'
import type { Figures, Order } from './queue/run.ts'
import { BenchScope, report as writeReport, round } from './report.ts'

/*
 * Our queue beside BullMQ, GroupMQ, pg-boss and graphile-worker, and beside the limit that group commit sets, in one run
 * on one machine. All data lies in memory (tmpfs) and a shim adds the same time to every fsync of every engine, because
 * a real disk's fsync moved by a factor of 60 within an hour. Each engine runs in a process of its own; the engines take
 * turns, round after round; the figures are medians.
 *
 * Every engine is asked in the same way: 64 callers, each with one message a call, which it awaits before its next; then a
 * handler that does nothing. Redis syncs at every write (appendfsync always). Ours does more per message than is asked:
 * an event in the log, a tombstone that receipts find, the sealed text kept for 24 h. CPU is that of the engine's own
 * process: what Redis or PostgreSQL needs is not in it, what SQLite needs is.
 *
 * The rivals are no dependencies of ours: the first run installs them (npm ci in bench/queue, from its own lock file).
 * redis-server and redis-cli are looked for in PATH, PostgreSQL in /usr/lib/postgresql; a C compiler makes the shim.
 *
 *   npm run bench:queue -- --rounds 3 --fsync 100,2000 --chats 1000 --per-chat 20 --phase-ms 30000 --resume-ms 90000
 *   npm run bench:queue -- --only "eclusa sqlite,bullmq" --rounds 1
 */

const options = readOptions()
const folder = path.join(import.meta.dirname, 'queue')
const ENGINES: readonly { readonly name: EngineName; readonly on: 'sqlite' | 'redis' | 'postgres' }[] = [
  { name: 'eclusa sqlite', on: 'sqlite' },
  { name: 'eclusa postgres', on: 'postgres' },
  { name: 'bullmq', on: 'redis' },
  { name: 'groupmq', on: 'redis' },
  { name: 'pg-boss', on: 'postgres' },
  { name: 'graphile-worker', on: 'postgres' },
  { name: 'graphile-worker localQueue', on: 'postgres' },
  { name: 'raw sqlite', on: 'sqlite' },
  { name: 'raw postgres', on: 'postgres' },
]

type Row = Figures & { readonly engine: EngineName; readonly fsyncMicros: number; readonly mode: string }

const scope = new BenchScope()
try {
  const rows: Row[] = []
  const resumes: { readonly engine: EngineName; readonly seconds: number | null }[] = []
  const found = compileDiskShim()
  if ('missing' in found) throw new Error(`the bench needs the disk shim: ${found.missing}`)
  if (!existsSync(path.join(folder, 'node_modules'))) {
    process.stderr.write('installing the engines to compare with (bench/queue/package-lock.json) …\n')
    execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: folder,
      stdio: 'ignore',
    })
  }
  const memory = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  const home = mkdtempSync(path.join(memory, 'eclusa-bench-'))
  chmodSync(home, 0o755)
  scope.after(() => rmSync(home, { recursive: true, force: true }))
  // Where the servers' own users can read it.
  const library = path.join(home, 'disk-shim.so')
  copyFileSync(found.library, library)
  const chosen = ENGINES.filter(({ name }) => options.only.length === 0 || options.only.includes(name))

  for (const fsyncMicros of options.fsyncMicros) {
    const env = diskShimEnv({ library, fsyncMicros })
    const servers = new BenchScope()
    try {
      const postgres = chosen.some(({ on }) => on === 'postgres')
        ? await startPostgres(servers, home, env)
        : null
      const redis = chosen.some(({ on }) => on === 'redis') ? await startRedis(servers, home, env) : null
      const placeFor = async (on: 'sqlite' | 'redis' | 'postgres', name: string): Promise<string> => {
        switch (on) {
          case 'sqlite':
            return path.join(mkdtempSync(path.join(home, 'sqlite-')), 'queue.db')
          case 'redis':
            return redis!.flush()
          case 'postgres':
            return postgres!.newDatabase(name)
          default:
            return on satisfies never
        }
      }
      const envOf = (on: string): Record<string, string> => (on === 'sqlite' ? env : {})
      for (let turn = 0; turn < options.rounds; turn++) {
        for (const { name, on } of chosen) {
          const figures = await measure(
            { ...sizes('throughput'), engine: name, place: await placeFor(on, name) },
            envOf(on),
          )
          tell(name, fsyncMicros, 'throughput', figures)
          rows.push({ ...figures, engine: name, fsyncMicros, mode: 'throughput' })
        }
      }
      if (fsyncMicros !== options.fsyncMicros[0]) continue
      for (const { name, on } of chosen) {
        if (name.startsWith('raw')) continue
        const figures = await measure(
          { ...sizes('strict'), chats: 200, engine: name, place: await placeFor(on, name) },
          envOf(on),
        )
        tell(name, fsyncMicros, 'strict', figures)
        rows.push({ ...figures, engine: name, fsyncMicros, mode: 'strict' })
      }
      for (const { name, on } of chosen) {
        if (name.startsWith('raw') || options.resumeMs === 0) continue
        const seconds = await resumeAfterKill(name, await placeFor(on, name), envOf(on))
        if (seconds === undefined) continue
        process.stderr.write(
          `${name}: resumed after ${seconds ?? `more than ${options.resumeMs / 1000}`} s\n`,
        )
        resumes.push({ engine: name, seconds })
      }
    } finally {
      await servers.close()
    }
  }
  report(rows, resumes)
} finally {
  await scope.close()
}

function sizes(mode: Order['mode']): Omit<Order, 'engine' | 'place'> {
  const { chats, perChat, phaseMs } = options
  return { mode, chats, perChat, callers: 64, phaseMs }
}

/** One engine, from an empty store to a drained one, in a process of its own. */
async function measure(order: Order, env: Readonly<Record<string, string>>): Promise<Figures> {
  const child = start(order, env)
  try {
    return await answer<Figures>(child, options.phaseMs * 3 + 60_000, order.engine)
  } finally {
    child.kill('SIGKILL')
  }
}

/**
 * From the start of the next process until the messages that the kill interrupted run again; null: not in time;
 * undefined: an engine that did not come to run a message of each chat at the same time, so there was nothing to kill.
 */
async function resumeAfterKill(
  engine: EngineName,
  place: string,
  env: Readonly<Record<string, string>>,
): Promise<number | null | undefined> {
  const order: Order = { engine, place, chats: 20, perChat: 3, callers: 20, phaseMs: 0, mode: 'hang' }
  const first = start(order, env)
  const gone = new Promise((resolve) => first.once('exit', resolve))
  const isRunning = await answer(first, 60_000, engine).then(
    () => true,
    () => false,
  )
  first.kill('SIGKILL')
  await gone
  if (!isRunning) return undefined
  const startedAt = performance.now()
  const second = start({ ...order, mode: 'resume' }, env)
  try {
    await answer(second, options.resumeMs, engine)
    return round((performance.now() - startedAt) / 1000)
  } catch {
    return null
  } finally {
    second.kill('SIGKILL')
  }
}

function start(order: Order, env: Readonly<Record<string, string>>): ChildProcess {
  return fork(path.join(folder, 'run.ts'), [JSON.stringify(order)], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
}

function answer<T>(child: ChildProcess, withinMs: number, who: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${who}: no answer within ${withinMs} ms`)), withinMs)
    child.once('message', (message) => {
      clearTimeout(timer)
      resolve(message as T)
    })
    child.once('exit', (code) => {
      clearTimeout(timer)
      reject(new Error(`${who} ended with ${code}`))
    })
  })
}

async function startRedis(
  servers: BenchScope,
  home: string,
  env: Record<string, string>,
): Promise<{ readonly flush: () => string }> {
  const port = await freePort()
  const data = mkdtempSync(path.join(home, 'redis-'))
  const flags = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', data, '--save', '']
  const durable = ['--appendonly', 'yes', '--appendfsync', 'always']
  const child = spawn('redis-server', [...flags, ...durable], {
    env: { ...process.env, ...env },
    stdio: 'ignore',
  })
  servers.after(() => endServer(child, 'SIGTERM'))
  const cli = (...args: readonly string[]): string =>
    execFileSync('redis-cli', ['-p', `${port}`, ...args], { stdio: ['ignore', 'pipe', 'ignore'] }).toString()
  await retry('Redis starts', () => cli('ping').includes('PONG'))
  return {
    flush() {
      cli('flushall')
      return `${port}`
    },
  }
}

async function startPostgres(
  servers: BenchScope,
  home: string,
  env: Record<string, string>,
): Promise<{ newDatabase(name: string): Promise<string> }> {
  const [bin] = globSync('/usr/lib/postgresql/*/bin').toSorted().toReversed()
  if (bin === undefined) throw new Error('the bench needs PostgreSQL in /usr/lib/postgresql')
  const data = mkdtempSync(path.join(home, 'postgres-'))
  const isRoot = process.getuid?.() === 0
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres']).toString())
  const asUser = isRoot ? { uid: id('-u'), gid: id('-g') } : {}
  if (isRoot) chownSync(data, id('-u'), id('-g'))
  execFileSync(
    path.join(bin, 'initdb'),
    ['-D', data, '-U', 'bench', '--auth=trust', '-E', 'UTF8', '--locale=C'],
    {
      ...asUser,
      cwd: data,
      stdio: 'ignore',
    },
  )
  const port = await freePort()
  const settings = [
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'max_connections=150',
    'shared_buffers=256MB',
    'max_wal_size=2GB',
    'wal_sync_method=fdatasync',
  ]
  const child = spawn(
    path.join(bin, 'postgres'),
    ['-D', data, '-p', `${port}`, ...settings.flatMap((setting) => ['-c', setting])],
    { ...asUser, cwd: data, env: { PATH: process.env['PATH'], ...env }, stdio: 'ignore' },
  )
  servers.after(() => endServer(child, 'SIGINT'))
  const url = (database: string): string => `postgres://bench@127.0.0.1:${port}/${database}`
  const ask = async (sql: string): Promise<void> => {
    const client = new pg.Client({ connectionString: url('postgres') })
    await client.connect()
    try {
      await client.query(sql)
    } finally {
      await client.end()
    }
  }
  await retry('PostgreSQL starts', () => ask('select 1').then(() => true))
  let count = 0
  return {
    async newDatabase(name) {
      const database = `${name.toLowerCase().replaceAll(/\W/g, '_')}_${++count}`
      await ask(`create database ${database}`)
      await ask('checkpoint')
      return url(database)
    },
  }
}

async function endServer(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill(signal)
  await gone
}

async function retry(what: string, attempt: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    try {
      if (await attempt()) return
    } catch {
      // Not yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`not within 10 s: ${what}`)
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer()
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

function tell(engine: string, fsyncMicros: number, mode: string, figures: Figures): void {
  const { acceptPerSecond, drainPerSecond, overlaps, outOfOrder, duplicates } = figures
  process.stderr.write(
    `${engine}, ${mode}, fsync ${fsyncMicros} µs: accepts ${round(acceptPerSecond, 0)}/s ` +
      `(${round(figures.acceptCpuMicros, 1)} µs CPU), drains ${round(drainPerSecond, 0)}/s ` +
      `(${round(figures.drainCpuMicros, 1)} µs CPU), overlaps ${overlaps}, out of order ${outOfOrder}, duplicates ${duplicates}\n`,
  )
}

function report(
  rows: readonly Row[],
  resumes: readonly { readonly engine: EngineName; readonly seconds: number | null }[],
): void {
  const table = ENGINES.flatMap(({ name }) =>
    options.fsyncMicros.flatMap((fsyncMicros) => {
      const own = rows.filter(
        (row) => row.engine === name && row.fsyncMicros === fsyncMicros && row.mode === 'throughput',
      )
      if (own.length === 0) return []
      const of = (key: keyof Figures): number => median(own.map((row) => row[key]))
      return [
        {
          engine: name,
          fsyncMicros,
          acceptPerSecond: round(of('acceptPerSecond'), 0),
          acceptCpuMicros: round(of('acceptCpuMicros'), 1),
          drainPerSecond: round(of('drainPerSecond'), 0),
          drainCpuMicros: round(of('drainCpuMicros'), 1),
          overlaps: sum(own.map(({ overlaps }) => overlaps)),
          outOfOrder: sum(own.map(({ outOfOrder }) => outOfOrder)),
          duplicates: sum(own.map(({ duplicates }) => duplicates)),
          rounds: own.map((row) => [round(row.acceptPerSecond, 0), round(row.drainPerSecond, 0)]),
        },
      ]
    }),
  )
  const strict = rows
    .filter(({ mode }) => mode === 'strict')
    .map(({ engine, overlaps, outOfOrder, duplicates, drainPerSecond, drained }) => {
      return { engine, overlaps, outOfOrder, duplicates, drained, drainPerSecond: round(drainPerSecond, 0) }
    })
  const rate = (engine: EngineName, key: 'acceptPerSecond' | 'drainPerSecond', at: number): number =>
    table.find((row) => row.engine === engine && row.fsyncMicros === at)?.[key] ?? Number.NaN
  const [fast = 100] = options.fsyncMicros
  const slow = options.fsyncMicros.at(-1) ?? fast
  const mark = (name: string, ours: number, theirs: number, least: number): object => {
    const ratio = round(ours / theirs)
    return { mark: name, ratio, least, isMet: ratio >= least }
  }
  const marks = [
    mark(
      'SQLite accepts, beside BullMQ always',
      rate('eclusa sqlite', 'acceptPerSecond', fast),
      rate('bullmq', 'acceptPerSecond', fast),
      2.5,
    ),
    mark(
      'SQLite drains, beside BullMQ always (no order)',
      rate('eclusa sqlite', 'drainPerSecond', fast),
      rate('bullmq', 'drainPerSecond', fast),
      4,
    ),
    mark(
      'PostgreSQL accepts, beside pg-boss',
      rate('eclusa postgres', 'acceptPerSecond', fast),
      rate('pg-boss', 'acceptPerSecond', fast),
      8,
    ),
    mark(
      'PostgreSQL drains, beside graphile-worker',
      rate('eclusa postgres', 'drainPerSecond', fast),
      rate('graphile-worker', 'drainPerSecond', fast),
      10,
    ),
    mark(
      'PostgreSQL drains, beside pg-boss fetch(500)',
      rate('eclusa postgres', 'drainPerSecond', fast),
      rate('pg-boss', 'drainPerSecond', fast),
      1,
    ),
    mark(
      `SQLite accepts at ${slow} µs, beside BullMQ always`,
      rate('eclusa sqlite', 'acceptPerSecond', slow),
      rate('bullmq', 'acceptPerSecond', slow),
      2,
    ),
    mark(
      `SQLite drains at ${slow} µs, beside BullMQ always`,
      rate('eclusa sqlite', 'drainPerSecond', slow),
      rate('bullmq', 'drainPerSecond', slow),
      4,
    ),
  ]
  const { dependencies: versions } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
  }
  writeReport('queue', 'npm run bench:queue', {
    sizes: { ...options, callers: 64, payloadBytes: 250 },
    versions,
    throughput: table,
    'strict: 200 chats, handlers of 0–3 ms, 5 % of first tries fail': strict,
    resumeSeconds: resumes,
    marks,
  })
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

function sum(values: readonly number[]): number {
  return values.reduce((all, one) => all + one, 0)
}

function readOptions(): {
  readonly rounds: number
  readonly fsyncMicros: readonly number[]
  readonly chats: number
  readonly perChat: number
  readonly phaseMs: number
  readonly resumeMs: number
  readonly only: readonly string[]
} {
  const given = new Map<string, string>()
  for (let index = 2; index + 1 < process.argv.length; index += 2)
    given.set(process.argv[index]!.replace(/^--/, ''), process.argv[index + 1]!)
  const number = (name: string, otherwise: number): number => Number(given.get(name) ?? otherwise)
  return {
    rounds: number('rounds', 3),
    fsyncMicros: (given.get('fsync') ?? '100,2000').split(',').map(Number),
    chats: number('chats', 1000),
    perChat: number('per-chat', 20),
    phaseMs: number('phase-ms', 30_000),
    resumeMs: number('resume-ms', 90_000),
    only: (given.get('only') ?? '').split(',').filter((name) => name !== ''),
  }
}
