import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { seededRandom, until } from '@eclusa/kernel/test-kit'
import type { Probe } from '../../bench/memory-probe.ts'
import { GatewayProcess, type Scope } from '../harness.ts'

/*
 * Webhooks of the whole gateway, killed at random while events keep coming: what receivers got is judged outside of the
 * process. A receiver that takes what it is sent must have every event, under one id, and those of a chat in their order;
 * one that does not must not be felt by the others.
 */

/**
 * | kind    | answers                                           | must get all |
 * |---------|---------------------------------------------------|--------------|
 * | good    | 200                                               | yes, in time |
 * | flaky   | 500 to a fifth, else 200                          | yes          |
 * | huge    | 200 and 100 MB                                    | yes          |
 * | drip    | 200 and a body that never ends                    | yes          |
 * | slow    | 200 after `slowMs`                                | –            |
 * | refused | nothing listens there                             | –            |
 * | silent  | never                                             | –            |
 * | loris   | a head that never ends                            | –            |
 * | reset   | cuts the connection                               | –            |
 * | error, moved, gone | 500, 301 to a good one, 410            | –            |
 */
export type Kind =
  | 'good'
  | 'flaky'
  | 'huge'
  | 'drip'
  | 'slow'
  | 'refused'
  | 'silent'
  | 'loris'
  | 'reset'
  | 'error'
  | 'moved'
  | 'gone'

export interface StormOptions {
  /** Endpoints of each kind, dealt out to the tenants in turn. */
  readonly kinds: Readonly<Partial<Record<Kind, number>>>
  readonly tenants: number
  readonly chatsOfTenant: number
  /** Messages a second and tenant. */
  readonly rate: number
  readonly slowMs: number
  /** Steady, before the first kill. */
  readonly calmMs: number
  /** Options for Node that let the calm ask the process for its memory, such as those for `memory-probe.ts`; not with kills. */
  readonly probeArgs?: readonly string[]
  readonly kills: number
  /** From ready to the kill, at least and at most. */
  readonly liveMs: { readonly min: number; readonly max: number }
  readonly seed: number
  /** Empty: SQLite. */
  readonly databaseUrl?: string
}

export interface StormResult {
  readonly endpoints: number
  readonly events: number
  readonly kills: number
  /** Requests that receivers got. */
  readonly requests: number
  /** Of good ones: events that came again, under the id they had. */
  readonly repeats: number
  /** From the event to a good receiver, without kills. */
  readonly calmP95Ms: number | null
  readonly calmP99Ms: number | null
  /** With kills, the time until the gateway is up again among it. */
  readonly stormP95Ms: number
  /** Looks during the calm, after a collection of garbage. */
  readonly memory: readonly { readonly seconds: number; readonly rssMb: number; readonly liveMb: number }[]
}

interface Endpoint {
  readonly kind: Kind
  readonly tenant: string
  readonly path: string
  /** Of events that it took: the ids they came under. bounded by: events of the storm */
  readonly taken: Map<number, string>
  /** Of each chat, in the order in which they were first taken. bounded by: events of the storm */
  readonly byChat: Map<string, number[]>
  readonly ages: { readonly at: number; readonly ms: number }[]
  repeats: number
  webhook: string
}

const TAKES_ALL: readonly Kind[] = ['good', 'flaky', 'huge', 'drip']
const PIECE = Buffer.alloc(65_536, 'x')
const HUGE_BYTES = 100_000_000
const LOOK_EVERY_MS = 5000

