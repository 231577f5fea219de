import type { IncomingMessage } from 'node:http'
import type { Conversations } from '@eclusa/flows'
import {
  type ChatId,
  type Clock,
  EclusaError,
  type InstanceId,
  type Logger,
  type Places,
  randomBase32,
  type TenantId,
  SECOND,
} from '@eclusa/kernel'
import { type ChatContext, type Queue, queueErrors } from '@eclusa/queue'
import type { InboundJournal } from '@eclusa/session'
import websocket from '@fastify/websocket'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifySchema,
  type RawReplyDefaultExpression,
  type RawRequestDefaultExpression,
  type RawServerDefault,
  type RouteOptions,
} from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import type { AuditLog } from '../audit/audit-log.ts'
import { z } from 'zod'
import { gatewayErrors } from '../errors.ts'
import type { GatewayFlows } from '../flows.ts'
import type { GuardedHttp } from '../guarded-http/guarded-http.ts'
import type { EventStreams } from '../events/event-streams.ts'
import type { EventForwarder } from '../events/sinks/event-forwarder.ts'
import type { LateFiling } from '../late-filing.ts'
import type { Inbox } from '../inbox.ts'
import type { Instances } from '../instances/instances.ts'
import type { ApiKeys } from '../keys/api-keys.ts'
import type { ShownSetting } from '../config.ts'
import type { BuiltDashboard } from '../dashboard/built-dashboard.ts'
import type { Logins } from '../login/logins.ts'
import type { CachesReport } from '../measurements/caches-report.ts'
import type { Measurements } from '../measurements/measurements.ts'
import type { ReadyProbe } from '../ready-probe-store.ts'
import type { People } from '../people.ts'
import type { PersonTraces } from '../person-traces.ts'
import type { Sealing } from '../sealing.ts'
import type { Metrics } from '../metrics/metrics.ts'
import type { TenantRemovals } from '../tenants/tenant-removals.ts'
import type { Tenants } from '../tenants/tenants.ts'
import type { MemoryReport } from '../memory/memory-report.ts'
import type { AuditedRequests } from './audited-requests.ts'
import type { Webhooks } from '../webhooks/webhooks.ts'
import { requireCaller } from './auth.ts'
import { BodyBudget, MAX_BODY_BYTES } from './body-budget.ts'
import { type HttpLimits, MAX_HEADER_BYTES } from './limits.ts'
import { declarePages, serveApiPages } from './api-pages.ts'
import { noBody } from './inputs.ts'
import { Methods } from './methods.ts'
import { describeApi, type Tag } from './openapi.ts'
import { problemOf, toEclusaError } from './problem.ts'
import { type DeclaredRoute, RouteRules } from './route-rules.ts'
import { auditRoutes } from './routes/audit.ts'
import { contactRoutes } from './routes/contacts.ts'
import { conversationRoutes } from './routes/conversations.ts'
import { dashboardRoutes, sendPage, wantsPage } from './routes/dashboard.ts'
import { encryptionRoutes } from './routes/encryption.ts'
import { eventRoutes } from './routes/events.ts'
import { flowRoutes } from './routes/flows.ts'
import { healthRoutes } from './routes/health.ts'
import { inboundRoutes } from './routes/inbound.ts'
import { instanceRoutes } from './routes/instances.ts'
import { keyRoutes } from './routes/keys.ts'
import { limitRoutes } from './routes/limits.ts'
import { measurementRoutes } from './routes/measurements.ts'
import { memoryRoutes } from './routes/memory.ts'
import { metricsRoutes } from './routes/metrics.ts'
import { messageRoutes } from './routes/messages.ts'
import { operatorRoutes } from './routes/operators.ts'
import { pacingRoutes } from './routes/pacing.ts'
import { peopleRoutes } from './routes/people.ts'
import { queueRoutes } from './routes/queue.ts'
import { webhookRoutes } from './routes/webhooks.ts'
import { sessionRoutes } from './routes/session.ts'
import { tenantRoutes } from './routes/tenants.ts'

