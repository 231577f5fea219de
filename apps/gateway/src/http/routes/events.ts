import type { ServerResponse } from 'node:http'
import { SECOND } from '@eclusa/kernel'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import type { EventFilter } from '../../events/event-filter.ts'
import type { StreamSink } from '../../events/event-streams.ts'
import { jsonMessages, toldEvent } from '../../events/event-text.ts'
import { EVENT_TYPES, isEventPattern } from '../../events/event-types.ts'
import { callerOf } from '../auth.ts'
import { instanceNamed } from '../inputs.ts'
import { badField, toEclusaError } from '../problem.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const MAX_WAIT_SECONDS = 30
const MAX_TYPES = 50

const cursor = z.coerce.number('must be a whole number').int('must be a whole number').min(0)
const query = z.strictObject({
  after: cursor
    .optional()
    .describe(
      'Read on after this event; without it, from now on. A stream prefers the header `Last-Event-ID`',
    ),
  types: z
    .string()
    .max(2000)
    .optional()
    .describe('Types such as `outbound.sent` or `conversation.*`, divided by commas; without it, all'),
  instance: z.string().optional().describe('Of this instance only'),
  /** Of a page: events at most. */
  limit: z.coerce
    .number('must be a whole number')
    .int('must be a whole number')
    .min(1)
    .max(1000)
    .default(100),
  wait: z.coerce
    .number('must be a number of seconds')
    .min(0)
    .max(MAX_WAIT_SECONDS)
    .default(0)
    .describe('Of a page: seconds to wait for the first event when there is none yet'),
})
type EventQuery = z.output<typeof query>
const headers = z.looseObject({ 'last-event-id': cursor.optional() })

const eventPage = z.object({
  items: z.array(
    z.object({
      id: z.int().nullable().describe('Its place in the log'),
      type: z.string(),
      at: z.iso.datetime(),
      tenant: z.string(),
      instance: z.string().nullable(),
      payload: z.looseObject({}),
    }),
  ),
  next: z.int().describe('Pass it as `after` next'),
  missed: z.boolean().describe('Events after `after` are no longer kept: read the state again'),
})

const eventAnswer = z.object({
  tells: z.string(),
  live: z.boolean().describe('Told to open streams only, while it goes on'),
  payload: z.looseObject({}).describe('JSON Schema of `payload`'),
})

const sinkAnswer = z.object({
  name: z.enum(['nats', 'amqp']),
  cursor: z.int().nullable().describe('The last event that it confirmed'),
  behind: z.int().describe('How far that is from the newest'),
  failingSince: z.iso.datetime().nullable(),
})

/** Close codes of RFC 6455. */
const GOING_AWAY = 1001
const POLICY_VIOLATION = 1008
const TRY_AGAIN_LATER = 1013

/**
 * Everything that happens, from one log, in three ways: pages as JSON, which may wait (long poll); server-sent events
 * for who accepts `text/event-stream`; JSON messages for who upgrades to a WebSocket.
 */
