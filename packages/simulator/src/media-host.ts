import { randomBytes } from 'node:crypto'
import * as http from 'node:http'
import * as https from 'node:https'
import type { AddressInfo } from 'node:net'
import { systemClock } from '@eclusa/kernel'
import { makeCertificate, type ThrowAwayCertificate } from './certificate.ts'
import type { Faults } from './faults.ts'
import type { Tasks } from './tasks.ts'

const MAX_FILE_BYTES = 64 * 1024 * 1024
const MAX_STORED_BYTES = 256 * 1024 * 1024

/**
 * Stores and serves what clients upload: opaque ciphertext under `/mms/<type>/<hash>`. HTTPS with a throw-away
 * certificate, since Baileys always speaks HTTPS to media hosts; started at the first use.
 */
export class MediaHost {
  readonly #faults: Faults
  readonly #tasks: Tasks
  #certificate: ThrowAwayCertificate | undefined
  #starting: Promise<string> | undefined
  #server: https.Server | undefined
  // bounded by: MAX_STORED_BYTES, oldest out
  readonly #files = new Map<string, Buffer>()
  #storedBytes = 0
  readonly auth: string = randomBytes(16).toString('hex')

  constructor(o: { readonly faults: Faults; readonly tasks: Tasks }) {
    this.#faults = o.faults
    this.#tasks = o.tasks
  }

  /** What a client must trust to reach it: PEM. */
  get certificate(): string {
    return this.#made().certificate
  }

  /** `127.0.0.1:PORT`. */
  host(): Promise<string> {
    this.#starting ??= this.#start()
    return this.#starting
  }

  /** Puts a file there as a phone would; returns its path. */
  put(type: string, name: string, bytes: Buffer): string {
    const path = `/v/${type}/${name}`
    this.#keep(path, bytes)
    return path
  }

  get(path: string): Buffer | undefined {
    return this.#files.get(path)
  }

  async stop(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    this.#files.clear()
    if (server === undefined) return
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }

  async #start(): Promise<string> {
    const { certificate, key } = this.#made()
    const server = https.createServer({ cert: certificate, key }, (request, response) =>
      this.#answer(request, response),
    )
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  #made(): ThrowAwayCertificate {
    this.#certificate ??= makeCertificate(systemClock.now())
    return this.#certificate
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const upload = request.method === 'POST'
    const fault = this.#faults.take('media', { direction: upload ? 'in' : 'out' })
    switch (fault?.do) {
      case 'error':
        request.resume()
        response.writeHead(fault.code ?? 500).end()
        return
      case 'lose':
      case 'ignore':
        request.resume()
        return
      case 'drop':
      case 'dropConnection':
        request.socket.destroy()
        return
      case 'delay':
        this.#tasks.later(fault.ms ?? 0, () => this.#serve(request, response, upload))
        return
      case 'duplicate':
      case undefined:
        this.#serve(request, response, upload)
    }
  }

  #serve(request: http.IncomingMessage, response: http.ServerResponse, upload: boolean): void {
    const url = new URL(request.url ?? '/', 'https://media')
    if (upload) {
      this.#receive(request, response, url)
      return
    }
    const file = this.#files.get(url.pathname)
    if (file === undefined) response.writeHead(404).end()
    else
      response
        .writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': file.length })
        .end(file)
  }

  #receive(request: http.IncomingMessage, response: http.ServerResponse, url: URL): void {
    const match = /^\/mms\/([\w-]+)\/([\w%=-]+)$/.exec(url.pathname)
    if (match === null || url.searchParams.get('auth') !== this.auth) {
      request.resume()
      response.writeHead(match === null ? 404 : 401).end()
      return
    }
    // bounded by: MAX_FILE_BYTES
    const parts: Buffer[] = []
    let size = 0
    request.on('data', (part: Buffer) => {
      size += part.length
      if (size > MAX_FILE_BYTES) request.destroy()
      else parts.push(part)
    })
    request.on('end', () => {
      const path = this.put(match[1] ?? '', decodeURIComponent(match[2] ?? ''), Buffer.concat(parts))
      void this.host().then((host) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ url: `https://${host}${path}`, direct_path: path }))
      })
    })
  }

  #keep(path: string, bytes: Buffer): void {
    this.#storedBytes += bytes.length - (this.#files.get(path)?.length ?? 0)
    this.#files.delete(path)
    this.#files.set(path, bytes)
    for (const [oldest, file] of this.#files) {
      if (this.#storedBytes <= MAX_STORED_BYTES) return
      this.#files.delete(oldest)
      this.#storedBytes -= file.length
    }
  }
}
