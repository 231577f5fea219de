import { EclusaError, isDayOfRest, MAX_DAYS_OF_REST, parseZone } from '@eclusa/kernel'
import { gatewayErrors } from './errors.ts'
import { parseAllowList } from './guarded-http/allow-list.ts'
import { addressRange } from './keys/address-ranges.ts'
import { parseSize, type Size } from './memory/ceiling.ts'
import { parseWeights } from './memory/tenant-weights.ts'

/** Where engines connect unless told otherwise. */
export const WHATSAPP_URL = 'wss://web.whatsapp.com/ws/chat'

interface EntryBase {
  readonly env: string
  readonly doc: string
}
/** Milliseconds when the name ends in `_MS`. */
interface IntegerEntry extends EntryBase {
  readonly kind: 'integer'
  readonly default: number
  readonly min: number
  readonly max: number
}
interface TextEntry extends EntryBase {
  readonly kind: 'text'
  readonly default: string
}
interface SwitchEntry extends EntryBase {
  readonly kind: 'switch'
  readonly default: boolean
}
interface ChoiceEntry extends EntryBase {
  readonly kind: 'choice'
  readonly default: string
  readonly choices: readonly string[]
}
/** `name:number` pairs. */
interface WeightsEntry extends EntryBase {
  readonly kind: 'weights'
  readonly default: ''
}
interface SecretEntry extends EntryBase {
  readonly kind: 'secret'
  readonly default: null
  readonly secret: true
}
/** Bytes with a unit, or percent of what the setting's text says. */
interface SizeEntry extends EntryBase {
  readonly kind: 'size'
  /** As an operator writes it; null leaves it to the gateway. */
  readonly default: string | null
}
type Entry = IntegerEntry | TextEntry | SwitchEntry | ChoiceEntry | SecretEntry | SizeEntry | WeightsEntry

/** Longest setting of a duration: 24 days, which is also the longest a timer can wait. */
const MAX_MS = 2_073_600_000
/** Longest time for which something is kept that no timer waits for: ten years, which is as good as for ever. */
const MAX_KEEP_MS = 315_360_000_000

/**
 * Must stay below the dispatcher's own deadline of a send (SEND_DEADLINE_MS of the queue, 120 s), with room for what
 * comes before and after the wait: a send that the dispatcher gave up while the session still waits would be sent again
 * beside itself. The test of this file holds the two together.
 */
const MAX_ACK_TIMEOUT_MS = 100_000

