import { Agent, request as httpRequest } from 'node:http'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { seededRandom } from '@eclusa/kernel/test-kit'
import { ApiJudge, type Operation } from './api-judge.ts'
import { KEY, newInstance, type TestGateway } from './harness.ts'

type Json = Record<string, unknown>

interface Shape {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Shape[]
  readonly oneOf?: readonly Shape[]
  readonly properties?: Readonly<Record<string, Shape>>
  readonly required?: readonly string[]
  readonly items?: Shape
  readonly format?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly maxLength?: number
}

interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required?: boolean
  readonly schema: Shape
}

interface Target {
  readonly method: string
  readonly path: string
  readonly operation: Operation
  readonly parameters: readonly Parameter[]
  readonly body: Shape | undefined
}

export interface FuzzReport {
  readonly requestCount: number
  /** By status. */
  readonly statuses: Readonly<Record<string, number>>
  /** What was not as the document says, with the request that showed it. */
  readonly faults: readonly string[]
  /** Heap after a collection, when a quarter of the requests was answered, and at the end. */
  readonly heapBytes: readonly [number, number]
  readonly seed: number
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Longer than anything may take: a page of events that was told to wait waits for less. */
const HANG_MS = 10_000
const CONCURRENCY = 16
const MAX_FAULTS = 20

/** What only costs time: passwords are hashed on purpose slowly, and a rotation seals everything anew. */
const RARE = new Set([
  'signIn',
  'createUser',
  'changeUser',
  'rotateMasterKey',
  'rotateDataKeys',
  'testWebhook',
])

/** What is sent where a text goes: ends of ranges, control characters, other alphabets, what other languages run. */
const TEXTS: readonly string[] = [
  '',
  ' ',
  '\u0000',
  '\ud800',
  '\u202e\u2066',
  'é'.repeat(300),
  '👩‍👩‍👧‍👦',
  'a'.repeat(5000),
  '__proto__',
  'constructor',
  '\'; drop table "MessageQueueItem"; --',
  '${7*7}{{7*7}}',
  '../../etc/passwd',
  '%00',
  'null',
  '-1',
  '9007199254740993',
  '1e999',
  '<script>alert(1)</script>',
  '*',
  '2026-02-30T00:00:00Z',
  'NaN',
]
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e308,
  2 ** 53,
  '',
  [],
  {},
  [[]],
  { a: { b: {} } },
]
const CONTENT_TYPES: readonly string[] = [
  'application/json',
  'application/json; charset=utf-8',
  'application/json;charset=utf-16',
  'application/JSON',
  'application/json\t; a=b',
  'application/vnd.api+json',
  'text/plain',
  'text/csv',
  'application/x-ndjson',
  'multipart/form-data; boundary=x',
  'application/x-www-form-urlencoded',
  'application/json, text/plain',
  ';',
  '/',
]
const ACCEPTS: readonly string[] = [
  '*/*',
  'application/json',
  'text/html',
  'text/event-stream',
  'image/png',
  'x',
]

/** Sends requests made from the description of the API, right ones and wrong ones, and judges each answer. */
export async function fuzz(
  gateway: TestGateway,
  options: { readonly requestCount: number; readonly seed: number },
): Promise<FuzzReport> {
  const { requestCount, seed } = options
  const random = seededRandom(seed)
  const judge = new ApiJudge()
  const known = await makeThings(gateway)
  const maker = new RequestMaker(judge, random, known)
  const agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY })
  const statuses: Record<string, number> = {}
  const faults: string[] = []
  let sentCount = 0
  let heapBefore = 0
  const worker = async (): Promise<void> => {
    while (sentCount < requestCount && faults.length < MAX_FAULTS) {
      sentCount++
      if (sentCount === Math.floor(requestCount / 4)) heapBefore = heapNow()
      const made = maker.next()
      const answer = await send(agent, gateway.app.url, made)
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1
      known.learn(answer.text)
      const fault = faultOf(judge, made, answer)
      if (fault !== null) faults.push(`${fault} <- ${JSON.stringify(made).slice(0, 1500)}`)
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, worker))
  agent.destroy()
  return { requestCount: sentCount, statuses, faults, heapBytes: [heapBefore, heapNow()], seed }
}

