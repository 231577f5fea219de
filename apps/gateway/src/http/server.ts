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
} from '@eclusa/kernel'
import { type ChatContext, type Queue, queueErrors } from '@eclusa/queue'
import type { InboundJournal } from '@eclusa/session'
import websocket from '@fastify/websocket'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type RawReplyDefaultExpression,
  type RawRequestDefaultExpression,
  type RawServerDefault,
} from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import type { AuditLog } from '../audit/audit-log.ts'
import { gatewayErrors } from '../errors.ts'
import type { GatewayFlows } from '../flows.ts'
import type { GuardedHttp } from '../guarded-http/guarded-http.ts'
import type { EventStreams } from '../events/event-streams.ts'
import type { EventForwarder } from '../events/sinks/event-forwarder.ts'
import type { Inbox } from '../inbox.ts'
import type { Instances } from '../instances/instances.ts'
import type { ApiKeys } from '../keys/api-keys.ts'
import type { BuiltDashboard } from '../dashboard/built-dashboard.ts'
import type { Logins } from '../login/logins.ts'
import type { CachesReport } from '../measurements/caches-report.ts'
import type { Measurements } from '../measurements/measurements.ts'
import type { ReadyProbe } from '../ready-probe-store.ts'
import type { People } from '../people.ts'
import type { PersonTraces } from '../person-traces.ts'
import type { Sealing } from '../sealing.ts'
import type { MemoryReport } from '../memory/memory-report.ts'
import type { AuditedRequests } from './audited-requests.ts'
import type { Webhooks } from '../webhooks/webhooks.ts'
import { requireCaller } from './auth.ts'
import { BodyBudget, MAX_BODY_BYTES } from './body-budget.ts'
import { type HttpLimits, MAX_HEADER_BYTES } from './limits.ts'
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
import { messageRoutes } from './routes/messages.ts'
import { operatorRoutes } from './routes/operators.ts'
import { pacingRoutes } from './routes/pacing.ts'
import { peopleRoutes } from './routes/people.ts'
import { queueRoutes } from './routes/queue.ts'
import { webhookRoutes } from './routes/webhooks.ts'
import { sessionRoutes } from './routes/session.ts'

/** What the routes speak to. */
export interface HttpPorts {
  readonly keys: ApiKeys
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
  /** Null: it was not built. */
  readonly dashboard: BuiltDashboard | null
  readonly sealing: Pick<Sealing, 'report' | 'rotateMasterKey' | 'rotateDataKeys'>
  readonly limits: HttpLimits
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
  http.addHook('onRoute', (route) => rules.declare(route))
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
    ports.log.debug({ requestId: request.id, route, status: reply.statusCode, durMs }, 'request answered')
  })
  http.setErrorHandler(async (thrown, request, reply) => {
    const error = toEclusaError(thrown)
    request.failure = error.code
    if (error.status >= 500) {
      const route = `${request.method} ${request.routeOptions.url ?? '(unknown)'}`
      ports.log.error({ requestId: request.id, route, code: error.code, err: error }, 'a request failed')
    }
    if (error.status === 401) reply.header('www-authenticate', 'Bearer')
    if (error.retry === 'later' && error.status >= 429) reply.header('retry-after', '5')
    else if (error.code === queueErrors.IDEMPOTENCY_IN_FLIGHT.code) reply.header('retry-after', '1')
    return reply
      .code(error.status)
      .type('application/problem+json; charset=utf-8')
      .serializer(JSON.stringify)
      .send(problemOf(error, request.id))
  })
  http.setNotFoundHandler((request, reply) => {
    if (wantsPage(request)) return sendPage(request, reply, ports.dashboard)
    throw new EclusaError(gatewayErrors.NO_SUCH_ROUTE)
  })

  await http.register(websocket, {
    options: { maxPayload: MAX_SOCKET_MESSAGE_BYTES, verifyClient: isOfThisOrigin },
  })
  await http.register(healthRoutes, ports)
  await http.register(dashboardRoutes, { built: ports.dashboard })
  await http.register(
    async (v1) => {
      await v1.register(instanceRoutes, ports)
      await v1.register(messageRoutes, ports)
      await v1.register(queueRoutes, ports)
      await v1.register(pacingRoutes, ports)
      await v1.register(limitRoutes, ports)
      await v1.register(contactRoutes, ports)
      await v1.register(flowRoutes, ports)
      await v1.register(conversationRoutes, ports)
      await v1.register(operatorRoutes, ports)
      await v1.register(peopleRoutes, ports)
      await v1.register(inboundRoutes, ports)
      await v1.register(eventRoutes, ports)
      await v1.register(webhookRoutes, ports)
      await v1.register(memoryRoutes, ports)
      await v1.register(keyRoutes, ports)
      await v1.register(auditRoutes, ports)
      await v1.register(measurementRoutes, ports)
      await v1.register(sessionRoutes, ports)
      await v1.register(encryptionRoutes, ports)
    },
    { prefix: '/v1' },
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