/** Every setting there is. The reference in docs/config.md is made from this table. */
const configTable = {
  dataDir: {
    env: 'ECLUSA_DATA_DIR',
    kind: 'text',
    default: './data',
    doc: 'Folder of everything the gateway keeps: `eclusa.db` (SQLite) and its lock; with PostgreSQL only the id of this node.',
  },
  databaseUrl: {
    env: 'ECLUSA_DATABASE_URL',
    kind: 'text',
    default: '',
    doc: 'A PostgreSQL (14 or newer) to keep everything in: `postgres://user:password@host:5432/database`. Empty: SQLite in the data folder.',
  },
  keyFile: {
    env: 'ECLUSA_KEY_FILE',
    kind: 'text',
    default: '',
    doc: 'File of the master key, which wraps the keys that credentials and texts are encrypted with; made on first start. Empty: beside the data folder, as its name and `.key`. Back it up apart from the data: without it the data cannot be opened, and a copy of the data is of no use to a thief.',
  },
  masterKey: {
    env: 'ECLUSA_MASTER_KEY',
    kind: 'secret',
    default: null,
    secret: true,
    doc: 'The master key itself, in place of a file: 32 random bytes in base 64 (`openssl rand -base64 32`). Every start of the same data needs the same one.',
  },
  masterKeyOther: {
    env: 'ECLUSA_MASTER_KEY_OTHER',
    kind: 'secret',
    default: null,
    secret: true,
    doc: 'Another master key that is accepted, to change it: the one of before, while `ECLUSA_MASTER_KEY` or the key file is the new one. Of several nodes each needs both first. SECURITY.md has the steps.',
  },
  keyFileOther: {
    env: 'ECLUSA_KEY_FILE_OTHER',
    kind: 'text',
    default: '',
    doc: 'The same as a key file.',
  },
  dataKeysRotateAfterMs: {
    env: 'ECLUSA_DATA_KEYS_ROTATE_AFTER_MS',
    kind: 'integer',
    default: 7_776_000_000,
    min: 3_600_000,
    max: MAX_KEEP_MS,
    doc: 'A tenant gets a new data key when its own is this old (or has sealed 2^31 values); what the old one sealed is sealed anew in the background.',
  },
  permissions: {
    env: 'ECLUSA_PERMISSIONS',
    kind: 'switch',
    default: false,
    doc: 'Node’s permission model: the process writes nowhere but in the data folder, starts no program and loads no native addon, whatever a package may want. Needs `ECLUSA_DEMO=off`, and a master key that is there: `ECLUSA_MASTER_KEY`, or the file of a start without it.',
  },
  httpHost: {
    env: 'ECLUSA_HTTP_HOST',
    kind: 'text',
    default: '127.0.0.1',
    doc: 'Address the HTTP API listens on. `0.0.0.0` opens it to the network: put TLS in front of it.',
  },
  httpPort: {
    env: 'ECLUSA_HTTP_PORT',
    kind: 'integer',
    default: 8080,
    min: 0,
    max: 65_535,
    doc: 'Port of the HTTP API. 0 takes any free port and prints it.',
  },
  apiKey: {
    env: 'ECLUSA_API_KEY',
    kind: 'secret',
    default: null,
    secret: true,
    doc: 'An operator key of your own, at least 32 characters, for scripted installs. It replaces the one set this way before. Without it, a key is made on first start and shown once. The command line reads its key here too.',
  },
  trustedProxies: {
    env: 'ECLUSA_TRUSTED_PROXIES',
    kind: 'text',
    default: '',
    doc: 'Proxies in front of the gateway that are believed about who calls (`X-Forwarded-For`): `10.0.0.5,172.16.0.0/12`. It counts for keys that are limited to addresses, and in the audit log.',
  },
  apiPerSecond: {
    env: 'ECLUSA_API_PER_SECOND',
    kind: 'integer',
    default: 50,
    min: 1,
    max: 100_000,
    doc: 'Calls a second that the keys of one tenant may make together, unless it has a quota of its own; more get 429 with `Retry-After`. Operators are not limited.',
  },
  apiBurst: {
    env: 'ECLUSA_API_BURST',
    kind: 'integer',
    default: 100,
    min: 1,
    max: 1_000_000,
    doc: 'Calls that they may make at once after a rest.',
  },
  auditKeepDays: {
    env: 'ECLUSA_AUDIT_KEEP_DAYS',
    kind: 'integer',
    default: 365,
    min: 1,
    max: 36_500,
    doc: 'Days that the audit log keeps what was done by whom.',
  },
  dashboard: {
    env: 'ECLUSA_DASHBOARD',
    kind: 'switch',
    default: true,
    doc: 'Whether the gateway serves its dashboard at `/`. It is built by `npm start` when its sources have changed.',
  },
  demo: {
    env: 'ECLUSA_DEMO',
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'on', 'off'],
    doc: 'The simulated tenant of the first minute. `auto`: on while no real instance exists, `NODE_ENV` is not `production` and `ECLUSA_WHATSAPP_URL` is WhatsApp itself.',
  },
  whatsappUrl: {
    env: 'ECLUSA_WHATSAPP_URL',
    kind: 'text',
    default: 'wss://web.whatsapp.com/ws/chat',
    doc: 'Where sessions connect. A `ws://` address of this machine is a simulator; anything else must be `wss://`.',
  },
  outgoingAllow: {
    env: 'ECLUSA_OUTGOING_ALLOW',
    kind: 'text',
    default: '',
    doc: 'Servers that flows may call although they are not on the public internet, speak plain HTTP or listen on an unusual port: `crm.intranet,10.20.0.0/16,orders.example:9443`. Everything public on ports 443, 8443 and 80 over https needs no entry; servers of cloud metadata are never called.',
  },
  httpApiPages: {
    env: 'ECLUSA_HTTP_API_PAGES',
    kind: 'switch',
    default: true,
    doc: 'Serve the reference of the API at `/docs`, to be read and tried in a browser. It needs no key and tells nothing of this installation; nothing of it comes from elsewhere.',
  },
  maxInstances: {
    env: 'ECLUSA_MAX_INSTANCES',
    kind: 'integer',
    default: 1000,
    min: 1,
    max: 100_000,
    doc: 'Most instances of all tenants together; one more is refused. Memory for the sessions of all of them is planned at start (`eclusa memory`); see `ECLUSA_MEMORY_WHEN_SHORT` for what happens when there is not enough.',
  },
  sessionMaxStarting: {
    env: 'ECLUSA_SESSION_MAX_STARTING',
    kind: 'integer',
    default: 8,
    min: 1,
    max: 256,
    doc: 'Sessions that may be connecting at the same time; the others wait their turn. Each costs about 0.3 s of CPU.',
  },
  sessionAckTimeoutMs: {
    env: 'ECLUSA_SESSION_ACK_TIMEOUT_MS',
    kind: 'integer',
    default: 20_000,
    min: 100,
    max: MAX_ACK_TIMEOUT_MS,
    doc: 'Longest wait for the acknowledgement of WhatsApp after a send. Past it the connection is taken for stalled and rebuilt.',
  },
  sessionKeepAliveMs: {
    env: 'ECLUSA_SESSION_KEEP_ALIVE_MS',
    kind: 'integer',
    default: 30_000,
    min: 1_000,
    max: 300_000,
    doc: 'Pause between two pings to WhatsApp. A server that stays silent for 5 s more is given up and connected anew.',
  },
  pacing: {
    env: 'ECLUSA_PACING',
    kind: 'switch',
    default: true,
    doc: 'Human pacing of sends: read, think, type. `off` sends at full speed, is logged at boot, and is refused when `NODE_ENV` is `production` unless forced.',
  },
  pacingForce: {
    env: 'ECLUSA_PACING_FORCE',
    kind: 'switch',
    default: false,
    doc: '`on` allows `ECLUSA_PACING=off` in production.',
  },
  pacingReadingWpmMin: {
    env: 'ECLUSA_PACING_READING_WPM_MIN',
    kind: 'integer',
    default: 200,
    min: 1,
    max: 10_000,
    doc: 'Slowest reading of the last unread message, in words per minute.',
  },
  pacingReadingWpmMax: {
    env: 'ECLUSA_PACING_READING_WPM_MAX',
    kind: 'integer',
    default: 250,
    min: 1,
    max: 10_000,
    doc: 'Fastest reading, in words per minute.',
  },
  pacingMaxReadingMs: {
    env: 'ECLUSA_PACING_MAX_READING_MS',
    kind: 'integer',
    default: 60_000,
    min: 0,
    max: 600_000,
    doc: 'Longest reading of one message, however long it is.',
  },
  pacingThinkingMinMs: {
    env: 'ECLUSA_PACING_THINKING_MIN_MS',
    kind: 'integer',
    default: 2000,
    min: 0,
    max: 600_000,
    doc: 'Shortest pause between reading and typing.',
  },
  pacingThinkingMaxMs: {
    env: 'ECLUSA_PACING_THINKING_MAX_MS',
    kind: 'integer',
    default: 8000,
    min: 0,
    max: 600_000,
    doc: 'Longest pause between reading and typing.',
  },
  pacingTypingWpmMin: {
    env: 'ECLUSA_PACING_TYPING_WPM_MIN',
    kind: 'integer',
    default: 40,
    min: 1,
    max: 10_000,
    doc: 'Slowest typing, in words per minute.',
  },
  pacingTypingWpmMax: {
    env: 'ECLUSA_PACING_TYPING_WPM_MAX',
    kind: 'integer',
    default: 60,
    min: 1,
    max: 10_000,
    doc: 'Fastest typing, in words per minute.',
  },
  pacingMaxTypingMs: {
    env: 'ECLUSA_PACING_MAX_TYPING_MS',
    kind: 'integer',
    default: 30_000,
    min: 0,
    max: 600_000,
    doc: 'Longest typing of one message, however long it is.',
  },
  pacingVisibleTypingMinMs: {
    env: 'ECLUSA_PACING_VISIBLE_TYPING_MIN_MS',
    kind: 'integer',
    default: 1000,
    min: 0,
    max: 600_000,
    doc: 'Least time the contact sees "typing…" before the message comes: the lower end of what is drawn.',
  },
  pacingVisibleTypingMaxMs: {
    env: 'ECLUSA_PACING_VISIBLE_TYPING_MAX_MS',
    kind: 'integer',
    default: 3000,
    min: 0,
    max: 600_000,
    doc: 'The upper end of that.',
  },
  pacingBetweenMinMs: {
    env: 'ECLUSA_PACING_BETWEEN_MIN_MS',
    kind: 'integer',
    default: 500,
    min: 0,
    max: 600_000,
    doc: 'Shortest pause between two messages of one chat.',
  },
  pacingBetweenMaxMs: {
    env: 'ECLUSA_PACING_BETWEEN_MAX_MS',
    kind: 'integer',
    default: 2000,
    min: 0,
    max: 600_000,
    doc: 'Longest pause between two messages of one chat.',
  },
  limits: {
    env: 'ECLUSA_LIMITS',
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'on', 'off'],
    doc: 'Rates, the budget of new contacts and quiet hours. `auto`: on with WhatsApp, off with a simulator. `off` is refused when `NODE_ENV` is `production` unless forced. Opt-outs and consent always count.',
  },
  limitsForce: {
    env: 'ECLUSA_LIMITS_FORCE',
    kind: 'switch',
    default: false,
    doc: '`on` allows `ECLUSA_LIMITS=off` in production.',
  },
  limitsContactEveryMs: {
    env: 'ECLUSA_LIMITS_CONTACT_EVERY_MS',
    kind: 'integer',
    default: 6000,
    min: 0,
    max: 3_600_000,
    doc: 'Messages to one contact go this far apart once the burst is used up.',
  },
  limitsContactBurst: {
    env: 'ECLUSA_LIMITS_CONTACT_BURST',
    kind: 'integer',
    default: 5,
    min: 1,
    max: 1000,
    doc: 'Messages that may go at once to a contact who wrote in the last 24 hours; to others it is 1.',
  },
  limitsContactPerHour: {
    env: 'ECLUSA_LIMITS_CONTACT_PER_HOUR',
    kind: 'integer',
    default: 20,
    min: 1,
    max: 1000,
    doc: 'Messages to one contact within any hour, whoever wrote; more wait.',
  },
  limitsContactPerDay: {
    env: 'ECLUSA_LIMITS_CONTACT_PER_DAY',
    kind: 'integer',
    default: 60,
    min: 1,
    max: 1000,
    doc: 'Messages to one contact within any 24 hours, whoever wrote; more wait.',
  },
  limitsInstanceEveryMs: {
    env: 'ECLUSA_LIMITS_INSTANCE_EVERY_MS',
    kind: 'integer',
    default: 1000,
    min: 0,
    max: 3_600_000,
    doc: 'Messages of one instance, to all its chats together, go this far apart once the burst is used up.',
  },
  limitsInstanceBurst: {
    env: 'ECLUSA_LIMITS_INSTANCE_BURST',
    kind: 'integer',
    default: 30,
    min: 1,
    max: 10_000,
    doc: 'Messages of one instance that may go at once.',
  },
  limitsTenantEveryMs: {
    env: 'ECLUSA_LIMITS_TENANT_EVERY_MS',
    kind: 'integer',
    default: 3000,
    min: 0,
    max: 3_600_000,
    doc: 'Messages of one tenant to contacts who did not write in the last 24 hours, and proactive ones, go this far apart once the burst is used up: 20 a minute. Conversations do not wait for it.',
  },
  limitsTenantBurst: {
    env: 'ECLUSA_LIMITS_TENANT_BURST',
    kind: 'integer',
    default: 1,
    min: 1,
    max: 10_000,
    doc: 'Of those that may go at once.',
  },
  limitsNewContactsPerDay: {
    env: 'ECLUSA_LIMITS_NEW_CONTACTS_PER_DAY',
    kind: 'integer',
    default: 200,
    min: 0,
    max: 1_000_000,
    doc: 'Contacts who never wrote that an instance may write to within any 24 hours. More wait; replies do not count.',
  },
  limitsSameTextPerHour: {
    env: 'ECLUSA_LIMITS_SAME_TEXT_PER_HOUR',
    kind: 'integer',
    default: 50,
    min: 1,
    max: 1_000_000,
    doc: 'Contacts to whom the same text goes unasked within an hour, counted over all tenants. One more pauses it for a day, and tells.',
  },
  limitsMinDeliveredPercent: {
    env: 'ECLUSA_LIMITS_MIN_DELIVERED_PERCENT',
    kind: 'integer',
    default: 70,
    min: 0,
    max: 100,
    doc: 'When fewer contacts than this get what an instance sends them unasked, its proactive messages are slowed, then paused. 0: off.',
  },
  limitsMinRepliesPercent: {
    env: 'ECLUSA_LIMITS_MIN_REPLIES_PERCENT',
    kind: 'integer',
    default: 10,
    min: 0,
    max: 100,
    doc: 'The same when fewer write back within a week. 0: off.',
  },
  limitsMaxOptOutsPercent: {
    env: 'ECLUSA_LIMITS_MAX_OPT_OUTS_PERCENT',
    kind: 'integer',
    default: 2,
    min: 0,
    max: 100,
    doc: 'The same when more opt out within a day. 100: off.',
  },
  limitsQuietFromHour: {
    env: 'ECLUSA_LIMITS_QUIET_FROM_HOUR',
    kind: 'integer',
    default: 20,
    min: 0,
    max: 23,
    doc: 'From this hour of the contact’s day on proactive messages wait.',
  },
  limitsQuietToHour: {
    env: 'ECLUSA_LIMITS_QUIET_TO_HOUR',
    kind: 'integer',
    default: 8,
    min: 0,
    max: 23,
    doc: 'Until this hour; the same as the other one: never.',
  },
  limitsQuietSundays: {
    env: 'ECLUSA_LIMITS_QUIET_SUNDAYS',
    kind: 'switch',
    default: false,
    doc: '`on`: proactive messages wait all Sunday, on the calendar of the contact’s zone.',
  },
  limitsHolidays: {
    env: 'ECLUSA_LIMITS_HOLIDAYS',
    kind: 'text',
    default: '',
    doc: 'They wait on these days, too: `12-25` each year, `2027-03-26` in that one; at most 20, with commas between them.',
  },
  limitsZone: {
    env: 'ECLUSA_LIMITS_ZONE',
    kind: 'text',
    default: 'America/Sao_Paulo',
    doc: 'Time zone of contacts whose number does not tell, for the quiet hours.',
  },
  conversationsReopenWithinMs: {
    env: 'ECLUSA_CONVERSATIONS_REOPEN_WITHIN_MS',
    kind: 'integer',
    default: 600_000,
    min: 0,
    max: MAX_MS,
    doc: 'A contact who writes this soon after their conversation was closed goes on in the same one; 0: never.',
  },
  conversationsKeepClosedForMs: {
    env: 'ECLUSA_CONVERSATIONS_KEEP_CLOSED_FOR_MS',
    kind: 'integer',
    default: 31_536_000_000,
    min: 60_000,
    max: MAX_KEEP_MS,
    doc: 'How long a closed conversation is kept with its history, from its close: what statistics and returning customers are known by. A year; more than `ECLUSA_CONVERSATIONS_REOPEN_WITHIN_MS`.',
  },
  wordsKeepForMs: {
    env: 'ECLUSA_WORDS_KEEP_FOR_MS',
    kind: 'integer',
    default: 2_592_000_000,
    min: 0,
    max: MAX_KEEP_MS,
    doc: 'How long words of people are kept: of a message that came in, from its receipt; of the answers, notes and comments of a conversation, from its close. 30 days; 0: until the next sweep, each hour.',
  },
  queueExpireAfterMs: {
    env: 'ECLUSA_QUEUE_EXPIRE_AFTER_MS',
    kind: 'integer',
    default: 86_400_000,
    min: 1000,
    max: MAX_MS,
    doc: 'A message that waited longer than this fails with `QUEUE_MESSAGE_EXPIRED`.',
  },
  queueExpireHeldAfterMs: {
    env: 'ECLUSA_QUEUE_EXPIRE_HELD_AFTER_MS',
    kind: 'integer',
    default: 604_800_000,
    min: 1000,
    max: MAX_MS,
    doc: 'The same for a message that limits hold back until a time that it can live to see; an `expiresAt` of its own counts before both.',
  },
  queueSweepEveryMs: {
    env: 'ECLUSA_QUEUE_SWEEP_EVERY_MS',
    kind: 'integer',
    default: 1_800_000,
    min: 1000,
    max: MAX_MS,
    doc: 'Pause between two sweeps of the queue, which expire, rescue and delete.',
  },
  queueKeepFailedForMs: {
    env: 'ECLUSA_QUEUE_KEEP_FAILED_FOR_MS',
    kind: 'integer',
    default: 3_600_000,
    min: 0,
    max: MAX_MS,
    doc: 'How long the row of a failed message stays in the queue table, with its text, before a sweep removes it.',
  },
  queueKeepTerminalForMs: {
    env: 'ECLUSA_QUEUE_KEEP_TERMINAL_FOR_MS',
    kind: 'integer',
    default: 259_200_000,
    min: 1000,
    max: MAX_MS,
    doc: 'How long the state of a finished message can be asked for, from its last change; then it is `MESSAGE_FORGOTTEN`.',
  },
  queueKeepSentForMs: {
    env: 'ECLUSA_QUEUE_KEEP_SENT_FOR_MS',
    kind: 'integer',
    default: 86_400_000,
    min: 60_000,
    max: MAX_MS,
    doc: 'How long the text of a sent message is kept, encrypted, for a device that could not decrypt it and asks again.',
  },
  queueKeepKeysForMs: {
    env: 'ECLUSA_QUEUE_KEEP_KEYS_FOR_MS',
    kind: 'integer',
    default: 86_400_000,
    min: 60_000,
    max: MAX_MS,
    doc: 'How long an `Idempotency-Key` is known; at least until its message has ended.',
  },
  eventsKeepForMs: {
    env: 'ECLUSA_EVENTS_KEEP_FOR_MS',
    kind: 'integer',
    default: 259_200_000,
    min: 60_000,
    max: MAX_MS,
    doc: 'How long events can be replayed.',
  },
  eventsMaxPerTenant: {
    env: 'ECLUSA_EVENTS_MAX_PER_TENANT',
    kind: 'integer',
    default: 1_000_000,
    min: 1000,
    max: 1_000_000_000,
    doc: 'Newest events of a tenant that are kept, so that none fills the disk: the default is 72 hours of 3,000 messages an hour.',
  },
  eventsMaxStreams: {
    env: 'ECLUSA_EVENTS_MAX_STREAMS',
    kind: 'integer',
    default: 100,
    min: 1,
    max: 10_000,
    doc: 'Event streams served at once; one more is refused. Each may hold 1 MiB unsent.',
  },
  eventsNatsUrl: {
    env: 'ECLUSA_EVENTS_NATS_URL',
    kind: 'text',
    default: '',
    doc: 'A NATS server with JetStream that all events are handed to as well: `nats://user:password@host:4222`, or `tls://`. Empty: none. See [events.md](events.md).',
  },
  eventsAmqpUrl: {
    env: 'ECLUSA_EVENTS_AMQP_URL',
    kind: 'text',
    default: '',
    doc: 'A RabbitMQ server, likewise: `amqp://user:password@host:5672/vhost`, or `amqps://`. Empty: none.',
  },
  webhooksMax: {
    env: 'ECLUSA_WEBHOOKS_MAX',
    kind: 'integer',
    default: 1000,
    min: 1,
    max: 20_000,
    doc: 'Most endpoints for webhooks, of all tenants together; a tenant has 20 at most.',
  },
  webhooksDisableAfterMs: {
    env: 'ECLUSA_WEBHOOKS_DISABLE_AFTER_MS',
    kind: 'integer',
    default: 172_800_000,
    min: 60_000,
    max: MAX_MS,
    doc: 'An endpoint of which nothing but failures came for so long is disabled. Less than `ECLUSA_EVENTS_KEEP_FOR_MS`, so that its events are still there when it is enabled again.',
  },
  webhooksRetryDivisor: {
    env: 'ECLUSA_WEBHOOKS_RETRY_DIVISOR',
    kind: 'integer',
    default: 1,
    min: 1,
    max: 100_000,
    doc: 'Pauses between the tries of a webhook are divided by this: for tests of a day within minutes.',
  },
  memoryCeiling: {
    env: 'ECLUSA_MEMORY_CEILING',
    kind: 'size',
    default: '75%',
    doc: 'Memory (RSS) this process never passes. Percent: of the limit of the control group (container), else of the machine. More than that is cut to it.',
  },
  memoryWhenShort: {
    env: 'ECLUSA_MEMORY_WHEN_SHORT',
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'refuse', 'lower'],
    doc: 'When the worst case does not fit under the ceiling: `refuse` to start, or `lower` the number of sessions to what fits (more instances may exist, but do not connect). `auto` lowers while `ECLUSA_MAX_INSTANCES` is not set, and refuses when it is.',
  },
  memoryCaches: {
    env: 'ECLUSA_MEMORY_CACHES',
    kind: 'size',
    default: null,
    doc: 'The one budget of all caches, in bytes or percent of the ceiling. Without it: what is left, up to 256 MiB.',
  },
  memoryPageCache: {
    env: 'ECLUSA_MEMORY_PAGE_CACHE',
    kind: 'size',
    default: null,
    doc: 'Most memory SQLite keeps of its file, in bytes or percent of the ceiling. Without it: 64 MiB, or 8 MiB where memory is scarce. With PostgreSQL there is none.',
  },
  memoryTenantWeights: {
    env: 'ECLUSA_MEMORY_TENANT_WEIGHTS',
    kind: 'weights',
    default: '',
    doc: 'Shares of the cache budget, such as `acme:2,exatron:0.5`. A tenant that is not named has 1.',
  },
  memoryTenantFloor: {
    env: 'ECLUSA_MEMORY_TENANT_FLOOR',
    kind: 'size',
    default: null,
    doc: 'Cache bytes that no other tenant can take from one, in bytes or percent of the cache budget. Without it: half of an equal share.',
  },
  memoryReportEveryMs: {
    env: 'ECLUSA_MEMORY_REPORT_EVERY_MS',
    kind: 'integer',
    default: 900_000,
    min: 1000,
    max: MAX_MS,
    doc: 'Pause between two lines that tell the memory: messages in the queue, contacts in the cache, megabytes.',
  },
  logLevel: {
    env: 'ECLUSA_LOG_LEVEL',
    kind: 'choice',
    default: 'info',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    doc: 'Lines below this level are not written. `info` is for operators, `debug` for us.',
  },
  logFormat: {
    env: 'ECLUSA_LOG_FORMAT',
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'json', 'pretty'],
    doc: '`auto`: pretty on a terminal, JSON lines otherwise.',
  },
} as const satisfies Readonly<Record<string, Entry>>