function faultOf(judge: ApiJudge, made: Made, answer: Answer): string | null {
  if (answer.status === 0) return `no answer: ${answer.text}`
  // Room for passwords and exports is bounded on purpose; everything else of this kind is a fault.
  const isBusy = answer.status === 503 && answer.text.includes('"GATEWAY_BUSY"')
  if (answer.status >= 500 && !isBusy) return `${answer.status}: ${answer.text.slice(0, 300)}`
  return judge.faultOf(made.method, made.path, answer)
}

interface Made {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
}

interface Answer {
  readonly status: number
  readonly contentType: string | null
  readonly text: string
}

/** Ids of things that are there, so that requests come past the door. */
class Known {
  // bounded by: MAX_KNOWN
  readonly #ids = new Map<string, string[]>()

  add(id: string): void {
    const kind = id.slice(0, 4)
    const ofKind = this.#ids.get(kind) ?? []
    if (ofKind.length < 20 && !ofKind.includes(id)) ofKind.push(id)
    this.#ids.set(kind, ofKind)
  }

  learn(text: string): void {
    for (const [id] of text.slice(0, 2000).matchAll(/\b(?:ins|msg|cnv|con|opr|whk)_[0-9a-z]{11,20}\b/g))
      this.add(id)
  }

  ofKind(kind: string): readonly string[] {
    return this.#ids.get(kind) ?? []
  }
}

async function makeThings(gateway: TestGateway): Promise<Known> {
  const known = new Known()
  for (let nth = 0; nth < 3; nth++) known.add(await newInstance(gateway))
  const tenant = '/v1/tenants/acme'
  await gateway.call('POST', `${tenant}/sectors`, { id: 'sales', name: 'Sales', isDefault: true })
  for (const name of ['Ana', 'Bia']) {
    known.learn((await gateway.call('POST', `${tenant}/operators`, { name })).text)
  }
  known.learn(
    (await gateway.call('POST', `${tenant}/contacts`, { address: '+5511999990000', name: 'Eva' })).text,
  )
  const [instance] = known.ofKind('ins_')
  const sent = await gateway.call('POST', `/v1/instances/${instance}/messages`, {
    to: '+5511999990000',
    text: 'Hi',
  })
  known.learn(sent.text)
  return known
}

class RequestMaker {
  readonly #judge: ApiJudge
  readonly #random: () => number
  readonly #known: Known
  readonly #targets: readonly Target[]

