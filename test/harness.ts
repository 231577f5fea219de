import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createInterface } from 'node:readline'
import { until } from '@eclusa/kernel/test-kit'

/*
 * The whole system as its users run it: the gateway and the simulator are processes, the test talks to both over HTTP
 * and counts at the simulator's contacts, never in our own database.
 */

const root = path.dirname(import.meta.dirname)
export const API_KEY = 'test-key-of-at-least-thirty-two-characters'

/** What ends with a test: `t.after` of node:test. */
export interface Scope {
  after(run: () => unknown): void
}

/** A message's state as the API tells it; times in ISO 8601. */
export interface Message {
  readonly id: string
  readonly state: string
  readonly waMessageId: string
  readonly acceptedAt: string
  readonly sentAt: string | null
  readonly deliveredAt: string | null
  readonly readAt: string | null
  readonly failure: { readonly code: string; readonly message: string } | null
}

export interface InboxEntry {
  readonly waMessageId: string
  readonly from: string
  readonly text: string
  readonly repeats: number
  readonly at: number
}

export class SimulatorProcess {
  readonly whatsapp: string
  readonly control: string
  readonly process: ChildProcess

  private constructor(process: ChildProcess, addresses: { whatsapp: string; control: string }) {
    this.process = process
    this.whatsapp = addresses.whatsapp
    this.control = addresses.control
  }

