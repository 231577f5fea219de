import { readFileSync } from 'node:fs'
import swagger from '@fastify/swagger'
import type { ErrorKind } from '@eclusa/kernel'
import { storageErrors } from '@eclusa/storage'
import type { RouteOptions } from 'fastify'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { gatewayErrors } from '../errors.ts'
import { MAX_BODY_BYTES } from './body-budget.ts'
import type { HttpServer } from './server.ts'

type Json = Record<string, unknown>

/** One answer of an operation, or of all. */
type Answer = DescribedAnswer | { readonly $ref: string }

interface DescribedAnswer {
  description: string
  headers?: Json
  content?: Json
}

interface Operation {
  responses: Record<string, Answer>
  requestBody?: { required: boolean }
  'x-eclusa-config'?: NonNullable<RouteOptions['config']>
  [field: string]: unknown
}

export interface OpenApiDocument {
  readonly openapi: string
  readonly info: Json
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Json; readonly responses: Json; readonly headers: Json }
}

/** What a group of routes is about; the first word of an operation's address in the reference. */
export interface Tag {
  readonly name: string
  readonly description: string
}

/** What the document carries from the route to its end, where it becomes answers. */
const CONFIG = 'x-eclusa-config'

/** What any route with a key may answer, beside its own. */
const anywhere: readonly ErrorKind[] = [
  gatewayErrors.BAD_REQUEST,
  gatewayErrors.UNAUTHORIZED,
  gatewayErrors.SCOPE_MISSING,
  gatewayErrors.FORBIDDEN,
  gatewayErrors.CROSS_ORIGIN,
  gatewayErrors.TENANT_LEAVING,
  gatewayErrors.TENANT_REMOVED,
  gatewayErrors.TENANT_SUSPENDED,
  gatewayErrors.TENANT_UNKNOWN,
  gatewayErrors.TOO_MANY_REQUESTS,
  gatewayErrors.INTERNAL,
  gatewayErrors.STOPPING,
  storageErrors.BROKEN,
  storageErrors.BUSY,
  storageErrors.NOT_OWNER,
  storageErrors.OUTCOME_UNKNOWN,
  storageErrors.STOPPED,
  storageErrors.UNREACHABLE,
  storageErrors.STATEMENT_FAILED,
  storageErrors.SEAL_BROKEN,
]
const withBody: readonly ErrorKind[] = [
  gatewayErrors.BROKEN_JSON,
  gatewayErrors.BODY_TOO_LARGE,
  gatewayErrors.UNSUPPORTED_MEDIA_TYPE,
  gatewayErrors.BUSY,
]

type Base = 'Public' | 'PublicBody' | 'Read' | 'Call' | 'Body'

/** What operations answer beside their own errors, by what is sent to them. */
const bases: Readonly<Record<Base, readonly ErrorKind[]>> = {
  Public: [gatewayErrors.BAD_REQUEST, gatewayErrors.INTERNAL],
  PublicBody: [gatewayErrors.BAD_REQUEST, gatewayErrors.INTERNAL, storageErrors.FULL, ...withBody],
  Read: anywhere,
  Call: [...anywhere, storageErrors.FULL],
  Body: [...anywhere, storageErrors.FULL, ...withBody],
}

const INTRODUCTION = `The gateway's own API. docs/api.md tells how it thinks: keys and scopes, errors, pages, idempotency,
events. Every error is \`application/problem+json\` (RFC 9457) with a \`code\` of docs/errors.md; \`retry\` says whether the
same request may be sent again, and \`field\` which input is to blame. Bodies are JSON of at most ${MAX_BODY_BYTES / 1024} KiB;
fields that an operation does not know are refused by name.`

/** Gathers every route from now on; `http.swagger()` is the document, once the server is ready. */
export async function describeApi(http: HttpServer, tags: readonly Tag[]): Promise<void> {
  await http.register(swagger, {
    openapi: {
      openapi: '3.1.1',
      info: {
        title: 'Eclusa',
        version: versionOfGateway(),
        description: INTRODUCTION.replaceAll('\n', ' '),
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: '/', description: 'The gateway that serves this document' }],
      tags: tags.map(({ name, description }) => ({ name, description })),
      security: [{ key: [] }],
      components: {
        securitySchemes: {
          key: { type: 'http', scheme: 'bearer', description: 'An API key: `Authorization: Bearer ecl_…`' },
        },
      },
    },
    convertConstToEnum: false,
    stripBasePath: false,
    transform: (document) => {
      const { schema, url } = jsonSchemaTransform(document)
      return { schema: { ...schema, [CONFIG]: document.route.config }, url }
    },
    transformObject: (document) => {
      if (!('openapiObject' in document)) throw new TypeError('an OpenAPI document is made here')
      return complete(jsonSchemaTransformObject(document) as unknown as OpenApiDocument) as never
    },
  })
}

