import * as http from 'node:http'
import type { AddressInfo } from 'node:net'
import { EclusaError } from '@eclusa/kernel'
import type { FaultMatch, FaultOptions } from './faults.ts'
import type { HistoryOptions } from './history.ts'
import { normaliseNumber } from './jid.ts'
import type { Phone, ReceivedMessage } from './phone.ts'
import { simulatorErrors } from './simulator-errors.ts'
import type { ContactOptions, Simulator } from './simulator.ts'

const MAX_BODY_BYTES = 1024 * 1024

/** Checked by what makes the history. */
const HISTORY_FIELDS: readonly (keyof HistoryOptions)[] = [
  'chats',
  'messagesPerChat',
  'textBytes',
  'thumbnailBytes',
  'chunks',
  'delivery',
  'hostile',
  'bombBytes',
]

type Body = Readonly<Record<string, unknown>>

interface Call {
  readonly sim: Simulator
  /** The variable part of the path, decoded. */
  readonly name: string
  readonly query: URLSearchParams
  readonly body: Body
}

interface Reply {
  readonly status: number
  readonly content: unknown
}

type Route = (call: Call) => Reply | Promise<Reply>

const ok = (content: unknown): Reply => ({ status: 200, content })
const created = (content: unknown): Reply => ({ status: 201, content })

