import {
  type AuthenticationCreds,
  type AuthenticationState,
  Browsers,
  initAuthCreds,
  makeWASocket,
  type proto,
  type SignalDataTypeMap,
  type UserFacingSocketConfig,
  type WAMessage,
  type WASocket,
} from 'baileys'
import { after } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import type { DeviceHandle, NumberPhone, Simulator } from '../src/index.ts'

/** libsignal prints session records, private keys included, on the console. */
export function silenceLibsignal(): void {
  const noise =
    /^(Closing |Opening |Removing old closed|Failed to decrypt|Session error|Decrypted message with closed|Session already)/
  for (const name of ['info', 'warn', 'error', 'log'] as const) {
    const before = console[name].bind(console)
    console[name] = (...parts: unknown[]) => {
      if (typeof parts[0] === 'string' && noise.test(parts[0])) return
      before(...parts)
    }
  }
}
silenceLibsignal()
letProcessEnd()

/**
 * Baileys leaves timers of up to 30 s behind a socket that was ended (unanswered queries, the pre-key upload). Once
 * the tests of a file are over they must not keep its process.
 */
function letProcessEnd(): void {
  const setTimer = globalThis.setTimeout
  // bounded by: one test file
  const longTimers = new Set<WeakRef<NodeJS.Timeout>>()
  const wrapped = (
    run: (...args: unknown[]) => void,
    delayMs?: number,
    ...args: unknown[]
  ): NodeJS.Timeout => {
    const timer = setTimer(run, delayMs, ...args)
    if ((delayMs ?? 0) >= 2000) longTimers.add(new WeakRef(timer))
    return timer
  }
  globalThis.setTimeout = Object.defineProperties(
    wrapped,
    Object.getOwnPropertyDescriptors(setTimer),
  ) as typeof setTimeout
  after(() => {
    for (const timer of longTimers) timer.deref()?.unref()
  })
}

type Log = NonNullable<UserFacingSocketConfig['logger']>
const quiet: Log = {
  level: 'silent',
  child: () => quiet,
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
}
const loud: Log = {
  ...quiet,
  child: () => loud,
  warn: (o: unknown, m?: string) => process.stderr.write(`WARN ${m} ${JSON.stringify(o)}\n`),
  error: (o: unknown, m?: string) => process.stderr.write(`ERROR ${m} ${JSON.stringify(o, errors)} \n`),
}
function errors(_key: string, value: unknown): unknown {
  return value instanceof Error ? value.stack : value
}

/** Credentials and keys in memory, as a database would keep them: copied on the way in and out. */
export interface MemoryAuth extends AuthenticationState {
  creds: AuthenticationCreds
}

export function memoryAuth(): MemoryAuth {
  const store = new Map<string, unknown>()
  return {
    creds: initAuthCreds(),
    keys: {
      get: async <T extends keyof SignalDataTypeMap>(type: T, ids: string[]) => {
        const found: Record<string, SignalDataTypeMap[T]> = {}
        for (const id of ids) {
          const value = store.get(`${type} ${id}`)
          if (value !== undefined) found[id] = value as SignalDataTypeMap[T]
        }
        return found
      },
      set: async (data) => {
        for (const [type, entries] of Object.entries(data)) {
          for (const [id, value] of Object.entries(entries ?? {})) {
            if (value === null || value === undefined) store.delete(`${type} ${id}`)
            else store.set(`${type} ${id}`, value)
          }
        }
      },
    },
  }
}

export interface ClientOptions extends Partial<UserFacingSocketConfig> {
  readonly auth?: MemoryAuth
}

/** A real Baileys socket, with what it said remembered. */
export class TestClient {
  readonly auth: MemoryAuth
  readonly upserts: { readonly message: WAMessage; readonly type: string }[] = []
  readonly updates: {
    readonly id: string
    readonly status: number | null | undefined
    readonly stub: readonly (string | null)[] | null | undefined
  }[] = []
  readonly receiptUpdates: unknown[] = []
  readonly presence: { readonly id: string; readonly states: readonly string[] }[] = []
  readonly acks: Record<string, string>[] = []
  readonly qrs: string[] = []
  readonly events: { readonly name: string; readonly payload: unknown }[] = []
  readonly sent = new Map<string, proto.IMessage>()
  sock: WASocket
  open = false
  /** Status code of the last close; undefined while it lives. */
  closed: number | undefined
  readonly #url: string
  readonly #options: ClientOptions

