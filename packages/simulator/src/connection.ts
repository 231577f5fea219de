import { type Clock, EclusaError } from '@eclusa/kernel'
import type { WebSocket } from 'ws'
import type { Device } from './directory.ts'
import { type ClientHello, NoiseResponder, type ServerIdentity } from './noise-responder.ts'
import { simulatorErrors } from './simulator-errors.ts'
import { SentIds } from './strictness.ts'
import { decodeStanza, el, encodeStanza, SERVER, type Stanza } from './wire.ts'

/** What the server does with a connection. */
export interface ConnectionHandler {
  onHello(connection: Connection, hello: ClientHello): void
  onStanza(connection: Connection, stanza: Stanza): void
  onClosed(connection: Connection): void
  onBadFrame(connection: Connection, error: unknown): void
}

/** A client that has not said who it is within this long is cut off. */
const HANDSHAKE_WITHIN_MS = 30_000
const MAX_REQUESTS = 100
/** A client that reads nothing must not fill our memory. */
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024

/**
 * One client connection. Frames are taken one after the other; a handler never waits for the client inside that
 * loop (it would wait for a frame behind it), so answers to our own requests come through `request`.
 */
export class Connection {
  readonly #socket: WebSocket
  readonly #noise: NoiseResponder
  readonly #handler: ConnectionHandler
  readonly #clock: Clock
  // bounded by: MAX_REQUESTS
  readonly #requests = new Map<
    string,
    { readonly resolve: (answer: Stanza) => void; readonly reject: (error: unknown) => void }
  >()
  readonly sentIds: SentIds = new SentIds()
  #work: Promise<void> = Promise.resolve()
  #nextId = 1
  #closed = false
  #silent = false
  #device: Device | undefined
  /** Stanzas seen before the device is known are recorded by the server; afterwards by the device's transcript. */
  readonly #handshakeTimer: { cancel(): void }

  constructor(o: {
    readonly socket: WebSocket
    readonly identity: ServerIdentity
    readonly handler: ConnectionHandler
    readonly clock: Clock
  }) {
    this.#socket = o.socket
    this.#noise = new NoiseResponder(o.identity)
    this.#handler = o.handler
    this.#clock = o.clock
    this.#handshakeTimer = o.clock.setTimer(HANDSHAKE_WITHIN_MS, () => {
      if (this.#noise.state !== 'transport') this.terminate()
    })
    this.#socket.on('message', (bytes: Buffer) => {
      this.#work = this.#work.then(() => this.#take(bytes))
    })
    this.#socket.on('error', () => this.#end())
    this.#socket.on('close', () => this.#end())
  }

  get device(): Device | undefined {
    return this.#device
  }

  set device(device: Device) {
    this.#device = device
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Neither closed nor made silent. */
  get answers(): boolean {
    return !this.#closed && !this.#silent
  }

  send(stanza: Stanza): void {
    if (!this.answers || this.#noise.state !== 'transport') return
    if (this.#socket.bufferedAmount > MAX_BUFFERED_BYTES) {
      this.terminate()
      return
    }
    this.#device?.transcript.record('out', stanza, this.#clock.now())
    this.#socket.send(this.#noise.seal(encodeStanza(stanza)))
  }

  /** Asks the client; resolves with its answer. @throws SIMULATOR_PAIRING_BROKEN_OFF when it leaves first, SIMULATOR_NOT_WITHIN */
  request(content: Stanza, withinMs: number): Promise<Stanza> {
    if (this.#requests.size >= MAX_REQUESTS) throw new EclusaError(simulatorErrors.TOO_MANY)
    const id = `sim-${this.#nextId++}`
    return new Promise((resolve, reject) => {
      const timer = this.#clock.setTimer(withinMs, () => {
        this.#requests.delete(id)
        reject(new EclusaError(simulatorErrors.NOT_WITHIN))
      })
      this.#requests.set(id, {
        resolve: (answer) => {
          timer.cancel()
          resolve(answer)
        },
        reject: (error) => {
          timer.cancel()
          reject(error)
        },
      })
      this.send(el('iq', { from: SERVER, to: this.#device?.jid, type: 'set', id, xmlns: 'md' }, [content]))
    })
  }

  /** The TCP connection breaks. */
  terminate(): void {
    this.#socket.terminate()
    this.#end()
  }

  /** The WebSocket is closed in order; what was sent before still arrives. */
  close(): void {
    this.#socket.close(1000)
    this.#end()
  }

  /** Says a last word, then closes in order. */
  closeWith(stanza: Stanza): void {
    this.send(stanza)
    this.close()
  }

  /** From now on it neither reads nor answers, and keeps the TCP connection open. */
  goSilent(): void {
    this.#silent = true
  }

  async #take(bytes: Buffer): Promise<void> {
    if (!this.answers) return
    try {
      for (const frame of this.#noise.split(bytes)) await this.#takeFrame(frame)
    } catch (error) {
      if (this.#closed) return
      this.#handler.onBadFrame(this, error)
      this.terminate()
    }
  }

  async #takeFrame(frame: Buffer): Promise<void> {
    if (!this.answers) return
    switch (this.#noise.state) {
      case 'intro':
      case 'hello':
        this.#socket.send(this.#noise.hello(frame))
        return
      case 'finish':
        this.#handshakeTimer.cancel()
        this.#handler.onHello(this, this.#noise.finish(frame))
        return
      case 'transport': {
        const stanza = await decodeStanza(this.#noise.open(frame))
        this.#device?.transcript.record('in', stanza, this.#clock.now())
        if (stanza.tag === 'iq' && (stanza.attrs['type'] === 'result' || stanza.attrs['type'] === 'error')) {
          const id = stanza.attrs['id'] ?? ''
          const request = this.#requests.get(id)
          this.#requests.delete(id)
          request?.resolve(stanza)
          return
        }
        this.#handler.onStanza(this, stanza)
        return
      }
    }
  }

  #end(): void {
    if (this.#closed) return
    this.#closed = true
    this.#handshakeTimer.cancel()
    for (const request of this.#requests.values()) {
      request.reject(new EclusaError(simulatorErrors.PAIRING_BROKEN_OFF))
    }
    this.#requests.clear()
    this.#handler.onClosed(this)
  }
}