/** `METHOD /first/{}/last`: `{}` stands for one segment. */
const routes: Readonly<Record<string, Route>> = {
  'POST /numbers': ({ sim, body }) => {
    allow(body, ['number', 'name', 'biz'])
    const phone = sim.addNumber(text(body, 'number'), {
      ...optionalText(body, 'name'),
      ...optionalText(body, 'biz'),
    })
    return created({ number: phone.number, jid: phone.jid, lid: phone.lid })
  },
  'GET /numbers': ({ sim }) => ok({ numbers: sim.stats.numbers }),
  'POST /numbers/{}/scan': async ({ sim, name, body }) => {
    allow(body, ['qr'])
    const device = await sim.number(name).scanQr(text(body, 'qr'))
    return ok({ device: device.jid })
  },
  'POST /numbers/{}/pairing-code': async ({ sim, name, body }) => {
    allow(body, ['code'])
    const device = await sim.number(name).enterPairingCode(text(body, 'code'))
    return ok({ device: device.jid })
  },
  'POST /numbers/{}/history': async ({ sim, name, body }) => {
    allow(body, HISTORY_FIELDS)
    return created(await sim.number(name).sendHistory(body))
  },
  'POST /contacts': ({ sim, body }) => {
    allow(body, ['number', 'name', 'autoReceipt', 'autoRead', 'replies', 'replyDelayMs'])
    const number = normaliseNumber(body['number'])
    const options: ContactOptions = {
      ...optionalText(body, 'name'),
      ...optionalFlag(body, 'autoReceipt'),
      ...optionalFlag(body, 'autoRead'),
      ...replies(body),
    }
    const contact = sim.addContact(number, options)
    return created({ number: contact.number, jid: contact.jid, lid: contact.lid })
  },
  'GET /contacts': ({ sim }) =>
    ok({
      contacts: sim
        .contacts()
        .map((contact) => ({ number: contact.number, name: contact.account.pushName, lid: contact.lid })),
    }),
  'POST /contacts/{}/send': ({ sim, name, body }) => {
    allow(body, ['to', 'text', 'id', 'addressing'])
    const addressing = body['addressing']
    if (addressing !== undefined && addressing !== 'pn' && addressing !== 'lid')
      throw bad('addressing', 'must be "pn" or "lid"')
    const sent = sim.contact(name).send(recipient(body), text(body, 'text'), {
      ...optionalText(body, 'id'),
      ...(addressing === undefined ? {} : { addressing }),
    })
    return created(sent)
  },
  'POST /contacts/{}/typing': ({ sim, name, body }) => {
    allow(body, ['to', 'state'])
    const state = body['state'] ?? 'composing'
    if (state !== 'composing' && state !== 'recording' && state !== 'paused') {
      throw bad('state', 'must be "composing", "recording" or "paused"')
    }
    sim.contact(name).typing(recipient(body), state)
    return ok({ state })
  },
  'POST /contacts/{}/read': ({ sim, name, body }) => {
    allow(body, ['ids'])
    const { ids } = body
    if (!Array.isArray(ids)) throw bad('ids', 'must be a list of WhatsApp ids')
    const contact = sim.contact(name)
    const messages = contact.inbox.filter((message) => ids.includes(message.waMessageId))
    contact.read(messages)
    return ok({ read: messages.length })
  },
  'GET /contacts/{}/inbox': ({ sim, name, query }) => {
    const after = Number(query.get('after') ?? 0)
    if (!Number.isInteger(after) || after < 0) throw bad('after', 'must be a whole number')
    const messages = sim.contact(name).inbox.filter((message) => message.order > after)
    return ok({ messages: messages.map(shown) })
  },
  'GET /contacts/{}/presence': ({ sim, name }) => ok({ presence: sim.contact(name).presence }),
  'GET /contacts/{}/receipts': ({ sim, name }) => ok({ receipts: sim.contact(name).receipts }),
  'POST /contacts/{}/reinstall': ({ sim, name, body }) => {
    allow(body, ['announce'])
    sim.contact(name).reinstall(optionalFlag(body, 'announce'))
    return ok({})
  },
  'POST /contacts/{}/online': ({ sim, name, body }) => {
    allow(body, ['online'])
    const online = flag(body, 'online')
    if (online) sim.contact(name).goOnline()
    else sim.contact(name).goOffline()
    return ok({ online })
  },
  'POST /groups': ({ sim, body }) => {
    allow(body, ['subject', 'members'])
    const { members } = body
    if (!Array.isArray(members) || members.length === 0) throw bad('members', 'must be a list of numbers')
    const phones = members.map((member) => anyPhone(sim, normaliseNumber(member, 'members')))
    return created({ jid: sim.createGroup(text(body, 'subject'), phones).jid })
  },
  'POST /faults': ({ sim, body }) => {
    allow(body, ['on', 'do', 'match', 'times', 'after', 'code', 'ms', 'process'])
    const { match } = body
    if (match !== undefined)
      allow(object(match, 'match'), ['number', 'contact', 'id', 'xmlns', 'type', 'child', 'direction'])
    if (body['process'] !== undefined) flag(body, 'process')
    const { id } = sim.fault({
      ...body,
      ...(match === undefined ? {} : { match: matchOf(object(match, 'match')) }),
    } as unknown as FaultOptions)
    return created({ id })
  },
  'DELETE /faults': ({ sim }) => {
    sim.clearFaults()
    return ok({})
  },
  'DELETE /faults/{}': ({ sim, name }) => {
    sim.clearFault(name)
    return ok({})
  },
  'POST /devices/{}/drop': ({ sim, name }) => {
    sim.device(name).drop()
    return ok({})
  },
  'POST /devices/{}/close': ({ sim, name }) => {
    sim.device(name).close()
    return ok({})
  },
  'POST /devices/{}/stream-error': ({ sim, name, body }) => {
    allow(body, ['code'])
    sim.device(name).streamError(body['code'] === undefined ? undefined : integer(body, 'code', 999))
    return ok({})
  },
  'POST /devices/{}/conflict': ({ sim, name }) => {
    sim.device(name).conflict()
    return ok({})
  },
  'POST /devices/{}/logout': ({ sim, name }) => {
    sim.device(name).logout401()
    return ok({})
  },
  'POST /devices/{}/ban': ({ sim, name, body }) => {
    allow(body, ['code', 'expire'])
    sim.device(name).ban({
      ...(body['code'] === undefined ? {} : { code: integer(body, 'code', 999) }),
      ...(body['expire'] === undefined ? {} : { expire: integer(body, 'expire', 31_536_000) }),
    })
    return ok({})
  },
  'POST /devices/{}/refuse-login': ({ sim, name, body }) => {
    allow(body, ['reason', 'times'])
    const reason = integer(body, 'reason', 999)
    sim.device(name).refuseLogin({
      reason,
      ...(body['times'] === undefined ? {} : { times: integer(body, 'times', 1_000_000) }),
    })
    return ok({})
  },
  'POST /devices/{}/allow-login': ({ sim, name }) => {
    sim.device(name).allowLogin()
    return ok({})
  },
  'POST /devices/{}/silent': ({ sim, name }) => {
    sim.device(name).goSilent()
    return ok({})
  },
  'GET /devices/{}/transcript': ({ sim, name }) => ok({ stanzas: sim.transcript(name) }),
  'GET /devices/{}/pending': ({ sim, name }) => ok({ pending: sim.pending(name) }),
  'GET /unknown': ({ sim }) => ok({ unknown: sim.unknown }),
  'GET /violations': ({ sim }) => ok({ violations: sim.violations }),
  'GET /pending': ({ sim }) => ok({ pending: sim.pending() }),
  'GET /check': async ({ sim, query }) => {
    const withinMs = Number(query.get('withinMs') ?? 5000)
    if (!Number.isInteger(withinMs) || withinMs < 0 || withinMs > 60_000)
      throw bad('withinMs', 'must be from 0 to 60,000')
    return ok(await sim.checkSettled(withinMs))
  },
  'GET /stats': ({ sim, query }) => {
    // The two lists hold up to 200,000 entries each; a poller can leave them out.
    if (query.get('lists') === 'no') return ok(sim.stats)
    return ok({ ...sim.stats, acknowledged: sim.acknowledged, accepted: sim.accepted })
  },
}