export async function eventRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  /** Who signs out or is signed out, and whose key is revoked, sees no more. */
  const openFor = (
    request: FastifyRequest,
    sink: StreamSink,
    options: Parameters<typeof ports.streams.open>[1],
  ): (() => void) => {
    const close = ports.streams.open(sink, options)
    const { loginSession } = request
    const unwatch = [
      ports.keys.whenEnded(callerOf(request), () => sink.destroy()),
      ...(loginSession === null ? [] : [ports.logins.whenOver(loginSession, () => sink.destroy())]),
    ]
    return () => {
      close()
      for (const forget of unwatch) forget()
    }
  }

  const filterOf = (request: FastifyRequest, query: EventQuery): EventFilter => {
    const caller = callerOf(request)
    const { reach } = caller
    if (caller.instances !== null && query.instance === undefined) {
      throw badField('instance', 'must name one of the instances that the key is for')
    }
    const types = query.types?.split(',').map((type) => type.trim())
    if (types !== undefined && types.length > MAX_TYPES)
      throw badField('types', `has at most ${MAX_TYPES} types`)
    for (const type of types ?? []) {
      if (!isEventPattern(type))
        throw badField('types', 'must name events or groups, such as outbound.sent,inbound.*')
    }
    return {
      ...(reach === '*' ? {} : { tenant: reach }),
      ...(query.instance === undefined
        ? {}
        : { instance: instanceNamed(query.instance, request, ports.instances).id }),
      ...(types === undefined ? {} : { types }),
    }
  }

  http.route({
    method: 'GET',
    url: '/events',
    // A stream is nothing to ask for the head of.
    exposeHeadRoute: false,
    config: {
      scope: 'read',
      waits: true,
      byInstance: true,
      errors: [gatewayErrors.INSTANCE_UNKNOWN, gatewayErrors.TOO_MANY_STREAMS],
    },
    schema: {
      operationId: 'readEvents',
      summary: 'Everything that happens, as pages or as a stream',
      description:
        'Pages as JSON, which wait for the first event when `wait` says so (long poll); server-sent events for who accepts `text/event-stream`, which begin after the header `Last-Event-ID`; JSON messages for who upgrades to a WebSocket.',
      querystring: query,
      headers,
      response: {
        200: {
          content: { 'application/json': { schema: eventPage }, 'text/event-stream': { schema: z.string() } },
        },
      },
    },
    async handler(request, reply) {
      const filter = filterOf(request, request.query)
      const after = request.headers['last-event-id'] ?? request.query.after ?? null
      if (acceptsStream(request.headers.accept)) {
        streamTo(reply, (sink) => openFor(request, sink, { after, filter }))
        return reply
      }
      const gone = new AbortController()
      reply.raw.on('close', () => gone.abort())
      const { limit, wait } = request.query
      const page = await ports.streams.page({
        after,
        limit,
        waitMs: wait * SECOND,
        filter,
        signal: gone.signal,
      })
      return { items: page.events.map(toldEvent), next: page.next, missed: page.missed }
    },
    wsHandler(socket, request) {
      socket.on('error', () => socket.terminate())
      // Who listens has nothing to say.
      socket.on('message', () => socket.close(POLICY_VIOLATION, 'nothing is expected here'))
      const asked = request.query
      try {
        const gone = openFor(request, socketSink(socket), {
          after: asked.after ?? null,
          filter: filterOf(request, asked),
          format: jsonMessages,
        })
        socket.on('close', gone)
      } catch (error) {
        const { code, retry } = toEclusaError(error)
        socket.close(retry === 'later' ? TRY_AGAIN_LATER : POLICY_VIOLATION, code)
      }
    },
  })

  http.get(
    '/event-sinks',
    {
      config: { scope: 'read', operatorsOnly: true },
      schema: {
        operationId: 'listEventSinks',
        summary: 'The message brokers that events are handed to, and how far',
        response: { 200: z.object({ items: z.array(sinkAnswer) }) },
      },
    },
    async () => {
      const states = await Promise.all(ports.forwarders.map((forwarder) => forwarder.state()))
      return {
        items: states.map(({ failingSince, ...state }) => ({
          ...state,
          failingSince: failingSince === null ? null : new Date(failingSince).toISOString(),
        })),
      }
    },
  )

  http.get(
    '/event-types',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getEventTypes',
        summary: 'The catalogue of events',
        description: 'Every type of event, and the JSON Schema of what it carries.',
        response: { 200: z.object({ types: z.record(z.string(), eventAnswer) }) },
      },
    },
    async () => ({ types: catalogue() }),
  )
}

/** Pages come to who asks for nothing special. */
function acceptsStream(accept: string | undefined): boolean {
  return /\btext\/event-stream\b/.test(accept ?? '')
}

/** The stream writes its first words on opening: the head must come before them, and a refusal before both. */
function streamTo(reply: FastifyReply, open: (sink: StreamSink) => () => void): void {
  const response = reply.raw
  let gone = (): void => {}
  const sink = sinkOf(response, () => {
    reply.hijack()
    response.writeHead(200, {
      ...(reply.getHeaders() as Record<string, string>),
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      // Tells nginx not to gather the stream.
      'x-accel-buffering': 'no',
    })
    response.on('close', () => gone())
  })
  gone = open(sink)
}

function sinkOf(response: ServerResponse, begin: () => void): StreamSink {
  let begun = false
  const write = (text: string, onFlushed: () => void): void => {
    if (!begun) begin()
    begun = true
    if (response.writableEnded || response.destroyed) onFlushed()
    else response.write(text, () => onFlushed())
  }
  return {
    write,
    heartbeat: () => write(': heartbeat\n\n', () => {}),
    unsentBytes: () => response.writableLength,
    end: () => void response.end(),
    destroy: () => void response.destroy(),
  }
}

function socketSink(socket: WebSocket): StreamSink {
  return {
    write(text, onFlushed) {
      if (socket.readyState === socket.OPEN) socket.send(text, () => onFlushed())
      else onFlushed()
    },
    heartbeat: () => socket.ping(),
    unsentBytes: () => socket.bufferedAmount,
    end: () => socket.close(GOING_AWAY),
    destroy: () => socket.terminate(),
  }
}

function catalogue(): Record<string, z.input<typeof eventAnswer>> {
  return Object.fromEntries(
    Object.entries(EVENT_TYPES).map(([type, { tells, payload, isLive }]) => [
      type,
      { tells, live: isLive === true, payload: z.toJSONSchema(payload, { io: 'input' }) },
    ]),
  )
}
