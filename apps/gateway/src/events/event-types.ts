import { z } from 'zod'
import { inboundContent, quotedShape } from '../http/inbound-shape.ts'

/** One kind of event: what it tells, and the shape of its payload. Fields may be added, none changes its meaning. */
export interface EventType {
  readonly tells: string
  readonly payload: z.ZodType
  /** Told to open streams only, while it goes on: neither kept nor replayed, `id` is null. */
  readonly isLive?: boolean
}

const chat = z.string().describe('A WhatsApp id, such as 5511999990000@s.whatsapp.net.')
const iso = z.iso.datetime()
const epochMs = z.int().describe('Epoch milliseconds.')

const outbound = z.object({
  id: z.string().describe('The message, as `POST …/messages` named it.'),
  chat,
  waMessageId: z.string().describe('The id that WhatsApp knows it by; the same from acceptance on.'),
  state: z.enum(['PENDING', 'PROCESSING', 'SENT', 'DELIVERED', 'READ', 'FAILED', 'CANCELLED']),
  at: epochMs,
})
const failed = outbound.extend({
  failure: z.object({ code: z.string().describe('See errors.md.'), message: z.string() }),
})

const inbound = z.object({
  chat,
  from: z.string().describe('Digits of their number, or a LID where no number is known.'),
  kind: z.string(),
  text: z
    .string()
    .nullable()
    .describe('What can be meant as an answer: the text, a caption, a title chosen.'),
  content: inboundContent,
  quoted: quotedShape.nullable(),
  mentions: z.array(z.string()),
  pushName: z.string().nullable(),
  waMessageId: z.string(),
  receivedAt: iso,
})

const conversation = z.object({
  conversation: z.string(),
  contact: z.string(),
  chat,
  state: z.enum(['open', 'assigned', 'closed']),
  sector: z.string().nullable(),
  operator: z.string().nullable(),
  waitingSince: iso.nullable(),
  closeReason: z.string().nullable(),
  by: z.string().describe('contact, flow, line, api, system, or the id of an operator.'),
  from: z
    .object({ sector: z.string().nullable(), operator: z.string().nullable() })
    .optional()
    .describe('Where it was before, when that changed.'),
})

const contact = z.object({ contact: z.string() })

const flow = z.object({
  run: z.string(),
  flow: z.string(),
  version: z.int(),
  sector: z.string().nullable(),
  contact: z.string(),
  conversation: z.string(),
  step: z.string(),
})

const share = z.object({ of: z.int(), count: z.int() })
const health = z.object({
  cause: z.enum(['DELIVERY', 'REPLIES', 'OPT_OUTS']).nullable(),
  facts: z
    .object({ delivered: share, replies: share, optOuts: share })
    .nullable()
    .describe('What was measured; null when a person ended it.'),
})

const memory = z.object({
  level: z.int().min(0).max(3),
  before: z.int().min(0).max(3),
  busy: z.boolean(),
  fullest: z.enum(['rss', 'heap', 'outside']),
  percent: z.int(),
  rssMb: z.int(),
  heapMb: z.int(),
  externalMb: z.int(),
  lagMs: z.number(),
  freedBytes: z.int(),
  cacheShare: z.number(),
  holdHistory: z.boolean(),
  holdMedia: z.boolean(),
  holdStarts: z.boolean(),
})

const webhook = z.object({ webhook: z.string().describe('It is told to other endpoints only.') })

const settings = z.object({
  options: z.looseObject({}).describe('What is set, of this tenant or instance alone.'),
})