/** What the routes speak to. */
export interface HttpPorts {
  readonly keys: ApiKeys
  readonly tenants: Tenants
  readonly removals: TenantRemovals
  readonly audit: AuditLog
  readonly audited: AuditedRequests
  /** Addresses and ranges of proxies that are believed about who calls. */
  readonly trustedProxies: readonly string[]
  readonly logins: Logins
  /** See `EnvelopeSealer.prepare`. */
  readonly prepareTenant: (tenant: TenantId) => Promise<void> | undefined
  readonly instances: Instances
  readonly queue: Queue
  readonly people: People
  readonly personTraces: PersonTraces
  /** What is known of the person at the other end of a chat. */
  readonly standing: NonNullable<ChatContext['standing']>
  /** The one id under which a person's chat is queued. */
  readonly canonicalChat: (instance: InstanceId, chat: ChatId) => Promise<ChatId>
  readonly journal: InboundJournal
  readonly inbox: Inbox
  readonly conversations: Conversations
  readonly filing: LateFiling
  readonly flows: GatewayFlows
  /** Calls to servers that customers name. */
  readonly outgoing: GuardedHttp
  readonly streams: EventStreams
  /** To message brokers. */
  readonly forwarders: readonly EventForwarder[]
  readonly webhooks: Webhooks
  readonly ready: ReadyProbe
  readonly memory: () => MemoryReport
  readonly caches: () => CachesReport
  readonly measurements: Measurements
  readonly metrics: Metrics
  readonly settings: readonly ShownSetting[]
  /** Null: it was not built. */
  readonly dashboard: BuiltDashboard | null
  readonly sealing: Pick<Sealing, 'report' | 'rotateMasterKey' | 'rotateDataKeys'>
  readonly limits: HttpLimits
  /** Whether the reference of the API is there to be read and tried, at /docs. */
  readonly apiPages: boolean
  /** Reads of many rows at once, shared with the event streams. */
  readonly reads: Places
  readonly clock: Clock
  readonly log: Logger
}

export type HttpServer = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>

const REQUEST_TIMEOUT_MS = 15_000
/** Clients of WebSockets only listen. */
const MAX_SOCKET_MESSAGE_BYTES = 1024

