import { lookup } from 'node:dns/promises'
import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { LookupFunction } from 'node:net'
import { type Clock, EclusaError, type ErrorKind, KIB, Places, SECOND } from '@eclusa/kernel'
import { isSameAddress } from './address-rules.ts'
import type { AllowList } from './allow-list.ts'
import { httpErrors } from './errors.ts'
import { readTarget, refusalOfAnswers, type Target } from './target.ts'

export interface GuardedRequest {
  readonly url: string
  readonly method: 'GET' | 'POST'
  /** Names in lower case. Not those that say where the request goes or how long it is. */
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** Media types that are taken, such as `application/json`. Default: any. */
  readonly accept?: readonly string[]
  /**
   * Only the status counts, of a redirect too: of the body is read what comes within so many milliseconds, up to
   * `maxAnswerBytes`; the rest is cut off.
   */
  readonly statusWithin?: number
  /** Ends the call early. */
  readonly signal?: AbortSignal
}

export interface GuardedAnswer {
  readonly status: number
  /** Without its parameters, lower case; '' when the server gave none. */
  readonly mediaType: string
  readonly body: Uint8Array
}

export interface GuardedLimits {
  readonly connectMs: number
  /** From the start until the answer's headers are there. */
  readonly headersMs: number
  /** From the start until the answer's end. */
  readonly totalMs: number
  readonly maxRequestBytes: number
  readonly maxAnswerBytes: number
  /** At a time; others wait. */
  readonly maxCalls: number
  /** That wait for a turn; more are refused. */
  readonly maxWaiting: number
}

export const defaultGuardedLimits: GuardedLimits = {
  connectMs: 5 * SECOND,
  headersMs: 8 * SECOND,
  totalMs: 10 * SECOND,
  maxRequestBytes: 16 * KIB,
  maxAnswerBytes: 64 * KIB,
  maxCalls: 8,
  maxWaiting: 100,
}

const MAX_ANSWER_HEADER_BYTES = 16 * KIB
const MAX_ADDRESSES = 16
/** Written by the client itself, or about the connection. */
const OWN_HEADERS =
  /^(?:host|connection|content-length|transfer-encoding|te|trailer|upgrade|expect|keep-alive|accept-encoding|proxy-.*|sec-.*|:.*)$/i

export type Resolve = (host: string) => Promise<readonly { readonly address: string }[]>

/**
 * Calls servers that customers name, and none that they should not reach: the address is looked up once, judged, and
 * the connection goes to exactly that address, so a name that changes between look and call changes nothing. No
 * redirects, no compression, no cookies, no proxy of the environment, no connection kept.
 */
export class GuardedHttp {
  readonly #allow: AllowList
  readonly #clock: Clock
  readonly #limits: GuardedLimits
  readonly #resolve: Resolve
  readonly #places: Places

  constructor(options: {
    readonly allow: AllowList
    readonly clock: Clock
    readonly limits?: Partial<GuardedLimits>
    /** Default: the machine's own resolver, /etc/hosts included. */
    readonly resolve?: Resolve
  }) {
    this.#allow = options.allow
    this.#clock = options.clock
    this.#limits = { ...defaultGuardedLimits, ...options.limits }
    this.#resolve = options.resolve ?? ((host) => lookup(host, { all: true, verbatim: true }))
    this.#places = new Places(this.#limits.maxCalls)
  }

  /** Whether a URL is one to call, without looking its name up: for whoever stores it. @throws HTTP_ADDRESS_REFUSED */
  check(url: string): void {
    this.#target(url)
  }

