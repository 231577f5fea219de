import { type AddressInfo, createServer } from 'node:net'
import type { TestContext } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { createSimulator, type NumberPhone, type Simulator, type SimulatorOptions } from '@eclusa/simulator'
import { makeWASocket as makeUpstreamSocket } from 'baileys'
import {
  type AuthenticationCreds,
  type BoundedSocket,
  type BoundedSocketConfig,
  Browsers,
  BufferJSON,
  closeSocket,
  initAuthCreds,
  makeWASocket,
  proto,
  type SignalDataSet,
  type SignalKeyStore,
  silenceLibsignal,
  type WAMessage,
  type WASocket,
} from '../src/index.ts'

export const silentLogger: NonNullable<BoundedSocketConfig['logger']> = {
  level: 'silent',
  child: () => silentLogger,
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
}

/** A database in a Map: rows are JSON, as a database would keep them. */
export class Rows implements SignalKeyStore {
  readonly rows = new Map<string, string>()
  reads = 0
  beforeGet: (type: string, ids: readonly string[]) => Promise<void> = async () => {}
  beforeSet: () => Promise<void> = async () => {}

  async get(type: string, ids: string[]): Promise<Record<string, never>> {
    this.reads += 1
    await this.beforeGet(type, ids)
    const found: Record<string, unknown> = {}
    for (const id of ids) {
      const json = this.rows.get(`${type}:${id}`)
      if (json === undefined) continue
      const value: unknown = JSON.parse(json, BufferJSON.reviver)
      found[id] =
        type === 'app-state-sync-key' ? proto.Message.AppStateSyncKeyData.fromObject(value as object) : value
    }
    return found as Record<string, never>
  }

  async set(data: SignalDataSet): Promise<void> {
    await this.beforeSet()
    for (const [type, values] of Object.entries(data)) {
      for (const [id, value] of Object.entries(values ?? {})) {
        if (value === null || value === undefined) this.rows.delete(`${type}:${id}`)
        else this.rows.set(`${type}:${id}`, JSON.stringify(value, BufferJSON.replacer))
      }
    }
  }
}

/** A server that takes connections and says nothing, so that a socket stays as it was made. */
export async function muteServer(t: TestContext): Promise<string> {
  const server = createServer((socket) => socket.on('error', () => {}))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A socket of ours that never gets as far as a login, and has nothing of its own to tell. */
export async function idleSocket(
  t: TestContext,
  config: Partial<BoundedSocketConfig> = {},
): Promise<BoundedSocket> {
  const socket = makeWASocket({
    logger: silentLogger,
    waWebSocketUrl: await muteServer(t),
    auth: { creds: initAuthCreds(), keys: new Rows() },
    ...config,
  })
  t.after(() => closeSocket(socket, { graceMs: 1 }))
  return socket
}

export interface Account {
  readonly phone: NumberPhone
  readonly creds: AuthenticationCreds
  readonly keys: Rows
}

export interface Client<Socket extends WASocket = BoundedSocket> extends Account {
  readonly socket: Socket
  /** Messages of others, in order of arrival; texts only. */
  readonly texts: string[]
  readonly messages: WAMessage[]
  readonly isOpen: () => boolean
}

export interface Rig {
  readonly sim: Simulator
  /** An account with one linked, open socket of ours. */
  account(config?: Partial<BoundedSocketConfig>): Promise<Client>
  /** Another socket of an account; the one before must have ended. */
  connect(account: Account, config?: Partial<BoundedSocketConfig>): Promise<Client>
  /** The same with Baileys' own makeWASocket. */
  connectUpstream(account: Account, config?: Partial<BoundedSocketConfig>): Promise<Client<WASocket>>
}

export async function makeRig(t: TestContext, options: SimulatorOptions = {}): Promise<Rig> {
  silenceLibsignal()
  const sim = await createSimulator({ skipPreKeyUpload: true, ...options })
  const restore = sim.trust()
  const sockets: WASocket[] = []
  t.after(async () => {
    await Promise.all(sockets.map((socket) => closeSocket(socket, { graceMs: 50 })))
    await sim.stop()
    restore()
  })
  let numbers = 0

  const open = async <Socket extends WASocket>(
    account: Account,
    config: Partial<BoundedSocketConfig>,
    make: (config: BoundedSocketConfig) => Socket,
  ): Promise<Client<Socket>> => {
    const client = start(sim, account, config, make)
    sockets.push(client.socket)
    await until(client.isOpen, 'connection open')
    return client
  }

  return {
    sim,
    connect: (account, config = {}) => open(account, config, makeWASocket),
    connectUpstream: (account, config = {}) =>
      open(account, config, (all) => makeUpstreamSocket(all as Parameters<typeof makeUpstreamSocket>[0])),
    account: async (config = {}) => {
      const number = `551190000${String(++numbers).padStart(4, '0')}`
      const phone = sim.addNumber(number, { biz: 'Loja' })
      const account = await pair(sim, phone, config)
      return open(account, config, makeWASocket)
    },
  }
}

/** Links a fresh set of credentials to `phone`: a socket that shows its QR, is scanned and told to come again. */
export async function pair(
  sim: Simulator,
  phone: NumberPhone,
  config: Partial<BoundedSocketConfig> = {},
): Promise<Account> {
  const account = { phone, creds: initAuthCreds(), keys: new Rows() }
  const { socket } = start(sim, account, config, makeWASocket)
  const scanned = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<void>()
  socket.ev.on('connection.update', ({ qr, connection }) => {
    if (qr !== undefined) phone.scanQr(qr).then(() => scanned.resolve(), scanned.reject)
    if (connection === 'close') ended.resolve()
  })
  await Promise.all([scanned.promise, ended.promise])
  await closeSocket(socket, { ended: true })
  return account
}

function start<Socket extends WASocket>(
  sim: Simulator,
  account: Account,
  config: Partial<BoundedSocketConfig>,
  make: (config: BoundedSocketConfig) => Socket,
): Client<Socket> {
  const socket = make({
    waWebSocketUrl: sim.url,
    logger: silentLogger,
    browser: Browsers.ubuntu('Chrome'),
    retryRequestDelayMs: 5,
    syncFullHistory: false,
    ...config,
    auth: { creds: account.creds, keys: account.keys },
  })
  const texts: string[] = []
  const messages: WAMessage[] = []
  let isOpen = false
  socket.ev.on('connection.update', ({ connection }) => {
    if (connection === 'open') isOpen = true
    if (connection === 'close') isOpen = false
  })
  socket.ev.on('messages.upsert', ({ messages: arrived }) => {
    for (const message of arrived) {
      if (message.key.fromMe === true) continue
      messages.push(message)
      const text = message.message?.conversation ?? message.message?.extendedTextMessage?.text
      if (text) texts.push(text)
    }
  })
  return { ...account, socket, texts, messages, isOpen: () => isOpen }
}
