import * as http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { EclusaError } from '@eclusa/kernel'
import { type WebSocket, WebSocketServer } from 'ws'
import { announcePresence, onChatState, onPresence } from './announcements.ts'
import { Connection, type ConnectionHandler } from './connection.ts'
import type { Device, LoginRefusal } from './directory.ts'
import { addressOf } from './directory.ts'
import { answerIq, flushOffline } from './iq-handlers.ts'
import { type ClientHello, createServerIdentity, type ServerIdentity } from './noise-responder.ts'
import { Pairing } from './pairing.ts'
import { children, el, type Stanza, stanzaText } from './wire.ts'
import { stamp, type World } from './world.ts'

const MAX_CONNECTIONS = 5000
/** A client's stanza with 812 pre-keys is 40 kB; media does not come this way. */
const MAX_FRAME_BYTES = 16 * 1024 * 1024

/** The listening side: WebSockets on `/ws/chat`, the root key on `GET /root-key`; logins; what goes to whom. */
export class Server implements ConnectionHandler {
  readonly identity: ServerIdentity = createServerIdentity()
  readonly pairing: Pairing
  readonly #world: World
  readonly #http: http.Server
  readonly #sockets: WebSocketServer
  // bounded by: MAX_CONNECTIONS; more are refused
  readonly #connections = new Set<Connection>()
  // bounded by: the sockets the system gives us; each leaves when it closes
  readonly #upgrading = new Set<Duplex>()