/** A small HTTP API on 127.0.0.1, for testers that run the simulator as its own process. */
export class ControlApi {
  readonly #sim: Simulator
  readonly #server: http.Server

  constructor(sim: Simulator) {
    this.#sim = sim
    this.#server = http.createServer((request, response) => {
      this.#answer(request).then(
        ({ status, content }) => send(response, status, 'application/json', content),
        (error: unknown) => send(response, statusOf(error), 'application/problem+json', problemOf(error)),
      )
    })
    // A request that never ends must not hold a socket for ever.
    this.#server.requestTimeout = 30_000
  }

  /** `http://127.0.0.1:PORT`. */
  async listen(port: number): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, '127.0.0.1', resolve)
    })
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve))
  }

  async #answer(request: http.IncomingMessage): Promise<Reply> {
    const url = new URL(request.url ?? '/', 'http://control')
    const found = findRoute(request.method ?? 'GET', url.pathname)
    const body = await readBody(request)
    if (found === undefined) throw new EclusaError(simulatorErrors.UNKNOWN_PATH)
    return await found.route({ sim: this.#sim, name: found.name, query: url.searchParams, body })
  }
}

function findRoute(
  method: string,
  path: string,
): { readonly route: Route; readonly name: string } | undefined {
  const segments = path.split('/').filter((segment) => segment !== '')
  const name = segments[1] === undefined ? '' : decoded(segments[1])
  const shape = segments.map((segment, index) => (index === 1 ? '{}' : segment)).join('/')
  const key = `${method} /${shape}`
  return Object.hasOwn(routes, key) ? { route: routes[key] as Route, name } : undefined
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw bad('path', 'is not correctly encoded')
  }
}

async function readBody(request: http.IncomingMessage): Promise<Body> {
  // bounded by: MAX_BODY_BYTES
  const parts: Buffer[] = []
  let size = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length
    if (size > MAX_BODY_BYTES) throw bad('body', 'is larger than 1 MiB')
    parts.push(part)
  }
  if (size === 0) return {}
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.concat(parts).toString())
  } catch {
    throw bad('body', 'is not JSON')
  }
  return object(parsed, 'body')
}