/** @throws AssertionError when any of it does not hold */
export async function webhookStorm(t: Scope, options: StormOptions): Promise<StormResult> {
  const { chatsOfTenant, kills, liveMs, rate, tenants } = options
  const random = seededRandom(options.seed)
  const receivers = await Receivers.open(t, options)
  const gateway = await GatewayProcess.prepare(t, {
    whatsapp: 'ws://127.0.0.1:9/ws/chat',
    ...(options.probeArgs === undefined ? {} : { nodeArgs: options.probeArgs }),
    env: {
      ECLUSA_OUTGOING_ALLOW: `127.0.0.1:${receivers.port},127.0.0.1:${receivers.closedPort}`,
      ECLUSA_WEBHOOKS_RETRY_DIVISOR: '1000',
      ECLUSA_LOG_LEVEL: 'error',
      ...(options.databaseUrl === undefined ? {} : { ECLUSA_DATABASE_URL: options.databaseUrl }),
    },
  })
  await gateway.start()
  for (const endpoint of receivers.all) {
    const { tenant } = endpoint
    const { id } = await gateway.call<{ id: string }>('POST', `/v1/tenants/${tenant}/webhooks`, {
      url: receivers.urlOf(endpoint),
      types: ['outbound.accepted'],
    })
    endpoint.webhook = id
  }
  const instances: { readonly tenant: string; readonly id: string }[] = []
  for (let index = 0; index < tenants; index++) {
    const tenant = tenantOf(index)
    const { id } = await gateway.call<{ id: string }>('POST', `/v1/tenants/${tenant}/instances`, {
      name: 'Shop',
    })
    instances.push({ tenant, id })
  }

  // Messages to numbers that are not linked wait; what is told is that they were accepted.
  const accepted = new Map<string, Set<string>>(instances.map(({ tenant }) => [tenant, new Set()]))
  const over = new AbortController()
  const write = async (tenant: string, instance: string): Promise<void> => {
    for (let count = 0; !over.signal.aborted; count++) {
      const chat = `+55119${String(10_000_000 + (count % chatsOfTenant))}`
      const body = { to: chat, text: `number ${count}` }
      // Sent again until it is known to be accepted, as a client would.
      const headers = { 'idempotency-key': `storm-${instance}-${count}` }
      const answer = await gateway
        .call<{ id: string }>('POST', `/v1/instances/${instance}/messages`, body, headers)
        .catch(() => null)
      if (answer === null) count--
      else accepted.get(tenant)?.add(answer.id)
      await pause(1000 / rate)
    }
  }
  const writers = instances.map(({ tenant, id }) => write(tenant, id))

  const memory: StormResult['memory'][number][] = []
  const calmFrom = Date.now()
  while (Date.now() - calmFrom < options.calmMs) {
    await pause(Math.min(LOOK_EVERY_MS, options.calmMs))
    if (options.probeArgs === undefined) continue
    const { rss, heapUsed, external } = await gateway.ask<Probe>('memory')
    const seconds = Math.round((Date.now() - calmFrom) / 1000)
    memory.push({ seconds, rssMb: megabytes(rss), liveMb: megabytes(heapUsed + external) })
  }
  const calmUntil = Date.now()
  for (let kill = 0; kill < kills; kill++) {
    await pause(liveMs.min + random() * (liveMs.max - liveMs.min))
    await gateway.kill()
    await gateway.start()
  }
  over.abort()
  await Promise.all(writers)

  const mustHave = receivers.all.filter(({ kind }) => TAKES_ALL.includes(kind))
  const missing = (): string[] =>
    mustHave.flatMap(({ path, tenant, taken, kind }) =>
      taken.size < (accepted.get(tenant)?.size ?? 0)
        ? [`${kind} ${path} has ${taken.size} of ${accepted.get(tenant)?.size}`]
        : [],
    )
  await until(() => missing().length === 0, 'every receiver that takes them has all events', 180_000).catch(
    (error: unknown) => {
      throw new Error(`${String(error)}\n${missing().join('\n')}`)
    },
  )
  receivers.judge()
  for (const { webhook, tenant, kind } of mustHave) {
    const { enabled, health } = await gateway.call<{ enabled: boolean; health: { dead: number } }>(
      'GET',
      `/v1/webhooks/${webhook}`,
    )
    assert.deepEqual([enabled, health.dead], [true, 0], `${kind} of ${tenant}`)
  }
  for (const { webhook } of receivers.all.filter(({ kind }) => kind === 'gone')) {
    const { disabledReason } = await gateway.call<{ disabledReason: string }>(
      'GET',
      `/v1/webhooks/${webhook}`,
    )
    assert.equal(disabledReason, 'gone')
  }

  const good = receivers.all.filter(({ kind }) => kind === 'good')
  const ages = good.flatMap((endpoint) => endpoint.ages)
  const calm = ages.filter(({ at }) => at < calmUntil).map(({ ms }) => ms)
  return {
    endpoints: receivers.all.length,
    events: [...accepted.values()].reduce((sum, { size }) => sum + size, 0),
    kills,
    requests: receivers.requests,
    repeats: good.reduce((sum, { repeats }) => sum + repeats, 0),
    calmP95Ms: calm.length === 0 ? null : quantile(calm, 0.95),
    calmP99Ms: calm.length === 0 ? null : quantile(calm, 0.99),
    stormP95Ms: quantile(
      ages.map(({ ms }) => ms),
      0.95,
    ),
    memory,
  }
}

/** All endpoints, behind one server. */
class Receivers {
  readonly all: readonly Endpoint[]
  readonly port: number
  readonly closedPort: number
  requests = 0
  readonly #slowMs: number
  readonly #random: () => number