type ConfigTable = typeof configTable
type ValueOf<E extends Entry> = E extends IntegerEntry
  ? number
  : E extends SwitchEntry
    ? boolean
    : E extends ChoiceEntry
      ? E['choices'][number]
      : E extends SecretEntry
        ? string | null
        : E extends SizeEntry
          ? E['default'] extends null
            ? Size | null
            : Size
          : E extends WeightsEntry
            ? ReadonlyMap<string, number>
            : string

/**
 * Every setting with its value, whether this is a production machine (`NODE_ENV=production`), and whether the number of
 * instances is somebody's wish or our default. Frozen.
 */
export type Config = { readonly [Name in keyof ConfigTable]: ValueOf<ConfigTable[Name]> } & {
  readonly production: boolean
  readonly maxInstancesIsSet: boolean
}

/**
 * The configuration of this process; the only reader of `process.env`. All faults are told at once.
 * @throws GATEWAY_CONFIG_REFUSED, whose message has one line per fault (never the value of a secret)
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>> = process.env): Config {
  const faults = unknownNames(env)
  const values: Record<string, Value | null> = {
    production: env['NODE_ENV'] === 'production',
    maxInstancesIsSet: (env[configTable.maxInstances.env] ?? '') !== '',
  }
  for (const [name, entry] of entries()) {
    let text = env[entry.env]
    // An empty variable is how compose files and shells say "not set".
    if (text === undefined || text === '') {
      const isWritten = entry.kind === 'size' || entry.kind === 'weights'
      if (!isWritten || entry.default === null) {
        values[name] = entry.default
        continue
      }
      text = entry.default
    }
    const parsed = parseValue(entry, text)
    if ('fault' in parsed) faults.push(`${entry.env} ${parsed.fault}`)
    else values[name] = parsed.value
  }
  // Relations are only judged between values that are right on their own.
  const config = Object.freeze(values) as unknown as Config
  if (faults.length === 0) faults.push(...brokenRelations(config))
  if (faults.length > 0) {
    throw new EclusaError(gatewayErrors.CONFIG_REFUSED, {
      message: ['The configuration is refused:', ...faults.map((fault) => `  ${fault}`)].join('\n'),
      details: { faults },
    })
  }
  return config
}

/** A setting as an operator may see it. */
export interface ShownSetting {
  readonly name: string
  /** Never that of a secret, and no password of an address. */
  readonly value: string
  readonly origin: 'default' | 'environment'
  /** What it may be. */
  readonly values: string
  readonly meaning: string
}