  constructor(judge: ApiJudge, random: () => number, known: Known) {
    this.#judge = judge
    this.#random = random
    this.#known = known
    this.#targets = Object.entries(judge.document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => targetOf(method.toUpperCase(), path, operation)),
    )
  }

  next(): Made {
    let target = this.#pick(this.#targets)
    // Once in fifty, so that hashing does not become the test.
    while (RARE.has(target.operation.operationId) && this.#random() > 0.02) target = this.#pick(this.#targets)
    const values = target.parameters.map((one) => ({ one, value: this.#parameter(one, target) }))
    let { path } = target
    for (const { one, value } of values) {
      if (one.in === 'path') path = path.replace(`{${one.name}}`, encode(value))
    }
    const query = values.filter(
      ({ one }) => one.in === 'query' && (one.required === true || this.#random() < 0.3),
    )
    if (this.#random() < 0.03)
      query.push({ one: { name: 'tenant', in: 'query', schema: {} }, value: 'other' })
    const search = query.map(({ one, value }) => `${one.name}=${encode(value)}`).join('&')
    const headers: Record<string, string> = { authorization: `Bearer ${KEY}` }
    for (const { one, value } of values) {
      if (one.in === 'header' && this.#random() < 0.2) headers[one.name] = headerText(value)
    }
    if (this.#random() < 0.1) headers['accept'] = this.#pick(ACCEPTS)
    if (this.#random() < 0.02)
      headers['authorization'] = this.#pick(['', 'Bearer', `bearer ${KEY}x`, 'Basic YTpi'])
    const method =
      this.#random() < 0.01 ? this.#pick(['OPTIONS', 'HEAD', 'PUT', 'PATCH', 'DELETE']) : target.method
    return {
      method,
      path: search === '' ? path : `${path}?${search}`,
      headers,
      body: this.#body(target, headers),
    }
  }

  #body({ body, method }: Target, headers: Record<string, string>): string | undefined {
    if (method === 'GET' || (body === undefined && this.#random() < 0.8)) return undefined
    headers['content-type'] = this.#random() < 0.9 ? 'application/json' : this.#pick(CONTENT_TYPES)
    const roll = this.#random()
    if (roll < 0.02) return this.#pick(['{', '[', '"', '{"a":1,}', 'nul', '\u0000', '{"__proto__":{"a":1}}'])
    if (roll < 0.05) return JSON.stringify(this.#pick(VALUES))
    const made = body === undefined ? {} : this.#value(body, 0)
    if (roll < 0.15 && typeof made === 'object' && made !== null && !Array.isArray(made)) {
      return JSON.stringify({
        ...made,
        [this.#pick(['tenant', 'id', 'constructor', 'admin', 'é', ''])]: this.#pick(VALUES),
      })
    }
    return JSON.stringify(made)
  }

  #parameter({ name, in: where, schema }: Parameter, { path, method }: Target): unknown {
    if (where === 'path' && this.#random() < 0.75) {
      const isSpared = method === 'DELETE' && this.#random() < 0.9
      const id = this.#idFor(name, path)
      if (id !== undefined && !isSpared) return id
    }
    // A page that may wait half a minute does, and the test would with it.
    if (name === 'wait') return this.#pick([0, 0, 0.01, -1, 'x', 31])
    return this.#value(schema, 0)
  }

  #idFor(name: string, path: string): string | undefined {
    switch (name) {
      case 'tenant':
        return this.#random() < 0.9 ? 'acme' : 'other'
      case 'contact':
        return this.#pick([...this.#known.ofKind('con_'), '+5511999990000'])
      case 'operator':
        return this.#pick(this.#known.ofKind('opr_'))
      case 'sector':
        return 'sales'
      case 'chat':
        return '+5511999990000'
      case 'id': {
        const kind = /\/v1\/(\w{3})/.exec(path)?.[1]
        const kinds: Record<string, string> = { ins: 'ins_', mes: 'msg_', con: 'cnv_', web: 'whk_' }
        return this.#pick(this.#known.ofKind(kinds[kind ?? ''] ?? ''))
      }
      default:
        return undefined
    }
  }

  /** A value of the schema most of the time, at its ends often, and something else now and then. */
  #value(shape: Shape, depth: number): unknown {
    if (this.#random() < 0.06) return this.#pick(this.#random() < 0.5 ? VALUES : TEXTS)
    if (shape.$ref !== undefined) {
      const name = shape.$ref.split('/').at(-1) ?? ''
      return this.#value(this.#judge.document.components.schemas[name] ?? {}, depth)
    }
    if (shape.const !== undefined) return shape.const
    if (shape.enum !== undefined) return this.#pick(shape.enum)
    const choices = shape.anyOf ?? shape.oneOf
    if (choices !== undefined) return this.#value(this.#pick(choices), depth)
    const type = typeof shape.type === 'string' ? shape.type : shape.type?.[0]
    switch (type) {
      case 'object':
        return this.#object(shape, depth)
      case 'array':
        return depth > 4
          ? []
          : Array.from({ length: Math.floor(this.#random() * 4) }, () =>
              this.#value(shape.items ?? {}, depth + 1),
            )
      case 'integer':
      case 'number':
        return this.#number(shape)
      case 'boolean':
        return this.#random() < 0.5
      case 'null':
        return null
      case 'string':
        return this.#text(shape)
      default:
        return this.#pick(VALUES)
    }
  }

  #object({ properties = {}, required = [] }: Shape, depth: number): Json {
    const made: Json = {}
    for (const [name, shape] of Object.entries(properties)) {
      const isThere = required.includes(name) ? this.#random() < 0.97 : this.#random() < 0.4
      if (isThere) made[name] = this.#idIn(name) ?? this.#value(shape, depth + 1)
    }
    return made
  }

  /** Fields of bodies that name things. */
  #idIn(name: string): unknown {
    if (this.#random() < 0.3) return undefined
    switch (name) {
      case 'to':
      case 'address':
      case 'contact':
        return '+5511999990000'
      case 'operator':
      case 'by':
        return this.#pick(this.#known.ofKind('opr_'))
      case 'sector':
        return 'sales'
      default:
        return undefined
    }
  }

  #number({ minimum = -1000, maximum = 1e6 }: Shape): number {
    const roll = this.#random()
    if (roll < 0.2) return minimum
    if (roll < 0.4) return maximum
    if (roll < 0.5) return maximum + 1
    return Math.round(minimum + this.#random() * (Math.min(maximum, 1e6) - minimum))
  }

  #text({ format, maxLength = 100 }: Shape): string {
    if (this.#random() < 0.2) return this.#pick(TEXTS)
    if (format === 'date-time') return new Date(1_800_000_000_000 + this.#random() * 1e10).toISOString()
    const length = this.#random() < 0.1 ? maxLength + 1 : Math.ceil(this.#random() * Math.min(maxLength, 40))
    return 'abcdefghijklmnopqrstuvwxyz0123456789'.repeat(Math.ceil(length / 36)).slice(0, length)
  }

  #pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.#random() * from.length)] as T
  }
}

function targetOf(method: string, path: string, operation: Operation): Target {
  const { parameters = [], requestBody } = operation as Operation & {
    readonly parameters?: readonly Parameter[]
    readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Shape }>> }
  }
  return { method, path, operation, parameters, body: requestBody?.content['application/json']?.schema }
}

/** As a part of an address; what cannot be encoded goes as something that can be sent. */
function encode(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
  return encodeURIComponent(text.toWellFormed()).slice(0, 1500) || '-'
}

function headerText(value: unknown): string {
  return (typeof value === 'string' ? value : JSON.stringify(value))
    .replaceAll(/[^\x20-\x7e]/g, '?')
    .slice(0, 1000)
}

function send(agent: Agent, url: string, { method, path, headers, body }: Made): Promise<Answer> {
  return new Promise((resolve) => {
    const request = httpRequest(new URL(url), {
      agent,
      method,
      path,
      headers: body === undefined ? headers : { ...headers, 'content-length': Buffer.byteLength(body) },
      timeout: HANG_MS,
    })
    request.on('timeout', () => request.destroy(new Error('it hangs')))
    request.on('error', (error) => resolve({ status: 0, contentType: null, text: error.message }))
    request.on('close', () => resolve({ status: 0, contentType: null, text: 'closed without an answer' }))
    request.on('response', (response) => {
      const contentType = response.headers['content-type'] ?? null
      const status = response.statusCode ?? 0
      if (contentType?.startsWith('text/event-stream') === true) {
        response.on('error', () => {})
        request.destroy()
        resolve({ status, contentType, text: '' })
        return
      }
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve({ status, contentType, text }))
    })
    request.end(body)
  })
}

function heapNow(): number {
  collect()
  return process.memoryUsage().heapUsed
}