  /**
   * The answer, whatever its status, redirects excepted.
   * @throws HTTP_REQUEST_REFUSED, HTTP_ADDRESS_REFUSED, HTTP_BUSY, HTTP_UNREACHABLE, HTTP_DEADLINE_PASSED,
   * HTTP_ANSWER_REFUSED, HTTP_ANSWER_TOO_LARGE; none of their messages holds the URL
   */
  async send(request: GuardedRequest): Promise<GuardedAnswer> {
    const target = this.#target(request.url)
    const headers = headersOf(request)
    const body = request.body === undefined ? null : Buffer.from(request.body)
    if (body !== null && body.length > this.#limits.maxRequestBytes) {
      throw failed('REQUEST_REFUSED', 'bodyTooLarge')
    }
    if (this.#places.waiting >= this.#limits.maxWaiting) throw failed('BUSY', 'tooManyWaiting')
    return this.#places.run(() => this.#call(target, { request, headers, body }))
  }

  async #call(
    target: Target,
    {
      request,
      headers,
      body,
    }: { request: GuardedRequest; headers: Record<string, string>; body: Buffer | null },
  ): Promise<GuardedAnswer> {
    const { connectMs, headersMs, totalMs } = this.#limits
    const abort = new AbortController()
    const onAbort = (): void => abort.abort(failed('UNREACHABLE', 'stopped'))
    request.signal?.addEventListener('abort', onAbort, { once: true })
    if (request.signal?.aborted === true) onAbort()
    const late = (reason: string) => (): void => abort.abort(failed('DEADLINE_PASSED', reason))
    const timers = {
      connect: this.#clock.setTimer(connectMs, late('connect')),
      headers: this.#clock.setTimer(headersMs, late('headers')),
      total: this.#clock.setTimer(totalMs, late('total')),
    }
    try {
      const addresses = await this.#addressesOf(target, abort.signal)
      const answer = await open({
        target,
        addresses,
        method: request.method,
        headers,
        body,
        signal: abort.signal,
        onConnect: () => timers.connect.cancel(),
      })
      timers.headers.cancel()
      if (request.statusWithin !== undefined) return await this.#readStatus(answer, request.statusWithin)
      return await this.#read(answer, request.accept ?? null, abort.signal)
    } catch (error) {
      if (abort.signal.aborted) throw abort.signal.reason
      throw error
    } finally {
      for (const timer of Object.values(timers)) timer.cancel()
      request.signal?.removeEventListener('abort', onAbort)
      // Whatever is left of the connection.
      abort.abort()
    }
  }

  #target(url: string): Target {
    const target = readTarget(url, this.#allow)
    if ('refused' in target) throw failed('ADDRESS_REFUSED', target.refused)
    return target
  }