/** Adds to each operation what the routes do not say one by one: its scope, its errors, headers of answers. */
function complete(document: OpenApiDocument): OpenApiDocument {
  const shared = new Map<string, DescribedAnswer>()
  const paths = Object.entries(document.paths).toSorted(([a], [b]) => (a < b ? -1 : 1))
  for (const [, operations] of paths) {
    const isEdited = Object.values(operations).some(asksForEtag)
    for (const [method, operation] of Object.entries(operations)) {
      completeOperation(method, operation, shared)
      if (isEdited && method !== 'delete') tellEtag(operation)
    }
  }
  const made = withPlainNames({ ...document, paths: Object.fromEntries(paths) })
  const schemas = Object.fromEntries(
    Object.entries(made.components.schemas).toSorted(([a], [b]) => (a < b ? -1 : 1)),
  )
  return withoutDatePatterns({
    ...made,
    components: {
      ...made.components,
      schemas: { ...schemas, Problem: problemSchema },
      responses: Object.fromEntries([...shared].toSorted(([a], [b]) => (a < b ? -1 : 1))),
      headers: sharedHeaders,
    },
  })
}

/** The shape of an input ends with `Input`; where no output has the same name, that says nothing. */
function withPlainNames(document: OpenApiDocument): OpenApiDocument {
  const used = usedOf(document.components.schemas, document.paths)
  let text = JSON.stringify({ ...document, components: { ...document.components, schemas: used } })
  for (const name of Object.keys(used)) {
    const plain = name.replace(/Input$/, '')
    if (plain in used) continue
    text = text
      .replaceAll(`"#/components/schemas/${name}"`, `"#/components/schemas/${plain}"`)
      .replaceAll(`"${name}":{`, `"${plain}":{`)
  }
  return JSON.parse(text) as OpenApiDocument
}

/** Shapes are there for input and for output; most serve one of the two. */
function usedOf(schemas: Json, paths: OpenApiDocument['paths']): Json {
  const used = new Set<string>()
  const look = (part: unknown): void => {
    for (const [, name] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (name === undefined || used.has(name) || !(name in schemas)) continue
      used.add(name)
      look(schemas[name])
    }
  }
  look(paths)
  return Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name)))
}

/** `format: date-time` says it in two words; the pattern that zod adds takes three lines of leap years. */
function withoutDatePatterns<T>(part: T): T {
  return JSON.parse(
    JSON.stringify(part, (_key, value: unknown) =>
      typeof value === 'object' && value !== null && 'format' in value && value.format === 'date-time'
        ? { ...value, pattern: undefined }
        : value,
    ),
  ) as T
}

function completeOperation(method: string, operation: Operation, shared: Map<string, DescribedAnswer>): void {
  const { scope, operatorsOnly, byInstance, errors = [] } = operation[CONFIG] ?? {}
  delete operation[CONFIG]
  if (scope === 'public') operation['security'] = []
  else {
    operation['x-scope'] = scope
    operation['x-operators-only'] = operatorsOnly === true
    operation['x-by-instance'] = byInstance === true
  }
  const { requestBody } = operation
  // An empty object, or nothing: the document would call it required.
  if (requestBody !== undefined && acceptsNothing(requestBody)) requestBody.required = false
  for (const [status, answer] of Object.entries(operation.responses)) {
    if ('$ref' in answer) continue
    answer.description = meaningOf(Number(status))
    answer.headers = { ...answer.headers, 'x-request-id': header('x-request-id') }
    // It has no body, whatever its serializer is called.
    if (status === '204') delete answer.content
  }
  const base = baseOf(scope === 'public', method, requestBody !== undefined)
  const all = Map.groupBy(new Set([...bases[base], ...errors]), ({ status }) => status)
  const usual = Map.groupBy(bases[base], ({ status }) => status)
  for (const [status, kinds] of all) {
    const answer = problemAnswer(status, kinds)
    const own = kinds.filter((kind) => usual.get(status)?.includes(kind) !== true)
    if (own.length > 1) {
      operation.responses[String(status)] = answer
      continue
    }
    // What many answer alike stands once in the document.
    const name = [
      ...(own.length === kinds.length ? [] : [base, status]),
      ...own.map(({ code }) => code),
    ].join('.')
    shared.set(name, answer)
    operation.responses[String(status)] = { $ref: `#/components/responses/${name}` }
  }
}