/** The HTTP API, not yet listening, and the routes it has. */
export async function buildHttp(
  ports: HttpPorts,
): Promise<{ readonly http: HttpServer; readonly routes: readonly DeclaredRoute[] }> {
  const http = Fastify({
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { maxHeaderSize: MAX_HEADER_BYTES },
    // Requests under way finish; connections kept alive for later ones do not hold up the stop.
    forceCloseConnections: 'idle',
    // Keys may be limited to addresses: only proxies that the operator names are believed about who calls.
    trustProxy: ports.trustedProxies.length === 0 ? false : [...ports.trustedProxies],
    frameworkErrors: (thrown, request, reply) => void sayError(toEclusaError(thrown), request, reply),
    genReqId: () => `req_${randomBase32(12)}`,
    routerOptions: { maxParamLength: 200 },
  }).withTypeProvider<ZodTypeProvider>()
  http.server.maxConnections = ports.limits.maxConnections
  http.setValidatorCompiler(validatorCompiler)
  http.setSerializerCompiler(serializerCompiler)
  acceptJsonOnly(http)
  http.decorateRequest('caller', null)
  http.decorateRequest('intended', null)
  http.decorateRequest('failure', null)
  http.decorateRequest('loginSession', null)
  const rules = new RouteRules()
  http.addHook('onRoute', (route) => {
    declarePages(route)
    rules.declare(route)
  })
  await describeApi(http, areas)
  if (ports.apiPages) await serveApiPages(http)
  const bodies = new BodyBudget({ maxBytes: ports.limits.maxBodiesBytes, clock: ports.clock })

  http.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
    reply.header('x-content-type-options', 'nosniff')
    reply.header('cache-control', 'no-store')
    reply.header('content-security-policy', "default-src 'none'; frame-ancestors 'none'")
    reply.header('referrer-policy', 'no-referrer')
  })
  http.addHook('onRequest', requireCaller(ports))
  // After the key was looked at, before the body is.
  http.addHook('preParsing', async (request, reply) => bodies.enter(request.headers, reply.raw))
  http.addHook('preHandler', (request) => ports.audited.before(request))
  http.addHook('onResponse', (request, reply) => ports.audited.after(request, reply))
  http.addHook('onResponse', async (request, reply) => {
    const durMs = Math.round(reply.elapsedTime)
    const route = `${request.method} ${request.routeOptions.url ?? '(unknown)'}`
    ports.metrics.countRequest(
      route,
      reply.statusCode,
      request.routeOptions.config.waits === true ? null : durMs,
    )
    ports.log.debug({ requestId: request.id, route, status: reply.statusCode, durMs }, 'request answered')
  })
  http.setErrorHandler(async (thrown, request, reply) => {
    const error = toEclusaError(thrown)
    request.failure = error.code
    if (error.status >= 500) {
      const route = `${request.method} ${request.routeOptions.url ?? '(unknown)'}`
      ports.log.error({ requestId: request.id, route, code: error.code, err: error }, 'a request failed')
    }
    return sayError(error, request, reply)
  })
  let methods: Methods | null = null
  http.setNotFoundHandler((request, reply) => {
    methods ??= new Methods(rules.all)
    const allowed = methods.at(request.url)
    // A route that has the method may find nothing there: a file that is none.
    if (allowed.length === 0 || (request.method !== 'OPTIONS' && allowed.includes(request.method))) {
      if (wantsPage(request)) return sendPage(request, reply, ports.dashboard)
      throw new EclusaError(gatewayErrors.NO_SUCH_ROUTE)
    }
    reply.header('allow', allowed.join(', '))
    // What there is, and no word about other origins: none may.
    if (request.method === 'OPTIONS') return reply.code(204).send()
    throw new EclusaError(gatewayErrors.METHOD_NOT_ALLOWED)
  })

  await http.register(websocket, {
    options: { maxPayload: MAX_SOCKET_MESSAGE_BYTES, verifyClient: isOfThisOrigin },
  })
  await http.register(dashboardRoutes, { built: ports.dashboard })
  await register(
    areas.filter(({ prefix }) => prefix === ''),
    http,
    ports,
  )
  await http.register(
    (v1) =>
      register(
        areas.filter(({ prefix }) => prefix === '/v1'),
        v1,
        ports,
      ),
    {
      prefix: '/v1',
    },
  )
  return { http, routes: rules.all }
}

/** Browsers let any page open a WebSocket, with our cookies; they say which page it is. Others say nothing. */
function isOfThisOrigin({
  origin,
  req,
}: {
  readonly origin?: string
  readonly req: IncomingMessage
}): boolean {
  return origin === undefined || URL.parse(origin)?.host === req.headers.host
}

/** A part of the API: what it is about, and its routes. */
interface Area extends Tag {
  readonly prefix: '' | '/v1'
  readonly routes: (http: HttpServer, ports: HttpPorts) => Promise<void>
}