/** Every setting with its value, and whether somebody set it. */
export function describeConfig(
  env: Readonly<Record<string, string | undefined>> = process.env,
): readonly ShownSetting[] {
  return entries().map(([, entry]) => {
    const text = env[entry.env] ?? ''
    const value = text === '' ? defaultOf(entry).replaceAll('`', '') : entry.kind === 'secret' ? '***' : text
    return {
      name: entry.env,
      value: value.replace(/(?<=:\/\/[^/@\s]*:)[^@\s]*(?=@)/, '***'),
      origin: text === '' ? 'default' : 'environment',
      values: rangeOf(entry),
      meaning: entry.doc,
    }
  })
}

/** The reference of all settings as Markdown: the text of docs/config.md. */
export function renderConfigDocs(): string {
  const rows = entries().map(
    ([, entry]) => `| \`${entry.env}\` | ${rangeOf(entry)} | ${defaultOf(entry)} | ${entry.doc} |`,
  )
  return [
    '# Settings',
    '',
    'Made from the table in `apps/gateway/src/config.ts`; do not edit. All settings are environment variables, read',
    'once at start. A name that begins with `ECLUSA_` and is not below is refused, so that a slip of the pen is found.',
    '',
    '| variable | values | default | meaning |',
    '|---|---|---|---|',
    ...rows,
    '',
    'Beside these, `NODE_ENV=production` turns the demo off and refuses `ECLUSA_PACING=off` and `ECLUSA_LIMITS=off`.',
    '',
  ].join('\n')
}