  constructor(url: string, options: ClientOptions = {}) {
    this.#url = url
    this.#options = options
    this.auth = options.auth ?? memoryAuth()
    this.sock = this.#connect()
  }

  get jid(): string {
    return this.auth.creds.me?.id ?? ''
  }

  get texts(): string[] {
    return this.upserts
      .filter(({ message }) => message.key.fromMe !== true)
      .map(({ message }) => textOf(message))
      .filter((text) => text !== '')
  }

  /** A new socket with the same credentials; the old one is ended first. */
  reconnect(): void {
    this.end()
    this.closed = undefined
    this.sock = this.#connect()
  }

  end(): void {
    void this.sock.end(undefined)
    this.open = false
  }

  async untilOpen(): Promise<void> {
    await until(() => this.open, 'connection open')
  }

  async untilClosed(): Promise<number> {
    await until(() => this.closed !== undefined, 'connection closed')
    return this.closed ?? 0
  }

  async untilQr(): Promise<string> {
    await until(() => this.qrs.length > 0, 'a QR')
    return this.qrs.at(-1) ?? ''
  }

  async send(to: string, text: string, messageId?: string): Promise<string> {
    const jid = to.includes('@') ? to : `${to}@s.whatsapp.net`
    const message = await this.sock.sendMessage(jid, { text }, messageId === undefined ? {} : { messageId })
    const id = message?.key.id ?? ''
    if (message?.message) this.sent.set(id, message.message)
    await new Promise((resolve) => setImmediate(resolve))
    return id
  }

  #connect(): WASocket {
    this.open = false
    const sock = makeWASocket({
      waWebSocketUrl: this.#url,
      logger: process.env['SIM_LOUD'] === undefined ? quiet : loud,
      browser: Browsers.ubuntu('Chrome'),
      keepAliveIntervalMs: 30_000,
      defaultQueryTimeoutMs: 15_000,
      connectTimeoutMs: 10_000,
      retryRequestDelayMs: 5,
      getMessage: async (key) => this.sent.get(key.id ?? ''),
      ...this.#options,
      auth: this.auth,
    })
    sock.ws.on('CB:ack,class:message', (node: { attrs: Record<string, string> }) =>
      this.acks.push(node.attrs),
    )
    sock.ev.on('creds.update', (update) => Object.assign(this.auth.creds, update))
    sock.ev.on('connection.update', ({ connection, lastDisconnect, qr }) => {
      if (sock !== this.sock) return
      if (qr !== undefined) this.qrs.push(qr)
      if (connection === 'open') this.open = true
      if (connection === 'close') {
        this.open = false
        const error = lastDisconnect?.error as { output?: { statusCode?: number } } | undefined
        this.closed = error?.output?.statusCode ?? 0
      }
    })
    sock.ev.on('messages.upsert', ({ messages, type }) => {
      for (const message of messages) this.upserts.push({ message, type })
    })
    sock.ev.on('messages.update', (updates) => {
      for (const { key, update } of updates) {
        this.updates.push({ id: key.id ?? '', status: update.status, stub: update.messageStubParameters })
      }
    })
    sock.ev.on('message-receipt.update', (updates) => this.receiptUpdates.push(...updates))
    sock.ev.on('presence.update', ({ id, presences }) => {
      this.presence.push({ id, states: Object.values(presences).map((state) => state.lastKnownPresence) })
    })
    sock.ev.process((events) => {
      for (const [name, payload] of Object.entries(events)) this.events.push({ name, payload })
    })
    return sock
  }
}

export function textOf(message: WAMessage): string {
  return message.message?.conversation ?? message.message?.extendedTextMessage?.text ?? ''
}

/** A client linked to `phone` by QR and open. */
export async function linkedClient(
  sim: Simulator,
  phone: NumberPhone,
  options: ClientOptions = {},
): Promise<{ readonly client: TestClient; readonly device: DeviceHandle }> {
  const client = new TestClient(sim.url, options)
  const device = await phone.scanQr(await client.untilQr())
  await client.untilClosed()
  client.reconnect()
  await client.untilOpen()
  await until(() => device.online, 'the device is online at the server')
  return { client, device }
}