  async #addressesOf(target: Target, signal: AbortSignal): Promise<readonly string[]> {
    if (target.isAddress) return [target.host]
    const { promise: aborted, reject } = Promise.withResolvers<never>()
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      signal.throwIfAborted()
      const answers = await Promise.race([
        this.#resolve(target.host).catch((cause: unknown) => {
          throw failed('UNREACHABLE', 'nameUnknown', cause)
        }),
        aborted,
      ])
      const addresses = answers.slice(0, MAX_ADDRESSES).map(({ address }) => address)
      if (addresses.length === 0) throw failed('UNREACHABLE', 'nameUnknown')
      const refusal = refusalOfAnswers(target, addresses, this.#allow)
      if (refusal !== null) throw failed('ADDRESS_REFUSED', refusal)
      return addresses
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  async #readStatus(answer: IncomingMessage, withinMs: number): Promise<GuardedAnswer> {
    const timer = this.#clock.setTimer(withinMs, () => answer.destroy())
    const parts: Buffer[] = []
    let bytes = 0
    try {
      for await (const part of answer as AsyncIterable<Buffer>) {
        parts.push(part.subarray(0, this.#limits.maxAnswerBytes - bytes))
        bytes += part.length
        if (bytes >= this.#limits.maxAnswerBytes) break
      }
    } catch {
      // However the body ends: the status has come.
    } finally {
      timer.cancel()
      answer.destroy()
    }
    return { status: answer.statusCode ?? 0, mediaType: mediaTypeOf(answer), body: Buffer.concat(parts) }
  }

  async #read(
    answer: IncomingMessage,
    accept: readonly string[] | null,
    signal: AbortSignal,
  ): Promise<GuardedAnswer> {
    try {
      const status = answer.statusCode ?? 0
      if (status >= 300 && status < 400) throw failed('ANSWER_REFUSED', 'redirect')
      const encoding = answer.headers['content-encoding'] ?? 'identity'
      // A small packed answer can be a huge one.
      if (encoding !== 'identity') throw failed('ANSWER_REFUSED', 'encoded')
      const mediaType = mediaTypeOf(answer)
      const isTaken = accept === null || status >= 400 || status === 204 || accept.includes(mediaType)
      if (!isTaken) throw failed('ANSWER_REFUSED', 'mediaType')
      const { maxAnswerBytes } = this.#limits
      if (Number(answer.headers['content-length'] ?? 0) > maxAnswerBytes) {
        throw failed('ANSWER_TOO_LARGE', 'announced')
      }
      const parts: Buffer[] = []
      let bytes = 0
      for await (const part of answer as AsyncIterable<Buffer>) {
        bytes += part.length
        if (bytes > maxAnswerBytes) throw failed('ANSWER_TOO_LARGE', 'read')
        parts.push(part)
      }
      return { status, mediaType, body: Buffer.concat(parts) }
    } catch (error) {
      if (error instanceof EclusaError) throw error
      if (signal.aborted) throw signal.reason
      throw failed('UNREACHABLE', 'broken', error)
    } finally {
      answer.destroy()
    }
  }
}

function mediaTypeOf(answer: IncomingMessage): string {
  return (answer.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
}

/** Sends the request to one of `addresses`; resolves with the answer's beginning. */
function open(call: {
  readonly target: Target
  readonly addresses: readonly string[]
  readonly method: string
  readonly headers: Record<string, string>
  readonly body: Buffer | null
  readonly signal: AbortSignal
  readonly onConnect: () => void
}): Promise<IncomingMessage> {
  const { target, addresses, signal } = call
  const isSecure = target.url.protocol === 'https:'
  const options = {
    method: call.method,
    headers: {
      ...call.headers,
      ...(call.body === null ? {} : { 'content-length': String(call.body.length) }),
    },
    lookup: pinnedTo(addresses),
    maxHeaderSize: MAX_ANSWER_HEADER_BYTES,
    signal,
  }
  // An agent of its own: the global one may hold a proxy of the environment, and connections of others.
  const request = isSecure
    ? httpsRequest(target.url, { ...options, agent: new HttpsAgent({ keepAlive: false }) })
    : httpRequest(target.url, { ...options, agent: new HttpAgent({ keepAlive: false }) })
  return new Promise((resolve, reject) => {
    request.on('socket', (socket) => {
      socket.once(isSecure ? 'secureConnect' : 'connect', () => {
        // What is connected is what was judged; else somebody changed how Node connects.
        const peer = socket.remoteAddress
        const isJudged = peer === undefined || addresses.some((address) => isSameAddress(address, peer))
        if (isJudged) call.onConnect()
        else request.destroy(failed('ADDRESS_REFUSED', 'otherPeer'))
      })
    })
    request.once('response', resolve)
    // Later errors, after the answer has begun, are the answer's.
    request.on('error', (cause) =>
      reject(cause instanceof EclusaError ? cause : failed('UNREACHABLE', 'connection', cause)),
    )
    request.end(call.body ?? undefined)
  })
}

/** Answers with the addresses that were judged, and asks nobody. */
function pinnedTo(addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
  return (_host, options, done) => {
    const [first] = all
    if (options.all === true) done(null, all)
    else done(null, first?.address ?? '', first?.family ?? 4)
  }
}

function headersOf({ headers = {}, accept }: GuardedRequest): Record<string, string> {
  for (const [name, value] of Object.entries(headers)) {
    if (OWN_HEADERS.test(name)) throw failed('REQUEST_REFUSED', 'ownHeader')
    if (!/^[a-z0-9-]{1,64}$/i.test(name) || !/^[\t\x20-\x7e]{0,4096}$/.test(value)) {
      throw failed('REQUEST_REFUSED', 'badHeader')
    }
  }
  return {
    'user-agent': 'Eclusa',
    ...(accept === undefined ? {} : { accept: accept.join(', ') }),
    ...headers,
    'accept-encoding': 'identity',
    connection: 'close',
  }
}

function failed(name: keyof typeof httpErrors, reason: string, cause?: unknown): EclusaError {
  const kind: ErrorKind = httpErrors[name]
  return new EclusaError(kind, {
    message: `${kind.message} (${reason})`,
    details: { reason },
    ...(cause === undefined ? {} : { cause }),
  })
}