/** Whether an address of WhatsApp is on this machine, and so a simulator that may be trusted with a key of its own. */
export function isSimulatorUrl(url: string): boolean {
  // Not asked of the session package: the command line reads this file too, and need not load an engine for it.
  const { protocol, hostname } = URL.parse(url) ?? { protocol: '', hostname: '' }
  return protocol === 'ws:' && /^(?:localhost|\[::1\]|127(?:\.\d{1,3}){3})$/.test(hostname)
}

function entries(): [string, Entry][] {
  return Object.entries<Entry>(configTable)
}

function unknownNames(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = entries().map(([, entry]) => entry.env)
  return Object.keys(env)
    .filter((name) => /^ECLUSA_(?!TEST_)/.test(name) && !known.includes(name))
    .toSorted()
    .map((name) => `${name} is not a setting; the nearest one is ${nearest(name, known)}`)
}

type Value = string | number | boolean | Size | ReadonlyMap<string, number>
type Parsed = { readonly value: Value } | { readonly fault: string }

function parseValue(entry: Entry, text: string): Parsed {
  switch (entry.kind) {
    case 'integer': {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
      if (value >= entry.min && value <= entry.max) return { value }
      return { fault: `must be a whole number from ${entry.min} to ${entry.max}` }
    }
    case 'switch':
      if (text === 'on' || text === 'off') return { value: text === 'on' }
      return { fault: 'must be "on" or "off"' }
    case 'choice':
      if (entry.choices.includes(text)) return { value: text }
      return { fault: `must be one of ${entry.choices.join(', ')}` }
    case 'secret':
      if (text.length < 32)
        return { fault: 'must have at least 32 characters: try `openssl rand -base64 32`' }
      if (!/^[\x21-\x7e]+$/.test(text))
        return { fault: 'must be of printable ASCII characters without spaces' }
      if (isKnownSecret(text)) return { fault: 'is a well-known default: try `openssl rand -base64 32`' }
      if (isMonotonous(text))
        return { fault: 'repeats a few characters and can be guessed: try `openssl rand -base64 32`' }
      return { value: text }
    case 'size': {
      const parsed = parseSize(text)
      return 'fault' in parsed ? parsed : { value: parsed.size }
    }
    case 'weights': {
      const parsed = parseWeights(text)
      return 'fault' in parsed ? parsed : { value: parsed.weights }
    }
    case 'text':
      return { value: text }
    default:
      return entry satisfies never
  }
}