function asksForEtag({ parameters }: Operation): boolean {
  return ((parameters ?? []) as readonly { readonly name: string }[]).some(({ name }) => name === 'if-match')
}

function tellEtag({ responses }: Operation): void {
  for (const [status, answer] of Object.entries(responses)) {
    if (status.startsWith('2') && !('$ref' in answer))
      answer.headers = { ...answer.headers, etag: header('etag') }
  }
}

function baseOf(isPublic: boolean, method: string, hasBody: boolean): Base {
  if (isPublic) return hasBody ? 'PublicBody' : 'Public'
  if (hasBody) return 'Body'
  return method === 'get' ? 'Read' : 'Call'
}

/** Whether a body may be left out: it was declared as `nullish`, or has a default. */
function acceptsNothing(body: Json | object): boolean {
  const { content } = body as { readonly content?: Record<string, { readonly schema?: Json }> }
  const schema = content?.['application/json']?.schema
  if (schema === undefined) return false
  if ('default' in schema) return true
  const choices = schema['anyOf']
  return Array.isArray(choices) && choices.some((one: Json) => one['type'] === 'null')
}

function problemAnswer(status: number, kinds: readonly ErrorKind[]): DescribedAnswer {
  const codes = kinds.map(({ code }) => code).toSorted()
  const isWait = kinds.some(({ retry }) => retry === 'later') && (status >= 429 || status === 409)
  return {
    description: kinds
      .map(({ code, message }) => `\`${code}\`: ${message}.`)
      .toSorted()
      .join('\n\n'),
    headers: {
      'x-request-id': header('x-request-id'),
      ...(isWait ? { 'retry-after': header('retry-after') } : {}),
      ...(status === 401 ? { 'www-authenticate': header('www-authenticate') } : {}),
    },
    content: {
      'application/problem+json': {
        schema: {
          allOf: [
            { $ref: '#/components/schemas/Problem' },
            { type: 'object', properties: { status: { const: status }, code: { enum: codes } } },
          ],
        },
      },
    },
  }
}

function meaningOf(status: number): string {
  switch (status) {
    case 200:
      return 'Done, or what was asked for'
    case 201:
      return 'Made'
    case 202:
      return 'Accepted: it is on disk'
    case 204:
      return 'Done; there is nothing to say'
    default:
      return `${status}`
  }
}

function header(name: string): Json {
  return { $ref: `#/components/headers/${name}` }
}

const sharedHeaders: Json = {
  'x-request-id': {
    description: 'Names this request in the log of the gateway',
    schema: { type: 'string', pattern: '^req_[0-9a-z]{12}$' },
  },
  'retry-after': {
    description: 'Seconds to wait before the same request is sent again',
    schema: { type: 'integer', minimum: 1 },
  },
  etag: {
    description:
      'Give it as `If-Match` of a change, which then fails when somebody else changed it meanwhile',
    schema: { type: 'string' },
  },
  'www-authenticate': { description: 'How to authenticate', schema: { const: 'Bearer' } },
}

/** As problem.ts answers. */
const problemSchema: Json = {
  type: 'object',
  description: 'RFC 9457, with the code of the error table',
  properties: {
    type: { type: 'string', description: '`urn:eclusa:error:<code>`', pattern: '^urn:eclusa:error:[A-Z_]+$' },
    title: { type: 'string', description: 'The same for every occurrence of `code`' },
    status: { type: 'integer' },
    code: { type: 'string', pattern: '^[A-Z_]+$' },
    detail: { type: 'string', description: 'What is wrong this time, for people' },
    field: {
      type: ['string', 'null'],
      description: 'Path of the offending input, such as `pacing.min`, or the name of a header or parameter',
    },
    retry: {
      enum: ['never', 'later', 'after-login'],
      description: 'Whether the same request may be sent again, or only after the instance is linked anew',
    },
    requestId: { type: 'string' },
  },
  required: ['type', 'title', 'status', 'code', 'detail', 'field', 'retry', 'requestId'],
  examples: [
    {
      type: 'urn:eclusa:error:GATEWAY_BAD_REQUEST',
      title: 'The request is not of the right form',
      status: 400,
      code: 'GATEWAY_BAD_REQUEST',
      detail: 'text must not be empty',
      field: 'text',
      retry: 'never',
      requestId: 'req_7kq2m0d4x9ab',
    },
  ],
}

function versionOfGateway(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { readonly version: string }).version
}