  static async start(t: Scope): Promise<SimulatorProcess> {
    const child = spawn(
      process.execPath,
      [path.join(root, 'packages/simulator/src/main.ts'), '--port', '0'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    t.after(() => end(child))
    const line = await firstLine(child)
    return new SimulatorProcess(child, JSON.parse(line) as { whatsapp: string; control: string })
  }

  async call<T = unknown>(method: string, url: string, body?: unknown): Promise<T> {
    const response = await fetch(`${this.control}${url}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${text}`)
    return (text === '' ? undefined : JSON.parse(text)) as T
  }

  async inbox(number: string): Promise<readonly InboxEntry[]> {
    return (await this.call<{ messages: readonly InboxEntry[] }>('GET', `/contacts/${number}/inbox`)).messages
  }

  /** Messages the server took over from linked devices, resends included. */
  async accepted(): Promise<number> {
    const stats = await this.call<{ totals: { messagesAccepted: number } }>('GET', '/stats?lists=no')
    return stats.totals.messagesAccepted
  }

  /** Fails unless the simulator saw no unknown stanza, nothing undelivered to live devices, nothing undecryptable. */
  async check(): Promise<void> {
    const { clean, problems } = await this.call<{ clean: boolean; problems: string[] }>('GET', '/check')
    if (!clean) throw new Error(`the simulator is not clean:\n${problems.join('\n')}`)
  }
}

export interface GatewayOptions {
  readonly whatsapp: string
  readonly folder?: string
  readonly env?: Readonly<Record<string, string>>
  /** Options for Node itself; with any, a message channel to the process is opened too. */
  readonly nodeArgs?: readonly string[]
  /** A program, with its first arguments, that becomes the gateway. */
  readonly wrapper?: readonly string[]
}

export class GatewayProcess {
  readonly folder: string
  readonly url: string
  readonly #env: NodeJS.ProcessEnv
  readonly #nodeArgs: readonly string[]
  readonly #wrapper: readonly string[]
  #child: ChildProcess | undefined
  output = ''

  constructor(t: Scope, folder: string, port: number, options: GatewayOptions) {
    this.folder = folder
    this.url = `http://127.0.0.1:${port}`
    this.#env = {
      ...cleanEnvironment(),
      ECLUSA_DATA_DIR: path.join(folder, 'data'),
      ECLUSA_HTTP_PORT: String(port),
      ECLUSA_API_KEY: API_KEY,
      ECLUSA_DEMO: 'off',
      ECLUSA_PACING: 'off',
      ECLUSA_WHATSAPP_URL: options.whatsapp,
      ...options.env,
    }
    this.#nodeArgs = options.nodeArgs ?? []
    this.#wrapper = options.wrapper ?? []
    t.after(() => this.stop())
  }

  static async prepare(t: Scope, options: GatewayOptions): Promise<GatewayProcess> {
    const folder = options.folder ?? mkdtempSync(path.join(tmpdir(), 'eclusa-system-'))
    const gateway = new GatewayProcess(t, folder, await freePort(), options)
    if (options.folder === undefined) t.after(() => rmSync(folder, { recursive: true, force: true }))
    return gateway
  }

  static async start(t: Scope, options: GatewayOptions): Promise<GatewayProcess> {
    const gateway = await GatewayProcess.prepare(t, options)
    await gateway.start()
    return gateway
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** Starts the process and waits until it is ready. */
  async start(): Promise<void> {
    const args = [...this.#nodeArgs, path.join(root, 'apps/gateway/bin/eclusa.js'), 'start']
    const [program = '', ...rest] = [...this.#wrapper, process.execPath, ...args]
    const child = spawn(program, rest, {
      env: this.#env,
      stdio: this.#nodeArgs.length > 0 ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    const keep = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-200_000)
    }
    child.stdout?.on('data', keep)
    child.stderr?.on('data', keep)
    await until(
      async () => {
        if (child.exitCode !== null) throw new Error(`the gateway ended: ${this.output}`)
        return await fetch(`${this.url}/readyz`).then(
          (response) => response.ok,
          () => false,
        )
      },
      'the gateway is ready',
      60_000,
    )
  }

  /** Asks the process something over its message channel. */
  ask<T>(question: string): Promise<T> {
    const child = this.#child
    if (child === undefined) throw new Error('the gateway does not run')
    return new Promise((resolve) => {
      child.once('message', (answer) => resolve(answer as T))
      child.send(question)
    })
  }

  /** kill -9, and waits until the process is gone. */
  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
  }

  /** A graceful stop; resolves to the exit code. */
  async stop(): Promise<number | null> {
    const child = this.#child
    if (child === undefined) return null
    await end(child)
    return child.exitCode
  }

  async fetch(
    method: string,
    url: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    return fetch(`${this.url}${url}`, {
      method,
      headers: {
        authorization: `Bearer ${API_KEY}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  }

  async call<T>(method: string, url: string, body?: unknown, headers?: Record<string, string>): Promise<T> {
    const response = await this.fetch(method, url, body, headers)
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${text}`)
    return (text === '' ? undefined : JSON.parse(text)) as T
  }

  /** Creates an instance and links it to a number of the simulator; resolves to its id when it is online. */
  async pair(simulator: SimulatorProcess, number: string, tenant = 'exatron'): Promise<string> {
    await simulator.call('POST', '/numbers', { number, name: `Company ${number.slice(-2)}` })
    return this.link({
      name: `n${number}`,
      tenant,
      scan: (qr) => simulator.call('POST', `/numbers/${number}/scan`, { qr }),
    })
  }

  /** Creates an instance and has its QR scanned; resolves to its id when it is online. */
  async link(options: {
    readonly name: string
    readonly tenant: string
    readonly scan: (qr: string) => Promise<unknown>
  }): Promise<string> {
    const { name, tenant } = options
    const { id } = await this.call<{ id: string }>('POST', `/v1/tenants/${tenant}/instances`, { name })
    await this.call('POST', `/v1/instances/${id}/start`)
    let qr = ''
    await until(async () => {
      const response = await this.fetch('GET', `/v1/instances/${id}/qr`, undefined, {
        accept: 'application/json',
      })
      if (response.ok) qr = ((await response.json()) as { qr: string }).qr
      return qr !== ''
    }, 'a QR is shown')
    await options.scan(qr)
    await this.untilState(id, 'online')
    return id
  }

  send(instance: string, number: string, text: string): Promise<{ id: string; state: string }> {
    return this.call('POST', `/v1/instances/${instance}/messages`, { to: `+${number}`, text })
  }

  message(id: string): Promise<Message> {
    return this.call('GET', `/v1/messages/${id}`)
  }

  async untilMessage(id: string, state: string, withinMs = 30_000): Promise<Message> {
    let last: Message | undefined
    await until(
      async () => {
        last = await this.message(id)
        return last.state === state
      },
      `the message is ${state}`,
      withinMs,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)} (it is ${JSON.stringify(last)})`)
    })
    return last as Message
  }

  async untilState(instance: string, state: string): Promise<void> {
    let last = ''
    await until(
      async () => {
        last = (await this.call<{ state: string }>('GET', `/v1/instances/${instance}`)).state
        return last === state
      },
      `the instance is ${state}`,
      30_000,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)} (it is ${last})`)
    })
  }

  /** Rows of a table, counted from outside. */
  count(table: string): number {
    return Number(this.sql(`SELECT COUNT(*) AS count FROM ${table}`)[0]?.['count'])
  }

  /** Reads the gateway's database file from outside, as an operator with a shell would. */
  sql(query: string): Record<string, unknown>[] {
    const database = new DatabaseSync(path.join(this.folder, 'data', 'eclusa.db'), {
      readOnly: true,
      timeout: 2_000,
    })
    try {
      return database.prepare(query).all()
    } finally {
      database.close()
    }
  }
}

/** The environment without anything of ours in it. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('ECLUSA_') && !name.startsWith('NODE_')),
  )
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the process ended with ${code}`)))
    if (child.stdout === null) return
    const lines = createInterface({ input: child.stdout })
    lines.once('line', (line) => {
      child.stdout?.resume()
      resolve(line)
    })
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await gone
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