function brokenRelations(config: Config): string[] {
  const faults: string[] = []
  const ordered = [
    ['pacingReadingWpmMin', 'pacingReadingWpmMax'],
    ['pacingThinkingMinMs', 'pacingThinkingMaxMs'],
    ['pacingTypingWpmMin', 'pacingTypingWpmMax'],
    ['pacingVisibleTypingMinMs', 'pacingVisibleTypingMaxMs'],
    ['pacingBetweenMinMs', 'pacingBetweenMaxMs'],
  ] as const
  for (const [low, high] of ordered) {
    if (config[low] > config[high]) {
      faults.push(
        `${configTable[low].env} (${config[low]}) must not be above ${configTable[high].env} (${config[high]})`,
      )
    }
  }
  const { conversationsKeepClosedForMs, conversationsReopenWithinMs } = config
  if (conversationsKeepClosedForMs <= conversationsReopenWithinMs) {
    faults.push(
      `${configTable.conversationsKeepClosedForMs.env} (${conversationsKeepClosedForMs}) must be above ` +
        `${configTable.conversationsReopenWithinMs.env} (${conversationsReopenWithinMs}): who may still go on in it needs it`,
    )
  }
  if (!config.pacing && config.production && !config.pacingForce) {
    faults.push(
      'ECLUSA_PACING=off is refused when NODE_ENV is production: leave it out, or set ECLUSA_PACING_FORCE=on',
    )
  }
  if (config.limits === 'off' && config.production && !config.limitsForce) {
    faults.push(
      'ECLUSA_LIMITS=off is refused when NODE_ENV is production: leave it out, or set ECLUSA_LIMITS_FORCE=on',
    )
  }
  try {
    parseZone(config.limitsZone, 'ECLUSA_LIMITS_ZONE')
  } catch (error) {
    faults.push((error as EclusaError).message)
  }
  const holidays = listOf(config.limitsHolidays)
  const wrongDay = holidays.find((day) => !isDayOfRest(day))
  if (wrongDay !== undefined)
    faults.push(`ECLUSA_LIMITS_HOLIDAYS must be days such as 12-25 or 2027-03-26, not "${wrongDay}"`)
  if (holidays.length > MAX_DAYS_OF_REST)
    faults.push(`ECLUSA_LIMITS_HOLIDAYS must be at most ${MAX_DAYS_OF_REST} days`)
  const url = URL.parse(config.whatsappUrl)
  if (url === null || (url.protocol !== 'wss:' && !isSimulatorUrl(config.whatsappUrl))) {
    faults.push(
      'ECLUSA_WHATSAPP_URL must be a wss:// address, or a ws:// address of this machine (a simulator)',
    )
  }
  if (config.masterKey !== null && config.keyFile !== '') {
    faults.push('ECLUSA_MASTER_KEY and ECLUSA_KEY_FILE are both set: there is one master key, leave one out')
  }
  if (config.masterKeyOther !== null && config.keyFileOther !== '') {
    faults.push('ECLUSA_MASTER_KEY_OTHER and ECLUSA_KEY_FILE_OTHER are both set: leave one out')
  }
  if (config.permissions && config.demo !== 'off') {
    faults.push('ECLUSA_PERMISSIONS=on lets no program be started, and the demo is one: set ECLUSA_DEMO=off')
  }
  const database = URL.parse(config.databaseUrl)
  if (config.databaseUrl !== '' && !/^postgres(?:ql)?:$/.test(database?.protocol ?? '')) {
    // Not the value: it may hold a password.
    faults.push('ECLUSA_DATABASE_URL must look like postgres://user:password@host:5432/database')
  }
  const isOpen = !isLoopbackHost(config.httpHost)
  if (
    isOpen &&
    database !== null &&
    COMMON_PASSWORDS.has(decodeURIComponent(database.password).toLowerCase())
  ) {
    faults.push(
      'ECLUSA_DATABASE_URL has a password that everybody tries first, and ECLUSA_HTTP_HOST opens the gateway to the ' +
        'network: give the database another (`openssl rand -hex 24`), or listen on 127.0.0.1',
    )
  }
  // Not the values: they may hold passwords.
  if (config.eventsNatsUrl !== '' && !/^(nats|tls):$/.test(URL.parse(config.eventsNatsUrl)?.protocol ?? ''))
    faults.push('ECLUSA_EVENTS_NATS_URL must look like nats://user:password@host:4222')
  if (config.eventsAmqpUrl !== '' && !/^amqps?:$/.test(URL.parse(config.eventsAmqpUrl)?.protocol ?? ''))
    faults.push('ECLUSA_EVENTS_AMQP_URL must look like amqp://user:password@host:5672/vhost')
  const wrongProxy = listOf(config.trustedProxies).find((text) => addressRange(text) === null)
  if (wrongProxy !== undefined) {
    faults.push(
      `ECLUSA_TRUSTED_PROXIES must be addresses or ranges such as 10.0.0.5,172.16.0.0/12, not "${wrongProxy}"`,
    )
  }
  const allowed = parseAllowList(config.outgoingAllow)
  if ('fault' in allowed) faults.push(`ECLUSA_OUTGOING_ALLOW ${allowed.fault}`)
  if (config.demo === 'on' && config.whatsappUrl !== WHATSAPP_URL) {
    faults.push(
      'ECLUSA_DEMO=on brings its own simulator: leave out ECLUSA_WHATSAPP_URL, or set ECLUSA_DEMO=off',
    )
  }
  return faults
}