  constructor(world: World) {
    this.#world = world
    this.pairing = new Pairing(world)
    this.#sockets = new WebSocketServer({
      noServer: true,
      maxPayload: MAX_FRAME_BYTES,
      perMessageDeflate: false,
    })
    this.#http = http.createServer((request, response) => {
      if (request.method === 'GET' && request.url === '/root-key') {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ publicKey: this.identity.rootPublicKey.toString('base64') }))
      } else response.writeHead(404).end()
    })
    this.#http.on('upgrade', (request, socket, head) => {
      this.#upgrading.add(socket)
      socket.once('close', () => this.#upgrading.delete(socket))
      const refuse = (status: string): void => {
        socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\n\r\n`, () => socket.destroy())
      }
      if (!request.url?.startsWith('/ws/chat')) {
        refuse('404 Not Found')
        return
      }
      if (this.#connections.size >= MAX_CONNECTIONS) {
        refuse('503 Service Unavailable')
        return
      }
      const accept = (silent: boolean): void => {
        this.#sockets.handleUpgrade(request, socket, head, (webSocket) => this.#accept(webSocket, silent))
      }
      const fault = world.faults.take('connect', {})
      if (fault !== undefined) world.statistics.faultsStruck += 1
      switch (fault?.do) {
        case 'error':
          refuse(`${fault.code ?? 503} Simulated`)
          return
        case 'drop':
        case 'dropConnection':
          socket.destroy()
          return
        case 'delay':
          world.tasks.later(fault.ms ?? 0, () => accept(false))
          return
        case 'lose':
        case 'ignore':
          accept(true)
          return
        case 'duplicate':
        case undefined:
          accept(false)
      }
    })
  }

  get connectionCount(): number {
    return this.#connections.size
  }

  /** `ws://127.0.0.1:PORT/ws/chat`. */
  async listen(port: number): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#http.once('error', reject)
      this.#http.listen(port, '127.0.0.1', resolve)
    })
    return `ws://127.0.0.1:${(this.#http.address() as AddressInfo).port}/ws/chat`
  }

  async stop(): Promise<void> {
    for (const connection of this.#connections) connection.terminate()
    // Those that were told to close and have not done so, and those a fault holds back.
    for (const socket of this.#upgrading) socket.destroy()
    this.#sockets.close()
    this.#http.closeAllConnections()
    if (this.#http.listening) await new Promise((resolve) => this.#http.close(resolve))
  }

  onHello(connection: Connection, hello: ClientHello): void {
    const { username, device: deviceId } = hello.payload
    const { faults, statistics } = this.#world
    const number = username === null || username === undefined ? undefined : String(username)
    const fault = faults.take('login', number === undefined ? {} : { number })
    if (fault !== undefined) statistics.faultsStruck += 1
    const go = (): void => {
      if (connection.closed) return
      if (number === undefined) this.pairing.begin(connection, hello)
      else this.#login(connection, hello, number, deviceId ?? 0)
    }
    switch (fault?.do) {
      case 'error':
        this.#refuse(connection, { reason: fault.code ?? 503, attrs: {}, timesLeft: undefined })
        return
      case 'lose':
      case 'ignore':
        connection.goSilent()
        return
      case 'drop':
      case 'dropConnection':
        connection.terminate()
        return
      case 'delay':
        this.#world.tasks.later(fault.ms ?? 0, go)
        return
      case 'duplicate':
      case undefined:
        go()
    }
  }

  onStanza(connection: Connection, stanza: Stanza): void {
    const { device } = connection
    this.#world.statistics.stanzasIn += 1
    try {
      const known =
        device === undefined
          ? this.#whileLinking(connection, stanza)
          : this.#fromDevice(device, connection, stanza)
      if (!known) {
        this.#world.unknown.push({
          at: this.#world.clock.now(),
          device: device?.jid ?? '(not linked)',
          stanza: stanzaText(stanza),
        })
      }
    } catch (error) {
      this.#world.violations.add(
        'bad-stanza',
        device?.jid ?? '(not linked)',
        stanza.attrs['id'],
        explain(error),
      )
    }
  }

  onBadFrame(connection: Connection, error: unknown): void {
    this.#world.violations.add(
      'bad-frame',
      connection.device?.jid ?? '(not linked)',
      undefined,
      explain(error),
    )
  }

  onClosed(connection: Connection): void {
    this.#connections.delete(connection)
    this.pairing.end(connection)
    const { device } = connection
    if (device === undefined || device.connection !== connection) return
    device.connection = undefined
    device.state = 'offline'
    const wasAvailable = device.available
    device.available = false
    if (wasAvailable) announcePresence(this.#world, device.account)
  }

  #accept(socket: WebSocket, silent: boolean): void {
    this.#world.statistics.connections += 1
    const connection = new Connection({
      socket,
      identity: this.identity,
      handler: this,
      clock: this.#world.clock,
    })
    if (silent) connection.goSilent()
    this.#connections.add(connection)
  }

  #login(connection: Connection, hello: ClientHello, number: string, deviceId: number): void {
    const { directory, statistics } = this.#world
    const device = directory.byNumber(number)?.devices.get(deviceId)
    if (device === undefined || device.noiseKey !== hello.staticKey.toString('base64')) {
      this.#refuse(connection, { reason: 401, attrs: {}, timesLeft: undefined })
      return
    }
    const { refusal } = device
    if (refusal !== undefined && refusal.timesLeft !== 0) {
      if (refusal.timesLeft !== undefined) refusal.timesLeft -= 1
      this.#refuse(connection, refusal)
      return
    }
    const before = device.connection
    device.connection = connection
    device.state = 'login'
    connection.device = device
    // The new one wins.
    before?.closeWith(el('stream:error', {}, [el('conflict', { type: 'replaced' })]))
    statistics.logins += 1
    connection.send(
      el('success', {
        t: stamp(this.#world),
        lid: addressOf(device.account, 'lid', device.id),
        location: 'sim',
      }),
    )
  }

  #refuse(connection: Connection, refusal: LoginRefusal): void {
    this.#world.statistics.refusedLogins += 1
    connection.closeWith(el('failure', { ...refusal.attrs, reason: refusal.reason, location: 'sim' }))
  }

  #whileLinking(connection: Connection, stanza: Stanza): boolean {
    if (this.pairing.onStanza(connection, stanza)) return true
    const content = children(stanza)[0]?.tag
    switch (stanza.tag) {
      case 'ack':
      case 'presence':
        return true
      case 'ib':
        return content === 'unified_session'
      case 'iq':
        if (content !== 'ping') return false
        connection.send(el('iq', { type: 'result', id: stanza.attrs['id'] }))
        return true
      default:
        return false
    }
  }

  #fromDevice(device: Device, connection: Connection, stanza: Stanza): boolean {
    const { router, violations, world } = { ...this.#world, world: this.#world }
    switch (stanza.tag) {
      case 'iq':
        answerIq(world, device, connection, stanza).catch((error: unknown) => {
          violations.add('bad-stanza', device.jid, stanza.attrs['id'], explain(error))
        })
        return true
      case 'message':
        router.onMessage(device, connection, stanza)
        return true
      case 'receipt':
        router.onReceipt(device, connection, stanza)
        return true
      case 'ack':
        router.onAck(device, stanza)
        return true
      case 'chatstate':
        onChatState(world, device, stanza)
        return true
      case 'presence':
        onPresence(world, device, stanza)
        return true
      case 'ib':
        switch (children(stanza)[0]?.tag) {
          case 'offline_batch':
            flushOffline(world, device)
            return true
          case 'unified_session':
            return true
          default:
            return false
        }
      default:
        return false
    }
  }
}

function explain(error: unknown): string {
  if (error instanceof EclusaError) return `${error.code}: ${error.message}`
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}