  private constructor(
    all: readonly Endpoint[],
    ports: { readonly open: number; readonly closed: number },
    options: StormOptions,
  ) {
    this.all = all
    this.port = ports.open
    this.closedPort = ports.closed
    this.#slowMs = options.slowMs
    this.#random = seededRandom(options.seed + 1)
  }

  static async open(t: Scope, options: StormOptions): Promise<Receivers> {
    const kinds = Object.entries(options.kinds).flatMap(([kind, count]) =>
      Array.from({ length: count }, () => kind as Kind),
    )
    const all = kinds.map((kind, index): Endpoint => ({
      kind,
      tenant: tenantOf(index % options.tenants),
      path: `/${index}`,
      taken: new Map(),
      byChat: new Map(),
      ages: [],
      repeats: 0,
      webhook: '',
    }))
    let receivers: Receivers | null = null
    const server = createServer({ requestTimeout: 0 }, (request, response) => {
      void receivers?.take(request, response).catch(() => response.destroy())
    })
    const open = await portOf(server)
    const closing = createServer()
    const closed = await portOf(closing)
    closing.close()
    t.after(async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    })
    receivers = new Receivers(all, { open, closed }, options)
    return receivers
  }

  urlOf({ kind, path }: Endpoint): string {
    return `http://127.0.0.1:${kind === 'refused' ? this.closedPort : this.port}${path}`
  }

  async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = ''
    for await (const part of request) text += String(part)
    this.requests++
    const endpoint = this.all[Number(request.url?.slice(1))]
    if (endpoint === undefined) throw new Error('nobody')
    response.on('error', () => undefined)
    switch (endpoint.kind) {
      case 'good':
        this.#taken(endpoint, request, text)
        response.writeHead(200).end()
        return
      case 'flaky':
        if (this.#random() < 0.2) {
          response.writeHead(500).end()
          return
        }
        this.#taken(endpoint, request, text)
        response.writeHead(204).end()
        return
      case 'huge': {
        this.#taken(endpoint, request, text)
        response.writeHead(200, { 'content-length': String(HUGE_BYTES) })
        const more = (): void => {
          while (!response.destroyed && response.write(PIECE));
        }
        response.on('drain', more)
        more()
        return
      }
      case 'drip':
        this.#taken(endpoint, request, text)
        response.writeHead(200).write('x')
        return
      case 'slow': {
        const timer = setTimeout(() => {
          this.#taken(endpoint, request, text)
          response.writeHead(200).end()
        }, this.#slowMs)
        response.on('close', () => clearTimeout(timer))
        return
      }
      case 'loris':
        response.socket?.write('HTTP/1.1 200 OK\r\nx-slow: ')
        return
      case 'reset':
        response.socket?.resetAndDestroy()
        return
      case 'error':
        response.writeHead(500).end()
        return
      case 'moved':
        response
          .writeHead(301, { location: this.urlOf(this.all.find(({ kind }) => kind === 'good') ?? endpoint) })
          .end()
        return
      case 'gone':
        response.writeHead(410).end()
        return
      case 'silent':
      case 'refused':
        return
      default:
        endpoint.kind satisfies never
    }
  }

  #taken(endpoint: Endpoint, { headers }: IncomingMessage, text: string): void {
    const { id, at, tenant, payload } = JSON.parse(text) as {
      readonly id: number
      readonly at: string
      readonly tenant: string
      readonly payload: { readonly chat: string }
    }
    assert.equal(tenant, endpoint.tenant, 'an event of another tenant')
    const messageId = String(headers['webhook-id'])
    const known = endpoint.taken.get(id)
    if (known !== undefined) {
      assert.equal(messageId, known, `event ${id} came under two ids`)
      endpoint.repeats++
      return
    }
    endpoint.taken.set(id, messageId)
    const chat = endpoint.byChat.get(payload.chat) ?? []
    endpoint.byChat.set(payload.chat, chat)
    chat.push(id)
    endpoint.ages.push({ at: Date.now(), ms: Date.now() - Date.parse(at) })
  }

  /** What every receiver must find, whatever it got. */
  judge(): void {
    const ids = new Set<string>()
    for (const { kind, path, taken, byChat } of this.all) {
      for (const [chat, order] of byChat) {
        assert.deepEqual(
          order,
          order.toSorted((a, b) => a - b),
          `the order of ${chat} at ${kind} ${path}`,
        )
      }
      for (const messageId of taken.values()) {
        assert.equal(ids.has(messageId), false, 'two events under one id')
        ids.add(messageId)
      }
    }
  }
}

function tenantOf(index: number): string {
  return `tenant${index}`
}

async function portOf(server: ReturnType<typeof createServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}