/** Of a list with commas. */
export function listOf(text: string): readonly string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/**
 * Keys out of other projects' sample files and docs, and keys put together from the words of such samples
 * ("change-me-change-me-…"): whoever scans for open gateways tries these first.
 */
function isKnownSecret(text: string): boolean {
  const plain = text.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
  if (PUBLISHED_SECRETS.includes(plain)) return true
  return /^(?:admin|api|change|changeit|default|example|key|me|my|password|please|replace|sample|secret|super|this|token|your)+$/.test(
    plain,
  )
}

/** Fewer than ten different characters, or one short piece again and again: 32 of them are worth few. */
function isMonotonous(text: string): boolean {
  return new Set(text).size < 10 || /^(.{1,16})\1+.{0,15}$/.test(text)
}

/** Whether only programs of this machine reach the address. */
function isLoopbackHost(host: string): boolean {
  return /^(?:localhost|::1|\[::1\]|127(?:\.\d{1,3}){3})$/.test(host)
}

/** What is tried first on every database that can be reached. bounded by: the list here */
const COMMON_PASSWORDS = new Set(
  '123456 admin change-me changeme eclusa example pass password pg postgres qwerty root secret test user'.split(
    ' ',
  ),
)

// From research on peers: Evolution API's `.env.example`, WPPConnect's default secret.
const PUBLISHED_SECRETS = [
  '429683c4c977415caafcce10f7d57e11',
  'thisismysecuretoken',
  'thisismysecuretokenthisismysecuretoken',
]