/** Every event there is, by its type. */
export const EVENT_TYPES: Readonly<Record<string, EventType>> = {
  'session.changed': {
    tells: 'the connection of an instance has another state',
    payload: z.object({
      state: z.string(),
      previous: z.string(),
      reason: z.object({ code: z.string(), message: z.string() }).nullable(),
    }),
  },
  'outbound.accepted': {
    tells: 'a message is on disk and will be sent',
    payload: outbound.extend({
      reason: z.string().optional().describe('Why it was asked for; always there when urgent and proactive.'),
    }),
  },
  'outbound.reading': { tells: 'what the contact wrote is being read', payload: outbound, isLive: true },
  'outbound.thinking': { tells: 'the answer is being thought about', payload: outbound, isLive: true },
  'outbound.typing': { tells: 'the contact sees "typing…"', payload: outbound, isLive: true },
  'outbound.sending': { tells: 'it is handed to WhatsApp', payload: outbound, isLive: true },
  'outbound.sent': { tells: "WhatsApp's server confirmed it", payload: outbound },
  'outbound.delivered': { tells: 'it reached a device of the contact', payload: outbound },
  'outbound.read': { tells: 'the contact read it', payload: outbound },
  'outbound.failed': { tells: 'it will not be sent, and why', payload: failed },
  'outbound.cancelled': { tells: 'it was taken back before it was sent', payload: outbound },
  'outbound.retried': { tells: 'a failed one waits again', payload: outbound },
  'inbound.received': { tells: 'somebody wrote, in a 1:1 chat or a group', payload: inbound },
  'inbound.edited': { tells: 'somebody changed a message of theirs', payload: inbound },
  'inbound.deleted': { tells: 'somebody deleted a message for everyone', payload: inbound },
  'inbound.reacted': { tells: 'somebody reacted to a message', payload: inbound },
  'inbound.poll_voted': { tells: 'somebody voted in a poll', payload: inbound },
  'inbound.set_aside': {
    tells: 'a message could not be processed, and waits for a person to decide',
    payload: z.object({
      id: z.int(),
      chat,
      from: z.string(),
      kind: z.string(),
      waMessageId: z.string(),
      reason: z.string(),
      receivedAt: iso,
    }),
  },
  'contact.created': { tells: 'somebody was not known before', payload: contact },
  'contact.changed': { tells: "a contact's names, tags or fields are others", payload: contact },
  'contact.addressed': { tells: 'another number or LID of a contact became known', payload: contact },
  'contact.merged': {
    tells: 'two contacts are one person: `from` is now `contact`',
    payload: contact.extend({ from: z.string() }),
  },
  'contact.erased': { tells: 'everything of a person was deleted', payload: contact },
  'contact.opted_out': { tells: 'a contact wants no more messages', payload: contact },
  'contact.opted_in': { tells: 'a contact who had opted out wants messages again', payload: contact },
  'conversation.opened': { tells: 'a contact began a conversation', payload: conversation },
  'conversation.waiting': { tells: 'a conversation stands in the line of a sector', payload: conversation },
  'conversation.assigned': { tells: 'an operator has a conversation', payload: conversation },
  'conversation.transferred': {
    tells: 'another operator or sector has a conversation',
    payload: conversation,
  },
  'conversation.released': {
    tells: 'its operator has done their part, and a survey asks the contact',
    payload: conversation,
  },
  'conversation.closed': { tells: 'a conversation is over', payload: conversation },
  'conversation.reopened': { tells: 'the contact wrote again soon after the end', payload: conversation },
  'conversation.noted': { tells: 'a note was added, which the contact does not see', payload: conversation },
  'conversation.merged': {
    tells: 'the other conversation of the same person went into it',
    payload: conversation,
  },
  'flow.started': { tells: 'a flow begins to serve a contact', payload: flow },
  'flow.failed': { tells: 'a step failed; the fallback goes on', payload: flow.extend({ code: z.string() }) },
  'flow.ended': { tells: 'a flow is over, and how', payload: flow.extend({ outcome: z.string() }) },
  'queue.warned': {
    tells: 'more than 500 messages of an instance wait; nothing is refused',
    payload: z.object({ waiting: z.int() }),
  },
  'cold_chats.paused': {
    tells: 'WhatsApp restricts an instance: until then only conversations flow',
    payload: z.object({ code: z.string(), until: epochMs }),
  },
  'proactive.slowed': {
    tells: 'people do not want what an instance sends unasked: it is slower',
    payload: health,
  },
  'proactive.paused': { tells: 'nothing goes out unasked any more', payload: health },
  'proactive.resumed': { tells: 'what was slowed or paused goes on', payload: health },
  'proactive.text_paused': {
    tells: 'the same text went to too many contacts within an hour',
    payload: z.object({ text: z.string().describe('A hash.'), contacts: z.int(), until: epochMs }),
  },
  'pacing.changed': { tells: 'somebody set the pacing of a tenant or instance', payload: settings },
  'limits.changed': { tells: 'somebody set the limits of a tenant or instance', payload: settings },
  'security.spoofed_protocol_message': {
    tells: "a stranger said what only the account's own devices may say; nothing was changed by it",
    payload: z.object({ from: z.string(), chat, message: z.string(), waMessageId: z.string() }),
  },
  'webhook.disabled': {
    tells: 'an endpoint gets nothing until it is enabled, and why',
    payload: webhook.extend({
      reason: z.enum(['asked', 'gone', 'failing', 'dead_list_full']),
      code: z.string().nullable().describe('The code of the last failure.'),
    }),
  },
  'webhook.gave_up': {
    tells: 'an event could not be delivered to an endpoint, and stands in its dead list',
    payload: webhook.extend({ event: z.int(), type: z.string(), error: z.string() }),
  },
  'webhook.missed': {
    tells: 'events between the two ids were swept before they could be sent to an endpoint',
    payload: webhook.extend({ after: z.int(), before: z.int() }),
  },
  'memory.pressed': { tells: 'memory is short, and what gave way (operator only)', payload: memory },
  'memory.relieved': { tells: 'there is memory again (operator only)', payload: memory },
}