const areas: readonly Area[] = [
  {
    name: 'Instances',
    description: 'WhatsApp numbers: made, linked, started and stopped',
    prefix: '/v1',
    routes: instanceRoutes,
  },
  {
    name: 'Messages',
    description: 'Texts to send, and what became of them',
    prefix: '/v1',
    routes: messageRoutes,
  },
  { name: 'Queue', description: 'What waits, stopped and resumed', prefix: '/v1', routes: queueRoutes },
  { name: 'Pacing', description: 'How human sends look', prefix: '/v1', routes: pacingRoutes },
  { name: 'Limits', description: 'How much is sent to whom, and when', prefix: '/v1', routes: limitRoutes },
  { name: 'Consent', description: 'Opt-outs and consents of contacts', prefix: '/v1', routes: contactRoutes },
  {
    name: 'Flows',
    description: 'Automatic dialogues: written, tried, published',
    prefix: '/v1',
    routes: flowRoutes,
  },
  {
    name: 'Conversations',
    description: 'Who waits, who answers, what was said',
    prefix: '/v1',
    routes: conversationRoutes,
  },
  {
    name: 'Operators',
    description: 'The people who answer, and their sectors',
    prefix: '/v1',
    routes: operatorRoutes,
  },
  {
    name: 'Contacts',
    description: 'The people of a tenant: who they are, in, out, and gone',
    prefix: '/v1',
    routes: peopleRoutes,
  },
  { name: 'Inbound', description: 'What contacts wrote', prefix: '/v1', routes: inboundRoutes },
  { name: 'Events', description: 'Everything that happens, in order', prefix: '/v1', routes: eventRoutes },
  {
    name: 'Measurements',
    description: 'How the gateway did, and how its caches are',
    prefix: '/v1',
    routes: measurementRoutes,
  },
  { name: 'Memory', description: 'How memory is divided and used', prefix: '/v1', routes: memoryRoutes },
  {
    name: 'Webhooks',
    description: 'Endpoints that events are sent to',
    prefix: '/v1',
    routes: webhookRoutes,
  },
  {
    name: 'Sign-in',
    description: 'Browsers that are signed in, and the people who may',
    prefix: '/v1',
    routes: sessionRoutes,
  },
  {
    name: 'Tenants',
    description: 'Customer companies, and what each may have',
    prefix: '/v1',
    routes: tenantRoutes,
  },
  { name: 'Keys', description: 'Who may do what', prefix: '/v1', routes: keyRoutes },
  { name: 'Audit', description: 'Who did what', prefix: '/v1', routes: auditRoutes },
  {
    name: 'Encryption',
    description: 'The keys that data is sealed with',
    prefix: '/v1',
    routes: encryptionRoutes,
  },
  { name: 'Health', description: 'For machines that watch over this one', prefix: '', routes: healthRoutes },
  { name: 'Metrics', description: 'Numbers for Prometheus', prefix: '', routes: metricsRoutes },
]

async function register(some: readonly Area[], http: FastifyInstance, ports: HttpPorts): Promise<void> {
  for (const { name, routes } of some) {
    await http.register(async (area) => {
      area.addHook('onRoute', (route) => {
        route.schema = { ...closed(route), tags: [name] }
      })
      await routes(area.withTypeProvider<ZodTypeProvider>(), ports)
    })
  }
}

/** What a route does not ask for is refused, in the address as in the body. */
function closed({ method, schema = {} }: RouteOptions): FastifySchema {
  const hasBody = ![method].flat().some((one) => one === 'GET' || one === 'HEAD')
  return { querystring: noQuery, ...(hasBody ? { body: noBody } : {}), ...schema }
}

const noQuery = z.strictObject({})

/** An error as the caller is told it; also of requests that no route ever sees. */
function sayError(error: EclusaError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error.status === 401) reply.header('www-authenticate', 'Bearer')
  const { retryAfterMs } = error.details
  if (typeof retryAfterMs === 'number') reply.header('retry-after', `${Math.ceil(retryAfterMs / SECOND)}`)
  else if (error.retry === 'later' && error.status >= 429) reply.header('retry-after', '5')
  else if (error.code === queueErrors.IDEMPOTENCY_IN_FLIGHT.code) reply.header('retry-after', '1')
  return reply
    .code(error.status)
    .header('x-request-id', request.id)
    .type('application/problem+json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(problemOf(error, request.id))
}

/**
 * JSON is the only kind of body. An empty one is none at all: many clients send the header with every POST, also
 * where there is nothing to say.
 */
function acceptJsonOnly(http: HttpServer): void {
  http.removeAllContentTypeParsers()
  const parseJson = http.getDefaultJsonParser('error', 'error')
  http.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) done(null, undefined)
    else void parseJson(request, body as string, done)
  })
}