function nearest(name: string, known: readonly string[]): string {
  const [best] = known
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .toSorted((a, b) => a.distance - b.distance)
  return best?.candidate ?? ''
}

/** Levenshtein: how many letters to put in, take out or change. */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const line = [row]
    for (let column = 1; column <= b.length; column++) {
      const swap = (above[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1)
      line.push(Math.min(swap, (above[column] ?? 0) + 1, (line[column - 1] ?? 0) + 1))
    }
    above = line
  }
  return above[b.length] ?? 0
}

function rangeOf(entry: Entry): string {
  switch (entry.kind) {
    case 'integer':
      return `${entry.min} to ${entry.max}`
    case 'switch':
      return '`on`, `off`'
    case 'choice':
      return entry.choices.map((choice) => `\`${choice}\``).join(', ')
    case 'secret':
      return '32 characters or more'
    case 'size':
      return '`512MiB`, `2GiB`, `75%`'
    case 'weights':
      return '`tenant:number,…`'
    case 'text':
      return 'text'
    default:
      return entry satisfies never
  }
}

function defaultOf(entry: Entry): string {
  if (entry.default === null || entry.default === '') return 'none'
  if (typeof entry.default === 'boolean') return entry.default ? '`on`' : '`off`'
  if (typeof entry.default === 'number' && entry.env.endsWith('_MS'))
    return `\`${entry.default}\` (${spoken(entry.default)})`
  return `\`${entry.default}\``
}

function spoken(ms: number): string {
  if (ms >= 2_592_000_000) return `${ms / 86_400_000} d`
  if (ms >= 3_600_000) return `${ms / 3_600_000} h`
  if (ms >= 60_000) return `${ms / 60_000} min`
  return `${ms / 1000} s`
}