function object(value: unknown, field: string): Body {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad(field, 'must be an object')
  return value as Body
}

function allow(body: Body, fields: readonly string[]): void {
  for (const name of Object.keys(body))
    if (!fields.includes(name)) throw bad(name, `is not known here; known are ${fields.join(', ')}`)
}

function text(body: Body, field: string): string {
  const value = body[field]
  if (typeof value !== 'string' || value === '') throw bad(field, 'must be a text')
  return value
}

function optionalText<Field extends string>(body: Body, field: Field): { readonly [Name in Field]?: string } {
  return (body[field] === undefined ? {} : { [field]: text(body, field) }) as {
    readonly [Name in Field]?: string
  }
}

function flag(body: Body, field: string): boolean {
  const value = body[field]
  if (typeof value !== 'boolean') throw bad(field, 'must be true or false')
  return value
}

function optionalFlag<Field extends string>(
  body: Body,
  field: Field,
): { readonly [Name in Field]?: boolean } {
  return (body[field] === undefined ? {} : { [field]: flag(body, field) }) as {
    readonly [Name in Field]?: boolean
  }
}

function integer(body: Body, field: string, max: number): number {
  const value = body[field]
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) {
    throw bad(field, `must be a whole number from 0 to ${max}`)
  }
  return value
}

/** A number, or a group's JID. */
function recipient(body: Body): string {
  const to = text(body, 'to')
  return to.endsWith('@g.us') ? to : normaliseNumber(to, 'to')
}

/** Answers given in turn. */
function replies(body: Body): Pick<ContactOptions, 'replyWith' | 'delayMs'> {
  const delay =
    body['replyDelayMs'] === undefined ? {} : { delayMs: integer(body, 'replyDelayMs', 3_600_000) }
  const texts = body['replies']
  if (texts === undefined) return delay
  if (
    !Array.isArray(texts) ||
    texts.length > 1000 ||
    texts.some((item) => typeof item !== 'string' || item === '')
  ) {
    throw bad('replies', 'must be a list of at most 1,000 texts')
  }
  let next = 0
  return {
    ...delay,
    replyWith: () => (texts.length === 0 ? undefined : (texts[next++ % texts.length] as string)),
  }
}

function matchOf(match: Body): FaultMatch {
  const fields: Record<string, string> = {}
  for (const [name, value] of Object.entries(match)) {
    if (typeof value !== 'string') throw bad(`match.${name}`, 'must be a text')
    const isNumber = (name === 'number' || name === 'contact') && !value.endsWith('@g.us')
    fields[name] = isNumber ? normaliseNumber(value, `match.${name}`) : value
  }
  return fields
}

function anyPhone(sim: Simulator, number: string): Phone {
  return [...sim.numbers(), ...sim.contacts()].find((phone) => phone.number === number) ?? sim.contact(number)
}

function shown({
  waMessageId,
  from,
  chat,
  kind,
  text: words,
  at,
  repeats,
  order,
}: ReceivedMessage): Readonly<Record<string, unknown>> {
  return { waMessageId, from, chat, kind, text: words, at, repeats, order }
}

function bad(field: string, rule: string): EclusaError {
  return new EclusaError(simulatorErrors.BAD_INPUT, { message: `${field} ${rule}`, details: { field } })
}

function statusOf(error: unknown): number {
  return error instanceof EclusaError ? error.status : 500
}

function problemOf(error: unknown): unknown {
  if (error instanceof EclusaError) return problem(error.status, error.code, error.message, error.details)
  return problem(500, 'SIMULATOR_FAILED', error instanceof Error ? error.message : String(error), {})
}

function problem(
  status: number,
  code: string,
  detail: string,
  more: Readonly<Record<string, unknown>>,
): unknown {
  return { type: `urn:eclusa:problem:${code}`, title: detail, status, code, ...more }
}

function send(response: http.ServerResponse, status: number, type: string, content: unknown): void {
  response.writeHead(status, { 'content-type': type })
  response.end(JSON.stringify(content))
}
