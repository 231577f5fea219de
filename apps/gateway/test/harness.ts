import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import type { NumberPhone } from '@eclusa/simulator'
import { makeTestSchema } from '@eclusa/storage/test-kit'
import { type App, type AppOptions, startApp } from '../src/app.ts'
import { loadConfig } from '../src/config.ts'
import { keyScopes } from '../src/keys/scopes.ts'
import { Terminal } from '../src/terminal.ts'
import { assertEventsDocumented } from './documented-events.ts'
import { ApiJudge } from './api-judge.ts'

export const KEY = 'f3b1-0c9a-77aa-4d52-8f60-19c2-e5d4-a1b0'

/** Every answer in these tests is held against the description of the API. */
const judge = new ApiJudge()

export interface TestGateway {
  readonly app: App
  /** Where its database is, when that is PostgreSQL; else ''. */
  readonly databaseUrl: string
  /** The folder with the data and the key file, removed after the test. */
  readonly folder: string
  /** Stops it and starts it anew on the same data. */
  restart(): Promise<void>
  /** A call with the operator's key. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  /** A call with exactly these headers and this body. */
  raw(method: string, path: string, headers: Record<string, string>, body?: string): Promise<Answer>
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Record<string, unknown>
}

/** A whole gateway with the tenants acme and main, on a free port and a database of its own; it ends with the test. Nothing reaches a network. */
export async function startGateway(
  t: TestContext,
  env: Record<string, string> = {},
  options: Pick<AppOptions, 'readings' | 'machine'> = {},
): Promise<TestGateway> {
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-gateway-'))
  const schema = await makeTestSchema(t)
  const config = loadConfig({
    ECLUSA_DATA_DIR: join(folder, 'data'),
    ECLUSA_DATABASE_URL: schema.url,
    ECLUSA_HTTP_PORT: '0',
    ECLUSA_API_KEY: KEY,
    ECLUSA_DEMO: 'off',
    ECLUSA_PACING: 'off',
    ECLUSA_LOG_LEVEL: 'silent',
    // Nobody listens there: what is started keeps trying, and nothing leaves this machine.
    ECLUSA_WHATSAPP_URL: 'ws://127.0.0.1:9/ws/chat',
    ...env,
  })
  const terminal = new Terminal({ isTTY: false, write: () => {}, size: () => ({ columns: 80, rows: 24 }) })
  let app = await startApp({ config, terminal, ...options })
  t.after(async () => {
    try {
      await assertEventsDocumented(app.url, config.apiKey ?? KEY)
    } finally {
      await app.stop()
    }
    await schema.drop()
    rmSync(folder, { recursive: true, force: true })
  })
  const raw = async (
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: string,
  ): Promise<Answer> => {
    const response = await fetch(`${app.url}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    })
    const text = await response.text()
    const contentType = response.headers.get('content-type')
    assert.equal(judge.faultOf(method, path, { status: response.status, contentType, text }), null)
    const isJson = text !== '' && /[/+]json/.test(contentType ?? '')
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: (isJson ? JSON.parse(text) : {}) as Record<string, unknown>,
    }
  }
  const gateway: TestGateway = {
    get app() {
      return app
    },
    databaseUrl: schema.url,
    folder,
    async restart() {
      await app.stop()
      app = await startApp({ config, terminal, ...options })
    },
    raw,
    call: (method, path, body, headers = {}) =>
      raw(
        method,
        path,
        {
          authorization: `Bearer ${KEY}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        body === undefined ? undefined : JSON.stringify(body),
      ),
  }
  for (const id of ['acme', 'main']) await gateway.call('POST', '/v1/tenants', { id })
  return gateway
}

/** A key of a tenant that may do everything there. */
export async function tenantKey(gateway: TestGateway, tenant: string): Promise<string> {
  await gateway.call('POST', '/v1/tenants', { id: tenant })
  const { body } = await gateway.call('POST', `/v1/tenants/${tenant}/keys`, {
    name: 'test',
    scopes: keyScopes,
  })
  return String(body['key'])
}

/** A new instance that was never started: its messages wait. */
export async function newInstance(gateway: TestGateway, tenant = 'acme'): Promise<string> {
  const { body } = await gateway.call('POST', `/v1/tenants/${tenant}/instances`, { name: 'Front desk' })
  return String(body['id'])
}

export async function stateOf(gateway: TestGateway, id: string): Promise<string> {
  return String((await gateway.call('GET', `/v1/instances/${id}`)).body['state'])
}

/** Starts the instance, lets the phone scan its code and waits until it is online. */
export async function pairByQr(gateway: TestGateway, phone: NumberPhone, id: string): Promise<void> {
  await gateway.call('POST', `/v1/instances/${id}/start`)
  await until(async () => (await stateOf(gateway, id)) === 'qr', 'a QR code')
  const { body } = await gateway.call('GET', `/v1/instances/${id}/qr`, undefined, {
    accept: 'application/json',
  })
  await phone.scanQr(String(body['qr']))
  await until(async () => (await stateOf(gateway, id)) === 'online', 'it is online')
}