const GROUPS: ReadonlySet<string> = new Set(Object.keys(EVENT_TYPES).map((type) => type.split('.')[0] ?? ''))

/** `outbound.sent`, or `outbound.*` for a whole group. */
export function isEventPattern(text: string): boolean {
  return text.endsWith('.*') ? GROUPS.has(text.slice(0, -2)) : Object.hasOwn(EVENT_TYPES, text)
}

/** docs/events.schema.json: an event of each type. */
export function renderEventSchema(): string {
  const events = Object.entries(EVENT_TYPES).map(([type, { tells, payload, isLive }]) =>
    z
      .object({
        id: isLive === true ? z.null() : z.int().describe('Grows with each event: the cursor.'),
        type: z.literal(type),
        at: iso,
        tenant: z.string(),
        instance: z.string().nullable(),
        payload,
      })
      .describe(tells),
  )
  const schema = {
    $id: 'urn:eclusa:events:1',
    title: 'Events of Eclusa',
    ...z.toJSONSchema(z.union(events), { io: 'input' }),
  }
  return `${JSON.stringify(schema, null, 2)}\n`
}

/** docs/event-types.md. */
export function renderEventDocs(): string {
  const rows = Object.entries(EVENT_TYPES).map(([type, { tells, payload, isLive }]) => {
    const fields = payload instanceof z.ZodObject ? Object.keys(payload.shape) : []
    const names = fields.map((field) => `\`${field}\``).join(' ')
    return `| \`${type}\` | ${tells}${isLive === true ? ' (live only)' : ''} | ${names} |`
  })
  return `# Events

Made by \`npm run docs\` from the catalogue in \`apps/gateway/src/events/event-types.ts\`. How they are read stands in
[events.md](events.md); the schema of each in [events.schema.json](events.schema.json) and in \`GET /v1/event-types\`.
"Live only": told to open streams while it goes on, and not kept.

| event | tells that | payload |
|---|---|---|
${rows.join('\n')}
`
}
