import { type Clock, SECOND } from '@eclusa/kernel'

/** A sentence for the person at the terminal; not a fault of ours. */
export class CliError extends Error {
  override readonly name = 'CliError'
}

export interface InstanceAnswer {
  readonly id: string
  readonly tenant: string
  readonly name: string
  readonly simulated: boolean
  readonly state: string
  readonly number: string | null
  readonly reason: { readonly code: string; readonly message: string } | null
}

export interface MessageAnswer {
  readonly id: string
  readonly state: string
  readonly failure: { readonly code: string; readonly message: string } | null
}

const CALL_DEADLINE_MS = 30 * SECOND

/** The running gateway, over HTTP. Every method throws a CliError that says what to do. */
export class ApiClient {
  readonly url: string
  readonly #key: string | null
  readonly #clock: Clock

  constructor(options: { readonly url: string; readonly key: string | null; readonly clock: Clock }) {
    this.url = options.url.replace(/\/+$/, '')
    this.#key = options.key
    this.#clock = options.clock
  }

  async ready(): Promise<boolean> {
    return (await this.#fetch('GET', '/readyz')).ok
  }

  async listInstances(): Promise<readonly InstanceAnswer[]> {
    const { items } = (await this.#call('GET', '/v1/instances')) as { items: readonly InstanceAnswer[] }
    return items
  }

  async instance(id: string): Promise<InstanceAnswer> {
    return (await this.#call('GET', `/v1/instances/${encodeURIComponent(id)}`)) as InstanceAnswer
  }

  async createInstance(tenant: string, name: string): Promise<{ readonly id: string }> {
    return (await this.#call('POST', `/v1/tenants/${encodeURIComponent(tenant)}/instances`, { name })) as {
      id: string
    }
  }

  async startInstance(id: string): Promise<void> {
    await this.#call('POST', `/v1/instances/${encodeURIComponent(id)}/start`)
  }

  /** The text of the QR code; null when there is none just now. */
  async qr(id: string): Promise<string | null> {
    const response = await this.#fetch('GET', `/v1/instances/${encodeURIComponent(id)}/qr`)
    if (response.status === 404) return null
    return ((await this.#answerOf(response)) as { qr: string }).qr
  }

  async pairingCode(id: string, number: string): Promise<string> {
    const path = `/v1/instances/${encodeURIComponent(id)}/pairing-code`
    return ((await this.#call('POST', path, { number })) as { code: string }).code
  }

  async send(id: string, to: string, text: string, idempotencyKey?: string): Promise<MessageAnswer> {
    const path = `/v1/instances/${encodeURIComponent(id)}/messages`
    const headers = idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }
    return (await this.#answerOf(await this.#fetch('POST', path, { to, text }, headers))) as MessageAnswer
  }

  async message(id: string): Promise<MessageAnswer> {
    return (await this.#call('GET', `/v1/messages/${encodeURIComponent(id)}`)) as MessageAnswer
  }

  /** Any other call of the API: its answer as it came. */
  call(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<unknown> {
    return this.#call(method, path, body)
  }

  /** Sends a text that is not JSON. */
  async sendText(path: string, type: string, text: string): Promise<unknown> {
    return this.#answerOf(await this.#fetch('POST', path, text, { 'content-type': type }))
  }

  /** An answer of any length, as it comes. */
  async stream(path: string): Promise<AsyncIterable<Uint8Array>> {
    const response = await this.#fetch('GET', path)
    if (!response.ok || response.body === null) await this.#answerOf(response)
    return response.body as AsyncIterable<Uint8Array>
  }

  async #call(method: string, path: string, body?: object): Promise<unknown> {
    return this.#answerOf(await this.#fetch(method, path, body))
  }

  async #fetch(
    method: string,
    path: string,
    body?: object | string,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const abort = new AbortController()
    const timer = this.#clock.setTimer(CALL_DEADLINE_MS, () => abort.abort())
    try {
      return await fetch(`${this.url}${path}`, {
        method,
        headers: {
          accept: 'application/json',
          ...(this.#key === null ? {} : { authorization: `Bearer ${this.#key}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        signal: abort.signal,
      })
    } catch (cause) {
      throw new CliError(
        `No gateway answers at ${this.url}: start it with "npm start", or name its address with --url`,
        {
          cause,
        },
      )
    } finally {
      timer.cancel()
    }
  }

  async #answerOf(response: Response): Promise<unknown> {
    const text = await response.text()
    if (response.ok) return text === '' ? null : JSON.parse(text)
    if (response.status === 401) {
      throw new CliError(
        this.#key === null
          ? 'The gateway wants its API key: give it with --key or in ECLUSA_API_KEY. It was shown when the gateway first started'
          : 'The gateway does not know this API key. A lost key is replaced by starting the gateway with ECLUSA_API_KEY set to a new one',
      )
    }
    throw new CliError(sentenceOf(text) ?? `The gateway answered ${response.status}`)
  }
}

function sentenceOf(text: string): string | null {
  try {
    const { detail, code } = JSON.parse(text) as { detail?: unknown; code?: unknown }
    return typeof detail === 'string' ? `${detail} (${String(code)})` : null
  } catch {
    return null
  }
}
