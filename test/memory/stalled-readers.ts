import { connect, type Socket } from 'node:net'
import { API_KEY } from '../harness.ts'

/** A stalled client that was cut off does not see it; it comes again after this, as a client with a watchdog does. */
const AGAIN_AFTER_MS = 60_000

/** Clients of the event stream that ask for every event there is and read none of them. */
export class StalledReaders {
  // bounded by: count
  readonly #sockets = new Set<Socket>()
  readonly #timer: NodeJS.Timeout
  readonly #url: URL
  readonly #count: number

  constructor(gatewayUrl: string, count: number) {
    this.#url = new URL(gatewayUrl)
    this.#count = count
    this.#open()
    this.#timer = setInterval(() => this.#open(), AGAIN_AFTER_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#close()
  }

  #open(): void {
    this.#close()
    for (let index = 0; index < this.#count; index++) {
      const socket = connect(Number(this.#url.port), this.#url.hostname)
      socket.pause()
      socket.on('error', () => {})
      socket.write(
        `GET /v1/events?after=0 HTTP/1.1\r\nHost: ${this.#url.host}\r\nAccept: text/event-stream\r\nAuthorization: Bearer ${API_KEY}\r\n\r\n`,
      )
      this.#sockets.add(socket)
    }
  }

  #close(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#sockets.clear()
  }
}
